"""CMake's presets are read as CMake reads them, and the tools that they need are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from doit_tflm.errors import UserError
from doit_tflm.presets import Preset, install, missing, needed_tools, preset_files, preset_names, read_presets

FIRMWARE = Path(__file__).parent.parent / "firmware"


def written(root: Path, *presets: dict[str, Any]) -> str:
    (root / "CMakePresets.json").write_text(json.dumps({"version": 2, "configurePresets": presets}))
    return str(root)


def test_the_reference_firmware_has_three() -> None:
    found = read_presets(str(FIRMWARE))
    assert preset_names(str(FIRMWARE)) == list(found) == ["host", "cortex-m3", "cortex-m7"]
    assert found["host"] == Preset("host", "Ninja", "")
    assert found["cortex-m7"].toolchain == f"{FIRMWARE}/cmake/cortex-m.cmake"


def test_what_is_first_in_the_list_of_inherited_presets_goes_before_the_others(tmp_path: Path) -> None:
    directory = written(
        tmp_path,
        {"name": "a", "hidden": True, "generator": "A", "toolchainFile": "a.cmake"},
        {"name": "b", "hidden": True, "generator": "B", "inherits": "a"},
        {"name": "c", "inherits": ["b", "a"]},
        {"name": "d", "inherits": ["a", "b"]},
        {"name": "e", "inherits": "b", "generator": "E", "cacheVariables": {"X": "1"}},
    )
    found = read_presets(directory)
    assert [found[name].generator for name in "cde"] == ["B", "A", "E"]
    assert found["c"].toolchain == f"{tmp_path}/a.cmake"


def test_a_toolchain_may_be_written_as_a_typed_variable_with_macros(tmp_path: Path) -> None:
    variables = {"CMAKE_TOOLCHAIN_FILE": {"type": "FILEPATH", "value": "${sourceDir}/${presetName}.cmake"}}
    directory = written(tmp_path, {"name": "m4", "cacheVariables": variables})
    assert read_presets(directory)["m4"].toolchain == f"{tmp_path}/m4.cmake"


def test_presets_of_files_that_are_included_count(tmp_path: Path) -> None:
    base = {"name": "base", "hidden": True, "generator": "Ninja"}
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.json").write_text(json.dumps({"version": 4, "configurePresets": [base]}))
    included = {"version": 4, "include": ["b.json"], "configurePresets": [{"name": "m3", "inherits": "base"}]}
    (tmp_path / "more/a.json").write_text(json.dumps(included))
    own = {"include": ["more/a.json", "more/b.json"], "configurePresets": [{"name": "m4", "inherits": "m3"}]}
    (tmp_path / "CMakePresets.json").write_text(json.dumps({"version": 4, **own}))
    assert {name: one.generator for name, one in read_presets(str(tmp_path)).items()} == {
        "m3": "Ninja",
        "m4": "Ninja",
    }
    assert [path.name for path in preset_files(str(tmp_path))] == ["b.json", "a.json", "CMakePresets.json"]
    (tmp_path / "more/b.json").unlink()
    with pytest.raises(UserError, match=r"b\.json: is not there; correct `include` in .*a\.json"):
        read_presets(str(tmp_path))


def test_a_toolchain_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDK", "/opt/sdk")
    (tmp_path / "app").mkdir()
    directory = written(
        tmp_path / "app",
        {"name": "a", "toolchainFile": "$env{SDK}/a.cmake"},
        {"name": "b", "toolchainFile": "$penv{SDK}/b.cmake"},
        {"name": "c", "toolchainFile": "${sourceParentDir}/${sourceDirName}.cmake"},
    )
    assert [one.toolchain for one in read_presets(directory).values()] == [
        "/opt/sdk/a.cmake",
        "/opt/sdk/b.cmake",
        f"{tmp_path}/app.cmake",
    ]


def test_compilers_that_a_toolchain_file_makes_up_are_not_looked_for(tmp_path: Path) -> None:
    lines = "# set(CMAKE_C_COMPILER old-gcc)\nset(CMAKE_C_COMPILER /opt/bin/${ARCH}-gcc)\n"
    (tmp_path / "t.cmake").write_text(lines + 'set(CMAKE_CXX_COMPILER "/opt/bin/g++")\n')
    tools = needed_tools(Preset("m4", "Ninja", f"{tmp_path}/t.cmake"), with_cpp=True, to_run=False)
    assert tools == [("cmake",), ("ninja",), ("/opt/bin/g++",)]


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ([{"name": "a", "inherits": "gone"}], "preset a inherits 'gone'"),
        (
            [{"name": "a", "inherits": "b"}, {"name": "b", "inherits": "a"}],
            "inherits 'a', which is not there or it",
        ),
        ([{"inherits": "b"}], "is no file of presets"),
    ],
)
def test_presets_that_cannot_be_are_errors(presets: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_presets(written(tmp_path, *presets))


def test_a_file_that_is_missing_empty_or_without_presets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CMakePresets.json: is not there; set `directory`"):
        preset_names(str(tmp_path))
    (tmp_path / "CMakePresets.json").write_text("")
    with pytest.raises(UserError, match="is no file of presets"):
        preset_names(str(tmp_path))
    with pytest.raises(UserError, match="has no configure presets that are not hidden"):
        preset_names(written(tmp_path, {"name": "a", "hidden": True}))


def test_a_cross_compiling_preset_needs_the_tools_of_its_toolchain_file() -> None:
    preset = read_presets(str(FIRMWARE))["cortex-m3"]
    assert needed_tools(preset, with_cpp=False, to_run=False) == [("cmake",), ("ninja",), ("arm-none-eabi-gcc",)]
    assert needed_tools(preset, with_cpp=True, to_run=True)[2:] == [
        ("arm-none-eabi-gcc",),
        ("arm-none-eabi-g++",),
        ("qemu-system-arm",),
    ]


def test_this_machine_needs_any_compiler_or_the_one_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    preset = Preset("host", "Unix Makefiles", "")
    assert needed_tools(preset, with_cpp=False, to_run=True) == [("cmake",), ("make",), ("gcc", "cc", "clang")]
    monkeypatch.setenv("CC", "my-cc -m32")
    assert needed_tools(preset, with_cpp=False, to_run=True)[-1] == ("my-cc",)


def test_a_toolchain_file_that_is_gone_is_an_error() -> None:
    with pytest.raises(UserError, match=r"gone\.cmake: cannot be read"):
        needed_tools(Preset("m4", "", "gone.cmake"), with_cpp=False, to_run=False)


def test_a_tool_is_missing_where_nothing_can_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "clang").touch(mode=0o755)
    assert missing([("gcc", "cc", "clang"), ("ninja",), ("qemu-system-arm",)]) == ["ninja", "qemu-system-arm"]


def test_packages_are_named_once_and_an_unknown_tool_has_none() -> None:
    assert install(["ninja", "cmake", "ctest"]) == "Debian: apt install ninja-build cmake"
    assert install(["xtensa-gcc"]) == "install it, or correct PATH"
