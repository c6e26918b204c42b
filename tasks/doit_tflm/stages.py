"""The stages' work: each function reads files, writes files, and returns what it read and wrote.

They run in a worker process, below the project's directory, and can be called by hand:
``python -m doit_tflm stage calibrate sine``. Every path is relative to the project.
"""

from __future__ import annotations

import glob
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from doit_tflm import archive, header, keras_io, parameters, samples, tflite
from doit_tflm import facets as facets_of
from doit_tflm._version import __version__
from doit_tflm.convert import check_result, converter_named
from doit_tflm.errors import UserError
from doit_tflm.files import DigestCache, digest_bytes, digest_file, stamp, write_if_changed
from doit_tflm.observe import input_file, observe, version
from doit_tflm.reads import reading
from doit_tflm.script import loaded, user_code
from doit_tflm.verdict import read_facet

__all__ = [
    "BY_HAND",
    "by_hand",
    "calibrate",
    "embed",
    "evaluate",
    "preview",
    "quantize",
    "sample",
    "update_archive",
    "write_header",
]

_WITHOUT_EFFECT = ("generate_unquantized", "generate_quantization_report")

Result = dict[str, Any]
"""``inputs`` and ``outputs``: digests by key; ``notes``: warnings."""


def _written(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Write files, the unchanged ones left alone, and return their digests."""
    for path, content in contents.items():
        write_if_changed(path, content)
    return {path: digest_bytes(content) for path, content in contents.items()}


def _result(
    outputs: Mapping[str, bytes], inputs: Mapping[str, str | None] | None = None, notes: Iterable[str] = ()
) -> Result:
    return {"inputs": dict(inputs or {}), "outputs": _written(outputs), "notes": list(notes)}


def _facet(directory: str, name: str) -> dict[str, Any]:
    """Read a facet file."""
    found: dict[str, Any] = json.loads((Path(directory) / f"{name}.json").read_bytes())
    return found


def evaluate(script: str, directory: str) -> Result:
    """Run a specification script and write its facets.

    Parameters
    ----------
    script : str
        The script's path.
    directory : str
        The model's build directory.
    """
    with reading(script, directory) as run:
        run.pause()
        found = facets_of.facets(run.script)
        inputs = {**run.inputs(), **run.data_inputs(found["calibration"])}
        settings = run.script.spec.tflite_converter
    notes = [f"{key} has no effect yet" for key in _WITHOUT_EFFECT if settings[key]]
    outputs = {f"{directory}/{name}.json": facets_of.canonical_json(facet) for name, facet in found.items()}
    return _result(outputs, inputs, notes)


def preview(script: str) -> dict[str, Any]:
    """Return the facets that `evaluate` would write, as text by name; nothing is written."""
    with reading(script, "") as run:
        found = facets_of.facets(run.script)
    return {name: facets_of.canonical_json(facet).decode() for name, facet in found.items()}


def sample(script: str, directory: str) -> Result:
    """Draw the representative samples, and write ``samples.npz``."""
    facet = _facet(directory, "calibration")
    output = f"{directory}/samples.npz"
    if facet["source"] == "none":
        return _result({output: samples.serialise(samples.Samples("none", {}))})
    with reading(script, directory) as run:
        limit = facet["representative_dataset_max_samples"]
        drawn, notes = samples.draw(run.script, facet["source"], limit)
        inputs = {**run.inputs(), **run.data_inputs(facet)}
        if facets_of.calibration(run.script.spec, script) != facet:
            # Edited since it was evaluated: what was drawn belongs to neither.
            inputs[script] = None
    return _result({output: samples.serialise(drawn)}, inputs, notes)


def calibrate(script: str, directory: str, model: str, archive_path: str, converter: str) -> Result:
    """Convert the trained model and calibrate it with the samples, into ``calibrated.tflite``."""
    facet = _facet(directory, "graph")
    drawn = samples.read(f"{directory}/samples.npz")
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
        _check_shape(facet["input_shape"], trained, script)
        try:
            data = tool.calibrate(trained, drawn, facet)
        except UserError as error:
            raise error.at(script) from error
    return _result({f"{directory}/calibrated.tflite": data}, inputs, trained.notes)


def _builder(script: str) -> Callable[[], Any] | None:
    """Return what makes the model, for weights without one."""

    def build() -> Any:
        with loaded(script) as running:
            if running.spec.build_model_function is None:
                raise UserError("weights alone need build_model_function", script, "set it")
            with user_code(script, "build_model_function "):
                return running.spec.build_model_function(running.spec)

    return build


def _built_by(directory: str) -> dict[str, str | None]:
    """Return the key and value of the model builder's code, which made the model around its weights."""
    facet = _facet(directory, "training")
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
    facet = _facet(directory, "converter")
    tool, inputs = converter_named(converter)
    try:
        data = tool.quantize(Path(f"{directory}/calibrated.tflite").read_bytes(), facet)
        # TensorFlow aligns buffers to 4 bytes, though its schema says 16.
        data = tflite.aligned(data)
        check_result(data, facet)
    except UserError as error:
        raise error.at(script) from error
    toolchain = {"tensorflow": version("tensorflow") or ""}
    return _result(
        {
            f"{directory}/quantized.tflite": data,
            f"{directory}/toolchain.json": facets_of.canonical_json(toolchain),
        },
        inputs,
    )


def embed(script: str, directory: str, model: str) -> Result:
    """Embed parameters and description, into ``NAME.tflite``."""
    facet = _facet(directory, "parameters")
    given = facets_of.typed_parameters(facet)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        given["date"] = parameters.Typed("str", time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(int(epoch))))
    try:
        data = parameters.embed(Path(f"{directory}/quantized.tflite").read_bytes(), given, facet["description"])
    except UserError as error:
        raise error.at(script) from None
    return _result({f"{directory}/{model}.tflite": data})


def update_archive(script: str, directory: str, model: str, archive_path: str) -> Result:
    """Put the new ``.tflite``, and the specification that it was made by, into the archive; if there is one."""
    key = f"{archive_path}!{model}.tflite"
    if not Path(archive_path).exists():
        appears = f"glob:{glob.escape(archive_path)}"
        return {"inputs": {appears: digest_bytes(b"")}, "outputs": {key: None}, "notes": []}
    data = Path(f"{directory}/{model}.tflite").read_bytes()
    archive.update_members(archive_path, {f"{model}.py": Path(script).read_bytes(), f"{model}.tflite": data})
    return {"inputs": {}, "outputs": {key: digest_bytes(data)}, "notes": []}


def write_header(directory: str, model: str, header_dir: str) -> Result:
    """Write the C sources."""
    facet = _facet(directory, "header")
    path = f"{directory}/{model}.tflite"
    data = Path(path).read_bytes()
    read = tflite.read(data, path)
    stored = parameters.decode(read.metadata[parameters.METADATA_NAME])
    facts = header.HeaderFacts(
        model=model,
        version=stored["version"],
        description=read.description,
        array_name=facet["array_name"],
        section=facet["section"],
        classes=tuple(stored["classes"]),
        inputs=tuple(_tensor_facts(read.tensors[i]) for i in read.inputs),
        outputs=tuple(_tensor_facts(read.tensors[i]) for i in read.outputs),
        sha256=sha256(data),
        tensorflow=_facet(directory, "toolchain")["tensorflow"],
        generator=f"doit-tflm {__version__}",
        operators=tuple(sorted({operator.name for operator in read.operators})),
        schema_version=read.schema_version,
    )
    stem = f"{facet['directory'] or header_dir}/{header.file_stem(model)}"
    texts = {
        f"{stem}.h": header.render_header(facts, len(data)).encode(),
        f"{stem}.c": header.render_source(facts, data).encode(),
    }
    return _result(_move(texts, f"{directory}/sources.json"))


def _move(texts: Mapping[str, bytes], listing: str) -> dict[str, bytes]:
    """Write files whose names may change, and remove those of former names that nobody changed since.

    The listing names them all until the old ones are gone. It is an output: a run that is killed leaves one that
    differs from its record, and the stage runs again.

    Returns
    -------
    dict
        All outputs, the listing among them.
    """
    former = read_facet(listing)
    new = {path: digest_bytes(text) for path, text in texts.items()}
    if not former.keys() <= new.keys() or not new.keys() <= former.keys():
        write_if_changed(listing, facets_of.canonical_json({**former, **new}))
    _written(texts)
    for path, digest in former.items():
        if path not in new and stamp(path) and digest_file(path) == digest:
            Path(path).unlink()
    return {**texts, listing: facets_of.canonical_json(new)}


def sha256(data: bytes) -> str:
    """Return the digest that ``sha256sum`` prints."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _tensor_facts(tensor: tflite.Tensor) -> header.TensorFacts:
    """Return what the C sources say of an input or output."""
    quantization = tensor.quantization
    known = quantization is not None and len(quantization.scales) == 1
    return header.TensorFacts(
        tensor.name,
        tensor.shape,
        tensor.dtype,
        quantization.scales[0] if quantization and known else None,
        quantization.zero_points[0] if quantization and known else None,
    )


BY_HAND: dict[str, Callable[..., Result]] = {
    "evaluate": evaluate,
    "sample": sample,
    "calibrate": calibrate,
    "convert": quantize,
    "embed": embed,
    "archive": update_archive,
    "header": write_header,
}
"""The stages' functions, by the names of doit's tasks."""


def by_hand(stage: str, **arguments: str) -> Result:
    """Run one stage without doit, for somebody who looks for a fault.

    Raises
    ------
    UserError
        If the stage fails, or an input is missing because an earlier stage has not run.
    """
    function = BY_HAND[stage]
    wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
    try:
        return function(**{name: arguments[name] for name in wanted})
    except FileNotFoundError as error:
        raise UserError("is missing", input_file(str(error.filename)), "run the stages before this one") from None
