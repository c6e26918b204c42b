"""Conversion and quantization: a trained model and samples in, an int8 ``.tflite`` out.

Integer quantization is done in two stages, as TensorFlow's quantization debugger does it: the float model with
calibrated ranges is kept, and is quantized in milliseconds whenever an input type changes. The result equals that
of one call of ``convert()`` in every tensor, scale, buffer and op.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from doit_tflm import keras_io, tflite
from doit_tflm.errors import UserError
from doit_tflm.files import digest_file, normalise
from doit_tflm.keras_io import Input, LoadedModel
from doit_tflm.samples import Samples
from doit_tflm.settings import FLOAT_OPS
from doit_tflm.trace import is_own
from doit_tflm.worker_main import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Converter", "TensorFlowConverter", "check_result", "converter_named", "matched"]


class Converter(Protocol):
    """What loads and converts models: the project's setting `converter` names one."""

    def load(self, path: Path, where: str, build: Callable[[], Any] | None) -> LoadedModel:
        """Return the trained model in a file; `build` makes one, for a file that holds weights only."""

    def calibrate(self, model: LoadedModel, samples: Samples, settings: Mapping[str, Any]) -> bytes:
        """Return the float model with calibrated ranges; for a one-shot or float model, the final one."""

    def quantize(self, calibrated: bytes, settings: Mapping[str, Any]) -> bytes:
        """Return the quantized model."""

    def predict(self, model: LoadedModel, inputs: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Run the trained model: arrays of shape (samples, *shape without the batch), in and out."""


class TensorFlowConverter:
    """The installed TensorFlow's ``TFLiteConverter``."""

    def load(self, path: Path, where: str, build: Callable[[], Any] | None) -> LoadedModel:
        """Load what Keras 2 or 3, or a SavedModel, holds."""
        return keras_io.load(path, where, build)

    def calibrate(self, model: LoadedModel, samples: Samples, settings: Mapping[str, Any]) -> bytes:
        """Convert a model and run the samples through it.

        Parameters
        ----------
        model : LoadedModel
            The trained model.
        samples : Samples
            Representative samples.
        settings : mapping
            The facet ``graph.json``.

        Raises
        ------
        UserError
            If the samples do not fit the model, or TensorFlow refuses to convert it.
        """
        import tensorflow as tf

        if model.saved is None:
            converter = tf.lite.TFLiteConverter.from_concrete_functions([model.function])
        else:
            converter = tf.lite.TFLiteConverter.from_saved_model(model.saved.name)
        _configure(converter, settings)
        if settings["mode"] != "float":
            arrays = matched(samples, model.inputs)
            names = [one.name for one in model.inputs] if model.saved is not None else None
            converter.representative_dataset = lambda: _fed(arrays, names)
        if settings["mode"] == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter._experimental_calibrate_only = True  # the quantization debugger's way in
        from tensorflow.lite.python.convert import ConverterError

        try:
            return bytes(converter.convert())
        except (ConverterError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise _refusal(error) from error

    def quantize(self, calibrated: bytes, settings: Mapping[str, Any]) -> bytes:
        """Quantize a calibrated model.

        Parameters
        ----------
        calibrated : bytes
            What `calibrate` returned.
        settings : mapping
            The facet ``converter.json``.
        """
        if settings["mode"] != "int8":
            return calibrated
        import tensorflow as tf
        from tensorflow.lite.python.convert import ConverterError, mlir_quantize

        try:
            return bytes(
                mlir_quantize(
                    calibrated,
                    input_data_type=tf.as_dtype(settings["inference_input_type"]),
                    output_data_type=tf.as_dtype(settings["inference_output_type"]),
                )
            )
        except (ConverterError, ValueError, RuntimeError) as error:
            raise _refusal(error) from error

    def predict(self, model: LoadedModel, inputs: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Run a model on samples, one by one, as the quantized model is run.

        Parameters
        ----------
        model : LoadedModel
            The trained model.
        inputs : list of ndarray
            For each input, shape (samples, *input shape).

        Returns
        -------
        list of ndarray
            For each output, shape (samples, *output shape).
        """
        import numpy as np
        import tensorflow as tf

        rows = []
        for number in range(len(inputs[0])):
            given = [tf.constant(array[number : number + 1]) for array in inputs]
            rows.append([output.numpy() for output in tf.nest.flatten(model.function(*given))])
            if number % 16 == 0:
                progress("running Keras", number, len(inputs[0]))
        return [np.concatenate([row[place] for row in rows]) for place in range(len(rows[0]))]


def converter_named(name: str) -> tuple[Converter, dict[str, str | None]]:
    """Return the converter that a project names, ``"module:class"``, and its file, if it is the user's.

    The file comes as a key with its digest.

    Raises
    ------
    UserError
        If there is no such class.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Converter = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        where = "pyproject.toml"
        raise UserError(f"[tool.doit-tflm] converter {name!r}: {error}", where, "write module:class") from None
    file = getattr(sys.modules[module], "__file__", None) or ""
    return found, {normalise(file): digest_file(file)} if is_own(file, os.getcwd()) else {}


def _configure(converter: Any, settings: Mapping[str, Any]) -> None:
    """Hand the settings to the converter."""
    import tensorflow as tf

    for key, value in settings.items():
        if key in ("mode", "weights", "input_shape"):
            continue
        if key == "optimizations":
            converter.optimizations = [tf.lite.Optimize[name] for name in value]
        elif key == "supported_ops":
            converter.target_spec.supported_ops = [tf.lite.OpsSet[name] for name in value]
        elif key == "supported_types":
            converter.target_spec.supported_types = [tf.as_dtype(name) for name in value]
        elif key in ("inference_input_type", "inference_output_type"):
            setattr(converter, key, tf.as_dtype(value))
        elif hasattr(converter.target_spec, key):
            setattr(converter.target_spec, key, value)
        else:
            setattr(converter, key, value)


def _refusal(error: Exception) -> UserError:
    """Return TensorFlow's error as one message: its first line, and where the rest is."""
    lacking = re.search(r"^TF Select ops: (.+)$", str(error), re.MULTILINE)
    if lacking:
        return UserError(
            f"TensorFlow Lite has no operator for {lacking.group(1)}",
            fix="replace the layer that uses it; the log says where it is",
        )
    lines = [line for line in str(error).strip().split("\n") if line.strip()] or [type(error).__name__]
    ops = [line for line in lines if "Ops:" in line or "is neither a custom op nor a flex op" in line]
    return UserError(
        f"TensorFlow cannot convert the model: {(ops or lines)[0].strip()}", fix="see the log for all of it"
    )


def matched(samples: Samples, inputs: tuple[Input, ...]) -> list[NDArray[np.generic]]:
    """Return the samples' arrays in the order of the model's inputs.

    Raises
    ------
    UserError
        If their number, names, shapes or dtypes are not the model's.
    """
    keys = list(samples.arrays)
    names = [one.name for one in inputs]
    if len(keys) != len(inputs):
        raise UserError(
            f"the samples have {len(keys)} inputs ({', '.join(keys)}), "
            f"but the model has {len(inputs)} ({', '.join(names)})",
            fix="give every input of the model",
        )
    by_position = all(key.isdigit() for key in keys)
    if not by_position and len(keys) > 1 and set(keys) != set(names):
        raise UserError(
            f"the samples name the inputs {', '.join(sorted(keys))}, but the model {', '.join(sorted(names))}",
            fix="use the model's names",
        )
    named = not by_position and len(keys) > 1
    return [_fitting(samples, one.name if named else keys[i], one) for i, one in enumerate(inputs)]


def _fitting(samples: Samples, key: str, wanted: Input) -> NDArray[np.generic]:
    """Return one input's array, if the model takes it."""
    array = samples.arrays[key]
    if array.shape[1:] != wanted.shape:
        raise UserError(
            f"sample 0 of input {wanted.name} has shape {array.shape[1:]}, but the model takes {wanted.shape}",
            fix="mend the shape"
            + (", e.g. yield [x[numpy.newaxis]]: a batch comes first" if samples.source == "function" else ""),
        )
    if array.dtype.name != wanted.dtype:
        if (
            samples.source in ("generate", "file")
            and array.dtype.kind in "iub"
            and wanted.dtype.startswith("float")
        ):
            return array.astype(wanted.dtype)
        raise UserError(
            f"sample 0 of input {wanted.name} is {array.dtype.name}, but the model takes {wanted.dtype}",
            fix=f"yield it as {wanted.dtype}",
        )
    return array


def _fed(arrays: list[NDArray[np.generic]], names: list[str] | None) -> Iterator[Any]:
    """Yield the samples as batches of 1, by name where the converter orders the inputs itself."""
    total = len(arrays[0])
    for number in range(total):
        if number % 16 == 0:
            progress("calibrating", number, total)
        batch = [array[number : number + 1] for array in arrays]
        yield dict(zip(names, batch, strict=True)) if names else batch
    progress("calibrating", total, total)


def check_result(data: bytes, settings: Mapping[str, Any]) -> None:
    """Check that a model is what the settings ask for: TensorFlow falls back to float without a word.

    Raises
    ------
    UserError
        If its inputs, its outputs or a tensor between them are of another type.
    """
    model = tflite.read(data)
    ends = (("inference_input_type", model.inputs), ("inference_output_type", model.outputs))
    for key, indices in ends:
        for index in indices:
            tensor = model.tensors[index]
            if tensor.dtype != settings[key] and not _keeps_integers(tensor.dtype, settings[key]):
                raise UserError(
                    f"{key} is {settings[key]}, but {tensor.name} came out as {tensor.dtype}",
                    fix="an op around it has no integer kernel: replace it, or ask for float32",
                )
    if settings["mode"] != "float" and FLOAT_OPS not in settings["supported_ops"]:
        _check_integer_only(model)


def _keeps_integers(dtype: str, wanted: str) -> bool:
    """Tell whether a tensor that was never float (an index, say) rightly keeps its type."""
    return dtype in ("int32", "int64", "bool") and wanted != dtype


def _check_integer_only(model: tflite.TfliteFile) -> None:
    """Raise an error where an op computes in float: QUANTIZE and DEQUANTIZE at the ends do not count."""
    outer = {"QUANTIZE", "DEQUANTIZE"}
    for op in model.operators:
        tensors = [model.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
        if op.name not in outer and any(tensor.dtype in ("float32", "float16") for tensor in tensors):
            raise UserError(
                f"{op.name} ({model.tensors[op.outputs[0]].name}) is float, "
                "but supported_ops has integer ops only",
                fix="replace that layer, or add TFLITE_BUILTINS to supported_ops: then it may be float",
            )
