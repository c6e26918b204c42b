"""``MltkModel``: a model specification in MLTK's words, and the `ModelSpec` that it comes to."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from doit_tflm.errors import UserError, did_you_mean
from doit_tflm.mltk_compat import drawing
from doit_tflm.mltk_compat.absent import Absent, StandIn, needs_mltk
from doit_tflm.mltk_compat.mixins import (
    ALL_MIXINS,
    AudioDatasetMixin,
    DataGeneratorDatasetMixin,
    EvaluateAutoEncoderMixin,
    EvaluateClassifierMixin,
    ImageDatasetMixin,
    Mixin,
    Property,
    TrainMixin,
)
from doit_tflm.mltk_compat.utilities import create_user_dir
from doit_tflm.parameters import Typed
from doit_tflm.spec import ModelSpec, attribute_names

if TYPE_CHECKING:
    import logging

__all__ = ["MltkModel", "MltkModelEvent", "ModelParameters"]

MltkModelEvent = enum.Enum(
    "MltkModelEvent",
    "BEFORE_MODEL_LOAD AFTER_MODEL_LOAD BEFORE_LOAD_DATASET AFTER_LOAD_DATASET BEFORE_UNLOAD_DATASET "
    "AFTER_UNLOAD_DATASET SUMMARIZE_DATASET SUMMARIZE_MODEL TRAIN_STARTUP BEFORE_BUILD_TRAIN_MODEL "
    "AFTER_BUILD_TRAIN_MODEL POPULATE_TRAIN_CALLBACKS BEFORE_TRAIN AFTER_TRAIN BEFORE_SAVE_TRAIN_MODEL "
    "AFTER_SAVE_TRAIN_MODEL BEFORE_SAVE_TRAIN_RESULTS AFTER_SAVE_TRAIN_RESULTS BEFORE_SAVE_TRAIN_ARCHIVE "
    "AFTER_SAVE_TRAIN_ARCHIVE TRAIN_SHUTDOWN QUANTIZE_STARTUP BEFORE_QUANTIZE AFTER_QUANTIZE QUANTIZE_SHUTDOWN "
    "EVALUATE_STARTUP EVALUATE_SHUTDOWN GENERATE_EVALUATE_PLOT AFTER_PROFILE",
    module=__name__,
)
"""MLTK's events. Here only those of loading happen."""

_REFUSED = ("QUANTIZE_STARTUP", "BEFORE_QUANTIZE", "AFTER_QUANTIZE", "BEFORE_LOAD_DATASET", "AFTER_LOAD_DATASET")
"""Events whose handlers may change the model, and are not called."""
_DATA = ("x", "y", "validation_data")
_CHECKPOINT = {
    "monitor": "val_accuracy",
    "save_best_only": True,
    "save_weights_only": True,
    "mode": "auto",
    "save_freq": "epoch",
    "options": None,
    "verbose": 0,
}
"""What MLTK saves of the epochs of a training, unless the script says otherwise."""
_OF_A_RUN = ("class_counts", "loaded_subset")
"""What a run leaves behind: no input of it."""
_GENERAL = {"keras_custom_objects": Property(dict, (dict,)), "log_dir": Property(lambda: "", (str,))}


class ModelParameters(dict[str, Any]):
    """Entries of the parameters that are embedded in the model."""

    def put(self, key: str, value: Any, dtype: str | None = None) -> None:
        """Set an entry, with a type of MLTK's schema if one is given."""
        self[key] = value if dtype is None else Typed(dtype, value)


class MltkModel(ModelSpec):
    """A model's specification as MLTK has it: made empty, its properties set one by one.

    It has the attributes of `ModelSpec`, and the properties of MLTK's mixins that its class inherits.

    Parameters
    ----------
    model_script_path : str, optional
        What `model_specification_path` says; the file that makes the model when left out. The name is that of the
        script which is being run, in any case.

    Raises
    ------
    UserError
        When an unknown property, or one of the wrong type, is set.
    """

    def __init__(self, model_script_path: str | None = None) -> None:
        caller = sys._getframe(1).f_code.co_filename
        object.__setattr__(self, "_script", os.path.abspath(model_script_path or caller).replace("\\", "/"))
        object.__setattr__(self, "_loaded", {})
        object.__setattr__(self, "_shape", None)
        object.__setattr__(self, "_populate", [])
        object.__setattr__(self, "_handlers", [])
        super().__init__()
        object.__setattr__(self, "model_parameters", ModelParameters())
        # MLTK's defaults, where they differ.
        self.epochs, self.metrics, self.loss = 100, ["accuracy"], "categorical_crossentropy"
        self.train_callbacks = []
        if isinstance(self, TrainMixin):
            self.checkpoint = _CHECKPOINT

    _loaded: dict[str, Any]

    @classmethod
    def _properties(cls) -> dict[str, Property]:
        """Return the properties that the class has beside the attributes of a spec."""
        mixins = [base for base in cls.__mro__ if issubclass(base, Mixin)]
        return {**_GENERAL, **{name: one for base in mixins for name, one in base.properties.items()}}

    def __setattr__(self, key: str, value: Any) -> None:
        """Check and set an attribute or a property."""
        known = self._properties()
        if key.startswith("_"):
            object.__setattr__(self, key, value)
        elif key in _DATA and key in known:
            (self._loaded if "loaded_subset" in self._loaded else self.__dict__)[key] = value
        elif key in known:
            _check(key, value, known[key].kinds)
            self.__dict__[key] = value
        elif key == "model_parameters" and isinstance(value, dict):
            object.__setattr__(self, key, ModelParameters(value))
        elif key == "dataset":
            object.__setattr__(self, key, value)
        elif isinstance(value, Absent) and key in attribute_names() and key != "build_model_function":
            raise needs_mltk(repr(value))
        elif key in attribute_names() or key == "name":
            super().__setattr__(key, value)
        else:
            raise self._unknown(key, known)

    def _unknown(self, key: str, known: Iterable[str]) -> UserError:
        """Return the error for a property that there is not."""
        mixins = [mixin.__name__ for mixin in ALL_MIXINS if key in mixin.properties]
        if mixins == [DataGeneratorDatasetMixin.__name__]:
            mixins = [ImageDatasetMixin.__name__, AudioDatasetMixin.__name__]
        fix = did_you_mean(key, [*attribute_names(), *known], "keep values of your own in module variables")
        if mixins:
            fix = f"have the class inherit {' or '.join(mixins)}"
        return UserError(f"a {type(self).__name__} has no property {key!r}", fix=fix)

    def __getattr__(self, key: str) -> Any:
        """Return a property that was not set: its default, which is kept, so that it can be changed in place."""
        if key.startswith("_"):
            raise AttributeError(key)
        known = self._properties()
        if key not in known:
            raise AttributeError(str(self._unknown(key, known)))
        value = known[key].default()
        self.__dict__[key] = value
        return value

    def __getattribute__(self, key: str) -> Any:
        """Return an attribute; the data that is loaded stands before the data that was set."""
        if key in _DATA:
            loaded = object.__getattribute__(self, "_loaded")
            if key in loaded or "loaded_subset" in loaded:
                return loaded.get(key)
        return super().__getattribute__(key)

    # Properties that are worked out

    @property
    def model_specification_path(self) -> str:
        """The script's absolute path."""
        return str(self._script)

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one sample; for audio that of the spectrogram."""
        if self._shape is None and isinstance(self, AudioDatasetMixin) and isinstance(self.datagen, StandIn):
            front_end = self.datagen.settings.get("frontend_settings")
            if front_end is not None and self.datagen.settings.get("frontend_enabled", True):
                channel = (1,) if self.datagen.settings.get("add_channel_dimension", True) else ()
                return (*front_end.spectrogram_shape, *channel)
        return self._shape

    @input_shape.setter
    def input_shape(self, shape: tuple[int, ...] | None) -> None:
        self._shape = shape

    @property
    def frontend_settings(self) -> Any:
        """The settings of the audio front end."""
        return self.datagen.settings.get("frontend_settings") if isinstance(self.datagen, StandIn) else None

    @property
    def test_mode_enabled(self) -> bool:
        """Whether MLTK's dry run is on: never here."""
        return False

    @cached_property
    def cli(self) -> Any:
        """Where a script registers commands of its own for ``mltk custom``; here nothing calls them."""
        import typer

        return typer.Typer()

    # Methods that scripts call

    def set_model_parameter(self, key: str, value: Any, dtype: str | None = None) -> None:
        """Set an entry of the parameters."""
        self.model_parameters.put(key, value, dtype)  # type: ignore[attr-defined]

    def add_model_parameter_populate_callback(self, callback: Callable[[], Any]) -> None:
        """Have a function called before the parameters are read."""
        self._populate.append(callback)

    def add_event_handler(self, event: Any, handler: Callable[..., Any], **others: Any) -> None:
        """Keep a handler.

        Raises
        ------
        UserError
            If it might change what is quantized: it is not called.
        """
        if not isinstance(event, MltkModelEvent):
            raise UserError(f"{event!r} is no event", fix="use one of MltkModelEvent")
        if event.name in _REFUSED:
            raise UserError(
                f"handlers of {event.name} are not called here", fix="do it in dataset or in the settings"
            )
        self._handlers.append((event, handler, others))

    def create_log_dir(self, suffix: str = "", delete_existing: bool = False) -> str:  # noqa: FBT001, FBT002
        """Return a directory for a script's own logs, which is made; it is never emptied."""
        del delete_existing
        return create_user_dir(suffix, self.log_dir or create_user_dir(f"models/{self.name}"))

    def create_logger(self, name: str, parent: logging.Logger | None = None) -> logging.Logger:
        """Return a logger; what it prints is in the stage's log."""
        import logging

        del parent
        return logging.getLogger(f"mltk.{name}")

    def start_loading(self, subset: str) -> None:
        """Begin to load: what is set from now on is loaded, and no setting."""
        given = {key: self.__dict__.get(key) for key in _DATA} if self.dataset is None else {}
        self._loaded.clear()
        self._loaded.update({"loaded_subset": subset, **given})
        self.__dict__["loaded_subset"] = subset

    def keep_loaded(self, **data: Any) -> None:
        """Keep what was loaded."""
        self._loaded.update(data)

    def forget_loaded(self) -> None:
        """Forget what was loaded."""
        self._loaded.clear()

    # What becomes of it

    def read_by(self, names: set[str] | None) -> dict[str, Any]:
        """Return what code that mentions these names reads of the model; as `ModelSpec.read_by`."""
        found = super().read_by(names)
        kept = [name for name in self._properties() if name not in (*_OF_A_RUN, *_DATA)]
        for name in kept:
            if names is None or name in names:
                found[name] = getattr(self, name)
        for name in _DATA:
            if name in self.__dict__ and (names is None or name in names):
                found[name] = self.__dict__[name]
        if names is not None and "n_classes" in names:
            found["classes"] = self.classes
        return found

    def finished(self) -> ModelSpec:
        """Return the specification that the properties come to.

        `input_shape` is not among them: MLTK compares it with nothing, and builders take the liberty to differ.
        """
        for event, handler, others in self._handlers:
            if event.name == "AFTER_MODEL_LOAD":
                handler(mltk_model=self, logger=self.create_logger("load"), **others)
        self._register_custom_objects()
        spec = ModelSpec()
        for name in attribute_names():
            if name not in ("dataset", "input_shape", "tflite_converter", "model_parameters"):
                setattr(spec, name, getattr(self, name))
        if {**spec.checkpoint} == _CHECKPOINT:
            # Nobody asked for it. In MLTK the last epoch's weights count, whatever else is saved.
            spec.checkpoint = {}
        data = self._data()
        if data is not None:
            spec.dataset = partial(drawing.draw, self, data)
        spec.tflite_converter = {**self.tflite_converter}  # type: ignore[assignment]
        given = self.tflite_converter["representative_dataset"]
        if callable(given):
            spec.tflite_converter["representative_dataset"] = partial(
                drawing.representative_dataset, self, given, data
            )
        if self.build_model_function is not None:
            spec.build_model_function = partial(drawing.build_model, self.build_model_function, self)
        settings = {name: getattr(self, name, None) for name in drawing.TRAINING}
        spec.train_callbacks = partial(drawing.callbacks, self.train_callbacks, settings)
        spec.evaluate_as = self.evaluate_as or self._kind()
        spec.model_parameters = self._all_parameters()
        return spec

    def _data(self) -> Any:
        """Return where the data comes from, for the fingerprint; None where there is none."""
        loads = getattr(type(self), "load_dataset", None)
        if loads is None:
            return None
        if self.dataset is not None:
            return self.dataset
        set_here = {key: self.__dict__[key] for key in _DATA if self.__dict__.get(key) is not None}
        if set_here:
            return set_here
        return None if loads.__module__ == Mixin.__module__ else "load_dataset"

    def _kind(self) -> str:
        if isinstance(self, EvaluateAutoEncoderMixin):
            return "autoencoder"
        return "classifier" if isinstance(self, EvaluateClassifierMixin) else ""

    def _all_parameters(self) -> dict[str, Any]:
        """Return the parameters, with those that the mixins of data add for the device."""
        for callback in self._populate:
            callback()
        found = dict(self.model_parameters)
        if isinstance(self, DataGeneratorDatasetMixin) and isinstance(self.datagen, StandIn):
            settings = self.datagen.settings
            normalised = settings.get("samplewise_center") and settings.get("samplewise_std_normalization")
            found["samplewise_norm.rescale"] = float(settings.get("rescale") or 0)
            found["samplewise_norm.mean_and_std"] = bool(normalised)
            found.update(settings.get("frontend_settings") or {})
        return found

    def _register_custom_objects(self) -> None:
        """Let weights that are being loaded find the script's own layers."""
        there = {k: v for k, v in self.keras_custom_objects.items() if not isinstance(v, (Absent, StandIn))}
        for name in ("keras", "tf_keras"):
            if there and name in sys.modules:
                sys.modules[name].saving.get_custom_objects().update(there)


def _check(key: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Raise an error for a value that is not of the property's types."""
    if kinds and value is not None and not isinstance(value, kinds) and not callable(value):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{key} is {value!r}, but must be {names}", fix=f"set {key} to {names}, or to None")
