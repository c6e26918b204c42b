"""Training: the spec's model fitted on its data, and the archive that comes of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doit_tflm import archive, facets, train_state
from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes
from doit_tflm.keras_io import member_names, summary_of
from doit_tflm.reads import reading
from doit_tflm.script import Script, user_code
from doit_tflm.spec import ModelSpec
from doit_tflm.train_callbacks import Keeper, Plan, asked_for, keras_of, weights_files
from doit_tflm.train_records import json_of, log_of, picture_of, saved
from doit_tflm.train_state import Progress

__all__ = ["Asked", "TrainingResults", "fitted_briefly", "train"]

_UNLIMITED = 99_999
"""Epochs, where only early stopping ends a training; as in MLTK."""
_DRY_BATCHES = 3
_WEIGHTS = "train/weights/"


@dataclass(frozen=True)
class TrainingResults:
    """What `on_training_complete` is called with.

    Attributes
    ----------
    spec : ModelSpec
        The specification.
    keras_model : keras.Model
        The trained model, with the weights that are in the archive.
    history : dict
        A list of one value per epoch for each metric.
    best_epoch : int
        The epoch that the weights are of, from 1.
    model_archive_path : str
        The archive.
    """

    spec: ModelSpec
    keras_model: Any
    history: dict[str, list[float]]
    best_epoch: int
    model_archive_path: str

    @property
    def epochs(self) -> list[int]:
        """The epochs, from 0 as Keras counts them."""
        return list(range(max(map(len, self.history.values()), default=0)))


@dataclass(frozen=True)
class Asked:
    """What is asked for besides the specification.

    Attributes
    ----------
    epochs : int, optional
        How many, instead of the specification's.
    resume : bool
        Whether to go on from the last finished epoch.
    clean : bool
        Whether to remove first what earlier trainings left in the build directory.
    dry_run : bool
        Whether three batches are enough.
    """

    epochs: int | None = None
    resume: bool = False
    clean: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Check what was asked for."""
        if self.resume and self.clean:
            raise UserError("a training cannot go on from what it is to remove", fix="give --resume or --clean")
        if self.epochs is not None and self.epochs < 1 and self.epochs != -1:
            raise UserError(f"epochs is {self.epochs}", fix="use 1 or more, or -1 for as many as it takes")


@dataclass
class _Fitted:
    """A trained model, with the weights that count, and the saved models of single epochs by member."""

    model: Any
    progress: Progress
    epoch: int
    kept: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def train(
    script: str, directory: str, model: str, archive_path: str, asked: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Train a model, and put weights, history, log and specification into its archive.

    The generators of Python, NumPy and TensorFlow are seeded by the spec's `seed`: one machine trains the same
    weights each time. The archive is replaced once, at the end; its other members stay.

    Parameters
    ----------
    script : str
        The specification script.
    directory : str
        The model's build directory.
    model : str
        The model's name.
    archive_path : str
        The archive; made if there is none.
    asked : mapping, optional
        The attributes of `Asked`.

    Raises
    ------
    UserError
        If the spec cannot be trained, its code fails, or the numbers are none any more. If it is
        `on_training_complete` that fails, the trained weights are in the archive.
    """
    facet = json.loads((Path(directory) / "training.json").read_bytes())
    if "cannot train" in facet:
        raise UserError(facet["cannot train"])
    with reading(script, directory) as run:
        spec = run.script.spec
        with run.paused():
            edited = facets.training(spec, script) != facet  # since it was read
            data = facets.calibration(spec, script)
        fitted = _fitted(run.script, Asked(**asked or {}), Path(directory) / "train", facet)
        inputs = {**run.inputs(), **run.data_inputs(data)}
        if edited:
            inputs[script] = None
        member, weights = saved(fitted.model, model)
        _put(fitted, model, member, weights, Path(script).read_bytes(), archive_path)
        if spec.on_training_complete is not None:
            results = TrainingResults(spec, fitted.model, fitted.progress.history, fitted.epoch, archive_path)
            doing = f"the trained weights are in {archive_path}, but on_training_complete "
            with user_code(script, doing):
                spec.on_training_complete(results)
    outputs = {f"{archive_path}!{member}": digest_bytes(weights)}
    return {"inputs": inputs, "outputs": outputs, "notes": fitted.notes, "says": [_summary(fitted)]}


def fitted_briefly(running: Script) -> Any:
    """Return the specification's model, trained for one epoch on a few samples: to look at its structure.

    Raises
    ------
    UserError
        If the specification cannot be trained, or its code fails.
    """
    with tempfile.TemporaryDirectory() as work:
        return _fitted(running, Asked(dry_run=True), Path(work), {}).model


def _put(fitted: _Fitted, model: str, member: str, weights: bytes, script: bytes, archive_path: str) -> None:
    """Put what a training made into the archive."""
    history = fitted.progress.history
    members = {
        f"{model}.py": script,
        member: weights,
        f"{member}.summary.txt": summary_of(fitted.model).encode(),
        "train/log.txt": log_of(history).encode(),
        "train/training-history.json": json_of(history).encode(),
        "train/training-history.png": picture_of(history, model),
        **fitted.kept,
    }
    there = archive.members(archive_path) if Path(archive_path).exists() else []
    gone = [name for name in there if name.startswith(_WEIGHTS) and name not in members]
    # The other Keras's weights would be taken for these.
    other = next(name for name in member_names(model) if name != member)
    archive.update_members(archive_path, members, remove=(other, f"{other}.summary.txt", *gone))


def _summary(fitted: _Fitted) -> str:
    """Return a line about a training."""
    done, history = fitted.progress, fitted.progress.history
    values = [f"{key} {history[key][fitted.epoch - 1]:.4g}" for key in sorted(history)]
    stopped = ", stopped early" if done.stopped else ""
    epochs = "1 epoch" if done.epochs == 1 else f"{done.epochs} epochs"
    return f"trained {epochs}{stopped}; the weights are of epoch {fitted.epoch} ({', '.join(values)})"


def _fitted(running: Script, asked: Asked, work: Path, facet: dict[str, Any]) -> _Fitted:
    """Return the trained model."""
    import keras
    import tensorflow as tf

    spec, path = running.spec, running.path
    if spec.build_model_function is None:
        raise UserError("has no build_model_function", path, "set it to a function that returns a compiled model")
    if spec.dataset is None:
        raise UserError("has no dataset", path, "set it to a function that returns the data of a subset")
    keras.backend.clear_session()
    keras.utils.set_random_seed(spec.seed)
    tf.config.experimental.enable_op_determinism()
    data = _data(spec, path, dry_run=asked.dry_run)
    model = _built(spec, path)
    with user_code(path, "train_callbacks "):
        given = list(spec.train_callbacks() if callable(spec.train_callbacks) else spec.train_callbacks)
    with user_code(path):
        named = asked_for(spec, given, model, work)
    every = [*given, *named.values()]
    epochs = 1 if asked.dry_run else _epochs(spec, asked, every, model, path)
    stores = spec.checkpoints_enabled and not asked.dry_run
    keeper = Keeper(model, named, every, Plan(work, stores, facet, spec.seed, epochs % _UNLIMITED))
    notes = _begin(keeper, asked, work, facet)
    done = keeper.progress
    with user_code(path, "training "):
        model.fit(
            **data,
            # Where there is nothing left to do, the callbacks still have their say at the end.
            epochs=min(epochs, done.epochs) if done.stopped or done.epochs >= epochs else epochs,
            initial_epoch=min(epochs, done.epochs),
            callbacks=keeper.callbacks(),
            verbose=2,
        )
    fitted = _Fitted(model, keeper.progress, _restored(every) or keeper.progress.epochs, notes=notes)
    if "checkpoint" in named:
        _take_best(fitted, work)
    return fitted


def _data(spec: ModelSpec, path: str, *, dry_run: bool) -> dict[str, Any]:
    """Return the arguments of ``model.fit`` that are data."""
    assert spec.dataset is not None
    with user_code(path, 'dataset("training") '):
        training = spec.dataset("training")
    with user_code(path, 'dataset("validation") '):
        validation = spec.dataset("validation")
    if training is None:
        raise UserError("dataset('training') returns None", path, "return (x, y), or a tf.data.Dataset of batches")
    if dry_run:
        training, validation = _few(training, spec.batch_size), _few(validation, spec.batch_size)
    x, y, *weights = (*training, None) if isinstance(training, tuple) else (training, None)
    batched = hasattr(training, "as_numpy_iterator")
    return {
        "x": x,
        "y": y,
        "batch_size": None if batched else spec.batch_size,
        "sample_weight": weights[0] if weights else None,
        "validation_data": validation,
    }


def _few(data: Any, batch_size: int) -> Any:
    """Return the first batches of a subset."""
    import tensorflow as tf

    if data is None:
        return None
    if hasattr(data, "as_numpy_iterator"):
        return data.take(_DRY_BATCHES)
    return tf.nest.map_structure(lambda one: one[: _DRY_BATCHES * batch_size], data)


def _built(spec: ModelSpec, path: str) -> Any:
    """Return the compiled model."""
    assert spec.build_model_function is not None
    with user_code(path, "build_model_function "):
        model = spec.build_model_function(spec)
    if not hasattr(model, "fit") or getattr(model, "optimizer", None) is None:
        raise UserError(
            "build_model_function returns no compiled model", path, "call model.compile(...), return it"
        )
    return model


def _epochs(spec: ModelSpec, asked: Asked, every: list[Any], model: Any, path: str) -> int:
    """Return how many epochs there shall be."""
    epochs = asked.epochs or spec.epochs
    if epochs != -1:
        return epochs
    if not any(isinstance(one, keras_of(model).callbacks.EarlyStopping) for one in every):
        raise UserError("epochs is -1, but nothing would end the training", path, "set early_stopping")
    return _UNLIMITED


def _begin(keeper: Keeper, asked: Asked, work: Path, facet: dict[str, Any]) -> list[str]:
    """Prepare the training's directory, and go on from what is there if that is asked for; return warnings."""
    found = train_state.stored(keeper.path) if asked.resume else None
    if found is not None:
        done, arrays = found
        keeper.resume(done, arrays)
        weights_files(work, done.best_epoch, done.epochs)
        changed = [key for key in sorted({*done.facet, *facet}) if done.facet.get(key) != facet.get(key)]
        what = ", ".join(key.removesuffix(" code") for key in changed if key != "epochs")
        return [f"resumed, but the specification has changed since: {what}"] if what else []
    if asked.clean:
        shutil.rmtree(work, ignore_errors=True)
    else:
        keeper.path.unlink(missing_ok=True)
        shutil.rmtree(work / "weights", ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return ["there is nothing to resume from: trained from the beginning"] if asked.resume else []


def _restored(every: list[Any]) -> int:
    """Return the epoch whose weights an EarlyStopping has given back to the model; 0 if none has."""
    for one in every:
        keeps = getattr(one, "restore_best_weights", False) and one.best_weights is not None
        # Keras 2 gives them back only when it stops.
        if keeps and (one.stopped_epoch > 0 or not type(one).__module__.startswith("tf_keras")):
            return int(one.best_epoch) + 1
    return 0


def _take_best(fitted: _Fitted, work: Path) -> None:
    """Give the model the weights of the best epoch, and save those of the epochs that are kept."""
    last = fitted.model.get_weights()
    best = fitted.progress.best_epoch
    files = weights_files(work, best)
    taken = None
    for path in files:
        fitted.model.load_weights(path)
        stem = path.name.removesuffix(".keras").removesuffix(".h5").removesuffix(".weights")
        member, content = saved(fitted.model, stem)
        fitted.kept[f"{_WEIGHTS}{member}"] = content
        if f"-{best:03d}-" in path.name:
            taken = fitted.model.get_weights()
    fitted.model.set_weights(taken or last)
    if taken:
        fitted.epoch = best
    else:
        fitted.notes.append("no epoch was good enough for `checkpoint`: the weights are those of the last")
