"""Pictures of evaluations: what files there are, that they are legible, and the same each time."""

from __future__ import annotations

import io
import itertools
import warnings

import numpy as np
import pytest

from doit_tflm.metrics import class_plots, drawing, measure, plots

LONG = ("überprüfung_der_ganzen_anlage", "μικρόφωνο", "включить", "_unknown_", "a $b$ c$", "猫", "two\nlines")


@pytest.fixture(autouse=True)
def _strict():
    """Let no warning of Matplotlib's pass, of a glyph that is missing or a layout that does not fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # of old Matplotlib with a new pyparsing: both at once
        yield


def pixels(png):
    """Return a picture as an array of shape (height, width, 4)."""
    from matplotlib import image

    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return image.imread(io.BytesIO(png))


def classification(classes, samples=300, labels=(), name="m"):
    random = np.random.default_rng(classes)
    true = random.integers(0, classes, samples)
    logits = random.normal(size=(samples, classes))
    logits[np.arange(samples), true] += 2
    return measure.classify(true, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels, name=name)


def regression(outputs, samples=200):
    random = np.random.default_rng(outputs)
    targets = random.normal(size=(samples, outputs))
    return measure.regress(targets, targets + 0.1 * random.normal(size=targets.shape), name="m")


def reconstruction(*, labelled=True, samples=200, spread=1.0):
    random = np.random.default_rng(samples)
    labels = np.arange(samples) % 4 == 0
    errors = random.normal(size=(samples, 6)) * np.exp(spread * labels)[:, None]
    return measure.reconstruct(np.zeros_like(errors), errors, labels if labelled else None, name="m")


@pytest.mark.parametrize(
    ("draw", "result", "stems"),
    [
        (
            plots.classification_plots,
            classification(3),
            ["confusion_matrix", "fpr", "precision_vs_recall", "roc", "tfp_fpr", "tpr"],
        ),
        (plots.regression_plots, regression(1), ["error_histogram", "predicted_vs_true"]),
        (
            plots.reconstruction_plots,
            reconstruction(),
            ["histogram", "overall_precision_vs_recall", "overall_roc"],
        ),
        (plots.reconstruction_plots, reconstruction(labelled=False), ["histogram"]),
    ],
    ids=["classification", "regression", "reconstruction", "without labels"],
)
def test_the_files_have_mltks_names_and_the_same_bytes_each_time(draw, result, stems):
    made = draw(result, "m, int8")
    assert list(made) == [f"m-{stem}.png" for stem in stems]
    assert draw(result, "m, int8") == made
    for png in made.values():
        height, width, _ = pixels(png).shape
        assert 300 <= height <= 1600
        assert 300 <= width <= 1700
        assert b"Software" not in png
        assert b"Matplotlib" not in png


def test_the_settings_of_the_user_change_nothing():
    import matplotlib as mpl

    result = regression(1)
    before = plots.regression_plots(result, "m")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.transparent": True}):
        assert plots.regression_plots(result, "m") == before
        assert mpl.rcParams["font.size"] == 30


def test_a_result_without_a_name_gives_files_without_a_prefix():
    assert "roc.png" in plots.classification_plots(classification(2, name=""), "x")


@pytest.mark.parametrize("classes", [2, 4, 10, 11, 20, 21, 35, 50, 120])
def test_the_confusion_matrix_grows_with_the_classes_up_to_a_limit(classes):
    labels = [f"{LONG[number % len(LONG)]}{number}" for number in range(classes)]
    result = classification(classes, 3000, labels)
    figure = drawn(class_plots._confusion_matrix, result)
    width, height = figure.get_size_inches()
    assert 3 < height < width < 19
    axes = figure.axes[0]
    assert len(axes.texts) == (classes**2 if classes <= 20 else 0)
    assert len(axes.get_xticklabels()) == len(axes.get_yticklabels()) == min(classes, 60)
    assert apart(axes.get_xticklabels(), "x")
    assert apart(axes.get_yticklabels(), "y")
    assert inside(figure)


def drawn(draw, result, title="a model, int8"):
    """Return the figure of one drawing, laid out."""
    from matplotlib import style

    with style.context(["default", drawing._SETTINGS]):
        figure = draw(result, title)
        figure.draw_without_rendering()
    return figure


def inside(figure):
    """Return whether all that is drawn lies inside of the figure, but for a pixel."""
    from matplotlib.transforms import Bbox

    tight = figure.get_tightbbox()
    whole = Bbox([[0, 0], figure.get_size_inches()])
    return whole.padded(0.02).containsx(tight.x0) and whole.padded(0.02).containsx(tight.x1) and tight.y0 > -0.02


def apart(texts, axis):
    """Return whether no text covers the next along an axis: slanted ones are as far apart as they are high."""
    boxes = [text.get_window_extent() for text in texts]
    if texts[0].get_rotation() == 45:
        high = texts[0].get_fontsize() / 72 * texts[0].get_figure().dpi
        return np.abs(np.diff([box.x1 for box in boxes])).min() * np.sin(np.pi / 4) >= high
    ends = sorted((getattr(box, f"{axis}0"), getattr(box, f"{axis}1")) for box in boxes)
    return all(one[1] <= other[0] + 1 for one, other in itertools.pairwise(ends))


def test_cells_have_counts_and_shares_in_a_colour_that_stands_out():
    result = measure.classify([0, 0, 0, 1], [[1, 0], [1, 0], [0, 1], [0, 1]], ["a", "b"])
    texts = drawn(class_plots._confusion_matrix, result).axes[0].texts
    assert [text.get_text() for text in texts] == ["2\n66.7 %", "1\n33.3 %", "0", "1\n100.0 %"]
    assert [text.get_color() for text in texts][1:] == ["black", "black", "white"]


def test_a_row_without_samples_stays_empty():
    result = measure.classify([0, 1], [[1, 0, 0], [0, 0, 1]], ["a", "b", "c"])
    texts = drawn(class_plots._confusion_matrix, result).axes[0].texts
    assert [text.get_text() for text in texts] == ["1\n100.0 %", "0", "0", "0", "0", "1\n100.0 %"]


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_up_to_ten_classes_are_named_and_of_more_only_the_worst():
    labels = [f"class {number}" for number in range(12)]
    assert len(legend_texts(drawn(class_plots._precision_vs_recall, classification(10)))) == 10
    result = classification(12, labels=labels)
    texts = legend_texts(drawn(class_plots._precision_vs_recall, result))
    worst = sorted(result.per_class, key=lambda entry: entry.roc_auc)[:7]
    assert texts == [*(entry.label for entry in worst), "5 other classes"]


@pytest.mark.parametrize("draw", [class_plots._roc, class_plots._precision_vs_recall])
@pytest.mark.parametrize("title", ["short", "a long title of a model " * 4])
def test_the_legend_lies_beside_the_axes_and_the_title(draw, title):
    figure = drawn(draw, classification(10, labels=[f"{LONG[0]}{number}" for number in range(10)]), title)
    right = max(axes.get_window_extent().x1 for axes in figure.axes)
    assert figure.legends[0].get_window_extent().x0 >= right
    assert figure._suptitle.get_window_extent().x1 < figure.legends[0].get_window_extent().x0


def test_a_label_that_begins_with_an_underscore_is_in_the_legend():
    result = classification(3, labels=["_unknown_", "_silence_", "yes"])
    texts = legend_texts(drawn(class_plots._precision_vs_recall, result))
    assert [text.strip() for text in texts] == ["_unknown_", "_silence_", "yes"]


def test_a_label_is_no_formula():
    result = classification(2, labels=["$\\nosuch{$", "costs 5$ or $6"])
    assert plots.classification_plots(result, "$\\nosuch{$")
    assert legend_texts(drawn(class_plots._precision_vs_recall, result)) == ["$\\nosuch{$", "costs 5$ or $6"]


def test_no_two_classes_have_the_same_colour_and_line():
    figure = drawn(class_plots._precision_vs_recall, classification(10))
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 10


def test_labels_that_the_font_lacks_begin_with_the_number_of_the_class():
    assert drawing.plain_labels(["cat", "猫", "犬 dog", "", "two\nlines", "$x$"]) == [
        "cat",
        "#1",
        "#2 dog",
        "#3",
        "two lines",
        "$x$",
    ]


def test_long_labels_keep_both_of_their_ends():
    (label,) = drawing.plain_labels(["the first words of it, and the last 17"])
    assert label == "the first words…last 17"
    assert len(label) <= 24


@pytest.mark.parametrize("outputs", [1, 3, 4, 5, 8, 9])
def test_each_output_has_a_panel_and_many_share_one(outputs):
    result = regression(outputs)
    for draw in (plots._predicted, plots._errors):
        figure = drawn(draw, result)
        assert len(figure.axes) == (outputs if outputs <= 8 else 1)
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
        assert inside(figure)


def test_scores_that_span_decades_are_drawn_on_a_logarithmic_axis():
    assert drawn(plots._scores, reconstruction(spread=3)).axes[0].get_xscale() == "log"
    assert drawn(plots._scores, reconstruction(spread=0.1)).axes[0].get_xscale() == "linear"


def test_the_best_threshold_is_marked_on_the_curve():
    result = reconstruction()
    best = result.detection.best
    figure = drawn(lambda result, title: plots._overall_roc(result.detection, result, title), result)
    marks = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert marks == [[[best.fpr, best.recall]]]


ODD = {
    "one sample": (plots.classification_plots, lambda: measure.classify([1], [[0.1, 0.9, 0]], [])),
    "one class": (plots.classification_plots, lambda: measure.classify([1, 1], [[0.1, 0.9], [0.8, 0.2]], [])),
    "a class missing": (
        plots.classification_plots,
        lambda: measure.classify([1, 0], [[0.1, 0.9, 0], [1, 0, 0]], []),
    ),
    "constant outputs": (plots.classification_plots, lambda: measure.classify([0, 1, 2], np.ones((3, 3)), [])),
    "constant zeros": (plots.classification_plots, lambda: measure.classify([0, 1], np.zeros((2, 2)), [])),
    "constant logits": (plots.classification_plots, lambda: measure.classify([0, 1], np.full((2, 2), -7.0), [])),
    "one output": (plots.classification_plots, lambda: measure.classify([0, 1], [0.2, 0.9], ["a", "b"])),
    "huge logits": (plots.classification_plots, lambda: measure.classify([0, 1], [[-1e30, 1], [0, 1e30]], [])),
    "one value": (plots.regression_plots, lambda: measure.regress([1.0], [1.5])),
    "exact values": (plots.regression_plots, lambda: measure.regress([1.0, 1.0], [1.0, 1.0])),
    "zeros": (plots.regression_plots, lambda: measure.regress(np.zeros((3, 2)), np.zeros((3, 2)))),
    "tiny values": (plots.regression_plots, lambda: measure.regress([0.0, 1e-30], [1e-30, 0.0])),
    "huge values": (plots.regression_plots, lambda: measure.regress([0.0, 1e30], [1e30, 0.0])),
    "one image": (plots.reconstruction_plots, lambda: measure.reconstruct([[1.0, 2.0]], [[1.0, 3.0]])),
    "one kind": (plots.reconstruction_plots, lambda: measure.reconstruct([1.0, 2.0], [1.0, 3.0], [1, 1])),
    "perfect": (plots.reconstruction_plots, lambda: measure.reconstruct([1.0, 2.0], [1.0, 2.0], [0, 1])),
    "none found": (plots.reconstruction_plots, lambda: measure.reconstruct(np.zeros(3), [1.0, 2, 3], [1, 0, 0])),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_hardly_a_result_is_drawn_all_the_same(case):
    draw, make = ODD[case]
    for png in draw(make(), "odd").values():
        assert (pixels(png)[..., :3] < 0.5).any()
