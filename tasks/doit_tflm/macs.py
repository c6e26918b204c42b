"""How much a model computes: multiply-accumulates (MACs), and arithmetic operations as MLTK counts them.

Both are counted from shapes, for one inference of the model as it is. A position of a kernel over the padding
counts like any other, as in MLPerf Tiny and MLTK, although kernels skip it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from doit_tflm.layers import labelled
from doit_tflm.schema.flatbuffer import reading
from doit_tflm.tflite import Operator, Tensor, TfliteFile

__all__ = ["largest_layers", "macs", "operations", "total_macs", "uncounted"]

_MOVING = """
ASSIGN_VARIABLE BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO CONCATENATION DEPTH_TO_SPACE DYNAMIC_UPDATE_SLICE
EMBEDDING_LOOKUP EXPAND_DIMS FILL GATHER GATHER_ND MIRROR_PAD PACK READ_VARIABLE RESIZE_NEAREST_NEIGHBOR REVERSE_V2
SELECT_V2 SHAPE SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TILE TRANSPOSE UNPACK
VAR_HANDLE ZEROS_LIKE
"""
"""Operators that move data and compute nothing; MLTK counts none of them either."""
_ELEMENTWISE = """
ABS ADD CAST CEIL COS DIV EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD GELU GREATER GREATER_EQUAL LESS LESS_EQUAL LOG
LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM MINIMUM MUL NEG NOT_EQUAL POW ROUND RSQRT SIN SQRT SQUARE
SUB TANH
"""
"""Operators of one operation for each element of the output; a function counts as one, as MLTK's ``exp`` does."""
_REDUCING = "ARG_MAX ARG_MIN CUMSUM REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD SUM"
"""Operators of one operation for each element of the input."""


@dataclass(frozen=True)
class _Node:
    """An operator with its tensors; what it has not got is a ValueError or an IndexError: the file is damaged."""

    file: TfliteFile
    operator: Operator

    def has(self, place: int) -> bool:
        """Tell whether an input is given."""
        return place < len(self.operator.inputs) and self.operator.inputs[place] >= 0

    def input(self, place: int = 0) -> Tensor:
        if not self.has(place):
            raise ValueError(f"{self.operator.name} has no input {place}")
        return self.file.tensors[self.operator.inputs[place]]

    def shape(self, place: int, rank: int | None = None) -> tuple[int, ...]:
        """Return the shape of an input, which may have to have so many dimensions."""
        tensor = self.input(place)
        if rank not in (None, len(tensor.shape)) or not tensor.elements:
            raise ValueError(f"input {place} of {self.operator.name} has the shape {tensor.shape}")
        return tensor.shape

    def output(self) -> int:
        """Return the number of elements of the output."""
        if not self.operator.outputs or self.operator.outputs[0] < 0:
            raise ValueError(f"{self.operator.name} has no output")
        return self.file.tensors[self.operator.outputs[0]].elements

    def window(self) -> int:
        """Return the number of elements that a pooling operator takes at a time."""
        height, width = self.operator.options.window
        return height * width


def macs(file: TfliteFile, operator: Operator) -> int | None:
    """Return the multiply-accumulates of an operator.

    Here ``output`` and ``input`` are numbers of elements; shapes are those of the schema and of TFLM's reference
    kernels (``tensorflow/lite/kernels/internal/reference`` and ``tensorflow/lite/micro/kernels``).

    ============================ =======================================================================
    CONV_2D                      output x height x width x channels of the filter (O, height, width, I):
                                 conv.h. In groups, I is what one group sees.
    DEPTHWISE_CONV_2D            output x height x width of the filter (1, height, width, O):
                                 depthwiseconv_float.h
    TRANSPOSE_CONV               input x O x height x width of the filter (O, height, width, I): each
                                 input is spread over that many outputs, transpose_conv.h. MLTK's formula
                                 for Keras multiplies by the output, which counts the zeros that a stride
                                 puts between the inputs.
    CONV_3D                      output x depth x height x width x I of the filter (D, H, W, I, O)
    FULLY_CONNECTED              output x inputs of the weights (outputs, inputs), fully_connected.h. MLTK
                                 counts one row only; a Dense layer over a sequence has many.
    BATCH_MATMUL                 output x the dimension that is summed over, batch_matmul.h
    UNIDIRECTIONAL_SEQUENCE_LSTM steps x batch x elements of the weights of the gates (inputs 1 to 8), of the
                                 peepholes (9 to 11) and of the projection (16), lstm_eval.h. The products
                                 of gates and cells are no part of a sum.
    SVDF                         batch x elements of the weights of feature and time, svdf_common.cc
    ============================ =======================================================================

    Returns
    -------
    int or None
        0 for an operator that multiplies by no matrix and no kernel; None where it is not known, as for a custom
        operator, and for one that runs another subgraph.

    Raises
    ------
    UserError
        If the operator lacks a tensor, or a tensor has an impossible shape.
    """
    if operator.is_custom:
        return None
    if operator.name in _MACS:
        with _damage(operator):
            return _MACS[operator.name](_Node(file, operator))
    return 0 if operator.name in _OTHERS else None


def operations(file: TfliteFile, operator: Operator) -> int | None:
    """Return the arithmetic operations of an operator, as ``mltk summarize`` counts them (its core/model/metrics).

    A MAC is two, and a bias one for each output. A fused activation counts nothing.

    It differs from MLTK where that does not know a formula or leaves something out. MLTK counts nothing for MEAN
    and other reductions (here one for each input, and a division for each output of MEAN), for ``tanh`` and others
    that work element by element (here one), for LSTM and SVDF. ADD counts the output, which is larger than the
    first input where that is broadcast. A batch larger than 1 counts as a whole. MACs differ as `macs` says.

    Returns
    -------
    int or None
        None where it is not known.

    Raises
    ------
    UserError
        If the operator lacks a tensor, or a tensor has an impossible shape.
    """
    if operator.is_custom:
        return None
    node = _Node(file, operator)
    with _damage(operator):
        if operator.name in _MACS:
            return 2 * _MACS[operator.name](node) + _beside_macs(node)
        return _OTHERS[operator.name](node) if operator.name in _OTHERS else None


def total_macs(file: TfliteFile) -> int:
    """Return the multiply-accumulates of a model, those that `uncounted` operators may have aside.

    Raises
    ------
    UserError
        If an operator lacks a tensor, or a tensor has an impossible shape.
    """
    return sum(macs(file, operator) or 0 for operator in file.operators)


def uncounted(file: TfliteFile) -> list[str]:
    """Return the names of the kinds of operators whose MACs are not known, sorted."""
    return sorted({operator.name for operator in file.operators if macs(file, operator) is None})


def largest_layers(file: TfliteFile, count: int = 3) -> list[str]:
    """Return the operators with the most MACs, e.g. ``"2,359,296 MACs CONV_2D (conv2d_1)"``, the largest first.

    Raises
    ------
    UserError
        If an operator lacks a tensor, or a tensor has an impossible shape.
    """
    counted = [(macs(file, operator) or 0, operator) for operator in file.operators]
    largest = sorted(counted, key=lambda pair: -pair[0])[:count]
    return [f"{number:,} MACs {labelled(file, operator)}" for number, operator in largest if number]


def _damage(operator: Operator) -> contextlib.AbstractContextManager[None]:
    """Say of which operator the tensors are wrong."""
    return reading(f"damaged TensorFlow Lite model: operator {operator.index}", fix="convert the model again")


def _conv_2d(node: _Node) -> int:
    return node.output() * math.prod(node.shape(1, 4)[1:])


def _depthwise(node: _Node) -> int:
    return node.output() * math.prod(node.shape(1, 4)[1:3])


def _transpose_conv(node: _Node) -> int:
    return node.input(2).elements * math.prod(node.shape(1, 4)[:3])


def _conv_3d(node: _Node) -> int:
    return node.output() * math.prod(node.shape(1, 5)[:4])


def _fully_connected(node: _Node) -> int:
    return node.output() * node.shape(1)[-1]


def _batch_matmul(node: _Node) -> int:
    left = node.shape(0)
    is_adjoint = node.operator.options.adjoint[:1] == (True,)
    return node.output() * (left[-2] if is_adjoint else left[-1])


def _lstm(node: _Node) -> int:
    weights = (*range(1, 12), 16)
    return _steps(node) * sum(node.input(place).elements for place in weights if node.has(place))


def _steps(node: _Node) -> int:
    """Return how often an LSTM's weights are used: time x batch, in whichever order they come."""
    return math.prod(node.shape(0, 3)[:2])


def _svdf(node: _Node) -> int:
    return node.shape(0, 2)[0] * (math.prod(node.shape(1, 2)) + math.prod(node.shape(2, 2)))


_MACS: dict[str, Callable[[_Node], int]] = {
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv_2d,
    "CONV_3D": _conv_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "SVDF": _svdf,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
_BIASES = {
    "CONV_2D": 2,
    "CONV_3D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "SVDF": 3,
    "TRANSPOSE_CONV": 3,
}
"""The input that is the bias."""


def _beside_macs(node: _Node) -> int:
    """Return the operations of an operator that are no MACs."""
    if node.operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        # For each cell: a bias for each gate, four functions in the gates, f*c + i*g, tanh of it, times o.
        biases = sum(map(node.has, range(12, 16)))
        return _steps(node) * node.shape(4, 2)[0] * (biases + 4 + 3 + 2)
    bias = _BIASES.get(node.operator.name)
    return node.output() if bias is not None and node.has(bias) else 0


def _per_input(number: int) -> Callable[[_Node], int]:
    return lambda node: number * node.input().elements


def _per_output(number: int) -> Callable[[_Node], int]:
    return lambda node: number * node.output()


_OTHERS: dict[str, Callable[[_Node], int]] = {
    **dict.fromkeys(_MOVING.split(), lambda _: 0),
    **dict.fromkeys(_ELEMENTWISE.split(), _per_output(1)),
    **dict.fromkeys(_REDUCING.split(), _per_input(1)),
    "ADD_N": lambda node: node.output() * (len(node.operator.inputs) - 1),
    "AVERAGE_POOL_2D": lambda node: node.output() * (node.window() + 1),  # and the division
    "DEQUANTIZE": _per_input(2),  # subtract, multiply
    "ELU": _per_output(2),
    "HARD_SWISH": _per_output(5),  # x * min(max(x + 3, 0), 6) / 6
    "L2_NORMALIZATION": _per_input(3),  # square, add, divide
    "L2_POOL_2D": lambda node: node.output() * 2 * (node.window() + 1),  # square, add; divide, root
    "LEAKY_RELU": _per_output(2),
    "LOG_SOFTMAX": _per_input(2),
    "MAX_POOL_2D": lambda node: node.output() * node.window(),
    "MEAN": lambda node: node.input().elements + node.output(),
    "PAD": _per_output(6),  # MLTK: a move, and five comparisons on average
    "PADV2": _per_output(6),
    "PRELU": _per_output(2),
    "QUANTIZE": _per_input(4),  # divide, add, min, max
    "RELU": _per_output(2),  # min, max
    "RELU6": _per_output(2),
    "RELU_0_TO_1": _per_output(2),
    "RELU_N1_TO_1": _per_output(2),
    "RESHAPE": lambda node: node.input().elements,  # MLTK: the copy
    "RESIZE_BILINEAR": _per_output(7),  # a weighted sum of four
    "SOFTMAX": _per_input(2),  # MLTK: exp, divide
    "SQUARED_DIFFERENCE": _per_output(2),
}
"""Operators without MACs, by what they compute."""
