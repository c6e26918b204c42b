"""A specification, split into facets: what each stage reads of it, as canonical JSON.

A stage depends on its facet only, so that an edit reaches the stages that read what was edited, and no other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.files import digest_file, normalise
from doit_tflm.fingerprint import Fingerprint, fingerprint
from doit_tflm.header import HeaderFacts, check_names
from doit_tflm.observe import matches
from doit_tflm.parameters import Typed, decode_typed, encode
from doit_tflm.script import Script
from doit_tflm.spec import ModelSpec

__all__ = [
    "asked_for",
    "calibration",
    "canonical_json",
    "data_files",
    "evaluation",
    "facets",
    "plain_facets",
    "samples_source",
    "training",
    "typed_parameters",
]

_QUANTIZE = ("inference_input_type", "inference_output_type", "supported_ops")
"""Settings that only the second stage of quantization reads."""
_ELSEWHERE = (
    "representative_dataset",
    "representative_dataset_max_samples",
    "generate_unquantized",
    "generate_quantization_report",
)
"""Settings that no conversion reads."""
RESERVED = ("name", "version", "classes", "hash", "date", "runtime_memory_size")


def canonical_json(value: Any) -> bytes:
    """Return JSON that is the same for equal values: sorted, indented, one spelling."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def facets(script: Script, samples: str = "") -> dict[str, dict[str, Any]]:
    """Return a specification's facets by name; `samples` is as for `calibration`.

    Raises
    ------
    UserError
        If settings are wrong, or cannot be had together.
    """
    spec = script.spec
    try:
        return {
            **plain_facets(spec),
            "calibration": calibration(spec, script.path, samples),
            "evaluation": evaluation(spec, script.path),
            "training": training(spec, script.path),
        }
    except UserError as error:
        raise error.at(script.path) from None


def plain_facets(spec: ModelSpec) -> dict[str, dict[str, Any]]:
    """Return the facets that hold settings, and no fingerprints of code.

    Raises
    ------
    UserError
        If settings are wrong, or cannot be had together.
    """
    spec.tflite_converter.check()
    return {
        "converter": _converter(spec),
        "graph": _graph(spec),
        "header": _header(spec),
        "limits": _limits(spec),
        "parameters": _parameters(spec),
        "report": _report(spec),
        "verify": {"verify": spec.verify, "golden_vectors": spec.golden_vectors},
    }


def samples_source(spec: ModelSpec, samples: str = "") -> str:
    """Return where the representative samples come from: "none", "file", "generate" or "function".

    Parameters
    ----------
    spec : ModelSpec
        The specification.
    samples : str
        A file of samples, which takes the place of the specification's; empty for none.

    Raises
    ------
    UserError
        If there is nothing to draw from.
    """
    if spec.tflite_converter.mode == "float":
        return "none"
    if samples:
        return "file"
    if spec.tflite_converter["representative_dataset"] != "generate":
        return "function"
    if spec.dataset is None:
        raise UserError(
            'representative_dataset is "generate", but the spec has no dataset to draw from',
            fix="set dataset, give a generator function as representative_dataset, or name a file of samples",
        )
    return "generate"


def asked_for(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the tasks that a model with these facets must wait for, though no file of theirs goes into it."""
    gated = found["limits"]["max_accuracy_drop"] is not None
    return ["accuracy"] * gated + ["report"] * any(found["report"].values())


def _converter(spec: ModelSpec) -> dict[str, Any]:
    settings = spec.tflite_converter.canonical()
    return {"mode": spec.tflite_converter.mode, **{key: settings[key] for key in _QUANTIZE}}


def _graph(spec: ModelSpec) -> dict[str, Any]:
    """Return what decides the float graph; where it is converted in one shot, all settings do."""
    settings = spec.tflite_converter.canonical()
    mode = spec.tflite_converter.mode
    later = _QUANTIZE if mode == "int8" else ()
    kept = {key: value for key, value in settings.items() if key not in (*later, *_ELSEWHERE)}
    shape = list(spec.input_shape) if spec.input_shape is not None else None
    return {**kept, "mode": mode, "weights": spec.weights and normalise(spec.weights), "input_shape": shape}


def calibration(spec: ModelSpec, where: str, samples: str = "") -> dict[str, Any]:
    """Return what decides the representative samples.

    Parameters
    ----------
    spec : ModelSpec
        The specification.
    where : str
        Its script.
    samples : str
        A file of samples, which takes the place of the specification's; empty for none.
    """
    source = samples_source(spec, samples)
    if source == "none":
        return {"source": source}
    if source == "file":
        return {"source": source, "file": samples}
    used: list[Any] = [spec.dataset] if spec.dataset else []
    if source == "function":
        # The training data shows whether the samples are on the same scale.
        used.insert(0, spec.tflite_converter["representative_dataset"])
    found = [fingerprint(function, os.getcwd(), where) for function in used]
    limit = spec.tflite_converter["representative_dataset_max_samples"] if source == "generate" else None
    return {
        "source": source,
        "representative_dataset_max_samples": limit,
        "seed": spec.seed,
        "dataset code": _joined(found),
        "packages": {name: number for one in found for name, number in one.packages().items()},
        "data files": {path: digest_file(path) for path in data_files(spec)},
    }


def _joined(found: list[Fingerprint]) -> str:
    return " ".join(one.digest for one in found)


def data_files(spec: ModelSpec) -> list[str]:
    """Return the files that the spec's globs match, sorted."""
    paths = {normalise(path) for pattern in spec.data_files for path in matches(pattern) if os.path.isfile(path)}
    for pattern in spec.data_files:
        if not matches(pattern):
            raise UserError(f"data_files: nothing matches {pattern!r}", fix="mend the glob, or take it out")
    return sorted(paths)


def _parameters(spec: ModelSpec) -> dict[str, Any]:
    """Return what is embedded in the model."""
    for key in RESERVED:
        if key in spec.model_parameters:
            fix = f"set {key} of the spec" if key in ("version", "classes") else "choose another name"
            raise UserError(f"model_parameters[{key!r}] is written by the build itself", fix=fix)
    given = {"name": spec.name, "version": spec.version, "classes": spec.classes, **spec.model_parameters}
    types = {key: typed.type for key, typed in decode_typed(encode(given)).items()}
    plain = {key: value.value if isinstance(value, Typed) else value for key, value in given.items()}
    return {
        "description": spec.description,
        "evaluate_as": spec.evaluate_as,
        "parameters": {key: _plain(value) for key, value in plain.items()},
        "types": types,
    }


def _plain(value: Any) -> Any:
    """Return a parameter as JSON has it: bytes as hexadecimal digits."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def typed_parameters(facet: dict[str, Any]) -> dict[str, Typed]:
    """Return the parameters that the facet ``parameters.json`` holds."""
    types = facet["types"]
    return {
        key: Typed(types[key], bytes.fromhex(value) if types[key] == "bin" else value)
        for key, value in facet["parameters"].items()
    }


def _header(spec: ModelSpec) -> dict[str, Any]:
    header = spec.header
    facts = HeaderFacts(
        model=spec.name,
        version=spec.version,
        array_name=header.array_name,
        form=header.form,
        section=header.section,
        alignment=header.alignment,
        attributes=header.attributes,
        classes=tuple(spec.classes),
        inputs=(),
        outputs=(),
        sha256="",
        generator="",
    )
    check_names(facts)
    return {
        "array_name": header.array_name,
        "form": header.form,
        "section": header.section,
        "alignment": header.alignment,
        "attributes": header.attributes,
        "directory": header.directory and normalise(header.directory),
    }


def training(spec: ModelSpec, where: str) -> dict[str, Any]:
    """Return what training reads.

    Code that cannot be fingerprinted stops a training, and nothing else: its error is kept for then.
    """
    plain: dict[str, Any] = {"epochs": spec.epochs, "batch_size": spec.batch_size, "seed": spec.seed}
    # TensorBoard's options and `on_training_complete` are no part of it: they change nothing that is trained.
    for name in ("checkpoint", "early_stopping", "lr_schedule", "reduce_lr_on_plateau"):
        options = getattr(spec, name)
        if options:
            plain[name] = options.plain()
    used = {
        "model code": (spec.build_model_function, spec),  # it is called with the spec
        "dataset code": spec.dataset,
        "train_callbacks code": spec.train_callbacks,
        **({"lr_schedule code": spec.lr_schedule.get("schedule")} if spec.lr_schedule else {}),
        "optimizer code": spec.optimizer,
        "loss code": spec.loss,
        "metrics code": spec.metrics,
    }
    try:
        return {**plain, **{key: _digest_of(value, where) for key, value in used.items()}}
    except UserError as error:
        return {**plain, "cannot train": str(error)}


def evaluation(spec: ModelSpec, where: str) -> dict[str, Any]:
    """Return what an evaluation reads; as for `training`, an error is kept for when it is asked for."""
    plain = {"evaluate_as": spec.evaluate_as, "classes": spec.classes, "seed": spec.seed}
    if spec.dataset is None:
        return {**plain, "cannot evaluate": f"{where}: has no dataset; set it to a function that returns (x, y)"}
    try:
        found = fingerprint(spec.dataset, os.getcwd(), where)
        files = {path: digest_file(path) for path in data_files(spec)}
    except UserError as error:
        return {**plain, "cannot evaluate": str(error)}
    return {**plain, "dataset code": found.digest, "packages": found.packages(), "data files": files}


def _limits(spec: ModelSpec) -> dict[str, Any]:
    """Return what the finished model is held to."""
    return {
        "arena_margin": float(spec.arena_margin),
        "max_accuracy_drop": spec.max_accuracy_drop,
        "max_arena_bytes": spec.max_arena_bytes,
        "max_flash_bytes": spec.max_flash_bytes,
        "max_macs": spec.max_macs,
    }


def _report(spec: ModelSpec) -> dict[str, Any]:
    """Return what is made beside the model."""
    settings = spec.tflite_converter.canonical()
    return {key: settings[key] for key in ("generate_quantization_report", "generate_unquantized")}


def _digest_of(value: Any, where: str) -> str:
    found = Fingerprint(os.getcwd(), where)
    found.add(value, "spec")
    found.finish()
    return found.digest
