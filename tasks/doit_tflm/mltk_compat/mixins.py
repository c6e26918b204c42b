"""MLTK's mixins: which properties each gives a model.

What has a meaning here is an attribute of `ModelSpec`. The properties below are those that have none, or that
`doit_tflm.mltk_compat` makes something of; each is kept as the script sets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from doit_tflm.mltk_compat import drawing

__all__ = [
    "ALL_MIXINS",
    "AudioDatasetMixin",
    "DataGeneratorDatasetMixin",
    "DatasetMixin",
    "EvaluateAutoEncoderMixin",
    "EvaluateClassifierMixin",
    "EvaluateMixin",
    "ImageDatasetMixin",
    "Mixin",
    "MltkDataset",
    "Property",
    "SshMixin",
    "TrainMixin",
    "WeightsAndBiasesMixin",
]


class Property(NamedTuple):
    """A property: what makes its default, and the types that a value may have (none: any); None is always one."""

    default: Callable[[], Any] = lambda: None
    kinds: tuple[type, ...] = ()


def _of(*kinds: type) -> Property:
    return Property(kinds=kinds)


_ANY, _BOOL, _INT, _STR, _DICT, _LIST = Property(), _of(bool), _of(int), _of(str), _of(dict), _of(list, tuple)


class Mixin:
    """What all mixins have: a table of properties."""

    properties: ClassVar[dict[str, Property]] = {}


class TrainMixin(Mixin):
    """Training."""

    properties: ClassVar[dict[str, Property]] = {
        "on_save_keras_model": _ANY,
        "train_kwargs": Property(dict, (dict,)),
    }


class MltkDataset:
    """A data set as an object: `load_dataset` is to be written."""

    def load_dataset(self, subset: str, test: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        """Return x, ``(x, y)`` or ``(x, None, validation_data)``; or set them on the model, and return None."""
        del subset, test, kwargs

    def unload_dataset(self) -> None:
        """Let go of what `load_dataset` took."""

    def summarize_dataset(self) -> str:
        """Return a description."""
        return ""

    @staticmethod
    def summarize_class_counts(class_counts: dict[str, Any]) -> str:
        """Return the number of samples of each class as text."""
        nested = any(isinstance(counts, dict) for counts in class_counts.values())
        lines = []
        for subset, counts in class_counts.items() if nested else [("all", class_counts)]:
            lines += [f"{subset}: {sum(counts.values())} samples"] * bool(counts)
            lines += [f"  {name}: {number}" for name, number in counts.items()]
        return "".join(f"{line}\n" for line in lines)


class DatasetMixin(Mixin):
    """Data from a function, an object with ``load_dataset``, or the properties x, y and validation_data."""

    properties: ClassVar[dict[str, Property]] = {
        "x": _ANY,
        "y": _ANY,
        "validation_data": _ANY,
        "validation_split": Property(lambda: 0.0, (float, int)),
        "shuffle": Property(lambda: True, (bool, str)),
        "class_weights": _of(str, dict, list),
        "class_counts": Property(lambda: {"training": {}, "validation": {}, "evaluation": {}}, (dict,)),
        "sample_weight": _ANY,
        "steps_per_epoch": _INT,
        "validation_steps": _INT,
        "validation_batch_size": _INT,
        "validation_freq": Property(lambda: 1, (int, list, tuple)),
        "loaded_subset": _STR,
    }

    def load_dataset(self: drawing.Loads, subset: str, test: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002
        """Load a subset into x, y and validation_data."""
        drawing.load(self, subset, test, kwargs)

    def unload_dataset(self: drawing.Loads) -> None:
        """Forget what was loaded."""
        self.forget_loaded()

    def summarize_dataset(self) -> str:
        """Return a description."""
        return ""


class DataGeneratorDatasetMixin(DatasetMixin):
    """Data from MLTK's generators."""

    properties: ClassVar[dict[str, Property]] = {
        "datagen": _ANY,
        "validation_datagen": _ANY,
        "datagen_context": _ANY,
        "class_mode": Property(lambda: "categorical", (str,)),
        "follow_links": Property(lambda: True, (bool,)),
        "shuffle_dataset_enabled": Property(lambda: False, (bool,)),
    }

    def load_dataset(self: drawing.LoadsGenerated, subset: str, test: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002
        """Load a subset, as far as it needs no generator of MLTK's."""
        del test, kwargs
        drawing.load_arrays(self, subset)


class ImageDatasetMixin(DataGeneratorDatasetMixin):
    """Images: arrays, or a directory that MLTK's generator reads."""

    properties: ClassVar[dict[str, Property]] = {
        "target_size": _LIST,
        "color_mode": Property(lambda: "auto", (str,)),
        "interpolation": Property(lambda: "bilinear", (str,)),
        "image_classes": _LIST,
        "image_input_shape": _LIST,
    }


class AudioDatasetMixin(DataGeneratorDatasetMixin):
    """Audio, which MLTK's generator makes spectrograms of."""

    properties: ClassVar[dict[str, Property]] = {
        "sample_length_ms": _INT,
        "sample_rate_hz": _INT,
        "audio_classes": _LIST,
        "audio_input_shape": _LIST,
    }


class EvaluateMixin(Mixin):
    """Evaluation."""

    properties: ClassVar[dict[str, Property]] = {"eval_steps_per_epoch": _INT, "eval_custom_function": _ANY}


class EvaluateClassifierMixin(EvaluateMixin):
    """Evaluation as a classifier."""

    properties: ClassVar[dict[str, Property]] = {
        "eval_shuffle": Property(lambda: False, (bool,)),
        "eval_augment": Property(lambda: False, (bool,)),
        "eval_max_samples_per_class": Property(lambda: -1, (int,)),
    }


class EvaluateAutoEncoderMixin(EvaluateClassifierMixin):
    """Evaluation as an autoencoder."""

    properties: ClassVar[dict[str, Property]] = {"scoring_function": _ANY, "eval_classes": _LIST}


class SshMixin(Mixin):
    """MLTK's training on another machine."""

    properties: ClassVar[dict[str, Property]] = {
        "ssh_remote_dir": _STR,
        "ssh_startup_cmds": _LIST,
        "ssh_shutdown_cmds": _LIST,
        "ssh_upload_files": _LIST,
        "ssh_download_files": _LIST,
        "ssh_environment": _ANY,
        "ssh_create_venv": _BOOL,
    }


class WeightsAndBiasesMixin(Mixin):
    """Logging to Weights & Biases."""

    properties: ClassVar[dict[str, Property]] = {
        "wandb_is_initialized": _BOOL,
        "wandb_is_disabled": _BOOL,
        "wandb_init_kwargs": Property(dict, (dict,)),
        "wandb_config": Property(dict, (dict,)),
        "wandb_callback": _ANY,
        "wandb_model_checkpoint_callback": _ANY,
        "wandb_session_id": _STR,
    }


ALL_MIXINS: tuple[type[Mixin], ...] = (
    TrainMixin,
    DatasetMixin,
    DataGeneratorDatasetMixin,
    ImageDatasetMixin,
    AudioDatasetMixin,
    EvaluateMixin,
    EvaluateClassifierMixin,
    EvaluateAutoEncoderMixin,
    SshMixin,
    WeightsAndBiasesMixin,
)
