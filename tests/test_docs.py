"""What the guides say is tried: their code runs, their names exist, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import doit_tflm
from conftest import DODO, Project
from doit_tflm import TfliteModel, Typed, UserError, archive, settings, spec
from doit_tflm.__main__ import app
from doit_tflm.config import Config, read_config
from doit_tflm.firmware_settings import Firmware
from doit_tflm.key_values import from_arguments
from doit_tflm.parameters import decode_typed, encode
from doit_tflm.script import loaded

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(guide: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / guide).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", guide.read_text()):
        assert (guide.parent / target).exists(), target


def test_the_dodo_of_the_guide_is_the_one_that_the_tests_use() -> None:
    assert blocks("docs/new-project.md")[0] == DODO


def test_the_specification_of_the_guide_is_one(tmp_path: Path) -> None:
    path = tmp_path / "twice.py"
    path.write_text(blocks("docs/specification.md")[0])
    with loaded(str(path)) as script:
        script.spec.tflite_converter.check()
        assert script.spec.name == "twice"
        assert script.spec.epochs == 2


@pytest.mark.slow
def test_the_specification_of_the_guide_trains_and_builds(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("dodo.py", DODO)
    project.write("models/twice.py", blocks("docs/specification.md")[0])
    run = project.doit("train:twice")
    assert run.code == 0, run.out + run.err
    assert (
        "#define TWICE_MODEL_INPUT0_TYPE int8_t"
        in project.path("firmware/generated/twice_model_data.h").read_text()
    )


@pytest.mark.slow
def test_the_training_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    call, specification = blocks("docs/training.md")
    project = Project(tmp_path)
    project.write("pyproject.toml", "")
    project.write("models/twice.py", specification)
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "twice.mltk.zip 2 twice.tflite\n", done.stderr
    assert "models/twice.mltk.zip 2 " in project.path("build/twice/train.log").read_text()


def test_the_parameters_of_the_guide_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(blocks("docs/formats.md")[0])
    with loaded(str(path)) as script:
        assert set(script.spec.model_parameters) == {"volume_db", "channels"}


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `doit-tflm` is this one."""
    entry = tmp_path / "bin/doit-tflm"
    entry.parent.mkdir()
    entry.write_text(f'#!/bin/sh\nexec {sys.executable} -m doit_tflm "$@"\n')
    entry.chmod(0o755)
    return {**Project(tmp_path).environment(), "PATH": f"{entry.parent}:{os.environ['PATH']}"}


def done(command: list[str], cwd: Path, environment: dict[str, str]) -> str:
    run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_commands_of_the_guide_of_parameters_do_what_it_says(tmp_path: Path, commands: dict[str, str]) -> None:
    data = archive.read_member(ROOT / "models/sine.mltk.zip", "sine.tflite")
    assert data is not None
    (tmp_path / "model.tflite").write_bytes(data)
    (tmp_path / "params.json").write_text(blocks("docs/parameters.md", "json")[0])
    done(["sh", "-e", "-c", blocks("docs/parameters.md", "sh")[0]], tmp_path, commands)
    found = TfliteModel.load(tmp_path / "model.tflite").typed_parameters
    assert found["volume"] == Typed("float", 10.0)
    assert found["log_level"] == Typed("str", "debug")
    assert found["channels"] == Typed("uint8", 2)
    copy = TfliteModel.load(tmp_path / "copy.tflite").typed_parameters
    assert (copy["volume"], copy["threshold"]) == (Typed("float", 12.5), Typed("double", 0.1))
    assert copy["key"] == Typed("bin", b"\x00\xff\x10")
    assert TfliteModel.load(tmp_path / "copies/model.tflite").description == "for board 7"
    (tmp_path / "model.tflite").write_bytes(data)
    assert done([sys.executable, "-c", blocks("docs/parameters.md")[1]], tmp_path, commands) == "10.0\n"


def test_the_arguments_of_the_table_of_types_have_these_types() -> None:
    table = re.search(r"^## Types\n(.*?)^## ", (ROOT / "docs/parameters.md").read_text(), re.MULTILINE | re.DOTALL)
    assert table is not None
    for row in re.findall(r"^\| (`.*?)\|.*\|(.*)\|$", table[1], re.MULTILINE):
        kinds = set(re.findall(r"`(\w+)`", row[0]))
        for argument in re.findall(r"`([^`]+=[^`]+)`", row[1]):
            values = from_arguments(shlex.split(argument))
            read = decode_typed(encode(values))
            assert {typed.type for typed in read.values()} <= kinds, argument


def test_the_parameters_of_the_specification_in_the_guide_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(blocks("docs/parameters.md")[0])
    with loaded(str(path)) as script:
        assert set(script.spec.model_parameters) == {"volume_db", "log_level", "channels"}


def test_an_archive_is_read_as_the_guide_does(commands: dict[str, str]) -> None:
    assert done([sys.executable, "-c", blocks("docs/archive.md")[0]], ROOT, commands) == "sine 1\n"


def test_the_guide_of_archives_names_the_members_of_ours() -> None:
    text = (ROOT / "docs/archive.md").read_text()
    for path in (ROOT / "models").glob("*.mltk.zip"):
        name = path.name.removesuffix(".mltk.zip")
        for member in archive.members(path):
            general = member.replace(name, "NAME")
            assert f"`{general}`" in text or general.startswith(("eval/h5/", "eval/tflite/")), member


def test_the_c_code_of_the_guide_from_xxd_compiles(project: Project) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    first, second = (
        text.replace("sine_model", "kws_model").replace("SINE_", "KWS_")
        for text in blocks("docs/from-xxd.md", "c")
    )
    project.build()
    generated = project.path("firmware/generated")

    def compiled(text: str) -> None:
        project.write("main.c", f"{text}\nint main(void) {{ return 0; }}\n")
        sources = [project.path("main.c"), generated / "kws_model_data.c"]
        command = [
            "gcc",
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            f"-I{generated}",
            *map(str, sources),
            "-o",
        ]
        done([*command, str(project.path("program"))], project.root, project.environment())

    compiled(first)
    setting = blocks("docs/from-xxd.md")[0].splitlines()[-1]
    project.write("models/kws.py", f"{project.path('models/kws.py').read_text()}\n{setting}\n")
    project.build()
    compiled(second)


def test_xxd_does_what_the_guide_says_of_it(tmp_path: Path) -> None:
    if shutil.which("xxd") is None:
        pytest.skip("xxd is not installed")
    (tmp_path / "sine.tflite").write_bytes(b"TFL3")
    text = subprocess.run(
        ["xxd", "-i", "sine.tflite"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert text.startswith("unsigned char sine_tflite[] = {")
    assert "unsigned int sine_tflite_len = 4;" in text


def test_the_settings_of_the_guide_of_quantization_can_be_had_together(tmp_path: Path) -> None:
    text = blocks("docs/quantization.md")[0].replace("import tensorflow as tf\n", "")
    for name, value in {"tf.lite.Optimize.": '"DEFAULT"', "tf.lite.OpsSet.": '"TFLITE_BUILTINS_INT8"'}.items():
        text = re.sub(rf"{name}\w+", value, text)
    path = tmp_path / "m.py"
    path.write_text(text.replace("tf.int8", '"int8"'))
    with loaded(str(path)) as script:
        script.spec.tflite_converter.check()
        assert script.spec.tflite_converter.mode == "int8"


def test_what_the_guide_of_quantization_says_is_refused_is() -> None:
    for values in (
        {"representative_dataset": None},
        {"supported_ops": ["SELECT_TF_OPS"]},
        {"supported_ops": ["EXPERIMENTAL_STABLEHLO_OPS"]},
        {"inference_input_type": "int16"},
        {"optimizations": []},
        {"optimizations": [], "supported_ops": ["TFLITE_BUILTINS"], "inference_output_type": "uint8"},
        {"supported_ops": [settings.INT16X8_OPS], "inference_input_type": "int8"},
        {"supported_ops": [settings.INT16X8_OPS, settings.INT8_OPS]},
    ):
        with pytest.raises(UserError):
            settings.ConverterSettings(values).check()
    for values in (
        {"optimizations": [], "supported_ops": ["TFLITE_BUILTINS"], "representative_dataset": None},
        {"supported_ops": ["TFLITE_BUILTINS"]},
        {"supported_ops": [settings.INT8_OPS, "TFLITE_BUILTINS"], "inference_input_type": "uint8"},
        {"supported_ops": [settings.INT16X8_OPS], "inference_input_type": "int16"},
    ):
        settings.ConverterSettings(values).check()


def test_the_python_of_the_guide_of_quantization_does_what_it_says(
    project: Project, commands: dict[str, str]
) -> None:
    text = blocks("docs/quantization.md")[1].replace('"sine"', '"kws"')
    assert done([sys.executable, "-c", text], project.root, commands) == "float32\nchanged in memory\n"


@pytest.mark.slow
def test_the_commands_of_the_guide_of_quantization_do_what_it_says(
    tmp_path: Path, commands: dict[str, str]
) -> None:
    for name in ("pyproject.toml", "models/sine.py", "models/sine.mltk.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    lines = [
        line
        for line in blocks("docs/quantization.md", "sh")[0].splitlines()
        if "best" not in line and "-test" not in line
    ]
    assert len(lines) == 3
    printed = done(["sh", "-e", "-c", "\n".join(lines)], tmp_path, commands)
    assert printed.count("FULLY_CONNECTED") >= 9
    made = TfliteModel.load(tmp_path / "sine.tflite").data
    assert made == (tmp_path / "build/sine/sine.tflite").read_bytes()
    assert made == archive.read_member(tmp_path / "models/sine.mltk.zip", "sine.tflite")
    assert (tmp_path / "build/sine/once.tflite").read_bytes() != made


@pytest.mark.slow
def test_the_first_example_of_mltks_guide_does_what_ours_says(tmp_path: Path, commands: dict[str, str]) -> None:
    name = "image_classification"
    for file in ("pyproject.toml", f"models/{name}.py", f"models/{name}.mltk.zip"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    path = tmp_path / f"models/{name}.mltk.zip"
    train, edit, quantize = blocks("docs/mltk.md", "sh")[0].splitlines()
    assert train == f"doit-tflm train {name}"
    done(["sh", "-c", f"{train} --epochs 1"], tmp_path, commands)
    before = {member: archive.read_member(path, member) for member in archive.members(path)}
    done(["sh", "-c", edit], tmp_path, commands)
    printed = done(["sh", "-c", quantize], tmp_path, commands)
    assert "tf.float32" in (tmp_path / f"models/{name}.py").read_text()
    after = {member: archive.read_member(path, member) for member in archive.members(path)}
    changed = {member for member in before.keys() | after.keys() if before.get(member) != after.get(member)}
    assert changed == {f"{name}.tflite", f"{name}.tflite.summary.txt", f"{name}.py"}
    assert TfliteModel(after[f"{name}.tflite"] or b"").outputs[0].dtype == "float32"
    assert f"{name}: quantize " in printed
    assert f"{name}: calibrate" not in printed
    assert f"{name}: sample" not in printed


def test_the_guides_name_every_public_name_command_and_option() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    for name in doit_tflm.__all__:
        assert f"`{name}`" in text, name
    for name in vars(TfliteModel):
        assert name.startswith("_") or name == "path" or f"`{name}`" in text, name
    root: Any = typer.main.get_command(app)
    rows = dict(re.findall(r"^\| `doit-tflm ?([a-z-]*)[^`]*` \| (.*?) \|", text, re.MULTILINE))
    commands = {name: command for name, command in root.commands.items() if not command.hidden}
    assert rows.keys() == {"", *commands}
    for name, command in {"": root, **commands}.items():
        options = [
            option
            for one in command.params
            if one.param_type_name == "option"
            for option in (*one.opts, *one.secondary_opts)
        ]
        named = set(re.findall(r"`(--[a-z-]+)`", rows[name]))
        assert named == {option for option in options if option.startswith("--")} - {"--help"}, name


def test_a_task_that_needs_an_array_comes_after_it_as_the_guide_says(project: Project) -> None:
    task = blocks("docs/project.md")[0].replace("make -C app", "ls firmware/generated").replace("sine", "kws")
    project.write("dodo.py", f"{DODO}\n\n{task}")
    run = project.doit("app")
    assert run.code == 0, run.out + run.err
    assert run.out.index("kws: header") < run.out.index(".  app")
    assert "kws_model_data.c" in run.out


def test_the_guides_name_every_attribute_setting_and_default() -> None:
    text = (ROOT / "docs/specification.md").read_text()
    for name in spec.attribute_names():
        assert f"`{name}`" in text or f"`{name}." in text, name
    text = (ROOT / "docs/quantization.md").read_text()
    for name in settings.ConverterSettings():
        assert f"`{name}`" in text, name
    text = (ROOT / "docs/project.md").read_text()
    settings_of_firmware = vars(Firmware()).items()
    values = {name: value for name, value in vars(Config()).items() if name != "firmware"}
    values |= {
        f"firmware.{name}": list(value) if isinstance(value, tuple) else value
        for name, value in settings_of_firmware
    }
    for name, value in values.items():
        assert f"| `{name}` | `{value}` |" in text, name
    assert read_config(ROOT) == Config(), "pyproject.toml writes the defaults out"


def test_the_reference_archives_are_small() -> None:
    for path in (ROOT / "models").glob("*.mltk.zip"):
        assert path.stat().st_size < 2_000_000
        assert archive.members(path)
