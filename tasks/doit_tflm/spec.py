"""`ModelSpec`: what a model specification script says about its model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from doit_tflm.callback_options import CALLBACKS, CallbackOptions
from doit_tflm.errors import UserError, did_you_mean
from doit_tflm.settings import ConverterSettings

__all__ = ["HeaderSettings", "ModelSpec"]

CURRENT_NAME: ContextVar[str] = ContextVar("doit_tflm_model_name", default="")
"""The stem of the script that is being run: the name of the model that it specifies."""


@dataclass
class HeaderSettings:
    """How the C sources are written, named and placed.

    Attributes
    ----------
    array_name : str
        The C identifier of the array; ``g_NAME_model_data`` when empty.
    section : str
        The linker section of the array, e.g. ``".model"``; the compiler's read-only section when empty.
    directory : str
        Where the sources go, relative to the project; the project's `header_dir` when empty.
    form : str
        ``"pair"``: a header and a C file; ``"single"``: a header that defines the array where it is told to;
        ``"incbin"``: a header, and a file for the assembler that takes in the ``.tflite``.
    alignment : int
        The alignment of the array in bytes: a power of two, 16 or more.
    attributes : str
        What is written before the array's definition, e.g. ``"__attribute__((used))"``.
    """

    array_name: str = ""
    section: str = ""
    directory: str = ""
    form: str = "pair"
    alignment: int = 16
    attributes: str = ""

    def __setattr__(self, key: str, value: Any) -> None:
        """Check and set an attribute."""
        known = list(HeaderSettings.__dataclass_fields__)
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise UserError(f"header has no attribute {key!r}", fix=f"use {', '.join(near or known)}")
        if key == "alignment" and (not isinstance(value, int) or isinstance(value, bool)):
            raise UserError(f"header.alignment is {value!r}, but must be a whole number", fix="write 16")
        if key != "alignment" and not isinstance(value, str):
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
    on_quantize_complete: Callable[[Any], Any] | None = None
    checkpoint: Any = field(default_factory=lambda: CallbackOptions("checkpoint"))
    checkpoints_enabled: bool = True
    early_stopping: Any = field(default_factory=lambda: CallbackOptions("early_stopping"))
    reduce_lr_on_plateau: Any = field(default_factory=lambda: CallbackOptions("reduce_lr_on_plateau"))
    lr_schedule: Any = field(default_factory=lambda: CallbackOptions("lr_schedule"))
    tensorboard: Any = field(default_factory=lambda: CallbackOptions("tensorboard"))
    on_training_complete: Callable[[Any], Any] | None = None
    seed: int = 0
    evaluate_as: str = ""
    max_accuracy_drop: float | None = None
    verify: bool = True
    golden_vectors: int = 3
    arena_margin: float = 0.1
    max_arena_bytes: int | None = None
    max_flash_bytes: int | None = None
    max_macs: int | None = None
    header: HeaderSettings = field(default_factory=HeaderSettings)


KINDS_OF_MODEL = ("classifier", "regressor", "autoencoder")
"""What `evaluate_as` may be; empty is told from the specification and the model."""


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
    "evaluate_as": (str, f"one of {', '.join(map(repr, KINDS_OF_MODEL))}"),
    "checkpoints_enabled": (bool, "True or False"),
    "verify": (bool, "True or False"),
    "max_accuracy_drop": ((int, float), "a number, e.g. 0.01 for one percentage point"),
    "golden_vectors": (int, "a whole number, 0 for none"),
    "arena_margin": ((int, float), "a number, e.g. 0.1 for ten percent"),
    "max_arena_bytes": (int, "a whole number of bytes"),
    "max_flash_bytes": (int, "a whole number of bytes"),
    "max_macs": (int, "a whole number"),
    "header": (HeaderSettings, "changed attribute by attribute, e.g. header.section = '.model'"),
}
_OPTIONAL = ("max_accuracy_drop", "max_arena_bytes", "max_flash_bytes", "max_macs")
_LOWEST = {"epochs": 1, "batch_size": 1, "golden_vectors": 0, "arena_margin": 0} | dict.fromkeys(_OPTIONAL, 0)


class ModelSpec(_Fields):
    """A model's specification: its data, how it is built, trained and converted, and what firmware is told of it.

    Parameters
    ----------
    **attributes
        Any of the attributes below.

    Attributes
    ----------
    name : str
        The stem of the script's file name. Only a spec that is made outside of a script can be given one.
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
    on_quantize_complete : callable
        ``on_quantize_complete(model)`` is called with the `TfliteModel` where ``quantize_model(...,
        post_process=True)`` asks for it: to upload the model, for example.
    data_files : list of str
        Globs, relative to the project, of files that the dataset reads without Python noticing.
    input_shape : tuple of int, optional
        The shape of one sample, checked against the weights when given.
    weights : str
        A file of weights (``.h5``, ``.keras``, ``.weights.h5``) or a SavedModel directory, relative to the
        project; the archive's member when empty.
    epochs, batch_size, optimizer, loss, metrics, train_callbacks
        For training. `train_callbacks` is a list of Keras callbacks, or a function that makes one. Epochs of -1
        go on until `early_stopping` ends them.
    checkpoint, early_stopping, reduce_lr_on_plateau, lr_schedule, tensorboard : CallbackOptions
        Options of the Keras callbacks ModelCheckpoint, EarlyStopping, ReduceLROnPlateau, LearningRateScheduler and
        TensorBoard: strict mappings; empty, or set to None, for no such callback. With `checkpoint` the weights of
        the best epoch go into the archive, without it those of the last.
    checkpoints_enabled : bool
        Whether each epoch's end is stored below the build directory, for ``doit-tflm train NAME --resume``.
    on_training_complete : callable, optional
        ``on_training_complete(results)`` is called once the trained weights are in the archive, with a
        `doit_tflm.train.TrainingResults`.
    seed : int
        Seeds training and the drawing of samples.
    evaluate_as : str
        What kind of model it is evaluated as: "classifier", "regressor" or "autoencoder". Empty: a classifier if
        it has `classes`, an autoencoder if its output has the shape of its input, else a regressor.
    max_accuracy_drop : float, optional
        How far the quantized model may be behind the trained one on the evaluation data: in accuracy (0.01 is one
        percentage point) or AUC; for regressors in the mean absolute error.
    verify : bool
        Whether TFLM's interpreter must run the model. False for models whose kernels only the firmware has.
    golden_vectors : int
        How many samples become golden vectors, with what TFLM makes of them.
    arena_margin : float
        What is added to the measured tensor arena, as a part of it.
    max_arena_bytes, max_flash_bytes, max_macs : int, optional
        What the target has room and time for: the tensor arena with its margin, the ``.tflite``, and
        multiply-accumulates per inference.
    header : HeaderSettings
        Form, names and place of the C sources.

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
    script: str = ""
    """Where `load_model_spec` read it: the script's absolute path."""

    def __setattr__(self, key: str, value: Any) -> None:
        """Check and set an attribute."""
        if key in ("tflite_converter", "model_parameters"):
            if not isinstance(value, Mapping):
                raise UserError(f"{key} is {value!r}", fix=f"use a dict, or set {key}[KEY] = VALUE")
            value = ConverterSettings(dict(value)) if key == "tflite_converter" else dict(value)
        elif key == "name":
            if self.name:
                raise UserError("name cannot be set", fix="rename the script: its stem is the model's name")
            if not isinstance(value, str) or not value:
                raise UserError(f"name is {value!r}, but must be a string", fix='give one, e.g. "kws"')
        elif key not in _Fields.__dataclass_fields__:
            fix = did_you_mean(key, attribute_names(), "keep values of your own in module variables")
            raise UserError(f"a ModelSpec has no attribute {key!r}", fix=fix)
        else:
            value = _checked(key, value)
        object.__setattr__(self, key, value)

    def read_by(self, names: set[str] | None) -> dict[str, Any]:
        """Return the settings that code reads which mentions these names; those that any code might, for None.

        The data and the builder are not among them: they are code themselves.
        """
        wanted = [n for n in attribute_names() if n not in ("dataset", "build_model_function")]
        found = {name: getattr(self, name) for name in wanted if names is None or name in names}
        if "tflite_converter" in found:
            found["tflite_converter"] = self.tflite_converter.canonical()
        return {name: one.data if isinstance(one, CallbackOptions) else one for name, one in found.items()}

    def finished(self) -> ModelSpec:
        """Return the specification that a script has come to, once it has run: this one."""
        return self


def attribute_names() -> list[str]:
    """Return the names of a spec's attributes."""
    return [*_Fields.__dataclass_fields__, "tflite_converter", "model_parameters"]


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not all(hasattr(size, "__index__") for size in value):
        raise UserError(f"input_shape is {value!r}", fix="give whole numbers without the batch: (49, 40, 1)")
    return tuple(int(size) for size in value)


def _checked(key: str, value: Any) -> Any:
    """Return an attribute's value, if it is of the right kind."""
    if key in CALLBACKS:
        return CallbackOptions(key, value)
    if key in ("dataset", "build_model_function", "on_training_complete", "on_quantize_complete"):
        if value is not None and not callable(value):
            raise UserError(f"{key} is {value!r}", fix="give a function, without calling it")
        return value
    if key == "input_shape" and value is not None:
        return _shape(value)
    if key not in _KINDS or (value is None and key in _OPTIONAL):
        return value
    kind, words = _KINDS[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{key} is {value!r}, but must be {words}", fix=f"set {key} to {words}")
    _check_value(key, value, words)
    return list(value) if key in ("classes", "data_files") else value


def _check_value(key: str, value: Any, words: str) -> None:
    """Raise an error for a value that is of the right kind, but out of range."""
    if key == "epochs" and value == -1:
        return
    if key in _LOWEST and not _LOWEST[key] <= value < float("inf"):
        raise UserError(f"{key} is {value}", fix=f"use {_LOWEST[key]} or more")
    if key == "evaluate_as" and value not in ("", *KINDS_OF_MODEL):
        raise UserError(f"evaluate_as is {value!r}", fix=f"use {words}")
    if key in ("classes", "data_files"):
        for item in value:
            if not isinstance(item, str):
                raise UserError(f"{key} holds {item!r}, which is not a string", fix=f"write {str(item)!r}")
