"""The Keras layers that tensors' names stand for; most names here are those of real models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm.layer_names import by_keras3, layer_name, own_name
from doit_tflm.layers import labelled
from tiny_model import Op, T, built

KERAS2 = (
    "model/activation/Relu;model/batch_normalization/FusedBatchNormV3;model/conv2d/BiasAdd/ReadVariableOp/resource;"
    "model/conv2d/BiasAdd;model/conv2d_2/Conv2D;model/conv2d/Conv2D1"
)
KERAS3 = (
    "resnet8_1/re_lu_3_1/Relu;resnet8_1/batch_normalization_3_1/batchnorm/add_1;"
    "resnet8_1/batch_normalization_3_1/batchnorm/mul_1;resnet8_1/conv2d_3_1/Squeeze;resnet8_1/conv2d_3_1/BiasAdd;"
    "resnet8_1/batch_normalization_3_1/batchnorm/mul;resnet8_1/conv2d_3_1/convolution;"
    "resnet8_1/batch_normalization_3_1/batchnorm/sub1"
)
DEPTHWISE = (
    "model/batch_normalization_1/FusedBatchNormV3;model/depthwise_conv2d/depthwise;model/depthwise_conv2d/BiasAdd;"
    "model/conv2d_4/Conv2D;model/depthwise_conv2d/BiasAdd/ReadVariableOp/resource"
)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        (KERAS2, "conv2d"),
        (KERAS3, "conv2d_3"),
        (DEPTHWISE, "depthwise_conv2d"),
        ("model/activation_2/Relu;model/add/add", "add"),
        ("resnet8_1/re_lu_4_1/Relu;resnet8_1/add_1_2/Add", "add_1"),
        ("resnet8_1/conv2d_3/convolution;resnet8_1/re_lu/Relu", "conv2d_3"),
        ("sine_1/dense_1_2/MatMul;sine_1/dense_1_2/Relu;sine_1/dense_1_2/BiasAdd", "dense_1"),
        ("model/average_pooling2d/AvgPool", "average_pooling2d"),
        ("model/flatten/Const", "flatten"),
        ("sequential/lstm/while/lstm_cell/MatMul", "lstm"),
        ("sequential/conv1d/Conv1D/ExpandDims", "conv1d"),
        ("model/mobilenet/conv1/Conv2D", "mobilenet/conv1"),
        ("net_1/block_1/conv2d_2_1/convolution", "block/conv2d_2"),
        ("StatefulPartitionedCall/sequential/dense/MatMul", "dense"),
        ("StatefulPartitionedCall:01", ""),
        ("Identity_int8", ""),
        ("serving_default_x:0", ""),
        ("tfl.pseudo_qconst12", ""),
        ("", ""),
    ],
)
def test_a_name_has_the_layer_that_a_user_knows(name, layer):
    assert layer_name(name) == layer


def test_all_names_together_tell_which_keras_it_was():
    assert by_keras3([KERAS3, "resnet8_1/dense_1/MatMul", "Identity", "image"])
    assert not by_keras3([KERAS2, "model/dense/MatMul"])
    assert not by_keras3(["Identity"])


def test_the_numbers_of_a_second_model_of_keras_2_stay():
    names = ["sequential_1/dense_3/MatMul", "sequential_1/dense_4/MatMul"]
    assert not by_keras3(names)
    assert layer_name(names[1], keras3=False) == "dense_4"


def test_a_convolution_of_keras_2_is_known_by_its_op():
    assert layer_name("functional_1/conv2d_1/Conv2D") == "conv2d_1"
    assert layer_name("functional_1/conv2d_1/convolution") == "conv2d"


@pytest.mark.parametrize(
    ("name", "own"),
    [("serving_default_x:0", "x"), ("input_1_int8", "input_1"), ("image", "image"), ("x_int8:0", "x"), ("", "")],
)
def test_the_converters_additions_leave_a_name(name, own):
    assert own_name(name) == own


@given(
    st.lists(st.lists(st.sampled_from(["net", "a", "a_1", "b_2", "Conv2D", "BiasAdd"]), max_size=5), max_size=4)
)
def test_a_layer_is_a_path_inside_of_the_name(parts):
    name = ";".join("/".join(part) for part in parts)
    layer = layer_name(name, keras3=False)
    assert not layer or any(f"/{layer}/" in part for part in name.split(";"))
    assert bool(layer) == any(len(part) > 2 for part in parts)


def test_an_operator_is_called_by_its_output_then_by_its_weights_then_by_what_comes_before():
    first, last = "net/dense/MatMul;net/dense/Relu", "StatefulPartitionedCall:0"
    file = built(
        [
            *(T(name, (1, 4)) for name in ("x", "x_int8", first, last, "Identity_int8")),
            *(T(name, (4, 4), data=16) for name in ("net/dense/MatMul", "net/dense_1/MatMul")),
        ],
        [
            Op("QUANTIZE", ["x"], ["x_int8"]),
            Op("FULLY_CONNECTED", ["x_int8", "net/dense/MatMul", ""], [first]),
            Op("FULLY_CONNECTED", [first, "net/dense_1/MatMul", ""], [last]),
            Op("SOFTMAX", [last], ["Identity_int8"]),
            Op("SOFTMAX", ["x"], []),
        ],
    )
    assert [labelled(file, operator) for operator in file.operators] == [
        "QUANTIZE (x)",
        "FULLY_CONNECTED (dense)",
        "FULLY_CONNECTED (dense_1)",
        "SOFTMAX (after dense_1)",
        "SOFTMAX",
    ]
