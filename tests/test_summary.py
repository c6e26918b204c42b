"""The summary of a model: what it says, and that it says it the same everywhere."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doit_tflm import parameters, tflite
from doit_tflm.errors import UserError
from doit_tflm.summary import Footprint, Port, print_summary, render, summarize, to_json
from tiny_model import Op, T, build

CONV = "net/conv2d/Relu;net/conv2d/Conv2D"
TENSORS = [
    T("serving_default_image:0", (1, 8, 8, 3), scale=0.5, zero_point=-3),
    T("net/conv2d/Conv2D", (16, 3, 3, 3), data=432, scale=0.25),
    T("net/conv2d/BiasAdd", (16,), "int32", data=64, scale=0.125),
    T(CONV, (1, 4, 4, 16), scale=0.5),
    T("net/pool/AvgPool", (1, 2, 2, 16), scale=0.5),
    T("net/flatten/Const", (2,), "int32", data=8),
    T("net/flatten/Reshape", (1, 64), scale=0.5),
    T("Identity", (1, 64), "float32"),
]
STRIDES = {"strideH": 2, "strideW": 2, "padding": 0, "fusedActivationFunction": 1}
POOL = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2, "padding": 1}
OPERATORS = [
    Op("CONV_2D", [TENSORS[0].name, "net/conv2d/Conv2D", "net/conv2d/BiasAdd"], [CONV], "Conv2DOptions", STRIDES),
    Op("AVERAGE_POOL_2D", [CONV], ["net/pool/AvgPool"], "Pool2DOptions", POOL),
    Op("RESHAPE", ["net/pool/AvgPool", "net/flatten/Const"], ["net/flatten/Reshape"]),
    Op("DEQUANTIZE", ["net/flatten/Reshape"], ["Identity"]),
]


def small(description: str = "a small model", **values: Any) -> bytes:
    data = build(TENSORS, OPERATORS, [TENSORS[0].name], ["Identity"], description=description)
    return tflite.with_metadata(data, {parameters.METADATA_NAME: parameters.encode(values)}) if values else data


SMALL = summarize(small(), "small")
MEASURED, TWIN = Footprint(98_120, 55_984), Footprint(320_112, 205_000)


def test_a_row_says_what_an_operator_does_and_takes():
    row = SMALL.rows[0]
    assert (row.index, row.operator, row.layer) == (0, "CONV_2D", "conv2d")
    assert (row.shapes, row.dtypes, row.options) == (((1, 4, 4, 16),), ("int8",), "3x3, stride 2x2, same, relu")
    assert (row.macs, row.operations, row.constant_bytes) == (4 * 4 * 16 * 27, 2 * 6912 + 256, 496)


def test_the_strides_of_a_window_of_their_size_go_without_saying():
    assert [row.options for row in SMALL.rows[1:]] == ["2x2, valid", "", ""]


def test_totals_are_sums_over_the_model():
    totals = SMALL.totals
    assert (totals.macs, totals.uncounted) == (6912, ())
    assert totals.operations == 2 * 6912 + 256 + 2 * 2 * 16 * 5 + 64 + 2 * 64
    assert (totals.parameters, totals.weights_bytes) == (432 + 16, 432 + 64 + 8)
    assert totals.tflite_bytes == len(small())
    assert (totals.tensor_bytes, totals.tensor_peak) == (192 + 256, "CONV_2D (conv2d)")
    assert totals.operators == ("AVERAGE_POOL_2D", "CONV_2D", "DEQUANTIZE", "RESHAPE")


def test_constants_that_share_a_buffer_count_once():
    tensors = [T(name, (8,), "float32", data=32, shared="one") for name in ("a", "b")]
    totals = summarize(build([*tensors, T("y", (8,), "float32")], [Op("ADD", ["a", "b"], ["y"])]), "m").totals
    assert (totals.parameters, totals.weights_bytes) == (8, 32)


def test_whole_numbers_without_a_scale_are_no_parameters():
    assert summarize(build([T("axes", (4,), "int32", data=16)], []), "m").totals.parameters == 0


def test_inputs_and_outputs_have_what_firmware_must_know():
    assert SMALL.inputs == (Port("image", (1, 8, 8, 3), "int8", 0.5, -3),)
    assert SMALL.outputs == (Port("Identity", (1, 64), "float32", None, None),)


def test_the_models_own_parameters_are_shown():
    summary = summarize(small(classes=["no", "yes"], threshold=0.5, blob=b"\1\2"), "small")
    assert summary.model_parameters == {"blob": b"\1\2", "classes": ["no", "yes"], "threshold": 0.5}
    lines = render(summary).splitlines()
    assert [line.split(None, 1) for line in lines[-3:]] == [
        ["blob", "<2 bytes>"],
        ["classes", "no, yes"],
        ["threshold", "0.5"],
    ]


def test_the_text_has_the_numbers():
    lines = render(SMALL).splitlines()
    assert lines[:2] == ["small", "a small model"]
    expected = "0  CONV_2D          conv2d   1x4x4x16 int8   3x3, stride 2x2, same, relu  6,912    496"
    assert lines[5].split() == expected.split()
    assert "MACs            6,912 (6.91 k)" in lines
    assert "Parameters      448" in lines
    assert "Tensors in RAM  up to 448 bytes together, at CONV_2D (conv2d)" in lines
    assert "input   image     1x8x8x3  int8       0.5          -3" in lines
    assert "output  Identity  1x64     float32      -           -" in lines


@pytest.mark.parametrize(
    ("units", "text"),
    [(999, "999"), (1000, "1,000 (1 k)"), (12_501_632, "12,501,632 (12.5 M)"), (999_999, "999,999 (1 M)")],
)
def test_large_totals_are_said_in_three_digits_too(units, text):
    summary = replace(SMALL, totals=replace(SMALL.totals, macs=units))
    assert f"MACs            {text}" in render(summary).splitlines()


def test_a_model_is_compared_with_its_float_twin():
    lines = render(replace(SMALL, measured=MEASURED, float_twin=TWIN, arena_note="on a 64-bit host")).splitlines()
    place = lines.index("this model         98,120       55,984")
    assert lines[place - 2].split("  ")[-2:] == [".tflite bytes", "arena bytes"]
    assert lines[place + 1 : place + 4] == [
        "in float32        320,112      205,000",
        "ratio                3.3x         3.7x",
        "Arena: on a 64-bit host",
    ]


def test_what_was_not_measured_is_not_made_up():
    assert "arena" not in render(SMALL)
    assert "in float32" not in render(replace(SMALL, measured=MEASURED))
    text = render(replace(SMALL, measured=Footprint(9812, None), float_twin=Footprint(32_011, 20_500)))
    assert "this model          9,812            ?" in text
    assert "ratio                3.3x            ?" in text


def test_an_operator_that_is_not_known_makes_the_total_a_bound():
    data = build([T("x", (1, 4)), T("y", (1, 4))], [Op("Spectrogram", ["x"], ["y"])], ["x"], ["y"])
    summary = summarize(data, "m")
    assert (summary.rows[0].macs, summary.totals.uncounted) == (None, ("Spectrogram",))
    lines = render(summary).splitlines()
    assert "MACs            at least 0" in lines
    assert "Not counted     Spectrogram" in lines
    assert any(line.split() == ["0", "Spectrogram", "y", "1x4", "int8", "?", "0"] for line in lines)


@pytest.mark.parametrize("width", [1, 60, 80, 100, 120, 140, 300])
def test_no_line_is_too_long_and_no_number_is_broken(width):
    summary = summarize(small("long " * 80, classes=[f"class number {i}" for i in range(200)]), "small")
    text = render(replace(summary, measured=MEASURED, float_twin=TWIN), width)
    assert max(map(len, text.splitlines())) <= max(width, 60)
    assert text.isascii()
    assert not any(line.endswith(" ") for line in text.splitlines())
    for number in ("6,912", "98,120", "205,000", "496"):
        assert number in text


def test_options_and_operations_are_shown_where_there_is_room():
    assert ["options" in render(SMALL, width) for width in (99, 100, 120)] == [False, True, True]
    assert ["  operations" in render(SMALL, width) for width in (99, 100, 120)] == [False, False, True]


def test_what_a_model_says_of_itself_cannot_spoil_the_text():
    name = "[red]:smile:[/red]"
    text = render(summarize(small("[bold]a\nb\tc\x1b[31m\u2028", **{name: "\x07" + name}), name))
    lines = text.splitlines()
    assert lines[0] == name
    assert lines[1] == "[bold]a b c?[31m"
    assert lines[-1].split() == [name, f"?{name}"]


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60), st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=40), max_size=3))
def test_any_text_of_a_model_is_rendered(description, values):
    summary = summarize(small(description, **values), "m")
    for width in (80, 100, 140):
        assert render(summary, width) == render(summary, width)
    assert all(char.isprintable() or char == "\n" for char in render(summary))


def test_the_text_is_the_same_in_any_terminal(tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(small(classes=["größe", "b"]))
    code = (
        "import sys, pathlib; from doit_tflm import summary; data = pathlib.Path(sys.argv[1]).read_bytes();"
        "sys.stdout.buffer.write(summary.render(summary.summarize(data, 'm')).encode())"
    )
    environments = [
        {"TERM": "dumb", "COLUMNS": "30", "NO_COLOR": "1", "LC_ALL": "C"},
        {
            "TERM": "xterm-256color",
            "COLUMNS": "250",
            "FORCE_COLOR": "1",
            "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8",
        },
        {"TTY_COMPATIBLE": "1", "JUPYTER_COLUMNS": "20", "PYTHONHASHSEED": "7"},
    ]
    plain = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    texts = {
        subprocess.run([sys.executable, "-c", code, path], env=plain | one, capture_output=True, check=True).stdout
        for one in environments
    }
    assert texts == {render(summarize(path.read_bytes(), "m")).encode()}


def test_a_terminal_with_colours_gets_the_same_words():
    from rich.console import Console

    def printed(**how: Any) -> str:
        stream = io.StringIO()
        print_summary(Console(file=stream, width=100, **how), SMALL)
        return stream.getvalue()

    coloured = printed(force_terminal=True, color_system="truecolor", _environ={})
    assert "\x1b[" in coloured
    assert "\x1b[" not in printed(color_system=None, _environ={})
    words = printed(color_system=None, _environ={}).split()
    assert words == render(SMALL).split()


def test_json_holds_all_of_it():
    summary = summarize(small(blob=b"\xff\0", limit=float("inf")), "small", MEASURED, TWIN, "a note")
    parsed = json.loads(json.dumps(to_json(summary), allow_nan=False))
    assert parsed["model_parameters"] == {"blob": "ff00", "limit": "inf"}
    assert parsed["rows"][0]["shapes"] == [[1, 4, 4, 16]]
    assert parsed["totals"]["macs"] == 6912
    assert parsed["measured"] == {"flash_bytes": 98_120, "arena_bytes": 55_984}
    assert parsed["inputs"][0] == {
        "name": "image",
        "shape": [1, 8, 8, 3],
        "dtype": "int8",
        "scale": 0.5,
        "zero_point": -3,
    }
    assert (parsed["name"], parsed["description"], parsed["arena_note"]) == ("small", "a small model", "a note")


def test_damaged_input_is_a_user_error_with_the_models_name():
    for data in (b"", b"not a model", small()[:300]):
        with pytest.raises(UserError, match=r"^small: "):
            summarize(data, "small")
    with pytest.raises(UserError, match=r"^small: damaged model parameters"):
        summarize(tflite.with_metadata(small(), {parameters.METADATA_NAME: b"damaged"}), "small")
    with pytest.raises(UserError, match=r"^small: damaged TensorFlow Lite model: operator 0 \(ADD has no output"):
        summarize(build([T("x", (1,))], [Op("ADD", ["x"], [])]), "small")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_never_ends_in_a_traceback(data):
    model = bytearray(small(classes=["a"]))
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    try:
        text = render(summarize(bytes(model), "small"))
    except UserError:
        return
    assert text


def test_importing_the_module_loads_neither_numpy_nor_rich_nor_tensorflow():
    code = (
        "import sys, doit_tflm.summary; print({'numpy', 'rich', 'flatbuffers', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_summary_needs_no_tensorflow(tmp_path):
    Path(tmp_path, "m.tflite").write_bytes(small())
    code = (
        "import sys, pathlib; from doit_tflm.summary import render, summarize;"
        "render(summarize(pathlib.Path('m.tflite').read_bytes(), 'm')); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
