"""Weights of single epochs, by the names that Keras's ModelCheckpoint gives them: ``weights-007-0.9312.h5``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from doit_tflm.errors import UserError

__all__ = ["best_epoch"]

_NAME = re.compile(r"weights-(?P<epoch>\d+)-(?P<value>-?\d+\.\d+)\.")


def best_epoch(names: Iterable[str], history: Mapping[str, Sequence[float]]) -> str:
    """Return the name of the best epoch's weights.

    A name holds the value of the metric that was monitored. Which one that was, and so whether higher is better,
    is found in the history: as Keras does, metrics with "acc" or "auc" in their names are to be high, others low.

    Parameters
    ----------
    names : iterable of str
        The files.
    history : mapping of str to sequence of float
        A value per epoch for each metric.

    Raises
    ------
    UserError
        If no name, or no metric, tells.
    """
    found = {name: match for name in names if (match := _NAME.match(name))}
    values = {name: (int(match["epoch"]), match["value"]) for name, match in found.items()}
    monitored = [metric for metric, each in history.items() if all(_is_of(each, *one) for one in values.values())]
    higher = {any(word in metric for word in ("acc", "auc")) for metric in monitored}
    if not values or len(higher) != 1:
        told = f"{', '.join(monitored)} fit" if monitored else "no metric of the training's history fits"
        raise UserError(f"which epoch is the best cannot be told: {told} their names", fix="name the file of one")
    # Of equals the first, which Keras would have kept.
    order = sorted(values, key=lambda name: values[name][0])
    return (max if higher.pop() else min)(order, key=lambda name: float(values[name][1]))


def _is_of(each: Sequence[float], epoch: int, value: str) -> bool:
    """Tell whether a metric had a value, as it is written in a name, in an epoch, counted from 1."""
    return 0 < epoch <= len(each) and f"{each[epoch - 1]:.{len(value.partition('.')[2])}f}" == value
