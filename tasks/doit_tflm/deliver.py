"""The last stages' work: parameters into the model, the model into the archive, and the C sources.

As in `doit_tflm.stages`, each function reads files, writes files, and returns what it did.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doit_tflm import archive, golden, header, keras_io, parameters, summary, tflite, tflm
from doit_tflm import facets as facets_of
from doit_tflm._version import __version__
from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes, digest_file, stamp, write_if_changed
from doit_tflm.limits import check_labels, check_limits, check_limits_of_accuracy, unchecked, with_margin
from doit_tflm.macs import total_macs, uncounted
from doit_tflm.resolver import render_resolver, resolver_file
from doit_tflm.stages import KERAS_SUMMARY
from doit_tflm.verdict import read_facet
from doit_tflm.work import Result, done, stored, written

__all__ = ["embed", "summary_of_build", "update_archive", "write_header", "write_resolver"]


def embed(script: str, directory: str, model: str) -> Result:
    """Embed parameters and description, and hold the model to its limits, into ``NAME.tflite``."""
    facet, limits, measured = (stored(directory, name) for name in ("parameters", "limits", "measured"))
    given = facets_of.typed_parameters(facet)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        given["date"] = parameters.Typed("str", _date(epoch))
    arena_bytes = None
    if measured["arena_bytes"] is not None:
        arena_bytes = with_margin(measured["arena_bytes"], limits["arena_margin"])
        given["runtime_memory_size"] = parameters.Typed("int32", arena_bytes)
    inputs: dict[str, str | None] = {}
    try:
        if limits["max_accuracy_drop"] is not None:
            inputs[f"{directory}/accuracy.json"] = digest_file(f"{directory}/accuracy.json")
            check_limits_of_accuracy(limits, stored(directory, "accuracy")["gate"])
        data = parameters.embed(Path(f"{directory}/quantized.tflite").read_bytes(), given, facet["description"])
        read = tflite.read(data)
        check_labels(facet["parameters"]["classes"], read, facet["evaluate_as"])
        check_limits(limits, data, read, arena_bytes)
    except UserError as error:
        raise error.at(script) from None
    notes = unchecked(limits, arena_bytes, uncounted(read))
    return done({f"{directory}/{model}.tflite": data}, inputs, notes)


def _date(epoch: str) -> str:
    """Return what SOURCE_DATE_EPOCH stands for, as ISO 8601 writes it."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(int(epoch)))
    except (ValueError, OverflowError, OSError):
        fix = "give the seconds since 1970 as a whole number, or unset it"
        raise UserError(f"is {epoch!r}", "SOURCE_DATE_EPOCH", fix) from None


def update_archive(script: str, directory: str, model: str, archive_path: str) -> Result:
    """Put the new ``.tflite``, its summary, and the specification that made it into the archive, if any."""
    key, text = f"{archive_path}!{model}.tflite", f"{archive_path}!{model}.tflite.summary.txt"
    if not Path(archive_path).exists():
        appears = f"glob:{glob.escape(archive_path)}"
        return {"inputs": {appears: digest_bytes(b"")}, "outputs": {key: None, text: None}, "notes": []}
    data = Path(f"{directory}/{model}.tflite").read_bytes()
    members = {
        f"{model}.py": Path(script).read_bytes(),
        f"{model}.tflite": data,
        f"{model}.tflite.summary.txt": summary.render(summary_of_build(directory, model)).encode(),
        **_keras_summary(directory, archive_path, model),
        **_reports(directory, model),
    }
    archive.update_members(archive_path, members)
    made = {name: content for name, content in members.items() if name != f"{model}.py"}
    outputs = {f"{archive_path}!{name}": digest_bytes(content) for name, content in made.items()}
    return {"inputs": {}, "outputs": outputs, "notes": []}


def summary_of_build(directory: str, model: str) -> summary.Summary:
    """Return what describes the model that was built in a directory, with what was measured of it then."""
    data = Path(f"{directory}/{model}.tflite").read_bytes()
    measured = stored(directory, "measured")
    twin_bytes = measured["float_flash_bytes"]
    return summary.summarize(
        data,
        model,
        measured=summary.Footprint(len(data), measured["arena_bytes"]),
        float_twin=summary.Footprint(twin_bytes, measured["float_arena_bytes"]) if twin_bytes else None,
        arena_note=tflm.describe(measured["word_bits"]) if measured["arena_bytes"] else "not measured",
    )


def _keras_summary(directory: str, archive_path: str, model: str) -> dict[str, bytes]:
    """Return the summary of the archive's weights, where the archive has none."""
    source = Path(directory, KERAS_SUMMARY)
    names = archive.members(archive_path)
    member = next((name for name in keras_io.member_names(model) if name in names), None)
    if member is None or f"{member}.summary.txt" in names or not source.is_file():
        return {}
    return {f"{member}.summary.txt": source.read_bytes()}


def _reports(directory: str, model: str) -> dict[str, bytes]:
    """Return what the specification asked to be made beside the model."""
    asked = stored(directory, "report")
    wanted = {
        "quantization_report.csv": asked["generate_quantization_report"],
        "quantization_report.png": asked["generate_quantization_report"],
        f"{model}.float32.tflite": asked["generate_unquantized"],
    }
    return {name: Path(directory, name).read_bytes() for name, is_wanted in wanted.items() if is_wanted}


def write_header(directory: str, model: str, header_dir: str) -> Result:
    """Write the C sources: the model, its op resolver, and golden vectors where there are some."""
    facet = stored(directory, "header")
    path = f"{directory}/{model}.tflite"
    data = Path(path).read_bytes()
    read = tflite.read(data, path)
    facts = _facts(directory, model, data, read)
    folder = facet["directory"] or header_dir
    resolver = render_resolver(model, read.kinds, facts.generator)
    texts = {f"{folder}/{name}": text for name, text in header.render_files(facts, data).items()}
    texts[f"{folder}/{resolver_file(model)}"] = resolver.encode()
    vectors = golden.read(f"{directory}/golden.npz")
    if vectors:
        stem = f"{folder}/{golden.golden_stem(model)}"
        declared, defined = golden.render_golden(facts, len(data), vectors)
        texts |= {f"{stem}.h": declared.encode(), f"{stem}.c": defined.encode()}
    return done(_move(texts, f"{directory}/sources.json"))


def write_resolver(program: str, models: dict[str, str], path: str) -> Result:
    """Write the op resolver of a program that links several models.

    Parameters
    ----------
    program : str
        The program's name.
    models : dict of str to str
        Its models' ``.tflite`` files, by name.
    path : str
        The header to write.
    """
    kinds = [kind for file in models.values() for kind in tflite.read(Path(file).read_bytes(), file).kinds]
    text = render_resolver(program, kinds, f"doit-tflm {__version__}", models=sorted(models))
    return done({path: text.encode()})


def _facts(directory: str, model: str, data: bytes, read: tflite.TfliteFile) -> header.HeaderFacts:
    """Return what the C sources say of a model."""
    facet, measured = stored(directory, "header"), stored(directory, "measured")
    values = parameters.decode(read.metadata[parameters.METADATA_NAME])
    return header.HeaderFacts(
        model=model,
        version=values["version"],
        description=read.description,
        array_name=facet["array_name"],
        form=facet["form"],
        section=facet["section"],
        alignment=facet["alignment"],
        attributes=facet["attributes"],
        classes=tuple(values["classes"]),
        inputs=tuple(_tensor_facts(read.tensors[i]) for i in read.inputs),
        outputs=tuple(_tensor_facts(read.tensors[i]) for i in read.outputs),
        sha256=sha256(data),
        tensorflow=stored(directory, "toolchain")["tensorflow"],
        generator=f"doit-tflm {__version__}",
        operators=tuple(sorted({name for name, _ in read.kinds})),
        schema_version=read.schema_version,
        arena=_arena(values, measured),
        macs=0 if uncounted(read) else total_macs(read),
    )


def _arena(values: Mapping[str, Any], measured: Mapping[str, Any]) -> header.ArenaFacts | None:
    if measured["arena_bytes"] is None:
        return None
    return header.ArenaFacts(
        bytes=values["runtime_memory_size"],
        measured_bytes=measured["arena_bytes"],
        kernels=measured["kernels"],
        word_bits=measured["word_bits"],
    )


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
    written(texts)
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
