"""Golden vectors: which samples they are, how they are quantized, and that every compiler takes them."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm import golden, quantization
from doit_tflm.errors import UserError
from doit_tflm.golden import Golden, chosen, render_golden
from doit_tflm.header import HeaderFacts, TensorFacts, render_header
from doit_tflm.tflite import Quantization, Tensor
from test_header import COMPILERS, compile_object, must, tool

DATA = bytes(range(64))


def tensor(dtype: str, scale: float | None, zero_point: int, shape: tuple[int, ...] = (1, 4)) -> Tensor:
    found = None if scale is None else Quantization((scale,), (zero_point,), 0)
    return Tensor(
        index=0,
        name="x",
        shape=shape,
        dtype=dtype,
        buffer_bytes=0,
        quantization=found,
        is_variable=False,
        open_dimensions=(),
        buffer=0,
    )


def facts(given: np.ndarray, made: np.ndarray) -> HeaderFacts:
    ends = [TensorFacts("t", array.shape[1:], array.dtype.name, 0.5, 0) for array in (given, made)]
    return HeaderFacts(
        model="sine", version=1, inputs=(ends[0],), outputs=(ends[1],), sha256="ab" * 32, generator="a test"
    )


# Which samples, and how they become integers.


@given(st.integers(1, 2000), st.integers(0, 50))
def test_the_chosen_samples_are_spread_from_the_first_to_the_last(samples: int, count: int) -> None:
    found = chosen(samples, count)
    assert len(found) == len(set(found)) == min(samples, count)
    assert found == sorted(found)
    if count > 1:
        assert (found[0], found[-1]) == (0, samples - 1)


@given(
    st.floats(1e-4, 10), st.integers(-128, 127), st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4)
)
def test_a_value_survives_being_quantized_to_within_half_a_step(
    scale: float, zero: int, values: list[float]
) -> None:
    one = tensor("int8", scale, zero)
    integers = quantization.to_tensor(np.array([values], np.float32), one)
    back = quantization.to_real(integers, one)
    low, high = scale * (-128 - zero), scale * (127 - zero)
    assert integers.dtype == np.int8
    np.testing.assert_allclose(back[0], np.clip(values, low, high), atol=scale * 0.501, rtol=1e-5)


def test_halves_are_rounded_away_from_zero_and_far_values_clamped() -> None:
    one = tensor("int8", 1.0, 0)
    values = np.array([[0.5, -0.5, 1.5, -2.5], [1000, -1000, 126.6, -127.5]], np.float32)
    assert quantization.to_tensor(values, one).tolist() == [[[1, -1, 2, -3]], [[127, -128, 127, -128]]]


def test_a_tensor_that_is_not_quantized_takes_values_as_they_are() -> None:
    values = np.array([[0.1, -0.2, 3, 4]], np.float32)
    assert quantization.to_tensor(values, tensor("float32", None, 0)).tolist() == [values.tolist()]
    assert quantization.to_tensor(values, tensor("int32", None, 0)).tolist() == [[[0, 0, 3, 4]]]
    np.testing.assert_array_equal(quantization.to_real(values[:, None], tensor("float32", None, 0)), values)


def test_a_sample_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"a sample has shape \(3,\), but x takes \(4,\)"):
        quantization.to_tensor(np.zeros((2, 3), np.float32), tensor("int8", 1.0, 0))


# Stored and rendered.


def test_vectors_are_read_back_as_they_were_in_any_number_of_tensors(tmp_path: Path) -> None:
    arrays = tuple(np.arange(3 * n, dtype=np.int8).reshape(3, 1, n) for n in range(1, 13))
    path = tmp_path / "golden.npz"
    path.write_bytes(golden.serialise(Golden(arrays, arrays[:2])))
    found = golden.read(path)
    assert [array.tolist() for array in found.inputs] == [array.tolist() for array in arrays]
    assert len(found.outputs) == 2
    assert len(found) == 3
    path.write_bytes(golden.serialise(Golden()))
    assert not golden.read(path)


VALUES = {
    "int8": [-128, 127, 0, -1],
    "uint8": [0, 255, 1, 128],
    "int16": [-(2**15), 2**15 - 1, 0, 5],
    "int32": [-(2**31), 2**31 - 1, 0, -7],
    "int64": [-(2**63), 2**63 - 1, 0, -7],
    "float32": [0.1, -3.4e38, 1e-45, 16777216.0],
    "bool": [True, False, True, True],
}

PROGRAM = """
#include <stdio.h>
#include "sine_golden.h"
int main(void)
{
    if (fwrite(g_sine_model_golden_input0, sizeof g_sine_model_golden_input0, 1, stdout) != 1) {
        return 1;
    }
    return SINE_MODEL_GOLDEN_COUNT == 2 ? 0 : 2;
}
"""


@pytest.mark.parametrize("dtype", VALUES)
def test_a_program_has_the_very_bytes_of_the_vectors(tmp_path: Path, dtype: str) -> None:
    given = np.array([VALUES[dtype], VALUES[dtype][::-1]], dtype).reshape(2, 1, 4)
    made = np.array([[1, 2]], np.int8).repeat(2, axis=0).reshape(2, 1, 2)
    about = facts(given, made)
    header, source = render_golden(about, len(DATA), Golden((given,), (made,)))
    assert header.isascii()
    (tmp_path / "sine_model_data.h").write_text(render_header(about, len(DATA)))
    (tmp_path / "sine_golden.h").write_text(header)
    (tmp_path / "sine_golden.c").write_text(source)
    (tmp_path / "main.c").write_text(PROGRAM)
    objects = [compile_object("gcc", "c99", tmp_path / name) for name in ("sine_golden.c", "main.c")]
    must(tool("gcc"), *objects, "-o", tmp_path / "program")
    assert subprocess.run([tmp_path / "program"], capture_output=True, check=True).stdout == given.tobytes()


@pytest.mark.parametrize(("compiler", "standard"), COMPILERS)
def test_every_compiler_takes_them_without_a_warning(tmp_path: Path, compiler: str, standard: str) -> None:
    given = np.arange(-128, 128).astype(np.int8).reshape(2, 1, 128)
    made = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 1, 32)
    about = facts(given, made)
    header, source = render_golden(about, len(DATA), Golden((given,), (made,)))
    assert max(map(len, source.splitlines())) <= 130
    (tmp_path / "sine_model_data.h").write_text(render_header(about, len(DATA)))
    (tmp_path / "sine_golden.h").write_text(header)
    (tmp_path / "sine_golden.c").write_text(source)
    compile_object(compiler, standard, tmp_path / "sine_golden.c")


def test_vectors_of_another_build_do_not_compile(tmp_path: Path) -> None:
    given = made = np.zeros((2, 1, 4), np.int8)
    about = facts(given, made)
    header, source = render_golden(about, len(DATA), Golden((given,), (made,)))
    other = dataclasses.replace(about, sha256="cd" * 32)
    (tmp_path / "sine_model_data.h").write_text(render_header(other, len(DATA)))
    (tmp_path / "sine_golden.h").write_text(header)
    (tmp_path / "sine_golden.c").write_text(source)
    done = subprocess.run(
        [tool("gcc"), "-c", tmp_path / "sine_golden.c", "-o", tmp_path / "x.o"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert re.search("sine_golden.h belongs to another model", done.stderr)
