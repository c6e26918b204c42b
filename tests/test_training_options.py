"""The options of Keras's callbacks, and the state of a training: what is checked without TensorFlow."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Project
from doit_tflm import train_state
from doit_tflm.callback_options import CALLBACKS, CallbackOptions
from doit_tflm.errors import UserError
from doit_tflm.spec import ModelSpec
from doit_tflm.train import Asked, _data
from doit_tflm.train_callbacks import MAX_FILES, weights_files
from doit_tflm.train_state import Progress
from doit_tflm.training import _following


@pytest.mark.parametrize(
    ("attribute", "given", "said"),
    [
        ("early_stopping", {"patence": 3}, "early_stopping has no option 'patence'; did you mean 'patience'?"),
        ("checkpoint", {"monitr": "loss"}, "did you mean 'monitor'?"),
        ("checkpoint", {"filepath": "a.h5"}, "checkpoint has no option 'filepath'; use monitor"),
        ("reduce_lr_on_plateau", {"factr": 0.5}, "did you mean 'factor'?"),
        ("tensorboard", {"log_dir": "logs"}, "tensorboard has no option 'log_dir'"),
        ("lr_schedule", {"function": len}, "use schedule, verbose"),
        ("lr_schedule", {"schedule": 0.1}, "use a function of epoch and learning rate"),
        ("lr_schedule", 0.1, "give a dict"),
        ("early_stopping", True, "give a dict"),
        ("early_stopping", {"mode": "mn"}, "use 'auto' or 'min' or 'max'"),
        ("early_stopping", {"patience": "3"}, "use a whole number, 0 or more"),
        ("early_stopping", {"patience": 2.5}, "use a whole number, 0 or more"),
        ("early_stopping", {"min_delta": None}, "use a number"),
        ("early_stopping", {"restore_best_weights": 1}, "use True or False"),
        ("checkpoint", {"monitor": ""}, "the name of a metric"),
        ("checkpoint", {"save_freq": 100}, "use 'epoch'"),
    ],
)
def test_a_wrong_option_says_what_is_right(attribute: str, given: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        setattr(ModelSpec(), attribute, given)
    assert said in str(caught.value)


def test_an_option_is_checked_however_it_is_set() -> None:
    spec = ModelSpec()
    for change in (
        lambda: spec.early_stopping.update(patence=3),
        lambda: spec.early_stopping.setdefault("patence", 3),
        lambda: spec.early_stopping.__ior__({"patence": 3}),
    ):
        with pytest.raises(UserError, match="patience"):
            change()
    assert not spec.early_stopping


@pytest.mark.parametrize("attribute", CALLBACKS)
def test_none_and_an_empty_dict_take_a_callback_away(attribute: str) -> None:
    spec = ModelSpec()
    for nothing in (None, {}):
        setattr(spec, attribute, nothing)
        assert not getattr(spec, attribute)


def test_a_function_alone_is_the_schedule_as_in_mltk() -> None:
    spec = ModelSpec(lr_schedule=min)
    assert spec.lr_schedule == {"schedule": min}
    assert isinstance(spec.lr_schedule, CallbackOptions)
    assert spec.lr_schedule.plain() == {}


def test_to_resume_and_to_clean_exclude_each_other_and_epochs_are_some() -> None:
    with pytest.raises(UserError, match="--resume or --clean"):
        Asked(resume=True, clean=True)
    with pytest.raises(UserError, match="use 1 or more"):
        Asked(epochs=0)
    assert Asked(epochs=-1).epochs == -1


def test_a_log_that_is_followed_keeps_its_characters_whole(tmp_path: Path) -> None:
    log, output = tmp_path / "train.log", io.StringIO()
    with _following(log, output):
        for part in ("Übung ".encode(), "é".encode()[:1]):
            with log.open("ab") as stream:
                stream.write(part)
            time.sleep(0.5)
        with log.open("ab") as stream:
            stream.write("é".encode()[1:])
    assert output.getvalue() == "Übung é"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("x", ("x", None, None)),
        (("x",), ("x", None, None)),
        (("x", "y"), ("x", "y", None)),
        (("x", "y", "w"), ("x", "y", "w")),
    ],
)
def test_a_dataset_returns_x_with_or_without_y_and_weights(given: Any, wanted: tuple[Any, ...]) -> None:
    spec = ModelSpec(dataset=lambda subset: given if subset == "training" else None)
    data = _data(spec, "models/kws.py", dry_run=False)
    assert (data["x"], data["y"], data["sample_weight"]) == wanted


def test_a_state_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "train/state.npz"
    assert train_state.stored(path) is None
    callbacks = [{"class": "EarlyStopping", "numbers": {"best": float("inf"), "wait": 2.0}}]
    progress = Progress(3, True, {"loss": [3.0, 2.0, 1.0]}, 2, callbacks, {"epochs": 9})
    arrays = {"model/0": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/0": np.asarray(7)}
    train_state.store(path, progress, arrays)
    found = train_state.stored(path)
    assert found is not None
    assert found[0] == progress
    assert found[1].keys() == arrays.keys()
    assert all(np.array_equal(found[1][name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_damaged_state_is_an_error_with_the_fix(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "state.npz"
    train_state.store(path, Progress(1), {"model/0": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"damaged.*train with --clean"):
        train_state.stored(path)


def test_of_the_weights_the_best_and_the_newest_are_kept(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    for epoch in range(1, 21):
        (tmp_path / f"weights/weights-{epoch:03d}-0.5000.weights.h5").write_bytes(b"w")
    kept = weights_files(tmp_path, 3)
    assert [int(path.name[8:11]) for path in kept] == [3, *range(22 - MAX_FILES, 21)]
    assert sorted((tmp_path / "weights").iterdir()) == kept
    assert [int(path.name[8:11]) for path in weights_files(tmp_path, 3, 15)] == [3, 12, 13, 14, 15]


def test_a_misspelt_option_stops_at_the_specification_with_its_line(project: Project) -> None:
    project.edit("models/kws.py", "my_model.epochs = 3", 'my_model.early_stopping = {"patence": 3}')
    run = project.doit("quantize")
    assert run.code == 1
    assert "models/kws.py:20: early_stopping has no option 'patence'; did you mean 'patience'?" in run.out
