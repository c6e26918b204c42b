"""Arrays of samples as evaluation wants them: a row of numbers for each sample, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from doit_tflm.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[Any]

__all__ = ["class_numbers", "doubles", "label_numbers", "rows", "same_samples", "same_shape"]

_LARGEST = float(np.finfo(np.float32).max)  # what a model computes with; its square is still a double


def rows(values: ArrayLike, what: str) -> Numbers:
    """Return `values` with the shape (samples, elements of a sample), in their own dtype.

    Raises
    ------
    UserError
        If there are none, or one is no finite 32-bit float.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise UserError(f"the {what} have the dtype {array.dtype}", fix="give numbers")
    if array.ndim == 0 or array.size == 0:
        raise UserError(f"the {what} hold no samples: their shape is {array.shape}", fix="give it evaluation data")
    flat = array.reshape(len(array), -1)
    # A NaN is the least and the greatest element, and compares false.
    if array.dtype.kind == "f" and not (flat.min() >= -_LARGEST and flat.max() <= _LARGEST):
        bad = ~((flat >= -_LARGEST) & (flat <= _LARGEST)).all(axis=1)
        raise UserError(
            f"the {what} of sample {int(bad.argmax())} are no finite 32-bit floats "
            f"({int(bad.sum())} of {len(flat)} samples are so)",
            fix="look for NaN and infinity in the evaluation data and in the weights",
        )
    return flat


def doubles(values: ArrayLike, what: str) -> NDArray[np.float64]:
    """Return the same as `rows` does, as doubles: differences of unsigned integers would wrap around."""
    return rows(values, what).astype(np.float64)


def label_numbers(labels: ArrayLike) -> NDArray[np.int64]:
    """Return labels, given as numbers or as one-hot rows, with the shape (samples,).

    Raises
    ------
    UserError
        If one is no whole number, or a row marks no class, or several.
    """
    given = rows(labels, "labels")
    if given.shape[1] > 1:
        wrong = (given == given.max(axis=1, keepdims=True)).sum(axis=1) != 1
        if wrong.any():
            raise UserError(
                f"the one-hot label of sample {int(wrong.argmax())} does not mark one class",
                fix="give each row a single highest value, or give the numbers of the classes",
            )
        given = given.argmax(axis=1)[:, np.newaxis]
    numbers: NDArray[np.int64] = given[:, 0].astype(np.int64)
    wrong = numbers != given[:, 0]
    if wrong.any():
        place = int(wrong.argmax())
        raise UserError(
            f"the label of sample {place} is {given[place, 0]}, no whole number",
            fix="give the numbers of the classes, from 0",
        )
    return numbers


def class_numbers(labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return labels as `label_numbers` does, each from 0 to below `classes`.

    Raises
    ------
    UserError
        As `label_numbers`, and if one is of no class.
    """
    numbers = label_numbers(labels)
    array = np.asarray(labels)
    width = array.size // len(array)
    if width not in (1, classes):
        raise UserError(
            f"the one-hot labels are of {width} classes, but the model tells {classes} apart",
            fix=f"give labels of {classes} classes",
        )
    wrong = (numbers < 0) | (numbers >= classes)
    if wrong.any():
        place = int(wrong.argmax())
        raise UserError(
            f"the label of sample {place} is {int(numbers[place])}, but the model tells {classes} classes apart",
            fix=f"give labels from 0 to {classes - 1}",
        )
    return numbers


def same_samples(first: Numbers, second: Numbers, what: str, other: str = "outputs") -> None:
    """Raise an error unless both arrays have equally many samples."""
    if len(first) != len(second):
        raise UserError(
            f"the number of {what} is {len(first)}, but that of {other} {len(second)}",
            fix="give one of each for every sample",
        )


def same_shape(first: Numbers, second: Numbers, what: str, other: str = "outputs") -> None:
    """Raise an error unless both arrays have equally many samples, and equally many elements in each."""
    same_samples(first, second, what, other)
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"a sample of the {what} has {first.shape[1]} elements, but one of the {other} {second.shape[1]}",
            fix="give both the same shape",
        )
