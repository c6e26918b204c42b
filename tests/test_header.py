"""The C sources: what they say, and that real compilers take them."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm.c_text import c_identifier, file_stem, macro_prefix
from doit_tflm.errors import UserError
from doit_tflm.header import (
    ArenaFacts,
    HeaderFacts,
    TensorFacts,
    default_array_name,
    render_header,
    render_source,
)

FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror"]
C_STANDARDS = ["c99", "c11", "c17", "c2x"]
CPP_STANDARDS = ["c++11", "c++14", "c++17", "c++20", "c++2b"]
COMPILERS = [
    *((compiler, standard) for compiler in ("gcc", "clang") for standard in C_STANDARDS),
    *((compiler, standard) for compiler in ("g++", "clang++") for standard in CPP_STANDARDS),
]
LABELS = (
    "zero",
    "größer",
    "\x01" + "7 after a control",
    "é0cafe",
    'a"quote"',
    "back\\slash",
    "what??/ ??=",
    "两\n行",
    "",
)
DATA = random.Random(1).randbytes(2675)
SINE = HeaderFacts(
    model="sine",
    version=3,
    description="The sine of an angle",
    inputs=(TensorFacts("x:0", (1, 49, 40), "int8", 0.0039215688593685627, -128),),
    outputs=(TensorFacts("y:0", (1, 2), "float32", None, None),),
    sha256=hashlib.sha256(DATA).hexdigest(),
    generator="doit-tflm 0.1.0",
)
HOSTILE = dataclasses.replace(
    SINE,
    model="2-layer.net",
    description='ends */ int x; /* and // "quoted" ??/\nline two \\\n*\\\n/ größer \u202e C:\\temp\\',
    classes=LABELS,
    tensorflow="2.21.0",
    operators=(*(f"OPERATOR_{number}" for number in range(30)), "Custom*/Op\\"),
    outputs=(TensorFacts('a"b\\??/', (), "bool", 1.0, 0), TensorFacts("wide", (2, 0), "int32", 1e-30, 5)),
    arena=ArenaFacts(bytes=22528, measured_bytes=20480, kernels="reference", word_bits=64),
    macs=12_501_632,
)

USER = """
#include "STEM.h"
#include "STEM.h"
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C"
#endif
const uint8_t *seen_elsewhere(void);

static uint8_t copy[PREFIX_DATA_LEN];
static PREFIX_INPUT0_TYPE input[PREFIX_INPUT0_ELEMENTS];

int main(void)
{
    const float scale = PREFIX_INPUT0_SCALE;
    size_t i;
    memcpy(copy, ARRAY, sizeof(copy));
    input[PREFIX_INPUT0_DIM1] = PREFIX_INPUT0_ZERO_POINT;
    if (ARRAY_size != PREFIX_DATA_LEN || sizeof(ARRAY) != sizeof(copy)) {
        return 2;
    }
    if ((uintptr_t)&ARRAY[0] % PREFIX_ALIGNMENT != 0) {
        return 3;
    }
    if (seen_elsewhere() != ARRAY) {
        return 4;
    }
    if (!(scale > 0.0f) || 5 -PREFIX_INPUT0_ZERO_POINT != 133) {
        return 8;
    }
    if (input[0] != 0 || sizeof(input) != PREFIX_INPUT0_BYTES) {
        return 5;
    }
    if (fwrite(copy, 1, ARRAY_size, stdout) != ARRAY_size) {
        return 6;
    }
    for (i = 0; i < PREFIX_CLASS_COUNT; i++) {
        if (fwrite(LABELS[i], 1, strlen(LABELS[i]) + 1, stdout) == 0) {
            return 7;
        }
    }
    return 0;
}
"""
OTHER = """
#include "STEM.h"
#ifdef __cplusplus
extern "C"
#endif
const uint8_t *seen_elsewhere(void);
const uint8_t *seen_elsewhere(void) { return ARRAY; }
"""


def tool(name: str) -> str:
    """Return the path of a compiler or binary tool, or skip the test."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(part) for part in command], capture_output=True, check=False)


def must(*command: str | Path) -> bytes:
    done = run(*command)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def compile_object(compiler: str, standard: str, source: Path, *options: str) -> Path:
    """Compile one file, in the standard's language whatever its suffix says."""
    target = source.with_suffix(f".{standard}.o")
    language = "c++" if "++" in standard else "c"
    must(tool(compiler), f"-std={standard}", *FLAGS, *options, "-x", language, "-c", source, "-o", target)
    return target


def write_pair(directory: Path, facts: HeaderFacts, data: bytes = DATA) -> Path:
    """Write both files and return the source."""
    stem = file_stem(facts.model)
    (directory / f"{stem}.h").write_text(render_header(facts, len(data)), encoding="ascii")
    source = directory / f"{stem}.c"
    source.write_text(render_source(facts, data), encoding="ascii")
    return source


def write_users(directory: Path, facts: HeaderFacts) -> list[Path]:
    """Write two translation units that use the pair."""
    array = facts.array_name or default_array_name(facts.model)
    names = {
        "STEM": file_stem(facts.model),
        "PREFIX": macro_prefix(facts.model),
        "ARRAY": array,
        "LABELS": f"{array.removesuffix('_data')}_labels",
    }
    paths = []
    for name, text in (("main.c", USER), ("other.c", OTHER)):
        paths.append(directory / name)
        paths[-1].write_text(re.sub("|".join(names), lambda match: names[match[0]], text))
    return paths


def defines(text: str) -> dict[str, str]:
    return dict(re.findall(r"^#define (\w+) (.+)$", text, flags=re.MULTILINE))


def section_of(symbol: str, target: Path) -> list[str]:
    """Return nm's letters for a symbol, one for each definition."""
    return re.findall(rf"^[0-9a-f]+ (\w) {symbol}$", must(tool("nm"), target).decode(), flags=re.MULTILINE)


def unescape(literal: str) -> bytes:
    """Read a string literal as a C compiler does."""
    assert re.fullmatch(r'"(?:[ !#->@-\[\]-~]|\\[0-7]{3}|\\["?\\])*"', literal)
    parts = re.findall(r"\\([0-7]{3})|\\(.)|(.)", literal[1:-1])
    return b"".join(bytes([int(octal, 8)]) if octal else (sign or plain).encode() for octal, sign, plain in parts)


# Compilers


@pytest.mark.parametrize(("compiler", "standard"), COMPILERS)
def test_the_pair_compiles_without_warnings_and_gives_the_bytes_and_labels_back(
    compiler: str, standard: str, tmp_path: Path
) -> None:
    sources = [write_pair(tmp_path, HOSTILE), *write_users(tmp_path, HOSTILE)]
    language = "c++" if "++" in standard else "c"
    program = tmp_path / "program"
    must(tool(compiler), f"-std={standard}", *FLAGS, "-x", language, *sources, "-o", program)
    assert must(program) == DATA + b"".join(label.encode() + b"\0" for label in LABELS)
    assert section_of(default_array_name(HOSTILE.model), program) in (["R"], ["r"])


@pytest.mark.parametrize("standard", CPP_STANDARDS)
def test_a_definition_compiled_as_c_is_used_from_cpp(standard: str, tmp_path: Path) -> None:
    definition = compile_object("gcc", "c11", write_pair(tmp_path, HOSTILE))
    users = [compile_object("g++", standard, path) for path in write_users(tmp_path, HOSTILE)]
    must(tool("g++"), definition, *users, "-o", tmp_path / "program")
    assert must(tmp_path / "program").startswith(DATA)


def test_a_definition_compiled_as_cpp_is_used_from_c(tmp_path: Path) -> None:
    definition = compile_object("g++", "c++17", write_pair(tmp_path, HOSTILE))
    users = [compile_object("gcc", "c99", path) for path in write_users(tmp_path, HOSTILE)]
    must(tool("gcc"), definition, *users, "-o", tmp_path / "program")
    assert must(tmp_path / "program").startswith(DATA)


def test_models_with_awkward_names_live_in_one_program(tmp_path: Path) -> None:
    facts = [
        dataclasses.replace(HOSTILE, model=model) for model in ("2-layer.net", "int", "_x", "数字", "Ünï", "sine")
    ]
    objects = [compile_object("gcc", "c11", write_pair(tmp_path, each)) for each in facts]
    includes = "".join(f'#include "{file_stem(each.model)}.h"\n' for each in facts)
    sizes = " + ".join(f"{default_array_name(each.model)}_size" for each in facts)
    user = tmp_path / "all.c"
    user.write_text(f"{includes}int main(void) {{ return ({sizes}) == {len(facts) * len(DATA)}u ? 0 : 1; }}\n")
    must(tool("gcc"), *objects, compile_object("gcc", "c11", user), "-o", tmp_path / "program")
    must(tmp_path / "program")


def test_the_array_is_read_only_in_its_own_section(tmp_path: Path) -> None:
    source = write_pair(tmp_path, dataclasses.replace(SINE, section=".model"))
    target = compile_object("gcc", "c11", source)
    symbols = must(tool("objdump"), "-t", target).decode()
    assert re.search(r" \.model\s\S+ g_sine_model_data$", symbols, flags=re.MULTILINE)
    assert section_of("g_sine_model_data", target) == ["R"]


def test_the_section_can_be_overridden_when_compiling(tmp_path: Path) -> None:
    source = write_pair(tmp_path, dataclasses.replace(SINE, section=".model"))
    override = '-DSINE_MODEL_DATA_SECTION=__attribute__((section(".fast")))'
    headers = must(tool("objdump"), "-h", compile_object("gcc", "c99", source, override)).decode()
    assert ".fast" in headers
    assert ".model" not in headers


@pytest.mark.parametrize("standard", ["c99", "c11", "c++17"])
def test_a_larger_alignment_reaches_the_object_file(standard: str, tmp_path: Path) -> None:
    source = write_pair(tmp_path, dataclasses.replace(SINE, alignment=64))
    compiler = "g++" if "++" in standard else "gcc"
    headers = must(tool("objdump"), "-h", compile_object(compiler, standard, source)).decode()
    assert re.search(r"\.rodata .* 2\*\*6$", headers, flags=re.MULTILINE)


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x"], ids=["other bytes", "other size"])
def test_a_header_of_another_build_is_an_error(data: bytes, tmp_path: Path) -> None:
    source = write_pair(tmp_path, SINE)
    other = dataclasses.replace(SINE, sha256=hashlib.sha256(data).hexdigest())
    (tmp_path / "sine_model_data.h").write_text(render_header(other, len(data)))
    failed = run(tool("gcc"), "-c", source, "-o", tmp_path / "x.o")
    assert failed.returncode != 0
    assert b"sine_model_data.h and sine_model_data.c are not of one build" in failed.stderr


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_a_header_with_other_classes_is_an_error(compiler: str, tmp_path: Path) -> None:
    source = write_pair(tmp_path, dataclasses.replace(SINE, classes=("a", "b")))
    (tmp_path / "sine_model_data.h").write_text(
        render_header(dataclasses.replace(SINE, classes=LABELS), len(DATA))
    )
    failed = run(tool(compiler), "-c", source, "-o", tmp_path / "x.o")
    assert b"g_sine_model_labels_is_complete" in failed.stderr


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
@pytest.mark.parametrize("edited", ["= {\n", "= {\n    0x00,\n    0x00,\n"], ids=["a row lost", "rows added"])
def test_an_array_that_was_edited_does_not_compile(edited: str, compiler: str, tmp_path: Path) -> None:
    source = write_pair(tmp_path, SINE)
    text, edits = re.subn(r"= \{\n .*\n", edited, source.read_text(), count=1)
    assert edits == 1
    source.write_text(text)
    failed = run(tool(compiler), "-c", source, "-o", tmp_path / "x.o")
    assert b"g_sine_model_data_is_complete" in failed.stderr


def test_two_models_with_one_prefix_are_an_error_where_both_are_included(tmp_path: Path) -> None:
    other = dataclasses.replace(SINE, model="Sine", sha256="0" * 64)
    write_pair(tmp_path, SINE)
    write_pair(tmp_path, other)
    user = tmp_path / "user.c"
    user.write_text('#include "sine_model_data.h"\n#include "Sine_model_data.h"\n')
    failed = run(tool("gcc"), "-c", user, "-o", tmp_path / "x.o")
    assert b"two different models share the prefix SINE_MODEL" in failed.stderr


def test_a_compiler_that_is_not_known_is_told_what_to_define(tmp_path: Path) -> None:
    source = write_pair(tmp_path, SINE)
    unknown = (tool("gcc"), "-std=c99", "-U__GNUC__", "-E", source, "-o", tmp_path / "x.i")
    assert b"define SINE_MODEL_DATA_ALIGNAS" in run(*unknown).stderr
    must(*unknown, "-DSINE_MODEL_DATA_ALIGNAS=")


# Text


def test_the_header_defines_the_facts() -> None:
    facts = dataclasses.replace(
        SINE,
        tensorflow="2.21.0",
        classes=("off", "on"),
        operators=("CONV_2D", "SOFTMAX"),
        arena=ArenaFacts(bytes=4512, measured_bytes=4096, kernels="reference", word_bits=64),
    )
    assert defines(render_header(facts, 2675)) == {
        "SINE_MODEL_NAME": '"sine"',
        "SINE_MODEL_VERSION": "3",
        "SINE_MODEL_SCHEMA_VERSION": "3",
        "SINE_MODEL_SHA256": f'"{SINE.sha256}"',
        "SINE_MODEL_TENSORFLOW_VERSION": '"2.21.0"',
        "SINE_MODEL_OPERATOR_COUNT": "2",
        "SINE_MODEL_ARENA_BYTES": "4512u",
        "SINE_MODEL_ARENA_MEASURED_BYTES": "4096u",
        "SINE_MODEL_DATA_LEN": "2675u",
        "SINE_MODEL_ALIGNMENT": "16",
        "SINE_MODEL_DATA_ID": f"0x{SINE.sha256[:8]}u",
        "SINE_MODEL_INPUT_COUNT": "1",
        "SINE_MODEL_INPUT0_NAME": '"x:0"',
        "SINE_MODEL_INPUT0_TYPE": "int8_t",
        "SINE_MODEL_INPUT0_RANK": "3",
        "SINE_MODEL_INPUT0_DIM0": "1",
        "SINE_MODEL_INPUT0_DIM1": "49",
        "SINE_MODEL_INPUT0_DIM2": "40",
        "SINE_MODEL_INPUT0_ELEMENTS": "1960",
        "SINE_MODEL_INPUT0_BYTES": "1960u",
        "SINE_MODEL_INPUT0_SCALE": "0.003921569f",
        "SINE_MODEL_INPUT0_ZERO_POINT": "(-128)",
        "SINE_MODEL_OUTPUT_COUNT": "1",
        "SINE_MODEL_OUTPUT0_NAME": '"y:0"',
        "SINE_MODEL_OUTPUT0_TYPE": "float",
        "SINE_MODEL_OUTPUT0_RANK": "2",
        "SINE_MODEL_OUTPUT0_DIM0": "1",
        "SINE_MODEL_OUTPUT0_DIM1": "2",
        "SINE_MODEL_OUTPUT0_ELEMENTS": "2",
        "SINE_MODEL_OUTPUT0_BYTES": "8u",
        "SINE_MODEL_CLASS_COUNT": "2",
    }


def test_what_is_not_known_is_not_defined() -> None:
    names = defines(render_header(SINE, 1)).keys()
    absent = (
        "TENSORFLOW_VERSION",
        "OPERATOR_COUNT",
        "ARENA_BYTES",
        "ARENA_MEASURED_BYTES",
        "MACS",
        "CLASS_COUNT",
        "OUTPUT0_SCALE",
    )
    assert not names & {f"SINE_MODEL_{name}" for name in absent}
    assert "labels" not in render_header(SINE, 1) + render_source(SINE, b"x")


def test_an_array_name_of_the_users_own_names_the_size_and_labels_too() -> None:
    facts = dataclasses.replace(SINE, array_name="kws_data", classes=("yes",))
    assert "extern const uint8_t kws_data[SINE_MODEL_DATA_LEN];" in render_header(facts, 1)
    assert "const size_t kws_data_size = SINE_MODEL_DATA_LEN;" in render_source(facts, b"x")
    assert "const char *const kws_labels[] = {" in render_source(facts, b"x")


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32767, 32768, 32769, 65536, 100_000])
def test_the_rows_hold_the_bytes_in_order(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = render_source(SINE, data)
    rows = text[text.index("= {\n") + 4 : text.index("};")].splitlines()
    assert bytes(int(word, 16) for row in rows for word in re.findall("0x(..),", row)) == data
    assert all(re.fullmatch(r"   ( 0x[0-9a-f]{2},){16}", row) for row in rows[:-1])
    assert text.endswith("\n")


def test_every_line_is_ascii_and_has_no_trailing_space() -> None:
    for text in (render_header(HOSTILE, 5), render_source(HOSTILE, b"12345")):
        assert text.isascii()
        assert not re.search(r"[ \t\r]$", text, flags=re.MULTILINE)


@given(st.text())
def test_no_description_breaks_out_of_its_comment(description: str) -> None:
    text = render_header(dataclasses.replace(SINE, description=description), 1)
    comment, rest = text[2:].split("*/", 1)
    assert rest.startswith("\n#ifndef DOIT_TFLM_SINE_MODEL_DATA_H\n")
    assert comment.isascii()
    assert not re.search(r"/\*|\?\?|\\\s|[^\n -~]", comment)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_label_is_a_literal_of_its_utf8_bytes(label: str) -> None:
    literal = re.findall(
        r"^    (\".*),$", render_source(dataclasses.replace(SINE, classes=(label,)), b"x"), re.MULTILINE
    )
    assert unescape(literal[0]) == label.encode()


@given(st.floats(min_value=0, max_value=2.0**126, width=32))
def test_a_scale_is_read_back_as_the_same_float(scale: float) -> None:
    tensor = TensorFacts("x", (1,), "int8", scale, 0)
    text = defines(render_header(dataclasses.replace(SINE, inputs=(tensor,)), 1))["SINE_MODEL_INPUT0_SCALE"]
    assert re.fullmatch(r"(\d+\.\d+|\d+(\.\d+)?e[+-]\d+)f", text)
    assert struct.pack("<f", float(text[:-1])) == struct.pack("<f", scale)


@pytest.mark.parametrize(
    ("scale", "text"), [(1, "1.0f"), (0.1, "0.1f"), (1 / 255, "0.003921569f"), (1e-7, "1e-07f"), (3e9, "3e+09f")]
)
def test_a_scale_is_written_as_short_as_can_be(scale: float, text: str) -> None:
    tensor = TensorFacts("x", (1,), "int8", scale, 0)
    assert f"_SCALE {text}\n" in render_header(dataclasses.replace(SINE, inputs=(tensor,)), 1)


# Names


@given(st.text())
def test_any_text_makes_an_identifier_that_stays_as_it_is(text: str) -> None:
    name = c_identifier(text)
    assert re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name)
    assert len(name) <= 80
    assert c_identifier(name) == name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("sine", "sine"),
        ("kws-small.v2", "kws_small_v2"),
        ("2-layer.net", "m_2_layer_net"),
        ("int", "m_int"),
        ("co_await", "m_co_await"),
        ("__init__", "init"),
    ],
)
def test_a_name_becomes_the_identifier_one_would_expect(model: str, name: str) -> None:
    assert c_identifier(model) == name
    assert file_stem(model) == f"{name}_model_data"
    assert default_array_name(model) == f"g_{name}_model_data"
    assert macro_prefix(model) == f"{name.upper()}_MODEL"


def test_names_that_lose_their_letters_stay_apart() -> None:
    assert len({c_identifier(name) for name in ("", "-", "数字", "数", "é", "è", "e", "a" * 90, "a" * 91)}) == 9


# Refusals


@pytest.mark.parametrize("name", ["2x", "a-b", "a b", "é", "int", "class", "_x", "a__b", "x_", "size_t", "a\n"])
def test_an_array_name_that_is_no_identifier_is_refused_with_one_that_is(name: str) -> None:
    facts = dataclasses.replace(SINE, array_name=name)
    with pytest.raises(UserError, match=r"header\.array_name") as caught:
        render_source(facts, b"x")
    assert caught.value.where == "sine"
    better = caught.value.fix.removeprefix("use ").strip("'")
    render_source(dataclasses.replace(SINE, array_name=better), b"x")


TENSOR = SINE.inputs[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array_name": "SINE_MODEL_NAME"}, "macro"),
        ({"section": 'a"b'}, "header.section"),
        ({"section": "a\\b"}, "header.section"),
        ({"section": ".model\n"}, "header.section"),
        ({"alignment": 8}, "alignment is 8"),
        ({"alignment": 0}, "alignment is 0"),
        ({"alignment": 24}, "alignment is 24"),
        ({"classes": ("a\0b",)}, "NUL"),
        ({"inputs": (dataclasses.replace(TENSOR, dtype="string"),)}, "type string"),
        ({"inputs": (dataclasses.replace(TENSOR, shape=(-1, 4)),)}, "open shape"),
        ({"inputs": (dataclasses.replace(TENSOR, scale=float("nan")),)}, "scale nan"),
        ({"outputs": (dataclasses.replace(TENSOR, scale=float("inf")),)}, "scale inf"),
    ],
)
def test_what_c_or_tflm_cannot_take_is_refused_with_a_fix(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        render_header(dataclasses.replace(SINE, **change), 1)  # type: ignore[arg-type]
    assert caught.value.where == "sine"
    assert caught.value.fix


def test_an_empty_model_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        render_source(SINE, b"")


def test_importing_the_module_is_cheap() -> None:
    heavy = "{'jinja2', 'numpy', 'tensorflow'}"
    must(sys.executable, "-c", f"import sys, doit_tflm.header; assert not {heavy} & set(sys.modules)")
