"""``doit train:NAME`` with the real Keras: what it writes, that it is repeatable, and what it does not lose."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import DODO, Project
from doit_tflm import archive

pytestmark = pytest.mark.slow

SPEC = """\
import numpy as np

from doit_tflm import ModelSpec

my_model = ModelSpec(description="twice x")
my_model.tflite_converter["inference_input_type"] = "int8"
my_model.tflite_converter["inference_output_type"] = "int8"
my_model.epochs = 2


def load(subset):
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    return x, 2 * x


def build(spec):
    import keras

    layers = [keras.layers.Dense(4), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((1,)), *layers])
    model.compile(optimizer=spec.optimizer, loss="mse")
    return model


my_model.dataset = load
my_model.build_model_function = build
"""
MEMBERS = {
    "twice.py",
    "twice.keras",
    "twice.keras.summary.txt",
    "twice.tflite",
    "twice.tflite.summary.txt",
    "train/log.txt",
    "train/training-history.json",
    "train/training-history.png",
}
ARCHIVE = "models/twice.mltk.zip"


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Project]:
    """Return a function that makes a project with an untrained model."""

    def project(directory: str) -> Project:
        made = Project(tmp_path / directory)
        made.write("dodo.py", DODO)
        made.write("models/twice.py", SPEC)
        return made

    return project


def test_training_writes_the_archive_and_then_quantizes(make: Callable[[str], Project]) -> None:
    project = make("one")
    missing = project.doit("quantize")
    assert missing.code == 1
    assert "no trained weights of twice; train it: doit train:twice" in missing.out
    run = project.doit("train:twice")
    assert run.code == 0, run.out + run.err
    assert set(archive.members(project.path(ARCHIVE))) == MEMBERS
    history = json.loads(archive.read_member(project.path(ARCHIVE), "train/training-history.json") or b"")
    assert sorted(history) == ["loss", "val_loss"]
    assert len(history["loss"]) == 2
    picture = archive.read_member(project.path(ARCHIVE), "train/training-history.png")
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    assert project.path("firmware/generated/twice_model_data.c").exists()
    assert project.build().stages == []
    assert project.doit("train:twice").stages == []


def test_training_is_seeded_and_an_edit_of_epochs_trains_again(make: Callable[[str], Project]) -> None:
    first, second = make("one"), make("two")
    for project in (first, second):
        assert project.doit("train:twice").code == 0
    weights = archive.read_member(first.path(ARCHIVE), "twice.keras")
    assert weights == archive.read_member(second.path(ARCHIVE), "twice.keras")
    assert first.path(ARCHIVE).read_bytes() == second.path(ARCHIVE).read_bytes()
    first.edit("models/twice.py", "epochs = 2", "epochs = 3")
    again = first.doit("train:twice")
    assert again.code == 0
    assert "train" in again.stages
    assert again.why("train") == "epochs: 2 → 3"
    assert archive.read_member(first.path(ARCHIVE), "twice.keras") != weights


def test_a_training_that_fails_or_is_killed_leaves_the_archive_whole(make: Callable[[str], Project]) -> None:
    project = make("one")
    assert project.doit("train:twice").code == 0
    before = project.path(ARCHIVE).read_bytes()
    project.edit("models/twice.py", 'loss="mse"', 'loss="mse", metrics=[1 / 0]')
    failed = project.doit("train:twice")
    assert failed.code == 1
    assert "ZeroDivisionError" in failed.out
    assert "models/twice.py" in failed.out
    assert project.path(ARCHIVE).read_bytes() == before
    project.edit("models/twice.py", "metrics=[1 / 0]", "metrics=[]")
    project.edit("models/twice.py", "epochs = 2", "epochs = 100000")
    running = project.start("train:twice")
    log = project.path("build/twice/train.log")
    while not (log.exists() and b"Epoch 3/" in log.read_bytes()):
        assert running.poll() is None
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert project.path(ARCHIVE).read_bytes() == before
    project.edit("models/twice.py", "epochs = 100000", "epochs = 2")
    assert project.doit("train:twice").code == 0
    assert set(archive.members(project.path(ARCHIVE))) == MEMBERS
    assert not list(project.root.glob("**/.*.part"))


def test_a_spec_that_cannot_be_trained_says_why(make: Callable[[str], Project]) -> None:
    project = make("one")
    project.edit("models/twice.py", "my_model.build_model_function = build\n", "")
    run = project.doit("train:twice")
    assert run.code == 1
    assert "models/twice.py: has no build_model_function; set it" in run.out


def test_training_sees_data_that_changed_and_keras_2_takes_the_place_of_keras_3(
    make: Callable[[str], Project],
) -> None:
    project = make("one")
    project.write("gain.txt", "2")
    project.edit("models/twice.py", "return x, 2 * x", "return x, float(open('gain.txt').read()) * x")
    assert project.doit("train:twice").code == 0
    assert project.doit("train:twice").stages == []
    project.write("gain.txt", "5")
    again = project.doit("train:twice")
    assert again.why("train") == "gain.txt changed"
    model = archive.read_member(project.path(ARCHIVE), "twice.tflite")
    project.edit("models/twice.py", "    import keras\n", "    import tf_keras as keras\n")
    older = project.doit("train:twice")
    assert older.code == 0, older.out + older.err
    held = archive.members(project.path(ARCHIVE))
    assert "twice.h5" in held
    assert "twice.keras" not in held
    assert archive.read_member(project.path(ARCHIVE), "twice.tflite") != model


def test_a_layer_of_the_users_own_is_found_and_its_code_counts(make: Callable[[str], Project]) -> None:
    project = make("one")
    layer = """\
import keras


@keras.saving.register_keras_serializable(package="mine")
class Scale(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


def build(spec):
    import keras

    layers = [Scale(), """
    project.edit("models/twice.py", "def build(spec):\n    import keras\n\n    layers = [", layer)
    trained = project.doit("train:twice")
    assert trained.code == 0, trained.out + trained.err
    project.path("build/twice/calibrated.tflite").unlink()
    assert project.build().stages == ["calibrate"], "in a worker that has not run the script"
    project.edit("models/twice.py", "x * 2.0", "x * 9.0")
    run = project.build()
    assert {"spec", "calibrate", "quantize", "header"} <= set(run.stages)
    assert "sample" not in run.stages
    assert run.why("calibrate") == "models/twice.py changed"
