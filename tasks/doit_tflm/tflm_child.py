"""TFLM's interpreter in a process of its own, which forks for each try: an arena that is too small may crash it.

One line of JSON comes in for each try, one goes out. The process loads NumPy and the interpreter once.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any

__all__ = ["main"]

_FAILED = 3
"""The exit code of a fork whose interpreter said no."""


def _try(interpreter: Any, request: Mapping[str, Any]) -> None:
    """Allocate the tensors, then run the model as often as asked for.

    Parameters
    ----------
    interpreter : module
        ``tflite_micro``'s runtime.
    request : mapping
        ``model`` (a path), ``arena_bytes``, ``invoke``, and to run it on data: ``inputs`` (``.npy`` files of shape
        (samples, *tensor shape)), ``outputs`` (files to write, likewise), ``first`` and ``step`` (which of the
        samples to run), and ``reset`` (whether each starts afresh).
    """
    import numpy as np

    with open(request["model"], "rb") as stream:
        model = interpreter.Interpreter.from_bytes(stream.read(), arena_size=request["arena_bytes"])
    if not request["inputs"]:
        if request["invoke"]:
            model.invoke()
        return
    inputs = [np.load(path, mmap_mode="r") for path in request["inputs"]]
    outputs = [np.load(path, mmap_mode="r+") for path in request["outputs"]]
    for number in range(request["first"], len(inputs[0]), request["step"]):
        if request["reset"]:
            model.reset()
        for index, array in enumerate(inputs):
            model.set_input(np.ascontiguousarray(array[number]), index)
        model.invoke()
        for index, array in enumerate(outputs):
            array[number] = model.get_output(index)
    for array in outputs:
        array.flush()


def _fork(interpreter: Any, request: Mapping[str, Any], log: IO[bytes]) -> int:
    """Start a try in a fork of this process, and return its number."""
    child = os.fork()
    if child:
        return child
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    try:
        _try(interpreter, request)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
        os.write(2, f"{error}\n".encode())
        os._exit(_FAILED)
    # Nothing of the parent's may be flushed or closed here.
    os._exit(0)


def _answer(interpreter: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a try, in as many forks as it may have, and say how the first that failed ended."""
    jobs = request["jobs"] if request["inputs"] else 1
    with tempfile.TemporaryFile() as log:
        forks = [_fork(interpreter, {**request, "first": first, "step": jobs}, log) for first in range(jobs)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) for fork in forks]
        log.seek(0)
        text = log.read().decode(errors="replace")
    return {"code": next((code for code in codes if code), 0), "log": text}


def main() -> None:
    """Serve tries until stdin ends."""
    sys.dont_write_bytecode = True
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    from tflite_micro.python.tflite_micro import runtime

    for line in sys.stdin:
        replies.write(json.dumps(_answer(runtime, json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
