"""Training: the spec's model fitted on its data, and the archive that comes of it."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from doit_tflm import archive, facets
from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes
from doit_tflm.keras_io import is_keras2, member_names, summary_of
from doit_tflm.reads import reading
from doit_tflm.script import Script, user_code
from doit_tflm.worker_main import progress

__all__ = ["train"]


def train(script: str, directory: str, model: str, archive_path: str) -> dict[str, Any]:
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

    Raises
    ------
    UserError
        If the spec cannot be trained, or its code fails.
    """
    facet = json.loads((Path(directory) / "training.json").read_bytes())
    if "cannot train" in facet:
        raise UserError(facet["cannot train"])
    with reading(script, directory) as run:
        spec = run.script.spec
        with run.paused():
            edited = facets.training(spec, script) != facet  # since it was read
            data = facets.calibration(spec, script)
        trained, history = _fitted(run.script)
        inputs = {**run.inputs(), **run.data_inputs(data)}
        if edited:
            inputs[script] = None
    member, weights = _saved(trained, model)
    other = next(name for name in member_names(model) if name != member)
    members = {
        f"{model}.py": Path(script).read_bytes(),
        member: weights,
        f"{member}.summary.txt": summary_of(trained).encode(),
        "train/log.txt": _log(history).encode(),
        "train/training-history.json": (json.dumps(history, indent=2, sort_keys=True) + "\n").encode(),
        "train/training-history.png": _plot(history, model),
    }
    # The other Keras's weights would be taken for these.
    archive.update_members(archive_path, members, remove=(other, f"{other}.summary.txt"))
    return {"inputs": inputs, "outputs": {f"{archive_path}!{member}": digest_bytes(weights)}, "notes": []}


def _fitted(running: Script) -> tuple[Any, dict[str, list[float]]]:
    """Return the trained model and its history: a list of one value per epoch for each metric."""
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
    with user_code(path, 'dataset("training") '):
        training = spec.dataset("training")
    with user_code(path, 'dataset("validation") '):
        validation = spec.dataset("validation")
    with user_code(path, "build_model_function "):
        model = spec.build_model_function(spec)
    if not hasattr(model, "fit") or getattr(model, "optimizer", None) is None:
        raise UserError(
            "build_model_function returns no compiled model", path, "call model.compile(...), return it"
        )
    with user_code(path, "train_callbacks "):
        callbacks = list(spec.train_callbacks() if callable(spec.train_callbacks) else spec.train_callbacks)
    x, y, *weights = training if isinstance(training, tuple) else (training, None)
    batched = hasattr(training, "as_numpy_iterator")
    with user_code(path, "training "):
        fitted = model.fit(
            x,
            y,
            batch_size=None if batched else spec.batch_size,
            epochs=spec.epochs,
            sample_weight=weights[0] if weights else None,
            validation_data=validation,
            callbacks=[*callbacks, _ticker(model, spec.epochs)],
            verbose=2,
        )
    return model, {key: [float(value) for value in values] for key, values in fitted.history.items()}


def _ticker(model: Any, epochs: int) -> Any:
    """Return a callback of the model's own Keras that tells the epochs."""
    if is_keras2(model):
        import tf_keras as keras
    else:
        import keras

    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress("training", epoch + 1, epochs)  # noqa: ARG005 - Keras names them
    )


def _saved(model: Any, name: str) -> tuple[str, bytes]:
    """Return the member's name and the bytes of a model without its optimizer, the same for equal weights."""
    with tempfile.TemporaryDirectory() as scratch:
        if is_keras2(model):
            path = Path(scratch) / f"{name}.h5"
            model.save(path, include_optimizer=False)
            return path.name, path.read_bytes()
        import keras

        path = Path(scratch) / f"{name}.keras"
        model.save(path)
        keras.models.load_model(path, compile=False).save(path)
        return path.name, _without_date(path.read_bytes())


def _without_date(saved: bytes) -> bytes:
    """Return a ``.keras`` file without the moment of its making, in its metadata and its zip directory."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == "metadata.json":
                metadata = json.loads(content)
                metadata.pop("date_saved", None)
                content = json.dumps(metadata, sort_keys=True).encode()
            archive.add_member(new, name, content)
    return stream.getvalue()


def _log(history: dict[str, list[float]]) -> str:
    """Return the history as a table, a line per epoch."""
    keys = sorted(history)
    rows = [" ".join(["epoch", *(f"{key:>14}" for key in keys)])]
    for epoch, values in enumerate(zip(*(history[key] for key in keys), strict=True), 1):
        rows.append(" ".join([f"{epoch:>5}", *(f"{value:>14.6g}" for value in values)]))
    return "\n".join(rows) + "\n"


def _plot(history: dict[str, list[float]], name: str) -> bytes:
    """Return a picture of the history: a panel per metric, training and validation in it."""
    from matplotlib.figure import Figure

    metrics = [key for key in history if not key.startswith("val_")]
    figure = Figure(figsize=(5 * len(metrics), 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        for key, label in ((metric, "training"), (f"val_{metric}", "validation")):
            if key in history:
                axes.plot(range(1, len(history[key]) + 1), history[key], label=label)
        axes.set(title=f"{name}: {metric}", xlabel="epoch")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return stream.getvalue()
