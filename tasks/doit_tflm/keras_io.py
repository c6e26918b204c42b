"""Trained weights, read into a function of batch size 1 that the converter takes.

A dynamic batch costs SHAPE, STRIDED_SLICE and PACK ops around every Reshape and Flatten; a batch of 1 has none.
The function's variables are frozen first: that converts five times faster than through a SavedModel, and gives
the same tensors.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from doit_tflm import archive
from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes, digest_file

__all__ = [
    "Input",
    "LoadedModel",
    "find_weights",
    "forget_custom_objects",
    "frozen",
    "has_own_code",
    "is_keras2",
    "load",
    "member_names",
    "summary_of",
]


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes
    ----------
    name : str
        Its name.
    shape : tuple of int
        Without the batch dimension.
    dtype : str
        As NumPy names it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class LoadedModel:
    """A trained model, ready to be converted.

    Attributes
    ----------
    inputs : tuple of Input
        In the order of `function`'s arguments.
    function : ConcreteFunction
        Batch size 1, without variables.
    is_built : bool
        Whether the spec's builder made it, and only its weights were read.
    notes : tuple of str
        Warnings.
    summary : str
        Keras's own text about it; empty for a SavedModel.
    saved : TemporaryDirectory, optional
        The model as a SavedModel, where `function` cannot be converted. It lives as long as this object.
    """

    inputs: tuple[Input, ...]
    function: Any
    saved: tempfile.TemporaryDirectory[str] | None = None
    is_built: bool = False
    notes: tuple[str, ...] = ()
    summary: str = ""


def summary_of(model: Any) -> str:
    """Return what Keras says of a model, layer by layer."""
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line), line_length=100)
    return "\n".join(lines) + "\n"


def member_names(model: str) -> tuple[str, str]:
    """Return the archive members that may hold a model's weights, the preferred one first."""
    return f"{model}.keras", f"{model}.h5"


def archive_weights(path: str, model: str) -> tuple[str, bytes] | None:
    """Return name and content of the archive's member of weights; None if there is none."""
    if Path(path).exists():
        for member in member_names(model):
            content = archive.read_member(path, member)
            if content is not None:
                return member, content
    return None


def find_weights(
    model: str, archive_path: str, weights: str, directory: str
) -> tuple[Path, dict[str, str | None]]:
    """Return a file or directory of weights, and the keys and digests that it stands for.

    Parameters
    ----------
    model : str
        The model's name.
    archive_path : str
        Where its archive is.
    weights : str
        The spec's `weights`; empty for the archive's member.
    directory : str
        Where a member may be extracted to.

    Raises
    ------
    UserError
        If there are no weights.
    """
    if weights:
        path = Path(weights)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            keys: dict[str, str | None] = {file.as_posix(): digest_file(file) for file in files}
            if f"{weights}/saved_model.pb" not in keys:
                raise UserError(
                    "this directory is no SavedModel", weights, "name the one with saved_model.pb in it"
                )
            return path, keys
        if not path.is_file():
            raise UserError("there are no such weights", weights, "correct `weights` in the specification")
        return path, {weights: digest_file(path)}
    found = archive_weights(archive_path, model)
    if found is None:
        raise UserError(f"no trained weights of {model}", archive_path, f"train it: doit train:{model}")
    member, content = found
    # The preferred member's absence counts as well: it would be taken if it appeared.
    keys = {f"{archive_path}!{name}": None for name in member_names(model)[: member_names(model).index(member)]}
    keys[f"{archive_path}!{member}"] = digest_bytes(content)
    extracted = Path(directory) / member
    extracted.write_bytes(content)
    return extracted, keys


def load(path: Path, where: str, build: Callable[[], Any] | None) -> LoadedModel:
    """Load weights, whichever Keras wrote them.

    Parameters
    ----------
    path : Path
        ``.keras``, ``.h5``, ``.weights.h5`` or a SavedModel directory.
    where : str
        What to call it in messages.
    build : callable
        Makes the model, for a file that holds weights only.

    Raises
    ------
    UserError
        If it cannot be loaded.
    """
    if path.is_dir():
        return _saved_model(path)
    try:
        version, whole = _written_by(path, where)
        keras = keras_module(version)
        keras.backend.clear_session()
        if not whole:
            return replace(frozen(_rebuilt(path, where, build)), is_built=True)
        try:
            return frozen(keras.models.load_model(path, compile=False))
        except (TypeError, ValueError):
            # A newer Keras describes layers in words that this one does not know; their weights it can read.
            if build is None or not _is_newer(version, keras.__version__):
                raise
            note = f"{path.name} is Keras {version}'s: build_model_function makes the model around its weights"
            return replace(frozen(_rebuilt(path, where, build)), is_built=True, notes=(note,))
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        raise UserError(
            f"cannot be loaded: {type(error).__name__}: {first}",
            where,
            "see the log for all of it; custom layers must be registered with keras.saving",
        ) from error


def forget_custom_objects() -> None:
    """Forget layers that an earlier job of this process registered: what is found must not depend on it."""
    for name in ("keras", "tf_keras"):
        if name in sys.modules:
            sys.modules[name].saving.get_custom_objects().clear()


def has_own_code(path: Path) -> bool:
    """Tell whether a saved model has layers, or anything else, that no package defines."""
    try:
        if zipfile.is_zipfile(path):
            config = archive.read_member(path, "config.json")
        else:
            import h5py

            with h5py.File(path) as file:
                config = file.attrs.get("model_config")
        return config is not None and _names_own_code(json.loads(config))
    except (OSError, ValueError):
        return False  # loading it will say what is wrong


def _names_own_code(config: Any) -> bool:
    """Tell whether a serialised object, or one in it, is a registered one or of an unknown module."""
    if isinstance(config, list):
        return any(_names_own_code(item) for item in config)
    if not isinstance(config, dict):
        return False
    module = config.get("module") if "class_name" in config else None
    known = module is None or str(module).partition(".")[0] in ("builtins", "keras", "tf_keras", "tensorflow")
    names = f"{config.get('registered_name')} {config.get('class_name')}"
    return not known or ">" in names or any(_names_own_code(item) for item in config.values())


def _rebuilt(path: Path, where: str, build: Callable[[], Any] | None) -> Any:
    """Return the model that the spec builds, with the weights in a file."""
    if build is None:
        raise UserError("holds weights only", where, "set build_model_function, which makes the model around them")
    model = build()
    model.load_weights(path)
    return model


def _is_newer(written: str, installed: str) -> bool:
    """Tell whether a version of Keras is later than another."""
    first, second = (
        [int(part) for part in text.split(".")[:2] if part.isdigit()] for text in (written, installed)
    )
    return first > second


def keras_module(version: str) -> Any:
    """Return Keras 3, or tf_keras for what Keras 2 wrote."""
    if version.split(".", maxsplit=1)[0] in ("1", "2"):
        import tf_keras

        return tf_keras
    import keras

    return keras


def is_keras2(model: Any) -> bool:
    """Tell whether a model is tf_keras's."""
    return any(cls.__module__.split(".")[0] == "tf_keras" for cls in type(model).__mro__)


def _written_by(path: Path, where: str) -> tuple[str, bool]:
    """Return the version of the Keras that wrote a file, and whether the file holds a whole model."""
    if zipfile.is_zipfile(path):
        metadata = json.loads(archive.read_member(path, "metadata.json") or b"{}")
        return str(metadata.get("keras_version", "3")), archive.read_member(path, "config.json") is not None
    import h5py

    if not h5py.is_hdf5(path):
        raise UserError("is neither an HDF5 nor a .keras file", where, "save it again with model.save(...)")
    with h5py.File(path) as file:
        attributes: Mapping[str, Any] = file.attrs
        version = attributes.get("keras_version", b"2" if "layer_names" in attributes else b"3")
        text = version.decode() if isinstance(version, bytes) else str(version)
        return text, "model_config" in attributes


def frozen(model: Any) -> LoadedModel:
    """Return a Keras model, of either Keras, as a function.

    Raises
    ------
    UserError
        If an input has a dynamic shape, the batch aside.
    """
    import tensorflow as tf

    names = list(getattr(model, "input_names", [])) or [tensor.name.partition(":")[0] for tensor in model.inputs]
    specs, inputs = [], []
    for name, tensor in zip(names, model.inputs, strict=True):
        shape = tuple(tensor.shape[1:])
        if any(size is None for size in shape):
            raise UserError(
                f"input {name} has the dynamic shape {shape}", fix="give keras.Input a shape without None"
            )
        dtype = tf.as_dtype(tensor.dtype)
        specs.append(tf.TensorSpec((1, *shape), dtype, name=name))
        inputs.append(Input(name, shape, dtype.name))
    call = tf.function(lambda *tensors: model(tensors[0] if len(tensors) == 1 else list(tensors), training=False))
    function = call.get_concrete_function(*specs)
    if not _is_fused(function):
        return LoadedModel(tuple(inputs), freeze(function), summary=summary_of(model))
    saved = tempfile.TemporaryDirectory()
    tf.saved_model.save(model, saved.name, signatures=function)
    return LoadedModel(tuple(inputs), function, saved, summary=summary_of(model))


def _is_fused(function: Any) -> bool:
    """Tell whether a graph marks functions that stand for one op, as Keras 2 marks its LSTM and GRU.

    Freezing would take the marks away, and crash the converter on the loops that are left.
    """
    library = function.graph.as_graph_def().library.function
    return any("api_implements" in one.attr for one in library)


def _saved_model(path: Path) -> LoadedModel:
    """Return a SavedModel's serving function, its batch pinned to 1."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    if "serving_default" not in loaded.signatures:
        raise UserError("has no serving_default signature", str(path), "export it with model.export(...)")
    serving = loaded.signatures["serving_default"]
    named = sorted(serving.structured_input_signature[1].items())
    specs = {name: tf.TensorSpec((1, *spec.shape[1:]), spec.dtype, name=name) for name, spec in named}
    function = tf.function(serving).get_concrete_function(**specs)
    inputs = tuple(Input(name, tuple(spec.shape[1:]), spec.dtype.name) for name, spec in specs.items())
    return LoadedModel(inputs, freeze(function))


def freeze(function: Any) -> Any:
    """Return a concrete function with its variables made constants; loops stay, for the converter to fuse."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False)
