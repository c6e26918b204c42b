"""What TFLM says when it does not run a model, as one message that names the operator, its layer and a way out."""

from __future__ import annotations

import re

from doit_tflm.errors import UserError
from doit_tflm.layers import layer_of
from doit_tflm.tflite import TfliteFile

__all__ = ["refusal"]

_LACKING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_LACKING_CUSTOM = "Failed to get registration from op code CUSTOM"
_NODE = re.compile(r"Node (\S+) \(number (\d+)\) failed to (prepare|invoke)")
_SOURCE = re.compile(r"^\S+\.(cc|h)(:| line )\d+:? *")
_WAYS_OUT = {
    "TOPK_V2": "return the scores, and let the firmware pick the largest",
    "NON_MAX_SUPPRESSION_V4": "return boxes and scores, and suppress in the firmware",
    "NON_MAX_SUPPRESSION_V5": "return boxes and scores, and suppress in the firmware",
    "GELU": "use ReLU, or GELU's tanh approximation, written out",
    "TILE": "repeat with Concatenate, or UpSampling",
    "POW": "multiply, or use Square",
    "RFFT2D": "compute the spectrum in the firmware, before the model",
    "CONV_3D": "use Conv2D, the third dimension in the channels",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "use an LSTM of one direction, or Conv1D",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "use an LSTM of tf_keras, or Conv1D",
    "LOCAL_RESPONSE_NORMALIZATION": "use BatchNormalization",
}
"""What models do instead of an operator that TFLM lacks."""
_ANY_WAY_OUT = "replace that layer by ones that TFLM has operators for, or do its step in the firmware"

_CUSTOM_WAY_OUT = "where the firmware has a kernel for it, set verify to False; else " + _ANY_WAY_OUT


def refusal(said: str, file: TfliteFile) -> UserError:
    """Return what TFLM said as one message that names the operator and its layer."""
    lacking = sorted(set(_LACKING.findall(said)))
    if lacking:
        name = lacking[0]
        layers = ", ".join(_layers(name, file))
        return UserError(f"TFLM has no operator {name} (layer {layers})", fix=_WAYS_OUT.get(name, _ANY_WAY_OUT))
    if _LACKING_CUSTOM in said:
        names = " or ".join(name for name, is_custom in file.kinds if is_custom)
        return UserError(f"TFLM has no custom operator {names}", fix=_CUSTOM_WAY_OUT)
    lines = [_SOURCE.sub("", line).strip() for line in said.splitlines()]
    failed = next((found for line in lines if (found := _NODE.search(line))), None)
    if failed is None:
        return UserError(f"TFLM does not run the model: {lines[-1]}", fix="the log has all that it said")
    name, number, _ = failed.groups()
    reasons = [line for line in lines[: _index(lines, failed)] if line]
    why = f": {reasons[-1].rstrip('.')}" if reasons else ""
    layer = _layer_at(int(number), name, file)
    return UserError(f"TFLM's operator {name} refuses layer {layer}{why}", fix=_ANY_WAY_OUT)


def _index(lines: list[str], found: re.Match[str]) -> int:
    return next(number for number, line in enumerate(lines) if found.group() in line)


def _layers(operator: str, file: TfliteFile) -> list[str]:
    """Return the layers that an operator came from, in the model's order."""
    found = [layer_of(file, one) for one in file.operators if one.name == operator]
    return list(dict.fromkeys(found)) or ["of an inner graph"]


def _layer_at(number: int, operator: str, file: TfliteFile) -> str:
    """Return the layer of an operator by its number; by its name where the number is of another graph."""
    if number < len(file.operators) and file.operators[number].name == operator:
        return layer_of(file, file.operators[number])
    return _layers(operator, file)[0]
