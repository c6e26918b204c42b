"""What the guides say is tried: their code runs, their names exist, their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import DODO, Project
from doit_tflm import archive, settings, spec
from doit_tflm.config import Config, read_config
from doit_tflm.firmware_settings import Firmware
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
    values |= {f"firmware.{name}": list(value) if value == () else value for name, value in settings_of_firmware}
    for name, value in values.items():
        assert f"| `{name}` | `{value}` |" in text, name
    assert read_config(ROOT) == Config(), "pyproject.toml writes the defaults out"


def test_the_reference_archives_are_small() -> None:
    for path in (ROOT / "models").glob("*.mltk.zip"):
        assert path.stat().st_size < 2_000_000
        assert archive.members(path)
