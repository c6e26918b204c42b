"""What a training leaves in the archive: the saved model, the log, and a picture of the history."""

from __future__ import annotations

import io
import json
import math
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doit_tflm import archive
from doit_tflm.keras_io import is_keras2

__all__ = ["json_of", "log_of", "picture_of", "saved"]


def saved(model: Any, name: str) -> tuple[str, bytes]:
    """Return the member's name and the bytes of a model without its optimizer, the same for equal weights."""
    with tempfile.TemporaryDirectory() as scratch:
        if is_keras2(model):
            path = Path(scratch) / f"{name}.h5"
            model.save(path, include_optimizer=False)
            return path.name, path.read_bytes()
        import keras

        path = Path(scratch) / f"{name}.keras"
        model.save(path)
        keras.models.load_model(path, compile=False).save(path)
        return path.name, _without_date(path.read_bytes())


def _without_date(content: bytes) -> bytes:
    """Return a ``.keras`` file without the moment of its making, in its metadata and its zip directory."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in sorted(old.namelist()):
            part = old.read(name)
            if name == "metadata.json":
                metadata = json.loads(part)
                metadata.pop("date_saved", None)
                part = json.dumps(metadata, sort_keys=True).encode()
            archive.add_member(new, name, part)
    return stream.getvalue()


def log_of(history: Mapping[str, list[float]]) -> str:
    """Return the history as a table, a line per epoch."""
    keys = sorted(history)
    rows = [" ".join(["epoch", *(f"{key:>14}" for key in keys)])]
    for epoch, values in enumerate(zip(*(history[key] for key in keys), strict=True), 1):
        rows.append(" ".join([f"{epoch:>5}", *(f"{value:>14.6g}" for value in values)]))
    return "\n".join(rows) + "\n"


def json_of(history: Mapping[str, list[float]]) -> str:
    """Return the history as JSON: null for what an epoch did not have."""
    values = {key: [None if math.isnan(value) else value for value in each] for key, each in history.items()}
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def picture_of(history: Mapping[str, list[float]], name: str) -> bytes:
    """Return a picture of the history: a panel per metric, training and validation in it."""
    from matplotlib.figure import Figure

    metrics = [key for key in history if not key.startswith("val_")]
    figure = Figure(figsize=(5 * len(metrics), 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        for key, label in ((metric, "training"), (f"val_{metric}", "validation")):
            if key in history:
                axes.plot(range(1, len(history[key]) + 1), history[key], label=label)
        axes.set(title=f"{name}: {metric}", xlabel="epoch")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return stream.getvalue()
