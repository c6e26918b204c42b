"""The header of the op resolver: its tables are TFLM's, and compilers take it and register just the operators."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm.c_text import c_identifier, macro_prefix
from doit_tflm.errors import UserError
from doit_tflm.resolver import BUILTIN_METHODS, CUSTOM_METHODS, method, render_resolver, resolver_file
from doit_tflm.schema.flatbuffer import tensorflow_schema

Operators = list[tuple[str, bool]]

FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror"]
STANDARDS = ["c++11", "c++14", "c++17", "c++20"]
NAMES = [
    line
    for line in (Path(__file__).parent / "tflm_op_names.txt").read_text(encoding="ascii").splitlines()
    if not line.startswith("#")
]
NOT_OURS = {
    "AddBuiltin": "private: the other methods call it",
    "AddCustom": "takes a kernel that the firmware brings along",
}
ALL: Operators = [*((name, False) for name in BUILTIN_METHODS), *((name, True) for name in CUSTOM_METHODS)]
GENERATOR = "doit-tflm 0.1.0"
SINE: Operators = [("FULLY_CONNECTED", False), ("RELU", False), ("SignalWindow", True)]
HOSTILE: Operators = [*SINE, ('ends */ "int" x; /* ??/', True), ("größe\\", True), ("line\n#error two\\\n", True)]

# The stand-in of TFLM's header: a resolver that writes down what is called, and fails when it is told to.
FAKE_HEAD = """
#pragma once
#include <string>
#include <vector>
typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1, kTfLiteDelegateError = 2 } TfLiteStatus;
struct TFLMRegistration {};
namespace tflite {
template <unsigned int tOpCount>
class MicroMutableOpResolver {
 public:
  std::vector<std::string> calls;
  std::string fails_at;
  unsigned int room() const { return tOpCount; }
  TfLiteStatus AddCustom(const char* name, const TFLMRegistration*) { return note(name); }
"""
FAKE_TAIL = """
 private:
  TfLiteStatus note(const char* name) {
    calls.push_back(name);
    return fails_at == name ? kTfLiteDelegateError : kTfLiteOk;
  }
};
}
"""
PROGRAM = """
#include <cstdio>
#include "FILE"
#include "FILE"
int main(int argc, char **argv)
{
    RESOLVER resolver;
    resolver.fails_at = argc > 1 ? argv[1] : "";
    const TfLiteStatus status = NAME_register_ops(resolver);
    std::printf("%u %d", resolver.room(), static_cast<int>(status));
    for (const std::string &call : resolver.calls) {
        std::printf(" %s", call.c_str());
    }
    return 0;
}
"""


def must(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiler() -> str:
    """Return the path of g++, or skip the test."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("g++ is not installed")
    return found


def write_header(directory: Path, name: str, operators: Iterable[tuple[str, bool]]) -> None:
    (directory / resolver_file(name)).write_text(render_resolver(name, operators, GENERATOR), encoding="ascii")


def program(directory: Path, name: str, resolver: str = "") -> Path:
    """Write a program that registers the operators in the header's own resolver, or in the one given."""
    text = PROGRAM.replace("FILE", resolver_file(name))
    text = text.replace("RESOLVER", resolver or "NAME_op_resolver").replace("NAME", c_identifier(name))
    path = directory / "main.cc"
    path.write_text(text, encoding="ascii")
    return path


def build(source: Path, standard: str = "c++11") -> Path:
    target = source.with_suffix(".out")
    must(compiler(), f"-std={standard}", *FLAGS, f"-I{source.parent}", source, "-o", target)
    return target


def refusal(source: Path, *options: str) -> str:
    """Return what the compiler says against a source."""
    command = [compiler(), "-fsyntax-only", "-std=c++17", *options, f"-I{source.parent}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def plain(text: str) -> str:
    """Return a name's letters and digits, in one case."""
    return re.sub("[^a-z0-9]", "", text.lower())


@pytest.fixture
def tflm(tmp_path: Path) -> Path:
    """Return a directory of headers with a stand-in of TFLM's, which has the methods that TFLM has."""
    header = tmp_path / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    header.parent.mkdir(parents=True)
    methods = [f'  TfLiteStatus {name}() {{ return note("{name}"); }}' for name in NAMES if name not in NOT_OURS]
    header.write_text(FAKE_HEAD + "\n".join(methods) + FAKE_TAIL, encoding="ascii")
    return tmp_path


# The tables


def test_every_method_of_the_tables_is_one_of_tflm() -> None:
    assert {*BUILTIN_METHODS.values(), *CUSTOM_METHODS.values()} <= set(NAMES)


def test_the_tables_reach_every_method_of_tflm_that_stands_for_an_operator() -> None:
    assert set(NAMES) - {*BUILTIN_METHODS.values(), *CUSTOM_METHODS.values()} == NOT_OURS.keys()


def test_no_two_operators_have_one_method() -> None:
    methods = [*BUILTIN_METHODS.values(), *CUSTOM_METHODS.values()]
    assert len(methods) == len(set(methods)) == len(NAMES) - len(NOT_OURS)


def test_every_builtin_is_one_of_the_schema() -> None:
    assert BUILTIN_METHODS.keys() <= vars(tensorflow_schema("schema_py_generated").BuiltinOperator).keys()


def test_a_method_has_the_letters_of_its_operator() -> None:
    for name, found in BUILTIN_METHODS.items():
        assert plain(found) == plain(f"Add{name}")
    for name, found in CUSTOM_METHODS.items():
        assert plain(found) == plain("Add" + re.sub("^(Signal|TFLM_|TFLite_)", "", name))


@pytest.mark.parametrize(
    ("operator", "is_custom", "name"),
    [
        ("CONV_2D", False, "AddConv2D"),
        ("BATCH_MATMUL", False, "AddBatchMatMul"),
        ("CUMSUM", False, "AddCumSum"),
        ("PADV2", False, "AddPadV2"),
        ("SPLIT_V", False, "AddSplitV"),
        ("SELECT_V2", False, "AddSelectV2"),
        ("RELU6", False, "AddRelu6"),
        ("L2_POOL_2D", False, "AddL2Pool2D"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", False, "AddUnidirectionalSequenceLSTM"),
        ("LSTM", False, None),
        ("BIDIRECTIONAL_SEQUENCE_LSTM", False, None),
        ("TOPK_V2", False, None),
        ("CUSTOM", False, None),
        ("TFLite_Detection_PostProcess", True, "AddDetectionPostprocess"),
        ("SignalPCAN", True, "AddPCAN"),
        ("SignalFftAutoScale", True, "AddFftAutoScale"),
        ("TFLM_DECODE", True, "AddDecode"),
        ("CIRCULAR_BUFFER", True, "AddCircularBuffer"),
        ("ethos-u", True, "AddEthosU"),
        ("Window", True, None),
        ("CONV_2D", True, None),
        ("SignalWindow", False, None),
    ],
)
def test_an_operator_has_the_method_that_tflm_registers_it_with(
    operator: str, is_custom: bool, name: str | None
) -> None:
    assert method(operator, is_custom) == name


# The text


def calls(text: str) -> list[str]:
    return re.findall(r"= resolver\.(Add\w+)\(\);", text)


@given(st.lists(st.sampled_from([*ALL, *HOSTILE]), min_size=1), st.randoms(use_true_random=False))
def test_order_and_repetition_of_the_operators_make_no_difference(
    operators: Operators, shuffler: random.Random
) -> None:
    text = render_resolver("sine", operators, GENERATOR)
    again = [*operators, *operators]
    shuffler.shuffle(again)
    assert render_resolver("sine", again, GENERATOR) == text
    assert calls(text) == sorted({found for each in operators if (found := method(*each))})
    assert f"#define SINE_MODEL_OP_RESOLVER_SIZE {len(set(operators))}u\n" in text


@given(name=st.text(), custom=st.text(), model=st.text(), generator=st.text())
def test_the_text_is_ascii_and_no_name_ends_its_comment(
    name: str, custom: str, model: str, generator: str
) -> None:
    text = render_resolver(name, [*SINE, (custom, True)], generator, [model, "other"])
    assert text.isascii()
    head = text[: text.index("#ifndef DOIT_TFLM_")]
    assert (head.count("/*"), head.count("*/"), head.count("??")) == (1, 1, 0)
    assert not re.search(r"\\$", text, flags=re.MULTILINE)


def test_the_comment_says_whose_operators_these_are_and_how_they_are_registered() -> None:
    text = render_resolver("sine", SINE, GENERATOR)
    head = text[: text.index("*/")]
    assert " * Model: sine\n" in head
    assert " * Operators: FULLY_CONNECTED, RELU, SignalWindow\n" in head
    assert "sine_op_resolver resolver;" in head
    assert "sine_register_ops(resolver) != kTfLiteOk" in head
    assert "AddCustom" not in head


def test_a_header_for_several_models_names_each_once() -> None:
    texts = {
        render_resolver("all", SINE, GENERATOR, models) for models in (["kws", "sine", "kws"], ("sine", "kws"))
    }
    assert len(texts) == 1
    assert " * Models: kws, sine\n" in texts.pop()


def test_a_custom_operator_without_a_method_is_named_counted_and_left_to_the_firmware() -> None:
    text = render_resolver("sine", [("MyOp", True), ("FlexErf", True), *SINE], GENERATOR)
    assert ' *   resolver.AddCustom("FlexErf", ...)\n *   resolver.AddCustom("MyOp", ...)\n' in text
    assert "#define SINE_MODEL_OP_RESOLVER_SIZE 5u\n" in text
    assert calls(text) == ["AddFullyConnected", "AddRelu", "AddWindow"]


@pytest.mark.parametrize("name", ["sine", "kws-small.v2", "int", "2-layer", "größe"])
def test_the_header_is_called_after_the_model(name: str) -> None:
    assert resolver_file(name) == f"{c_identifier(name)}_op_resolver.h"
    text = render_resolver(name, SINE, GENERATOR)
    assert text.startswith(f"/* {resolver_file(name)}: ")
    assert f"#ifndef DOIT_TFLM_{macro_prefix(name)}_OP_RESOLVER_H\n" in text


def test_builtins_that_tflm_lacks_are_refused_all_at_once() -> None:
    with pytest.raises(UserError, match="no kernel for LSTM, TOPK_V2;") as caught:
        render_resolver("sine", [("TOPK_V2", False), *SINE, ("LSTM", False)], GENERATOR)
    assert caught.value.where == "sine"
    assert caught.value.fix


def test_an_empty_set_of_operators_is_refused() -> None:
    with pytest.raises(UserError, match="no operator to register") as caught:
        render_resolver("sine", [], GENERATOR)
    assert caught.value.where == "sine"


def test_importing_the_module_is_cheap() -> None:
    heavy = "{'jinja2', 'numpy', 'tensorflow'}"
    must(sys.executable, "-c", f"import sys, doit_tflm.resolver; assert not {heavy} & set(sys.modules)")


# The compiler


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("operators", [SINE, HOSTILE, ALL], ids=["sine", "hostile", "all"])
def test_the_header_compiles_without_warnings(standard: str, operators: Operators, tflm: Path) -> None:
    write_header(tflm, "sine", operators)
    must(compiler(), "-fsyntax-only", f"-std={standard}", *FLAGS, f"-I{tflm}", program(tflm, "sine"))


def test_the_function_registers_each_operator_once_and_no_other(tflm: Path) -> None:
    write_header(tflm, "kws-small.v2", [*HOSTILE, *SINE])
    done = must(build(program(tflm, "kws-small.v2")))
    assert done == "6 0 AddFullyConnected AddRelu AddWindow"


def test_all_the_operators_of_tflm_can_be_registered(tflm: Path) -> None:
    write_header(tflm, "sine", ALL)
    room, status, *called = must(build(program(tflm, "sine"))).split()
    assert (room, status) == (str(len(ALL)), "0")
    assert called == [name for name in NAMES if name not in NOT_OURS]


@pytest.mark.parametrize(
    ("broken", "called"),
    [
        ("AddFullyConnected", "AddFullyConnected"),
        ("AddRelu", "AddFullyConnected AddRelu"),
        ("AddWindow", "AddFullyConnected AddRelu AddWindow"),
    ],
)
def test_the_function_stops_at_the_first_failure_and_returns_its_status(
    broken: str, called: str, tflm: Path
) -> None:
    write_header(tflm, "sine", SINE)
    assert must(build(program(tflm, "sine")), broken) == f"3 2 {called}"


def test_a_model_of_the_firmware_s_own_operators_alone_registers_nothing(tflm: Path) -> None:
    write_header(tflm, "sine", [("MyOp", True)])
    assert must(build(program(tflm, "sine"))) == "1 0"


def test_a_larger_resolver_takes_the_operators_too(tflm: Path) -> None:
    write_header(tflm, "sine", SINE)
    larger = "tflite::MicroMutableOpResolver<SINE_MODEL_OP_RESOLVER_SIZE + 2>"
    assert must(build(program(tflm, "sine", larger))) == "5 0 AddFullyConnected AddRelu AddWindow"


def test_a_smaller_resolver_is_refused_when_compiling(tflm: Path) -> None:
    write_header(tflm, "sine", SINE)
    smaller = "tflite::MicroMutableOpResolver<2>"
    assert "the resolver is smaller than SINE_MODEL_OP_RESOLVER_SIZE" in refusal(program(tflm, "sine", smaller))


def test_the_headers_of_two_models_live_in_one_translation_unit(tflm: Path) -> None:
    write_header(tflm, "sine", SINE)
    write_header(tflm, "int", ALL)
    source = program(tflm, "sine")
    other = f'#include "{resolver_file("int")}"\nint other();\nint other() {{ m_int_op_resolver resolver;\n'
    source.write_text(other + "return m_int_register_ops(resolver); }\n" + source.read_text())
    assert must(build(source)) == "3 0 AddFullyConnected AddRelu AddWindow"


def test_one_header_is_used_from_two_translation_units(tflm: Path) -> None:
    write_header(tflm, "sine", SINE)
    other = tflm / "other.cc"
    other.write_text(
        f'#include "{resolver_file("sine")}"\nint other();\n'
        "int other() { sine_op_resolver resolver; return sine_register_ops(resolver); }\n"
    )
    must(compiler(), "-std=c++11", *FLAGS, f"-I{tflm}", program(tflm, "sine"), other, "-o", tflm / "both")
    assert must(tflm / "both") == "3 0 AddFullyConnected AddRelu AddWindow"


def test_two_models_with_one_prefix_are_refused_when_compiling(tflm: Path) -> None:
    write_header(tflm, "sine", SINE)
    write_header(tflm, "SINE", SINE)
    source = tflm / "main.cc"
    source.write_text(f'#include "{resolver_file("sine")}"\n#include "{resolver_file("SINE")}"\n')
    assert "share the prefix SINE_MODEL" in refusal(source)


def test_c_is_refused_with_a_message_that_says_why(tflm: Path) -> None:
    write_header(tflm, "sine", SINE)
    source = tflm / "main.c"
    source.write_text(f'#include "{resolver_file("sine")}"\n')
    assert "sine_op_resolver.h is for C++" in refusal(source, "-x", "c", "-std=c11")
