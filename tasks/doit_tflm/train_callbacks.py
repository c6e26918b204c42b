"""The callbacks of a training: those that the specification asks for, and the one that keeps its state."""

from __future__ import annotations

import importlib.util
import inspect
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from doit_tflm import train_state
from doit_tflm.callback_options import CALLBACKS, CallbackOptions
from doit_tflm.errors import UserError, did_you_mean
from doit_tflm.keras_io import is_keras2
from doit_tflm.spec import ModelSpec
from doit_tflm.train_state import Progress
from doit_tflm.worker_main import progress

__all__ = ["Keeper", "Plan", "asked_for", "keras_of", "weights_files"]

MAX_FILES = 10
MAX_BYTES = 50_000_000
"""What is kept of the weights of single epochs: the newest, and the best in any case."""


def keras_of(model: Any) -> Any:
    """Return the Keras that a model is of."""
    if is_keras2(model):
        import tf_keras as keras
    else:
        import keras
    return keras


def asked_for(spec: ModelSpec, given: Sequence[Any], model: Any, work: Path) -> dict[str, Any]:
    """Return the callbacks that the specification's options ask for, by attribute.

    As in MLTK, an option gives way to a callback of its class in `train_callbacks`, and `reduce_lr_on_plateau` to
    `lr_schedule`.

    Parameters
    ----------
    spec : ModelSpec
        The specification.
    given : sequence
        The callbacks of `train_callbacks`.
    model : keras.Model
        The model; the callbacks are those of its Keras.
    work : Path
        Where they write.
    """
    keras = keras_of(model)
    found = {}
    for name, (kind, _) in CALLBACKS.items():
        options: CallbackOptions = getattr(spec, name)
        taken = any(isinstance(one, getattr(keras.callbacks, kind)) for one in given)
        if options and not taken and not (name == "reduce_lr_on_plateau" and spec.lr_schedule):
            found[name] = _made(keras, options, work, keras_2=is_keras2(model))
    return found


def _made(keras: Any, options: CallbackOptions, work: Path, *, keras_2: bool) -> Any:
    """Return a Keras callback with these options."""
    values = {key: value for key, value in options.items() if (key, value) != ("options", None)}
    kind = getattr(keras.callbacks, options.keras_class)
    if options.attribute == "checkpoint":
        values = {"monitor": "val_loss", "save_best_only": True, "save_weights_only": True, **values}
        suffix = ".h5" if keras_2 else ".weights.h5" if values["save_weights_only"] else ".keras"
        values["filepath"] = str(work / f"weights/weights-{{epoch:03d}}-{{{values['monitor']}:.4f}}{suffix}")
    if options.attribute == "tensorboard":
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError("tensorboard is set, but TensorBoard is not installed", fix="pip install tensorboard")
        values["log_dir"] = str(work / "tensorboard")
    if options.attribute == "lr_schedule" and "schedule" not in values:
        raise UserError("lr_schedule has no 'schedule'", fix="set it to a function of epoch and learning rate")
    unknown = [key for key in values if key not in inspect.signature(kind.__init__).parameters]
    if unknown:
        raise UserError(
            f"{options.attribute}[{unknown[0]!r}] is unknown to this Keras, {keras.__version__}", fix="take it out"
        )
    return kind(**values)


def weights_files(work: Path, best_epoch: int, upto: int | None = None) -> list[Path]:
    """Return the weights of epochs that are kept, oldest first, and remove the others.

    Parameters
    ----------
    work : Path
        The training's directory.
    best_epoch : int
        The epoch that is kept in any case.
    upto : int, optional
        The last epoch that counts: what is later was left by a training that was killed.
    """
    every = sorted((work / "weights").glob("weights-*"), key=epoch_of, reverse=True)
    kept: list[Path] = []
    size = 0
    for path in sorted(every, key=lambda path: epoch_of(path) != best_epoch):
        is_past = upto is None or epoch_of(path) <= upto
        size += path.stat().st_size
        if is_past and (epoch_of(path) == best_epoch or (len(kept) < MAX_FILES and size <= MAX_BYTES)):
            kept.append(path)
        else:
            path.unlink()
    return sorted(kept, key=epoch_of)


def epoch_of(path: Path) -> int:
    """Return the epoch that a file of weights is of, from 1."""
    return int(path.name.split("-")[1])


@dataclass(frozen=True)
class Plan:
    """What is known of a training before it begins.

    Attributes
    ----------
    work : Path
        Its directory.
    stores : bool
        Whether its state is stored after each epoch.
    facet : dict
        What the specification says about training.
    seed : int
        The specification's.
    epochs : int
        How many there will be; 0 if that is not known.
    """

    work: Path
    stores: bool
    facet: dict[str, Any]
    seed: int
    epochs: int


class Keeper:
    """Watches a training: it tells the epochs, stops what cannot come to anything, and stores what is done.

    Parameters
    ----------
    model : keras.Model
        The model.
    named : mapping
        The callbacks that options ask for, by attribute.
    every : sequence
        All callbacks but the keeper's own.
    plan : Plan
        What is known of the training.

    Attributes
    ----------
    progress : Progress
        How far it has come.
    """

    def __init__(self, model: Any, named: Mapping[str, Any], every: Sequence[Any], plan: Plan) -> None:
        self.progress = Progress(facet=plan.facet)
        self._model, self._named, self._every, self._plan = model, named, every, plan
        self._from: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        """Where the state is."""
        return self._plan.work / "state.npz"

    def resume(self, found: Progress, arrays: dict[str, Any]) -> None:
        """Go on from a state."""
        self.progress = replace(found, facet=self.progress.facet)
        self._from = arrays

    def callbacks(self) -> list[Any]:
        """Return all callbacks, for ``model.fit``: the first looks at what the others get, the last stores it."""
        make = keras_of(self._model).callbacks.LambdaCallback
        first = make(on_epoch_begin=self._begin_epoch, on_epoch_end=self._check)
        last = make(on_train_begin=self._begin, on_epoch_end=self._end_epoch)
        return [first, *self._every, last]

    def _begin(self, logs: Any = None) -> None:
        """Put back what was stored: now everything is built, and the callbacks have forgotten an earlier run."""
        del logs
        if self._from is not None:
            train_state.restore(self._model, self._from)
            train_state.restore_callbacks(self._every, self.progress.callbacks, self._from)
            self._from = None

    def _begin_epoch(self, epoch: int, logs: Any = None) -> None:
        """Seed what the user's generators may draw from, so that an epoch is the same if it is resumed from."""
        del logs
        random.seed(self._plan.seed + epoch)
        sys.modules["numpy"].random.seed((self._plan.seed + epoch) % 2**32)

    def _check(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Raise an error where the numbers are none, or where what is to be watched is not there."""
        logs = logs or {}
        for name in ("loss", "val_loss"):
            if name in logs and not math.isfinite(float(logs[name])):
                raise UserError(
                    f"{name} is {float(logs[name])} after epoch {epoch + 1}: training has diverged",
                    fix="lower the learning rate, and look for NaN in the data; the archive is as it was",
                )
        for attribute, callback in self._named.items():
            monitor = getattr(callback, "monitor", None)
            if monitor is not None and monitor not in logs:
                fix = did_you_mean(monitor, logs, f"there are {', '.join(sorted(logs))}")
                raise UserError(f"{attribute} monitors {monitor!r}, which there is not", fix=fix)

    def _end_epoch(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take down an epoch's results, and store the state."""
        before = self.progress
        # A specification that was edited before it was resumed may have other metrics.
        none = [math.nan] * epoch
        found = {**dict.fromkeys(before.history, math.nan), **(logs or {})}
        history = {key: [*before.history.get(key, none), float(value)] for key, value in found.items()}
        self.progress = Progress(
            epoch + 1,
            bool(self._model.stop_training),
            history,
            self._best(history, epoch + 1),
            train_state.callbacks_of(self._every),
            before.facet,
        )
        if "checkpoint" in self._named:
            weights_files(self._plan.work, self.progress.best_epoch)
        if self._plan.stores:
            train_state.store(self.path, self.progress, train_state.arrays_of(self._model, self._every))
        told = ", ".join(f"{key} {values[-1]:.4g}" for key, values in sorted(history.items()))
        progress(f"training ({told})", epoch + 1, self._plan.epochs)

    def _best(self, history: Mapping[str, list[float]], epoch: int) -> int:
        """Return the best epoch so far, by what `checkpoint` monitors; 0 if it does not."""
        callback = self._named.get("checkpoint")
        if callback is None:
            return 0
        values = history[callback.monitor]
        if not self.progress.best_epoch:
            return epoch
        best = values[self.progress.best_epoch - 1]
        if math.isnan(best):
            return epoch
        is_better = values[-1] > best if callback.monitor_op.__name__ == "greater" else values[-1] < best
        return epoch if is_better else self.progress.best_epoch
