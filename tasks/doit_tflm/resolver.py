"""The operators of a model as C++ text: a header that registers exactly these with TensorFlow Lite Micro (TFLM).

A resolver that holds all operators links the kernel of each into the firmware, whether a model uses it or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from doit_tflm.c_text import c_identifier, environment, macro_prefix
from doit_tflm.errors import UserError

__all__ = ["BUILTIN_METHODS", "CUSTOM_METHODS", "method", "render_resolver", "resolver_file"]

BUILTIN_METHODS: Mapping[str, str] = {
    "ABS": "AddAbs",
    "ADD": "AddAdd",
    "ADD_N": "AddAddN",
    "ARG_MAX": "AddArgMax",
    "ARG_MIN": "AddArgMin",
    "ASSIGN_VARIABLE": "AddAssignVariable",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd",
    "BROADCAST_ARGS": "AddBroadcastArgs",
    "BROADCAST_TO": "AddBroadcastTo",
    "CALL_ONCE": "AddCallOnce",
    "CAST": "AddCast",
    "CEIL": "AddCeil",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "COS": "AddCos",
    "CUMSUM": "AddCumSum",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEPTH_TO_SPACE": "AddDepthToSpace",
    "DEQUANTIZE": "AddDequantize",
    "DIV": "AddDiv",
    "DYNAMIC_UPDATE_SLICE": "AddDynamicUpdateSlice",
    "ELU": "AddElu",
    "EMBEDDING_LOOKUP": "AddEmbeddingLookup",
    "EQUAL": "AddEqual",
    "EXP": "AddExp",
    "EXPAND_DIMS": "AddExpandDims",
    "FILL": "AddFill",
    "FLOOR": "AddFloor",
    "FLOOR_DIV": "AddFloorDiv",
    "FLOOR_MOD": "AddFloorMod",
    "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather",
    "GATHER_ND": "AddGatherNd",
    "GREATER": "AddGreater",
    "GREATER_EQUAL": "AddGreaterEqual",
    "HARD_SWISH": "AddHardSwish",
    "IF": "AddIf",
    "L2_NORMALIZATION": "AddL2Normalization",
    "L2_POOL_2D": "AddL2Pool2D",
    "LEAKY_RELU": "AddLeakyRelu",
    "LESS": "AddLess",
    "LESS_EQUAL": "AddLessEqual",
    "LOG": "AddLog",
    "LOGICAL_AND": "AddLogicalAnd",
    "LOGICAL_NOT": "AddLogicalNot",
    "LOGICAL_OR": "AddLogicalOr",
    "LOGISTIC": "AddLogistic",
    "LOG_SOFTMAX": "AddLogSoftmax",
    "MAXIMUM": "AddMaximum",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "MINIMUM": "AddMinimum",
    "MIRROR_PAD": "AddMirrorPad",
    "MUL": "AddMul",
    "NEG": "AddNeg",
    "NOT_EQUAL": "AddNotEqual",
    "PACK": "AddPack",
    "PAD": "AddPad",
    "PADV2": "AddPadV2",
    "PRELU": "AddPrelu",
    "QUANTIZE": "AddQuantize",
    "READ_VARIABLE": "AddReadVariable",
    "REDUCE_ALL": "AddReduceAll",
    "REDUCE_MAX": "AddReduceMax",
    "REDUCE_MIN": "AddReduceMin",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape",
    "RESIZE_BILINEAR": "AddResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor",
    "REVERSE_V2": "AddReverseV2",
    "ROUND": "AddRound",
    "RSQRT": "AddRsqrt",
    "SELECT_V2": "AddSelectV2",
    "SHAPE": "AddShape",
    "SIN": "AddSin",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd",
    "SPACE_TO_DEPTH": "AddSpaceToDepth",
    "SPLIT": "AddSplit",
    "SPLIT_V": "AddSplitV",
    "SQRT": "AddSqrt",
    "SQUARE": "AddSquare",
    "SQUARED_DIFFERENCE": "AddSquaredDifference",
    "SQUEEZE": "AddSqueeze",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "SUM": "AddSum",
    "SVDF": "AddSvdf",
    "TANH": "AddTanh",
    "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "UNPACK": "AddUnpack",
    "VAR_HANDLE": "AddVarHandle",
    "WHILE": "AddWhile",
    "ZEROS_LIKE": "AddZerosLike",
}
"""Builtin operators by the schema's name, and the method of TFLM's ``MicroMutableOpResolver`` that registers each.

From ``tensorflow/lite/micro/micro_mutable_op_resolver.h``. No rule makes the one of the other: see BATCH_MATMUL.
"""

CUSTOM_METHODS: Mapping[str, str] = {
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "SignalDelay": "AddDelay",
    "SignalEnergy": "AddEnergy",
    "SignalFftAutoScale": "AddFftAutoScale",
    "SignalFilterBank": "AddFilterBank",
    "SignalFilterBankLog": "AddFilterBankLog",
    "SignalFilterBankSpectralSubtraction": "AddFilterBankSpectralSubtraction",
    "SignalFilterBankSquareRoot": "AddFilterBankSquareRoot",
    "SignalFramer": "AddFramer",
    "SignalIrfft": "AddIrfft",
    "SignalOverlapAdd": "AddOverlapAdd",
    "SignalPCAN": "AddPCAN",
    "SignalRfft": "AddRfft",
    "SignalStacker": "AddStacker",
    "SignalWindow": "AddWindow",
    "TFLM_DECODE": "AddDecode",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
}
"""The same for the custom operators that TFLM has kernels of, by the custom code in a ``.tflite``.

``ethos-u`` is what TFLM's ``GetString_ETHOSU`` returns where Arm's kernel is built in.
"""


def method(operator: str, is_custom: bool) -> str | None:  # noqa: FBT001 - the pair that a file's operator is
    """Return the method of TFLM's resolver that registers an operator, or None where TFLM has none.

    Parameters
    ----------
    operator : str
        The schema's name of a builtin operator, e.g. ``"CONV_2D"``, or a custom operator's own.
    is_custom : bool
        Which of the two it is: a custom operator may have a builtin's name.
    """
    return (CUSTOM_METHODS if is_custom else BUILTIN_METHODS).get(operator)


def resolver_file(name: str) -> str:
    """Return what the header for a model, or a group of models, is called, e.g. ``sine_op_resolver.h``."""
    return f"{c_identifier(name)}_op_resolver.h"


def render_resolver(
    name: str, operators: Iterable[tuple[str, bool]], generator: str, models: Sequence[str] = ()
) -> str:
    """Return the text of a header that registers exactly these operators, all ASCII, for C++11 and later.

    Custom operators without a method of TFLM's are counted and named; the firmware adds them with its own kernels.

    Parameters
    ----------
    name : str
        The model, or what a group of models is called; all that the header defines is named after it.
    operators : iterable of (str, bool)
        The names, and whether each is a custom operator. Order and repetition make no difference.
    generator : str
        What writes the text, e.g. ``"doit-tflm 0.1.0"``.
    models : sequence of str, optional
        The models whose operators these are, where they are more than the one called `name`.

    Raises
    ------
    UserError
        When there is no operator, or TFLM lacks a builtin one.
    """
    wanted = frozenset(operators)
    for what, fix in _faults(wanted):
        raise UserError(what, name, fix)
    methods = sorted(found for operator in wanted if (found := method(*operator)))
    own = sorted(operator for operator, is_custom in wanted if method(operator, is_custom) is None)
    return (
        environment()
        .get_template("op_resolver.h.j2")
        .render(
            file=resolver_file(name),
            name=c_identifier(name),
            prefix=macro_prefix(name),
            generator=generator,
            models=sorted(set(models)) or [name],
            operators=sorted(operator for operator, _ in wanted),
            methods=methods,
            own=own,
            size=len(wanted),
            digest=_digest([name, *methods, "", *own]),
        )
    )


def _faults(operators: frozenset[tuple[str, bool]]) -> Iterator[tuple[str, str]]:
    """Yield why there can be no header for these operators, with the fix."""
    if not operators:
        yield "there is no operator to register", "name at least one model that has operators"
    missing = sorted(name for name, is_custom in operators if not is_custom and name not in BUILTIN_METHODS)
    if missing:
        yield (
            f"TensorFlow Lite Micro has no kernel for {', '.join(missing)}",
            "replace what the model computes with it by layers that TensorFlow Lite Micro has kernels for",
        )


def _digest(parts: Sequence[str]) -> str:
    """Return eight hexadecimal digits that tell two headers apart."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
