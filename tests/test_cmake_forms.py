"""The CMake module with each form of the C sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_project import GENERATORS, CMakeProject
from conftest import Project
from doit_tflm.header import FORMS

EITHER = pytest.mark.parametrize("generator", GENERATORS)
EVERY_FORM = pytest.mark.parametrize("form", FORMS)
ADD = 'tflm_add_models(TARGET app MODELS kws PROJECT_DIR "{{project}}" FORM {form})'

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("cmake", "ninja", "make", "cc")),
    reason="needs cmake, ninja, make and a C compiler",
)


def set_form(models: Project, form: str) -> None:
    with models.path("models/kws.py").open("a") as stream:
        stream.write(f'my_model.header.form = "{form}"\n')


def firmware(models: Project, generator: str, form: str, **how: str) -> CMakeProject:
    """Return a project that expects the model in a form."""
    made = CMakeProject(models.root.parent / "my app", ["kws"], models.root, generator)
    made.write(**{"add": ADD.format(form=form), **how})  # type: ignore[arg-type]
    return made


def assert_holds_the_model(made: CMakeProject, models: Project) -> None:
    data = models.path("build/kws/kws.tflite").read_bytes()
    program = made.build_dir / "app"
    assert program.read_bytes().count(data) == 1
    assert subprocess.run([program], check=False).returncode == 0


def assert_idle(made: CMakeProject) -> None:
    again = made.build()
    assert (again.code, again.pythons, again.compiled) == (0, 0, []), again.out


@EITHER
@EVERY_FORM
def test_a_form_is_built_and_built_again_when_the_model_changes(built: Project, generator: str, form: str) -> None:
    set_form(built, form)
    made = firmware(built, generator, form)
    configured = made.configure()
    assert configured.returncode == 0, configured.stderr
    first = made.build()
    assert first.code == 0, first.out
    assert_holds_the_model(made, built)
    assert_idle(made)
    built.edit("models/kws.py", "a test model", "another model")
    assert made.build().code == 0
    assert_holds_the_model(made, built)
    assert_idle(made)


@EITHER
def test_configuring_again_compiles_nothing_of_a_single_header(built: Project, generator: str) -> None:
    set_form(built, "single")
    made = firmware(built, generator, "single")
    made.configure()
    assert made.build().compiled == ["kws_model_data.c", "main.c", "use_kws.c"]
    assert made.configure().returncode == 0
    assert_idle(made)


@EITHER
def test_bytes_that_were_replaced_are_assembled_again(built: Project, generator: str) -> None:
    set_form(built, "incbin")
    made = firmware(built, generator, "incbin")
    made.configure()
    made.build()
    path = made.build_dir / "doit_tflm/app/kws_model_data.tflite"
    data = path.read_bytes()
    path.write_bytes(data[::-1])
    assert made.build().code == 0
    assert data[::-1] in (made.build_dir / "app").read_bytes()


def test_incbin_without_an_assembler_is_told_when_cmake_configures(built: Project) -> None:
    done = firmware(built, "Ninja", "incbin", languages="C").configure()
    assert done.returncode != 0
    assert "FORM incbin needs the assembler: call enable_language(ASM) before" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("form", "asked", "message"),
    [
        ("single", "pair", "kws_model_data.c is expected"),
        ("incbin", "pair", "kws_model_data.c is expected"),
        ("pair", "incbin", "kws_model_data.S, kws_model_data.tflite is expected"),
        ("single", "incbin", "kws_model_data.S, kws_model_data.tflite is expected"),
        ("pair", "single", "FORM is single, but header.form of kws is not: correct one of them"),
        ("incbin", "single", "FORM is single, but header.form of kws is not: correct one of them"),
    ],
)
def test_another_form_than_the_specification_s_is_told(
    built: Project, form: str, asked: str, message: str
) -> None:
    set_form(built, form)
    made = firmware(built, "Ninja", asked)
    assert made.configure().returncode == 0
    done = made.build()
    assert done.code != 0
    assert message in done.out
    assert "header.form" in done.out


@EVERY_FORM
def test_a_form_is_vendored_and_builds_without_python(built: Project, form: str, tmp_path: Path) -> None:
    set_form(built, form)
    command = [sys.executable, "-m", "doit_tflm", "vendor", str(tmp_path / "vendored")]
    subprocess.run(command, cwd=built.root, env=built.environment(), check=True, capture_output=True)
    made = firmware(built, "Ninja", form, find=f'include("{tmp_path}/vendored/doit_tflm.cmake")')
    configured = made.configure("-UDOIT_TFLM_EXECUTABLE")
    assert configured.returncode == 0, configured.stderr
    done = made.build()
    assert (done.code, done.pythons) == (0, 0), done.out
    assert_holds_the_model(made, built)
    assert_idle(made)
