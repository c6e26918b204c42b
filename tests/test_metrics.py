"""Outputs on evaluation data: what they are worth, and that scikit-learn thinks so too."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from doit_tflm.errors import UserError
from doit_tflm.metrics import measure
from doit_tflm.metrics.curves import steps
from doit_tflm.metrics.results import number, percent

LABELS = ("up", "down", "left")
NEAR = pytest.approx


def softmax(logits):
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@st.composite
def classified(draw, coarse: bool = True):
    """Draw labels and scores of 2 to 5 classes; coarse scores have many ties."""
    classes, samples = draw(st.integers(2, 5)), draw(st.integers(1, 30))
    score = st.integers(-128, 127) if not coarse else st.integers(0, 4)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    scores = draw(st.lists(score, min_size=samples * classes, max_size=samples * classes))
    return np.array(labels), np.array(scores).reshape(samples, classes) / 4


@st.composite
def binary(draw):
    """Draw which samples are positive, with at least one of each kind, and scores with ties."""
    kinds = draw(st.lists(st.booleans(), min_size=2, max_size=60).filter(lambda kinds: len(set(kinds)) == 2))
    finite = st.floats(-1e6, 1e6, width=32)
    score = draw(st.sampled_from([st.integers(0, 3).map(float), finite, st.sampled_from([0.1, 0.2, 0.3])]))
    return np.array(kinds), np.array(draw(st.lists(score, min_size=len(kinds), max_size=len(kinds))), np.float64)


@st.composite
def regressed(draw):
    """Draw targets and outputs of 1 to 10 values a sample."""
    shape = draw(st.integers(2, 20)), draw(st.integers(1, 10))
    value = st.floats(-1000, 1000, width=32)
    size = shape[0] * shape[1]
    drawn = [draw(st.lists(value, min_size=size, max_size=size)) for _ in range(2)]
    return [np.array(values).reshape(shape) for values in drawn]


# Classification


@given(classified() | classified(coarse=False))
def test_counts_of_a_classifier_equal_scikit_learns(case):
    labels, scores = case
    result, numbers = measure.classify(labels, scores, []), range(scores.shape[1])
    predicted = scores.argmax(axis=1)
    assert result.accuracy == NEAR(sklearn.accuracy_score(labels, predicted))
    matrix = sklearn.confusion_matrix(labels, predicted, labels=list(numbers))
    assert np.array_equal(result.confusion_matrix, matrix)
    for key in ("precision", "recall", "f1"):
        function = getattr(sklearn, f"{key}_score")
        theirs = function(labels, predicted, labels=list(numbers), average=None, zero_division=np.nan)
        ours = [getattr(entry, key) for entry in result.per_class]
        assert [np.nan if value is None else value for value in ours] == NEAR(theirs, nan_ok=True)


@given(classified() | classified(coarse=False))
def test_the_area_of_each_class_equals_scikit_learns(case):
    labels, scores = case
    result = measure.classify(labels, scores, [])
    theirs = []
    for place, entry in enumerate(result.per_class):
        positive = labels == place
        if len(set(positive.tolist())) == 2:
            theirs.append(sklearn.roc_auc_score(positive, scores[:, place]))
            assert entry.roc_auc == NEAR(theirs[-1], abs=1e-12)
        else:
            assert entry.roc_auc is entry.curve is None
    assert result.roc_auc_avg == (NEAR(sum(theirs) / len(theirs)) if theirs else None)


@given(binary())
def test_curves_equal_scikit_learns(case):
    positive, scores = case
    found = steps(positive, scores)
    assert found is not None
    curve = found.curve()
    fpr, tpr, thresholds = sklearn.roc_curve(positive, scores, drop_intermediate=False)
    assert curve.fpr == NEAR(fpr[::-1].tolist())
    assert curve.tpr == NEAR(tpr[::-1].tolist())
    assert curve.thresholds[:-1] == NEAR(thresholds[::-1][:-1].tolist())
    assert found.roc_auc == NEAR(sklearn.roc_auc_score(positive, scores), abs=1e-12)
    precision, recall, _ = sklearn.precision_recall_curve(positive, scores)
    assert curve.precision == NEAR(precision.tolist())
    assert curve.tpr == NEAR(recall.tolist())


@given(binary())
def test_no_threshold_is_better_than_the_best_one(case):
    positive, scores = case
    found = steps(positive, scores)
    assert found is not None
    best = found.best_cut()
    tried = [*scores, np.nextafter(scores.max(), np.inf)]
    assert best.accuracy == max(((scores >= threshold) == positive).mean() for threshold in tried)
    flagged = scores >= best.threshold
    assert best.accuracy == (flagged == positive).mean()
    assert best.recall == sklearn.recall_score(positive, flagged)
    assert best.fpr == flagged[~positive].mean()
    assert best.precision == (sklearn.precision_score(positive, flagged) if flagged.any() else None)


def test_the_best_threshold_lies_between_two_scores():
    found = steps(np.array([False, False, True, True]), np.array([1.0, 2.0, 4.0, 5.0]))
    assert found is not None
    assert (found.best_cut().threshold, found.best_cut().accuracy) == (3, 1)


@pytest.mark.parametrize("samples", [3000, 30_000])
def test_a_thinned_curve_keeps_its_ends_and_its_area(samples):
    random = np.random.default_rng(samples)
    positive = random.random(samples) < 0.3
    found = steps(positive, random.normal(size=samples) + positive)
    assert found is not None
    curve = found.curve()
    assert 150 < len(curve.fpr) <= 200
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (1, 1, 0, 0)
    assert list(curve.thresholds) == sorted(set(curve.thresholds))
    assert sklearn.auc(curve.fpr, curve.tpr) == NEAR(found.roc_auc, abs=0.01)


def test_a_classifier_by_hand():
    outputs = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]
    result = measure.classify([0, 0, 1, 2], outputs, LABELS, name="kws")
    assert result.confusion_matrix == ((1, 1, 0), (0, 1, 0), (0, 0, 1))
    assert (result.accuracy, result.score, result.samples, result.classes) == (0.75, 0.75, 4, LABELS)
    assert [entry.recall for entry in result.per_class] == [0.5, 1, 1]
    assert [entry.precision for entry in result.per_class] == [1, 0.5, 1]
    assert result.roc_auc == (1, 1, 1)
    assert result.gate_metric == ("accuracy", 0.75, True)
    assert result.headline() == "accuracy 75.0 %, AUC 1.000"
    assert result.are_probabilities


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 2, 1, 1]),
        np.array([0, 2, 1, 1], np.uint8),
        np.array([0.0, 2, 1, 1], np.float32),
        [[0], [2], [1], [1]],
        np.eye(3)[[0, 2, 1, 1]],
        np.eye(3, dtype=np.int8)[[0, 2, 1, 1]],
        np.eye(3, dtype=bool)[[0, 2, 1, 1]],
        np.eye(3)[[0, 2, 1, 1]] * 0.9 + 0.03,
    ],
    ids=["indices", "uint8", "float32", "column", "one-hot", "int8 one-hot", "bool one-hot", "smoothed"],
)
def test_labels_may_come_in_any_usual_shape(labels):
    outputs = softmax(np.random.default_rng(3).normal(size=(4, 3)))
    assert measure.classify(labels, outputs, LABELS) == measure.classify([0, 2, 1, 1], outputs, LABELS)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 1, 1)])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 0, 1], np.eye(2)[[0, 0, 1, 1, 0, 1]]], ids=["indices", "one-hot"])
def test_a_single_output_is_of_class_1_from_one_half_on(shape, labels):
    outputs = np.reshape([0.1, 0.5, 0.5, 0.9, 0.499, 0.2], shape)
    result = measure.classify(labels, outputs, ["no", "yes"])
    assert result.confusion_matrix == ((2, 1), (1, 2))
    assert result.cut == 0.5
    assert result.are_probabilities
    area = sklearn.roc_auc_score([0, 0, 1, 1, 0, 1], np.ravel(outputs))
    assert result.roc_auc == NEAR((area, area))


def test_the_curve_of_class_0_of_a_single_output_has_thresholds_of_its_probability():
    result = measure.classify([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8], [])
    curve = result.per_class[0].curve
    assert curve is not None
    assert curve.thresholds == NEAR((0.2, 0.3, 0.8, 0.9, 0.9))
    assert result.per_class[0].tpr is not None
    assert result.per_class[0].tpr[79] == 1  # both are class 0 with 0.8 or more
    assert result.per_class[0].tpr[85] == 0.5


def test_tiny_outputs_are_not_taken_for_equal():
    result = measure.classify([0, 0, 1, 1], np.array([1e-30, 1e-28, 1e-26, 1e-24], np.float32), [])
    assert result.roc_auc == (1, 1)


def test_a_single_logit_is_of_class_1_from_zero_on_and_the_summary_says_so():
    result = measure.classify([0, 0, 1, 1], [-3.0, -0.2, 0.1, 5.0], ["no", "yes"])
    assert (result.accuracy, result.cut, result.are_probabilities) == (1, 0, False)
    assert "Class 1 begins at an output of 0." in result.summary()


def test_the_cut_of_a_single_output_can_be_chosen():
    assert measure.classify([0, 1, 1], [0.1, 0.3, 0.4], [], cut=0.25).accuracy == 1


def test_logits_give_the_same_classes_as_probabilities_and_the_summary_says_what_the_areas_are_of():
    logits = np.random.default_rng(4).normal(size=(50, 3)) * 5
    labels = np.arange(50) % 3
    ours = measure.classify(labels, logits, LABELS)
    assert ours.confusion_matrix == measure.classify(labels, softmax(logits), LABELS).confusion_matrix
    assert not ours.are_probabilities
    assert "each AUC is of raw outputs" in ours.summary()
    assert (ours.thresholds[0], ours.thresholds[-1]) == (logits.min(), logits.max())


def test_integers_of_one_quantization_are_scores_as_good_as_any():
    probabilities = softmax(np.random.default_rng(5).normal(size=(60, 3)))
    quantized = (np.round(probabilities * 256) - 128).clip(-128, 127).astype(np.int8)
    labels = np.arange(60) % 3
    ours = measure.classify(labels, quantized, LABELS)
    dequantized = measure.classify(labels, (quantized.astype(np.float32) + 128) / 256, LABELS)
    assert ours.confusion_matrix == dequantized.confusion_matrix
    assert ours.roc_auc == dequantized.roc_auc
    assert dequantized.are_probabilities


def test_of_equal_outputs_the_first_names_the_class():
    assert measure.classify([0, 1], np.full((2, 3), 1 / 3), LABELS).confusion_matrix[1] == (1, 0, 0)


def test_a_class_without_samples_has_no_area_and_no_recall():
    result = measure.classify([0, 1, 1], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], LABELS)
    missing = result.per_class[2]
    assert (missing.recall, missing.roc_auc, missing.curve, missing.tpr) == (None, None, None, None)
    assert missing.precision == 0  # it was taken for one, wrongly
    assert result.roc_auc == (1, 0.75, None)
    assert result.roc_auc_avg == 0.875
    never = measure.classify([0, 1], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], LABELS).per_class[2]
    assert (never.precision, never.recall, never.f1) == (None, None, None)


def test_samples_of_one_class_only_have_no_areas():
    result = measure.classify([1, 1], [[0.3, 0.7], [0.6, 0.4]], [])
    assert result.roc_auc == (None, None)
    assert result.roc_auc_avg is None
    assert result.headline() == "accuracy 50.0 %"
    assert result.classes == ("0", "1")


def test_the_summary_has_the_worst_class_first_and_the_pair_that_is_confused_most():
    outputs = np.eye(3)[[0, 1, 1, 1, 0, 2]]
    text = measure.classify([0, 0, 0, 1, 1, 2], outputs, LABELS, name="kws").summary()
    lines = text.splitlines()
    assert lines[:3] == [
        "Name: kws",
        "Model Type: classification",
        "Overall accuracy: 50.000 % (3 of 6 samples)",
    ]
    assert "Most often confused: up taken for down, 2 times" in lines
    assert [line.split(" = ")[0] for line in lines[-3:]] == ["- up", "- down", "- left"]


def test_the_json_has_mltks_keys_in_mltks_shapes():
    outputs = softmax(np.random.default_rng(6).normal(size=(40, 3)))
    made = measure.classify(np.arange(40) % 3, outputs, LABELS, name="kws").to_json()
    assert (made["name"], made["model_type"], made["classes"]) == ("kws", "classification", list(LABELS))
    assert len(made["class_accuracies"]) == len(made["roc_auc"]) == 3
    assert len(made["roc_thresholds"]) == 101
    assert [len(rates) for rates in made["fpr"] + made["tpr"]] == [101] * 6
    assert [len(values) for values in made["precision"]] == [len(values) for values in made["recall"]]
    assert np.sum(made["confusion_matrix"]) == 40
    assert made["overall_accuracy"] == NEAR(np.trace(made["confusion_matrix"]) / 40)
    assert isinstance(made["roc_auc_avg"], float)


def test_rates_at_mltks_thresholds_are_the_shares_at_or_above():
    result = measure.classify([1, 1, 0, 0], [[0.2, 0.8], [0.5, 0.5], [0.6, 0.4], [1.0, 0.0]], [])
    entry = result.per_class[1]
    assert entry.tpr is not None
    assert entry.fpr is not None
    assert [entry.tpr[place] for place in (0, 50, 51, 79, 81, 100)] == [1, 1, 0.5, 0.5, 0, 0]
    assert [entry.fpr[place] for place in (0, 1, 39, 41, 100)] == [1, 0.5, 0.5, 0, 0]


# Regression


@given(regressed())
def test_errors_of_a_regression_equal_scikit_learns(case):
    targets, outputs = case
    result = measure.regress(targets, outputs)
    assert result.mse == NEAR(sklearn.mean_squared_error(targets, outputs))
    assert result.rmse == NEAR(sklearn.mean_squared_error(targets, outputs) ** 0.5)
    assert result.mae == NEAR(sklearn.mean_absolute_error(targets, outputs))
    assert result.max_error == np.abs(outputs - targets).max()
    if len(result.fits) > 1:
        assert [fit.mse for fit in result.fits] == NEAR(
            sklearn.mean_squared_error(targets, outputs, multioutput="raw_values")
        )
    assume((np.ptp(targets, axis=0) > 1e-3).all())
    assert result.r2 == NEAR(sklearn.r2_score(targets, outputs), rel=1e-6)


def test_a_column_of_targets_is_not_spread_over_a_row_of_outputs():
    assert measure.regress([1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]]).mse == 0


def test_unsigned_integers_do_not_wrap_around():
    assert measure.regress(np.array([0, 255], np.uint8), np.array([255, 0], np.uint8)).mae == 255


@pytest.mark.parametrize("targets", [[0.1, 0.1, 0.1], [5.0]])
def test_targets_that_never_change_have_no_r2(targets):
    result = measure.regress(targets, np.arange(len(targets)))
    assert (result.r2, result.fits[0].r2) == (None, None)
    assert "R2: undefined" in result.summary()


@pytest.mark.parametrize(("outputs", "fits"), [(1, 1), (3, 3), (8, 8), (9, 1)])
def test_there_are_at_most_2000_points_and_the_worst_is_among_them(outputs, fits):
    random = np.random.default_rng(7)
    targets = random.normal(size=(9001, outputs))
    given = targets + random.normal(size=targets.shape)
    given[4321, 0] = targets[4321, 0] + 100
    result = measure.regress(targets, given)
    assert len(result.fits) == fits
    assert 1900 < sum(len(fit.points) for fit in result.fits) <= 2000
    assert (targets[4321, 0], given[4321, 0]) in result.fits[0].points
    assert sum(sum(fit.errors.counts) for fit in result.fits) == targets.size


def test_a_regression_in_words():
    result = measure.regress([0.0, 1.0, 2.0, 3.0], [0.5, 1.0, 2.0, 2.5], name="sine")
    assert result.headline() == "MAE 0.25, MSE 0.125"
    assert result.gate_metric == ("mae", 0.25, False)
    assert result.summary().splitlines()[:3] == [
        "Name: sine",
        "Model Type: regression",
        "Mean absolute error: 0.25 (4 samples)",
    ]
    two = measure.regress([[0.0, 1.0], [1.0, 2.0]], [[0.0, 1.5], [1.0, 2.5]]).summary()
    assert "- output 1: MAE 0.5, MSE 0.25, R2 0.000" in two


# Reconstruction


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1], [[0], [0], [0], [7], [-1]], np.eye(3)[[0, 0, 0, 2, 1]]])
def test_an_autoencoder_by_hand(labels):
    inputs, errors = np.zeros((5, 2, 2)), np.array([1.0, 2, 3, 2.5, 4])
    outputs = inputs + errors[:, None, None]
    result = measure.reconstruct(inputs, outputs, labels, name="vib")
    assert result.mse == NEAR((errors**2).mean())
    assert result.mae == NEAR(errors.mean())
    assert [(group.label, group.samples) for group in result.groups] == [("normal", 3), ("abnormal", 2)]
    assert result.groups[0].mse == NEAR(14 / 3)
    found = result.detection
    assert found is not None
    assert found.roc_auc == NEAR(5 / 6)
    # Flag 4 alone, or 2.5, 3 and 4: each has one of five wrong, and the higher threshold is taken.
    assert (found.best.accuracy, found.best.precision, found.best.recall) == (0.8, 1, 0.5)
    assert found.best.threshold == NEAR((9 + 16) / 2)
    assert found.pr_accuracy == NEAR((2 / 3 + 1) / 2)
    assert result.gate_metric == ("auc", found.roc_auc, True)
    assert result.headline() == f"MSE {result.mse:.3g}, AUC 0.833"


@given(binary())
def test_the_area_of_an_autoencoder_equals_scikit_learns(case):
    abnormal, scores = case
    outputs = scores[:, None] / 1000
    result = measure.reconstruct(np.zeros_like(outputs), outputs, abnormal)
    assert result.detection is not None
    assert result.detection.roc_auc == NEAR(sklearn.roc_auc_score(abnormal, outputs[:, 0] ** 2), abs=1e-12)
    for group, chosen in zip(result.groups, (~abnormal, abnormal), strict=True):
        assert sum(group.scores.counts) == group.samples == chosen.sum()


def test_without_labels_the_scores_are_all_together():
    result = measure.reconstruct(np.zeros((3, 4)), np.ones((3, 4)))
    assert [(group.label, group.samples) for group in result.groups] == [("all", 3)]
    assert result.detection is None
    assert result.headline() == "MSE 1"


@pytest.mark.parametrize(("label", "group"), [(0, "normal"), (1, "abnormal")])
def test_samples_of_one_kind_cannot_be_parted(label, group):
    result = measure.reconstruct(np.zeros((3, 4)), np.ones((3, 4)), [label] * 3)
    assert result.detection is None
    assert [entry.label for entry in result.groups] == [group]


def test_only_few_samples_at_a_time_become_doubles():
    inputs = np.zeros((1000, 100, 100), np.uint8)
    inputs[::2] = 255
    tracemalloc.start()
    result = measure.reconstruct(inputs, 255 - inputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.mae == 255
    assert peak < 60e6  # of 80 MB for the inputs alone


def test_the_json_of_an_autoencoder_has_mltks_keys():
    made = measure.reconstruct(np.zeros((4, 1)), [[1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1], name="vib").to_json()
    assert (made["name"], made["model_type"], made["classes"]) == ("vib", "auto_encoder", ["normal", "abnormal"])
    assert (made["overall_accuracy"], made["overall_pr_accuracy"], made["overall_roc_auc"]) == (1, 1, 1)
    keys = ["thresholds", "overall_fpr", "overall_tpr", "overall_precision", "overall_recall"]
    assert {len(made[key]) for key in keys} == {5}
    assert (made["overall_fpr"][0], made["overall_tpr"][0], made["overall_recall"][-1]) == (1, 1, 0)


def test_an_autoencoder_in_words():
    text = measure.reconstruct(np.zeros((4, 1)), [[1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1], name="vib").summary()
    assert text.splitlines()[:5] == [
        "Name: vib",
        "Model Type: auto_encoder",
        "Overall ROC AUC: 1.000",
        "Overall accuracy: 100.000 % at the best threshold, 6.5",
        "- precision 100.000 %, recall 100.000 %",
    ]


# Agreement


def test_equal_outputs_agree():
    outputs = np.arange(12, dtype=np.int8).reshape(4, 3)
    found = measure.agreement(outputs, outputs.copy())
    assert (found.equal, found.greatest, found.argmax_differs, found.worst_sample) == (1, 0, 0, None)
    assert found.headline() == "all outputs of 4 samples equal"


def test_integers_differ_in_steps():
    first = np.array([[-128, 0, 1], [5, 4, 3], [127, 0, 0]], np.int8)
    second = np.array([[127, 0, 1], [5, 6, 3], [127, 0, 0]], np.int8)
    found = measure.agreement(first, second)
    assert (found.samples, found.greatest, found.unit, found.worst_sample) == (3, 255, "steps", 0)
    assert found.equal == NEAR(7 / 9)
    assert found.argmax_differs == 2
    assert "at most 255 steps apart (sample 0), highest output elsewhere in 2 of 3 samples" in found.headline()


def test_floats_differ_relative_to_their_greatest_magnitude():
    found = measure.agreement([[-4.0, 1e-9], [1.0, 2.0]], [[-4.0, 0.0], [1.0, 1.5]])
    assert (found.greatest, found.unit, found.worst_sample, found.equal) == (0.125, "relative", 1, 0.5)


def test_a_single_step_is_one_step():
    found = measure.agreement(np.zeros((2, 5), np.int8), np.eye(2, 5, dtype=np.int8))
    assert (
        found.headline()
        == "80.0 % of outputs equal, at most 1 step apart (sample 0), highest output elsewhere in 1 of 2 samples"
    )


# Refusals


@pytest.mark.parametrize(
    ("labels", "outputs", "classes", "message"),
    [
        ([0, 1], [[0.5, 0.5]], [], "number of labels is 2, but that of outputs 1"),
        (
            [0, 3],
            np.eye(2, 3),
            [],
            "label of sample 1 is 3, but the model tells 3 classes apart; give labels from 0 to 2",
        ),
        ([-1, 1], np.eye(2, 3), [], "label of sample 0 is -1"),
        ([0, 2], [0.1, 0.9], [], "tells 2 classes apart; give labels from 0 to 1"),
        ([0, 1.5], np.eye(2, 3), [], "label of sample 1 is 1.5, no whole number"),
        (np.eye(2, 4), np.eye(2, 3), [], "labels are of 4 classes, but the model tells 3 apart"),
        ([[1, 0, 0], [1, 1, 0]], np.eye(2, 3), [], "one-hot label of sample 1 does not mark one class"),
        ([[1, 0, 0], [0, 0, 0]], np.eye(2, 3), [], "one-hot label of sample 1 does not mark one class"),
        (["a", "b"], np.eye(2, 3), [], "labels have the dtype <U1"),
        ([0, np.nan], np.eye(2, 3), [], "labels of sample 1 are no finite"),
        ([0, 1], np.eye(2, 3), ["a", "b"], "classes names 2, but the model has 3 outputs"),
        ([0, 1], [0.1, 0.9], ["a"], "classes names 1, but a single output tells 2 classes apart"),
        ([0, 1], np.array([0, 255], np.uint8), [], "single output is uint8: .* give dequantized"),
        ([0, 1, 1], [[1, 0], [0, np.nan], [np.inf, 0]], [], r"outputs of sample 1 are no finite .*2 of 3"),
        ([0, 1], [[1.0, 0], [0, 1e300]], [], "outputs of sample 1 are no finite 32-bit floats"),
        ([], np.zeros((0, 3)), [], "outputs hold no samples"),
        (0, [[1.0, 0]], [], "labels hold no samples"),
    ],
)
def test_what_cannot_be_classified_is_refused_with_a_fix(labels, outputs, classes, message):
    with pytest.raises(UserError, match=message) as caught:
        measure.classify(labels, outputs, classes)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure.regress([1, 2], [1]), "number of targets is 2, but that of outputs 1"),
        (lambda: measure.regress([[1, 2]], [[1]]), "targets has 2 elements, but one of the outputs 1"),
        (lambda: measure.regress([np.nan], [1]), "targets of sample 0"),
        (lambda: measure.reconstruct([[1, 2]], [[1]]), "inputs has 2 elements"),
        (lambda: measure.reconstruct([1, 2], [1, np.inf]), "outputs of sample 1"),
        (lambda: measure.reconstruct([1, 2], [1, 2], [0]), "number of labels is 1, but that of outputs 2"),
        (lambda: measure.agreement([1], [1.0]), "int64 from one runtime and float64 from the other"),
        (
            lambda: measure.agreement([1, 2], [1]),
            "number of outputs of the first runtime is 2, but that of outputs of the second runtime 1",
        ),
        (lambda: measure.agreement([[1, 2]], [[1]]), "2 elements, but one of the outputs of the second runtime 1"),
        (lambda: measure.agreement([np.nan], [1.0]), "outputs of the first runtime of sample 0"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_fix(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert caught.value.fix


# JSON and text


@given(classified(), regressed(), binary())
def test_every_result_is_strict_json_and_the_same_each_time(classes, values, kinds):
    abnormal, scores = kinds
    made = [
        [
            measure.classify(*classes, []),
            measure.classify(abnormal, np.abs(scores) / (1 + np.abs(scores)), []),
            measure.regress(*values),
            measure.reconstruct(np.zeros_like(scores), scores, abnormal),
            measure.reconstruct(np.zeros_like(scores), scores),
            measure.agreement(*values),
        ]
        for _ in range(2)
    ]
    for first, second in zip(*made, strict=True):
        text = json.dumps(first.to_json(), allow_nan=False)
        assert text == json.dumps(second.to_json(), allow_nan=False)
        assert json.loads(text) == first.to_json()
        assert first.headline()
    for result in made[0][:-1]:
        assert result.summary().endswith("\n")
        assert "nan" not in result.summary()


@pytest.mark.parametrize(
    ("share", "places", "text"),
    [
        (1.0, 1, "100.0 %"),
        (0.9999, 1, "99.9 %"),
        (0.99999, 0, "99 %"),
        (0.5, 3, "50.000 %"),
        (None, 1, "undefined"),
    ],
)
def test_less_than_all_is_never_written_as_all(share, places, text):
    assert percent(share, places) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.000"), (0.99999, "0.999"), (0.5, "0.500"), (None, "undefined")]
)
def test_an_area_of_less_than_one_is_never_written_as_one(value, text):
    assert number(value) == text


@pytest.mark.parametrize("values", [[0.0, 5e-324], [1e30, 1e30], [0.0, 0.0], [-1e-40, 1e-40], [1.0, 1.0 + 1e-15]])
def test_values_too_near_to_be_parted_still_make_a_histogram(values):
    fit = measure.regress(np.zeros(2), values).fits[0]
    assert sum(fit.errors.counts) == 2
    assert list(fit.errors.edges) == sorted(set(fit.errors.edges))


def test_the_arithmetic_loads_neither_scikit_learn_nor_tensorflow():
    heavy = "{'sklearn', 'scipy', 'tensorflow', 'keras'}"
    code = f"import sys, doit_tflm.metrics.measure; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
