"""One build of a model in one go, beside the stages: with other weights, other settings, or a live model.

Nothing is recorded, and nothing is taken from an earlier build. It can run in the worker process, or in that of a
program which holds the model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doit_tflm import check, deliver, facets, keras_io, samples, stages
from doit_tflm.convert import Converter, converter_named
from doit_tflm.errors import UserError
from doit_tflm.files import write_out
from doit_tflm.reads import reading
from doit_tflm.script import Script
from doit_tflm.settings import ConverterSettings
from doit_tflm.work import Result, written

__all__ = ["Wanted", "quantize_once", "quantize_script"]


@dataclass(frozen=True)
class Wanted:
    """What to build, and where it goes.

    Attributes
    ----------
    archive_path : str
        The archive that has the weights; there may be none.
    converter : str
        As ``[tool.doit-tflm]`` names it.
    output : str
        Where the ``.tflite`` goes; nowhere if empty.
    update_archive : bool
        Whether it goes into the archive.
    weights : str
        A file of weights instead of the archive's.
    build : bool
        Whether the model is built, and trained briefly, instead of any weights.
    settings : mapping
        Converter settings instead of the specification's.
    samples : str
        A file of representative samples instead of the specification's.
    name : str
        What the archive's members are called; as the specification if empty.
    """

    archive_path: str
    converter: str
    output: str = ""
    update_archive: bool = False
    weights: str = ""
    build: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    samples: str = ""
    name: str = ""


def quantize_script(script: str, wanted: Mapping[str, Any]) -> Result:
    """Quantize what a specification script describes; `wanted` has the attributes of `Wanted`.

    Raises
    ------
    UserError
        If a step fails. Nothing is replaced then.
    """
    keras_io.forget_custom_objects()
    with reading(script, "") as run:
        return quantize_once(run.script, Wanted(**wanted))


def quantize_once(script: Script, wanted: Wanted, keras_model: Any = None) -> Result:
    """Quantize a specification that has been run.

    Parameters
    ----------
    script : Script
        The specification.
    wanted : Wanted
        What to build.
    keras_model : keras.Model, optional
        The trained model, of Keras 3 or tf_keras, instead of any weights.

    Returns
    -------
    dict
        ``notes``: warnings, as any stage's result has them.

    Raises
    ------
    UserError
        If a step fails. Nothing is replaced then.
    """
    spec = script.spec
    with tempfile.TemporaryDirectory() as directory, _overridden(spec.tflite_converter, wanted.settings):
        with _of(script):
            found = facets.plain_facets(spec)
            source = facets.samples_source(spec, wanted.samples)
        notes = _without_gates(found)
        if source == "file":
            drawn = samples.from_file(wanted.samples)
            warnings: list[str] = []
        else:
            limit = spec.tflite_converter["representative_dataset_max_samples"] if source == "generate" else None
            drawn, warnings = samples.draw(script, source, limit)
        named = {f"{directory}/{name}.json": facets.canonical_json(facet) for name, facet in found.items()}
        written({**named, f"{directory}/samples.npz": samples.serialise(drawn)})
        tool, _ = converter_named(wanted.converter)
        model = _model(script, wanted, tool, directory, keras_model)
        with _of(script):
            calibrated = tool.calibrate(model, drawn, found["graph"])
        written({f"{directory}/calibrated.tflite": calibrated})
        if model.summary:
            written({f"{directory}/{stages.KERAS_SUMMARY}": model.summary.encode()})
        notes += [*warnings, *model.notes, *_finish(script, wanted, directory)]
    return {"inputs": {}, "outputs": {}, "notes": notes}


@contextmanager
def _overridden(settings: ConverterSettings, changes: Mapping[str, Any]) -> Iterator[None]:
    """Change settings for a while: a specification in memory is the caller's."""
    before = dict(settings)
    try:
        settings.update(changes)
        yield
    finally:
        for key in settings.keys() - before.keys():
            del settings[key]
        settings.update(before)


@contextmanager
def _of(script: Script) -> Iterator[None]:
    """Say of an error which specification it is about."""
    try:
        yield
    except UserError as error:
        raise error.at(script.path) from error


def _without_gates(found: dict[str, dict[str, Any]]) -> list[str]:
    """Take out what only a whole build does, and return what to say of it."""
    left_out = [name for name, is_asked in found["report"].items() if is_asked]
    found["report"] = dict.fromkeys(found["report"], False)
    if found["limits"]["max_accuracy_drop"] is not None:
        found["limits"]["max_accuracy_drop"] = None
        left_out.append("max_accuracy_drop")
    return [f"without {', '.join(left_out)}: only `doit quantize` does it"] if left_out else []


def _model(
    script: Script, wanted: Wanted, tool: Converter, directory: str, keras_model: Any
) -> keras_io.LoadedModel:
    """Return the trained model."""
    if wanted.build:
        from doit_tflm.train import fitted_briefly

        keras_model = fitted_briefly(script)
    if keras_model is not None:
        return keras_io.frozen(keras_model)
    weights = wanted.weights or script.spec.weights
    path, found = keras_io.find_weights(wanted.name or script.spec.name, wanted.archive_path, weights, directory)
    where = weights or next(key for key, digest in found.items() if digest)
    return tool.load(path, where, lambda: stages.built_model(script))


def _finish(script: Script, wanted: Wanted, directory: str) -> list[str]:
    """Go from the calibrated model to the file and the archive, and return the warnings."""
    name = wanted.name or script.spec.name
    done = (
        stages.quantize(script.path, directory, wanted.converter),
        check.verify(script.path, directory),
        deliver.embed(script.path, directory, name),
    )
    if wanted.output:
        write_out(wanted.output, Path(directory, f"{name}.tflite").read_bytes())
    if wanted.update_archive:
        deliver.update_archive(script.path, directory, name, wanted.archive_path)
    return [note for one in done for note in one["notes"]]
