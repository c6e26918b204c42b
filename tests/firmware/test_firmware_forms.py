"""The programs of firmware/ with each form of the C sources, on this machine and on the emulated boards."""

from __future__ import annotations

from pathlib import Path

import pytest
from firmware_builds import BOARDS, FIRMWARE, Programs, build, must, need
from test_firmware import readonly_copies

from conftest import SPEC, Project
from doit_tflm.header import FORMS

DOUBLE = Path(__file__).parent / "tflm_double"
EVERY_FORM = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def forms(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a model for each form, named after it."""
    project = template.copy_to(tmp_path_factory.mktemp("forms") / "project")
    project.path("models/kws.py").unlink()
    project.path("models/kws.mltk.zip").unlink()
    for name in project.path("firmware/generated").iterdir():
        name.unlink()
    for form in FORMS:
        project.add_model(form, f'{SPEC}my_model.header.form = "{form}"\n')
    project.build()
    return project


@pytest.fixture(scope="module", params=list(BOARDS))
def programs(request: pytest.FixtureRequest, forms: Project, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    target = str(request.param)
    return build(tmp_path_factory.mktemp(target), target, forms.path("firmware/generated"))


@EVERY_FORM
def test_the_selfcheck_passes_in_every_form(form: str, programs: Programs) -> None:
    code, out = programs.run(f"selfcheck_{form}")
    assert out == f"PASS {form}: the array is the model that the header describes\n"
    assert code == 0


@EVERY_FORM
def test_the_linked_program_holds_one_read_only_copy(form: str, programs: Programs, forms: Project) -> None:
    data = forms.path(f"build/{form}/{form}.tflite").read_bytes()
    path = programs.directory / f"selfcheck_{form}"
    assert list(readonly_copies(path, f"g_{form}_model_data")) == [data]
    assert path.read_bytes().count(data) == 1


def test_the_golden_programs_pass_in_every_form(forms: Project, tmp_path: Path) -> None:
    need("g++")
    programs = build(
        tmp_path, "host", forms.path("firmware/generated"), f"-DFIRMWARE_DIR={FIRMWARE}", source=DOUBLE
    )
    for form in FORMS:
        assert programs.run(f"golden_{form}")[0] == 0


def test_the_selfcheck_finds_a_file_of_bytes_that_was_replaced(forms: Project, tmp_path: Path) -> None:
    generated = forms.copy_to(tmp_path / "project").path("firmware/generated")
    programs = build(tmp_path / "build", "host", generated, "-DMODELS=incbin")
    path = generated / "incbin_model_data.tflite"
    path.write_bytes(path.read_bytes().replace(b"a test model", b"a test mdoel"))
    must("cmake", "--build", programs.directory)
    code, out = programs.run("selfcheck_incbin")
    assert "the array's SHA-256 is not the header's" in out
    assert code == 15


@pytest.mark.parametrize("target", ["host", "cortex-m3"])
def test_the_selfcheck_finds_a_library_of_another_build(target: str, forms: Project, tmp_path: Path) -> None:
    need("gcc" if target == "host" else "arm-none-eabi-gcc")
    project = forms.copy_to(tmp_path / "project")
    generated = project.path("firmware/generated")
    programs = build(tmp_path / "build", target, generated, "-DMODELS=pair")
    library = programs.directory / "libmodel_pair.a"
    old = library.read_bytes()
    project.edit("models/pair.py", "a test model", "a text model")
    project.build()
    must("cmake", "--build", programs.directory)
    assert programs.run("selfcheck_pair")[0] == 0
    library.write_bytes(old)
    must("cmake", "--build", programs.directory)
    code, out = programs.run("selfcheck_pair")
    assert "header and source are of different builds" in out
    assert code == 11


def test_a_model_that_gets_another_form_is_built_anew(forms: Project, tmp_path: Path) -> None:
    project = forms.copy_to(tmp_path / "project")
    programs = build(tmp_path / "build", "host", project.path("firmware/generated"), "-DMODELS=pair")
    for former, form in (("pair", "incbin"), ("incbin", "single"), ("single", "pair")):
        project.edit("models/pair.py", f'header.form = "{former}"', f'header.form = "{form}"')
        project.build()
        must("cmake", "--build", programs.directory)
        assert programs.run("selfcheck_pair")[0] == 0
    assert "ninja: no work to do." in must("cmake", "--build", programs.directory)
