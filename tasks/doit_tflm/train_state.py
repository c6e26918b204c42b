"""The state of a training after an epoch: all that it takes to go on, in one file that is replaced as a whole."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.files import replacing
from doit_tflm.keras_io import is_keras2

__all__ = ["Progress", "arrays_of", "callbacks_of", "restore", "restore_callbacks", "state_of", "store", "stored"]

_COUNTERS = {
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
    "ModelCheckpoint": ("best",),
}
"""What Keras's callbacks remember from epoch to epoch; all else of them is set when they are made."""


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes
    ----------
    epochs : int
        How many are finished.
    stopped : bool
        Whether a callback ended it.
    history : dict
        A list of one value per epoch for each metric.
    best_epoch : int
        The one with the best monitored metric, from 1; 0 if nothing is monitored.
    callbacks : list of dict
        What each of Keras's callbacks remembers: its class, what it monitors, and numbers by name.
    facet : dict
        What the specification said about training.
    """

    epochs: int = 0
    stopped: bool = False
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    facet: dict[str, Any] = field(default_factory=dict)


def store(path: Path, progress: Progress, arrays: Mapping[str, Any]) -> None:
    """Replace the state, as a whole."""
    import numpy as np

    stream = io.BytesIO()
    text = json.dumps(asdict(progress)).encode()  # the metrics stay in their order
    np.savez(stream, **arrays, progress=np.frombuffer(text, np.uint8))
    with replacing(path) as file:
        file.write(stream.getvalue())


def stored(path: Path) -> tuple[Progress, dict[str, Any]] | None:
    """Return the state in a file; None if there is none.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    import numpy as np

    if not path.is_file():
        return None
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        progress = Progress(**json.loads(arrays.pop("progress").tobytes()))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"is damaged ({error})", str(path), "train with --clean") from None
    return progress, arrays


def state_of(model: Any) -> list[Any]:
    """Return the variables that training changes: weights, and where the random layers of Keras 3 are."""
    own = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    return [*model.weights, *([] if is_keras2(model) else own)]


def _optimizer_state(model: Any) -> list[Any]:
    optimizer = model.optimizer
    if not getattr(optimizer, "built", True):
        optimizer.build(model.trainable_variables)
    if is_keras2(model) and hasattr(optimizer, "build"):
        optimizer.build(model.trainable_variables)
    variables = optimizer.variables
    return list(variables() if callable(variables) else variables)


def arrays_of(model: Any, callbacks: Sequence[Any]) -> dict[str, Any]:
    """Return all arrays of a state by name."""
    import numpy as np

    arrays = {f"model/{place}": np.asarray(one) for place, one in enumerate(state_of(model))}
    arrays |= {f"optimizer/{place}": np.asarray(one) for place, one in enumerate(_optimizer_state(model))}
    rate = model.optimizer.learning_rate
    if hasattr(rate, "assign"):
        arrays["rate"] = np.asarray(rate)
    for number, callback in enumerate(callbacks):
        for place, array in enumerate(getattr(callback, "best_weights", None) or ()):
            arrays[f"callback{number}/{place}"] = np.asarray(array)
    return arrays


def callbacks_of(callbacks: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what Keras's callbacks remember."""
    found = []
    for callback in callbacks:
        kind = type(callback).__name__
        values = {name: getattr(callback, name, None) for name in _COUNTERS.get(kind, ())}
        numbers = {name: float(value) for name, value in values.items() if value is not None}
        found.append({"class": kind, "monitor": getattr(callback, "monitor", None), "numbers": numbers})
    return found


def restore(model: Any, arrays: Mapping[str, Any]) -> None:
    """Set a model's and its optimizer's variables.

    Raises
    ------
    UserError
        If they are not the ones that the state was taken of.
    """
    for what, variables in (("model", state_of(model)), ("optimizer", _optimizer_state(model))):
        kept = [arrays[name] for name in _numbered(arrays, what)]
        if [tuple(array.shape) for array in kept] != [tuple(variable.shape) for variable in variables]:
            raise UserError(
                f"the {what} is another than that of the training that was interrupted",
                fix="undo the change, or train anew, without --resume",
            )
        for variable, array in zip(variables, kept, strict=True):
            variable.assign(array)
    if "rate" in arrays and hasattr(model.optimizer.learning_rate, "assign"):
        model.optimizer.learning_rate.assign(arrays["rate"])


def restore_callbacks(
    callbacks: Sequence[Any], remembered: Sequence[Mapping[str, Any]], arrays: Mapping[str, Any]
) -> None:
    """Give Keras's callbacks their memory back, as far as they are the same ones."""
    for number, (callback, one) in enumerate(zip(callbacks, remembered, strict=False)):
        if (type(callback).__name__, getattr(callback, "monitor", None)) != (one["class"], one.get("monitor")):
            continue
        for name, value in one["numbers"].items():
            setattr(callback, name, value if name == "best" else int(value))
        weights = [arrays[name] for name in _numbered(arrays, f"callback{number}")]
        if weights:
            callback.best_weights = weights


def _numbered(arrays: Mapping[str, Any], group: str) -> list[str]:
    """Return the names of a group's arrays, in order."""
    names = [name for name in arrays if name.startswith(f"{group}/")]
    return sorted(names, key=lambda name: int(name.rpartition("/")[2]))
