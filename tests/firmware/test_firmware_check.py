"""`doit firmware:test`: the programs run, the models are read back out of them, and what is wrong fails."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from firmware_builds import BOARDS, CPUS, need
from firmware_projects import ARM, QEMU, give_firmware, path_without, run_doit

from conftest import Project
from doit_tflm import archive, firmware_check, golden

DOUBLE = Path(__file__).parent / "tflm_double"
NO_TFLM_LINE = "firmware: no programs run the models: give TFLM_INCLUDE_DIRS and TFLM_LIBRARIES"
NO_TFLITE_MICRO = """\
import importlib.util

found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "tflite_micro" else found(name, *more)
"""


@pytest.fixture
def host(built: Project) -> Project:
    return give_firmware(built, "host")


PATCH = """\
import pathlib
import sys

path = pathlib.Path(sys.argv[1])
path.write_bytes(path.read_bytes().replace(b"a test model", b"a test mdoel"))
"""


def patch_after_linking(project: Project) -> None:
    """Have the firmware change a byte of the model in each program that it has linked."""
    project.write("firmware/patch.py", PATCH)
    patch = f'COMMAND "{sys.executable}" ${{CMAKE_CURRENT_SOURCE_DIR}}/patch.py $<TARGET_FILE:${{name}}>'
    made = f"add_executable(${{name}})\n    add_custom_command(TARGET ${{name}} POST_BUILD {patch})\n"
    project.edit("firmware/CMakeLists.txt", "add_executable(${name})\n", made)


def test_every_preset_passes_here_and_in_qemu(built: Project) -> None:
    need(*ARM[:1], *QEMU)
    pytest.importorskip("tflite_micro")
    give_firmware(built)
    out = run_doit(built, "firmware:test").out
    for preset in BOARDS:
        assert f"{preset}: 1 test passed: selfcheck_kws\n" in out
        read = (
            "1 model read back out of 1 program: the .tflite byte for byte, once, read-only, at a multiple of 16"
        )
        assert f"{preset}: {read}\n" in out
        assert f"{preset}: TFLM on this machine ran what was read back: 3 golden vectors, every bit equal\n" in out
    assert out.count(NO_TFLM_LINE) == 1
    assert "skipped" not in out


@pytest.mark.parametrize("preset", ["host", "cortex-m3"])
def test_a_byte_that_was_changed_in_the_program_is_found_in_two_ways(preset: str, built: Project) -> None:
    if preset != "host":
        need(*ARM[:1], *QEMU)
    give_firmware(built, preset, own=True)
    patch_after_linking(built)
    out = run_doit(built, "firmware:test", code=1).out
    assert f"{preset}: test failed\n  {preset}: 2 checks fail\n" in out
    where = f"    {preset}: selfcheck_kws: "
    assert f"{where}ended with exit code 15: FAIL kws: the array's SHA-256 is not the header's" in out
    assert f"{where}g_kws_model_data is not the .tflite: the first byte that differs is" in out
    assert f"log: build/firmware/{preset}.test.log" in out


def test_an_array_that_the_firmware_makes_writable_is_found(built: Project) -> None:
    give_firmware(built, "host", own=True)
    made = 'target_compile_definitions(model_${model} PRIVATE "const=")\n    target_link_libraries(model_${model}'
    built.edit("firmware/CMakeLists.txt", "target_link_libraries(model_${model}", made)
    built.edit("firmware/CMakeLists.txt", "-Wshadow -Wundef -Werror", "-Wshadow -Wundef -Wno-pedantic")
    out = run_doit(built, "firmware:test", code=1).out
    assert "host: selfcheck_kws: g_kws_model_data lies in memory that can be written (.data)" in out


def test_a_model_that_no_program_holds_is_found(built: Project) -> None:
    give_firmware(built, "host", own=True)
    text = built.path("firmware/CMakeLists.txt").read_text()
    built.write("firmware/main.c", "int main(void) { return 0; }\n")
    only = "enable_testing()\nadd_executable(app main.c)\nadd_test(NAME app COMMAND app)\nreturn()\n"
    built.write("firmware/CMakeLists.txt", text.replace("include(cmake/tflm.cmake)\n", only))
    assert "host: app: no program holds kws; link it" in run_doit(built, "firmware:test", code=1).out


def test_a_test_that_does_not_end_is_ended(built: Project) -> None:
    give_firmware(built, "host", own=True)
    built.edit("firmware/CMakeLists.txt", "TIMEOUT 300", "TIMEOUT 1")
    built.edit("firmware/src/selfcheck_main.c", "int main(void)\n{", "int main(void)\n{\n    for (;;) {\n    }")
    built.edit("firmware/CMakeLists.txt", "-Werror ", "")
    assert "host: selfcheck_kws: did not end within 1 s" in run_doit(built, "firmware:test:host", code=1).out


def with_test(project: Project, command: str, properties: str = "") -> Project:
    """Give a project's firmware one more test."""
    give_firmware(project, "host", own=True)
    more = f"enable_testing()\nadd_test(NAME more+1 COMMAND {command})\n"
    if properties:
        more += f"set_tests_properties(more+1 PROPERTIES {properties})\n"
    project.edit("firmware/CMakeLists.txt", "enable_testing()\n", more)
    return project


@pytest.mark.parametrize(
    ("command", "properties"),
    [
        ("sh -c [[test -f CMakeCache.txt]]", ""),
        ('sh -c [[test "$MORE" = yes]]', "ENVIRONMENT MORE=yes"),
        ("false", "WILL_FAIL ON"),
        ("gone-tool", "DISABLED ON"),
    ],
)
def test_what_the_project_says_of_a_test_is_minded(command: str, properties: str, built: Project) -> None:
    out = run_doit(with_test(built, command, properties), "firmware:test").out
    assert ("more+1" in out) is ("DISABLED" not in properties)


@pytest.mark.parametrize(
    ("command", "properties", "message"),
    [
        ("echo broken", "FAIL_REGULAR_EXPRESSION broken", "broken"),
        ("gone-tool", "", "Could not find executable gone-tool"),
    ],
)
def test_a_test_that_fails_for_ctest_fails(command: str, properties: str, message: str, built: Project) -> None:
    out = run_doit(with_test(built, command, properties), "firmware:test", code=1).out
    assert "host: more+1: ended with exit code 8: " in out
    assert message in out


def test_a_firmware_without_tests_fails(built: Project) -> None:
    give_firmware(built, "host", own=True)
    built.edit("firmware/CMakeLists.txt", "enable_testing()\n", "")
    assert "there are no tests; use add_test" in run_doit(built, "firmware:test", code=1).out


def test_without_tflite_micro_one_line_says_what_was_not_done(host: Project) -> None:
    host.write("ban/sitecustomize.py", NO_TFLITE_MICRO)
    places = [str(host.path("ban")), *filter(None, [os.environ.get("PYTHONPATH")])]
    out = run_doit(host, "firmware:test", PYTHONPATH=os.pathsep.join(places)).out
    assert out.count("what was read back is not run: tflite-micro has no package for this platform\n") == 1
    assert "TFLM ran" not in out


def test_an_emulator_that_is_missing_skips_the_tests_with_a_line(built: Project, tmp_path: Path) -> None:
    need(*ARM[:1])
    give_firmware(built, "host", "cortex-m3")
    path = path_without(tmp_path / "bin", *QEMU)
    out = run_doit(built, "firmware:test", PATH=path).out
    wanted = "qemu-system-arm is not installed; Debian: apt install qemu-system-arm\n"
    assert f"cortex-m3: test skipped: {wanted}" in out
    assert "host: 1 test passed" in out
    named = run_doit(built, "firmware:test:cortex-m3", PATH=path, code=1).out
    assert f"cortex-m3: test failed\n  cortex-m3: {wanted}" in named
    need(*QEMU)
    assert "cortex-m3: 1 test passed" in run_doit(built, "firmware:test").out, "once it is there, it is used"


# The golden programs, with a stand-in for TFLM.


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the stand-in's library for each preset, ``PRESET/libtflm.a``."""
    from firmware_builds import must

    need("g++", *ARM)
    root = tmp_path_factory.mktemp("libraries")
    for preset, prefix, flags in (("host", "", []), ("cortex-m3", "arm-none-eabi-", CPUS["cortex-m3"])):
        (root / preset).mkdir()
        options = ["-Os", "-std=c++17", "-fno-exceptions", "-fno-rtti", "-DTF_LITE_STATIC_MEMORY", f"-I{DOUBLE}"]
        made = root / preset / "double.o"
        must(f"{prefix}g++", *flags, *options, "-c", DOUBLE / "micro_interpreter.cc", "-o", made)
        must(f"{prefix}ar", "rcs", root / preset / "libtflm.a", made)
    return root


def test_with_tflm_the_golden_programs_run_too(built: Project, libraries: Path) -> None:
    need(*QEMU)
    give_firmware(built, "host", "cortex-m3")
    environment = {"TFLM_INCLUDE_DIRS": str(DOUBLE), "TFLM_LIBRARIES": f"{libraries}/{{preset}}/libtflm.a"}
    run = run_doit(built, "firmware:test", **environment)
    for preset in ("host", "cortex-m3"):
        assert f"{preset}: 2 tests passed: selfcheck_kws, golden_kws\n" in run.out
        assert f"{preset}: 1 model read back out of 2 programs" in run.out
    assert NO_TFLM_LINE not in run.out
    golden_row = next(line.split() for line in run.out.splitlines() if "golden_kws  " in line)
    text, bss, arena = (int(golden_row[-number].replace(",", "")) for number in (5, 3, 1))
    assert text > 1000
    assert bss >= arena > 0, "a program that runs the model has its arena in bss"
    # What is not given any more is forgotten.
    assert "1 test passed: selfcheck_kws" in run_doit(built, "firmware:test:host").out


def test_golden_vectors_come_and_go(built: Project, libraries: Path) -> None:
    give_firmware(built, "host")
    environment = {"TFLM_INCLUDE_DIRS": str(DOUBLE), "TFLM_LIBRARIES": f"{libraries}/host/libtflm.a"}
    assert "2 tests passed: selfcheck_kws, golden_kws\n" in run_doit(built, "firmware:test", **environment).out
    built.edit("models/kws.py", "epochs = 3\n", "epochs = 3\nmy_model.golden_vectors = 0\n")
    assert "1 test passed: selfcheck_kws\n" in run_doit(built, "firmware:test", **environment).out
    built.edit("models/kws.py", "my_model.golden_vectors = 0\n", "")
    assert "2 tests passed: selfcheck_kws, golden_kws\n" in run_doit(built, "firmware:test", **environment).out


def test_tflm_may_be_a_setting_of_the_project(built: Project, libraries: Path) -> None:
    give_firmware(built, "host")
    table = f'tflm_include_dirs = ["{DOUBLE}"]\ntflm_libraries = ["lib/{{preset}}.a"]\npresets'
    built.edit("pyproject.toml", "presets", table)
    built.path("lib").mkdir()
    shutil.copy(libraries / "host/libtflm.a", built.path("lib/host.a"))
    assert "2 tests passed: selfcheck_kws, golden_kws" in run_doit(built, "firmware:test").out


# What cannot be had from doit, which builds a file again that another hand has changed.


@pytest.fixture
def models(built: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return what the check is told of the model, in a project whose firmware is built."""
    give_firmware(built, "host")
    run_doit(built, "firmware")
    monkeypatch.chdir(built.root)
    return {
        "kws": {
            "array": "g_kws_model_data",
            "tflite": "build/kws/kws.tflite",
            "golden": "build/kws/golden.npz",
            "archive": "models/kws.mltk.zip",
        }
    }


def check(models: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    programs = {"selfcheck_kws": "build/firmware/host/selfcheck_kws"}
    done: dict[str, list[str]] = firmware_check.check("host", programs, models)
    return done


def test_golden_outputs_that_tflm_does_not_give_fail(models: dict[str, dict[str, str]]) -> None:
    pytest.importorskip("tflite_micro")
    vectors = golden.read(models["kws"]["golden"])
    outputs = (np.where(np.arange(len(vectors))[:, None, None] == 1, ~vectors.outputs[0], vectors.outputs[0]),)
    Path("other.npz").write_bytes(golden.serialise(golden.Golden(vectors.inputs, outputs)))
    models["kws"]["golden"] = "other.npz"
    (failure,) = check(models)["failures"]
    said = "TFLM's outputs differ from 1 of 3 golden vectors, first from number 1"
    assert failure.startswith(f"host: selfcheck_kws: {said}; ")


def test_an_archive_with_another_model_fails(models: dict[str, dict[str, str]]) -> None:
    archive.update_members(Path("models/kws.mltk.zip"), {"kws.tflite": b"another"})
    (failure,) = check(models)["failures"]
    assert failure.startswith("models/kws.mltk.zip: its kws.tflite is not that of the build; ")


def test_a_model_without_golden_vectors_is_not_run_and_that_is_said(models: dict[str, dict[str, str]]) -> None:
    empty = io.BytesIO(golden.serialise(golden.Golden()))
    Path("none.npz").write_bytes(empty.getvalue())
    models["kws"]["golden"] = "none.npz"
    done = check(models)
    assert done["failures"] == []
    assert done["notes"] == ["kws is not run: it has no golden vectors"]
