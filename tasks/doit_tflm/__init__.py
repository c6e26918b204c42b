"""doit tasks from a Keras model to int8 TensorFlow Lite Micro C arrays.

Importing this package loads nothing but itself: names are resolved when they are first used, so that the
process which doit runs in never pays for TensorFlow or NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from doit_tflm._version import __version__

if TYPE_CHECKING:
    from doit_tflm.api import quantize_model, summarize_model
    from doit_tflm.errors import UserError
    from doit_tflm.firmware import firmware_tasks
    from doit_tflm.parameters import Typed
    from doit_tflm.spec import ModelSpec
    from doit_tflm.tasks import doit_config, model_tasks

__all__ = [
    "ModelSpec",
    "Typed",
    "UserError",
    "__version__",
    "doit_config",
    "firmware_tasks",
    "model_tasks",
    "quantize_model",
    "summarize_model",
]

_HOME = {
    "ModelSpec": "doit_tflm.spec",
    "Typed": "doit_tflm.parameters",
    "UserError": "doit_tflm.errors",
    "doit_config": "doit_tflm.tasks",
    "firmware_tasks": "doit_tflm.firmware",
    "model_tasks": "doit_tflm.tasks",
    "quantize_model": "doit_tflm.api",
    "summarize_model": "doit_tflm.api",
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
