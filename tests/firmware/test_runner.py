"""The runner and the golden program of firmware/, with a stand-in for TensorFlow Lite Micro; and startup.c.

The stand-in's output is its input, which is what the real one makes of the model kws.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from firmware_builds import BOARDS, CPUS, FIRMWARE, Programs, build, must, need, run_program

from conftest import Project

HERE = Path(__file__).parent
DOUBLE = HERE / "tflm_double"
AROUND = f"-DFIRMWARE_DIR={FIRMWARE}"
SOURCE = FIRMWARE / "src"


@pytest.fixture(scope="module", params=list(BOARDS))
def around(
    request: pytest.FixtureRequest, template: Project, tmp_path_factory: pytest.TempPathFactory
) -> Programs:
    """Build inside of a project that has a target tflite-micro."""
    target = str(request.param)
    need("g++" if target == "host" else "arm-none-eabi-g++")
    generated = template.path("firmware/generated")
    return build(tmp_path_factory.mktemp(f"around-{target}"), target, generated, AROUND, source=DOUBLE)


def library_of(around: Programs) -> list[str]:
    """Return the options that name the library which that project built."""
    return [f"-DTFLM_INCLUDE_DIRS={DOUBLE}", f"-DTFLM_LIBRARIES={around.directory}/libtflite-micro.a"]


def test_the_golden_program_passes_with_a_target_tflite_micro(around: Programs) -> None:
    code, out = around.run("golden_kws")
    assert "PASS kws: 3 golden vectors, bit for bit; arena 8 of " in out
    assert "vector 0: no\n" in out
    assert code == 0


def test_the_golden_program_passes_with_a_library(around: Programs, template: Project, tmp_path: Path) -> None:
    generated = template.path("firmware/generated")
    programs = build(tmp_path, around.target, generated, *library_of(around))
    assert programs.run("golden_kws")[0] == 0


def test_a_library_with_other_structures_is_refused(around: Programs, template: Project, tmp_path: Path) -> None:
    generated = template.path("firmware/generated")
    programs = build(tmp_path, around.target, generated, *library_of(around), "-DTFLM_DEFINITIONS=")
    code, out = programs.run("golden_kws")
    assert "define TF_LITE_STATIC_MEMORY for both" in out
    assert code == 21


def test_the_golden_program_passes_with_a_target_without_static_memory(template: Project, tmp_path: Path) -> None:
    need("g++")
    generated = template.path("firmware/generated")
    programs = build(tmp_path, "host", generated, AROUND, "-DSTATIC_MEMORY=OFF", source=DOUBLE)
    assert programs.run("golden_kws")[0] == 0


def test_the_golden_program_tells_the_first_difference(built: Project, tmp_path: Path) -> None:
    need("g++")
    path = built.path("firmware/generated/kws_golden.c")
    inputs, outputs = path.read_text().split("golden_output0")
    path.write_text(inputs + "golden_output0" + outputs.replace("-2, -2, -2, -2", "-2, -2, 7, 8"))
    programs = build(tmp_path / "build", "host", path.parent, AROUND, source=DOUBLE)
    code, out = programs.run("golden_kws")
    assert out.endswith("FAIL kws: vector 1, output 0, element 2: 0xfe instead of 0x07\n")
    assert code == 20


def test_the_golden_program_tells_why_it_cannot_run(built: Project, tmp_path: Path) -> None:
    need("g++")
    header = built.path("firmware/generated/kws_model_data.h")
    lines = header.read_text().splitlines()
    lines = ["#define KWS_MODEL_ARENA_BYTES 512u" if "MODEL_ARENA_BYTES " in line else line for line in lines]
    header.write_text("\n".join(lines) + "\n")
    programs = build(tmp_path / "build", "host", header.parent, AROUND, source=DOUBLE)
    code, out = programs.run("golden_kws")
    assert out == "FAIL kws: prepare: the arena is too small for the tensors, or the resolver lacks an operator\n"
    assert code == 21


def test_every_call_of_the_runner_says_whether_it_worked(template: Project, tmp_path: Path) -> None:
    need("gcc", "g++")
    generated = template.path("firmware/generated")
    program = tmp_path / "cases"
    objects = []
    for path in (SOURCE / "tflite_file.c", generated / "kws_model_data.c"):
        objects.append(tmp_path / f"{path.name}.o")
        must("gcc", "-std=c99", "-c", path, "-o", objects[-1])
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fno-exceptions", "-fno-rtti"]
    flags += ["-DTF_LITE_STATIC_MEMORY", *(f"-I{directory}" for directory in (SOURCE, generated, DOUBLE))]
    paths = [HERE / "runner_cases.cc", SOURCE / "model_runner.cc", DOUBLE / "micro_interpreter.cc"]
    must("g++", *flags, *paths, *objects, "-o", program)
    allocation = "the arena is too small for the tensors, or the resolver lacks an operator"
    assert dict(line.split(": ", 1) for line in must(program).splitlines()) == {
        "too early": "prepare() was not called, or did not work",
        "prepare": "ok",
        "prepare again": "ok",
        "input 1": "the model has no tensor of this index",
        "short input": "the tensor has another number of bytes",
        "input": "ok",
        "invoke": "ok",
        "output 1": "the model has no tensor of this index",
        "long output": "the tensor has another number of bytes",
        "output": "ok",
        "result": "1 -2 3 -4",
        "misaligned model": "the model's address is no multiple of 16",
        "short model": "the model is no .tflite: TFL3 is not at bytes 4 to 7",
        "other schema": "the model's schema is of another version than TensorFlow Lite Micro reads",
        "misaligned arena": "the arena's address is no multiple of 16",
        "no arena": "the arena is too small for TensorFlow Lite Micro itself",
        "short arena": allocation,
        "no operators": allocation,
    }


def loaded_to_ram(program: Path) -> list[int]:
    """Return the RAM addresses that a loader would write to; a device has only its flash written."""
    with program.open("rb") as stream:
        segments = [each.header for each in ELFFile(stream).iter_segments() if each["p_filesz"]]
    return [each["p_paddr"] for each in segments if each["p_type"] == "PT_LOAD" and each["p_paddr"] >= 0x20000000]


@pytest.mark.parametrize(("fault", "code"), [(False, 200), (True, 30)])
@pytest.mark.parametrize("target", ["cortex-m3", "cortex-m7"])
def test_startup_prepares_memory_and_stdio_and_turns_a_fault_into_an_exit_code(
    target: str, fault: bool, code: int, tmp_path: Path
) -> None:
    need("arm-none-eabi-gcc")
    program = tmp_path / "startup"
    board = FIRMWARE / "cortex_m"
    options = [*CPUS[target], "-mthumb", "-Os", f"-I{SOURCE}", *(["-DFAULT"] if fault else [])]
    linking = ["-nostartfiles", "--specs=nano.specs", "-T", board / "mps2.ld"]
    sources = [HERE / "startup_cases.c", SOURCE / "console.c", *sorted(board.glob("*.c"))]
    must("arm-none-eabi-gcc", *options, *linking, *sources, "-o", program)
    assert loaded_to_ram(program) == []
    found, out = run_program(target, program)
    assert out.startswith("numbers 0 4294967295\nformatted by stdio -42\nformatted 42\n")
    assert ("FAIL: a fault of the processor, CFSR 0x00010000" in out) is fault
    assert found == code
