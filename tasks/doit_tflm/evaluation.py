"""The stages' work of an evaluation: the trained model, and the quantized one in two runtimes, on the same data.

As in `doit_tflm.stages`, each function reads files, writes files, and returns what it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit_tflm import archive, layers, litert, tflite, tflm
from doit_tflm import facets as facets_of
from doit_tflm.convert import matched
from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes
from doit_tflm.limits import check_limits_of_accuracy
from doit_tflm.metrics import measure, plots
from doit_tflm.metrics.class_plots import classification_plots
from doit_tflm.metrics.class_results import Classification
from doit_tflm.metrics.results import Agreement, Reconstruction, Regression
from doit_tflm.quantization import to_real, to_tensor
from doit_tflm.reads import reading
from doit_tflm.samples import Samples, as_floats, in_order, named
from doit_tflm.script import Script, seed, user_code
from doit_tflm.stages import trained_model
from doit_tflm.work import Result, done, stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Measured = Classification | Regression | Reconstruction

__all__ = ["Data", "draw", "evaluate", "record"]

_FLOAT, _INT8 = "eval/h5", "eval/tflite"
"""Where MLTK keeps the results of the trained and of the quantized model."""


@dataclass(frozen=True)
class Data:
    """The evaluation data.

    Attributes
    ----------
    inputs : dict of str to ndarray
        For each input, shape (samples, *input shape).
    targets : ndarray, optional
        Labels or targets, of as many samples; None where there are none.
    """

    inputs: dict[str, NDArray[np.generic]]
    targets: NDArray[np.generic] | None


def evaluate(script: str, directory: str, model: str, archive_path: str, converter: str) -> Result:
    """Run the models on ``dataset("evaluation")``; write ``accuracy.json``, and results and plots below ``eval/``.

    Raises
    ------
    UserError
        If there is no evaluation data, or it does not fit the model.
    """
    facet = stored(directory, "evaluation")
    if "cannot evaluate" in facet:
        raise UserError(facet["cannot evaluate"])
    with reading(script, directory) as run:
        with run.paused():
            edited = facets_of.evaluation(run.script.spec, script) != facet  # since it was read
        data = draw(run.script)
        inputs = {**run.inputs(), **run.data_inputs(facet)}
        if edited:
            inputs[script] = None
    try:
        with trained_model(script, directory, model, archive_path, converter) as (tool, trained, loaded_from):
            arrays = matched(Samples("generate", data.inputs), trained.inputs)
            outputs = {"float": _single(tool.predict(trained, arrays))}
        quantized = Path(f"{directory}/quantized.tflite").read_bytes()
        names = [one.name for one in trained.inputs]
        raw, tensor = _run_quantized(quantized, dict(zip(names, arrays, strict=True)))
        outputs |= {runtime: to_real(values, tensor) for runtime, values in raw.items()}
        kind = _kind(facet, data, arrays[0], outputs["float"])
        results = {name: _measured(kind, facet, data, arrays[0], one, model) for name, one in outputs.items()}
    except UserError as error:
        raise error.at(script) from error
    agreement = _agreement(raw, kind)
    files = _files(results, agreement, model)
    accuracy = {
        "gate": _gate(results["float"], results.get("tflm", results["litert"])),
        "headlines": {name: result.headline() for name, result in results.items()},
        "agreement": agreement.to_json() if agreement else None,
        "files": sorted(files),
    }
    outputs_made = {f"{directory}/{name}": content for name, content in files.items()}
    outputs_made[f"{directory}/accuracy.json"] = facets_of.canonical_json(accuracy)
    return done(outputs_made, {**inputs, **loaded_from}, _notes(agreement), _says(results, agreement))


def draw(script: Script) -> Data:
    """Return the evaluation data of a specification.

    Raises
    ------
    UserError
        If the user's code fails, or there is no data.
    """
    import numpy as np

    seed(script.spec.seed)
    assert script.spec.dataset is not None
    with user_code(script.path, 'dataset("evaluation") '):
        given = script.spec.dataset("evaluation")
        batches = list(given.as_numpy_iterator()) if hasattr(given, "as_numpy_iterator") else [given]
    if given is None or not batches:
        raise UserError('dataset("evaluation") returns no data', script.path, "return (x, y)")
    parts = [batch if isinstance(batch, tuple) else (batch,) for batch in batches]
    inputs = [named(part[0]) for part in parts]
    joined = {key: np.concatenate([one[key] for one in inputs]) for key in inputs[0]}
    joined = {key: as_floats(array) for key, array in joined.items()}
    targets = None
    if all(len(part) > 1 and part[1] is not None for part in parts):
        targets = np.concatenate([np.asarray(part[1]) for part in parts])
    _check_data(joined, targets, script.path)
    return Data(joined, targets)


def _check_data(
    inputs: Mapping[str, NDArray[np.generic]], targets: NDArray[np.generic] | None, where: str
) -> None:
    import numpy as np

    counts = {len(array) for array in inputs.values()} | ({len(targets)} if targets is not None else set())
    if len(counts) != 1 or not all(counts):
        raise UserError(
            f'dataset("evaluation") gives {" and ".join(map(str, sorted(counts)))} samples of its parts',
            where,
            "give x and y equally many, and at least one",
        )
    for key, array in inputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f'dataset("evaluation"): input {key} is not finite', where, "clean the data")


def _single(outputs: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Return the one output of a model."""
    if len(outputs) != 1:
        raise UserError(
            f"the model has {len(outputs)} outputs, and only models of one can be evaluated",
            fix="evaluate it in a program of your own, with doit_tflm's metrics",
        )
    return outputs[0]


def _run_quantized(
    data: bytes, inputs: dict[str, NDArray[np.generic]]
) -> tuple[dict[str, NDArray[np.generic]], tflite.Tensor]:
    """Return what each runtime makes of the inputs, as the output tensor has it; and that tensor."""
    file = tflite.read(data)
    tensors = [file.tensors[index] for index in file.inputs]
    ordered = in_order(inputs, [layers.input_name(tensor.name) for tensor in tensors])
    given = [to_tensor(array, tensor) for array, tensor in zip(ordered, tensors, strict=True)]
    found = {"litert": litert.run(data, given)[0]}
    if tflm.available():
        with closing(tflm.Interpreter(data, file)) as interpreter:
            found["tflm"] = interpreter.run(given)[0]
    return found, file.tensors[file.outputs[0]]


def _kind(facet: Mapping[str, Any], data: Data, inputs: NDArray[np.generic], outputs: NDArray[np.generic]) -> str:
    """Return what kind of model it is, if the specification leaves it open."""
    if facet["evaluate_as"]:
        kind = str(facet["evaluate_as"])
    elif facet["classes"]:
        kind = "classifier"
    else:
        kind = "autoencoder" if inputs.shape == outputs.shape and _gives_back(data, inputs) else "regressor"
    if data.targets is None and kind != "autoencoder":
        raise UserError(f'dataset("evaluation") returns no y to compare a {kind} with', fix="return (x, y)")
    return kind


def _gives_back(data: Data, inputs: NDArray[np.generic]) -> bool:
    """Tell whether the targets are those of an autoencoder: none, its inputs, or labels of samples."""
    import numpy as np

    return data.targets is None or data.targets.dtype.kind in "iub" or np.array_equal(data.targets, inputs)


def _measured(
    kind: str,
    facet: Mapping[str, Any],
    data: Data,
    inputs: NDArray[np.generic],
    outputs: NDArray[np.generic],
    model: str,
) -> Measured:
    """Return how well outputs do."""
    if kind == "classifier":
        assert data.targets is not None
        return measure.classify(data.targets, outputs, facet["classes"], name=model)
    if kind == "regressor":
        assert data.targets is not None
        return measure.regress(data.targets.reshape(len(outputs), -1), outputs, name=model)
    # What an autoencoder is to give back is no label: those have one number for each sample.
    labels = data.targets if data.targets is not None and data.targets.size == len(outputs) else None
    return measure.reconstruct(inputs, outputs, labels, name=model)


def _agreement(raw: Mapping[str, NDArray[np.generic]], kind: str) -> Agreement | None:
    """Return how far the runtimes are apart; the highest output means something in a classifier only."""
    if "tflm" not in raw:
        return None
    found = measure.agreement(raw["tflm"], raw["litert"])
    return found if kind == "classifier" else replace(found, argmax_differs=0)


def _gate(trained: Measured, quantized: Measured) -> dict[str, Any]:
    """Return the number that `max_accuracy_drop` limits, of both models, and by how much it got worse."""
    before, after = trained.gate_metric, quantized.gate_metric
    drop = before.value - after.value if before.higher_is_better else after.value - before.value
    return {"metric": before.name, "float": before.value, "int8": after.value, "drop": drop}


def _files(results: Mapping[str, Measured], agreement: Agreement | None, model: str) -> dict[str, bytes]:
    """Return results and plots by their names in the archive."""
    runtime = "tflm" if "tflm" in results else "litert"
    shown = {_FLOAT: ("float", f"{model}, float"), _INT8: (runtime, f"{model}, int8")}
    files: dict[str, bytes] = {}
    for folder, (name, title) in shown.items():
        result = results[name]
        text, found = result.summary(), result.to_json()
        if folder == _INT8:
            found["runtime"] = name
            found["agreement"] = agreement.to_json() if agreement else None
            text += f"TFLM and LiteRT: {agreement.headline()}\n" if agreement else "TFLM was not available\n"
        files[f"{folder}/eval-results.json"] = facets_of.canonical_json(found)
        files[f"{folder}/summary.txt"] = text.encode()
        files |= {f"{folder}/{file}": content for file, content in _plots(result, title).items()}
    return files


def _plots(result: Measured, title: str) -> dict[str, bytes]:
    if isinstance(result, Classification):
        return classification_plots(result, title)
    if isinstance(result, Regression):
        return plots.regression_plots(result, title)
    return plots.reconstruction_plots(result, title)


def _says(results: Mapping[str, Measured], agreement: Agreement | None) -> list[str]:
    """Return the lines for the console."""
    labels = {"float": "float (Keras)", "litert": "int8 (LiteRT)", "tflm": "int8 (TFLM)"}
    lines = [f"{labels[name]:<13} {result.headline()}" for name, result in results.items()]
    return [*lines, f"TFLM and LiteRT: {agreement.headline()}"] if agreement and not _notes(agreement) else lines


def _notes(agreement: Agreement | None) -> list[str]:
    """Return what is wrong, though it is no error."""
    if agreement is None:
        return ["not run on TFLM: tflite-micro is not installed (some platforms have no wheel)"]
    if agreement.unit == "steps" and agreement.greatest > 1:
        return [f"TFLM and LiteRT disagree by more than one step: {agreement.headline()}; firmware does as TFLM"]
    return []


def record(script: str, directory: str, archive_path: str) -> Result:
    """Hold the results to the limits, and put them into the archive, in place of those of former models."""
    accuracy, limits = stored(directory, "accuracy"), stored(directory, "limits")
    try:
        check_limits_of_accuracy(limits, accuracy["gate"])
    except UserError as error:
        raise error.at(script) from None
    if not Path(archive_path).exists():
        return done({})
    members = {name: Path(directory, name).read_bytes() for name in accuracy["files"]}
    former = [name for name in archive.members(archive_path) if name.startswith((f"{_FLOAT}/", f"{_INT8}/"))]
    archive.update_members(archive_path, members, remove=[name for name in former if name not in members])
    outputs = {f"{archive_path}!{name}": digest_bytes(content) for name, content in members.items()}
    return {**done({}), "outputs": outputs}
