"""What evaluating a classifier gave: as JSON, as text, and as one number for a gate.

The JSON is as `doit_tflm.metrics.results` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from doit_tflm.metrics.curves import Curve
from doit_tflm.metrics.results import Gate, curve_json, head, number, percent, rounded

__all__ = ["ClassResult", "Classification"]


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """One class against all others.

    Attributes
    ----------
    samples, predicted, correct : int
        How many samples are of the class, were taken for it, and both.
    roc_auc, curve
        Of the class's own output as the score; None where all samples are of the class, or none is.
    fpr, tpr : tuple of float or None
        At the `thresholds` of the `Classification`; None without samples of other classes, and of this one.
    """

    label: str
    samples: int
    predicted: int
    correct: int
    roc_auc: float | None
    curve: Curve | None
    fpr: tuple[float, ...] | None
    tpr: tuple[float, ...] | None

    @property
    def precision(self) -> float | None:
        """The share of those taken for the class that are of it; None where none was."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """The share of the class's samples that were taken for it; None where it has none.

        MLTK calls it the accuracy of the class.
        """
        return self.correct / self.samples if self.samples else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None where the class has no samples, and none was found."""
        both = self.samples + self.predicted
        return 2 * self.correct / both if both else None


@dataclass(frozen=True, kw_only=True)
class Classification:
    """How well a classifier does.

    Attributes
    ----------
    name : str
        The model's name.
    samples : int
    accuracy : float
        The share of samples whose highest output is that of their class.
    confusion_matrix : tuple of tuples of int
        A row for each true class, a column for each predicted one.
    per_class : tuple of ClassResult
    roc_auc_avg : float or None
        The mean over the classes that have one.
    thresholds : tuple of float
        Evenly from the least to the greatest score; from 0 to 1 where the scores lie there.
    cut : float or None
        For a single output: where class 1 begins.
    are_probabilities : bool
        Whether outputs lie between 0 and 1, and sum to 1. Where they do not, curves and areas are those of the
        raw outputs, which a softmax over the classes would order in another way.
    """

    name: str
    samples: int
    accuracy: float
    confusion_matrix: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassResult, ...]
    roc_auc_avg: float | None
    thresholds: tuple[float, ...]
    cut: float | None
    are_probabilities: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of the classes."""
        return tuple(entry.label for entry in self.per_class)

    @property
    def roc_auc(self) -> tuple[float | None, ...]:
        """The area under the ROC curve of each class against all others."""
        return tuple(entry.roc_auc for entry in self.per_class)

    @property
    def score(self) -> float:
        """The accuracy: higher is better, from 0 to 1."""
        return self.accuracy

    @property
    def gate_metric(self) -> Gate:
        """The accuracy."""
        return Gate("accuracy", self.accuracy, higher_is_better=True)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        curves = [entry.curve and curve_json(entry.curve) for entry in self.per_class]
        return {
            "name": self.name,
            "model_type": "classification",
            "classes": list(self.classes),
            "samples": self.samples,
            "overall_accuracy": self.accuracy,
            "class_accuracies": [entry.recall for entry in self.per_class],
            "class_precision": [entry.precision for entry in self.per_class],
            "class_recall": [entry.recall for entry in self.per_class],
            "class_f1": [entry.f1 for entry in self.per_class],
            "class_samples": [entry.samples for entry in self.per_class],
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "roc_auc": list(self.roc_auc),
            "roc_auc_avg": self.roc_auc_avg,
            "outputs_are_probabilities": self.are_probabilities,
            "cut": self.cut,
            "roc_thresholds": list(self.thresholds),
            "fpr": [entry.fpr and rounded(entry.fpr) for entry in self.per_class],
            "tpr": [entry.tpr and rounded(entry.tpr) for entry in self.per_class],
            "precision": [curve and curve["precision"] for curve in curves],
            "recall": [curve and curve["tpr"] for curve in curves],
            "roc_curves": [
                curve and {key: curve[key] for key in ("thresholds", "fpr", "tpr")} for curve in curves
            ],
        }

    def summary(self) -> str:
        """Return lines of text, the classes that are recognised worst first."""
        right = sum(entry.correct for entry in self.per_class)
        lines = [
            *head(self.name, "classification"),
            f"Overall accuracy: {percent(self.accuracy, 3)} ({right} of {self.samples} samples)",
            f"Average ROC AUC: {number(self.roc_auc_avg)}",
            *self._confused(),
            *([] if self.are_probabilities else ["The outputs are no probabilities: each AUC is of raw outputs."]),
            *([] if self.cut in (None, 0.5) else [f"Class 1 begins at an output of {self.cut:g}."]),
            "Classes, worst accuracy first:",
        ]
        lines += [
            f"- {entry.label} = {percent(entry.recall, 3)} ({entry.correct} of {entry.samples}), "
            f"precision {percent(entry.precision, 1)}, ROC AUC {number(entry.roc_auc)}"
            for entry in sorted(self.per_class, key=lambda entry: 2 if entry.recall is None else entry.recall)
        ]
        return "\n".join(lines) + "\n"

    def headline(self) -> str:
        """Return the accuracy and the mean AUC, e.g. ``"accuracy 98.1 %, AUC 0.998"``."""
        area = "" if self.roc_auc_avg is None else f", AUC {number(self.roc_auc_avg)}"
        return f"accuracy {percent(self.accuracy, 1)}{area}"

    def _confused(self) -> Iterable[str]:
        """Yield the pair of classes that is confused most often."""
        pairs = [
            (count, true, predicted)
            for true, row in enumerate(self.confusion_matrix)
            for predicted, count in enumerate(row)
            if count and true != predicted
        ]
        if pairs:
            count, true, predicted = max(pairs, key=lambda pair: pair[0])
            labels = self.classes
            yield f"Most often confused: {labels[true]} taken for {labels[predicted]}, {_times(count)}"


def _times(count: int) -> str:
    """Return a count as text."""
    return "once" if count == 1 else f"{count} times"
