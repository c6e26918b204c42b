"""``mltk`` while a specification script runs: the modules of MLTK, where the real package is not installed.

``mltk.core`` has the model and its mixins. Everything else can be imported, and says that it is MLTK's when it is
used (`doit_tflm.mltk_compat.absent`).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.mltk_compat import features, mixins, model, utilities
from doit_tflm.mltk_compat.absent import Absent, AbsentModule, stand_in
from doit_tflm.mltk_compat.datasets import DATASETS

__all__ = ["is_stand_in", "standing_in"]

_ROOTS = ("cli", "core", "datasets", "models", "utils")
"""The packages of MLTK that scripts import."""
_IMAGE, _AUDIO = (f"mltk.core.preprocess.{kind}.parallel_generator" for kind in ("image", "audio"))
_CORE_ABSENT = [
    "AutoEncoderEvaluationResults",
    "ClassifierEvaluationResults",
    "EvaluationResults",
    "ProfilingModelResults",
    "TfliteModel",
    "TfliteModelParameters",
    "TrainingResults",
    "compile_model",
    "evaluate_autoencoder",
    "evaluate_classifier",
    "evaluate_model",
    "list_mltk_models",
    "load_mltk_model",
    "load_mltk_model_with_path",
    "load_tflite_model",
    "load_tflite_or_keras_model",
    "profile_model",
    "quantize_model",
    "set_mltk_logger",
    "summarize_model",
    "train_model",
    "update_model_parameters",
    "view_model",
]
_SUBMODULES = [
    "compile_model",
    "evaluate_autoencoder",
    "evaluate_classifier",
    "evaluate_model",
    "evaluation_results",
    "keras",
    "model",
    "preprocess",
    "profile_model",
    "profiling_results",
    "quantize_model",
    "summarize_model",
    "tflite_micro",
    "tflite_model",
    "tflite_model_parameters",
    "train_model",
    "training_results",
    "update_model_parameters",
    "utils",
    "view_model",
]
_MODEL = {
    **{name: getattr(mixins, name) for name in mixins.__all__ if name not in ("ALL_MIXINS", "Mixin", "Property")},
    "MltkModel": model.MltkModel,
    "MltkModelEvent": model.MltkModelEvent,
}
_CORE = {
    **{name: Absent(f"mltk.core.{name}") for name in _CORE_ABSENT},
    **_MODEL,
    "get_mltk_logger": utilities.get_mltk_logger,
}
_CONTENT: dict[str, dict[str, Any]] = {
    "mltk.core": _CORE,
    "mltk.core.model": {
        name: _CORE[name] for name in (*_MODEL, *(n for n in _CORE_ABSENT if n.startswith("load_")))
    },
    "mltk.core.utils": {"get_mltk_logger": utilities.get_mltk_logger},
    "mltk.cli": {"get_logger": utilities.get_mltk_logger},
    "mltk.utils.logger": {"get_logger": utilities.get_mltk_logger},
    "mltk.utils.path": {"create_user_dir": utilities.create_user_dir, "fullpath": utilities.fullpath},
    "mltk.utils.python": {
        name: getattr(utilities, name)
        for name in (
            "DictObject",
            "append_exception_msg",
            "as_list",
            "install_pip_package",
            "prepend_exception_msg",
        )
    },
    "mltk.core.preprocess.audio.audio_feature_generator": {
        "AudioFeatureGeneratorSettings": features.AudioFeatureGeneratorSettings
    },
    _IMAGE: {
        "ParallelImageDataGenerator": stand_in(
            f"{_IMAGE}.ParallelImageDataGenerator", validation_augmentation_enabled=True
        ),
        "ParallelProcessParams": stand_in(f"{_IMAGE}.ParallelProcessParams"),
    },
    _AUDIO: {
        "ParallelAudioDataGenerator": stand_in(f"{_AUDIO}.ParallelAudioDataGenerator"),
        "ParallelProcessParams": stand_in(f"{_AUDIO}.ParallelProcessParams"),
    },
    "mltk.core.keras.callbacks": {
        "SteppedLearnRateScheduler": stand_in("mltk.core.keras.callbacks.SteppedLearnRateScheduler")
    },
    **{f"mltk.datasets.image.{name}": content for name, content in DATASETS.items()},
    "mltk.core.keras.losses": {
        name: stand_in(f"mltk.core.keras.losses.{name}")
        for name in ("ContrastiveLoss", "Correlation", "StructuralSimilarity")
    },
}
_KERAS: dict[str, Callable[[Any], Any]] = {
    "KerasModel": lambda keras: keras.Model,
    "array_to_img": lambda keras: keras.utils.array_to_img,
    "img_to_array": lambda keras: keras.utils.img_to_array,
    "load_img": lambda keras: keras.utils.load_img,
}
"""Names of ``mltk.core.keras``, and where Keras has them; Keras is imported when one is asked for."""
_WITH_KERAS = {"mltk.core": ("KerasModel",), "mltk.core.model": ("KerasModel",), "mltk.core.keras": tuple(_KERAS)}
_STRICT = ("mltk", "mltk.core", "mltk.core.model")
"""Modules whose names are all known."""


class _Module(AbsentModule):
    """A module of the stand-in."""

    def __getattr__(self, key: str) -> Any:
        """Return a name that Keras has, or a stand-in; of a module that is known in full, nothing else."""
        name = self.__name__
        if key in _WITH_KERAS.get(name, ()):
            import keras

            return _KERAS[key](keras)
        if f"{name}.{key}" in _CONTENT and name not in _STRICT:
            # `from package import module` asks here before it looks for a module.
            return importlib.import_module(f"{name}.{key}")
        if key.startswith("__") or name not in _STRICT:
            return super().__getattr__(key)
        known = [*vars(self), *_WITH_KERAS.get(name, ()), *(_ROOTS if name == "mltk" else _SUBMODULES)]
        if name == "mltk" and key.isupper():
            return Absent(f"mltk.{key}")
        if key in known:
            # The import system tries a submodule when this fails.
            raise AttributeError(f"module {name!r} has no attribute {key!r}")
        near = difflib.get_close_matches(key, [one for one in known if not one.startswith("_")], n=1)
        raise UserError(
            f"{name} has no {key}",
            fix=f"did you mean {near[0]}?" if near else "see docs/mltk.md for what is there",
        )


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and makes the modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to make a module of MLTK; None for any other."""
        del path, target
        parts = fullname.split(".")
        if parts[0] != "mltk" or (len(parts) > 1 and parts[1] not in _ROOTS):
            return None
        parent = sys.modules.get(parts[0])
        if parent is not None and not is_stand_in(parent):
            return None  # the real package lacks it
        if fullname.startswith("mltk.core.") and parts[2] not in _SUBMODULES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return a new module."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Put in what there is."""
        names = _CONTENT.get(module.__name__, {})
        vars(module).update(names)
        if names:
            vars(module)["__all__"] = sorted([*names, *_WITH_KERAS.get(module.__name__, ())])


def is_stand_in(module: ModuleType) -> bool:
    """Tell whether a module is of the stand-in."""
    return isinstance(module, _Module)


@contextmanager
def standing_in() -> Iterator[None]:
    """Have ``mltk`` imported from here for the block, unless the real one is found."""
    finder = _Finder()
    sys.meta_path.append(finder)  # after all others
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in list(sys.modules.items()) if isinstance(module, _Module)]:
            del sys.modules[name]
