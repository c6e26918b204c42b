"""The firmware's settings, and what is wrong with those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from doit_tflm.config import read_config
from doit_tflm.errors import UserError
from doit_tflm.firmware_settings import Firmware, tflm_options, with_environment


def configured(root: Path, lines: str) -> Firmware:
    (root / "pyproject.toml").write_text(f"[tool.doit-tflm.firmware]\n{lines}\n")
    return read_config(root).firmware


@pytest.fixture
def tflm(tmp_path: Path) -> Firmware:
    """Return settings with a TFLM that is there, for the presets host and cortex-m3."""
    header = tmp_path / "tflm/tensorflow/lite/micro/micro_interpreter.h"
    header.parent.mkdir(parents=True)
    header.touch()
    for preset in ("host", "cortex-m3"):
        (tmp_path / f"{preset}.a").touch()
    return Firmware(tflm_include_dirs=(str(tmp_path / "tflm"),), tflm_libraries=(f"{tmp_path}/{{preset}}.a",))


def test_without_settings_there_are_defaults(tmp_path: Path) -> None:
    assert read_config(tmp_path).firmware == Firmware()
    assert configured(tmp_path, "") == Firmware("firmware")


def test_each_setting_is_read(tmp_path: Path) -> None:
    lines = 'directory = "./app/"\npresets = ["host"]\nmodels = ["kws"]\ntflm_definitions = ["A", "B=1"]'
    found = configured(tmp_path, lines)
    assert found == Firmware("app", ("host",), ("kws",), tflm_definitions=("A", "B=1"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('preset = ["host"]', "has no setting 'preset'; did you mean 'presets'"),
        ("zzz = 1", "has no setting 'zzz'; use directory, presets, models, tflm_include_dirs"),
        ('presets = "host"', "presets is 'host'; write a list of texts: presets = "),
        ("models = [1]", r"models is \[1\]; write a list of texts"),
        ('presets = ["host", "m3", "host"]', "presets names 'host' twice; name it once"),
        ("directory = 1", "directory is 1; give a path"),
        ('directory = ""', "directory is ''; give a path"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        configured(tmp_path, lines)


def test_a_firmware_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.doit-tflm]\nfirmware = "app"\n')
    with pytest.raises(UserError, match=r"write a table: \[tool.doit-tflm.firmware\]"):
        read_config(tmp_path)


def test_the_environment_goes_before_the_table() -> None:
    settings = Firmware(tflm_libraries=("a.a",), tflm_definitions=("A",))
    given = {"TFLM_LIBRARIES": "b.a;c.a", "TFLM_INCLUDE_DIRS": "i;j", "TFLM_DEFINITIONS": ""}
    found = with_environment(settings, given)
    assert (found.tflm_libraries, found.tflm_include_dirs) == (("b.a", "c.a"), ("i", "j"))
    assert found.tflm_definitions == ("A",), "an empty variable is none"


def test_without_tflm_cmake_is_told_nothing() -> None:
    assert tflm_options(Firmware(), "host", alone=False) == []


def test_the_placeholder_stands_for_the_preset(tflm: Firmware, tmp_path: Path) -> None:
    assert tflm_options(tflm, "cortex-m3", alone=False) == [
        f"-DTFLM_INCLUDE_DIRS={tmp_path}/tflm",
        f"-DTFLM_LIBRARIES={tmp_path}/cortex-m3.a",
        "-DTFLM_DEFINITIONS=TF_LITE_STATIC_MEMORY",
    ]


def test_definitions_are_passed_on(tflm: Firmware) -> None:
    settings = Firmware(**{**vars(tflm), "tflm_definitions": ("A", "B")})
    assert tflm_options(settings, "host", alone=True)[-1] == "-DTFLM_DEFINITIONS=A;B"


def test_a_library_that_was_built_without_definitions_can_be_named(tflm: Firmware, tmp_path: Path) -> None:
    settings = configured(tmp_path, "tflm_definitions = []")
    assert settings.tflm_definitions == ()
    settings = Firmware(**{**vars(tflm), "tflm_definitions": settings.tflm_definitions})
    assert tflm_options(settings, "host", alone=True)[-1] == "-DTFLM_DEFINITIONS="


@pytest.mark.parametrize(
    ("change", "preset", "message"),
    [
        ({"tflm_libraries": ()}, "host", "tflm_libraries is not set, but its other half is"),
        ({"tflm_include_dirs": ()}, "host", "tflm_include_dirs is not set, but its other half is"),
        (
            {},
            "cortex-m7",
            "TFLM for cortex-m7: there is no .*cortex-m7.a; set tflm_libraries in .* or TFLM_LIBRARIES",
        ),
        ({"tflm_include_dirs": ("/gone",)}, "host", "there is no /gone; set tflm_include_dirs"),
        ({"tflm_include_dirs": ("/",)}, "host", "no tensorflow/lite/micro/micro_interpreter.h in /"),
        (
            {"tflm_libraries": ("lib.a",)},
            "host",
            "lib.a is built for one processor, .* write {preset} into its path",
        ),
    ],
)
def test_a_tflm_that_cannot_be_right_is_an_error(
    change: dict[str, tuple[str, ...]], preset: str, message: str, tflm: Firmware
) -> None:
    with pytest.raises(UserError, match=message):
        tflm_options(Firmware(**{**vars(tflm), **change}), preset, alone=False)


def test_one_library_will_do_for_a_preset_that_is_built_alone(tflm: Firmware, tmp_path: Path) -> None:
    settings = Firmware(**{**vars(tflm), "tflm_libraries": (str(tmp_path / "host.a"),)})
    assert f"-DTFLM_LIBRARIES={tmp_path}/host.a" in tflm_options(settings, "host", alone=True)
