"""`ModelSpec`: what a model specification script says about its model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.settings import ConverterSettings

__all__ = ["HeaderSettings", "ModelSpec"]

CURRENT_NAME: ContextVar[str] = ContextVar("doit_tflm_model_name", default="")
"""The stem of the script that is being run: the name of the model that it specifies."""


@dataclass
class HeaderSettings:
    """How the C sources are named and placed.

    Attributes
    ----------
    array_name : str
        The C identifier of the array; ``g_NAME_model_data`` when empty.
    section : str
        The linker section of the array, e.g. ``".model"``; the compiler's read-only section when empty.
    directory : str
        Where the sources go, relative to the project; the project's `header_dir` when empty.
    """

    array_name: str = ""
    section: str = ""
    directory: str = ""

    def __setattr__(self, key: str, value: Any) -> None:
        """Check and set an attribute."""
        known = list(HeaderSettings.__dataclass_fields__)
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise UserError(f"header has no attribute {key!r}", fix=f"use {', '.join(near or known)}")
        if not isinstance(value, str):
            raise UserError(f"header.{key} is {value!r}, but must be a string", fix=f"write {str(value)!r}")
        object.__setattr__(self, key, value)


@dataclass
class _Fields:
    """The attributes of a spec, with their defaults."""

    version: int = 1
    description: str = ""
    classes: list[str] = field(default_factory=list)
    dataset: Callable[[str], Any] | None = None
    build_model_function: Callable[[Any], Any] | None = None
    data_files: list[str] = field(default_factory=list)
    input_shape: tuple[int, ...] | None = None
    weights: str = ""
    epochs: int = 50
    batch_size: int = 32
    optimizer: Any = "adam"
    loss: Any = ""
    metrics: list[Any] = field(default_factory=list)
    train_callbacks: Any = ()
    seed: int = 0
    header: HeaderSettings = field(default_factory=HeaderSettings)


_KINDS: dict[str, tuple[Any, str]] = {
    "version": (int, "a whole number"),
    "description": (str, "a string"),
    "classes": ((list, tuple), "a list of strings"),
    "data_files": ((list, tuple), 'a list of file names or globs, e.g. ["data/*.csv"]'),
    "weights": (str, "a path"),
    "epochs": (int, "a whole number"),
    "batch_size": (int, "a whole number"),
    "metrics": ((list, tuple), "a list"),
    "seed": (int, "a whole number"),
    "header": (HeaderSettings, "changed attribute by attribute, e.g. header.section = '.model'"),
}


class ModelSpec(_Fields):
    """A model's specification: its data, how it is built, trained and converted, and what firmware is told of it.

    Parameters
    ----------
    **attributes
        Any of the attributes below.

    Attributes
    ----------
    name : str
        The stem of the script's file name.
    version : int
        The model's version, stored in its parameters.
    description : str
        One line, stored in the ``.tflite``.
    classes : list of str
        Labels of the outputs, in order.
    tflite_converter : ConverterSettings
        The converter's settings: a strict mapping.
    model_parameters : dict
        Further entries of the parameters that are embedded in the ``.tflite``.
    dataset : callable
        ``dataset(subset)`` with subset ``"training"``, ``"validation"`` or ``"evaluation"`` returns arrays
        ``(x, y)``, ``x`` alone, or a ``tf.data.Dataset`` of batches; None where there is no such subset.
        Arrays have shape (samples, *input shape). Several inputs are a dict by input name, or a list.
    build_model_function : callable
        ``build_model_function(spec)`` returns a compiled ``keras.Model``.
    data_files : list of str
        Globs, relative to the project, of files that the dataset reads without Python noticing.
    input_shape : tuple of int, optional
        The shape of one sample, checked against the weights when given.
    weights : str
        A file of weights (``.h5``, ``.keras``, ``.weights.h5``) or a SavedModel directory, relative to the
        project; the archive's member when empty.
    epochs, batch_size, optimizer, loss, metrics, train_callbacks
        For training. `train_callbacks` is a list of Keras callbacks, or a function that makes one.
    seed : int
        Seeds training and the drawing of samples.
    header : HeaderSettings
        Names and place of the C sources.

    Raises
    ------
    UserError
        When an unknown attribute, or one of the wrong type, is set.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        object.__setattr__(self, "name", CURRENT_NAME.get())
        object.__setattr__(self, "tflite_converter", ConverterSettings())
        object.__setattr__(self, "model_parameters", {})
        for key, value in attributes.items():
            setattr(self, key, value)

    name: str
    tflite_converter: ConverterSettings
    model_parameters: dict[str, Any]

    def __setattr__(self, key: str, value: Any) -> None:
        """Check and set an attribute."""
        if key in ("tflite_converter", "model_parameters"):
            if not isinstance(value, Mapping):
                raise UserError(f"{key} is {value!r}", fix=f"use a dict, or set {key}[KEY] = VALUE")
            value = ConverterSettings(dict(value)) if key == "tflite_converter" else dict(value)
        elif key == "name":
            raise UserError("name cannot be set", fix="rename the script: its stem is the model's name")
        elif key not in _Fields.__dataclass_fields__:
            near = difflib.get_close_matches(key, attribute_names(), n=1)
            fix = f"did you mean {near[0]!r}?" if near else "keep values of your own in module variables"
            raise UserError(f"a ModelSpec has no attribute {key!r}", fix=fix)
        else:
            value = _checked(key, value)
        object.__setattr__(self, key, value)


def attribute_names() -> list[str]:
    """Return the names of a spec's attributes."""
    return [*_Fields.__dataclass_fields__, "tflite_converter", "model_parameters"]


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not all(hasattr(size, "__index__") for size in value):
        raise UserError(f"input_shape is {value!r}", fix="give whole numbers without the batch: (49, 40, 1)")
    return tuple(int(size) for size in value)


def _checked(key: str, value: Any) -> Any:
    """Return an attribute's value, if it is of the right kind."""
    if key in ("dataset", "build_model_function"):
        if value is not None and not callable(value):
            raise UserError(f"{key} is {value!r}", fix="give a function, without calling it")
        return value
    if key == "input_shape" and value is not None:
        return _shape(value)
    if key not in _KINDS:
        return value
    kind, words = _KINDS[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{key} is {value!r}, but must be {words}", fix=f"set {key} to {words}")
    if key in ("epochs", "batch_size") and value < 1:
        raise UserError(f"{key} is {value}", fix="use 1 or more")
    if key in ("classes", "data_files"):
        for item in value:
            if not isinstance(item, str):
                raise UserError(f"{key} holds {item!r}, which is not a string", fix=f"write {str(item)!r}")
        return list(value)
    return value
