"""What a change redoes: the truth table of the design, run through the real doit."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from conftest import SPEC, Project, Run
from doit_tflm import archive, stages

ALL = {"spec", "sample", "calibrate", "quantize", "verify", "embed", "archive", "header"}
FROM_CALIBRATE = ALL - {"spec", "sample"}
FROM_QUANTIZE = FROM_CALIBRATE - {"calibrate"}
FROM_EMBED = FROM_QUANTIZE - {"quantize", "verify"}
UP_TO_DATE = "1 model is up to date\n"

SCRIPT = "models/kws.py"
WEIGHTS = "models/kws.mltk.zip"
BUILDER = """

def build(spec):
    return [spec.epochs, 1]


my_model.build_model_function = build
"""
CSV_SPEC = SPEC.replace(
    "    x = np.linspace(-SCALE, SCALE, 160, dtype=np.float32).reshape(40, 4)\n",
    '    x = np.loadtxt(open("data/points.csv"), dtype=np.float32, delimiter=",", ndmin=2)\n',
)
CSV = "".join(f"{n},{n + 1},{n + 2},{n + 3}\n" for n in range(30))


class Rebuild:
    """A build after an edit: which stages it ran, why, and which outputs changed.

    That the build after it has nothing to do is checked as well.
    """

    def __init__(self, project: Project, edit: Callable[[], object], **environment: str) -> None:
        before = project.outputs()
        edit()
        self.run: Run = project.build(**environment)
        after = project.outputs()
        self.changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        again = project.build(**environment)
        assert again.stages == [], again.out

    @property
    def ran(self) -> set[str]:
        assert len(self.run.stages) == len(set(self.run.stages)), "no stage runs twice"
        return set(self.run.stages)

    def why(self, stage: str) -> str:
        return self.run.why(stage)

    @property
    def changed_model(self) -> bool:
        return "build/kws/kws.tflite" in self.changed

    @property
    def changed_sources(self) -> bool:
        return "firmware/generated/kws_model_data.c" in self.changed


def edited(project: Project, old: str, new: str, file: str = SCRIPT, **environment: str) -> Rebuild:
    """Return what a build does after one text of a file was replaced."""
    return Rebuild(project, lambda: project.edit(file, old, new), **environment)


def test_a_first_build_runs_every_stage_and_a_second_none(project: Project) -> None:
    first = project.build()
    assert sorted(first.stages) == sorted(ALL)
    second = project.build()
    assert second.stages == []
    assert second.out == UP_TO_DATE


# Nothing; touch of any file; a different checkout with equal content.


def test_touching_every_file_redoes_nothing(built: Project) -> None:
    for path in built.root.rglob("*"):
        os.utime(path)
    assert built.build().out == UP_TO_DATE


@pytest.mark.parametrize("seconds", [1, 4_000_000_000], ids=["past", "future"])
def test_a_file_dated_in_the_past_or_future_redoes_nothing(built: Project, seconds: int) -> None:
    for path in built.root.rglob("*"):
        os.utime(path, (seconds, seconds))
    assert built.build().out == UP_TO_DATE


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copyfile], ids=["with its dates", "without its dates"])
def test_a_copy_of_the_whole_project_at_another_path_is_up_to_date(
    built: Project, tmp_path: Path, copy: Callable[[str, str], object]
) -> None:
    assert built.copy_to(tmp_path / "else where" / "copy", copy).build().out == UP_TO_DATE


def test_a_checkout_at_another_path_builds_the_same_bytes(
    built: Project, make_project: Callable[..., Project]
) -> None:
    other = make_project("deeper/other")
    other.build()
    assert other.outputs() == built.outputs()


def test_a_build_from_nothing_over_an_archive_that_holds_the_model_makes_the_same_bytes(built: Project) -> None:
    before = built.outputs()
    shutil.rmtree(built.path("build"))
    shutil.rmtree(built.path("firmware"))
    built.build()
    assert built.outputs() == before


# A comment, docstring or blank line in the spec.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 1.0", "SCALE = 1.0  # of the samples"),
        ("import numpy", '"""A model."""\n\nimport numpy'),
        ("    x = np", "\n\n    # Samples.\n    x = np"),
        ("    x = np", '    """Return the data."""\n    x = np'),
    ],
    ids=["comment", "docstring", "comment in the dataset", "docstring of the dataset"],
)
def test_a_comment_or_docstring_only_reads_the_spec(built: Project, old: str, new: str) -> None:
    done = edited(built, old, new)
    assert done.ran == {"spec"}
    assert done.why("spec") == "models/kws.py changed"
    assert done.changed == set()


def test_blank_lines_only_read_the_spec(built: Project) -> None:
    done = edited(built, "\n\ndef load", "\n\n\n\n\ndef load")
    assert done.ran == {"spec"}
    assert done.changed == set()


def test_another_spelling_of_the_same_settings_only_reads_the_spec(built: Project) -> None:
    done = edited(built, '["inference_input_type"] = "int8"', '["inference_input_type"] = np.int8')
    assert done.ran == {"spec"}
    assert done.changed == set()


# Training settings, and the model builder's code.


@pytest.mark.parametrize(
    "new",
    [
        "my_model.epochs = 4",
        "my_model.epochs = 3\nmy_model.batch_size = 8",
        'my_model.epochs = 3\nmy_model.optimizer = "sgd"',
        "my_model.epochs = 3\nmy_model.train_callbacks = lambda: [print]",
        'my_model.epochs = 3\nmy_model.checkpoint = {"monitor": "val_loss"}',
        'my_model.epochs = 3\nmy_model.early_stopping["patience"] = 3',
        'my_model.epochs = 3\nmy_model.reduce_lr_on_plateau["factor"] = 0.5',
        "my_model.epochs = 3\nmy_model.lr_schedule = lambda epoch, rate: rate",
    ],
    ids=["epochs", "batch size", "optimizer", "callbacks", "checkpoint", "stopping", "plateau", "schedule"],
)
def test_a_training_setting_only_reads_the_spec(built: Project, new: str) -> None:
    done = edited(built, "my_model.epochs = 3", new)
    assert done.ran == {"spec"}
    assert done.changed == {"build/kws/training.json"}


@pytest.mark.parametrize(
    "new",
    ['tensorboard = {"histogram_freq": 1}', "checkpoints_enabled = False", "on_training_complete = print"],
)
def test_what_does_not_change_the_weights_changes_no_facet(built: Project, new: str) -> None:
    done = edited(built, "my_model.epochs = 3", f"my_model.epochs = 3\nmy_model.{new}")
    assert done.ran == {"spec"}
    assert done.changed == set()


def test_the_model_builders_code_only_reads_the_spec(project: Project) -> None:
    project.write(SCRIPT, SPEC + BUILDER)
    project.build()
    done = edited(project, "[spec.epochs, 1]", "[spec.epochs, 2]")
    assert done.ran == {"spec"}
    assert done.changed == {"build/kws/training.json"}


# Settings of quantization.


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_an_input_or_output_type_quantizes_again_without_calibrating(built: Project, side: str, kind: str) -> None:
    key = f"inference_{side}_type"
    done = edited(built, f'"{key}"] = "int8"', f'"{key}"] = "{kind}"')
    assert done.ran == {"spec", *FROM_QUANTIZE}
    assert done.why("quantize") == f"{key}: int8 → {kind}"
    assert done.changed_model
    assert done.changed_sources
    assert "build/kws/calibrated.tflite" not in done.changed


def test_a_float_fallback_quantizes_again_without_calibrating(built: Project) -> None:
    before = built.outputs()
    settings = '\nmy_model.tflite_converter["supported_ops"] = ["TFLITE_BUILTINS_INT8", "TFLITE_BUILTINS"]'
    done = edited(built, "my_model.epochs = 3", f"my_model.epochs = 3{settings}")
    assert done.ran == {"spec", *FROM_QUANTIZE}
    assert done.why("quantize") == (
        "supported_ops: [TFLITE_BUILTINS_INT8] → [TFLITE_BUILTINS, TFLITE_BUILTINS_INT8]"
    )
    assert done.changed_model
    back = edited(built, settings, "")
    assert back.ran == {"spec", *FROM_QUANTIZE}
    assert built.outputs() == before


def test_a_setting_of_the_float_graph_calibrates_again_without_sampling(built: Project) -> None:
    done = edited(
        built,
        "my_model.epochs = 3",
        'my_model.epochs = 3\nmy_model.tflite_converter["allow_custom_ops"] = True',
    )
    assert done.ran == {"spec", *FROM_CALIBRATE}
    assert done.why("calibrate") == "allow_custom_ops: false → true"
    assert done.changed_model
    assert "build/kws/samples.npz" not in done.changed


# What decides the samples.


def test_fewer_samples_redo_everything(built: Project) -> None:
    done = edited(built, 'max_samples"] = 20', 'max_samples"] = 10')
    assert done.ran == ALL
    assert done.why("sample") == "representative_dataset_max_samples: 20 → 10"
    assert done.why("calibrate") == "samples.npz changed"
    assert done.changed_model


def test_a_limit_above_what_there_is_samples_and_stops(built: Project) -> None:
    assert edited(built, 'max_samples"] = 20', 'max_samples"] = 40').ran == ALL
    done = edited(built, 'max_samples"] = 40', 'max_samples"] = 400')
    assert done.ran == {"spec", "sample"}
    assert done.changed == {"build/kws/calibration.json"}


@pytest.mark.parametrize(
    ("old", "new"),
    [("SCALE = 1.0", "SCALE = 2.0"), ("(-SCALE, SCALE, 160", "(SCALE, -SCALE, 160")],
    ids=["a global that it uses", "its own code"],
)
def test_the_datasets_code_redoes_everything(built: Project, old: str, new: str) -> None:
    done = edited(built, old, new)
    assert done.ran == ALL
    assert done.why("sample") == "dataset code changed"
    assert done.changed_model


def test_code_that_gives_equal_samples_stops_the_wave(built: Project) -> None:
    done = edited(built, "x.sum(axis=1)", "x.sum(axis=1) + 0.0")
    assert done.ran == {"spec", "sample"}
    assert "build/kws/samples.npz" not in done.changed
    assert not done.changed_model


def test_a_generator_function_counts_by_its_code(project: Project) -> None:
    generator = (
        "\n\ndef generate():\n    for n in range(30):\n        yield [np.full((1, 4), n, np.float32)]\n\n\n"
        'my_model.tflite_converter["representative_dataset"] = generate\n'
    )
    project.write(SCRIPT, SPEC + generator)
    project.build()
    done = edited(project, "range(30)", "range(31)")
    assert done.ran == ALL
    assert done.why("sample") == "dataset code changed"
    assert done.changed_model
    assert edited(project, "range(31)", "range(0, 31)").ran == {"spec", "sample"}


@pytest.fixture
def with_data(project: Project) -> Project:
    """Return a built project whose dataset opens data/points.csv."""
    project.write("data/points.csv", CSV)
    project.write(SCRIPT, CSV_SPEC)
    project.build()
    return project


def test_a_data_file_that_the_dataset_opens_redoes_everything_but_spec(with_data: Project) -> None:
    done = edited(with_data, "7,8,9,10", "7,8,9,11", "data/points.csv")
    assert done.ran == ALL - {"spec"}
    assert done.why("sample") == "data/points.csv changed"
    assert done.changed_model


def test_a_data_file_that_gives_equal_samples_stops_the_wave(with_data: Project) -> None:
    done = edited(with_data, "7,8,9,10", "7.0,8,9,10", "data/points.csv")
    assert done.ran == {"sample"}
    assert done.changed == set()


def test_a_data_file_outside_of_the_project_counts_as_well(project: Project) -> None:
    project.write("../shared/points.csv", CSV)
    project.write(SCRIPT, CSV_SPEC.replace("data/points.csv", "../shared/points.csv"))
    project.build()
    done = edited(project, "7,8,9,10", "7,8,9,11", "../shared/points.csv")
    assert done.ran == ALL - {"spec"}


def test_a_named_data_file_redoes_everything(project: Project) -> None:
    project.write("data/points.csv", CSV)
    project.write(SCRIPT, CSV_SPEC + 'my_model.data_files = ["data/*.csv"]\n')
    project.build()
    done = edited(project, "7,8,9,10", "7,8,9,11", "data/points.csv")
    assert done.ran == ALL
    assert done.why("spec") == "data/points.csv changed"
    assert done.why("sample").startswith("data/points.csv changed")
    done = Rebuild(project, lambda: project.write("data/more.csv", CSV))
    assert done.ran == {"spec", "sample"}, "equal samples stop the wave"
    assert done.why("spec") == "other files match data/*.csv"


def test_a_named_data_file_counts_though_python_does_not_see_it_read(project: Project) -> None:
    project.write("data/points.bin", "\0" * 640)
    read = (
        "    import ctypes\n\n"
        "    c = ctypes.CDLL(None)\n"
        "    c.fopen.restype = ctypes.c_void_p\n"
        "    x = np.zeros((40, 4), np.float32)\n"
        "    stream = ctypes.c_void_p(c.fopen(b'data/points.bin', b'rb'))\n"
        "    c.fread(ctypes.c_void_p(x.ctypes.data), 1, 640, stream)\n"
        "    c.fclose(stream)\n"
    )
    spec = SPEC.replace("    return x", f"{read}    return x")
    project.write(SCRIPT, spec + 'my_model.data_files = ["data/*.bin"]\n')
    project.build()
    done = Rebuild(project, lambda: project.write("data/points.bin", "\1" * 640))
    assert done.ran == ALL
    assert done.changed_model


def test_a_file_that_the_script_itself_reads_counts_and_redoes_what_it_changes(project: Project) -> None:
    project.write("labels.txt", "no yes on off")
    project.write(SCRIPT, SPEC.replace('["no", "yes", "on", "off"]', 'open("labels.txt").read().split()'))
    project.build()
    done = edited(project, "off", "up", "labels.txt")
    assert done.ran >= {"spec", *FROM_EMBED}
    assert done.ran <= {"spec", "sample", *FROM_EMBED}, "samples may be drawn again, but come out equal"
    assert done.why("embed") == "classes: [no, yes, on, off] → [no, yes, on, up]"


HELPER = "def scale():\n    return 1.0\n\n\ndef unused():\n    return 1.0\n"
HELPED = SPEC.replace("SCALE = 1.0\n", "").replace("import numpy", "import helper\nimport numpy", 1)
HELPED = HELPED.replace("    x = np", "    SCALE = helper.scale()\n    x = np")


@pytest.mark.parametrize("helper", ["helper.py", "helper/__init__.py", "models/helper/__init__.py"])
def test_a_helper_module_that_the_dataset_uses_redoes_everything(project: Project, helper: str) -> None:
    project.write(helper, HELPER)
    project.write(SCRIPT, HELPED)
    project.build()
    done = edited(project, "def scale():\n    return 1.0", "def scale():\n    return 2.0", helper)
    assert done.ran == ALL
    assert done.why("spec") == f"{helper} changed"
    assert "dataset code changed" in done.why("sample")
    assert done.changed_model


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def unused():\n    return 1.0", "def unused():\n    return 2.0"),
        ("def unused", "# Not used.\ndef unused"),
    ],
    ids=["code that the dataset does not use", "comment"],
)
def test_what_the_dataset_does_not_use_of_a_helper_module_changes_no_output(
    project: Project, old: str, new: str
) -> None:
    project.write("helper.py", HELPER)
    project.write(SCRIPT, HELPED)
    project.build()
    done = edited(project, old, new, "helper.py")
    assert {"spec"} <= done.ran <= {"spec", "sample"}
    assert not done.changed - {"build/kws/training.json"}


def test_helper_modules_of_the_same_name_are_each_their_own_models(make_project: Callable[..., Project]) -> None:
    project = make_project(models=("a", "b"))
    for name, scale in (("a", "1.0"), ("b", "3.0")):
        project.write(f"libraries/{name}/helper.py", HELPER.replace("1.0", scale))
        path = f"import sys\n\nsys.path.insert(0, 'libraries/{name}')\n"
        project.write(f"models/{name}.py", path + HELPED)
    project.build()
    samples = {name: project.path(f"build/{name}/samples.npz").read_bytes() for name in "ab"}
    assert samples["a"] != samples["b"]
    project.edit("libraries/a/helper.py", "def scale():\n    return 1.0", "def scale():\n    return 3.0")
    run = project.build()
    assert set(run.ran) == {f"a:{stage}" for stage in ALL}
    assert project.path("build/a/samples.npz").read_bytes() == samples["b"]
    assert project.build().stages == []


# The weights, and the archive that they are in.


def test_new_weights_calibrate_again_without_evaluating_or_sampling(built: Project) -> None:
    done = Rebuild(built, lambda: archive.update_members(built.path(WEIGHTS), {"kws.keras": b"trained again"}))
    assert done.ran == FROM_CALIBRATE
    assert done.why("calibrate") == "kws.keras changed"
    assert done.changed_model


def test_new_weights_in_a_file_calibrate_again(project: Project) -> None:
    project.write("trained/best.keras", "weights")
    project.write(SCRIPT, SPEC.replace("epochs = 3", 'epochs = 3\nmy_model.weights = "trained/best.keras"'))
    project.build()
    done = edited(project, "weights", "trained again", "trained/best.keras")
    assert done.ran == FROM_CALIBRATE
    assert done.why("calibrate") == "trained/best.keras changed"


def test_an_archive_rewritten_with_the_same_weights_redoes_nothing(built: Project) -> None:
    def rewrite() -> None:
        path = built.path(WEIGHTS)
        members = {name: archive.read_member(path, name) for name in archive.members(path)}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            new.writestr("train/log.txt", "epoch 1")
            for name, content in reversed(members.items()):
                assert content is not None
                new.writestr(name, content)

    done = Rebuild(built, rewrite)
    assert done.run.out == UP_TO_DATE
    assert done.changed == set()


# What is embedded, and what the C sources are called.


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('description="a test model"', 'description="b"', "description: a test model → b"),
        ("version=1", "version=2", "version: 1 → 2"),
        ('"off"]', '"up"]', "classes: [no, yes, on, off] → [no, yes, on, up]"),
        ('"volume_db"] = 5.0', '"volume_db"] = 6.0', "volume_db: 5.0 → 6.0"),
    ],
    ids=["description", "version", "classes", "parameter"],
)
def test_editing_the_description_or_a_parameter_does_not_requantize(
    built: Project, old: str, new: str, why: str
) -> None:
    done = edited(built, old, new)
    assert done.ran == {"spec", *FROM_EMBED}
    assert done.why("embed") == why
    assert done.changed_model
    assert done.changed_sources
    assert "build/kws/quantized.tflite" not in done.changed


def test_a_new_parameter_and_another_type_of_it_embed_again(built: Project) -> None:
    done = edited(built, '"volume_db"] = 5.0', '"volume_db"] = 5')
    assert done.ran == {"spec", *FROM_EMBED}
    assert "volume_db: " in done.why("embed")
    line = '\nmy_model.model_parameters["gain"] = 2'
    done = edited(built, "my_model.epochs = 3", "my_model.epochs = 3" + line)
    assert done.ran == {"spec", *FROM_EMBED}
    assert "gain: none → 2" in done.why("embed")


@pytest.mark.parametrize(
    ("attribute", "value"), [("array_name", "g_kws"), ("section", ".model")], ids=["array name", "section"]
)
def test_names_in_the_c_sources_only_write_the_c_sources(built: Project, attribute: str, value: str) -> None:
    done = edited(built, "my_model.epochs = 3", f'my_model.epochs = 3\nmy_model.header.{attribute} = "{value}"')
    assert done.ran == {"spec", "header"}
    assert done.why("header") == f'{attribute}: "" → {value}'
    assert done.changed_sources
    assert not done.changed_model


def test_another_header_directory_moves_the_c_sources(built: Project) -> None:
    sources = {path.name: path.read_bytes() for path in built.path("firmware/generated").iterdir()}
    done = edited(built, "my_model.epochs = 3", 'my_model.epochs = 3\nmy_model.header.directory = "firmware/src"')
    assert done.ran == {"spec", "header"}
    assert {path.name: path.read_bytes() for path in built.path("firmware/src").iterdir()} == sources
    assert not list(built.path("firmware/generated").glob("*"))


def test_another_header_directory_of_the_project_moves_the_c_sources(built: Project) -> None:
    sources = {path.name: path.read_bytes() for path in built.path("firmware/generated").iterdir()}
    table = built.path("pyproject.toml").read_text()
    done = Rebuild(built, lambda: built.write("pyproject.toml", table + 'header_dir = "firmware/src"\n'))
    assert done.ran == {"header"}
    assert done.why("header") == "header_dir is now firmware/src"
    assert {path.name: path.read_bytes() for path in built.path("firmware/src").iterdir()} == sources
    assert not list(built.path("firmware/generated").glob("*"))


def test_c_sources_that_were_edited_stay_when_their_directory_is_no_longer_used(built: Project) -> None:
    built.write("firmware/generated/kws_model_data.c", "mine")
    built.edit(SCRIPT, "my_model.epochs = 3", 'my_model.epochs = 3\nmy_model.header.directory = "firmware/src"')
    built.build()
    assert built.path("firmware/generated/kws_model_data.c").read_text() == "mine"
    assert not built.path("firmware/generated/kws_model_data.h").exists()


# Outputs that were harmed: one model for each output, so that each test is one build.

OUTPUTS = {
    "a": ("spec", "build/a/calibration.json"),
    "b": ("spec", "build/b/training.json"),
    "c": ("sample", "build/c/samples.npz"),
    "d": ("calibrate", "build/d/calibrated.tflite"),
    "e": ("quantize", "build/e/quantized.tflite"),
    "f": ("quantize", "build/f/toolchain.json"),
    "g": ("embed", "build/g/g.tflite"),
    "h": ("header", "firmware/generated/h_model_data.h"),
    "i": ("header", "firmware/generated/i_model_data.c"),
    "k": ("archive", "models/k.mltk.zip"),
}


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory, template: Project) -> Project:
    project = template.copy_to(tmp_path_factory.mktemp("many") / "project")
    project.path(SCRIPT).unlink()
    for name in OUTPUTS:
        project.add_model(name)
    project.build()
    return project


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _edit_by_hand(path: Path) -> None:
    """Change one byte; neither size nor modification time tell."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


HARMS: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "edited by hand": _edit_by_hand,
    "replaced by a directory": _replace_by_directory,
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_output_is_made_again_and_equal_bytes_stop_the_wave(
    many: Project, tmp_path: Path, harm: str
) -> None:
    project = many.copy_to(tmp_path / "project")
    before = project.outputs()
    for name, (stage, path) in OUTPUTS.items():
        if stage != "archive":
            HARMS[harm](project.path(path))
        elif harm == "deleted":
            weights = archive.read_member(project.path(path), f"{name}.keras")
            project.path(path).unlink()
            archive.update_members(project.path(path), {f"{name}.keras": weights or b""})
        else:
            archive.update_members(project.path(path), {f"{name}.tflite": b"another"})
    run = project.build()
    assert sorted(run.ran) == sorted(f"{name}:{stage}" for name, (stage, _) in OUTPUTS.items())
    assert project.outputs() == before
    verb = "is missing" if harm in ("deleted", "replaced by a directory") else "was changed by another hand"
    assert f"d: calibrate  (calibrated.tflite {verb})" in run.out
    assert project.build().stages == []


def test_all_outputs_deleted_are_made_again_with_the_same_bytes(built: Project) -> None:
    before = built.outputs()
    for path in [*built.path("build/kws").iterdir(), *built.path("firmware/generated").iterdir()]:
        path.unlink()
    built.build()
    assert built.outputs() == before


# Upgrades.


def upgraded(project: Project, package: str) -> dict[str, str]:
    """Return an environment in which a package has version 99.0, as far as its metadata tell."""
    directory = f"upgraded/{package.replace('-', '_')}-99.0.dist-info"
    project.write(f"{directory}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.0\n")
    project.write(f"{directory}/top_level.txt", package.replace("-", "_") + "\n")
    entry_points = metadata.distribution(package).read_text("entry_points.txt")
    project.write(f"{directory}/entry_points.txt", entry_points or "")
    places = [str(project.path("upgraded")), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(places)}


def test_a_tensorflow_upgrade_calibrates_and_quantizes_again_without_sampling(built: Project) -> None:
    done = Rebuild(built, lambda: None, **upgraded(built, "tensorflow"))
    assert done.ran == {"spec", "calibrate", "quantize", "header"}, "the C sources name the version"
    for stage in ("spec", "calibrate", "quantize"):
        assert done.why(stage).startswith("tensorflow: ")
        assert done.why(stage).endswith(" → 99.0")
    assert not done.changed_model
    back = Rebuild(built, lambda: None)
    assert back.ran == {"spec", "calibrate", "quantize", "header"}


def test_an_upgrade_of_a_package_that_the_script_uses_samples_again(project: Project) -> None:
    project.write(
        SCRIPT, SPEC.replace("    x = np", "    import flatbuffers\n\n    flatbuffers.Builder\n    x = np")
    )
    project.build()
    done = Rebuild(project, lambda: None, **upgraded(project, "flatbuffers"))
    assert done.ran == {"spec", "sample"}
    assert done.why("sample").startswith("flatbuffers: ")
    assert done.why("sample").endswith(" → 99.0")


def test_an_upgrade_of_a_package_that_the_script_does_not_use_redoes_nothing(built: Project) -> None:
    assert built.build(**upgraded(built, "flatbuffers")).out == UP_TO_DATE


def test_an_upgrade_of_doit_tflm_runs_every_stage(built: Project) -> None:
    patch = "import doit_tflm._version\n\ndoit_tflm._version.__version__ = '99.0'\n"
    built.write("patched/sitecustomize.py", patch)
    done = Rebuild(built, lambda: None, PYTHONPATH=str(built.path("patched")))
    assert done.ran == ALL
    assert done.why("embed").startswith("doit-tflm: ")
    assert done.why("embed").endswith(" → 99.0")
    assert not done.changed_model
    assert "doit-tflm 99.0" in built.path("firmware/generated/kws_model_data.h").read_text()


def test_another_converter_calibrates_and_quantizes_again(built: Project) -> None:
    built.write("standin2.py", built.path("standin.py").read_text())
    done = edited(built, "standin:Converter", "standin2:Converter", "pyproject.toml")
    assert done.ran == {"calibrate", "quantize"}
    assert done.why("calibrate") == "converter is now standin2:Converter"


def test_a_date_from_source_date_epoch_embeds_again(built: Project) -> None:
    dated = Rebuild(built, lambda: None, SOURCE_DATE_EPOCH="1700000000")
    assert dated.ran == FROM_EMBED
    assert dated.changed_model
    undated = Rebuild(built, lambda: None)
    assert undated.ran == FROM_EMBED
    assert undated.changed_model


@pytest.mark.parametrize("epoch", ["today", "1.5", str(10**20)])
def test_a_date_that_is_none_is_a_message(epoch: str, built: Project) -> None:
    run = built.doit("quantize", SOURCE_DATE_EPOCH=epoch)
    assert run.code == 1
    assert f"SOURCE_DATE_EPOCH: is '{epoch}'; give the seconds since 1970" in run.out
    assert "traceback" not in run.out


# After any sequence of edits, the outputs equal those of a clean build.


def _weights(content: bytes) -> Callable[[Project], object]:
    return lambda project: archive.update_members(project.path(WEIGHTS), {"kws.keras": content})


def _replace(old: str, new: str, file: str = SCRIPT) -> Callable[[Project], object]:
    return lambda project: project.edit(file, old, new)


def _delete(file: str) -> Callable[[Project], object]:
    return lambda project: project.path(file).unlink()


INPUT_TYPE = ('input_type"] = "int8"', 'input_type"] = "uint8"')
SEQUENCES: dict[str, list[Callable[[Project], object]]] = {
    "there and back": [_replace(*INPUT_TYPE), _replace(*reversed(INPUT_TYPE))],
    "weights there and back": [_weights(b"new"), _replace("version=1", "version=2"), _weights(b"weights")],
    "all at once": [
        lambda project: [
            edit(project)
            for edit in (_replace(*INPUT_TYPE), _weights(b"new"), _replace("SCALE = 1.0", "SCALE = 3.0"))
        ]
    ],
    "one after the other": [
        _replace("SCALE = 1.0", "SCALE = 3.0"),
        _weights(b"new"),
        _replace(*INPUT_TYPE),
        _replace("epochs = 3", 'epochs = 3\nmy_model.header.directory = "firmware/src"'),
        _replace('"a test model"', '"another"'),
        _replace("epochs = 3", "epochs = 5"),
    ],
    "edited while outputs are gone": [
        lambda project: [_replace(*INPUT_TYPE)(project), _delete("build/kws/samples.npz")(project)],
        lambda project: [_weights(b"new")(project), _delete("build/kws/kws.tflite")(project)],
        lambda project: [
            _replace("SCALE = 1.0", "SCALE = 3.0")(project),
            _delete("build/kws/graph.json")(project),
        ],
    ],
    "an output swapped for an earlier one": [
        lambda project: shutil.copy(project.path("build/kws/calibrated.tflite"), project.path("old.tflite")),
        _weights(b"new"),
        lambda project: shutil.copy(project.path("old.tflite"), project.path("build/kws/calibrated.tflite")),
    ],
    "the journal lost": [_weights(b"new"), _delete("build/.doit-tflm.journal"), _replace(*INPUT_TYPE)],
}


@pytest.mark.parametrize("edits", SEQUENCES.values(), ids=SEQUENCES)
def test_after_any_sequence_of_edits_the_outputs_are_those_of_a_clean_build(
    built: Project, make_project: Callable[..., Project], edits: list[Callable[[Project], object]]
) -> None:
    for edit in edits:
        edit(built)
        built.build()
    clean = make_project("clean")
    clean.write(SCRIPT, built.path(SCRIPT).read_text())
    archive.update_members(
        clean.path(WEIGHTS), {"kws.keras": archive.read_member(built.path(WEIGHTS), "kws.keras") or b""}
    )
    clean.build()
    assert built.outputs() == clean.outputs()
    assert built.build().stages == []


def test_the_archive_holds_the_specification_of_when_its_model_was_made(built: Project) -> None:
    made_by = archive.read_member(built.path(WEIGHTS), "kws.py")
    assert made_by == built.path(SCRIPT).read_bytes()
    built.edit(SCRIPT, "epochs = 3", "epochs = 5")
    built.build()
    assert archive.read_member(built.path(WEIGHTS), "kws.py") == made_by
    built.edit(SCRIPT, "version=1", "version=2")
    built.build()
    assert archive.read_member(built.path(WEIGHTS), "kws.py") == built.path(SCRIPT).read_bytes()


def test_facets_are_canonical_json_without_absolute_paths(built: Project) -> None:
    for path in built.path("build/kws").glob("*.json"):
        text = path.read_text()
        assert text == json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n"
        assert str(built.root) not in text


def test_a_file_that_is_looked_for_in_vain_is_an_input_that_nothing_waits_for(project: Project) -> None:
    look = "    try:\n        open('data/extra.csv').close()\n    except OSError:\n        pass\n    x = np"
    project.write(SCRIPT, SPEC.replace("    x = np", look))
    project.build()
    assert project.build().out == UP_TO_DATE
    project.write("data/extra.csv", "1\n")
    assert project.build().why("sample") == "data/extra.csv is new"


def test_a_damaged_list_of_sources_is_written_again(built: Project) -> None:
    built.write("build/kws/sources.json", "{")
    assert built.build().stages == ["header"]
    assert built.build().out == UP_TO_DATE


def test_a_new_file_in_a_directory_that_the_dataset_lists_samples_again(project: Project) -> None:
    project.write("data/a.txt", "1\n")
    script = SPEC.replace("import numpy", "from pathlib import Path\n\nimport numpy")
    gain = "    gain = sum(int(path.read_text()) for path in sorted(Path('data').glob('*.txt')))\n"
    project.write(SCRIPT, script.replace("    x = np", f"{gain}    x = gain * np"))
    project.build()
    done = Rebuild(project, lambda: project.write("data/b.txt", "2\n"))
    assert {"sample", "calibrate"} <= done.ran
    assert done.why("sample") == "other files match data/*"


def test_an_edit_of_the_converter_of_the_project_converts_again(built: Project) -> None:
    done = Rebuild(
        built, lambda: built.edit("standin.py", '"""Stands in for TensorFlow\'s."""', '"""Stands in."""')
    )
    assert done.ran == {"calibrate", "quantize"}
    assert done.why("quantize") == "standin.py changed"


def test_an_archive_that_appears_later_gets_its_model(project: Project) -> None:
    project.path(WEIGHTS).rename(project.path("models/other.zip"))
    project.write("weights.keras", "weights")
    project.write(SCRIPT, f'{SPEC}my_model.weights = "weights.keras"\n')
    project.build()
    done = Rebuild(project, lambda: project.path("models/other.zip").rename(project.path(WEIGHTS)))
    assert done.ran == {"archive"}
    assert archive.read_member(project.path(WEIGHTS), "kws.tflite") is not None


def test_a_script_that_is_edited_between_spec_and_sample_is_sampled_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    stages.specify(SCRIPT, "build/kws", "", SCRIPT)
    assert SCRIPT not in stages.sample(SCRIPT, "build/kws")["inputs"]
    project.edit(SCRIPT, "SCALE = 1.0", "SCALE = 7.0")
    found = stages.sample(SCRIPT, "build/kws")
    assert found["inputs"][SCRIPT] is None, "unknown, which is never what is there"


def test_two_models_with_the_same_names_in_c_are_refused(project: Project) -> None:
    project.add_model("Kws")
    run = project.doit("quantize")
    assert run.code != 0
    assert run.err == "ERROR: models/Kws.py and models/kws.py would have the same names in C; rename one of them\n"


def test_a_helper_whose_name_begins_with_an_underscore_is_no_model(project: Project) -> None:
    project.write("models/_common.py", "SCALE = 2.0\n")
    project.write(SCRIPT, SPEC.replace("SCALE = 1.0", "from _common import SCALE"))
    project.build()
    done = Rebuild(project, lambda: project.write("models/_common.py", "SCALE = 3.0\n"))
    assert {"spec", "sample", "calibrate"} <= done.ran


def test_numpy_numbers_in_a_list_are_parameters_like_others(project: Project) -> None:
    project.write(SCRIPT, f'{SPEC}my_model.model_parameters["means"] = [np.float32(1.5), np.float32(2.5)]\n')
    project.build()
    assert project.build().out == UP_TO_DATE
