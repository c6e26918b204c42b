"""The reference models: what README says of them, measured on data that was held out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import DODO, Project
from doit_tflm import archive, c_text, keras_io, parameters, tflite
from doit_tflm.script import loaded

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
CLASSIFIERS = ("image_classification", "vibration_monitoring")
NAMES = (*CLASSIFIERS, "sine")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the reference project, built by the real doit with the real TensorFlow."""
    project = Project(tmp_path_factory.mktemp("reference"))
    project.write("dodo.py", DODO)
    shutil.copytree(ROOT / "models", project.path("models"), ignore=shutil.ignore_patterns("__pycache__"))
    run = project.doit("quantize", timeout_s=600)
    assert run.code == 0, run.out + run.err
    return project


def evaluation(name: str) -> tuple[Any, Any]:
    with loaded(str(ROOT / "models" / f"{name}.py")) as script:
        assert script.spec.dataset is not None
        x, y = script.spec.dataset("evaluation")
        return x, y


def float_outputs(name: str, x: Any, directory: Path) -> Any:
    """Return what the trained Keras model says."""
    import tensorflow as tf

    path, _ = keras_io.find_weights(name, str(ROOT / "models" / f"{name}.mltk.zip"), "", str(directory))
    with loaded(str(ROOT / "models" / f"{name}.py")) as script:
        build = script.spec.build_model_function
        assert build is not None
        trained = keras_io.load(path, name, lambda: build(script.spec))
    return np.concatenate([trained.function(tf.constant(x[i : i + 1]))[0] for i in range(len(x))])


def int8_outputs(data: bytes, x: Any) -> Any:
    """Return what the int8 model says, in real numbers, by LiteRT's reference kernels."""
    import tensorflow as tf

    kernels = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=data, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (inner,), (outer,) = interpreter.get_input_details(), interpreter.get_output_details()
    (in_scale, in_zero), (out_scale, out_zero) = inner["quantization"], outer["quantization"]
    found = []
    for sample in x:
        integers = np.clip(np.round(sample / in_scale) + in_zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(inner["index"], integers[np.newaxis])
        interpreter.invoke()
        found.append((interpreter.get_tensor(outer["index"])[0].astype(np.float32) - out_zero) * out_scale)
    return np.array(found)


def readme_row(name: str) -> list[float]:
    """Return what README says of a model: its error or accuracy as float and as int8, and its size in kB."""
    rows = (ROOT / "README.md").read_text().splitlines()
    row = next(line for line in rows if line.startswith(f"| `{name}` |"))
    return [float(cell.split()[0]) for cell in row.strip("|").split("|")[3:6]]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_is_as_accurate_as_readme_says(reference: Project, tmp_path: Path, name: str) -> None:
    x, y = evaluation(name)
    model = reference.path(f"build/{name}/{name}.tflite").read_bytes()
    outputs = (float_outputs(name, x, tmp_path), int8_outputs(model, x))
    measured = [float((found.argmax(axis=1) == y).mean()) for found in outputs]
    assert min(measured) >= 0.95
    # Another processor or TensorFlow may tip a few samples.
    assert [100 * value for value in measured] == pytest.approx(readme_row(name)[:2], abs=0.6)


def test_the_sine_is_as_close_as_readme_says(reference: Project, tmp_path: Path) -> None:
    x, y = evaluation("sine")
    model = reference.path("build/sine/sine.tflite").read_bytes()
    outputs = (float_outputs("sine", x, tmp_path), int8_outputs(model, x))
    measured = [float(np.abs(found - y).mean()) for found in outputs]
    assert max(measured) < 0.05
    assert measured == pytest.approx(readme_row("sine")[:2], abs=0.003)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_same_in_build_archive_header_and_readme(reference: Project, name: str) -> None:
    data = reference.path(f"build/{name}/{name}.tflite").read_bytes()
    assert archive.read_member(reference.path(f"models/{name}.mltk.zip"), f"{name}.tflite") == data
    source = reference.path(f"firmware/generated/{c_text.file_stem(name)}.c").read_text()
    digits = re.findall(r"0x([0-9a-f]{2})\b", source.partition("= {")[2].partition("}")[0])
    assert bytes.fromhex("".join(digits)) == data
    assert len(data) / 1000 == pytest.approx(readme_row(name)[2], rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_tflm_runs_the_model_and_reads_its_parameters(reference: Project, name: str) -> None:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    data = reference.path(f"build/{name}/{name}.tflite").read_bytes()
    x, _ = evaluation(name)
    read = tflite.read(data)
    assert parameters.decode(read.metadata[parameters.METADATA_NAME])["name"] == name
    assert tflite.buffer_alignment_faults(data) == []
    interpreter = runtime.Interpreter.from_bytes(data)
    inner, outer = (read.tensors[side[0]].quantization for side in (read.inputs, read.outputs))
    assert inner is not None
    assert outer is not None
    expected = int8_outputs(data, x[:20])
    for sample, real in zip(x[:20], expected, strict=True):
        integers = np.clip(np.round(sample / inner.scales[0]) + inner.zero_points[0], -128, 127)
        interpreter.set_input(integers.astype(np.int8)[np.newaxis], 0)
        interpreter.invoke()
        found = (interpreter.get_output(0)[0].astype(np.float32) - outer.zero_points[0]) * outer.scales[0]
        # Fully connected layers round differently in TFLM, by two steps at the most.
        assert np.abs(found - real).max() <= 2.01 * outer.scales[0]


def test_an_edit_of_the_input_type_neither_samples_nor_calibrates(reference: Project) -> None:
    spec = "models/image_classification.py"
    reference.edit(spec, 'inference_input_type"] = tf.int8', 'inference_input_type"] = tf.float32')
    run = reference.build()
    assert sorted(run.stages) == sorted(["evaluate", "quantize", "embed", "archive", "header"])
    assert run.why("quantize") == "inference_input_type: int8 → float32"
    reference.edit(spec, 'inference_input_type"] = tf.float32', 'inference_input_type"] = tf.int8')
    reference.build()


def test_two_directories_orders_and_numbers_of_jobs_give_the_same_bytes(
    reference: Project, tmp_path: Path
) -> None:
    other = Project(tmp_path / "elsewhere")
    other.write("dodo.py", DODO)
    shutil.copytree(ROOT / "models", other.path("models"), ignore=shutil.ignore_patterns("__pycache__"))
    backwards = [f"quantize:{name}" for name in sorted(NAMES, reverse=True)]
    run = other.doit("run", "-n", "4", *backwards, timeout_s=600)
    assert run.code == 0, run.out + run.err
    assert other.outputs() == reference.outputs()
