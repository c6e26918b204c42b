"""The worker's side: jobs come in on stdin, replies go out on a descriptor, output goes to the job's log."""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from doit_tflm.errors import UserError

__all__ = ["main", "output_to", "progress"]

_replies: Any = None


def progress(text: str, done: int, total: int = 0) -> None:
    """Tell doit's process how far the job is; nothing where there is no such process."""
    if _replies is not None:
        _reply({"progress": [text, done, total]})


def _reply(message: dict[str, Any]) -> None:
    _replies.write(json.dumps(message).encode() + b"\n")


def _redirect(log: str) -> None:
    """Send what is printed from now on, by Python and by C++, to a new log file."""
    sys.stdout.flush()
    sys.stderr.flush()
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _stream(descriptor: int) -> TextIO:
    """Return a text stream on a descriptor that it never closes."""
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


@contextmanager
def output_to(log: str) -> Iterator[None]:
    """Send what is printed during the block, by Python and by C++, to a new log file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        _redirect(log)
        # In a notebook Python's own streams lead elsewhere. A logging handler that takes one of these keeps it.
        with redirect_stdout(_stream(1)) as out, redirect_stderr(_stream(2)) as err:
            try:
                yield
            finally:
                out.flush()
                err.flush()
    finally:
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job and return the reply."""
    module, function = job["call"].split(":")
    try:
        result = getattr(importlib.import_module(module), function)(**job["arguments"])
    except UserError as error:
        return {"error": vars_of(error)}
    except MemoryError:
        return {"error": {"what": "the machine has no more memory", "fix": "use fewer representative samples"}}
    except Exception as error:  # noqa: BLE001 - the one edge where a failed job becomes a message
        traceback.print_exc()
        sys.stderr.flush()
        what = f"{type(error).__name__}: {error}"
        return {"error": {"what": what, "fix": f"the traceback is in {job['log']}"}}
    return {"result": result}


def vars_of(error: UserError) -> dict[str, str]:
    """Return an error's parts."""
    return {"what": error.what, "where": error.where, "fix": error.fix, "detail": error.detail}


def _listen(jobs: BinaryIO, waiting: queue.SimpleQueue[bytes]) -> None:
    """Queue the jobs, and end the process at once when there can be no more.

    stdin ends when doit's process does, however that happens: nobody would wait for a job's outputs any more, and
    the next build may already be writing them.
    """
    for line in jobs:
        waiting.put(line)
    os._exit(0)


def main() -> None:
    """Serve jobs until doit's process ends."""
    global _replies
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.dont_write_bytecode = True
    _replies = os.fdopen(int(sys.argv[1]), "wb", buffering=0)
    jobs = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs, waiting), daemon=True).start()
    while True:
        job = json.loads(waiting.get())
        try:
            _redirect(job["log"])
        except OSError as error:
            what = f"cannot be written ({error.strerror})"
            _reply({"error": {"what": what, "where": job["log"], "fix": "make its directory writable"}})
            continue
        reply = _run(job)
        sys.stdout.flush()
        sys.stderr.flush()
        _reply(reply)


if __name__ == "__main__":
    # Imported under its own name, so that `progress` is the same object for the stages.
    from doit_tflm.worker_main import main as serve

    serve()
