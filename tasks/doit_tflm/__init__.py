"""doit tasks from a Keras model to int8 TensorFlow Lite Micro C arrays.

Importing this package loads nothing but itself: names are resolved when they are first used, so that the
process which doit runs in never pays for TensorFlow or NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from doit_tflm._version import __version__

if TYPE_CHECKING:
    from doit_tflm.api import evaluate_model, load_model_spec, quantize_model
    from doit_tflm.api_made import summarize_model, update_model_parameters
    from doit_tflm.errors import UserError
    from doit_tflm.firmware import firmware_tasks
    from doit_tflm.parameters import Typed
    from doit_tflm.spec import ModelSpec
    from doit_tflm.tasks import doit_config, model_tasks
    from doit_tflm.tflite_model import TfliteModel
    from doit_tflm.training import train_model

__all__ = [
    "ModelSpec",
    "TfliteModel",
    "Typed",
    "UserError",
    "__version__",
    "doit_config",
    "evaluate_model",
    "firmware_tasks",
    "load_model_spec",
    "model_tasks",
    "quantize_model",
    "summarize_model",
    "train_model",
    "update_model_parameters",
]

_HOME = {
    "ModelSpec": "doit_tflm.spec",
    "TfliteModel": "doit_tflm.tflite_model",
    "Typed": "doit_tflm.parameters",
    "UserError": "doit_tflm.errors",
    "doit_config": "doit_tflm.tasks",
    "evaluate_model": "doit_tflm.api",
    "firmware_tasks": "doit_tflm.firmware",
    "load_model_spec": "doit_tflm.api",
    "model_tasks": "doit_tflm.tasks",
    "quantize_model": "doit_tflm.api",
    "summarize_model": "doit_tflm.api_made",
    "update_model_parameters": "doit_tflm.api_made",
    "train_model": "doit_tflm.training",
}


def __getattr__(name: str) -> Any:
    """Import the module that defines `name` (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
