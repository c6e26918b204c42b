"""A converter that is fast and real in all but the arithmetic: its output depends on every byte of its input.

Test projects name it in pyproject.toml; it is copied into them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from doit_tflm import tflite
from doit_tflm.errors import UserError
from doit_tflm.keras_io import Input, LoadedModel
from doit_tflm.samples import Samples, serialise


class Converter:
    """Stands in for TensorFlow's."""

    def load(self, path: Path, where: str, build: Any) -> LoadedModel:
        del build
        content = path.read_bytes()
        if not content:
            raise UserError("is empty", where, "train the model")
        return LoadedModel((Input("x", (4,), "float32"),), content)

    def calibrate(self, model: LoadedModel, samples: Samples, settings: Mapping[str, Any]) -> bytes:
        if Path("slow-calibration").exists():
            time.sleep(float(Path("slow-calibration").read_text()))
        if Path("hold-calibration").exists():
            # Tells the test that it has come this far, and by which process; goes on when the test lets it.
            Path("calibrating").write_text(f"{os.getpid()}\n")
            while Path("hold-calibration").exists():
                time.sleep(0.01)
        parts = [model.function, serialise(samples), json.dumps(dict(settings), sort_keys=True).encode()]
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
        return _model(digest, {"inference_input_type": "float32", "inference_output_type": "float32"})

    def quantize(self, calibrated: bytes, settings: Mapping[str, Any]) -> bytes:
        return _model(calibrated, settings)

    def predict(self, model: LoadedModel, inputs: list[Any]) -> list[Any]:
        del model
        return [inputs[0]]


_TYPES = {"float32": 0, "uint8": 3, "int8": 9}
_QUANTIZE, _DEQUANTIZE, _ABS = 114, 6, 101


def _operator(given: str, made: str) -> int:
    """Return an operator that TFLM has between two types."""
    if made != "float32":
        return _QUANTIZE
    return _ABS if given == "float32" else _DEQUANTIZE


def _model(calibrated: bytes, settings: Mapping[str, Any]) -> bytes:
    """Return a valid .tflite: one op from an input to an output, and a constant made of all that went in."""
    import flatbuffers

    schema = tflite._schema()
    text = json.dumps(dict(settings), sort_keys=True).encode()
    constant = np.frombuffer(hashlib.sha256(calibrated + text).digest(), np.uint8)
    model = schema.ModelT()
    model.version = 3
    model.description = b"MLIR Converted."
    code = schema.OperatorCodeT()
    kinds = (settings["inference_input_type"], settings["inference_output_type"])
    code.builtinCode = code.deprecatedBuiltinCode = _operator(*kinds)
    code.version = 1
    model.operatorCodes = [code]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = constant
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(schema, name, kind) for name, kind in zip((b"x", b"y"), kinds, strict=True)]
    weights = _tensor(schema, b"w", "uint8")
    weights.shape, weights.buffer = [32], 1
    graph.tensors.append(weights)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [1]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(schema: Any, name: bytes, kind: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 4], _TYPES[kind], 0
    if kind != "float32":
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [0.5]
        tensor.quantization.zeroPoint = [-1 if kind == "int8" else 1]
    return tensor
