"""What TensorFlow Lite Micro (TFLM) says of a model: whether it runs it, in how much memory, and what comes out.

The interpreter is the real one, of the package ``tflite-micro``: TFLM's reference kernels, on the host. It runs in
a process beside this one (`doit_tflm.tflm_child`), since a model or an arena can crash it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit_tflm.errors import UserError
from doit_tflm.refusals import refusal
from doit_tflm.tflite import TfliteFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "KERNELS",
    "STEP_BYTES",
    "Interpreter",
    "Measurement",
    "available",
    "check_static",
    "describe",
    "measure",
]

STEP_BYTES = 16
"""TFLM aligns what it puts into the arena to this, so that no finer size makes a difference."""

KERNELS = "reference"
"""The kernels that the package is built with."""

_SCHEMA_VERSION = 3


@dataclass(frozen=True)
class Measurement:
    """What was measured of a model.

    Attributes
    ----------
    arena_bytes : int
        The smallest arena, a multiple of 16, in which the interpreter allocates and runs the model.
    word_bits : int
        The width of a pointer where it was measured; on a narrower target less is needed.
    """

    arena_bytes: int
    word_bits: int


def describe(word_bits: int) -> str:
    """Say how an arena was measured."""
    return f"the smallest in which TFLM's {KERNELS} kernels run the model on a {word_bits}-bit host"


def available() -> bool:
    """Tell whether the interpreter is installed; it has no wheel for every platform."""
    return importlib.util.find_spec("tflite_micro") is not None


def check_static(file: TfliteFile) -> None:
    """Check what TFLM does not tell, or tells too late.

    Raises
    ------
    UserError
        If the model is of another schema version, or a tensor's shape is open, but for the batch.
    """
    if file.schema_version != _SCHEMA_VERSION:
        raise UserError(
            f"the model is of schema version {file.schema_version}, but TFLM knows {_SCHEMA_VERSION} only",
            fix="convert it with TensorFlow 2",
        )
    # TFLM runs an open batch as 1, if it is one from the inputs on.
    is_batch = all(0 in file.tensors[index].open_dimensions for index in file.inputs)
    for tensor in file.tensors:
        if set(tensor.open_dimensions) - ({0} if is_batch else set()):
            raise UserError(
                f"tensor {tensor.name} has a dynamic shape, which TFLM cannot plan memory for",
                fix="give keras.Input a whole shape, and no layer a size that depends on the data",
            )


def measure(data: bytes, file: TfliteFile) -> Measurement:
    """Return what `Interpreter.measure` finds of a model."""
    with closing(Interpreter(data, file)) as interpreter:
        return interpreter.measure()


def _smallest(fits: Callable[[int], bool], too_small: int, fitting: int) -> int:
    """Return the smallest multiple of 16 that fits, by bisection between one that does not and one that does."""
    low, high = too_small // STEP_BYTES, -(-fitting // STEP_BYTES)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle * STEP_BYTES) else (middle, high)
    return high * STEP_BYTES


class Interpreter:
    """TFLM's interpreter with one model, in a process beside this one.

    Parameters
    ----------
    data : bytes
        The ``.tflite`` file.
    file : TfliteFile
        The same, read.

    Raises
    ------
    UserError
        Where it is used, if the process does not start.
    """

    def __init__(self, data: bytes, file: TfliteFile) -> None:
        self._file = file
        self._scratch = tempfile.TemporaryDirectory()
        self._model = Path(self._scratch.name, "model.tflite")
        self._model.write_bytes(data)
        self._guess = _generous(file, len(data))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "doit_tflm.tflm_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._scratch.cleanup()

    def attempt(self, arena_bytes: int, *, invoke: bool) -> str:
        """Allocate the model's tensors in an arena, and run it once with whatever is in there if asked to.

        Returns
        -------
        str
            What TFLM said if it failed, or how it crashed; empty if it did not.
        """
        return self._ask({"arena_bytes": arena_bytes, "invoke": invoke, "inputs": [], "outputs": []})

    def measure(self) -> Measurement:
        """Run the model once, and find the smallest arena that it runs in.

        Raises
        ------
        UserError
            If TFLM does not run it: what for, and in which layer.
        """
        enough = self.enough_bytes()
        smallest = _smallest(lambda size: self.attempt(size, invoke=False) == "", 0, enough)
        if self.attempt(smallest, invoke=True):
            # What allocates may still not run: then every size is tried in full.
            smallest = _smallest(lambda size: self.attempt(size, invoke=True) == "", smallest, enough)
        return Measurement(smallest, struct.calcsize("P") * 8)

    def enough_bytes(self) -> int:
        """Return the size of an arena that is large enough, and larger than it must be.

        Raises
        ------
        UserError
            If TFLM does not run the model in any.
        """
        said = ""
        for size in (self._guess, 16 * self._guess):
            said = self.attempt(size, invoke=True)
            if not said:
                return size
        raise refusal(said, self._file) from RuntimeError(said)

    def run(self, inputs: Sequence[NDArray[np.generic]], jobs: int | None = None) -> list[NDArray[np.generic]]:
        """Run the model on samples, each as if it were the first.

        Parameters
        ----------
        inputs : sequence of ndarray
            For each input, shape (samples, *tensor shape), of the tensor's dtype.
        jobs : int, optional
            How many processes share the samples; the machine's processors when left out.

        Returns
        -------
        list of ndarray
            For each output, shape (samples, *tensor shape), of the tensor's dtype.

        Raises
        ------
        UserError
            If TFLM does not run the model.
        """
        import numpy as np

        arena_bytes = self.enough_bytes()
        samples = len(inputs[0])
        with tempfile.TemporaryDirectory(dir=self._scratch.name) as scratch:
            given = [f"{scratch}/input{index}.npy" for index in range(len(inputs))]
            made = [f"{scratch}/output{index}.npy" for index in range(len(self._file.outputs))]
            for path, array in zip(given, inputs, strict=True):
                np.save(path, array)
            for path, index in zip(made, self._file.outputs, strict=True):
                tensor = self._file.tensors[index]
                np.save(path, np.zeros((samples, *tensor.shape), tensor.dtype))
            said = self._ask(
                {
                    "arena_bytes": arena_bytes,
                    "invoke": True,
                    "inputs": given,
                    "outputs": made,
                    "jobs": max(1, min(jobs or os.cpu_count() or 1, samples)),
                    "reset": self._has_state(),
                }
            )
            if said:
                raise refusal(said, self._file) from RuntimeError(said)
            return [np.load(path) for path in made]

    def _has_state(self) -> bool:
        """Tell whether one run of the model may depend on the one before."""
        stateful = {"VAR_HANDLE", "CALL_ONCE"}
        return any(tensor.is_variable for tensor in self._file.tensors) or any(
            operator.name in stateful or operator.is_custom for operator in self._file.operators
        )

    def _ask(self, request: dict[str, Any]) -> str:
        """Have the other process try something, and return what went wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"model": str(self._model), **request}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UserError(
                "TFLM's interpreter does not start", fix="reinstall tflite-micro; what it printed is in the log"
            )
        answer = json.loads(line)
        return _outcome(answer["code"], answer["log"])


def _outcome(code: int, log: str) -> str:
    """Return what went wrong in one try: what TFLM printed, and how the process ended if it crashed."""
    if code == 0:
        return ""
    if code > 0:
        return log.strip() or "TFLM gives no reason"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{log.strip()}\nTFLM's interpreter crashed ({name})".strip()


def _generous(file: TfliteFile, size: int) -> int:
    """Return more bytes than an arena should need: no tensor shares memory, and the rest is counted twice over."""
    tensors = sum(
        -(-tensor.bytes // STEP_BYTES) * STEP_BYTES for tensor in file.tensors if not tensor.buffer_bytes
    )
    return tensors + 2 * size + 1024 * (len(file.tensors) + len(file.operators)) + (1 << 20)
