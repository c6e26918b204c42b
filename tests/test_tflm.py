"""What TFLM's words become, and that its process neither hangs nor takes this one along."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from doit_tflm import tflite, tflm
from doit_tflm.errors import UserError
from tiny_model import Op, T, build

pytestmark = pytest.mark.skipif(not tflm.available(), reason="tflite-micro has no wheel for this platform")


def model(name: str, dtype: str = "int8") -> bytes:
    return build(
        [T("x", (1, 4), dtype), T("scores/y", (1, 4), dtype)], [Op(name, ["x"], ["scores/y"])], ["x"], ["scores/y"]
    )


@pytest.fixture
def abs_model() -> Iterator[tuple[tflm.Interpreter, bytes]]:
    data = model("ABS", "float32")
    interpreter = tflm.Interpreter(data, tflite.read(data))
    yield interpreter, data
    interpreter.close()


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as error:
        tflm.measure(data, tflite.read(data))
    return str(error.value)


def test_an_operator_that_is_lacking_is_named_with_layer_and_way_out() -> None:
    said = refusal(model("TOPK_V2"))
    assert said.startswith("TFLM has no operator TOPK_V2 (layer ")
    assert said.endswith("; return the scores, and let the firmware pick the largest")


def test_a_type_that_a_kernel_rejects_is_named_with_its_operator_and_reason() -> None:
    said = refusal(model("ABS", "int64"))
    assert said.startswith("TFLM's operator ABS refuses layer ")
    assert said.count("\n") == 0


def test_a_model_is_run_on_samples_in_any_number_of_processes(abs_model: tuple[tflm.Interpreter, bytes]) -> None:
    interpreter, _ = abs_model
    samples = np.random.default_rng(0).normal(size=(37, 1, 4)).astype(np.float32)
    for jobs in (1, 2, 5, 100):
        (outputs,) = interpreter.run([samples], jobs=jobs)
        np.testing.assert_array_equal(outputs, abs(samples))


def test_an_arena_that_is_too_small_is_an_answer_and_no_crash(abs_model: tuple[tflm.Interpreter, bytes]) -> None:
    interpreter, data = abs_model
    smallest = tflm.measure(data, tflite.read(data)).arena_bytes
    for size in range(0, smallest, 16):
        assert interpreter.attempt(size, invoke=True) != ""
    assert interpreter.attempt(smallest, invoke=True) == ""


def test_an_interpreter_that_does_not_start_is_a_message(
    abs_model: tuple[tflm.Interpreter, bytes],
) -> None:
    interpreter, _ = abs_model
    interpreter._process.kill()
    interpreter._process.wait()
    with pytest.raises(UserError, match="TFLM's interpreter does not start"):
        interpreter.attempt(1000, invoke=True)


def test_an_open_shape_and_an_unknown_schema_are_refused_before_tflm_is_asked() -> None:
    file = tflite.read(model("ABS", "float32"))
    with pytest.raises(UserError, match="the model is of schema version 4, but TFLM knows 3 only"):
        tflm.check_static(dataclasses.replace(file, schema_version=4))
    for dimensions in ((1,), (0,)):
        opened = dataclasses.replace(file.tensors[1], open_dimensions=dimensions)
        with pytest.raises(UserError, match="tensor scores/y has a dynamic shape"):
            tflm.check_static(dataclasses.replace(file, tensors=(file.tensors[0], opened)))
    tflm.check_static(file)


def test_a_batch_that_is_open_from_the_inputs_on_is_run_as_one() -> None:
    file = tflite.read(model("ABS", "float32"))
    tensors = tuple(dataclasses.replace(tensor, open_dimensions=(0,)) for tensor in file.tensors)
    tflm.check_static(dataclasses.replace(file, tensors=tensors))


@pytest.mark.parametrize(
    ("code", "log", "expected"),
    [
        (0, "chatter", ""),
        (3, "words\n", "words"),
        (3, "", "TFLM gives no reason"),
        (-11, "words\n", "words\nTFLM's interpreter crashed (SIGSEGV)"),
        (-200, "", "TFLM's interpreter crashed (signal 200)"),
    ],
)
def test_every_end_of_a_try_is_told(code: int, log: str, expected: str) -> None:
    assert tflm._outcome(code, log) == expected
