"""The forms of the C sources: what compilers, assemblers and linkers of several machines make of them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from conftest import Project
from doit_tflm.c_text import file_stem, macro_prefix
from doit_tflm.errors import UserError
from doit_tflm.header import FORMS, HeaderFacts, default_array_name, render_assembly, render_files
from test_docs import blocks
from test_header import (
    C_STANDARDS,
    COMPILERS,
    CPP_STANDARDS,
    DATA,
    FLAGS,
    HOSTILE,
    LABELS,
    SINE,
    must,
    run,
    section_of,
    tool,
    unescape,
    write_users,
)
from test_rebuild import Rebuild

ARRAY = "g_sine_model_data"
ARM = ["-mcpu=cortex-m3", "-mthumb", "-ffunction-sections", "-fdata-sections"]
IMPLEMENTATION = '#define {0}_DATA_IMPLEMENTATION\n#include "{1}.h"\n'
EVERY_FORM = pytest.mark.parametrize("form", FORMS)
ELSEWHERE = ["aarch64-linux-gnu", "armv7m-none-eabi", "riscv32-unknown-elf", "i386-linux-gnu"]


def write(directory: Path, facts: HeaderFacts, form: str, data: bytes = DATA) -> Path:
    """Write a model's files in a form, and return the one that is to be compiled or assembled."""
    facts = dataclasses.replace(facts, form=form)
    stem = file_stem(facts.model)
    for name, content in render_files(facts, data).items():
        (directory / name).write_bytes(content)
    if form == "single":
        text = IMPLEMENTATION.format(macro_prefix(facts.model), stem)
        (directory / f"{stem}.c").write_text(text)
    return directory / (f"{stem}.S" if form == "incbin" else f"{stem}.c")


def compiled(compiler: str, source: Path, *options: str) -> Path:
    """Return the object file of a source; warnings are errors."""
    target = source.with_suffix(f"{source.suffix}.o")
    must(tool(compiler), *FLAGS, *options, f"-I{source.parent}", "-c", source, "-o", target)
    return target


def dialect(standard: str) -> list[str]:
    return [f"-std={standard}", "-x", "c++" if "++" in standard else "c"]


def definitions(path: Path, symbol: str = ARRAY) -> Iterator[tuple[bytes, int, str]]:
    """Yield the bytes, the alignment and the section of what an ELF file defines; it is read-only data."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        for found in elf.get_section_by_name(".symtab").get_symbol_by_name(symbol):
            section = elf.get_section(found["st_shndx"])
            assert found["st_info"]["type"] == "STT_OBJECT"
            assert section["sh_flags"] & SH_FLAGS.SHF_ALLOC
            assert not section["sh_flags"] & (SH_FLAGS.SHF_WRITE | SH_FLAGS.SHF_EXECINSTR)
            start = found["st_value"] - (0 if elf["e_type"] == "ET_REL" else section["sh_addr"])
            alignment = math.gcd(found["st_value"], section["sh_addralign"])
            yield section.data()[start : start + found["st_size"]], alignment, section.name


# Compilers


@pytest.mark.parametrize("form", ["single", "incbin"])
@pytest.mark.parametrize(("compiler", "standard"), COMPILERS)
def test_a_form_compiles_without_warnings_and_gives_the_bytes_and_labels_back(
    compiler: str, standard: str, form: str, tmp_path: Path
) -> None:
    source = write(tmp_path, HOSTILE, form)
    options = [f"-std={standard}"] if form == "incbin" else dialect(standard)
    users = [compiled(compiler, path, *dialect(standard)) for path in write_users(tmp_path, HOSTILE)]
    program = tmp_path / "program"
    must(tool(compiler), compiled(compiler, source, *options), *users, "-o", program)
    assert must(program) == DATA + b"".join(label.encode() + b"\0" for label in LABELS)
    assert section_of(default_array_name(HOSTILE.model), program) == ["R"]
    assert program.read_bytes().count(DATA) == 1


@EVERY_FORM
@pytest.mark.parametrize("standard", [*C_STANDARDS, *CPP_STANDARDS])
def test_an_arm_compiler_makes_one_aligned_read_only_copy(standard: str, form: str, tmp_path: Path) -> None:
    compiler = "arm-none-eabi-g++" if "++" in standard else "arm-none-eabi-gcc"
    source = write(tmp_path, HOSTILE, form)
    target = compiled(compiler, source, *ARM, *([] if form == "incbin" else dialect(standard)))
    array = default_array_name(HOSTILE.model)
    assert list(definitions(target, array)) == [(DATA, 16, f".rodata.{array}")]
    assert next(definitions(target, f"{array}_size"))[0] == len(DATA).to_bytes(4, "little")
    identity = bytes.fromhex(HOSTILE.sha256[:8])[::-1]
    assert next(definitions(target, f"{array}_id"))[0] == identity
    for user in write_users(tmp_path, HOSTILE):
        compiled(compiler, user, *ARM, *dialect(standard))


@pytest.mark.parametrize("machine", ELSEWHERE)
def test_clang_assembles_the_bytes_for_other_machines(machine: str, tmp_path: Path) -> None:
    target = compiled("clang", write(tmp_path, HOSTILE, "incbin"), "-target", machine)
    assert [found[:2] for found in definitions(target, default_array_name(HOSTILE.model))] == [(DATA, 16)]


@pytest.mark.parametrize("machine", ["arm64-apple-macos", "x86_64-apple-macos"])
def test_clang_assembles_the_bytes_for_mach_o(machine: str, tmp_path: Path) -> None:
    target = compiled("clang", write(tmp_path, HOSTILE, "incbin"), "-target", machine).read_bytes()
    assert target.count(DATA) == 1
    header = target.index(b"__const".ljust(16, b"\0") + b"__TEXT".ljust(16, b"\0"))
    address, _, offset, log2_alignment = struct.unpack_from("<QQII", target, header + 32)
    assert (address + target.index(DATA) - offset) % 16 == 0
    assert log2_alignment >= 4
    for symbol in ("data", "data_size", "data_id", "labels"):
        assert f"\0_g_m_2_layer_net_model_{symbol}\0".encode() in target


@EVERY_FORM
def test_no_form_asks_for_an_executable_stack_or_writes_to_the_program_text(form: str, tmp_path: Path) -> None:
    sources = [write(tmp_path, HOSTILE, form), *write_users(tmp_path, HOSTILE)]
    options = ["-pie", "-fPIE", "-Wl,--fatal-warnings", "-Wl,-z,text", f"-I{tmp_path}"]
    must(tool("gcc"), *options, *sources, "-o", tmp_path / "program")
    assert re.search(r"GNU_STACK[^E]*RW +0x", must(tool("readelf"), "-lW", tmp_path / "program").decode())


# Settings


@EVERY_FORM
def test_alignment_and_section_reach_the_object_file(form: str, tmp_path: Path) -> None:
    facts = dataclasses.replace(SINE, alignment=64, section=".model")
    assert list(definitions(compiled("gcc", write(tmp_path, facts, form)))) == [(DATA, 64, ".model")]


@EVERY_FORM
def test_a_linker_script_places_a_section_of_its_own(form: str, tmp_path: Path) -> None:
    source = write(tmp_path, dataclasses.replace(SINE, section=".model"), form)
    user = tmp_path / "user.c"
    user.write_text(f'#include "sine_model_data.h"\nconst uint8_t *start(void) {{ return {ARRAY}; }}\n')
    (text,) = blocks("docs/c-sources.md", "ld")
    memory = "MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 64K }\n"
    script = tmp_path / "firmware.ld"
    script.write_text(f"{memory}{text}SECTIONS {{ .text : {{ *(.text*) *(.rodata*) }} > FLASH }}\n")
    objects = [compiled("arm-none-eabi-gcc", path, *ARM) for path in (source, user)]
    program = tmp_path / "program"
    must(
        tool("arm-none-eabi-gcc"), "-nostdlib", "-Wl,--gc-sections,-estart", "-T", script, *objects, "-o", program
    )
    assert [found[0::2] for found in definitions(program)] == [(DATA, ".model")]
    (address,) = re.findall(rf"^(\w+) \w {ARRAY}$", must(tool("nm"), program).decode(), re.MULTILINE)
    assert int(address, 16) == int(re.search(r"ORIGIN = (\w+)", text)[1], 16)  # type: ignore[index]


@pytest.mark.parametrize("form", ["pair", "single"])
@pytest.mark.parametrize(("compiler", "standard"), COMPILERS)
def test_an_attribute_reaches_the_definition(compiler: str, standard: str, form: str, tmp_path: Path) -> None:
    facts = dataclasses.replace(SINE, attributes='__attribute__((used)) __attribute__((section(".fast")))')
    target = compiled(compiler, write(tmp_path, facts, form), *dialect(standard))
    assert list(definitions(target)) == [(DATA, 16, ".fast")]


@pytest.mark.parametrize("standard", CPP_STANDARDS)
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_an_attribute_in_the_spelling_of_cpp_reaches_the_definition(
    compiler: str, standard: str, tmp_path: Path
) -> None:
    facts = dataclasses.replace(SINE, attributes='[[gnu::used, gnu::section(".fast")]]')
    target = compiled(compiler, write(tmp_path, facts, "pair"), *dialect(standard))
    assert list(definitions(target)) == [(DATA, 16, ".fast")]


def test_the_section_and_the_file_of_the_bytes_can_be_overridden_when_assembling(tmp_path: Path) -> None:
    source = write(tmp_path, SINE, "incbin")
    (tmp_path / "sine_model_data.tflite").rename(tmp_path / "moved.bin")
    target = compiled(
        "gcc",
        source,
        f'-DSINE_MODEL_DATA_FILE="{tmp_path}/moved.bin"',
        '-DSINE_MODEL_DATA_ASM_SECTION=.section ".fast", "a", %progbits',
    )
    assert list(definitions(target)) == [(DATA, 16, ".fast")]


# Files of two builds


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x"], ids=["other bytes", "other size"])
def test_a_header_of_another_build_is_an_error_for_the_assembler(data: bytes, tmp_path: Path) -> None:
    source = write(tmp_path, SINE, "incbin")
    other = dataclasses.replace(SINE, form="incbin", sha256=hashlib.sha256(data).hexdigest())
    (tmp_path / "sine_model_data.h").write_bytes(render_files(other, data)["sine_model_data.h"])
    failed = run(tool("gcc"), "-c", f"-I{tmp_path}", source, "-o", tmp_path / "x.o")
    assert failed.returncode != 0
    assert b"sine_model_data.h and sine_model_data.S are not of one build" in failed.stderr


@pytest.mark.parametrize("compiler", ["gcc", "clang", "arm-none-eabi-gcc"])
@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""])
def test_bytes_of_another_length_are_an_error_for_the_assembler(
    data: bytes, compiler: str, tmp_path: Path
) -> None:
    source = write(tmp_path, SINE, "incbin")
    (tmp_path / "sine_model_data.tflite").write_bytes(data)
    failed = run(tool(compiler), "-c", f"-I{tmp_path}", source, "-o", tmp_path / "x.o")
    assert failed.returncode != 0
    assert b"sine_model_data.S and its .tflite are not of one build" in failed.stderr


@EVERY_FORM
def test_a_program_can_tell_that_it_was_linked_with_the_bytes_of_another_build(form: str, tmp_path: Path) -> None:
    library = compiled("gcc", write(tmp_path, SINE, form))
    data = DATA[:-1] + b"x"
    write(tmp_path, dataclasses.replace(SINE, sha256=hashlib.sha256(data).hexdigest()), form, data)
    user = tmp_path / "user.c"
    user.write_text(
        f'#include "sine_model_data.h"\nint main(void) {{ return {ARRAY}_id != SINE_MODEL_DATA_ID; }}\n'
    )
    must(tool("gcc"), library, compiled("gcc", user), "-o", tmp_path / "program")
    assert run(tmp_path / "program").returncode == 1


# The single header


def test_the_array_is_defined_once_however_often_the_header_is_included(tmp_path: Path) -> None:
    source = write(tmp_path, SINE, "single")
    include = '#include "sine_model_data.h"\n'
    source.write_text(include + source.read_text() + include)
    assert [found[0] for found in definitions(compiled("gcc", source, "-std=c99"))] == [DATA]


def test_a_user_of_the_header_holds_no_copy(tmp_path: Path) -> None:
    write(tmp_path, HOSTILE, "single")
    for user in write_users(tmp_path, HOSTILE):
        target = compiled("gcc", user)
        assert DATA not in target.read_bytes()
        assert section_of(default_array_name(HOSTILE.model), target) == []


def test_two_definitions_do_not_link(tmp_path: Path) -> None:
    source = write(tmp_path, SINE, "single")
    second = tmp_path / "second.c"
    second.write_text(source.read_text() + "int main(void) { return 0; }\n")
    failed = run(tool("gcc"), source, second, "-o", tmp_path / "program")
    assert b"multiple definition of `g_sine_model_data'" in failed.stderr


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_a_single_header_with_a_row_lost_does_not_compile(compiler: str, tmp_path: Path) -> None:
    source = write(tmp_path, SINE, "single")
    header = tmp_path / "sine_model_data.h"
    text, edits = re.subn(r"= \{\n .*\n", "= {\n", header.read_text(), count=1)
    assert edits == 1
    header.write_text(text)
    failed = run(tool(compiler), "-c", source, "-o", tmp_path / "x.o")
    assert b"g_sine_model_data_is_complete" in failed.stderr


# Text


def test_each_form_has_its_files() -> None:
    names = {form: sorted(render_files(dataclasses.replace(SINE, form=form), DATA)) for form in FORMS}
    suffixes = {"pair": ["c", "h"], "single": ["h"], "incbin": ["S", "h", "tflite"]}
    assert names == {form: [f"sine_model_data.{one}" for one in ends] for form, ends in suffixes.items()}
    assert render_files(dataclasses.replace(SINE, form="incbin"), DATA)["sine_model_data.tflite"] == DATA


@EVERY_FORM
def test_every_line_of_a_form_is_ascii_and_has_no_trailing_space(form: str) -> None:
    for name, content in render_files(dataclasses.replace(HOSTILE, form=form), DATA).items():
        if not name.endswith(".tflite"):
            assert content.isascii()
            assert not re.search(rb"[ \t\r]$|\n\n\n", content, flags=re.MULTILINE)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_label_is_a_string_of_the_assembler_of_its_utf8_bytes(label: str) -> None:
    text = render_assembly(dataclasses.replace(SINE, form="incbin", classes=(label,)), 1)
    (literal,) = re.findall(r"^    \.asciz (.*)$", text, flags=re.MULTILINE)
    assert unescape(literal) == label.encode()


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "header"}, "header.form is 'header'; use 'pair', 'single', 'incbin'"),
        ({"form": "incbins"}, "header.form is 'incbins'; use 'incbin'"),
        ({"alignment": 2**17}, "header.alignment is 131072; use a power of two from 16 to 65536"),
        ({"form": "incbin", "attributes": "X"}, "header.attributes are for compilers"),
    ],
)
def test_a_setting_that_cannot_be_had_is_refused_with_a_fix(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        render_files(dataclasses.replace(SINE, **change), DATA)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["int x;", "//", "/*", "#define X", "A\nB", "\\", "f(", "f)(", "[(])", '"', 'f("', "{", "é", ",", "2x", "??/"],
)
def test_what_would_get_out_of_its_place_is_no_attribute(text: str) -> None:
    with pytest.raises(UserError, match=r"header\.attributes .* cannot stand before a definition"):
        render_files(dataclasses.replace(SINE, attributes=text), DATA)


# The build


def sources(project: Project) -> set[str]:
    return {path.name for path in project.path("firmware/generated").glob("kws_model_data.*")}


def set_header(project: Project, **settings: object) -> Rebuild:
    """Return what a build does after settings of the header took the place of others."""
    lines = "".join(f"my_model.header.{key} = {value!r}\n" for key, value in settings.items())
    text = re.sub(r"my_model\.header\..*\n", "", project.path("models/kws.py").read_text())
    return Rebuild(project, lambda: project.write("models/kws.py", text + lines))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("form", "single", "form: pair → single"),
        ("alignment", 64, "alignment: 16 → 64"),
        ("attributes", "__attribute__((used))", 'attributes: "" → __attribute__((used))'),
    ],
)
def test_a_setting_of_the_form_only_writes_the_c_sources(
    built: Project, key: str, value: object, why: str
) -> None:
    done = set_header(built, **{key: value})
    assert done.ran == {"spec", "header"}
    assert done.why("header") == why
    assert {Path(name).stem for name in done.changed} >= {"kws_model_data"}
    assert not done.changed_model


def test_another_form_removes_the_files_of_the_former(built: Project) -> None:
    before = built.outputs()
    set_header(built, form="incbin")
    assert sources(built) == {"kws_model_data.h", "kws_model_data.S", "kws_model_data.tflite"}
    data = built.path("build/kws/kws.tflite").read_bytes()
    assert built.path("firmware/generated/kws_model_data.tflite").read_bytes() == data
    set_header(built, form="single")
    assert sources(built) == {"kws_model_data.h"}
    set_header(built)
    assert built.outputs() == before


def test_a_file_of_the_former_form_that_was_edited_stays(built: Project) -> None:
    set_header(built, form="incbin")
    built.write("firmware/generated/kws_model_data.S", "mine")
    set_header(built, form="single")
    assert sources(built) == {"kws_model_data.h", "kws_model_data.S"}
    assert built.path("firmware/generated/kws_model_data.S").read_text() == "mine"


def test_a_wrong_form_is_told_before_anything_is_built(built: Project) -> None:
    with built.path("models/kws.py").open("a") as stream:
        stream.write('my_model.header.form = "incbn"\n')
    run = built.doit("quantize")
    assert run.code != 0
    assert "models/kws.py: header.form is 'incbn'; use 'incbin'" in run.out + run.err
    assert sources(built) == {"kws_model_data.h", "kws_model_data.c"}
