"""What a user types, and what comes of it: doit's commands, ours, and the messages for mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import SPEC, Project, Run
from doit_tflm import UserError, archive, quantize_model, script

SCRIPT = "models/kws.py"
WEIGHTS = "models/kws.mltk.zip"
STAGES = ["spec", "sample", "calibrate", "convert", "verify", "embed", "archive", "header"]
ASIDE = ["quantize", "evaluate", "accuracy", "report", "train"]
OF_PROGRAMS = ["resolver"]
VERBS = ["spec", "sample", "calibrate", "quantize", "verify", "embed", "archive", "header"]
UP_TO_DATE = "1 model is up to date\n"


def status_of(project: Project, task: str) -> str:
    """Return what ``doit info`` says of a task."""
    run = project.doit("info", task)
    assert run.err == ""
    return next(line.split(":")[1].strip() for line in run.out.splitlines() if line.startswith("status"))


def without_journal(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if "/.doit-tflm.journal" not in name}


# doit list and doit info.


def test_doit_list_names_what_can_be_built_and_hides_what_cannot(project: Project) -> None:
    run = project.doit("list")
    assert run.code == 0
    assert [line.split()[0] for line in run.out.splitlines()] == sorted([*STAGES, *ASIDE, *OF_PROGRAMS])
    assert all(len(line.split()) > 2 for line in run.out.splitlines()), "every task says what it is for"


def test_doit_list_all_names_every_models_stages(make_project: Callable[..., Project]) -> None:
    names = [line.split()[0] for line in make_project(models=("a", "b")).doit("list", "--all").out.splitlines()]
    assert {f"{stage}:{model}" for stage in (*STAGES, *ASIDE) for model in "ab"} <= set(names)
    assert not [name for name in names if name.startswith("_")]


def test_doit_list_tells_the_status_of_each_stage(built: Project) -> None:
    def statuses() -> dict[str, str]:
        lines = built.doit("list", "--all", "-s").out.splitlines()
        return {line.split()[1]: line.split()[0] for line in lines}

    assert {statuses()[f"{stage}:kws"] for stage in STAGES} == {"U"}
    built.edit(SCRIPT, "version=1", "version=2")
    built.path("build/kws/samples.npz").write_bytes(b"")
    found = statuses()
    assert {stage for stage in STAGES if found[f"{stage}:kws"] == "R"} == {"spec", "sample", "calibrate", "verify"}


def test_doit_info_is_right_before_and_after_a_build_and_an_edit(project: Project) -> None:
    assert status_of(project, "spec:kws") == "run"
    project.build()
    assert {status_of(project, f"{stage}:kws") for stage in STAGES} == {"up-to-date"}
    archive.update_members(project.path(WEIGHTS), {"kws.keras": b"trained again"})
    assert status_of(project, "calibrate:kws") == "run"
    assert "kws.keras changed" in project.doit("info", "calibrate:kws").out
    assert status_of(project, "sample:kws") == "up-to-date"
    assert project.build().stages[0] == "calibrate", "asking changes nothing"
    assert status_of(project, "calibrate:kws") == "up-to-date"


def test_doit_info_names_the_files_of_a_stage(built: Project) -> None:
    out = built.doit("info", "calibrate:kws").out
    for path in ("build/kws/graph.json", "build/kws/samples.npz", "build/kws/calibrated.tflite"):
        assert f" - {path}\n" in out


# doit clean and doit forget.


def test_doit_clean_removes_exactly_what_was_built(project: Project) -> None:
    before, members = project.files(), archive.read_member(project.path(WEIGHTS), "kws.keras")
    project.build()
    assert project.doit("clean").code == 0
    after = without_journal(project.files())
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {WEIGHTS}
    assert archive.read_member(project.path(WEIGHTS), "kws.keras") == members
    assert not project.path("build/kws").exists()
    assert not project.path("firmware/generated").exists()


def test_doit_clean_keeps_the_archive_and_files_of_others(built: Project) -> None:
    kept = built.path(WEIGHTS).read_bytes()
    built.write("build/kws/notes.txt", "mine")
    built.write("firmware/generated/other.c", "mine")
    assert built.doit("clean").code == 0
    assert built.path(WEIGHTS).read_bytes() == kept
    assert [path.name for path in built.path("build/kws").iterdir()] == ["notes.txt"]
    assert [path.name for path in built.path("firmware/generated").iterdir()] == ["other.c"]


def test_doit_clean_follows_sources_to_their_own_directory(built: Project) -> None:
    built.edit(SCRIPT, "epochs = 3", 'epochs = 3\nmy_model.header.directory = "firmware/src"')
    built.build()
    built.doit("clean")
    assert not list(built.path("firmware").rglob("*.[ch]"))


def test_a_build_after_doit_clean_makes_the_same_bytes(built: Project) -> None:
    before = built.outputs()
    built.doit("clean")
    built.build()
    assert built.outputs() == before


def test_doit_clean_of_one_model_keeps_the_others(make_project: Callable[..., Project]) -> None:
    project = make_project(models=("a", "kws"))
    project.build()
    before = project.outputs()
    assert project.doit("clean", "-c", "quantize:kws").code == 0
    assert not project.path("build/kws").exists()
    kept = {name: content for name, content in before.items() if "/a" in name or name.startswith("a.")}
    assert kept.items() <= project.outputs().items()


def test_a_dry_run_of_doit_clean_says_what_it_would_remove_and_removes_nothing(built: Project) -> None:
    before = without_journal(built.files())
    run = built.doit("clean", "-n")
    assert run.code == 0
    assert "build/kws/samples.npz" in run.out
    assert "firmware/generated/kws_model_data.c" in run.out
    assert without_journal(built.files()) == before
    assert built.build().out == UP_TO_DATE


def test_doit_forget_of_a_stage_runs_it_again_and_equal_bytes_stop_the_wave(built: Project) -> None:
    assert built.doit("forget", "calibrate:kws").code == 0
    run = built.build()
    assert run.stages == ["calibrate"]
    assert run.why("calibrate") == "no record of an earlier build"


def test_doit_forget_all_runs_everything_again(built: Project) -> None:
    before = built.outputs()
    assert built.doit("forget", "--all").code == 0
    assert sorted(built.build().stages) == sorted(VERBS)
    assert built.outputs() == before


# doit run and its options.


def test_doit_alone_builds_what_doit_quantize_builds(project: Project) -> None:
    assert sorted(project.doit().stages) == sorted(VERBS)
    assert project.build().out == UP_TO_DATE


def test_one_model_can_be_built_without_the_others(make_project: Callable[..., Project]) -> None:
    project = make_project(models=("a", "b"))
    run = project.doit("quantize:a")
    assert run.code == 0
    assert {name.split(":")[0] for name in run.ran} == {"a"}
    assert not project.path("build/b").exists()


def test_each_stage_can_be_asked_for_with_what_it_needs(project: Project) -> None:
    for task, stages in (
        ("spec:kws", ["spec"]),
        ("sample:kws", ["sample"]),
        ("calibrate:kws", ["calibrate"]),
        ("convert:kws", ["quantize"]),
        ("verify:kws", ["verify"]),
        ("embed:kws", ["embed"]),
        ("archive:kws", ["archive"]),
        ("header:kws", ["header"]),
    ):
        run = project.doit(task)
        assert run.code == 0, run.out + run.err
        assert run.stages == stages
    assert project.build().out == UP_TO_DATE


def test_the_header_can_be_asked_for_at_once(project: Project) -> None:
    stages = ["spec", "sample", "calibrate", "quantize", "verify", "embed", "header"]
    assert project.doit("header:kws").stages == stages


def test_an_output_can_be_asked_for_by_its_path(project: Project) -> None:
    assert project.doit("build/kws/calibrated.tflite").stages == ["spec", "sample", "calibrate"]


def test_doit_always_runs_every_stage_and_changes_nothing(built: Project) -> None:
    before = built.outputs()
    run = built.build("-a")
    assert sorted(run.stages) == sorted(VERBS)
    assert run.why("embed") == "asked for"
    assert built.outputs() == before
    assert built.build().out == UP_TO_DATE


def test_continue_builds_the_models_after_one_that_fails(make_project: Callable[..., Project]) -> None:
    project = make_project(models=("a", "kws", "z"))
    project.write(SCRIPT, SPEC + "\nraise ValueError('no')\n")
    stopped = project.doit("quantize")
    assert stopped.code == 1
    assert "z:header" not in stopped.ran
    run = project.doit("--continue", "quantize")
    assert run.code in (1, 2)
    assert "z:header" in run.ran
    assert "kws: header not run: " in run.out
    assert "taskid" not in run.out, "a group adds nothing to what its stages said"
    assert not [name for name in run.ran if name.startswith("kws:")]


def test_the_json_reporter_tells_every_stage(project: Project) -> None:
    run = project.doit("-r", "json", "quantize")
    assert run.code == 0
    tasks = {task["name"]: task["result"] for task in json.loads(run.out)["tasks"]}
    assert {tasks[f"{stage}:kws"] for stage in STAGES} == {"success"}
    again = json.loads(project.doit("-r", "json", "quantize").out)
    assert {task["result"] for task in again["tasks"] if not task["name"].startswith("quantize")} == {"up-to-date"}


# doit why.


def test_doit_why_tells_settings_and_neither_builds_nor_writes(built: Project) -> None:
    built.edit(SCRIPT, 'input_type"] = "int8"', 'input_type"] = "float32"')
    before = built.files()
    run = built.doit("why", "kws")
    assert run.code == 0
    lines = {line.split()[1]: line.split(maxsplit=2)[2] for line in run.out.splitlines()}
    assert list(lines) == VERBS
    assert lines["spec"] == "models/kws.py changed"
    assert lines["sample"].startswith("up to date: ")
    assert lines["calibrate"].startswith("up to date: ")
    assert lines["quantize"] == "inference_input_type: int8 → float32"
    assert {lines[verb] for verb in ("verify", "embed", "archive", "header")} == {
        "runs if quantize comes out different"
    }
    assert built.files() == before


def test_doit_why_foretells_what_the_build_does(built: Project) -> None:
    built.edit(SCRIPT, "version=1", "version=2")
    foretold = built.doit("why", "kws").out
    run = built.build()
    for verb in VERBS:
        line = next(line for line in foretold.splitlines() if line.split()[1] == verb)
        assert ("up to date" not in line) == (verb in run.stages)
    assert "kws: embed      version: 1 → 2\n" in foretold


def test_doit_why_of_what_is_up_to_date_tells_the_facts(built: Project) -> None:
    before = without_journal(built.files())
    run = built.doit("why")
    assert run.code == 0
    assert run.out.count(": ") >= len(VERBS)
    assert all(" up to date: " in line for line in run.out.splitlines())
    assert "kws.keras " in run.out
    assert "tensorflow " in run.out
    assert without_journal(built.files()) == before


def test_doit_why_of_what_was_never_built_writes_nothing(project: Project) -> None:
    before = project.files()
    run = project.doit("why")
    assert run.code == 0
    assert "kws: spec       no record of an earlier build\n" in run.out
    assert project.files() == before


def test_doit_why_names_the_models_that_there_are(make_project: Callable[..., Project]) -> None:
    run = make_project(models=("a", "b")).doit("why", "c")
    assert run.code != 0
    assert run.err == "ERROR: there is no model 'c'; there are a, b\n"


def test_doit_why_tells_the_mistake_in_a_specification(built: Project) -> None:
    built.edit(SCRIPT, "version=1", "version='x'")
    run = built.doit("why", "kws")
    assert run.code == 1
    assert "version is 'x'" in run.out
    assert "Traceback" not in run.out + run.err


# Mistakes.


def failed(project: Project, *arguments: str) -> str:
    """Return what a build that must fail prints; it shows no frame of ours."""
    run: Run = project.doit(*(arguments or ("quantize",)))
    text = run.out + run.err
    assert run.code in (1, 2), text
    assert "doit_tflm/" not in text, text
    assert "site-packages" not in text, text
    return text


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            'my_model.tflite_converter["inference_inptu_type"] = "int8"',
            (
                "models/kws.py:{line}: tflite_converter['inference_inptu_type'] is not a setting of the "
                "converter; did you mean 'inference_input_type'?"
            ),
        ),
        (
            'my_model.tflite_converter["inference_input_type"] = "int9"',
            (
                "models/kws.py:{line}: tflite_converter['inference_input_type'] is 'int9', "
                "which is no type of an input or output; use int8, uint8, int16, float32"
            ),
        ),
        (
            "my_model.epoch = 3",
            "models/kws.py:{line}: a ModelSpec has no attribute 'epoch'; did you mean 'epochs'?",
        ),
        (
            "other = ModelSpec()",
            "models/kws.py: defines more than one ModelSpec (my_model and other); give each a script of its own",
        ),
        (
            "del my_model",
            f"models/kws.py: defines no ModelSpec; {script._NO_SPEC}",
        ),
        (
            "my_model.dataset = None",
            (
                'models/kws.py: representative_dataset is "generate", but the spec has no dataset to draw from; '
                "set dataset, give a generator function as representative_dataset, or name a file of samples"
            ),
        ),
        (
            'my_model.data_files = ["nowhere/*.csv"]',
            "models/kws.py: data_files: nothing matches 'nowhere/*.csv'; mend the glob, or take it out",
        ),
        (
            'my_model.model_parameters["version"] = 3',
            "models/kws.py: model_parameters['version'] is written by the build itself; set version of the spec",
        ),
    ],
    ids=[
        "unknown converter setting",
        "unknown type",
        "unknown attribute",
        "two specifications",
        "no specification",
        "no dataset",
        "no data files",
        "reserved parameter",
    ],
)
def test_a_mistake_in_a_specification_is_one_message_with_what_where_and_the_fix(
    project: Project, mistake: str, message: str
) -> None:
    project.write(SCRIPT, f"{SPEC}{mistake}\n")
    text = failed(project)
    line = len(SPEC.splitlines()) + 1
    log = "  log: build/kws/spec.log\n"
    assert text == f"kws: spec failed\n  {message.format(line=line)}\n{log}"


def test_a_traceback_is_cut_to_the_users_frames(project: Project) -> None:
    project.write("models/_helper.py", "def check(x):\n    raise KeyError('gone')\n")
    project.write(
        SCRIPT,
        SPEC.replace("import numpy", "import _helper\nimport numpy").replace(
            "    x = np", "    np.apply_along_axis(_helper.check, 0, np.zeros((1, 1)))\n    x = np"
        ),
    )
    text = failed(project)
    assert "kws: sample failed\n" in text
    assert "models/kws.py: dataset(\"validation\") raised KeyError: 'gone'; mend it\n" in text
    frames = [line.strip() for line in text.splitlines() if line.strip().startswith("File ")]
    assert [frame.partition(",")[0] for frame in frames] == ['File "models/kws.py"', 'File "models/_helper.py"']
    assert frames[1] == 'File "models/_helper.py", line 2, in check'


def test_a_syntax_error_shows_its_line(project: Project) -> None:
    project.write(SCRIPT, SPEC + "x = = 1\n")
    text = failed(project)
    assert "models/kws.py: does not compile; mend it\n" in text
    assert "x = = 1" in text


def test_missing_weights_say_how_to_train(project: Project) -> None:
    project.path(WEIGHTS).unlink()
    text = failed(project)
    assert "kws: calibrate failed\n" in text
    assert "models/kws.mltk.zip: no trained weights of kws; train it: doit train:kws\n" in text


def test_an_archive_without_weights_says_how_to_train(project: Project) -> None:
    project.path(WEIGHTS).unlink()
    archive.update_members(project.path(WEIGHTS), {"train/log.txt": b""})
    assert "models/kws.mltk.zip: no trained weights of kws; train it: doit train:kws\n" in failed(project)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'header_di = "x"',
            "pyproject.toml: [tool.doit-tflm] has no setting 'header_di'; did you mean 'header_dir'?",
        ),
        ("header_dir = 3", 'pyproject.toml: [tool.doit-tflm] header_dir is 3; give a path, e.g. "models"'),
    ],
)
def test_a_mistake_in_the_projects_settings_is_one_message(project: Project, line: str, message: str) -> None:
    project.write("pyproject.toml", f"{project.path('pyproject.toml').read_text()}{line}\n")
    for arguments in (("quantize",), ("list",), ("why",)):
        run = project.doit(*arguments)
        assert run.code != 0
        assert run.err == f"ERROR: {message}\n"


def test_a_converter_that_is_not_there_is_one_message(project: Project) -> None:
    project.edit("pyproject.toml", "standin:Converter", "nowhere:Converter")
    text = failed(project)
    assert "pyproject.toml: [tool.doit-tflm] converter 'nowhere:Converter': " in text


def test_a_model_that_is_not_there_is_a_message(project: Project) -> None:
    run = project.doit("quantize:nothing")
    assert run.code != 0
    assert "quantize:nothing" in run.err
    assert "Traceback" not in run.out + run.err


def test_a_project_without_models_builds_nothing(make_project: Callable[..., Project]) -> None:
    run = make_project(models=()).doit("quantize")
    assert run.code == 0, run.err
    assert run.stages == []


# The command line of our own.


def ours(project: Project, *arguments: str) -> Run:
    """Run ``python -m doit_tflm``."""
    done = subprocess.run(
        [sys.executable, "-m", "doit_tflm", *arguments],
        cwd=project.root,
        env=project.environment(COLUMNS="100", NO_COLOR="1", TERM="dumb"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Run(done.returncode, done.stdout, done.stderr)


def test_the_help_names_the_commands(project: Project) -> None:
    run = ours(project, "--help")
    assert run.code == 0
    assert "quantize" in run.out
    assert "stage" in run.out
    assert ours(project, "stage", "--help").code == 0


@pytest.mark.parametrize("model", ["kws", SCRIPT, f"./{WEIGHTS}"])
def test_quantize_builds_a_model_as_doit_does(project: Project, model: str) -> None:
    run = ours(project, "quantize", model)
    assert run.code == 0, run.err
    assert sorted(run.stages) == sorted(VERBS)
    assert ours(project, "quantize", model).out.startswith(UP_TO_DATE)
    assert project.build().out == UP_TO_DATE, "it is the build of doit quantize:kws"


def test_quantize_needs_no_dodo_file(project: Project) -> None:
    project.path("dodo.py").unlink()
    assert ours(project, "quantize", "kws").code == 0
    assert project.path("firmware/generated/kws_model_data.c").exists()


def test_quantize_of_an_unknown_model_is_a_message(project: Project) -> None:
    run = ours(project, "quantize", "kwz")
    assert run.code == 1
    assert "there is no model 'kwz'; there are kws\n" in run.err


def test_quantize_of_a_model_that_fails_is_a_message(project: Project) -> None:
    project.write(SCRIPT, SPEC + "my_model.epoch = 3\n")
    run = ours(project, "quantize", "kws")
    assert run.code == 1
    assert "did you mean 'epochs'?" in run.out + run.err


def test_a_stage_can_be_run_by_hand(project: Project) -> None:
    for stage in STAGES:
        run = ours(project, "stage", stage, "kws")
        assert run.code == 0, run.err
    names = ("model_data.h", "model_data.c", "op_resolver.h", "golden.h", "golden.c")
    sources = [f"firmware/generated/kws_{name}" for name in names]
    assert run.out.splitlines() == [*sources, "build/kws/sources.json"]
    by_hand = project.outputs()
    project.build()
    assert project.outputs() == by_hand


def test_a_stage_by_hand_says_what_is_missing(project: Project) -> None:
    run = ours(project, "stage", "embed", "kws")
    assert run.code == 1
    assert run.err == "error: build/kws/parameters.json: is missing; run the stages before this one\n"
    assert "there is no stage 'embedd'; use spec, " in ours(project, "stage", "embedd", "kws").err
    assert "there is no model 'kwz'; there are kws" in ours(project, "stage", "spec", "kwz").err


def test_a_stage_can_be_run_from_below_the_project(project: Project) -> None:
    below = Project(project.path("models"))
    run = ours(below, "stage", "spec", "kws")
    assert run.code == 0, run.err
    assert project.path("build/kws/graph.json").exists()
    assert not below.path("build").exists()


@pytest.mark.parametrize("model", ["kws", SCRIPT, WEIGHTS, "build/kws/kws.tflite"])
def test_summarize_shows_what_a_model_holds_as_text_or_json(built: Project, model: str) -> None:
    text = ours(built, "summarize", model, "--no-measure")
    assert text.out.startswith("kws\na test model\n"), text.err
    shown = json.loads(ours(built, "summarize", model, "--no-measure", "--json").out)
    assert (shown["name"], shown["description"], shown["measured"]) == ("kws", "a test model", None)
    measured = json.loads(ours(built, "summarize", model, "--json").out)
    assert measured["measured"] or "not installed" in measured["arena_note"]
    assert "there is no model 'kwz'" in ours(built, "summarize", "kwz").err


# The Python API.


@pytest.mark.parametrize("model", ["kws", SCRIPT, WEIGHTS])
def test_quantize_model_takes_a_name_a_script_or_an_archive(
    project: Project, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(project.root)
    path = quantize_model(model if model == "kws" else Path(model))
    assert path == project.path("build/kws/kws.tflite")
    assert path.read_bytes().startswith(b"\x1c\0\0\0TFL3") or b"TFL3" in path.read_bytes()[:16]
    assert project.build().out == UP_TO_DATE


def test_quantize_model_finds_the_project_of_a_path(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert quantize_model(project.path(SCRIPT)) == project.path("build/kws/kws.tflite")
    assert Path.cwd() == tmp_path
    assert not (tmp_path / "build").exists()


def test_quantize_model_finds_the_project_around_the_current_directory(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path("models"))
    assert quantize_model("kws") == project.path("build/kws/kws.tflite")


def test_quantize_model_again_builds_what_changed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    first = quantize_model("kws").read_bytes()
    project.edit(SCRIPT, "version=1", "version=2")
    second = quantize_model("kws").read_bytes()
    assert second != first
    assert project.build().out == UP_TO_DATE


def test_quantize_model_prints_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.root)
    quantize_model("kws")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("kwz", "there is no model 'kwz'; there are kws"),
        ("models/kwz.py", "models/kwz.py: there is no such file"),
        ("standin.py", "standin.py: defines no ModelSpec"),
    ],
)
def test_quantize_model_of_what_is_not_there_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, model: str, message: str
) -> None:
    monkeypatch.chdir(project.root)
    with pytest.raises(UserError) as caught:
        quantize_model(model)
    assert message in str(caught.value)


def test_quantize_model_raises_what_a_stage_says(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    project.build()
    before = project.outputs()
    project.write(SCRIPT, SPEC + "my_model.epoch = 3\n")
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        quantize_model("kws")
    assert project.outputs() == before
    project.write(SCRIPT, SPEC)
    quantize_model("kws")
