"""Training with the real Keras and the real doit: what each option does, kills, resuming, dry runs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import DODO, HERE, Project, Run
from doit_tflm import archive

pytestmark = pytest.mark.slow

ARCHIVE = "models/sums.mltk.zip"
SCRIPT = "models/sums.py"
SPEC = """\
import numpy as np

from doit_tflm import ModelSpec

my_model = ModelSpec(description="a sum")
my_model.tflite_converter["inference_input_type"] = "int8"
my_model.tflite_converter["inference_output_type"] = "int8"
my_model.tflite_converter["representative_dataset_max_samples"] = 20
my_model.epochs = 3
my_model.batch_size = 16


def load(subset):
    x = np.random.default_rng(len(subset)).uniform(-1, 1, (64, 4)).astype(np.float32)
    return x, x.sum(axis=1, keepdims=True)


def build(spec):
    import keras

    layers = [keras.layers.Dense(4), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer="adam", loss="mse")
    return model


my_model.dataset = load
my_model.build_model_function = build
"""
KILLS = """\


def callbacks():
    import os
    import zipfile

    import keras

    def die():
        os.kill(os.getppid(), 9)
        os.kill(os.getpid(), 9)

    def begin(epoch, logs):
        if os.path.exists(f"kill-after-{epoch}"):
            die()

    def end(logs):
        write, rename = zipfile.ZipFile.writestr, os.replace

        def writestr(archive, info, content):
            if getattr(info, "filename", "") == "train/training-history.png":
                die()
            return write(archive, info, content)

        def replace(old, new):
            if str(new).endswith(".mltk.zip"):
                die()
            return rename(old, new)

        if os.path.exists("kill-writing"):
            zipfile.ZipFile.writestr = writestr
        if os.path.exists("kill-renaming"):
            os.replace = replace

    return [keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_train_end=end)]


my_model.train_callbacks = callbacks
my_model.early_stopping = {"patience": 9, "restore_best_weights": True}
my_model.reduce_lr_on_plateau = {"patience": 1, "factor": 0.5, "min_delta": 1.0}
my_model.checkpoint = {"monitor": "val_loss"}
"""

Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes a project with an untrained model and the stand-in converter."""

    def project(more: str = "", directory: str = "one", spec: str = SPEC) -> Project:
        made = Project(tmp_path / directory)
        made.write("dodo.py", DODO)
        made.write("pyproject.toml", '[tool.doit-tflm]\nconverter = "standin:Converter"\n')
        shutil.copy(HERE / "standin.py", made.path("standin.py"))
        made.write(SCRIPT, f"{spec}{more}")
        return made

    return project


def train(project: Project, *arguments: str, model: str = "sums") -> Run:
    """Run ``doit-tflm train``."""
    done = subprocess.run(
        [sys.executable, "-m", "doit_tflm", "train", model, *arguments],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def trained(project: Project, *arguments: str) -> Run:
    run = train(project, *arguments)
    assert run.code == 0, run.out + run.err
    return run


def history_of(project: Project, path: str = ARCHIVE) -> dict[str, Any]:
    content = archive.read_member(project.path(path), "train/training-history.json")
    assert content is not None
    found: dict[str, Any] = json.loads(content)
    return found


def test_a_training_killed_anywhere_leaves_the_archive_and_resumes_to_the_same_bytes(make: Make) -> None:
    whole, cut = make(KILLS, "whole"), make(KILLS, "cut")
    trained(whole)
    trained(cut, "--epochs", "1")
    before = cut.path(ARCHIVE).read_bytes()
    assert len(history_of(cut)["loss"]) == 1
    resume: tuple[str, ...] = ()
    for moment in ("kill-after-1", "kill-after-2", "kill-writing", "kill-renaming"):
        cut.write(moment, "")
        assert train(cut, *resume).code == -9, moment
        assert cut.path(ARCHIVE).read_bytes() == before, moment
        cut.path(moment).unlink()
        resume = ("--resume",)
    run = trained(cut, "--resume")
    assert "sums: trained 3 epochs; the weights are of epoch" in run.out
    assert "Epoch" not in cut.path("build/sums/train.log").read_text(), "there was nothing left to train"
    assert history_of(cut) == history_of(whole)
    assert {name: archive.read_member(cut.path(ARCHIVE), name) for name in archive.members(cut.path(ARCHIVE))} == {
        name: archive.read_member(whole.path(ARCHIVE), name) for name in archive.members(whole.path(ARCHIVE))
    }
    assert not [*cut.root.glob("**/.*.part")]


def test_the_best_weights_are_those_of_the_best_epoch_and_the_schedule_is_followed(make: Make) -> None:
    project = make(
        """
def rate(epoch, rate):
    return [0.01, 0.02, 5.0, 0.0][epoch]


def done(results):
    x, y = load("validation")
    told = {
        "val_loss": float(results.keras_model.evaluate(x, y, verbose=0)),
        "archive": results.model_archive_path,
        "best": results.best_epoch,
        "epochs": results.epochs,
        "losses": len(results.history["loss"]),
    }
    import json
    with open("build/told.json", "w") as file:
        json.dump(told, file)


my_model.epochs = 4
my_model.lr_schedule = rate
my_model.reduce_lr_on_plateau["factor"] = 0.5
my_model.checkpoint = {"monitor": "val_loss", "save_best_only": False}
my_model.on_training_complete = done
"""
    )
    trained(project)
    history = history_of(project)
    assert history["learning_rate"] == pytest.approx([0.01, 0.02, 5.0, 0.0])
    best = min(range(4), key=history["val_loss"].__getitem__) + 1
    assert best < 3, "the large step made it worse"
    told = json.loads(project.path("build/told.json").read_text())
    assert told.pop("val_loss") == pytest.approx(history["val_loss"][best - 1], rel=1e-5)
    assert told == {"archive": ARCHIVE, "best": best, "epochs": [0, 1, 2, 3], "losses": 4}
    names = [name for name in archive.members(project.path(ARCHIVE)) if name.startswith("train/weights/")]
    losses = history["val_loss"]
    assert names == [f"train/weights/weights-{e:03d}-{losses[e - 1]:.4f}.keras" for e in range(1, 5)]
    weights = archive.read_member(project.path(ARCHIVE), "sums.keras")
    same = [archive.read_member(project.path(ARCHIVE), name) == weights for name in names]
    assert same == [e == best for e in range(1, 5)]
    # Without checkpoints, the last weights, and none of single epochs.
    project.edit(SCRIPT, 'my_model.checkpoint = {"monitor": "val_loss", "save_best_only": False}\n', "")
    trained(project)
    assert "sums.keras" in archive.members(project.path(ARCHIVE))
    assert not [name for name in archive.members(project.path(ARCHIVE)) if name.startswith("train/weights/")]
    assert json.loads(project.path("build/told.json").read_text())["best"] == 4


def test_early_stopping_ends_a_training_of_as_many_epochs_as_it_takes(make: Make) -> None:
    project = make(
        "my_model.epochs = -1\nmy_model.lr_schedule = lambda epoch, rate: 0.0\n"
        'my_model.early_stopping["patience"] = 2\n'
    )
    run = trained(project)
    assert "sums: trained 3 epochs, stopped early; the weights are of epoch 3" in run.out
    assert len(history_of(project)["loss"]) == 3
    again = trained(project, "--resume", "--epochs", "9")
    assert "sums: trained 3 epochs, stopped early" in again.out
    project.edit(
        SCRIPT, '["patience"] = 2', '["patience"] = 2\nmy_model.early_stopping["restore_best_weights"] = True'
    )
    best = trained(project)
    assert "sums: trained 3 epochs, stopped early; the weights are of epoch 1 " in best.out
    project.edit(SCRIPT, 'my_model.early_stopping["patience"] = 2\n', "")
    project.edit(SCRIPT, 'my_model.early_stopping["restore_best_weights"] = True\n', "")
    endless = train(project)
    assert endless.code == 1
    assert "epochs is -1, but nothing would end the training; set early_stopping" in endless.out


def test_a_finished_training_goes_on_to_more_epochs_and_reduces_the_rate(make: Make) -> None:
    plateau = 'my_model.reduce_lr_on_plateau = {"patience": 1, "factor": 0.5, "min_delta": 9.0}\n'
    project, whole = make(plateau, "one"), make(plateau, "whole")
    trained(whole, "--epochs", "4")
    trained(project, "--epochs", "2")
    trained(project, "--resume", "--epochs", "4")
    assert history_of(project) == history_of(whole)
    assert history_of(project)["learning_rate"] == pytest.approx([0.001, 0.001, 0.0005, 0.00025])
    assert project.path(ARCHIVE).read_bytes() == whole.path(ARCHIVE).read_bytes()
    # It was not what the specification says: doit trains that.
    assert project.doit("train:sums").why("train") == "epochs is now as specified"
    whole.write("build/sums/train/tensorboard/an-earlier-training", "")
    trained(whole, "--epochs", "1")
    assert whole.path("build/sums/train/tensorboard/an-earlier-training").exists()
    trained(whole, "--clean", "--epochs", "1")
    assert [path.name for path in whole.path("build/sums/train").iterdir()] == ["state.npz"]
    whole.path("build/sums/train/state.npz").unlink()
    assert "there is nothing to resume from: trained from the beginning" in trained(whole, "--resume").out


def test_a_training_goes_on_with_metrics_and_callbacks_that_it_did_not_have(make: Make) -> None:
    project = make()
    trained(project, "--epochs", "2")
    more = 'my_model.reduce_lr_on_plateau["patience"] = 1\nmy_model.checkpoint["monitor"] = "val_mae"\n'
    project.write(SCRIPT, SPEC.replace('loss="mse"', 'loss="mse", metrics=["mae"]') + more)
    run = trained(project, "--resume", "--epochs", "3")
    assert "resumed, but the specification has changed since" in run.out
    assert "the weights are of epoch 3 " in run.out, "the first that is known of val_mae"
    history = history_of(project)
    assert len(history["loss"]) == 3
    assert history["learning_rate"][:2] == history["val_mae"][:2] == [None, None]
    assert None not in (history["learning_rate"][2], history["val_mae"][2])
    project.write(SCRIPT, SPEC)
    trained(project, "--resume", "--epochs", "4")
    assert history_of(project)["val_mae"][3] is None


def test_without_checkpoints_enabled_no_state_is_stored_and_nothing_can_be_resumed(make: Make) -> None:
    project = make("my_model.checkpoints_enabled = False\n")
    trained(project, "--epochs", "1")
    assert not project.path("build/sums/train/state.npz").exists()
    assert "there is nothing to resume from" in trained(project, "--resume", "--epochs", "1").out


def test_tensorboard_writes_below_the_build_directory_or_says_that_it_is_not_installed(make: Make) -> None:
    project = make('my_model.tensorboard["write_graph"] = False\n')
    run = train(project, "--epochs", "1")
    if importlib.util.find_spec("tensorboard") is None:
        assert (run.code, project.path(ARCHIVE).exists()) == (1, False)
        assert "tensorboard is set, but TensorBoard is not installed; pip install tensorboard" in run.out
    else:
        assert run.code == 0, run.out + run.err
        assert [*project.path("build/sums/train/tensorboard").rglob("events.out.*")]


def test_a_dry_run_has_an_archive_of_its_own(make: Make) -> None:
    project = make('my_model.checkpoint = {"monitor": "val_loss"}\n')
    trained(project, "--epochs", "2")
    before, state = project.path(ARCHIVE).read_bytes(), project.path("build/sums/train/state.npz").read_bytes()
    headers = project.path("firmware/generated/sums_model_data.h").stat()
    run = train(project, model="sums-test")
    assert run.code == 0, run.out + run.err
    assert "sums-test: trained 1 epoch;" in run.out
    assert "3/3 " in project.path("build/sums-test/train.log").read_text()
    assert project.path(ARCHIVE).read_bytes() == before
    assert project.path("build/sums/train/state.npz").read_bytes() == state
    assert project.path("firmware/generated/sums_model_data.h").stat() == headers
    assert {"sums-test.keras", "sums-test.tflite", "train/log.txt"} <= {
        *archive.members(project.path("models/sums-test.mltk.zip"))
    }
    assert len(history_of(project, "models/sums-test.mltk.zip")["loss"]) == 1
    missing = train(project, model="other-test")
    assert missing.code == 1
    assert "there is no model 'other'" in missing.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "my_model.dataset = None\nmy_model.tflite_converter['representative_dataset'] = print\n",
            "has no dataset",
        ),
        ("my_model.build_model_function = None\n", "has no build_model_function; set it"),
        ("my_model.lr_schedule = lambda epoch, rate: 1e30\n", "training has diverged; lower the learning rate"),
        (
            'my_model.early_stopping["monitor"] = "val_los"\n',
            "early_stopping monitors 'val_los', which there is not; did you mean 'val_loss'?",
        ),
        ('my_model.lr_schedule["verbose"] = 1\n', "lr_schedule has no 'schedule'"),
        ("my_model.dataset = lambda subset: None\n", "dataset('training') returns None"),
    ],
    ids=["no dataset", "no builder", "diverges", "monitor", "no schedule", "no data"],
)
def test_what_cannot_be_trained_says_why_and_leaves_the_archive(make: Make, more: str, said: str) -> None:
    project = make(more)
    archive.update_members(project.path(ARCHIVE), {"sums.keras": b"precious"})
    before = project.path(ARCHIVE).read_bytes()
    run = train(project)
    assert run.code == 1
    assert said in run.out
    assert project.path(ARCHIVE).read_bytes() == before


def test_a_hook_that_fails_shows_its_traceback_and_the_weights_are_safe(make: Make) -> None:
    hook = "\ndef done(results):\n    return 1 / 0\n\n\nmy_model.on_training_complete = done\n"
    project = make(hook)
    run = train(project)
    assert run.code == 1
    assert f"the trained weights are in {ARCHIVE}, but on_training_complete raised ZeroDivisionError" in run.out
    assert "return 1 / 0" in run.out
    assert len(history_of(project)["loss"]) == 3
    weights = archive.read_member(project.path(ARCHIVE), "sums.keras")
    project.edit(SCRIPT, "return 1 / 0", "return 1")
    assert "sums: header" in trained(project, "--resume").out
    assert archive.read_member(project.path(ARCHIVE), "sums.keras") == weights


def test_keras_2_has_the_same_options_and_resumes(make: Make) -> None:
    options = (
        'my_model.checkpoint = {"monitor": "val_loss", "options": None}\nmy_model.early_stopping["patience"] = 9\n'
    )
    project = make(options, spec=SPEC.replace("    import keras\n", "    import tf_keras as keras\n"))
    trained(project, "--epochs", "2")
    weights = archive.read_member(project.path(ARCHIVE), "sums.h5")
    trained(project, "--resume", "--epochs", "3", "--verbose")
    history = history_of(project)
    assert len(history["loss"]) == 3
    assert archive.read_member(project.path(ARCHIVE), "sums.h5") != weights
    best = min(range(3), key=history["val_loss"].__getitem__) + 1
    assert [*archive.members(project.path(ARCHIVE))].count(
        f"train/weights/weights-{best:03d}-{history['val_loss'][best - 1]:.4f}.h5"
    )


def test_train_model_is_the_same_from_python_and_verbose_shows_keras(make: Make) -> None:
    project = make()
    code = (
        "import doit_tflm; made = doit_tflm.train_model('sums', epochs=2)\n"
        "print(len(made.history['loss']), made.tflite.exists())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 True\n"
    more = code.replace("epochs=2", "epochs=3, resume=True")
    done = subprocess.run(
        [sys.executable, "-c", more],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "3 True\n"
    run = trained(project, "--verbose")
    assert "Epoch 3/3" in run.out
