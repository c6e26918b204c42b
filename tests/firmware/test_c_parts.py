"""The parts of firmware/src that need no TensorFlow Lite Micro, each by itself."""

from __future__ import annotations

import ctypes
import hashlib
import math
import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import standin
from conftest import Project

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "firmware" / "src"
C_FILES = ["sha256.c", "tflite_file.c", "selfcheck.c", "console.c"]
FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror", f"-I{SOURCE}"]
SCALES = [0.5, 0.024620213, 0.003921569, 1.0 / 3.0, 7.5]


def compile_with(compiler: str, *arguments: str | Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, *(str(part) for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", C_FILES)
@pytest.mark.parametrize("standard", ["c99", "c11", "c17", "c2x"])
@pytest.mark.parametrize("compiler", ["gcc", "clang", "arm-none-eabi-gcc"])
def test_c_files_compile_without_warnings(compiler: str, standard: str, name: str, tmp_path: Path) -> None:
    compile_with(compiler, f"-std={standard}", "-Os", *FLAGS, "-c", SOURCE / name, "-o", tmp_path / "o")


@pytest.mark.parametrize("standard", ["c++11", "c++14", "c++17", "c++20"])
@pytest.mark.parametrize("compiler", ["g++", "clang++", "arm-none-eabi-g++"])
def test_headers_compile_as_cpp_without_warnings(compiler: str, standard: str, tmp_path: Path) -> None:
    source = tmp_path / "all.cc"
    names = ["sha256.h", "tflite_file.h", "selfcheck.h", "console.h", "model_values.h"]
    source.write_text("".join(f'#include "{name}"\n' for name in names) + (HERE / "values.cc").read_text())
    compile_with(compiler, f"-std={standard}", "-Os", *FLAGS, "-c", source, "-o", tmp_path / "o")


# SHA-256


@pytest.fixture(scope="module")
def sha256(tmp_path_factory: pytest.TempPathFactory) -> Any:
    library = tmp_path_factory.mktemp("sha256") / "library.so"
    compile_with("gcc", "-std=c99", "-Os", *FLAGS, "-shared", "-fPIC", SOURCE / "sha256.c", "-o", library)
    return ctypes.CDLL(str(library)).sha256


def digest_of(sha256: Any, data: bytes) -> bytes:
    digest = ctypes.create_string_buffer(32)
    sha256(data, ctypes.c_size_t(len(data)), digest)
    return digest.raw


def test_sha256_of_every_length_up_to_four_blocks_is_hashlibs(sha256: Any) -> None:
    data = random.Random(1).randbytes(256)
    for size in range(len(data) + 1):
        assert digest_of(sha256, data[:size]) == hashlib.sha256(data[:size]).digest(), size


@given(st.binary(max_size=2000))
def test_sha256_of_any_bytes_is_hashlibs(sha256: Any, data: bytes) -> None:
    assert digest_of(sha256, data) == hashlib.sha256(data).digest()


def test_sha256_of_a_million_letters_is_that_of_the_standard(sha256: Any) -> None:
    digest = digest_of(sha256, b"a" * 1_000_000).hex()
    assert digest == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"


# The .tflite


def test_no_prefix_or_damage_makes_the_walk_read_outside_of_the_file(template: Project, tmp_path: Path) -> None:
    program = tmp_path / "fuzz"
    sanitize = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compile_with(
        "gcc", "-std=c99", *FLAGS, *sanitize, HERE / "tflite_file_fuzz.c", SOURCE / "tflite_file.c", "-o", program
    )
    data = template.path("build/kws/kws.tflite").read_bytes()
    done = subprocess.run([program], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    everything, whole, damaged = (int(number) for number in done.stdout.split())
    assert everything == 7
    # Only the file itself is whole, and what lacks nothing but zeros that pad it.
    assert 1 <= whole <= 1 + len(data) - len(data.rstrip(b"\0"))
    assert damaged > 0


# Values


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("values") / "library.so"
    compile_with("g++", "-std=c++11", "-Os", *FLAGS, "-shared", "-fPIC", HERE / "values.cc", "-o", library)
    loaded = ctypes.CDLL(str(library))
    for name, kind in (("int8", ctypes.c_int8), ("uint8", ctypes.c_uint8), ("int16", ctypes.c_int16)):
        function = loaded[f"quantize_{name}"]
        function.argtypes, function.restype = [ctypes.c_float, ctypes.c_float, ctypes.c_int32], kind
        setattr(loaded, f"quantize_{name}", function)
    loaded.dequantize_int8.argtypes = [ctypes.c_int8, ctypes.c_float, ctypes.c_int32]
    loaded.dequantize_int8.restype = ctypes.c_float
    loaded.argmax_int8.restype = ctypes.c_size_t
    loaded.label_of.restype = ctypes.c_char_p
    return loaded


def nearest(real: float, scale: float, zero_point: int, lowest: int, highest: int) -> int:
    """Quantize as TFLM's reference does, in numbers without limits."""
    with np.errstate(over="ignore"):
        steps = float(np.float32(real) / np.float32(scale))
    if math.isinf(steps):
        return highest if steps > 0 else lowest
    rounded = math.floor(abs(steps) + 0.5)
    return min(max(int(math.copysign(rounded, steps)) + zero_point, lowest), highest)


@given(
    real=st.floats(width=32, allow_nan=False),
    scale=st.sampled_from(SCALES),
    zero_point=st.integers(-128, 127),
)
@example(real=0.25, scale=0.5, zero_point=0)
@example(real=-0.25, scale=0.5, zero_point=0)
@example(real=math.nextafter(0.25, 0), scale=0.5, zero_point=0)
@example(real=math.inf, scale=0.5, zero_point=-128)
@example(real=-math.inf, scale=0.5, zero_point=127)
@example(real=3e38, scale=0.003921569, zero_point=-1)
def test_quantize_takes_the_nearest_element(values: Any, real: float, scale: float, zero_point: int) -> None:
    for name, lowest, highest in (("int8", -128, 127), ("uint8", 0, 255), ("int16", -32768, 32767)):
        found = getattr(values, f"quantize_{name}")(real, scale, zero_point)
        assert found == nearest(real, scale, zero_point, lowest, highest)


def test_what_is_not_a_number_becomes_the_zero_point(values: Any) -> None:
    assert values.quantize_int8(math.nan, 0.5, -7) == -7


@given(element=st.integers(-128, 127), scale=st.sampled_from(SCALES), zero_point=st.integers(-128, 127))
def test_quantize_takes_back_what_dequantize_gives(
    values: Any, element: int, scale: float, zero_point: int
) -> None:
    assert values.quantize_int8(values.dequantize_int8(element, scale, zero_point), scale, zero_point) == element


@pytest.mark.parametrize("scale", SCALES)
def test_quantize_and_dequantize_are_those_of_tflm(values: Any, scale: float) -> None:
    runtime = pytest.importorskip("tflite_micro").runtime
    rng = np.random.default_rng(1)
    reals = np.concatenate([rng.uniform(-140 * scale, 140 * scale, 396), np.array([-0.5, 0.5, 1.5, -2.5]) * scale])
    reals = reals.astype(np.float32).reshape(-1, 4)
    kinds = {"inference_input_type": "float32", "inference_output_type": "int8"}
    quantizer = interpreter(runtime, kinds, scale)
    dequantizer = interpreter(runtime, dict(zip(kinds, ("int8", "float32"), strict=True)), scale)
    for row in reals:
        elements = invoke(quantizer, row)
        assert [values.quantize_int8(real, scale, -1) for real in row] == elements.tolist()
        back = invoke(dequantizer, elements)
        assert [values.dequantize_int8(element, scale, -1) for element in elements] == back.tolist()


def interpreter(runtime: Any, kinds: dict[str, str], scale: float) -> Any:
    """Return TFLM's interpreter of one operator that quantizes or dequantizes four values."""
    data = standin._model(b"", kinds)
    old, new = (struct.pack("<f", each) for each in (0.5, scale))
    assert old in data
    return runtime.Interpreter.from_bytes(data.replace(old, new))


def invoke(interpreter: Any, row: Any) -> Any:
    interpreter.set_input(row.reshape(1, 4), 0)
    interpreter.invoke()
    return interpreter.get_output(0).reshape(-1).copy()


def test_argmax_is_the_first_of_the_highest(values: Any) -> None:
    elements = (ctypes.c_int8 * 5)(-128, 3, 127, 3, 127)
    assert values.argmax_int8(elements, ctypes.c_size_t(5)) == 2
    assert values.argmax_int8(elements, ctypes.c_size_t(1)) == 0


def test_the_best_label_is_that_of_the_highest_element(values: Any) -> None:
    assert values.label_of((ctypes.c_int8 * 3)(-5, 100, 99)) == b"yes"
