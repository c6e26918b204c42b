"""Model parameters, to and from the metadata of a model."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shlex
import shutil
import struct
import subprocess
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doit_tflm import parameters, schema, tflite
from doit_tflm.errors import UserError
from doit_tflm.parameters import METADATA_NAME, Typed, decode, decode_typed, embed, encode, model_hash
from doit_tflm.schema.flatbuffer import tensorflow_schema

MLTK_DATA = os.environ.get("DOIT_TFLM_MLTK_DATA", "")
SCALARS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float", "double"]
MEMBERS = [*SCALARS, "str", "str_list", "int32_list", "float_list", "bin"]
INTEGERS = {name: st.integers(*limits) for name, limits in parameters._RANGES.items()}
TYPED = {
    "bool": st.booleans(),
    **INTEGERS,
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "str": st.text(),
    "str_list": st.lists(st.text(), max_size=5),
    "int32_list": st.lists(INTEGERS["int32"], max_size=5),
    "float_list": st.lists(st.floats(width=32, allow_nan=False), max_size=5),
    "bin": st.binary(),
}


def kind_of(value: Any) -> str:
    """Return the wire type that a plain value gets."""
    return decode_typed(encode({"key": value}))["key"].type


def small() -> bytes:
    """Return the smallest model."""
    from flatbuffers import Builder

    made = tensorflow_schema("schema_py_generated")
    model, graph = made.ModelT(), made.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.version, model.subgraphs, model.buffers = 3, [graph], [made.BufferT()]
    builder = Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@given(
    st.dictionaries(
        st.text(),
        st.one_of([st.builds(Typed, st.just(kind), values) for kind, values in TYPED.items()]),
        max_size=8,
    )
)
def test_typed_values_round_trip(typed):
    assert decode_typed(encode(typed)) == typed


@given(
    st.dictionaries(
        st.text(),
        st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(width=32, allow_nan=False)
        | st.text()
        | st.binary()
        | st.lists(st.text())
        | st.lists(st.integers(-(2**31), 2**31 - 1))
        | st.lists(st.floats(width=32, allow_nan=False)),
        max_size=8,
    )
)
def test_plain_values_round_trip(values):
    assert decode(encode(values)) == values


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"),
        (0, "int32"),
        (2**31 - 1, "int32"),
        (-(2**31), "int32"),
        (2**31, "int64"),
        (-(2**31) - 1, "int64"),
        (2**63 - 1, "int64"),
        (-(2**63), "int64"),
        (2**63, "uint64"),
        (2**64 - 1, "uint64"),
        (5.0, "float"),
        ("", "str"),
        (b"", "bin"),
        (bytearray(b"x"), "bin"),
        ([], "str_list"),
        ((), "str_list"),
        (["a"], "str_list"),
        ((1, 2), "int32_list"),
        ([1.5], "float_list"),
        ([1, 2.5], "float_list"),
    ],
)
def test_a_plain_value_gets_its_wire_type(value, kind):
    assert kind_of(value) == kind
    expected = list(value) if isinstance(value, tuple) else value
    assert decode(encode({"key": value})) == {"key": expected}


def test_the_types_are_numbered_as_in_mltk():
    from doit_tflm.schema.generated import dictionary_generated

    union = dictionary_generated.Value
    assert list(parameters._TABLES) == MEMBERS
    assert [getattr(union, table) for table in parameters._TABLES.values()] == list(range(1, 17))


def test_an_entry_lies_in_the_bytes_as_mltk_reads_them():
    # Root table: field 0 a byte, the version; field 1 the entries. Entry: key, type, value. Walked by hand.
    data = encode({"k": Typed("uint16", 0xABCD)})

    def u32(at: int) -> int:
        return struct.unpack_from("<I", data, at)[0]

    def field(table: int, number: int) -> int:
        vtable = table - struct.unpack_from("<i", data, table)[0]
        return table + struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]

    root = u32(0)
    assert data[field(root, 0)] == 1
    entries = field(root, 1) + u32(field(root, 1))
    assert u32(entries) == 1
    entry = entries + 4 + u32(entries + 4)
    key = field(entry, 0) + u32(field(entry, 0))
    assert data[key : key + 6] == b"\1\0\0\0k\0"
    assert data[field(entry, 1)] == 5
    value = field(entry, 2) + u32(field(entry, 2))
    assert data[field(value, 0) :][:2] == b"\xcd\xab"


def test_an_empty_list_round_trips():
    assert decode_typed(encode({"empty": []})) == {"empty": Typed("str_list", [])}


def test_no_parameters_round_trip():
    assert decode(encode({})) == {}


def test_a_negative_zero_keeps_its_sign():
    assert math.copysign(1, decode(encode({"zero": -0.0}))["zero"]) == -1


def test_not_a_number_and_infinity_round_trip():
    values = decode(encode({"nan": math.nan, "inf": math.inf, "list": [-math.inf, math.nan]}))
    assert math.isnan(values["nan"])
    assert values["inf"] == math.inf
    assert values["list"][0] == -math.inf


def test_a_float_takes_32_bits_unless_asked_otherwise():
    values = decode(encode({"float": 0.1, "double": Typed("double", 0.1)}))
    assert values == {"float": struct.unpack("<f", struct.pack("<f", 0.1))[0], "double": 0.1}


def test_numpy_scalars_are_accepted():
    import numpy as np

    values = {
        "bool": np.bool_(True),
        "int": np.int64(7),
        "float": np.float32(0.5),
        "half": np.array(0.25),
        "str": np.str_("x"),
        "list": [np.int8(1), np.uint8(2)],
        "typed": Typed("uint8", np.int32(9)),
    }
    found = {key: (typed.type, typed.value) for key, typed in decode_typed(encode(values)).items()}
    assert found == {
        "bool": ("bool", True),
        "int": ("int32", 7),
        "float": ("float", 0.5),
        "half": ("float", 0.25),
        "str": ("str", "x"),
        "list": ("int32_list", [1, 2]),
        "typed": ("uint8", 9),
    }


def test_an_enum_of_integers_is_an_integer():
    assert decode(encode({"key": IntEnum("Colour", "RED")["RED"]})) == {"key": 1}


def test_equal_parameters_in_another_order_give_equal_bytes():
    one = {"b": 1, "a": "x", "ä": [1, 2], "Z": 0.5}
    other = dict(reversed(one.items()))
    assert encode(one) == encode(other)
    assert list(decode(encode(one))) == ["Z", "a", "b", "ä"]


@pytest.mark.parametrize(
    "value",
    [None, {"a": 1}, {1}, 1j, Path(), range(3), [None], [["a"]], ["a", 1], [True, False], [b"x"]],
    ids=repr,
)
def test_a_value_without_a_wire_type_is_a_user_error(value):
    with pytest.raises(UserError, match=r"^model parameter 'my_key': .*; \w+"):
        encode({"my_key": value})


def test_a_numpy_array_is_a_user_error():
    import numpy as np

    with pytest.raises(UserError, match=r"model parameter 'x': .* is a ndarray, .*; use bool"):
        encode({"x": np.arange(3)})


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (Typed("int8", 128), "128 is out of the range of int8, -128 to 127; "),
        (Typed("int8", -129), "-129 is out of the range of int8"),
        (Typed("uint8", -1), "-1 is out of the range of uint8, 0 to 255; "),
        (Typed("uint64", 2**64), "is out of the range of uint64"),
        (Typed("int32", 1.0), "1.0 is not a value of type int32; "),
        (Typed("int32", True), "True is not a value of type int32; "),
        (Typed("bool", 1), "1 is not a value of type bool; "),
        (Typed("float", "x"), "'x' is not a value of type float; "),
        (Typed("float", 1e39), "is out of the range of float; use Typed"),
        (Typed("double", 10**400), "is out of the range of double; use a str"),
        (Typed("str", b"x"), "is not a value of type str; "),
        (Typed("bin", "x"), "'x' is not a value of type bin; "),
        (Typed("str_list", ["a", 1]), "1 is not a value of type str; "),
        (Typed("str_list", "abc"), "'abc' is not a value of type str_list; "),
        (Typed("int32_list", [2**31]), "2147483648 is out of the range of int32, "),
        (Typed("float_list", [1e39]), "is out of the range of float; "),
        (Typed("int9", 1), "'int9' is not a type; use one of bool, int8, "),
        (Typed("", 1), "'' is not a type; "),
    ],
    ids=repr,
)
def test_a_typed_value_out_of_its_type_is_a_user_error(typed, message):
    with pytest.raises(UserError) as caught:
        encode({"my_key": typed})
    assert str(caught.value).startswith("model parameter 'my_key': ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, 1e39, [2**31], [1.0, 1e39], "\ud800", ["\udfff"]], ids=ascii
)
def test_a_value_that_no_wire_type_holds_is_a_user_error(value):
    with pytest.raises(UserError, match=r"^model parameter 'my_key': "):
        encode({"my_key": value})


def test_a_float_beyond_32_bits_says_how_to_keep_it():
    with pytest.raises(UserError, match=r"1e\+39 is out of the range of float; use Typed\('double'"):
        encode({"x": 1e39})


def test_a_long_value_is_shortened_in_a_message():
    with pytest.raises(UserError) as caught:
        encode({"x": Typed("bin", "y" * 5000)})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key", [3, None, b"name", "\ud800"], ids=ascii)
def test_a_key_that_is_no_text_is_a_user_error(key):
    with pytest.raises(UserError, match=r"^model parameter "):
        encode({key: 1})


@pytest.mark.parametrize("data", [b"", b"\0", b"\0" * 64, b"\xff" * 64, b"x" * 64, b"\4\0\0\0" * 16], ids=repr)
def test_data_of_another_kind_is_a_user_error(data):
    with pytest.raises(UserError, match=r"damaged model parameters|newer|unknown"):
        decode(data)


def test_every_truncation_is_a_user_error():
    data = encode({"a": "text", "b": [1, 2, 3], "c": b"binary"})
    # The end holds the first key, its terminator and padding.
    for size in range(len(data) - 4):
        with pytest.raises(UserError):
            decode(data[:size])


@settings(max_examples=300)
@given(st.data())
def test_damage_never_ends_in_a_traceback(data):
    content = bytearray(encode({"a": "text", "b": [1, 2], "c": ["x", "y"], "d": b"z", "e": 1.5, "f": True}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        decode(bytes(content))


def test_a_newer_format_is_a_user_error(monkeypatch):
    monkeypatch.setattr(parameters, "_SCHEMA_VERSION", 2)
    data = encode({"a": 1})
    monkeypatch.undo()
    with pytest.raises(UserError, match="version 2 are newer"):
        decode(data)


def test_embedded_parameters_read_back():
    model = tflite.read(embed(small(), {"name": "kws", "volume_db": 5.0, "classes": ["a", "b"]}, "says a or b"))
    found = decode(model.metadata[METADATA_NAME])
    assert model.description == "says a or b"
    assert {**found, "hash": None} == {"name": "kws", "volume_db": 5.0, "classes": ["a", "b"], "hash": None}


def test_the_hash_is_the_md5_with_hash_and_date_empty():
    given_ = {"name": "kws", "date": "2024-02-29T12:00:00Z"}
    blank = encode({"name": "kws", "date": "", "hash": ""})
    expected = hashlib.md5(tflite.with_metadata(small(), {METADATA_NAME: blank}, "d")).hexdigest()
    found = decode(tflite.read(embed(small(), given_, "d")).metadata[METADATA_NAME])
    assert found == {**given_, "hash": expected}
    assert model_hash(tflite.with_metadata(small(), {METADATA_NAME: blank}, "d")) == expected


def test_another_date_gives_the_same_hash():
    def digest(date: str) -> str:
        return decode(tflite.read(embed(small(), {"date": date}, "")).metadata[METADATA_NAME])["hash"]

    assert digest("2024-01-01") == digest("2025-12-31")


def test_without_a_date_none_is_added():
    assert set(decode(tflite.read(embed(small(), {"a": 1}, "")).metadata[METADATA_NAME])) == {"a", "hash"}


def test_embedding_the_same_twice_gives_equal_bytes():
    one = embed(small(), {"a": 1, "b": "x"}, "d")
    assert embed(small(), {"b": "x", "a": 1}, "d") == one


def test_embedding_what_was_read_back_gives_the_same_hash():
    data = embed(small(), {"a": Typed("uint8", 1)}, "d")
    found = decode_typed(tflite.read(data).metadata[METADATA_NAME])
    assert embed(small(), found, "d") == data


def test_embedding_again_leaves_one_entry():
    twice = tflite.read(embed(embed(small(), {"a": 1}, "d"), {"b": 2}, "e"))
    assert list(twice.metadata) == [METADATA_NAME]
    assert set(decode(twice.metadata[METADATA_NAME])) == {"b", "hash"}


def test_embedding_into_what_is_no_model_is_a_user_error():
    with pytest.raises(UserError, match="not a TensorFlow Lite model"):
        embed(b"x" * 100, {}, "")


def test_the_committed_code_is_what_flatc_generates(tmp_path):
    flatc = shutil.which("flatc")
    if not flatc or b" 2.0.8" not in subprocess.run([flatc, "--version"], capture_output=True, check=True).stdout:
        pytest.skip("needs flatc 2.0.8")
    home = Path(schema.__file__).parent
    lines = (home / "dictionary.fbs").read_text().splitlines()
    (command,) = [line.removeprefix("//").strip() for line in lines if line.startswith("//   flatc ")]
    here = command.replace("tasks/doit_tflm/schema/generated", str(tmp_path)).replace(
        "tasks/doit_tflm/schema/", f"{home}/"
    )
    subprocess.run(shlex.split(here), check=True)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (home / "generated" / path.name).read_bytes()


@pytest.mark.skipif(not MLTK_DATA, reason="DOIT_TFLM_MLTK_DATA names no directory with models that MLTK wrote")
def test_models_that_mltk_wrote_read_back_whole():
    paths = sorted(Path(MLTK_DATA).glob("*.tflite"))
    assert paths
    for path in paths:
        model = tflite.read(path.read_bytes(), path.name)
        found = decode_typed(model.metadata[METADATA_NAME])
        assert {"name", "version", "classes", "hash", "date"} <= set(found)
        assert found["name"] == Typed("str", path.stem)
        assert found["classes"].type == "str_list"
        assert decode_typed(encode(found)) == found
        again = tflite.read(embed(path.read_bytes(), found, model.description))
        changed = decode_typed(again.metadata[METADATA_NAME])
        assert {**changed, "hash": None} == {**found, "hash": None}
        assert (again.tensors, again.operators) == (model.tensors, model.operators)
