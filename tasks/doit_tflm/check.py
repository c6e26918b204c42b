"""The stages' work that looks at a model: TFLM's verdict, and the quantization report.

As in `doit_tflm.stages`, each function reads files, writes files, and returns what it did.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from doit_tflm import facets as facets_of
from doit_tflm import golden, layers, samples, tflite, tflm
from doit_tflm.errors import UserError
from doit_tflm.layer_errors import layer_errors
from doit_tflm.observe import version
from doit_tflm.quantization import to_tensor
from doit_tflm.report import advice, plot, to_csv, unquantized
from doit_tflm.resolver import method
from doit_tflm.stages import trained_model
from doit_tflm.tflite import TfliteFile
from doit_tflm.work import Result, done, stored

__all__ = ["report", "verify"]

_UNKNOWN = {"arena_bytes": None, "float_arena_bytes": None, "float_flash_bytes": None}


def verify(script: str, directory: str) -> Result:
    """Have TFLM run the quantized model, measure its arena, and draw golden vectors.

    Writes ``measured.json`` and ``golden.npz``. Where there is no interpreter, or only the firmware has the
    kernels, a warning says so, and nothing is claimed to be known.
    """
    facet = stored(directory, "verify")
    data = Path(f"{directory}/quantized.tflite").read_bytes()
    file = tflite.read(data)
    why = _not_verified(facet, file)
    if why:
        return _verified(directory, _UNKNOWN, golden.Golden(), [f"not verified: {why}"])
    twin = Path(f"{directory}/calibrated.tflite").read_bytes()
    try:
        tflm.check_static(file)
        found, vectors = _asked(directory, data, file, facet["golden_vectors"], twin)
    except UserError as error:
        # What TFLM itself said, into the log.
        sys.stderr.write(f"{error.__cause__ or error}\n")
        raise error.at(script) from error
    return _verified(directory, found, vectors, [])


def _asked(
    directory: str, data: bytes, file: TfliteFile, count: int, twin: bytes
) -> tuple[dict[str, Any], golden.Golden]:
    """Return what TFLM finds of a model and of its float twin, and golden vectors."""
    with ExitStack() as processes:

        def started(model: bytes) -> tflm.Interpreter:
            return processes.enter_context(closing(tflm.Interpreter(model, tflite.read(model))))

        interpreter = started(data)
        # Started now, used last: it gets ready meanwhile.
        other = started(twin) if twin != data else None
        measured = interpreter.measure()
        vectors = _golden(directory, interpreter, file, count)
        in_float = {"float_flash_bytes": len(twin), "float_arena_bytes": _arena_of(other)} if other else {}
    found = {
        "arena_bytes": measured.arena_bytes,
        "kernels": tflm.KERNELS,
        "word_bits": measured.word_bits,
        "tflite-micro": version("tflite-micro"),
    }
    return {**_UNKNOWN, **found, **in_float}, vectors


def _verified(directory: str, measured: dict[str, Any], vectors: golden.Golden, notes: list[str]) -> Result:
    return done(
        {
            f"{directory}/measured.json": facets_of.canonical_json(measured),
            f"{directory}/golden.npz": golden.serialise(vectors),
        },
        notes=notes,
    )


def _not_verified(facet: dict[str, Any], file: TfliteFile) -> str:
    """Return why TFLM's verdict cannot be had; empty if it can."""
    if not facet["verify"]:
        return "the specification sets verify to False"
    if not tflm.available():
        return "tflite-micro, which holds TFLM's interpreter, is not installed (some platforms have no wheel)"
    own = sorted(name for name, is_custom in file.kinds if is_custom and method(name, is_custom=True) is None)
    return f"only the firmware can have kernels for {', '.join(own)}" if own else ""


def _golden(directory: str, interpreter: tflm.Interpreter, file: TfliteFile, count: int) -> golden.Golden:
    """Return golden vectors of representative samples; none for one of floats, which differ between targets."""
    drawn = samples.read(f"{directory}/samples.npz")
    if not count or not len(drawn):
        return golden.Golden()
    rows = golden.chosen(len(drawn), count)
    tensors = [file.tensors[index] for index in file.inputs]
    arrays = samples.in_order(drawn.arrays, [layers.input_name(tensor.name) for tensor in tensors])
    inputs = [to_tensor(array[rows], tensor) for array, tensor in zip(arrays, tensors, strict=True)]
    return golden.Golden(tuple(inputs), tuple(interpreter.run(inputs, jobs=1)))


def _arena_of(twin: tflm.Interpreter) -> int | None:
    """Return the arena of the float twin, which is only there to compare with: None if TFLM does not run it."""
    try:
        return twin.measure().arena_bytes
    except UserError:
        return None


def report(script: str, directory: str, model: str, archive_path: str, converter: str) -> Result:
    """Make what ``generate_quantization_report`` and ``generate_unquantized`` ask for."""
    asked = stored(directory, "report")
    made: dict[str, bytes] = {}
    inputs: dict[str, str | None] = {}
    says: list[str] = []
    try:
        if asked["generate_quantization_report"]:
            calibrated = Path(f"{directory}/calibrated.tflite").read_bytes()
            errors = layer_errors(calibrated, samples.read(f"{directory}/samples.npz"), stored(directory, "graph"))
            made[f"{directory}/quantization_report.csv"] = to_csv(errors)
            made[f"{directory}/quantization_report.png"] = plot(errors, f"{model}: error of each layer")
            says = advice(errors)
        if asked["generate_unquantized"]:
            with trained_model(script, directory, model, archive_path, converter) as (_, trained, inputs):
                made[f"{directory}/{model}.float32.tflite"] = unquantized(trained, stored(directory, "graph"))
    except UserError as error:
        raise error.at(script) from error
    return done(made, inputs, says=says)
