"""Scores of two kinds of samples: the curves, the areas and the histograms that they make.

A sample counts as found, or as positive, where its score is at or above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Curve", "Cut", "Histogram", "Steps", "edges", "histogram", "rates_at", "steps"]

_MOST_POINTS = 200
_BINS = 50


@dataclass(frozen=True)
class Curve:
    """What each threshold finds; a ROC curve, and a precision-recall curve with `tpr` as the recall.

    Attributes
    ----------
    thresholds : tuple of float
        Ascending. The last is just above the highest score: nothing is found.
    fpr, tpr, precision : tuple of float
        At each threshold. The last precision is 1, where there is none.
    """

    thresholds: tuple[float, ...]
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True)
class Cut:
    """What one threshold finds: the share of samples it parts right, and its precision, recall and false alarms.

    `precision` is None where nothing is found; `fpr` is the share of negative samples that are found.
    """

    threshold: float
    accuracy: float
    precision: float | None
    recall: float
    fpr: float


@dataclass(frozen=True)
class Histogram:
    """Counts of values between `edges`, of which there is one more; on a logarithmic scale where it says so."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    is_logarithmic: bool


@dataclass(frozen=True, eq=False)
class Steps:
    """All that thresholds can find of two kinds of samples, of which there are some each.

    Attributes
    ----------
    thresholds : ndarray of float64
        The distinct scores, ascending, and one above.
    found, false : ndarray of int64
        How many positive, and negative, samples score at or above each threshold: all at first, none at last.
    """

    thresholds: Floats
    found: NDArray[np.int64]
    false: NDArray[np.int64]

    @property
    def roc_auc(self) -> float:
        """The area under the ROC curve, by the trapezoid rule: exact, a tie counts as half."""
        doubled = (self.false[:-1] - self.false[1:]) * (self.found[:-1] + self.found[1:])
        return int(doubled.sum()) / (2 * int(self.found[0]) * int(self.false[0]))

    @property
    def pr_accuracy(self) -> float:
        """The greatest mean of precision and recall that a threshold reaches, as MLTK defines it."""
        return float((self._precision() + self.found / self.found[0]).max() / 2)

    def best_cut(self) -> Cut:
        """Return the threshold that parts the most samples right; the highest, where there are several.

        It lies in the middle between two scores, so that ``>`` and ``>=`` find the same.
        """
        right = self.found + (self.false[0] - self.false)
        place = len(right) - 1 - int(np.argmax(right[::-1]))
        found, false = int(self.found[place]), int(self.false[place])
        return Cut(
            threshold=self._between(place),
            accuracy=int(right[place]) / int(self.found[0] + self.false[0]),
            precision=found / (found + false) if found + false else None,
            recall=found / int(self.found[0]),
            fpr=false / int(self.false[0]),
        )

    def curve(self, added: float = 0.0) -> Curve:
        """Return the curve, thinned to 200 points that lie evenly along it; its ends are kept.

        `added` is added to the thresholds.
        """
        fpr, tpr, precision = self.false / self.false[0], self.found / self.found[0], self._precision()
        # Precision alone wavers as much as both rates together, so that each gets half of the points.
        wavering = np.abs(np.diff(precision))
        length = np.abs(np.diff(fpr)) + np.abs(np.diff(tpr)) + 2 * wavering / max(wavering.sum(), 1e-9)
        along = np.concatenate([[0.0], np.cumsum(length)])
        kept = np.arange(len(along))
        if len(along) > _MOST_POINTS:
            near = np.searchsorted(along, np.linspace(0, along[-1], _MOST_POINTS - 1))
            kept = np.unique(np.append(near.clip(0, len(along) - 1), len(along) - 1))
        columns = (values[kept].tolist() for values in (self.thresholds + added, fpr, tpr, precision))
        return Curve(*map(tuple, columns))

    def _precision(self) -> Floats:
        """Return the precision at each threshold."""
        total = self.found + self.false
        return np.where(total > 0, self.found / np.maximum(total, 1), 1.0)

    def _between(self, place: int) -> float:
        """Return a threshold that does what the one at `place` does, off the scores themselves."""
        if place in (0, len(self.thresholds) - 1):
            return float(self.thresholds[place])
        below, above = float(self.thresholds[place - 1]), float(self.thresholds[place])
        middle = below + (above - below) / 2
        return middle if below < middle else above


def steps(positive: NDArray[np.bool_], scores: Floats) -> Steps | None:
    """Return what thresholds find; None where there are not both positive and negative samples.

    Parameters
    ----------
    positive : ndarray of bool
        Shape (samples,).
    scores : ndarray of float64
        Shape (samples,), finite.
    """
    positives = int(positive.sum())
    if positives in (0, len(positive)):
        return None
    order = np.argsort(scores, kind="stable")
    ascending, below = scores[order], np.cumsum(positive[order])
    first = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    missed = np.concatenate([[0], below])[np.append(first, len(scores))]
    passed = np.append(first, len(scores)) - missed
    return Steps(
        thresholds=np.append(ascending[first], np.nextafter(ascending[-1], np.inf)),
        found=(positives - missed).astype(np.int64),
        false=(len(scores) - positives - passed).astype(np.int64),
    )


def rates_at(thresholds: Floats, scores: Floats) -> tuple[float, ...] | None:
    """Return the share of `scores` at or above each threshold; None where there are no scores."""
    if not len(scores):
        return None
    below = np.searchsorted(np.sort(scores), thresholds, side="left")
    return tuple((1 - below / len(scores)).tolist())


def edges(values: Floats, *, logarithmic: bool = False) -> Floats:
    """Return the edges of a histogram of `values`: from the least to the greatest, in 50 steps.

    They are wider where all values are equal, or too near to each other to be parted.
    """
    low, high = float(values.min()), float(values.max())
    found = np.geomspace(low, high, _BINS + 1) if logarithmic else np.linspace(low, high, _BINS + 1)
    if (np.diff(found) > 0).all():
        found[[0, -1]] = low, high  # geomspace may miss them by a rounding
        return found
    wider = 0.01 * max(abs(low), abs(high))
    wider = wider if wider > 1e-30 else 0.5
    return np.linspace(low - wider, high + wider, _BINS + 1)


def histogram(values: Floats, bounds: Floats, *, logarithmic: bool = False) -> Histogram:
    """Return how many of `values` lie between each two of `bounds`."""
    counts, _ = np.histogram(values, bounds)
    return Histogram(tuple(bounds.tolist()), tuple(counts.tolist()), logarithmic)
