"""The reference models: what README says of them, measured on data that was held out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import DODO, Project
from doit_tflm import archive, c_text, golden, tflite, tflm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NAMES = ("anomaly_detection", "image_classification", "sine", "vibration_monitoring")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the reference project, built by the real doit with the real TensorFlow."""
    project = Project(tmp_path_factory.mktemp("reference"))
    project.write("dodo.py", DODO)
    shutil.copytree(ROOT / "models", project.path("models"), ignore=shutil.ignore_patterns("__pycache__"))
    run = project.doit("quantize", timeout_s=600)
    assert run.code == 0, run.out + run.err
    return project


@pytest.fixture(scope="module")
def evaluated(reference: Project) -> dict[str, dict[str, Any]]:
    """Return what ``doit evaluate`` finds of each model: its results in float, and as int8 on TFLM."""
    run = reference.doit("evaluate", timeout_s=600)
    assert run.code == 0, run.out + run.err
    return {
        name: {
            kind: json.loads(reference.path(f"build/{name}/eval/{folder}/eval-results.json").read_text())
            for kind, folder in (("float", "h5"), ("int8", "tflite"))
        }
        for name in NAMES
    }


def readme_row(name: str) -> list[float]:
    """Return what README says of a model: its error or accuracy as float and as int8, and its size in kB."""
    rows = (ROOT / "README.md").read_text().splitlines()
    row = next(line for line in rows if line.startswith(f"| `{name}` |"))
    return [float(cell.split()[0]) for cell in row.strip("|").split("|")[3:6]]


@pytest.mark.parametrize(
    ("name", "key", "factor", "worst", "tolerance"),
    [
        # Another processor or TensorFlow may tip a few samples.
        ("image_classification", "overall_accuracy", 100, 95, 0.6),
        ("vibration_monitoring", "overall_accuracy", 100, 95, 0.6),
        ("anomaly_detection", "overall_roc_auc", 1, 0.95, 0.005),
        ("sine", "mae", -1, -0.05, 0.003),
    ],
)
def test_a_model_is_as_good_as_readme_says(
    evaluated: dict[str, dict[str, Any]], name: str, key: str, factor: float, worst: float, tolerance: float
) -> None:
    measured = [factor * evaluated[name][kind][key] for kind in ("float", "int8")]
    assert min(measured) >= worst
    assert [abs(value) for value in measured] == pytest.approx(readme_row(name)[:2], abs=tolerance)
    assert evaluated[name]["int8"]["runtime"] == "tflm"


@pytest.mark.parametrize("name", NAMES)
def test_tflm_and_litert_agree_on_every_model(evaluated: dict[str, dict[str, Any]], name: str) -> None:
    found = evaluated[name]["int8"]["agreement"]
    # Fully connected layers round differently in TFLM, and the autoencoder has ten of them.
    assert found["greatest"] <= (12 if name == "anomaly_detection" else 1)
    assert found["argmax_differs"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_arena_of_the_header_is_enough_and_16_bytes_less_than_the_minimum_are_not(
    reference: Project, name: str
) -> None:
    data = reference.path(f"build/{name}/{name}.tflite").read_bytes()
    text = reference.path(f"firmware/generated/{c_text.file_stem(name)}.h").read_text()
    sizes = dict(re.findall(r"#define \w+_(ARENA_\w+) (\d+)u", text))
    interpreter = tflm.Interpreter(data, tflite.read(data))
    assert interpreter.attempt(int(sizes["ARENA_BYTES"]), invoke=True) == ""
    assert interpreter.attempt(int(sizes["ARENA_MEASURED_BYTES"]), invoke=True) == ""
    assert interpreter.attempt(int(sizes["ARENA_MEASURED_BYTES"]) - 16, invoke=True) != ""
    interpreter.close()


@pytest.mark.parametrize("name", NAMES)
def test_golden_vectors_are_what_the_runtime_of_tflm_says(reference: Project, name: str) -> None:
    from tflite_micro.python.tflite_micro import runtime

    vectors = golden.read(reference.path(f"build/{name}/golden.npz"))
    interpreter = runtime.Interpreter.from_bytes(reference.path(f"build/{name}/{name}.tflite").read_bytes())
    assert len(vectors) == 3
    for given, made in zip(vectors.inputs[0], vectors.outputs[0], strict=True):
        interpreter.set_input(given, 0)
        interpreter.invoke()
        assert interpreter.get_output(0).tobytes() == made.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_same_in_build_archive_header_and_readme(reference: Project, name: str) -> None:
    data = reference.path(f"build/{name}/{name}.tflite").read_bytes()
    assert archive.read_member(reference.path(f"models/{name}.mltk.zip"), f"{name}.tflite") == data
    source = reference.path(f"firmware/generated/{c_text.file_stem(name)}.c").read_text()
    digits = re.findall(r"0x([0-9a-f]{2})\b", source.partition("= {")[2].partition("}")[0])
    assert bytes.fromhex("".join(digits)) == data
    assert len(data) / 1000 == pytest.approx(readme_row(name)[2], rel=0.05)


def test_an_edit_of_the_input_type_neither_samples_nor_calibrates(reference: Project) -> None:
    spec = "models/image_classification.py"
    reference.edit(spec, 'inference_input_type"] = tf.int8', 'inference_input_type"] = tf.float32')
    run = reference.build()
    assert sorted(run.stages) == sorted(["spec", "quantize", "verify", "embed", "archive", "header"])
    assert run.why("quantize") == "inference_input_type: int8 → float32"
    reference.edit(spec, 'inference_input_type"] = tf.float32', 'inference_input_type"] = tf.int8')
    reference.build()


def test_two_directories_orders_and_numbers_of_jobs_give_the_same_bytes(
    reference: Project, evaluated: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    assert evaluated, "plots and results of the evaluation are compared as well"
    other = Project(tmp_path / "elsewhere")
    other.write("dodo.py", DODO)
    shutil.copytree(ROOT / "models", other.path("models"), ignore=shutil.ignore_patterns("__pycache__"))
    backwards = [f"{task}:{name}" for name in sorted(NAMES, reverse=True) for task in ("evaluate", "quantize")]
    run = other.doit("run", "-n", "4", *backwards, timeout_s=600)
    assert run.code == 0, run.out + run.err
    assert other.outputs() == reference.outputs()
