"""The best of the weights that a training keeps."""

from __future__ import annotations

import pytest

from doit_tflm import UserError
from doit_tflm.epochs import best_epoch

HISTORY = {"loss": [0.9, 0.5, 0.4], "val_loss": [0.8, 0.3, 0.6], "val_accuracy": [0.5, 0.9, 0.7]}


def test_the_lowest_loss_is_the_best() -> None:
    names = ["weights-001-0.8000.h5", "weights-002-0.3000.h5", "weights-003-0.6000.h5"]
    assert best_epoch(names, HISTORY) == "weights-002-0.3000.h5"


def test_the_highest_accuracy_is_the_best() -> None:
    names = ["weights-001-0.5000.keras", "weights-003-0.7000.keras"]
    assert best_epoch(names, HISTORY) == "weights-003-0.7000.keras"


@pytest.mark.parametrize(
    "metric", ["val_f1_score", "val_precision", "recall_1", "val_mean_io_u", "val_cosine_similarity"]
)
def test_the_highest_of_other_metrics_that_keras_raises_is_the_best(metric: str) -> None:
    names = ["weights-001-0.5000.keras", "weights-002-0.6000.keras"]
    assert best_epoch(names, {"loss": [2.0, 1.0], metric: [0.5, 0.6]}) == names[1]


@pytest.mark.parametrize("metric", ["val_mae", "mean_squared_error", "val_categorical_crossentropy"])
def test_the_lowest_error_is_the_best(metric: str) -> None:
    names = ["weights-001-0.5000.keras", "weights-002-0.6000.keras"]
    assert best_epoch(names, {"loss": [2.0, 1.0], metric: [0.5, 0.6]}) == names[0]


def test_the_learning_rate_is_not_what_was_monitored() -> None:
    assert best_epoch(["weights-001-0.0010.h5"], {"val_loss": [0.00099], "learning_rate": [0.001]})


def test_of_equals_the_first_is_the_best() -> None:
    history = {"val_loss": [0.5, 0.5]}
    assert best_epoch(["weights-002-0.5000.h5", "weights-001-0.5000.h5"], history) == "weights-001-0.5000.h5"


def test_other_files_do_not_count() -> None:
    assert best_epoch(["notes.txt", "weights-001-0.8000.h5"], HISTORY) == "weights-001-0.8000.h5"


def test_a_metric_may_be_there_from_a_later_epoch_on() -> None:
    assert (
        best_epoch(["weights-002-0.3000.h5"], {**HISTORY, "val_mae": [None, 0.4, 0.5]}) == "weights-002-0.3000.h5"
    )


@pytest.mark.parametrize(
    ("names", "history"),
    [
        ([], HISTORY),
        (["weights-001.h5"], HISTORY),
        (["weights-001-0.1234.h5"], HISTORY),
        (["weights-009-0.8000.h5"], HISTORY),
        (["weights-001-0.5000.h5"], {"loss": [0.5], "accuracy": [0.5]}),
        (["weights-001-0.5000.h5"], {}),
        (["weights-001-0.5000.h5", "weights-002-0.6000.h5"], {"my_measure": [0.5, 0.6]}),
    ],
)
def test_what_does_not_tell_is_an_error(names: list[str], history: dict[str, list[float]]) -> None:
    with pytest.raises(UserError, match="which epoch is the best cannot be told"):
        best_epoch(names, history)
