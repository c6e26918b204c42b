"""Pictures of how a model does on its evaluation data: results in, PNGs by file name out.

The files of an autoencoder are called what MLTK calls them; it has none for regression. Those of a classifier come
from `doit_tflm.metrics.class_plots`, and can be had from here as well.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from doit_tflm.metrics.class_plots import classification_plots
from doit_tflm.metrics.drawing import COLOURS, GREY, drawn, new_figure
from doit_tflm.metrics.results import Detection, Fit, Reconstruction, Regression, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["classification_plots", "reconstruction_plots", "regression_plots"]


def regression_plots(result: Regression, title: str) -> dict[str, bytes]:
    """Return what was predicted against what is true, and the histogram of the errors, a panel for each output.

    Parameters and result are as those of `classification_plots`.
    """
    return drawn({"error_histogram": _errors, "predicted_vs_true": _predicted}, result, result.name, title)


def reconstruction_plots(result: Reconstruction, title: str) -> dict[str, bytes]:
    """Return the histogram of the scores and, where labels are known, how well they part the samples.

    Parameters and result are as those of `classification_plots`.
    """
    drawings: dict[str, Callable[[Reconstruction, str], Figure]] = {"histogram": _scores}
    if result.detection:
        drawings["overall_precision_vs_recall"] = functools.partial(_overall_precision, result.detection)
        drawings["overall_roc"] = functools.partial(_overall_roc, result.detection)
    return drawn(drawings, result, result.name, title)


def _panels(result: Regression, title: str, what: str) -> tuple[Figure, list[tuple[Axes, Fit]]]:
    """Return a figure, and a panel in it for each fit, in two lines where there are more than three."""
    count = len(result.fits)
    lines = 1 if count < 4 else 2
    columns = math.ceil(count / lines)
    figure = new_figure(max(5.5, 3.8 * columns), 0.8 + 3.9 * lines, title, what)
    panels = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in panels[count:]:
        axes.remove()
    return figure, list(zip(panels, result.fits, strict=False))


def _predicted(result: Regression, title: str) -> Figure:
    """Draw predicted over true values."""
    figure, panels = _panels(result, title, f"predicted and true values, R² {number(result.r2)}")
    for axes, fit in panels:
        true, predicted = zip(*fit.points, strict=True)
        low, high = min(true + predicted), max(true + predicted)
        pad = 0.04 * (high - low) or 0.04 * abs(high) or 0.5
        ends = (low - pad, high + pad)
        axes.plot(ends, ends, color=COLOURS[1], linewidth=1.2, label="predicted = true")
        points: dict[str, Any] = {"markersize": 4, "alpha": 0.8 if len(true) < 100 else 0.35, "markeredgewidth": 0}
        axes.plot(true, predicted, "o", color=COLOURS[0], label="sample", **points)
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="true value", ylabel="predicted value")
        axes.set_title(f"{fit.label}: R² {number(fit.r2)}", fontsize=10)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _errors(result: Regression, title: str) -> Figure:
    """Draw the histogram of the errors."""
    figure, panels = _panels(result, title, f"errors, {result.headline()}")
    for axes, fit in panels:
        axes.stairs(fit.errors.counts, fit.errors.edges, fill=True, color=COLOURS[0])
        axes.axvline(0, color=COLOURS[1], linewidth=1.2)
        axes.set(
            xlabel="predicted less true value",
            ylabel="samples" if len(result.fits) == result.outputs else "values",
        )
        axes.set_title(f"{fit.label}: MAE {fit.mae:.3g}", fontsize=10)
    return figure


def _scores(result: Reconstruction, title: str) -> Figure:
    """Draw the histogram of the scores, of normal and of abnormal samples."""
    figure = new_figure(9, 5, title, f"errors of reconstruction, {result.headline()}", 2.5)
    axes = figure.subplots()
    for colour, group in zip(COLOURS, result.groups, strict=False):
        shares = [100 * count / group.samples for count in group.scores.counts]
        label = f"{group.label} ({group.samples} samples)"
        axes.stairs(shares, group.scores.edges, fill=True, color=colour, alpha=0.45, label=label)
        axes.stairs(shares, group.scores.edges, color=colour, linewidth=1.2)
    if result.detection:
        best = result.detection.best
        label = f"best threshold {best.threshold:.3g}:\naccuracy {percent(best.accuracy, 1)}"
        axes.axvline(best.threshold, color="black", linestyle="--", linewidth=1.2, label=label)
    kinds = "each kind's" if len(result.groups) > 1 else result.groups[0].label
    axes.set(xlabel="mean squared error of a sample", ylabel=f"share of {kinds} samples (%)")
    if result.groups[0].scores.is_logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    figure.legend(loc="outside right upper", alignment="left")
    return figure


def _overall_roc(found: Detection, _: Reconstruction, title: str) -> Figure:
    """Draw the ROC curve of abnormal against normal samples."""
    figure = new_figure(7.5, 5, title, f"ROC, AUC {number(found.roc_auc)}", 2.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="guessing")
    axes.plot(found.curve.fpr, found.curve.tpr, color=COLOURS[0], linewidth=1.6, label="score")
    _mark_best(figure, axes, found, found.best.fpr, found.best.recall)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    return figure


def _overall_precision(found: Detection, _: Reconstruction, title: str) -> Figure:
    """Draw precision over recall of abnormal samples."""
    figure = new_figure(7.5, 5, title, "precision and recall of abnormal samples", 2.0)
    axes = figure.subplots()
    axes.plot(found.curve.tpr, found.curve.precision, color=COLOURS[0], linewidth=1.6, label="score")
    _mark_best(figure, axes, found, found.best.recall, found.best.precision)
    axes.set(xlabel="recall", ylabel="precision")
    return figure


def _mark_best(figure: Figure, axes: Axes, found: Detection, x: float, y: float | None) -> None:
    """Mark the best threshold, where it finds anything; name what is drawn."""
    if y is not None:
        axes.plot(x, y, "o", color=COLOURS[1], label=f"best threshold\n{found.best.threshold:.3g}")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    figure.legend(loc="outside right upper", alignment="left")
