"""Reading .tflite files, and giving them other metadata."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doit_tflm import tflite
from doit_tflm.errors import UserError
from doit_tflm.schema.flatbuffer import tensorflow_schema
from doit_tflm.schema.options import Options

SCHEMA = tensorflow_schema("schema_py_generated")
WEIGHTS = bytes(range(7))
OP = SCHEMA.BuiltinOperator


def make(kind: str, **fields: Any) -> Any:
    """Return an object of the schema with these fields set."""
    thing = getattr(SCHEMA, f"{kind}T")()
    for name, value in fields.items():
        assert hasattr(thing, name), name
        setattr(thing, name, value)
    return thing


def parts() -> Any:
    """Return a model of three operators that is easy to change before it is packed."""
    scale = make("QuantizationParameters", scale=[0.5, 0.25], zeroPoint=[0, -3], quantizedDimension=3)
    unscaled = make("QuantizationParameters", min=[0.0], max=[1.0])
    tensors = [
        make("Tensor", name="in", shape=[1, 4], shapeSignature=[-1, 4], buffer=0, quantization=unscaled),
        make("Tensor", name="weights", shape=[7], type=SCHEMA.TensorType.INT8, buffer=1, quantization=scale),
        make("Tensor", name="state", shape=[], type=SCHEMA.TensorType.INT16, buffer=0, isVariable=True),
        make("Tensor", name="größe", shape=[1], type=SCHEMA.TensorType.BOOL, buffer=0),
    ]
    codes = [
        make("OperatorCode", deprecatedBuiltinCode=OP.ADD, builtinCode=0, version=2),
        make("OperatorCode", deprecatedBuiltinCode=127, builtinCode=OP.GELU),
        make("OperatorCode", deprecatedBuiltinCode=OP.CUSTOM, builtinCode=OP.CUSTOM, customCode="Spectrogram"),
    ]
    operators = [
        make("Operator", opcodeIndex=0, inputs=[0, 1], outputs=[2]),
        make("Operator", opcodeIndex=2, inputs=[2, -1], outputs=[3]),
        make("Operator", opcodeIndex=1, inputs=[2], outputs=[3]),
    ]
    graph = make("SubGraph", tensors=tensors, operators=operators, inputs=[0], outputs=[3], name="main")
    second = make("SubGraph", tensors=[make("Tensor", name="t", shape=[1])], operators=[], inputs=[], outputs=[])
    buffers = [make("Buffer"), make("Buffer", data=list(WEIGHTS)), make("Buffer", data=list(b"1.5.0"))]
    return make(
        "Model",
        version=3,
        operatorCodes=codes,
        subgraphs=[graph, second],
        description="a small model",
        buffers=buffers,
        metadata=[make("Metadata", name="min_runtime_version", buffer=2)],
        metadataBuffer=[],
        signatureDefs=[make("SignatureDef", signatureKey="serving_default", subgraphIndex=0)],
    )


def packed(model: Any) -> bytes:
    from flatbuffers import Builder

    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def small() -> bytes:
    return packed(parts())


def unpacked(data: bytes) -> Any:
    return SCHEMA.ModelT.InitFromPackedBuf(data)


def plain(thing: Any) -> Any:
    """Return a schema object as nested lists and dicts, to compare it by value."""
    if hasattr(thing, "tolist"):
        return thing.tolist()
    if isinstance(thing, list):
        return [plain(item) for item in thing]
    return {k: plain(v) for k, v in vars(thing).items()} if hasattr(thing, "__dict__") else thing


def places(data: bytes) -> list[int | None]:
    """Return where the data of each buffer starts."""
    model = SCHEMA.Model.GetRootAs(data, 0)
    tables = [model.Buffers(i)._tab for i in range(model.BuffersLength())]
    return [table.Vector(table.Offset(4)) if table.Offset(4) else None for table in tables]


def fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_module_loads_neither_numpy_nor_flatbuffers_nor_tensorflow():
    code = "import sys, doit_tflm.tflite; print({'numpy', 'flatbuffers', 'tensorflow'} & set(sys.modules))"
    assert fresh_python(code) == "set()"


def test_reading_a_model_does_not_import_tensorflow(tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(small())
    code = f"import sys; from doit_tflm import tflite; tflite.read(open({str(path)!r}, 'rb').read())"
    assert fresh_python(f"{code}; print('tensorflow' in sys.modules)") == "False"


def test_tensors_read_back_as_they_were_written():
    feed, weights, state, last = tflite.read(small()).tensors
    assert (feed.index, feed.name, feed.shape, feed.dtype) == (0, "in", (1, 4), "float32")
    assert (feed.open_dimensions, feed.quantization, feed.buffer_bytes) == ((0,), None, 0)
    assert (weights.dtype, weights.buffer_bytes, weights.open_dimensions) == ("int8", 7, ())
    assert weights.quantization == tflite.Quantization((0.5, 0.25), (0, -3), 3)
    assert (state.shape, state.dtype, state.is_variable, weights.is_variable) == ((), "int16", True, False)
    assert (last.name, last.dtype) == ("größe", "bool")


def test_the_rest_of_a_model_reads_back_as_it_was_written():
    model = tflite.read(small())
    assert (model.schema_version, model.description, model.subgraphs) == (3, "a small model", 2)
    assert (model.inputs, model.outputs) == ((0,), (3,))
    assert model.metadata == {"min_runtime_version": b"1.5.0"}
    assert model.tensorflow_version is None


def test_tensors_know_their_sizes_and_who_shares_their_data():
    feed, weights, state, _ = tflite.read(small()).tensors
    assert [(tensor.elements, tensor.bytes) for tensor in (feed, weights, state)] == [(4, 16), (7, 7), (1, 2)]
    assert [tensor.buffer for tensor in (feed, weights, state)] == [0, 1, 0]


def test_the_options_of_an_operator_read_back_as_they_were_written():
    model = parts()
    convolution = make(
        "Conv2DOptions", padding=1, strideH=2, strideW=3, dilationHFactor=4, fusedActivationFunction=3
    )
    product = make("BatchMatMulOptions", adjX=True)
    for operator, options in zip(model.subgraphs[0].operators, (convolution, product), strict=False):
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(SCHEMA.BuiltinOptions, type(options).__name__.removesuffix("T"))
    first, second, third = (operator.options for operator in tflite.read(packed(model)).operators)
    assert (first.activation, first.padding, first.strides, first.dilations) == ("relu6", "valid", (2, 3), (4, 1))
    assert (second.adjoint, second.strides, second.activation) == ((True, False), (), "")
    assert third == Options()


def test_an_operator_of_an_old_file_has_its_name():
    assert tflite.read(small()).operators[0] == tflite.Operator(0, "ADD", 2, False, (0, 1), (2,))


def test_a_custom_operator_has_its_own_name():
    assert tflite.read(small()).operators[1] == tflite.Operator(1, "Spectrogram", 1, True, (2, -1), (3,))


def test_an_operator_beyond_127_has_its_name():
    assert tflite.read(small()).operators[2].name == "GELU"


def test_the_version_that_the_converter_noted_is_read():
    from flatbuffers import Builder

    schema = tensorflow_schema("conversion_metadata_schema_py_generated")
    note = schema.ConversionMetadataT()
    note.environment = schema.EnvironmentT()
    note.environment.tensorflowVersion = "2.99.1"
    builder = Builder(64)
    builder.Finish(note.Pack(builder))
    data = tflite.with_metadata(small(), {"CONVERSION_METADATA": bytes(builder.Output())})
    assert tflite.read(data).tensorflow_version == "2.99.1"


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\0" * 4096, b"PK\x03\x04" + b"x" * 100, b"\x89HDF\r\n\x1a\n" * 9], ids=repr
)
def test_a_file_of_another_kind_is_a_user_error(data):
    with pytest.raises(UserError, match=r"^kws\.tflite: not a TensorFlow Lite model .*; name a \.tflite file$"):
        tflite.read(data, "kws.tflite")


def test_an_identifier_alone_is_a_user_error():
    with pytest.raises(UserError, match=r"^kws\.tflite: damaged TensorFlow Lite model"):
        tflite.read(b"\x08\0\0\0TFL3" + b"\0" * 200, "kws.tflite")


def test_every_truncated_model_is_a_user_error():
    # The last bytes may be padding or the options of an operator, which nothing here reads.
    model = tflite.with_metadata(small(), {"a": b"b"})
    end = max(place for place in places(model) if place) + 5
    for size in range(end):
        with pytest.raises(UserError):
            tflite.read(model[:size])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damage_never_ends_in_a_traceback(data):
    model = bytearray(small())
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        tflite.read(bytes(model))
    with contextlib.suppress(UserError):
        tflite.aligned(bytes(model))
    with contextlib.suppress(UserError):
        tflite.with_metadata(bytes(model), {"a": b"b"})


def test_an_operator_that_tensorflow_does_not_know_is_a_user_error():
    model = parts()
    model.operatorCodes[0].builtinCode = 9999
    with pytest.raises(UserError, match=r"^m: BuiltinOperator 9999 is not known to the installed TensorFlow"):
        tflite.read(packed(model), "m")


def test_a_reference_to_a_missing_tensor_is_a_user_error():
    model = parts()
    model.subgraphs[0].operators[0].inputs = [0, 4]
    with pytest.raises(UserError, match="a reference to one of tensors"):
        tflite.read(packed(model))


def test_an_entry_is_added():
    data = tflite.with_metadata(small(), {"SL_PARAMSv1": b"\1\2\3", "empty": b""})
    assert tflite.read(data).metadata == {"min_runtime_version": b"1.5.0", "SL_PARAMSv1": b"\1\2\3", "empty": b""}


def test_nothing_else_of_the_model_changes():
    before, after = unpacked(small()), unpacked(tflite.with_metadata(small(), {"a": b"b"}, "other"))
    assert (before.description, after.description) == (b"a small model", b"other")
    assert plain(after.buffers[:-1]) == plain(before.buffers)
    assert plain(after.metadata[:-1]) == plain(before.metadata)
    for field in ("buffers", "metadata", "description"):
        setattr(before, field, None)
        setattr(after, field, None)
    assert plain(after) == plain(before)


def test_the_description_stays_without_a_new_one():
    assert tflite.read(tflite.with_metadata(small(), {"a": b"b"})).description == "a small model"


def test_the_description_alone_can_change():
    data = tflite.with_metadata(small(), {}, "größer")
    assert tflite.read(data).description == "größer"
    assert tflite.read(data).metadata == tflite.read(small()).metadata


def test_no_change_gives_the_same_bytes():
    assert tflite.with_metadata(small(), {}) == small()


def test_an_entry_is_replaced_at_its_place():
    first = tflite.with_metadata(small(), {"a": b"old", "b": b"stays"})
    second = unpacked(tflite.with_metadata(first, {"a": b"newer"}))
    assert len(second.buffers) == len(unpacked(first).buffers)
    assert [entry.name for entry in second.metadata] == [b"min_runtime_version", b"a", b"b"]
    assert [bytes(second.buffers[entry.buffer].data) for entry in second.metadata] == [
        b"1.5.0",
        b"newer",
        b"stays",
    ]


def test_entries_of_one_name_become_one():
    model = parts()
    model.buffers.append(make("Buffer", data=[1]))
    model.metadata += [make("Metadata", name="a", buffer=3), make("Metadata", name="a", buffer=3)]
    replaced = unpacked(tflite.with_metadata(packed(model), {"a": b"new"}))
    assert [entry.name for entry in replaced.metadata] == [b"min_runtime_version", b"a"]


@pytest.mark.parametrize("shared", [0, 1])
def test_a_buffer_that_a_tensor_uses_is_not_replaced(shared):
    model = parts()
    model.metadata.append(make("Metadata", name="a", buffer=shared))
    data = tflite.with_metadata(packed(model), {"a": b"new"})
    assert tflite.read(data).metadata["a"] == b"new"
    assert bytes(unpacked(data).buffers[1].data) == WEIGHTS
    assert unpacked(data).buffers[0].data is None


def test_a_model_without_buffers_and_metadata_gets_both():
    model = parts()
    model.buffers = model.metadata = model.signatureDefs = model.metadataBuffer = model.description = None
    model.subgraphs = [make("SubGraph", tensors=[], operators=[], inputs=[], outputs=[])]
    data = tflite.with_metadata(packed(model), {"a": b"b"})
    assert [entry.buffer for entry in unpacked(data).metadata] == [1]
    assert bytes(unpacked(data).buffers[1].data) == b"b"


def test_equal_entries_in_another_order_give_equal_bytes():
    one = tflite.with_metadata(small(), {"a": b"1", "b": b"2"}, "d")
    assert tflite.with_metadata(small(), {"b": b"2", "a": b"1"}, "d") == one


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=5),
    entries=st.dictionaries(st.text(max_size=20), st.binary(max_size=60), min_size=1, max_size=3),
    description=st.none() | st.text(max_size=40),
    tail=st.binary(max_size=20),
)
def test_the_old_bytes_stay_where_they_are_modulo_16(sizes, entries, description, tail):
    model = parts()
    model.buffers += [make("Buffer", data=[size] * size) for size in sizes]
    old = packed(model) + tail
    new = tflite.with_metadata(old, entries, description)
    start = len(new) - len(old) - -len(old) % 16
    assert len(new) % 16 == 0
    assert new[start:] == old + bytes(-len(old) % 16)
    kept = [i for i, entry in enumerate(model.buffers) if entry.data and i != 2]
    assert [places(new)[i] for i in kept] == [places(old)[i] + start for i in kept]
    assert start % 16 == 0
    read = tflite.read(new)
    assert {name: read.metadata[name] for name in entries} == entries
    assert read.tensors == tflite.read(old).tensors
    written = range(len(model.buffers), len(places(new)))
    assert all(places(new)[i] % 16 == 0 for i in written)


def test_a_large_entry_grows_the_file():
    content = os.urandom(100_000)
    assert tflite.read(tflite.with_metadata(small(), {"a": content})).metadata["a"] == content


def test_buffers_off_16_bytes_are_named():
    model = parts()
    # Packing in Python aligns to 4 bytes: of 8 buffers of 4 bytes, some are bound to be off.
    model.buffers += [make("Buffer", data=[1, 2, 3, 4]) for _ in range(8)]
    data = tflite.with_metadata(packed(model), {"new": b"aligned"})
    wrong = [i for i, place in enumerate(places(data)) if place and place % 16]
    assert tflite.buffer_alignment_faults(data) == wrong
    assert wrong
    assert 11 not in wrong


def test_an_aligned_model_is_equal_in_all_but_its_layout():
    model = parts()
    model.buffers += [make("Buffer", data=[1, 2, 3, 4]), make("Buffer", data=[]), make("Buffer", data=[5] * 40)]
    data = tflite.aligned(packed(model))
    assert tflite.buffer_alignment_faults(data) == []
    assert plain(unpacked(data)) == plain(unpacked(packed(model)))
    assert tflite.aligned(data) == data
    assert tflite.buffer_alignment_faults(tflite.with_metadata(data, {"a": b"b"})) == []


def test_data_outside_of_the_flatbuffer_is_a_user_error():
    model = parts()
    model.buffers[1] = make("Buffer", offset=4096, size=7)
    with pytest.raises(UserError, match="data outside of its tables: buffer 1; convert"):
        tflite.with_metadata(packed(model), {"a": b"b"})


def test_custom_options_outside_of_the_flatbuffer_are_a_user_error():
    model = parts()
    model.subgraphs[0].operators[1].largeCustomOptionsOffset = 4096
    with pytest.raises(UserError, match="options of operator 1; convert"):
        tflite.with_metadata(packed(model), {"a": b"b"})


def test_an_unknown_field_of_the_root_is_a_user_error():
    if not hasattr(SCHEMA, "ExternalBufferGroupT"):
        pytest.skip("the schema of this TensorFlow has no further fields to try")
    model = parts()
    model.externalBufferGroups = [make("ExternalBufferGroup", name="weights.bin")]
    with pytest.raises(UserError, match="field 8 of the root table; convert"):
        tflite.with_metadata(packed(model), {"a": b"b"})


@pytest.fixture(scope="module")
def converted() -> bytes:
    """Return a small int8 model from TensorFlow's own converter."""
    import numpy as np
    import tensorflow as tf

    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 1), batch_size=1),
            layers.Conv2D(3, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.representative_dataset = lambda: ([rng.random((1, 8, 8, 1), dtype=np.float32)] for _ in range(8))
    return bytes(converter.convert())


@pytest.mark.slow
def test_a_converted_model_is_the_same_after_embedding(converted):
    import tensorflow as tf

    after = tflite.with_metadata(converted, {"SL_PARAMSv1": b"x" * 33}, "a description")
    old, new = tflite.read(converted), tflite.read(after)
    assert new.tensors == old.tensors
    assert new.operators == old.operators
    assert (new.inputs, new.outputs, new.subgraphs) == (old.inputs, old.outputs, old.subgraphs)
    assert new.metadata == {**old.metadata, "SL_PARAMSv1": b"x" * 33}
    assert new.tensorflow_version == tf.__version__
    assert plain(unpacked(after).buffers[:-1]) == plain(unpacked(converted).buffers)
    assert plain(unpacked(after).subgraphs) == plain(unpacked(converted).subgraphs)
    assert plain(unpacked(after).signatureDefs) == plain(unpacked(converted).signatureDefs)


@pytest.mark.slow
def test_the_buffers_of_an_aligned_converted_model_stay_aligned_when_metadata_is_added(converted):
    aligned = tflite.aligned(converted)
    after = tflite.with_metadata(aligned, {"SL_PARAMSv1": b"x" * 33}, "a description")
    assert tflite.buffer_alignment_faults(aligned) == []
    assert tflite.buffer_alignment_faults(after) == []
    assert plain(unpacked(aligned)) == plain(unpacked(converted))


@pytest.mark.slow
def test_interpreters_run_an_embedded_model_with_equal_outputs(converted):
    import numpy as np
    import tensorflow as tf

    micro = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    feed = np.random.default_rng(2).integers(-128, 128, (1, 8, 8, 1)).astype(np.int8)

    def lite(model):
        interpreter = tf.lite.Interpreter(model_content=model)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feed)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()

    def tflm(model):
        interpreter = micro.Interpreter.from_bytes(model)
        interpreter.set_input(feed, 0)
        interpreter.invoke()
        return interpreter.get_output(0).tolist()

    for model in (converted, tflite.aligned(converted)):
        after = tflite.with_metadata(model, {"SL_PARAMSv1": b"x" * 33}, "a description")
        assert lite(after) == lite(converted)
        assert tflm(after) == tflm(converted)
    assert len(set(lite(converted)[0])) > 1


@pytest.mark.slow
def test_every_truncated_converted_model_is_a_user_error(converted):
    end = max(place for place in places(converted) if place)
    for size in range(0, end, 97):
        with pytest.raises(UserError):
            tflite.read(converted[:size])
