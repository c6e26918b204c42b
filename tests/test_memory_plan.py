"""Which tensors are in memory together, against what was worked out by hand and what TFLM takes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm import tflite, tflm
from doit_tflm.errors import UserError
from doit_tflm.memory_plan import describe_peak, largest_constants, lifetimes, peak, planned_bytes
from tiny_model import Op, T, built

BRANCH = built(
    [
        T("x", (1, 100)),
        T("net/a/Relu", (1, 200)),
        T("net/b/Relu", (1, 50), "int16"),
        T("net/add/add", (1, 300)),
        T("y", (1, 10)),
        T("net/dense/MatMul", (10, 300), data=3000),
        T("unused", (1, 10_000)),
    ],
    [
        Op("RELU", ["x"], ["net/a/Relu"]),
        Op("CAST", ["net/a/Relu"], ["net/b/Relu"]),
        Op("ADD", ["net/a/Relu", "net/b/Relu"], ["net/add/add"]),
        Op("FULLY_CONNECTED", ["net/add/add", "net/dense/MatMul", ""], ["y"]),
    ],
    ["x"],
    ["y"],
)
"""x and a, then a and b, then all of a, b and add (16 + 208 + 112 + 304 rounded up), then add and y."""


def test_a_tensor_lives_from_the_operator_that_computes_it_to_the_last_that_reads_it():
    assert lifetimes(BRANCH) == {0: (-1, 0), 1: (0, 2), 2: (1, 2), 3: (2, 3), 4: (3, 3)}


def test_the_peak_is_where_most_bytes_are_alive():
    found = peak(BRANCH)
    assert found.operator is BRANCH.operators[2]
    assert found.bytes == 304 + 208 + 112
    assert [tensor.name for tensor in found.tensors] == ["net/add/add", "net/a/Relu", "net/b/Relu"]


def test_the_peak_is_described_by_layers_with_what_takes_most_first():
    assert describe_peak(BRANCH, 2) == (
        "largest at ADD (add), with 624 bytes of tensors: "
        "300 bytes add (1, 300) int8, 200 bytes a (1, 200) int8, and 1 more"
    )
    assert describe_peak(BRANCH).endswith("100 bytes b (1, 50) int16")


def test_an_output_stays_to_the_end():
    tensors = [T("x", (16,)), T("early", (64,)), T("a", (32,)), T("y", (16,))]
    operators = [Op("RELU", ["x"], ["early"]), Op("RELU", ["x"], ["a"]), Op("RELU", ["a"], ["y"])]
    file = built(tensors, operators, ["x"], ["early", "y"])
    assert lifetimes(file) == {0: (-1, 1), 1: (0, 2), 2: (1, 2), 3: (2, 2)}
    assert peak(file).bytes == 64 + 32 + 16


def test_a_variable_is_always_there_and_with_a_first_value_too():
    tensors = [T("x", (16,)), T("state", (64,), is_variable=True), T("first", (32,), data=32, is_variable=True)]
    file = built([*tensors, T("y", (16,))], [Op("RELU", ["x"], ["y"]), Op("RELU", ["y"], ["y"])], ["x"], ["y"])
    assert lifetimes(file) == {0: (-1, 0), 1: (-1, 1), 2: (-1, 1), 3: (0, 1)}
    assert peak(file).bytes == 16 + 16 + 64 + 32


def test_what_no_operator_computes_is_there_from_the_start():
    file = built(
        [T("x", (1,)), T("s", (1,)), T("y", (1,))], [Op("RELU", ["x"], ["y"]), Op("ADD", ["y", "s"], ["y"])]
    )
    assert lifetimes(file)[1] == (-1, 1)


def test_an_input_that_nothing_reads_is_filled_all_the_same():
    file = built(
        [T("x", (16,)), T("ignored", (640,)), T("y", (16,))], [Op("RELU", ["x"], ["y"])], ["x", "ignored"], ["y"]
    )
    assert (peak(file).operator, peak(file).bytes) == (None, 656)
    assert describe_peak(file).startswith(
        "largest before the first operator, with 656 bytes of tensors: 640 bytes ign"
    )


def test_of_equal_moments_the_first_operator_is_named():
    tensors = [T(name, (16,)) for name in "xabcy"]
    operators = [Op("RELU", [one], [two]) for one, two in itertools.pairwise("xabcy")]
    found = peak(built(tensors, operators, ["x"], ["y"]))
    assert found.operator is not None
    assert (found.operator.index, found.bytes) == (0, 32)


def test_a_model_without_operators_has_its_inputs():
    file = built([T("x", (1,))], [], ["x"], ["x"])
    assert (peak(file).operator, peak(file).bytes) == (None, 16)
    assert describe_peak(file) == "largest before the first operator, with 16 bytes of tensors: 1 byte x (1,) int8"


def test_a_model_of_nothing_takes_nothing():
    assert describe_peak(built([], [])) == "largest before the first operator, with 0 bytes of tensors"


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((1, 3), "float32", 12),
        ((3,), "int16", 6),
        ((3,), "int4", 3),
        ((3,), "bool", 3),
        ((), "int64", 8),
        ((2,), "complex64", 16),
        ((2,), "resource", 8),
        ((2,), "string", 0),
        ((0, 5), "int8", 0),
    ],
)
def test_a_tensor_has_the_bytes_that_tflm_gives_it(shape, dtype, size):
    (tensor,) = built([T("x", shape, dtype)], []).tensors
    assert tensor.bytes == size
    assert planned_bytes(tensor) == -(-size // 16) * 16


def test_an_open_shape_is_a_user_error():
    with pytest.raises(UserError, match=r"^tensor x has the open shape \(-1, 4\); give the inputs fixed shapes$"):
        peak(built([T("x", (-1, 4))], [], ["x"]))


def test_the_largest_constants_are_called_by_the_layers_that_use_them():
    tensors = [
        T("x", (1, 8)),
        T("arith.constant1", (4, 8), data=32),
        T("b", (4,), "int32", data=16),
        T("net/dense/MatMul", (1, 4)),
        T("twin", (2, 64), data=128, shared="same"),
        T("twin2", (2, 64), data=128, shared="same"),
    ]
    file = built(tensors, [Op("FULLY_CONNECTED", ["x", "arith.constant1", "b"], ["net/dense/MatMul"])], ["x"])
    assert largest_constants(file, 2) == ["128 bytes twin (2, 64) int8", "32 bytes dense (4, 8) int8"]
    assert largest_constants(file, 9)[2:] == ["16 bytes dense (4,) int32"]


def test_a_model_without_constants_has_no_largest():
    assert largest_constants(built([T("x", (1,))], [])) == []


@given(st.data())
def test_the_peak_is_the_largest_sum_of_what_is_alive_at_any_operator(data):
    sizes = data.draw(st.lists(st.integers(1, 99), min_size=1, max_size=8))
    names = [str(place) for place in range(len(sizes))]
    operators = [
        Op("ADD", data.draw(st.lists(st.sampled_from(names[:place]), min_size=1, max_size=3)), [names[place]])
        for place in range(1, len(sizes))
    ]
    outputs = data.draw(st.lists(st.sampled_from(names), max_size=2))
    file = built([T(name, (size,)) for name, size in zip(names, sizes, strict=True)], operators, ["0"], outputs)
    rounded = [-(-size // 16) * 16 for size in sizes]
    sums = []
    for moment in range(len(operators)):
        later = {index for operator in file.operators[moment:] for index in operator.inputs} | set(file.outputs)
        computed = set(range(moment + 2))
        sums.append(sum(rounded[index] for index in computed if index in later or index == moment + 1))
    found = peak(file)
    assert found.bytes == max(sums, default=rounded[0])
    assert found.bytes == sum(planned_bytes(tensor) for tensor in found.tensors)


@pytest.mark.slow
def test_tflm_takes_the_peak_and_a_little_more():
    if not tflm.available():
        pytest.skip("tflite-micro has no wheel for this platform")
    data = _converted()
    file = tflite.read(data)
    bound = peak(file).bytes
    assert bound == 3 * 16 * 16 * 4 * 4  # both convolutions, and their sum
    assert bound < tflm.measure(data, file).arena_bytes < bound + 8192


def _converted() -> bytes:
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers
    x = tf_keras.Input((16, 16, 1), batch_size=1)
    first = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    second = layers.Conv2D(4, 3, padding="same")(first)
    model = tf_keras.Model(x, layers.Add()([first, second]))
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
