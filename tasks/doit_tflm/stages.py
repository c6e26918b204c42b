"""The stages' work: each function reads files, writes files, and returns what it read and wrote.

They run in a worker process, below the project's directory, and can be called by hand:
``python -m doit_tflm stage calibrate sine``. Every path is relative to the project.
"""

from __future__ import annotations

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
from doit_tflm.files import digest_bytes, digest_file, is_settled, normalise, stamp, write_if_changed
from doit_tflm.observe import input_file, matches, version
from doit_tflm.script import Script, loaded, user_code
from doit_tflm.trace import Recorder, recording

__all__ = ["calibrate", "embed", "evaluate", "preview", "quantize", "sample", "update_archive", "write_header"]

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


def _read_by(script: Script, recorder: Recorder, began_ns: int, directory: str) -> dict[str, str | None]:
    """Return the files that a script's code read, by digest; None for one that was written meanwhile."""
    found = {*script.own_modules(), *recorder.inputs(os.getcwd(), (directory,))} - {os.path.abspath(script.path)}
    return {normalise(path): _digest_before(path, began_ns) for path in sorted(found)}


def _digest_before(path: str, began_ns: int) -> str | None:
    """Return a file's digest, if it has it since before a moment."""
    mark = stamp(path)
    if mark is None:
        return None
    return digest_file(path) if is_settled(mark, began_ns) else None


def evaluate(script: str, directory: str) -> Result:
    """Run a specification script and write its facets.

    Parameters
    ----------
    script : str
        The script's path.
    directory : str
        The model's build directory.
    """
    import numpy as np  # noqa: F401 - loaded before the script, so that its generator is seeded

    began_ns = time.time_ns()
    with recording() as recorder, loaded(script) as running:
        found = facets_of.facets(running)
        inputs = _read_by(running, recorder, began_ns, directory)
        patterns = running.spec.data_files
        data = {path: _digest_before(path, began_ns) for path in facets_of.data_files(running.spec)}
    inputs |= data
    inputs |= {f"glob:{pattern}": digest_bytes("\n".join(matches(pattern)).encode()) for pattern in patterns}
    inputs |= {f"version:{package}": version(package) for package in found["calibration"].get("packages", ())}
    notes = [
        f"{key} has no effect yet"
        for key in ("generate_unquantized", "generate_quantization_report")
        if running.spec.tflite_converter[key]
    ]
    outputs = {f"{directory}/{name}.json": facets_of.canonical_json(facet) for name, facet in found.items()}
    return _result(outputs, inputs, notes)


def preview(script: str) -> dict[str, Any]:
    """Return the facets that `evaluate` would write, as text by name; nothing is written."""
    import numpy as np  # noqa: F401 - as in evaluate

    with loaded(script) as running:
        return {
            name: facets_of.canonical_json(facet).decode() for name, facet in facets_of.facets(running).items()
        }


def sample(script: str, directory: str) -> Result:
    """Draw the representative samples, and write ``samples.npz``."""
    import numpy as np  # noqa: F401 - as in evaluate

    facet = _facet(directory, "calibration")
    output = f"{directory}/samples.npz"
    if facet["source"] == "none":
        return _result({output: samples.serialise(samples.Samples("none", {}))})
    began_ns = time.time_ns()
    with recording() as recorder, loaded(script) as running:
        drawn, notes = samples.draw(running, facet["source"], facet["representative_dataset_max_samples"])
        inputs = _read_by(running, recorder, began_ns, directory)
    inputs |= {path: _digest_before(path, began_ns) for path in facet["data files"]}
    return _result({output: samples.serialise(drawn)}, inputs, notes)


def calibrate(script: str, directory: str, model: str, archive_path: str, converter: str) -> Result:
    """Convert the trained model and calibrate it with the samples, into ``calibrated.tflite``."""
    facet = _facet(directory, "graph")
    drawn = samples.read(f"{directory}/samples.npz")
    with tempfile.TemporaryDirectory() as scratch:
        path, inputs = keras_io.find_weights(model, archive_path, facet["weights"], scratch)
        where = facet["weights"] or next(key for key, value in inputs.items() if value)
        tool = converter_named(converter)
        trained = tool.load(path, where, _builder(script))
        _check_shape(facet["input_shape"], trained, script)
        try:
            data = tool.calibrate(trained, drawn, facet)
        except UserError as error:
            raise error.at(script) from error
    return _result({f"{directory}/calibrated.tflite": data}, inputs)


def _builder(script: str) -> Callable[[], Any] | None:
    """Return what makes the model, for weights without one."""

    def build() -> Any:
        with loaded(script) as running:
            if running.spec.build_model_function is None:
                raise UserError("weights alone need build_model_function", script, "set it")
            with user_code(script, "build_model_function "):
                return running.spec.build_model_function(running.spec)

    return build


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
    try:
        data = converter_named(converter).quantize(Path(f"{directory}/calibrated.tflite").read_bytes(), facet)
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
        }
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
        return {"inputs": {}, "outputs": {key: None}, "notes": []}
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
    former = json.loads(Path(listing).read_bytes()) if Path(listing).is_file() else {}
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


def by_hand(stage: str, **arguments: str) -> Result:
    """Run one stage without doit, for somebody who looks for a fault.

    Raises
    ------
    UserError
        If the stage fails, or an input is missing because an earlier stage has not run.
    """
    functions = {
        f.__name__: f for f in (evaluate, sample, calibrate, quantize, embed, update_archive, write_header)
    }
    function = functions[stage]
    wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
    try:
        return function(**{name: arguments[name] for name in wanted})
    except FileNotFoundError as error:
        raise UserError("is missing", input_file(str(error.filename)), "run the stages before this one") from None
