"""`CallbackOptions`: what a specification says to Keras's own training callbacks, in MLTK's words."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any

from doit_tflm.errors import UserError, did_you_mean

__all__ = ["CALLBACKS", "CallbackOptions"]

_MONITOR = ("monitor", "mode", "verbose")

CALLBACKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tensorboard": (
        "TensorBoard",
        (
            "histogram_freq",
            "write_graph",
            "write_images",
            "write_steps_per_second",
            "update_freq",
            "profile_batch",
            "embeddings_freq",
            "embeddings_metadata",
        ),
    ),
    "checkpoint": (
        "ModelCheckpoint",
        (
            *_MONITOR,
            "save_best_only",
            "save_weights_only",
            "save_freq",
            "options",
            "initial_value_threshold",
        ),
    ),
    "lr_schedule": ("LearningRateScheduler", ("schedule", "verbose")),
    "early_stopping": (
        "EarlyStopping",
        (*_MONITOR, "min_delta", "patience", "baseline", "restore_best_weights", "start_from_epoch"),
    ),
    "reduce_lr_on_plateau": (
        "ReduceLROnPlateau",
        (*_MONITOR, "factor", "patience", "min_delta", "cooldown", "min_lr"),
    ),
}
"""The spec's attributes, in the order that their callbacks are called: Keras's class, and the keys it may have."""

_WORDS = {"mode": ("auto", "min", "max"), "save_freq": ("epoch",)}
_FLAGS = ("save_best_only", "save_weights_only", "restore_best_weights", "write_graph", "write_images")
_COUNTS = ("patience", "cooldown", "start_from_epoch", "histogram_freq", "embeddings_freq")
_NUMBERS = ("min_delta", "factor", "min_lr", "baseline", "initial_value_threshold")
_MAY_BE_NONE = ("baseline", "initial_value_threshold", "options", "embeddings_metadata")


class CallbackOptions(UserDict[str, Any]):
    """The options of one of Keras's callbacks: a mapping that knows its keys. Empty, there is no such callback.

    Parameters
    ----------
    attribute : str
        The spec's attribute, a key of `CALLBACKS`.
    values : mapping or callable, optional
        The options; a function stands for ``{"schedule": function}`` of `lr_schedule`.

    Raises
    ------
    UserError
        When an unknown key or a value of the wrong kind is set.
    """

    def __init__(self, attribute: str, values: Any = None) -> None:
        super().__init__()
        self.attribute = attribute
        if attribute == "lr_schedule" and callable(values):
            values = {"schedule": values}
        if values is not None and not isinstance(values, Mapping):
            fix = "give a dict of Keras's options, e.g. {'monitor': 'val_loss'}; None for no such callback"
            raise UserError(f"{attribute} is {values!r}", fix=fix)
        for key, value in (values or {}).items():
            self[key] = value

    @property
    def keras_class(self) -> str:
        """The name of the Keras callback."""
        return CALLBACKS[self.attribute][0]

    def __setitem__(self, key: str, value: Any) -> None:
        """Check and set an option."""
        known = CALLBACKS[self.attribute][1]
        if key not in known:
            fix = did_you_mean(key, known, f"use {', '.join(known)}")
            raise UserError(f"{self.attribute} has no option {key!r}", fix=fix)
        words = _wrong(key, value)
        if words:
            raise UserError(f"{self.attribute}[{key!r}] is {value!r}", fix=f"use {words}")
        self.data[key] = value

    def __ior__(self, other: Any) -> CallbackOptions:  # type: ignore[override,misc]  # noqa: PYI034 - Self came with 3.11
        """Check and set some options; UserDict would not ask `__setitem__`."""
        self.update(other)
        return self

    def __copy__(self) -> CallbackOptions:
        """Return a mapping that can be changed without this one."""
        return CallbackOptions(self.attribute, self.data)

    def plain(self) -> dict[str, Any]:
        """Return the options that are data: all but `schedule`."""
        return {key: value for key, value in self.data.items() if key != "schedule"}


def _wrong(key: str, value: Any) -> str:
    """Return what an option's value must be; empty if it is that."""
    if key in _MAY_BE_NONE and value is None:
        return ""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    words = _WORDS.get(key, ())
    rules = (
        (tuple(_WORDS), value in words, " or ".join(map(repr, words))),
        (("monitor",), isinstance(value, str) and bool(value), "the name of a metric, e.g. 'val_loss'"),
        (("schedule",), callable(value), "a function of epoch and learning rate, without calling it"),
        (_FLAGS, isinstance(value, bool), "True or False"),
        (_COUNTS, number and value >= 0 and value == int(value), "a whole number, 0 or more"),
        (_NUMBERS, number, "a number"),
    )
    return next((text for keys, good, text in rules if key in keys and not good), "")
