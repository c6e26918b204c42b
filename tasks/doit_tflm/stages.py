"""The stages' work, up to the quantized model: each function reads files, writes files, and returns what it did.

They run in a worker process, below the project's directory, and can be called by hand:
``python -m doit_tflm stage calibrate sine``. Every path is relative to the project.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from doit_tflm import archive, keras_io, samples, tflite
from doit_tflm import facets as facets_of
from doit_tflm.convert import Converter, check_result, converter_named
from doit_tflm.errors import UserError
from doit_tflm.files import DigestCache, digest_file, write_if_changed
from doit_tflm.observe import observe, version
from doit_tflm.reads import reading
from doit_tflm.script import Script, loaded, user_code
from doit_tflm.work import Result, done, stored

__all__ = [
    "KERAS_SUMMARY",
    "built_model",
    "calibrate",
    "preview",
    "quantize",
    "sample",
    "specify",
    "trained_model",
]


KERAS_SUMMARY = "keras.summary.txt"
"""What Keras says of the trained model, in the build directory."""


def specify(script: str, directory: str, samples_file: str, source: str) -> Result:
    """Run a specification script and write its facets.

    Parameters
    ----------
    script : str
        The script's path.
    directory : str
        The model's build directory.
    samples_file : str
        A file of representative samples to take instead of the specification's; empty for none.
    source : str
        The script; or, where there is none beside its archive, ``ARCHIVE!MEMBER``, which is taken out.
    """
    taken = _taken_out(source, script)
    with reading(script, directory) as run:
        run.pause()
        found = facets_of.facets(run.script, samples_file)
        inputs = {**run.inputs(), **run.data_inputs(found["calibration"])}
    outputs = {f"{directory}/{name}.json": facets_of.canonical_json(facet) for name, facet in found.items()}
    outputs |= taken
    model = Path(directory).name
    # What the specification asks for besides, and the model has to wait for: doit takes it from the record.
    return {**done(outputs, inputs), "task_dep": [f"{task}:{model}" for task in facets_of.asked_for(found)]}


def _taken_out(source: str, script: str) -> dict[str, bytes]:
    """Take a script out of its archive; return its content by path, or nothing where it is there already."""
    if source == script:
        return {}
    path, member = source.split("!", 1)
    content = archive.read_member(path, member)
    if content is None:
        raise UserError(f"has no {member}", path, "write the script beside it")
    write_if_changed(script, content)
    return {script: content}


def preview(script: str, samples_file: str, source: str) -> dict[str, Any]:
    """Return the facets that `specify` would write, as text by name.

    Nothing is written, but for a script that is taken out of its archive.
    """
    _taken_out(source, script)
    with reading(script, "") as run:
        found = facets_of.facets(run.script, samples_file)
    return {name: facets_of.canonical_json(facet).decode() for name, facet in found.items()}


def sample(script: str, directory: str) -> Result:
    """Draw the representative samples, and write ``samples.npz``."""
    facet = stored(directory, "calibration")
    output = f"{directory}/samples.npz"
    if facet["source"] == "none":
        return done({output: samples.serialise(samples.Samples("none", {}))})
    if facet["source"] == "file":
        before = digest_file(facet["file"]) if Path(facet["file"]).is_file() else None
        data = samples.serialise(samples.from_file(facet["file"]))
        return done({output: data}, {facet["file"]: before})
    with reading(script, directory) as run:
        # Before the user's code runs, which may change what it is asked for.
        with run.paused():
            edited = facets_of.calibration(run.script.spec, script) != facet
        limit = facet["representative_dataset_max_samples"]
        drawn, notes = samples.draw(run.script, facet["source"], limit)
        inputs = {**run.inputs(), **run.data_inputs(facet)}
        if edited:
            # Since it was read: what was drawn belongs to neither.
            inputs[script] = None
    return done({output: samples.serialise(drawn)}, inputs, notes)


def calibrate(script: str, directory: str, model: str, archive_path: str, converter: str) -> Result:
    """Convert the trained model and calibrate it with the samples, into ``calibrated.tflite``."""
    facet = stored(directory, "graph")
    drawn = samples.read(f"{directory}/samples.npz")
    with trained_model(script, directory, model, archive_path, converter) as (tool, trained, inputs):
        _check_shape(facet["input_shape"], trained, script)
        try:
            data = tool.calibrate(trained, drawn, facet)
        except UserError as error:
            raise error.at(script) from error
    made = {f"{directory}/calibrated.tflite": data}
    if trained.summary:
        made[f"{directory}/{KERAS_SUMMARY}"] = trained.summary.encode()
    return done(made, inputs, trained.notes)


@contextmanager
def trained_model(
    script: str, directory: str, model: str, archive_path: str, converter: str
) -> Iterator[tuple[Converter, keras_io.LoadedModel, dict[str, str | None]]]:
    """Load the trained model for the block.

    Yields
    ------
    converter, model, inputs
        What converts it, the model, and the keys and digests of all that it was loaded from.

    Raises
    ------
    UserError
        If there are no weights, or they cannot be loaded.
    """
    facet = stored(directory, "graph")
    tool, inputs = converter_named(converter)
    keras_io.forget_custom_objects()
    with tempfile.TemporaryDirectory() as scratch:
        path, weights = keras_io.find_weights(model, archive_path, facet["weights"], scratch)
        where = facet["weights"] or next(key for key, value in weights.items() if value)
        inputs |= weights
        if keras_io.has_own_code(path):
            # Layers of the user's are found once the script has registered them.
            with reading(script, directory) as run:
                trained = tool.load(path, where, _builder(script))
                inputs |= run.inputs(whole=True)
        else:
            trained = tool.load(path, where, _builder(script))
        if trained.is_built:
            inputs |= _built_by(directory)
        yield tool, trained, inputs


def _builder(script: str) -> Callable[[], Any] | None:
    """Return what makes the model, for weights without one."""

    def build() -> Any:
        with loaded(script) as running:
            return built_model(running)

    return build


def built_model(running: Script) -> Any:
    """Return what the specification's build_model_function makes, for weights without a model."""
    if running.spec.build_model_function is None:
        raise UserError("weights alone need build_model_function", running.path, "set it")
    with user_code(running.path, "build_model_function "):
        return running.spec.build_model_function(running.spec)


def _built_by(directory: str) -> dict[str, str | None]:
    """Return the key and value of the model builder's code, which made the model around its weights."""
    facet = stored(directory, "training")
    if "cannot train" in facet:
        raise UserError(facet["cannot train"])
    key = f"setting:{directory}/training.json#model code"
    return {key: observe(key, None, DigestCache())}


def _check_shape(wanted: list[int] | None, trained: keras_io.LoadedModel, script: str) -> None:
    if wanted is not None and trained.inputs[0].shape != tuple(wanted):
        raise UserError(
            f"input_shape {tuple(wanted)} but the weights expect {trained.inputs[0].shape}",
            script,
            "edit input_shape",
        )


def quantize(script: str, directory: str, converter: str) -> Result:
    """Quantize the calibrated model into ``quantized.tflite``, and check that it is what was asked for."""
    facet = stored(directory, "converter")
    tool, inputs = converter_named(converter)
    try:
        data = tool.quantize(Path(f"{directory}/calibrated.tflite").read_bytes(), facet)
        # TensorFlow aligns buffers to 4 bytes, though its schema says 16.
        data = tflite.aligned(data)
        check_result(data, facet)
    except UserError as error:
        raise error.at(script) from error
    toolchain = {"tensorflow": version("tensorflow") or ""}
    return done(
        {
            f"{directory}/quantized.tflite": data,
            f"{directory}/toolchain.json": facets_of.canonical_json(toolchain),
        },
        inputs,
    )
