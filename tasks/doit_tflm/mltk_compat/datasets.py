"""The public data sets that ``mltk.datasets.image`` names: their facts, and Keras's copies of the three it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["DATASETS"]


def _keras(name: str) -> Callable[..., Any]:
    """Return a function that loads one of Keras's data sets, as ``(x, y)`` of training and of test."""

    def load_data(*_: Any, **__: Any) -> Any:
        import keras

        return getattr(keras.datasets, name).load_data()

    return load_data


_DIGITS = [str(number) for number in range(10)]
_FASHION = ["tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
_CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_HAND = {"INPUT_HEIGHT": 96, "INPUT_WIDTH": 96, "INPUT_DEPTH": 1, "INPUT_SHAPE": (96, 96, 1)}
DATASETS: dict[str, dict[str, Any]] = {
    "mnist": {"CLASSES": _DIGITS, "INPUT_SHAPE": (28, 28), "load_data": _keras("mnist")},
    "fashion_mnist": {"CLASSES": _FASHION, "INPUT_SHAPE": (28, 28), "load_data": _keras("fashion_mnist")},
    "cifar10": {"CLASSES": _CIFAR, "INPUT_SHAPE": (32, 32, 3), "load_data": _keras("cifar10")},
    "rock_paper_scissors_v1": {"CLASSES": ("rock", "paper", "scissor"), **_HAND},
    "rock_paper_scissors_v2": {"CLASSES": ("rock", "paper", "scissor", "_unknown_"), **_HAND},
}
"""What is known of each, by its name in ``mltk.datasets.image``."""
