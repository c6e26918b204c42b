"""``doit-tflm quantize`` and ``quantize_model``: each option, and what it changes and leaves alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from conftest import Project, Run
from doit_tflm import (
    ModelSpec,
    TfliteModel,
    UserError,
    archive,
    load_model_spec,
    quantize_model,
    summarize_model,
)

SCRIPT = "models/kws.py"
ARCHIVE = "models/kws.mltk.zip"
BUILT = "build/kws/kws.tflite"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def quantize(project: Project, *arguments: str, where: str = ".") -> Run:
    """Run the real command."""
    command = [sys.executable, "-m", "doit_tflm", "quantize", *arguments]
    done = subprocess.run(
        command,
        cwd=project.path(where),
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def succeeded(project: Project, *arguments: str, where: str = ".") -> Run:
    run = quantize(project, *arguments, where=where)
    assert (run.code, run.err) == (0, ""), run.out + run.err
    return run


def in_archive(project: Project) -> bytes:
    return archive.read_member(project.path(ARCHIVE), "kws.tflite") or b""


# The incremental build.


def test_without_options_it_is_the_incremental_build_and_shows_the_summary(project: Project) -> None:
    first = succeeded(project, "kws")
    assert first.stages[0] == "spec"
    assert first.stages[-1] in ("archive", "header")
    assert "a test model" in first.out
    assert "runtime_memory_size" in first.out
    again = succeeded(project, "kws")
    assert again.out.startswith("1 model is up to date\n")
    assert again.out.partition("\n")[2] == first.out.partition("\n\n")[1][1:] + first.out.partition("\n\n")[2]
    assert project.build().out == "1 model is up to date\n"


def test_an_edited_setting_runs_what_it_reaches(built: Project) -> None:
    built.edit(SCRIPT, '_output_type"] = "int8"', '_output_type"] = "float32"')
    run = succeeded(built, "kws")
    assert sorted(run.stages) == ["archive", "embed", "header", "quantize", "spec", "verify"]
    assert in_archive(built) == built.path(BUILT).read_bytes()


@pytest.mark.parametrize("model", ["kws", SCRIPT, ARCHIVE])
def test_a_model_is_named_or_pointed_at(built: Project, model: str) -> None:
    assert succeeded(built, model).out.startswith("1 model is up to date\n")


def test_it_works_below_the_project(built: Project) -> None:
    assert succeeded(built, "kws.mltk.zip", where="models").out.startswith("1 model is up to date\n")


def test_a_failure_is_the_stages_message_and_exit_code(built: Project) -> None:
    before = built.outputs()
    built.edit(SCRIPT, "version=1", "verson=1")
    run = quantize(built, "kws")
    assert run.code != 0
    assert "no attribute 'verson'; did you mean 'version'?" in run.out
    assert "Traceback" not in run.out + run.err
    assert built.outputs() == before


def test_verbose_shows_what_was_logged(project: Project) -> None:
    project.edit(SCRIPT, "SCALE = 1.0", "SCALE = 1.0\nprint('hello from the script')")
    quiet, loud = succeeded(project, "kws"), None
    assert "hello from the script" not in quiet.out
    project.doit("clean")
    loud = succeeded(project, "kws", "--verbose")
    assert "--- " in loud.out
    assert "hello from the script" in loud.out


# Output, and the archive.


@pytest.mark.parametrize(
    ("output", "path"), [("out.tflite", "out.tflite"), (".", "kws.tflite"), ("new/dir", "new/dir/kws.tflite")]
)
def test_output_gets_the_model_and_the_archive_and_the_sources_are_left_alone(
    built: Project, output: str, path: str
) -> None:
    built.edit(SCRIPT, "version=1", "version=2")
    stale, sources = in_archive(built), built.path("firmware/generated/kws_model_data.h").read_bytes()
    run = succeeded(built, "kws", "-o", output)
    assert run.stages == ["spec", "embed"]
    assert TfliteModel.load(built.path(path)).parameters["version"] == 2
    assert in_archive(built) == stale
    assert built.path("firmware/generated/kws_model_data.h").read_bytes() == sources
    assert run.out.rstrip().endswith(str(built.path(path)))


def test_output_is_relative_to_the_current_directory(built: Project) -> None:
    succeeded(built, "kws", "-o", ".", where="models")
    assert built.path("models/kws.tflite").exists()


def test_output_and_update_archive_together_do_both(built: Project) -> None:
    built.edit(SCRIPT, "version=1", "version=2")
    succeeded(built, "kws", "-o", "out.tflite", "--update-archive")
    assert in_archive(built) == built.path("out.tflite").read_bytes()


def test_no_update_archive_makes_the_sources_only(built: Project) -> None:
    stale = built.path(ARCHIVE).read_bytes()
    built.edit(SCRIPT, "version=1", "version=2")
    assert "header" in succeeded(built, "kws", "--no-update-archive").stages
    assert built.path(ARCHIVE).read_bytes() == stale
    assert "MODEL_VERSION 2" in built.path("firmware/generated/kws_model_data.h").read_text()
    assert "archive" in built.build().stages


def test_an_output_that_is_another_file_is_told(built: Project) -> None:
    built.write("notes.txt", "mine")
    run = quantize(built, "kws", "-o", "notes.txt")
    assert run.code == 1
    assert run.err == (
        "error: notes.txt: exists, and is no directory; name a directory, or a file that ends with .tflite\n"
    )
    assert built.path("notes.txt").read_text() == "mine"


@pytest.mark.parametrize("more", [(), ("-w", "other.h5")], ids=["of the build", "beside it"])
def test_an_output_that_cannot_be_written_is_told(built: Project, more: tuple[str, ...]) -> None:
    built.write("notes.txt", "mine")
    built.path("other.h5").write_bytes(b"other weights")
    run = quantize(built, "kws", "-o", "notes.txt/out.tflite", *more)
    assert run.code == 1
    assert "notes.txt/out.tflite: cannot be written" in run.err
    assert "Traceback" not in run.err


# Other weights.


def test_weights_of_a_path_give_another_model_and_touch_nothing_else(built: Project) -> None:
    built.path("other.h5").write_bytes(b"other weights")
    before = built.outputs()
    run = succeeded(built, "kws", "--weights", "../other.h5", where="models")
    assert "kws: quantize   (weights other.h5)" in run.out
    after = built.outputs()
    made = after.pop("build/kws/once.tflite")
    assert after == before
    assert made != before[BUILT]
    assert built.build().out == "1 model is up to date\n"


def test_the_same_weights_give_the_same_bytes_as_the_incremental_build(built: Project) -> None:
    built.path("copy.keras").write_bytes(archive.read_member(built.path(ARCHIVE), "kws.keras") or b"")
    succeeded(built, "kws", "--weights", "copy.keras", "-o", "copy.tflite")
    assert built.path("copy.tflite").read_bytes() == built.path(BUILT).read_bytes()


def test_weights_that_the_archive_keeps_are_found_by_name(built: Project) -> None:
    kept = "train/weights/weights-002-0.5000.h5"
    archive.update_members(built.path(ARCHIVE), {kept: b"the second epoch's"})
    built.path("second.h5").write_bytes(b"the second epoch's")
    succeeded(built, "kws", "-w", "weights-002-0.5000.h5", "-o", "kept.tflite")
    succeeded(built, "kws", "-w", "second.h5", "-o", "second.tflite")
    assert built.path("kept.tflite").read_bytes() == built.path("second.tflite").read_bytes()


def test_weights_that_are_nowhere_are_told_with_what_there_is(built: Project) -> None:
    archive.update_members(built.path(ARCHIVE), {"train/weights/weights-001-0.4000.h5": b"1"})
    run = quantize(built, "kws", "-w", "weights-7.h5")
    assert run.code == 1
    assert "there are no weights 'weights-7.h5'" in run.err
    assert "weights-001-0.4000.h5" in run.err
    assert "Traceback" not in run.err


def test_update_archive_puts_a_model_of_other_weights_there_until_the_next_build(built: Project) -> None:
    built.path("other.h5").write_bytes(b"other weights")
    before = in_archive(built)
    succeeded(built, "kws", "-w", "other.h5", "--update-archive")
    assert in_archive(built) == built.path("build/kws/once.tflite").read_bytes() != before
    assert archive.read_member(built.path(ARCHIVE), "kws.keras") == b"weights"
    assert built.build().stages == ["archive"]
    assert in_archive(built) == before


def test_build_and_weights_exclude_each_other(built: Project) -> None:
    run = quantize(built, "kws", "--build", "-w", "other.h5")
    assert (run.code, run.err) == (1, "error: --build and weights exclude each other; leave one out\n")


def test_doit_clean_removes_what_was_built_beside(built: Project) -> None:
    built.path("other.h5").write_bytes(b"other weights")
    succeeded(built, "kws", "-w", "other.h5")
    built.doit("clean")
    assert not built.path("build/kws").exists()


# Archives and scripts of no project.


@pytest.fixture
def strange(built: Project, tmp_path: Path) -> Project:
    """Return a directory with an archive that has a specification of its own, and no project around it."""
    somewhere = Project(tmp_path / "somewhere")
    somewhere.root.mkdir()
    shutil.copy(built.path("standin.py"), somewhere.path("standin.py"))
    somewhere.write("pyproject.toml", built.path("pyproject.toml").read_text())
    archive.update_members(somewhere.path("kws.mltk.zip"), {"kws.py": built.path(SCRIPT).read_bytes()})
    archive.update_members(somewhere.path("kws.mltk.zip"), {"kws.keras": b"weights", "notes.txt": b"mine"})
    return somewhere


def test_an_archive_of_no_project_is_quantized_with_its_own_specification(
    strange: Project, built: Project
) -> None:
    succeeded(strange, "kws.mltk.zip")
    assert archive.read_member(strange.path("kws.mltk.zip"), "kws.tflite") == built.path(BUILT).read_bytes()
    assert archive.read_member(strange.path("kws.mltk.zip"), "notes.txt") == b"mine"
    assert strange.path("kws.tflite").read_bytes() == built.path(BUILT).read_bytes()


def test_an_archive_of_no_project_is_left_alone_where_the_model_goes_elsewhere(strange: Project) -> None:
    before = strange.path("kws.mltk.zip").read_bytes()
    succeeded(strange, "kws.mltk.zip", "-o", "out")
    assert strange.path("kws.mltk.zip").read_bytes() == before
    assert strange.path("out/kws.tflite").exists()
    assert not strange.path("kws.tflite").exists()


def test_an_archive_without_a_specification_is_told(tmp_path: Path) -> None:
    somewhere = Project(tmp_path)
    archive.update_members(somewhere.path("kws.mltk.zip"), {"kws.keras": b"weights"})
    run = quantize(somewhere, "kws.mltk.zip")
    assert run.code == 1
    assert run.err == ("error: kws.mltk.zip: has no kws.py; give the path of the specification script instead\n")


def test_a_script_of_no_project_takes_the_archive_beside_it(strange: Project, built: Project) -> None:
    shutil.copy(built.path(SCRIPT), strange.path("kws.py"))
    succeeded(strange, "kws.py")
    assert archive.read_member(strange.path("kws.mltk.zip"), "kws.tflite") == built.path(BUILT).read_bytes()


@pytest.mark.parametrize("model", ["nothing", "models/nothing.py", "nothing.mltk.zip", "nothing-test"])
def test_a_model_that_is_not_there_is_told(built: Project, model: str) -> None:
    run = quantize(built, model)
    assert run.code == 1
    assert "nothing" in run.err
    assert "Traceback" not in run.err


# A dry run's model.


def test_name_test_takes_the_dry_runs_archive(built: Project) -> None:
    dry = built.path("models/kws-test.mltk.zip")
    archive.update_members(dry, {"kws-test.keras": b"of a dry run"})
    before = {name: content for name, content in built.outputs().items() if "test" not in name}
    succeeded(built, "kws-test")
    made = archive.read_member(dry, "kws-test.tflite")
    assert made is not None
    assert TfliteModel(made).parameters["name"] == "kws"
    assert made != in_archive(built)
    assert {name: content for name, content in built.outputs().items() if "test" not in name} == before
    assert succeeded(built, "kws-test", "-o", ".").out.startswith("1 model is up to date\n")
    assert built.path("kws.test.tflite").read_bytes() == made
    override = {"inference_output_type": "float32"}
    model = quantize_model(dry, tflite_converter_override=override, output="tflite_model")
    assert isinstance(model, TfliteModel)
    assert model.outputs[0].dtype == "float32"


def test_the_summary_of_name_test_is_that_of_the_dry_runs_model(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TfliteModel.load(built.path(BUILT))
    other.description = "of a dry run"
    archive.update_members(built.path("models/kws-test.mltk.zip"), {"kws-test.tflite": other.data})
    monkeypatch.chdir(built.root)
    assert summarize_model("kws-test", measure=False).description == "of a dry run"
    assert summarize_model("kws", measure=False).description == "a test model"


def test_the_summary_of_a_script_of_no_project_is_that_of_the_archive_beside_it(
    built: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TfliteModel.load(built.path(BUILT))
    other.description = "elsewhere"
    archive.update_members(tmp_path / "away/kws.mltk.zip", {"kws.tflite": other.data})
    (tmp_path / "away/kws.py").write_text("")
    monkeypatch.chdir(built.root)
    assert summarize_model(tmp_path / "away/kws.py", measure=False).description == "elsewhere"


def test_update_archive_of_name_test_replaces_the_dry_runs_model_and_adds_no_other(built: Project) -> None:
    dry = built.path("models/kws-test.mltk.zip")
    archive.update_members(dry, {"kws-test.keras": b"of a dry run"})
    succeeded(built, "kws-test")
    before = archive.members(dry)
    built.path("other.h5").write_bytes(b"other weights")
    succeeded(built, "kws-test", "-w", "other.h5", "--update-archive")
    assert archive.members(dry) == before
    made = archive.read_member(dry, "kws-test.tflite")
    assert made == built.path("build/kws-test/once.tflite").read_bytes()


def test_the_archive_of_a_dry_run_is_quantized_outside_of_its_project(built: Project, strange: Project) -> None:
    dry = built.path("models/kws-test.mltk.zip")
    archive.update_members(dry, {"kws-test.keras": b"of a dry run"})
    succeeded(built, "kws-test")
    shutil.copy(dry, strange.path("kws-test.mltk.zip"))
    succeeded(strange, "kws-test.mltk.zip", "-o", "dry.tflite")
    assert strange.path("dry.tflite").exists()


# The Python API.


def test_the_api_returns_the_path_or_the_model(built: Project) -> None:
    path = quantize_model(built.path(SCRIPT))
    assert path == built.path(BUILT)
    model = quantize_model(built.path(SCRIPT), output="tflite_model")
    assert isinstance(model, TfliteModel)
    assert model.data == built.path(BUILT).read_bytes()


def test_an_override_of_the_converter_leaves_archive_and_build_alone(built: Project) -> None:
    before, archived = built.outputs(), built.path(ARCHIVE).read_bytes()
    override = {"inference_output_type": "float32"}
    model = quantize_model(built.path(SCRIPT), tflite_converter_override=override, output="tflite_model")
    assert isinstance(model, TfliteModel)
    assert model.outputs[0].dtype == "float32"
    after = built.outputs()
    del after["build/kws/once.tflite"]
    assert (after, built.path(ARCHIVE).read_bytes()) == (before, archived)
    built.edit(SCRIPT, '_output_type"] = "int8"', '_output_type"] = "float32"')
    built.build()
    assert built.path(BUILT).read_bytes() == model.data, "the same as if the specification said so"


def test_the_arguments_of_the_api_do_what_the_options_do(built: Project) -> None:
    other = built.path("other.h5")
    other.write_bytes(b"other weights")
    before = in_archive(built)
    once = quantize_model(built.path(SCRIPT), weights=other)
    assert isinstance(once, Path)
    assert once == built.path("build/kws/once.tflite")
    assert in_archive(built) == before != once.read_bytes()
    quantize_model(built.path(SCRIPT), weights=other, update_archive=True)
    assert in_archive(built) == once.read_bytes()
    with pytest.raises(UserError, match="exclude each other"):
        quantize_model(built.path(SCRIPT), weights=other, build=True)
    quantize_model(built.path(SCRIPT), update_archive=False)
    assert in_archive(built) == once.read_bytes()
    quantize_model(built.path(SCRIPT))
    assert in_archive(built) == before


def test_an_override_may_hold_a_function(built: Project) -> None:
    drawn = []

    def samples() -> object:
        for number in range(5):
            drawn.append(number)
            yield [np.full((1, 4), number, np.float32)]

    override = {"representative_dataset": samples}
    model = quantize_model(built.path(SCRIPT), tflite_converter_override=override, output="tflite_model")
    assert isinstance(model, TfliteModel)
    assert drawn == [0, 1, 2, 3, 4]
    assert model.data != built.path(BUILT).read_bytes()


def test_a_mistake_in_an_override_is_told(built: Project) -> None:
    with pytest.raises(UserError, match="did you mean 'inference_input_type'"):
        quantize_model(built.path(SCRIPT), tflite_converter_override={"inference_inptu_type": "int8"})
    with pytest.raises(UserError, match="representative_dataset"):
        quantize_model(built.path(SCRIPT), tflite_converter_override={"representative_dataset": 3})


def test_a_failure_raises_what_the_stage_said(built: Project) -> None:
    built.edit(SCRIPT, "version=1", "verson=1")
    with pytest.raises(UserError, match="did you mean 'version'"):
        quantize_model(built.path(SCRIPT))
    with pytest.raises(UserError, match="did you mean 'version'"):
        quantize_model(built.path(SCRIPT), tflite_converter_override={"inference_output_type": "float32"})


def test_a_specification_that_was_changed_in_memory_counts_as_it_is(built: Project) -> None:
    spec = load_model_spec(built.path(SCRIPT))
    assert (spec.name, spec.script) == ("kws", str(built.path(SCRIPT)))
    same = quantize_model(spec, output=built.path("same.tflite"))
    assert isinstance(same, Path)
    assert same.read_bytes() == built.path(BUILT).read_bytes()
    spec.description = "changed"
    model = quantize_model(spec, output="tflite_model")
    assert isinstance(model, TfliteModel)
    assert model.description == "changed"
    assert built.build().out == "1 model is up to date\n"


def test_a_specification_that_no_script_made_needs_a_name() -> None:
    with pytest.raises(UserError, match='ModelSpec\\(name="kws"\\)'):
        quantize_model(ModelSpec(), output="tflite_model")


def test_a_specification_that_no_script_made_is_quantized_into_the_current_directory(
    built: Project, tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    shutil.copy(built.path("standin.py"), inner / "standin.py")
    (inner / "pyproject.toml").write_text(built.path("pyproject.toml").read_text())
    os.chdir(inner)
    (inner / "w.keras").write_bytes(b"weights")
    spec = ModelSpec(name="loose", dataset=lambda _: np.ones((5, 4), np.float32))
    spec.tflite_converter["inference_input_type"] = spec.tflite_converter["inference_output_type"] = "int8"
    assert quantize_model(spec, weights="w.keras") == inner / "loose.tflite"
    assert not (tmp_path / "loose.tflite").exists()


def test_an_archive_to_update_must_be_there(built: Project) -> None:
    with pytest.raises(UserError, match="there is no archive to update"):
        quantize_model(ModelSpec(name="kws"), update_archive=True)


def test_one_program_quantizes_models_of_several_projects(built: Project, tmp_path: Path) -> None:
    other = built.copy_to(tmp_path / "other")
    other.edit(SCRIPT, '_output_type"] = "int8"', '_output_type"] = "float32"')
    override = {"inference_input_type": "uint8"}
    for project, wanted in ((built, "int8"), (other, "float32"), (built, "int8")):
        once = quantize_model(project.path(SCRIPT), tflite_converter_override=override, output="tflite_model")
        assert isinstance(once, TfliteModel)
        assert once.outputs[0].dtype == wanted
        assert quantize_model(project.path(SCRIPT)) == project.path(BUILT)
        assert TfliteModel.load(project.path(BUILT)).outputs[0].dtype == wanted


def test_post_process_calls_what_the_specification_has(built: Project) -> None:
    with pytest.raises(UserError, match="has no on_quantize_complete"):
        quantize_model(built.path(SCRIPT), post_process=True)
    hook = "def upload(model):\n    from pathlib import Path\n\n    Path('uploaded').write_bytes(model.data)\n"
    built.write(SCRIPT, f"{built.path(SCRIPT).read_text()}\n\n{hook}\n\nmy_model.on_quantize_complete = upload\n")
    quantize_model(built.path(SCRIPT))
    assert not built.path("uploaded").exists()
    os.chdir(built.root)
    quantize_model("kws", post_process=True)
    assert built.path("uploaded").read_bytes() == built.path(BUILT).read_bytes()


def test_the_api_prints_nothing(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    quantize_model(project.path(SCRIPT))
    quantize_model(project.path(SCRIPT), tflite_converter_override={"inference_output_type": "float32"})
    quantize_model(load_model_spec(project.path(SCRIPT)), output="tflite_model")
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_in_memory_is_in_the_log_where_the_streams_are_a_notebooks(built: Project) -> None:
    spec = load_model_spec(built.path(SCRIPT))

    def load(subset: str) -> object:
        print("loading")
        print("a warning", file=sys.stderr)
        return np.linspace(-1, 1, 160, dtype=np.float32).reshape(40, 4)

    spec.dataset = load
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        quantize_model(spec, output="tflite_model")
    assert (out.getvalue(), err.getvalue()) == ("", "")
    log = built.path("build/kws/once.log").read_text()
    assert "loading\n" in log
    assert "a warning" in log


def test_an_override_does_not_change_the_specification_in_memory(built: Project) -> None:
    spec = load_model_spec(built.path(SCRIPT))
    made = quantize_model(
        spec, output="tflite_model", tflite_converter_override={"inference_output_type": "float32"}
    )
    assert isinstance(made, TfliteModel)
    assert made.outputs[0].dtype == "float32"
    assert spec.tflite_converter["inference_output_type"] == "int8"


def test_a_build_beside_the_build_names_its_log_where_it_fails(built: Project) -> None:
    built.path("empty.h5").write_bytes(b"")
    run = quantize(built, "kws", "-w", "empty.h5")
    assert run.code == 1
    assert "is empty; train the model" in run.err
    assert "log: build/kws/once.log" in run.err
    assert built.path("build/kws/once.log").exists()


def test_two_of_them_at_once_do_not_disturb_each_other(built: Project) -> None:
    for number in range(2):
        built.path(f"{number}.h5").write_bytes(f"weights {number}".encode())
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "doit_tflm", "quantize", "kws", "-w", f"{number}.h5", "-o", f"{number}.tflite"],
            cwd=built.root,
            env=built.environment(),
            stdout=subprocess.DEVNULL,
        )
        for number in range(2)
    ]
    assert [one.wait(120) for one in running] == [0, 0]
    for number in range(2):
        succeeded(built, "kws", "-w", f"{number}.h5", "-o", "again.tflite")
        assert built.path("again.tflite").read_bytes() == built.path(f"{number}.tflite").read_bytes()
