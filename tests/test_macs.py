"""Multiply-accumulates and operations, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from doit_tflm import macs, tflite
from doit_tflm.errors import UserError
from doit_tflm.layers import layer_of
from doit_tflm.resolver import BUILTIN_METHODS
from tiny_model import SCHEMA, Op, T, build, built


def one(name: str, inputs: list[T | None], output: list[int], kind: str = "", **options: Any) -> tflite.TfliteFile:
    """Return a model of one operator."""
    given = [tensor for tensor in inputs if tensor is not None]
    names = ["" if tensor is None else tensor.name for tensor in inputs]
    tensors = [*given, T("y", output)]
    return built(tensors, [Op(name, names, ["y"], kind, options)], [given[0].name], ["y"])


def counted(file: tflite.TfliteFile) -> tuple[int | None, int | None]:
    (operator,) = file.operators
    return macs.macs(file, operator), macs.operations(file, operator)


def weights(*shape: int, name: str = "w") -> T:
    return T(name, shape, data=4)


def test_a_convolution_multiplies_each_output_by_its_kernel():
    file = one("CONV_2D", [T("x", [1, 8, 8, 3]), weights(16, 3, 3, 3), weights(16, name="b")], [1, 4, 4, 16])
    assert counted(file) == (4 * 4 * 16 * 3 * 3 * 3, 2 * 6912 + 4 * 4 * 16)


def test_a_convolution_in_groups_sees_the_channels_of_its_group():
    file = one("CONV_2D", [T("x", [1, 8, 8, 8]), weights(16, 3, 3, 2)], [1, 8, 8, 16])
    assert counted(file) == (8 * 8 * 16 * 3 * 3 * 2, 2 * 18432)


def test_a_bias_that_is_not_given_adds_nothing():
    file = one("CONV_2D", [T("x", [1, 8, 8, 3]), weights(16, 3, 3, 3), None], [1, 4, 4, 16])
    assert counted(file) == (6912, 2 * 6912)


def test_a_depthwise_convolution_has_one_kernel_for_each_output():
    file = one(
        "DEPTHWISE_CONV_2D", [T("x", [1, 8, 8, 4]), weights(1, 3, 5, 8), weights(8, name="b")], [1, 6, 4, 8]
    )
    assert counted(file) == (6 * 4 * 8 * 3 * 5, 2 * 2880 + 6 * 4 * 8)


def test_a_transposed_convolution_spreads_each_input():
    shape, x = T("shape", [4], "int32", data=16), T("x", [1, 4, 4, 3])
    file = one("TRANSPOSE_CONV", [shape, weights(5, 2, 2, 3), x, weights(5, name="b")], [1, 8, 8, 5])
    assert counted(file) == (4 * 4 * 3 * 5 * 2 * 2, 2 * 960 + 8 * 8 * 5)


def test_a_convolution_in_space_multiplies_by_a_kernel_of_three_dimensions():
    file = one("CONV_3D", [T("x", [1, 4, 4, 4, 2]), weights(2, 3, 3, 2, 6)], [1, 3, 2, 2, 6])
    assert counted(file) == (3 * 2 * 2 * 6 * 2 * 3 * 3 * 2, 2 * 2592)


@pytest.mark.parametrize(("rows", "output"), [([1], [1, 10]), ([1, 25], [1, 25, 10]), ([4], [4, 10])])
def test_a_dense_layer_multiplies_every_row(rows, output):
    file = one("FULLY_CONNECTED", [T("x", [*rows, 64]), weights(10, 64), weights(10, name="b")], output)
    number = rows[-1]
    assert counted(file) == (number * 640, number * (2 * 640 + 10))


@pytest.mark.parametrize(("left", "adjoint"), [([2, 3, 5], False), ([2, 5, 3], True)])
def test_a_matrix_product_sums_over_the_dimension_that_is_gone(left, adjoint):
    tensors = [T("x", left), T("z", [2, 5, 7])]
    file = one("BATCH_MATMUL", tensors, [2, 3, 7], "BatchMatMulOptions", adjX=adjoint)
    assert counted(file) == (2 * 3 * 7 * 5, 2 * 210)


def lstm(*, with_input_gate: bool) -> list[T | None]:
    """Return the 24 inputs of an LSTM of 6 cells over 4 features, without peepholes and projection."""
    gates = [None if gate == 0 and not with_input_gate else gate for gate in range(4)]
    features = [None if gate is None else weights(6, 4, name=f"w{gate}") for gate in gates]
    states = [None if gate is None else weights(6, 6, name=f"r{gate}") for gate in gates]
    biases = [None if gate is None else weights(6, name=f"b{gate}") for gate in gates]
    variables = [T(name, [1, 6], is_variable=True) for name in ("h", "c")]
    rest: list[T | None] = [None, None, *variables, None, None, None, None]
    return [T("x", [1, 10, 4]), *features, *states, None, None, None, *biases, *rest]


def test_an_lstm_uses_its_weights_at_every_step():
    file = one("UNIDIRECTIONAL_SEQUENCE_LSTM", lstm(with_input_gate=True), [1, 10, 6])
    number = 10 * (4 * 6 * 4 + 4 * 6 * 6)
    assert counted(file) == (number, 2 * number + 10 * 6 * (4 + 4 + 3 + 2))


def test_an_lstm_without_an_input_gate_has_three_quarters_of_the_weights():
    file = one("UNIDIRECTIONAL_SEQUENCE_LSTM", lstm(with_input_gate=False), [1, 10, 6])
    number = 10 * (3 * 6 * 4 + 3 * 6 * 6)
    assert counted(file) == (number, 2 * number + 10 * 6 * (3 + 4 + 3 + 2))


def test_svdf_multiplies_features_and_then_time():
    state = T("s", [2, 8 * 5], is_variable=True)
    tensors = [T("x", [2, 4]), weights(8, 4), weights(8, 5, name="t"), weights(4, name="b"), state]
    file = one("SVDF", tensors, [2, 4], "SVDFOptions", rank=2)
    assert counted(file) == (2 * (8 * 4 + 8 * 5), 2 * 144 + 2 * 4)


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("ADD", 32),
        ("MUL", 32),
        ("TANH", 32),
        ("RELU", 64),
        ("RELU6", 64),
        ("LEAKY_RELU", 64),
        ("SOFTMAX", 64),
        ("QUANTIZE", 128),
        ("DEQUANTIZE", 64),
        ("PAD", 192),
        ("RESHAPE", 32),
        ("REDUCE_MAX", 32),
        ("MEAN", 64),
        ("CONCATENATION", 0),
        ("TRANSPOSE", 0),
    ],
)
def test_operators_without_weights_have_no_macs(name, operations):
    assert counted(one(name, [T("x", [1, 4, 8])], [1, 4, 8])) == (0, operations)


@pytest.mark.parametrize(("name", "each"), [("AVERAGE_POOL_2D", 7), ("MAX_POOL_2D", 6), ("L2_POOL_2D", 14)])
def test_pooling_counts_its_window(name, each):
    file = one(name, [T("x", [1, 8, 9, 2])], [1, 4, 3, 2], "Pool2DOptions", filterHeight=2, filterWidth=3)
    assert counted(file) == (0, 4 * 3 * 2 * each)


@pytest.mark.parametrize("name", ["Spectrogram", "WHILE", "IF", "BIDIRECTIONAL_SEQUENCE_LSTM", "RFFT2D"])
def test_what_is_not_known_is_not_nothing(name):
    file = one(name, [T("x", [1, 4])], [1, 4])
    assert counted(file) == (None, None)
    assert macs.uncounted(file) == [name]


def network() -> tflite.TfliteFile:
    tensors = [
        T("x", [1, 8]),
        *(T(f"net/dense_{units}/MatMul", [units, 8], data=units * 8) for units in (2, 9, 5, 7)),
        *(T(f"net/dense_{units}/MatMul;net/dense_{units}/BiasAdd", [1, units]) for units in (2, 9, 5, 7)),
        T("z", [1, 7]),
    ]
    operators = [
        Op("FULLY_CONNECTED", ["x", f"net/dense_{u}/MatMul"], [f"net/dense_{u}/MatMul;net/dense_{u}/BiasAdd"])
        for u in (2, 9, 5, 7)
    ]
    return built(tensors, [*operators, Op("Mystery", ["x"], ["z"])], ["x"], ["z"])


def test_the_total_is_that_of_all_operators_that_are_known():
    assert macs.total_macs(network()) == 8 * (2 + 9 + 5 + 7)
    assert macs.uncounted(network()) == ["Mystery"]


def test_the_largest_layers_come_first_and_have_their_names():
    assert macs.largest_layers(network(), 2) == [
        "72 MACs FULLY_CONNECTED (dense_9)",
        "56 MACs FULLY_CONNECTED (dense_7)",
    ]


def test_layers_without_macs_are_not_among_the_largest():
    assert len(macs.largest_layers(network(), 100)) == 4


def test_every_operator_of_tflm_is_counted_unless_it_runs_another_graph():
    known = {name for name in BUILTIN_METHODS if name in macs._MACS or name in macs._OTHERS}
    assert set(BUILTIN_METHODS) - known == {"CALL_ONCE", "IF", "WHILE"}


def test_every_operator_that_is_counted_is_one_of_the_schema():
    assert {*macs._MACS, *macs._OTHERS} <= set(vars(SCHEMA.BuiltinOperator))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (one("CONV_2D", [T("x", [1, 8, 8, 3])], [1, 4, 4, 16]), "operator 0 .*CONV_2D has no input 1"),
        (one("CONV_2D", [T("x", [1, 8]), weights(16, 3)], [1, 4]), r"input 1 of CONV_2D has the shape \(16, 3\)"),
        (one("FULLY_CONNECTED", [T("x", [1]), weights()], [1]), "operator 0"),
        (one("FULLY_CONNECTED", [T("x", [1]), weights(-1, 4)], [1]), r"tensor w has the open shape \(-1, 4\)"),
        (one("SVDF", [T("x", [4]), weights(4, 4), weights(4, 4, name="t")], [1]), "input 0 of SVDF has the shape"),
        (built([T("x", [1])], [Op("ADD", ["x"], [])]), "ADD has no output"),
        (built([T("x", [1])], [Op("SOFTMAX", [], ["x"])]), "SOFTMAX has no input 0"),
        (one("MAX_POOL_2D", [T("x", [1, 2, 2, 1])], [1]), "operator 0"),
    ],
)
def test_an_impossible_operator_is_a_user_error(file, message):
    with pytest.raises(UserError, match=message):
        macs.operations(file, file.operators[0])


def test_a_damaged_file_is_a_user_error():
    with pytest.raises(UserError):
        macs.total_macs(tflite.read(build([T("x", [1])], [])[:40]))


@pytest.fixture(scope="module")
def converted() -> tflite.TfliteFile:
    """Return a model with a layer of each kind that has MACs, from TensorFlow's own converter."""
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 2), batch_size=1),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="stem"),  # (4, 4, 6)
            layers.DepthwiseConv2D(3, name="depthwise"),  # (2, 2, 6)
            layers.Conv2DTranspose(5, 2, strides=2, name="up"),  # (4, 4, 5)
            layers.Reshape((4, 20)),
            layers.LSTM(7, return_sequences=True, name="memory"),  # (4, 7)
            layers.Dense(3, name="each"),  # (4, 3)
            layers.Flatten(),
            layers.Dense(10, activation="softmax", name="scores"),
        ]
    )
    return tflite.read(tf.lite.TFLiteConverter.from_keras_model(model).convert())


BY_HAND = {
    "stem": 4 * 4 * 6 * 3 * 3 * 2,
    "depthwise": 2 * 2 * 6 * 3 * 3,
    "up": 2 * 2 * 6 * 5 * 2 * 2,
    "after reshape": 4 * 4 * 7 * (20 + 7),  # no name tells of the LSTM
    "each": 4 * 7 * 3,
    "scores": 12 * 10,
}


@pytest.mark.slow
def test_a_converted_model_has_the_macs_of_its_layers(converted):
    found = {
        layer_of(converted, operator): number
        for operator in converted.operators
        if (number := macs.macs(converted, operator))
    }
    assert found == BY_HAND
    assert macs.total_macs(converted) == sum(BY_HAND.values())
    assert macs.uncounted(converted) == []


@pytest.mark.slow
def test_every_operator_of_a_converted_model_has_operations(converted):
    counts = [macs.operations(converted, operator) for operator in converted.operators]
    assert None not in counts
    assert sum(counts) > 2 * sum(BY_HAND.values())
