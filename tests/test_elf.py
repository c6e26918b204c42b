"""A model's array is found in a linked program, and so is everything that can be wrong with it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from doit_tflm.elf import Image, Section, Segment, check_array, occurrences, read_image, stored_array
from doit_tflm.errors import UserError
from linked import ALIGNED, COMPILERS, DATA, SYMBOL, array, link, tool

OTHER = DATA[:7] + bytes([DATA[7] ^ 1]) + DATA[8:]
KEPT = f"static const unsigned char {SYMBOL}[400] __attribute__((used, aligned(16)))"
MISALIGNED = f"""\
static const struct {{ unsigned char odd; unsigned char bytes[400]; }} holder __attribute__((used, aligned(16)))
    = {{1, {{{", ".join(map(str, DATA))}}}}};
__asm__(".globl {SYMBOL}\\n.set {SYMBOL}, holder + 1");
"""
NOT_LOADED = f"""\
__asm__(".section .kept,\\"\\",%progbits\\n.balign 16\\n.globl {SYMBOL}\\n{SYMBOL}:\\n"
    ".byte {", ".join(map(str, DATA))}\\n.text\\n");
"""
UNRELATED_MAIN = "int main(void) { return 0; }\n"


@pytest.fixture(params=list(COMPILERS))
def compiler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def image_of(program: Path) -> Image:
    return read_image(program.read_bytes(), program.name)


def problems(program: Path, data: bytes = DATA) -> list[str]:
    return [error.what for error in check_array(image_of(program), SYMBOL, data, "host: app")]


def test_a_const_array_is_found_and_nothing_is_wrong_with_it(compiler: str, tmp_path: Path) -> None:
    program = link(tmp_path, compiler, array())
    assert stored_array(image_of(program), SYMBOL, DATA) == DATA
    assert problems(program) == []


def test_a_program_without_the_array_holds_none(compiler: str, tmp_path: Path) -> None:
    program = link(tmp_path, compiler, main=UNRELATED_MAIN)
    assert stored_array(image_of(program), SYMBOL, DATA) is None


@pytest.mark.parametrize(
    "declared",
    [
        f"{ALIGNED} unsigned char {SYMBOL}[400]",
        f'{ALIGNED} __attribute__((section(".data"))) unsigned char {SYMBOL}[400]',
    ],
)
def test_an_array_that_can_be_written_is_refused(declared: str, compiler: str, tmp_path: Path) -> None:
    (what,) = problems(link(tmp_path, compiler, array(declared)))
    assert what == f"{SYMBOL} lies in memory that can be written (.data)"


def test_a_misaligned_array_is_refused(compiler: str, tmp_path: Path) -> None:
    (what,) = problems(link(tmp_path, compiler, MISALIGNED))
    assert what.startswith(f"{SYMBOL} lies at 0x")
    assert what.endswith("1, which is no multiple of 16")


def test_an_array_that_is_there_twice_is_refused(compiler: str, tmp_path: Path) -> None:
    (what,) = problems(link(tmp_path, compiler, array(KEPT), array(KEPT), main=UNRELATED_MAIN))
    assert what.startswith(f"holds {SYMBOL} 2 times, at 0x")


def test_a_copy_under_another_name_is_found_too(compiler: str, tmp_path: Path) -> None:
    copy = array(KEPT.replace(SYMBOL, "copy"))
    (what,) = problems(link(tmp_path, compiler, array(), copy))
    assert what.startswith(f"holds {SYMBOL} 2 times")


def test_a_byte_that_differs_is_named(compiler: str, tmp_path: Path) -> None:
    program = link(tmp_path, compiler, array(data=OTHER))
    assert stored_array(image_of(program), SYMBOL, DATA) == OTHER
    (what,) = problems(program)
    wanted = f"the first byte that differs is 7: {OTHER[7]:#04x} instead of {DATA[7]:#04x}"
    assert what == f"{SYMBOL} is not the .tflite: {wanted}"


def test_an_array_that_is_cut_short_is_refused(compiler: str, tmp_path: Path) -> None:
    short = array(f"{ALIGNED} const unsigned char {SYMBOL}[384]", DATA[:384])
    assert problems(link(tmp_path, compiler, short)) == [f"{SYMBOL} is not the .tflite: 384 bytes instead of 400"]


def test_an_array_that_is_not_loaded_is_refused(compiler: str, tmp_path: Path) -> None:
    program = link(tmp_path, compiler, NOT_LOADED, main=UNRELATED_MAIN)
    assert problems(program) == [f"{SYMBOL} is not loaded with the program"]


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        (f"{ALIGNED} const unsigned char {SYMBOL}[400]", []),
        (f"{ALIGNED} unsigned char {SYMBOL}[400]", [f"{SYMBOL} lies in memory that can be written (.data)"]),
    ],
)
def test_without_symbols_the_array_is_found_by_its_content(
    declared: str, wanted: list[str], compiler: str, tmp_path: Path
) -> None:
    program = link(tmp_path, compiler, array(declared))
    tool(compiler.replace("gcc", "strip") if "-" in compiler else "strip", program)
    image = image_of(program)
    assert image.symbols == {}
    assert stored_array(image, SYMBOL, DATA) == DATA
    assert problems(program) == wanted


def test_an_error_says_where_and_what_to_do(tmp_path: Path) -> None:
    program = link(tmp_path, "gcc", array(data=OTHER))
    (error,) = check_array(image_of(program), SYMBOL, DATA, "host: app")
    assert str(error).startswith(f"host: app: {SYMBOL} is not the .tflite")
    assert error.fix


# Files that are no programs.


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not a program at all", bytes(1000)])
def test_what_is_no_elf_file_is_said_so(content: bytes) -> None:
    with pytest.raises(UserError, match="app: is no whole ELF file"):
        read_image(content, "app")


def test_an_object_file_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(array())
    tool("gcc", "-c", tmp_path / "a.c", "-o", tmp_path / "a.o")
    with pytest.raises(UserError, match="nothing of it is loaded"):
        read_image((tmp_path / "a.o").read_bytes(), "a.o")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return link(tmp_path_factory.mktemp("program"), "gcc", array()).read_bytes()


@given(share=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_program_that_was_cut_short_is_an_error_or_lacks_something(share: float, program: bytes) -> None:
    try:
        image = read_image(program[: int(share * len(program))])
    except UserError:
        return
    # Only what stands behind all that is loaded may be gone.
    assert image.segments == read_image(program).segments


@given(at=st.integers(0, 63), byte=st.integers(0, 255))
@example(at=4, byte=9)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_header_is_an_error_or_a_program(at: int, byte: int, program: bytes) -> None:
    damaged = bytearray(program)
    damaged[at] = byte
    with suppress(UserError):
        assert read_image(bytes(damaged)).segments


# Looking for bytes.


@given(before=st.binary(max_size=40), data=st.binary(min_size=1, max_size=5), after=st.binary(max_size=40))
@example(before=b"", data=b"aa", after=b"aa")
def test_every_occurrence_is_found(before: bytes, data: bytes, after: bytes) -> None:
    whole = before + data + after
    image = Image((Segment(0x1000, whole, False), Segment(0x2000, data, True)), (), {})
    wanted = [0x1000 + at for at in range(len(whole)) if whole.startswith(data, at)]
    assert occurrences(image, data) == [*wanted, 0x2000]


def test_a_segment_that_can_be_written_counts_whatever_its_sections_say() -> None:
    sections = (Section(".rodata", 0x1000, 400, False, True),)
    image = Image((Segment(0x1000, DATA, True),), sections, {SYMBOL: ((0x1000, 400),)})
    (error,) = check_array(image, SYMBOL, DATA, "app")
    assert "can be written (.rodata)" in error.what
