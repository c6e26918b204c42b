"""Weights of single epochs, by the names that Keras's ModelCheckpoint gives them: ``weights-007-0.9312.h5``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from doit_tflm.errors import UserError

__all__ = ["best_epoch"]

_HIGHER = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "fbeta",
    "sensitivity",
    "specificity",
    "iou",
    "io_u",
    "r2",
    "similarity",
)
_LOWER = (
    "loss",
    "error",
    "crossentropy",
    "mae",
    "mse",
    "mape",
    "msle",
    "hinge",
    "divergence",
    "poisson",
    "logcosh",
)
"""What is in the names of metrics of Keras's that are to be high, and to be low."""
_NAME = re.compile(r"weights-(?P<epoch>\d+)-(?P<value>-?\d+\.\d+)\.")


def best_epoch(names: Iterable[str], history: Mapping[str, Sequence[float | None]]) -> str:
    """Return the name of the best epoch's weights.

    A name holds the value of the metric that was monitored. Which one that was is found in the history, and its
    name tells whether higher is better, as far as it is one of Keras's.

    Parameters
    ----------
    names : iterable of str
        The files.
    history : mapping of str to sequence of float
        A value per epoch for each metric; None where the epoch did not have it.

    Raises
    ------
    UserError
        If no name, or no metric, tells.
    """
    found = {name: match for name in names if (match := _NAME.match(name))}
    values = {name: (int(match["epoch"]), match["value"]) for name, match in found.items()}
    fitting = [metric for metric, each in history.items() if all(_is_of(each, *one) for one in values.values())]
    monitored = [metric for metric in fitting if not metric.startswith("learning_rate")]
    higher = {_is_higher_better(metric) for metric in monitored}
    told = f"{', '.join(monitored)} fit their names" if monitored else "no metric of the training's history fits"
    if higher == {None}:
        told = f"{', '.join(monitored)} may be to be high, or low"
    if not values or len(higher) != 1 or None in higher:
        raise UserError(f"which epoch is the best cannot be told: {told}", fix="name the file of one")
    # Of equals the first, which Keras would have kept.
    order = sorted(values, key=lambda name: values[name][0])
    return (max if higher.pop() else min)(order, key=lambda name: float(values[name][1]))


def _is_higher_better(metric: str) -> bool | None:
    """Tell whether a metric is to be high; None where its name does not tell."""
    high, low = (any(word in metric for word in words) for words in (_HIGHER, _LOWER))
    return None if high == low else high


def _is_of(each: Sequence[float | None], epoch: int, value: str) -> bool:
    """Tell whether a metric had a value, as it is written in a name, in an epoch, counted from 1."""
    had = each[epoch - 1] if 0 < epoch <= len(each) else None
    return had is not None and f"{had:.{len(value.partition('.')[2])}f}" == value
