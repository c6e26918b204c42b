"""Pictures of how a classifier does on its evaluation data, in files that are called what MLTK calls them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from doit_tflm.metrics.class_results import Classification, ClassResult
from doit_tflm.metrics.curves import Curve
from doit_tflm.metrics.drawing import COLOURS, GREY, drawn, new_figure, plain_labels
from doit_tflm.metrics.results import number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["classification_plots"]

_MOST_CURVES = 10
"""Curves of more classes cannot be told apart: the worst are coloured, the others are grey."""
_WORST = 7
_MOST_NUMBERED = 20
_MOST_TICKS = 60
_CELLS = ((2, 1.4, 12), (5, 1.0, 10), (10, 0.72, 8.5), (_MOST_NUMBERED, 0.58, 7.5), (50, 0.26, 0))
"""Up to so many classes: the width of a cell in inches, the size of its numbers in points."""
_CORNERS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_LEGEND_INCHES = 3.2


def classification_plots(result: Classification, title: str) -> dict[str, bytes]:
    """Return the confusion matrix, and the curves of each class against all others.

    Parameters
    ----------
    result : Classification
    title : str
        What was evaluated, e.g. ``"keyword_spotting, int8"``: the first words of each picture's title.

    Returns
    -------
    dict of str to bytes
        PNGs by file name, which begins with the name of the model if the result has one.
    """
    drawings: dict[str, Callable[[Classification, str], Figure]] = {
        "confusion_matrix": _confusion_matrix,
        "fpr": functools.partial(_rates, which=("fpr",)),
        "precision_vs_recall": _precision_vs_recall,
        "roc": _roc,
        "tfp_fpr": functools.partial(_rates, which=("tpr", "fpr")),
        "tpr": functools.partial(_rates, which=("tpr",)),
    }
    return drawn(drawings, result, result.name, title)


def _confusion_matrix(result: Classification, title: str) -> Figure:
    """Draw the counts of each row, coloured by their share of the row."""
    matrix, labels = result.confusion_matrix, plain_labels(result.classes)
    size = len(labels)
    cell, points = next(((inches, points) for most, inches, points in _CELLS if size <= most), (14 / size, 0))
    longest = max(map(len, labels)) * 0.085
    figure = new_figure(
        cell * size + longest + 1.8,
        cell * size + min(longest, 2.2) + 1.3,
        title,
        f"confusion matrix, accuracy {percent(result.accuracy, 1)}",
    )
    axes = figure.subplots()
    shares = [[100 * count / sum(row) if any(row) else math.nan for count in row] for row in matrix]
    mesh = axes.pcolormesh(
        shares,
        cmap="Blues",
        vmin=0,
        vmax=100,
        edgecolors="white" if points else "face",
        linewidth=1 if points else 0,
    )
    axes.set(xlabel="predicted class", ylabel="true class", aspect="equal", facecolor="#E8E8E8")
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _tick_labels(axes, labels, slanted=longest > cell)
    figure.colorbar(mesh, ax=axes, label="share of the true class (%)", shrink=0.8, aspect=30)
    if points:
        for row, column in itertools.product(range(size), range(size)):
            _cell_text(axes, row, column, matrix[row], points)
    return figure


def _tick_labels(axes: Axes, labels: list[str], *, slanted: bool) -> None:
    """Name the rows and columns of a matrix; where there are very many, every so many."""
    every = math.ceil(len(labels) / _MOST_TICKS)
    places, names = [place + 0.5 for place in range(0, len(labels), every)], labels[::every]
    small = 8 if len(labels) > _MOST_NUMBERED else 10
    axes.set_yticks(places, names, fontsize=small)
    if len(labels) > _MOST_NUMBERED:
        axes.set_xticks(places, names, fontsize=small, rotation=90)
    elif slanted:
        axes.set_xticks(places, names, fontsize=small, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(places, names, fontsize=small)


def _cell_text(axes: Axes, row: int, column: int, counts: tuple[int, ...], points: float) -> None:
    """Write a count, and its share of the row, in black or white, whatever stands out more."""
    from matplotlib import colormaps

    if not any(counts):
        return
    share = counts[column] / sum(counts)
    # Relative luminance, and where black and white have equal contrast: WCAG 2.1.
    rgb = colormaps["Blues"](share)[:3]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    text = f"{counts[column]}\n{percent(share, int(len(counts) <= 10))}" if share else "0"
    colour = "white" if luminance < 0.179 else "black"
    axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=points, color=colour)


def _series(result: Classification) -> Iterator[tuple[ClassResult, Curve, dict[str, Any]]]:
    """Yield the classes that have curves, with style and label; the grey ones come first, without labels."""
    pairs = zip(result.per_class, plain_labels(result.classes), strict=True)
    # Matplotlib leaves out of its legends what begins with an underscore, as MLTK's _unknown_ does.
    found = [
        (entry, entry.curve, f" {label}" if label[0] == "_" else label) for entry, label in pairs if entry.curve
    ]
    if len(found) > _MOST_CURVES:
        found.sort(key=lambda item: item[0].roc_auc or 0.0)
        for entry, curve, _ in found[_WORST:]:
            yield entry, curve, {"color": GREY, "linewidth": 0.8, "label": ""}
        found = found[:_WORST]
    for place, (entry, curve, label) in enumerate(found):
        line = "-" if place < len(COLOURS) else ":"
        yield (
            entry,
            curve,
            {"color": COLOURS[place % len(COLOURS)], "linestyle": line, "linewidth": 1.6, "label": label},
        )


def _legend(figure: Figure, axes: Axes, result: Classification) -> None:
    """Name the curves beside the axes; say so where there are none, or where most of them are grey."""
    others = sum(entry.curve is not None for entry in result.per_class) - _WORST
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        text = "all samples are of one class"
        axes.text(0.5, 0.5, text, ha="center", va="center", backgroundcolor="white")
        return
    heading = "class"
    if others > _MOST_CURVES - _WORST:
        handles.append(axes.plot([], [], color=GREY, linewidth=0.8)[0])
        labels.append(f"{others} other classes")
        heading = "classes of the lowest AUC"
    figure.legend(handles, labels, loc="outside right upper", title=heading, alignment="left")


def _roc(result: Classification, title: str) -> Figure:
    """Draw the ROC curves, whole and their upper left corner, where good models differ."""
    figure = new_figure(12, 5, title, f"ROC, average AUC {number(result.roc_auc_avg)}", _LEGEND_INCHES)
    whole, corner = figure.subplots(1, 2)
    for axes in (whole, corner):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
        for entry, curve, line in _series(result):
            label = line["label"] and f"{line['label']} (AUC {number(entry.roc_auc)})"
            axes.plot(curve.fpr, curve.tpr, **{**line, "label": label})
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
    whole.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title="all thresholds (dashed: guessing)")
    side = _corner(result)
    corner.set(xlim=(-side / 100, side), ylim=(1 - side, 1 + side / 100), title="upper left corner")
    _legend(figure, whole, result)
    return figure


def _corner(result: Classification) -> float:
    """Return how large a part of the ROC plot shows where each coloured curve turns."""
    curves = [curve for _, curve, line in _series(result) if line["label"]]
    turns = [min(max(x, 1 - y) for x, y in zip(curve.fpr, curve.tpr, strict=True)) for curve in curves]
    return next((side for side in _CORNERS if side >= 2 * max(turns, default=0.0)), _CORNERS[-1])


def _precision_vs_recall(result: Classification, title: str) -> Figure:
    """Draw precision over recall."""
    figure = new_figure(8.5, 5, title, "precision and recall", _LEGEND_INCHES)
    axes = figure.subplots()
    for _, curve, line in _series(result):
        axes.plot(curve.tpr, curve.precision, **line)
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    _legend(figure, axes, result)
    return figure


def _rates(result: Classification, title: str, *, which: tuple[str, ...]) -> Figure:
    """Draw true or false positive rates, or both, over the threshold."""
    words = {("tpr",): "true", ("fpr",): "false", ("tpr", "fpr"): "true (solid) and false (dashed)"}
    what = f"{words[which]} positive rate"
    figure = new_figure(8.5, 5, title, what, _LEGEND_INCHES)
    axes = figure.subplots()
    for entry, _, line in _series(result):
        axes.plot(result.thresholds, getattr(entry, which[0]), **line)
        for key in which[1:]:
            dashes = "-." if line.get("linestyle") == ":" else "--"
            axes.plot(result.thresholds, getattr(entry, key), **{**line, "linestyle": dashes, "label": ""})
    kind = "probability" if result.are_probabilities else "raw output"
    axes.set(xlabel=f"threshold of the {kind}", ylabel=what)
    axes.set_ylim(-0.01, 1.01)
    if which == ("fpr",):
        # Nearly all samples are above the lowest thresholds: what happens there would hide the rest.
        start = len(result.thresholds) // 10
        highest = max((entry.fpr[start] for entry, *_ in _series(result) if entry.fpr), default=1.0)
        axes.set_ylim(-0.01 * highest, max(0.05, 1.1 * highest))
    _legend(figure, axes, result)
    return figure
