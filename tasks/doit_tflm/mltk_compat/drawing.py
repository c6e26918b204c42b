"""A model of MLTK at work: its data, its builder and its callbacks, as functions that `ModelSpec` takes.

They are bound with `functools.partial`, whose arguments a fingerprint follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol

from doit_tflm.errors import UserError
from doit_tflm.mltk_compat.absent import WAY_OUT, Absent, StandIn, needs_mltk

__all__ = [
    "TRAINING",
    "Loads",
    "build_model",
    "callbacks",
    "draw",
    "load",
    "load_arrays",
    "representative_dataset",
]

_HARMLESS = (
    "batch_size",
    "cores",
    "debug",
    "disable_gpu_in_subprocesses",
    "dtype",
    "fill_mode",
    "max_batches_pending",
    "random_transforms_enabled",
    "save_format",
    "save_prefix",
    "save_to_dir",
    "validation_augmentation_enabled",
)
"""Settings of a generator that change no sample."""
_ALWAYS = (
    "featurewise_center",
    "featurewise_std_normalization",
    "get_batch_function",
    "max_samples_per_class",
    "noaug_preprocessing_function",
    "preprocessing_function",
    "rescale",
    "samplewise_center",
    "samplewise_std_normalization",
    "validation_split",
    "zca_whitening",
)
"""Settings that change samples without augmentation, too."""
_RESULTS = "return None, x, (x, y) or (x, None, validation_data)"
TRAINING = (
    "class_weights",
    "on_save_keras_model",
    "sample_weight",
    "shuffle",
    "steps_per_epoch",
    "train_kwargs",
    "validation_split",
)
"""Properties that change what training makes, and that training here does not follow."""


class Loads(Protocol):
    """What a model has that data can be loaded into."""

    x: Any
    y: Any
    validation_data: Any
    dataset: Any

    def load_dataset(self, subset: str, test: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002
        """Load a subset."""

    def start_loading(self, subset: str) -> None:
        """Begin to load."""

    def keep_loaded(self, **data: Any) -> None:
        """Keep what was loaded."""

    def forget_loaded(self) -> None:
        """Forget what was loaded."""


class LoadsGenerated(Loads, Protocol):
    """What such a model has that may use MLTK's generators."""

    datagen: Any
    validation_datagen: Any


def draw(model: Loads, given: Any, subset: str) -> Any:
    """Return the data of a subset as `ModelSpec.dataset` does.

    Parameters
    ----------
    model : Loads
        The model.
    given : object
        Its dataset: here for the fingerprint.
    subset : str
        ``"training"``, ``"validation"`` or ``"evaluation"``.
    """
    del given
    model.forget_loaded()
    model.load_dataset(subset=subset, test=False)
    if subset == "validation" and model.validation_data is not None:
        return _plain(model.validation_data)
    if model.x is None:
        return None
    return _plain(model.x if model.y is None else (model.x, model.y))


def _plain(data: Any) -> Any:
    """Return data, unless it is to come out of MLTK's code."""
    for part in data if isinstance(data, tuple) else (data,):
        if isinstance(part, (StandIn, Absent)):
            raise needs_mltk(repr(part), WAY_OUT)
    return data


def load(model: Loads, subset: str, test: bool, others: Mapping[str, Any]) -> None:  # noqa: FBT001 - MLTK's
    """Load a subset as MLTK does: from a function, or from what has ``load_dataset``."""
    model.start_loading(subset)
    given = model.dataset
    if given is None:
        return
    if isinstance(given, Absent):
        raise needs_mltk(repr(given), WAY_OUT)
    loader = given if callable(given) else getattr(given, "load_dataset", None)
    if loader is None:
        kind = "module" if isinstance(given, ModuleType) else type(given).__name__
        raise UserError(
            f"dataset is a {kind} without load_dataset", fix="write load_dataset(subset, test, **kwargs)"
        )
    made = loader(subset=subset, test=test, mltk_model=model, **others)
    if isinstance(made, str) or (isinstance(made, tuple) and len(made) > 3):
        raise UserError(
            f"dataset returns {type(made).__name__ if isinstance(made, str) else 'a long tuple'}", fix=_RESULTS
        )
    if made is not None:
        parts = made if isinstance(made, tuple) else (made,)
        model.keep_loaded(**dict(zip(("x", "y", "validation_data"), parts, strict=False)))


def load_arrays(model: LoadsGenerated, subset: str) -> None:
    """Load what ImageDatasetMixin and AudioDatasetMixin take, where no generator of MLTK's has a part in it.

    Raises
    ------
    UserError
        If MLTK's generator would read, or change, the samples.
    """
    model.start_loading(subset)
    given, generator = model.dataset, model.datagen
    if subset != "training" and model.validation_datagen is not None:
        generator = model.validation_datagen
    name = repr(generator) if isinstance(generator, StandIn) else "a data generator"
    if isinstance(given, Absent):
        raise needs_mltk(repr(given), WAY_OUT)
    made = given() if callable(given) else given.load_data() if hasattr(given, "load_data") else given
    if isinstance(made, (tuple, list)) and len(made) == 4:
        made = (made[0], made[1]), (made[2], made[3])
    if not isinstance(made, (tuple, list)) or len(made) != 2:
        raise needs_mltk(f"{name} to read {made!r}", WAY_OUT)
    changes = _changes(generator, training=subset == "training")
    if changes:
        raise needs_mltk(f"{name} for its {', '.join(changes)}", WAY_OUT)
    x, y = made[0] if subset == "training" else made[1]
    model.keep_loaded(x=x, y=y)


def _changes(generator: Any, *, training: bool) -> list[str]:
    """Return the settings of a generator that change samples."""
    if generator is None:
        return []
    if not isinstance(generator, StandIn):
        return [f"class {type(generator).__qualname__}"]
    settings = generator.settings
    augments = training or settings.get("validation_augmentation_enabled", True)
    return sorted(
        key
        for key, value in settings.items()
        if value not in (None, False, 0, 0.0, -1, ()) and key not in _HARMLESS and (augments or key in _ALWAYS)
    )


def representative_dataset(model: Loads, given: Callable[[], Any], data: Any) -> Any:
    """Return what the script's generator function yields; the validation data is loaded first, as MLTK does.

    Parameters
    ----------
    model : Loads
        The model.
    given : callable
        The generator function.
    data : object
        The model's dataset: here for the fingerprint.
    """
    if data is not None:
        model.forget_loaded()
        model.load_dataset(subset="validation", test=False)
    yield from given()


def build_model(given: Callable[[Any], Any], model: Loads, spec: object) -> Any:
    """Return what the script's builder makes of the model as MLTK knows it."""
    del spec
    return given(model)


def _is_nothing(name: str, value: Any) -> bool:
    """Tell whether a property asks for no more than what training does."""
    if name == "shuffle":
        return value is None or value is True
    return value is None or (isinstance(value, (dict, list, int, float, str)) and not value)


def callbacks(given: Any, settings: Mapping[str, Any]) -> list[Any]:
    """Return the training's Keras callbacks.

    Parameters
    ----------
    given : list
        ``train_callbacks``.
    settings : mapping
        What else the model says of training, by property.

    Raises
    ------
    UserError
        If training would not be what the script asks for.
    """
    unfollowed = [name for name in TRAINING if not _is_nothing(name, settings.get(name))]
    if unfollowed:
        fix = "train with MLTK and quantize here, or take it out"
        raise UserError(f"asks for {' and '.join(unfollowed)}, which `doit train` does not follow", fix=fix)
    found = list(given)
    for callback in found:
        if isinstance(callback, (StandIn, Absent)):
            raise needs_mltk(repr(callback))
    return found
