"""Archives with weights that MLTK itself wrote, with Keras 2: they are built by the real doit.

The models are not ours to commit: ``DOIT_TFLM_MLTK_DATA`` names a directory that holds some, as ``NAME.h5``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import DODO, Project
from doit_tflm import archive, parameters, summarize_model, tflite, tflm
from doit_tflm.macs import total_macs

DATA = Path(os.environ.get("DOIT_TFLM_MLTK_DATA", "no-such-directory"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(DATA.glob("*.h5")), reason="DOIT_TFLM_MLTK_DATA names no directory with models of MLTK"
    ),
]

SPEC = """\
import numpy as np

from doit_tflm import ModelSpec

my_model = ModelSpec(version=2, description="made by MLTK", classes=CLASSES)
my_model.tflite_converter["inference_input_type"] = "int8"
my_model.tflite_converter["inference_output_type"] = "int8"
my_model.tflite_converter["representative_dataset_max_samples"] = 20


def load(subset):
    return np.random.default_rng(0).random((20, *SHAPE), dtype=np.float32)


my_model.dataset = load
"""


@pytest.mark.parametrize("weights", sorted(DATA.glob("*.h5")), ids=lambda path: path.stem)
def test_an_archive_with_weights_of_mltk_is_quantized(tmp_path: Path, weights: Path) -> None:
    import tf_keras

    name = weights.stem
    trained = tf_keras.models.load_model(weights, compile=False)
    shape, outputs = tuple(trained.inputs[0].shape[1:]), trained.outputs[0].shape[-1]
    project = Project(tmp_path)
    project.write("dodo.py", DODO)
    classes = list(map(str, range(outputs)))
    project.write(f"models/{name}.py", SPEC.replace("SHAPE", repr(shape)).replace("CLASSES", repr(classes)))
    path = project.path(f"models/{name}.mltk.zip")
    archive.update_members(path, {f"{name}.h5": weights.read_bytes(), "eval/h5/eval-results.json": b"{}"})
    run = project.doit("quantize", timeout_s=300)
    assert run.code == 0, run.out + run.err
    data = archive.read_member(path, f"{name}.tflite")
    assert data is not None
    read = tflite.read(data)
    assert {tensor.dtype for tensor in read.tensors} <= {"int8", "int32"}
    stored = parameters.decode(read.metadata[parameters.METADATA_NAME])
    assert (stored["name"], stored["version"], stored["classes"]) == (name, 2, classes)
    assert archive.read_member(path, f"{name}.h5") == weights.read_bytes()
    assert archive.read_member(path, "eval/h5/eval-results.json") == b"{}"
    assert project.build().stages == []


@pytest.mark.parametrize("path", sorted(DATA.glob("*.tflite")), ids=lambda path: path.stem)
def test_a_model_that_mltk_made_is_run_by_tflm_and_summed_up(path: Path) -> None:
    found = summarize_model(path)
    assert found.name == path.stem
    assert found.measured is not None
    recorded = found.model_parameters["runtime_memory_size"]
    # MLTK's interpreter of 2022 kept other books beside the same tensors.
    assert found.measured.arena_bytes == pytest.approx(recorded, rel=0.02)
    file = tflite.read(path.read_bytes())
    assert found.totals.macs == total_macs(file) > 2_000_000
    assert found.totals.uncounted == ()
    tflm.check_static(file)
    interpreter = tflm.Interpreter(path.read_bytes(), file)
    assert interpreter.attempt(found.measured.arena_bytes, invoke=True) == ""
    assert interpreter.attempt(found.measured.arena_bytes - 16, invoke=True) != ""
    interpreter.close()
