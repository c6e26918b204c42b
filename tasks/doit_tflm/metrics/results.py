"""What evaluating a model gave: for programs as JSON, for people as text, for a gate as one number.

The JSON has the keys of MLTK's ``eval-results.json``, and more; what is not defined is null. Rates of curves are
rounded to six places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from doit_tflm.metrics.curves import Curve, Cut, Histogram

__all__ = [
    "Agreement",
    "Detection",
    "Fit",
    "Gate",
    "Reconstruction",
    "Regression",
    "ScoreGroup",
    "curve_json",
    "head",
    "number",
    "percent",
    "rounded",
]


class Gate(NamedTuple):
    """The one number to hold a model to."""

    name: str
    value: float
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How near one output comes to its target, or all outputs together where there are many.

    Attributes
    ----------
    mse, mae, max_error : float
        In the target's units, `mse` in their square.
    r2 : float or None
        The coefficient of determination; None where the target is the same in all samples.
    points : tuple of (true, predicted)
        Evenly drawn from the samples, and the worst one, 2000 over all fits at most.
    errors : Histogram
        Of predicted less true.
    """

    label: str
    mse: float
    mae: float
    max_error: float
    r2: float | None
    points: tuple[tuple[float, float], ...]
    errors: Histogram

    @property
    def rmse(self) -> float:
        """The root of the mean squared error, in the target's units."""
        return float(self.mse**0.5)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            **{key: getattr(self, key) for key in ("label", "mse", "mae", "rmse", "max_error", "r2")},
            "points": {"true": [x for x, _ in self.points], "predicted": [y for _, y in self.points]},
            "errors": _histogram(self.errors),
        }


@dataclass(frozen=True, kw_only=True)
class Regression:
    """How near a model of numbers comes to them.

    Attributes
    ----------
    mse, mae, max_error : float
        Over all samples and outputs.
    r2 : float or None
        The mean over the outputs that have one.
    fits : tuple of Fit
        One for each output; a single one where there are more than 8.
    """

    name: str
    samples: int
    outputs: int
    mse: float
    mae: float
    max_error: float
    r2: float | None
    fits: tuple[Fit, ...]

    @property
    def rmse(self) -> float:
        """The root of the mean squared error, in the target's units."""
        return float(self.mse**0.5)

    @property
    def gate_metric(self) -> Gate:
        """The mean absolute error."""
        return Gate("mae", self.mae, higher_is_better=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        keys = ("samples", "outputs", "mse", "mae", "rmse", "max_error", "r2")
        values = {key: getattr(self, key) for key in keys}
        fits = [fit.to_json() for fit in self.fits]
        return {"name": self.name, "model_type": "regression", **values, "fits": fits}

    def summary(self) -> str:
        """Return lines of text."""
        lines = [
            *head(self.name, "regression"),
            f"Mean absolute error: {size(self.mae)} ({self.samples} samples)",
            f"Mean squared error: {size(self.mse)}, its root {size(self.rmse)}",
            f"Greatest error: {size(self.max_error)}",
            f"R2: {number(self.r2)}",
        ]
        if len(self.fits) > 1:
            lines.append("Outputs:")
            lines += [
                f"- {fit.label}: MAE {size(fit.mae)}, MSE {size(fit.mse)}, R2 {number(fit.r2)}"
                for fit in self.fits
            ]
        return "\n".join(lines) + "\n"

    def headline(self) -> str:
        """Return the errors, e.g. ``"MAE 0.014, MSE 0.0003"``."""
        return f"MAE {size(self.mae)}, MSE {size(self.mse)}"


@dataclass(frozen=True, kw_only=True)
class ScoreGroup:
    """The scores of normal samples, of abnormal ones, or of all: `mse` is their mean."""

    label: str
    samples: int
    mse: float
    scores: Histogram


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well the score parts abnormal samples, the positive ones, from normal ones.

    Attributes
    ----------
    best : Cut
        The threshold that parts the most samples right.
    pr_accuracy : float
        The greatest mean of precision and recall, as MLTK defines it.
    """

    roc_auc: float
    pr_accuracy: float
    best: Cut
    curve: Curve


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """How well an autoencoder gives back its input. The score of a sample is its mean squared error.

    Attributes
    ----------
    mse, mae : float
        Over all samples, the abnormal ones included.
    groups : tuple of ScoreGroup
        Normal and abnormal samples, as far as there are any; all together where no labels are known. Their
        histograms have the same edges.
    detection : Detection or None
        None unless there are samples known to be normal, and abnormal.
    """

    name: str
    samples: int
    mse: float
    mae: float
    groups: tuple[ScoreGroup, ...]
    detection: Detection | None

    @property
    def gate_metric(self) -> Gate:
        """The area under the ROC curve, where it is known what is abnormal; else the mean squared error."""
        if self.detection:
            return Gate("auc", self.detection.roc_auc, higher_is_better=True)
        return Gate("mse", self.mse, higher_is_better=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found, curve = self.detection, self.detection and curve_json(self.detection.curve)
        return {
            "name": self.name,
            "model_type": "auto_encoder",
            "classes": [group.label for group in self.groups],
            "samples": self.samples,
            "mse": self.mse,
            "mae": self.mae,
            "overall_accuracy": found and found.best.accuracy,
            "overall_pr_accuracy": found and found.pr_accuracy,
            "overall_roc_auc": found and found.roc_auc,
            "best_cut": found and asdict(found.best),
            "thresholds": curve and curve["thresholds"],
            "overall_fpr": curve and curve["fpr"],
            "overall_tpr": curve and curve["tpr"],
            "overall_precision": curve and curve["precision"],
            "overall_recall": curve and curve["tpr"],
            "scores": [
                {"label": group.label, "samples": group.samples, "mse": group.mse, **_histogram(group.scores)}
                for group in self.groups
            ],
        }

    def summary(self) -> str:
        """Return lines of text."""
        lines = head(self.name, "auto_encoder")
        if self.detection:
            best = self.detection.best
            lines += [
                f"Overall ROC AUC: {number(self.detection.roc_auc)}",
                f"Overall accuracy: {percent(best.accuracy, 3)} at the best threshold, {size(best.threshold)}",
                f"- precision {percent(best.precision, 3)}, recall {percent(best.recall, 3)}",
                f"Precision/recall accuracy: {percent(self.detection.pr_accuracy, 3)}",
            ]
        lines += [
            f"Mean squared error: {size(self.mse)} ({self.samples} samples)",
            *(f"- {group.label}: {size(group.mse)} ({group.samples} samples)" for group in self.groups),
            f"Mean absolute error: {size(self.mae)}",
        ]
        return "\n".join(lines) + "\n"

    def headline(self) -> str:
        """Return the error and the AUC, e.g. ``"MSE 0.021, AUC 0.93"``."""
        area = f", AUC {number(self.detection.roc_auc)}" if self.detection else ""
        return f"MSE {size(self.mse)}{area}"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the outputs of two runtimes are apart.

    Attributes
    ----------
    equal : float
        The share of elements that are equal.
    greatest : float
        The greatest difference, in `unit`: ``"steps"`` of integers, or for floats ``"relative"`` to the greatest
        magnitude of any output.
    argmax_differs : int
        How many samples have their highest output elsewhere; always 0 for a single output.
    worst_sample : int or None
        The first sample with the greatest difference; None where all is equal.
    """

    samples: int
    equal: float
    greatest: float
    unit: str
    argmax_differs: int
    worst_sample: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    def headline(self) -> str:
        """Return one line of text, e.g. ``"99.8 % of outputs equal, at most 1 step apart (sample 17)"``."""
        if self.worst_sample is None:
            return f"all outputs of {self.samples} samples equal"
        step = "step" if self.greatest == 1 else "steps"
        apart = f"{self.greatest:g} {step}" if self.unit == "steps" else f"{self.greatest:.2g} of the range"
        line = f"{percent(self.equal, 1)} of outputs equal, at most {apart} apart (sample {self.worst_sample})"
        if not self.argmax_differs:
            return line
        return f"{line}, highest output elsewhere in {self.argmax_differs} of {self.samples} samples"


def percent(share: float | None, places: int) -> str:
    """Return a share as text, never as 100 % where it is less."""
    if share is None:
        return "undefined"
    text = f"{100 * share:.{places}f}"
    return f"{text if share >= 1 or not text.startswith('100') else f'{100 - 10**-places:.{places}f}'} %"


def number(value: float | None) -> str:
    """Return a number up to 1 as text, never as 1 where it is less."""
    if value is None:
        return "undefined"
    text = f"{value:.3f}"
    return "0.999" if value < 1 and text == "1.000" else text


def size(value: float) -> str:
    """Return an error as text."""
    return f"{value:.3g}"


def head(name: str, kind: str) -> list[str]:
    """Return the first lines of MLTK's summaries."""
    return [*([f"Name: {name}"] if name else []), f"Model Type: {kind}"]


def rounded(rates: Sequence[float]) -> list[float]:
    """Return rates at six places, which is more than a plot shows."""
    return [round(rate, 6) for rate in rates]


def curve_json(curve: Curve) -> dict[str, list[float]]:
    """Return a curve as plain JSON types."""
    rates = {key: rounded(getattr(curve, key)) for key in ("fpr", "tpr", "precision")}
    return {"thresholds": list(curve.thresholds), **rates}


def _histogram(histogram: Histogram) -> dict[str, list[float]]:
    """Return a histogram as plain JSON types."""
    return {"edges": list(histogram.edges), "counts": list(histogram.counts)}
