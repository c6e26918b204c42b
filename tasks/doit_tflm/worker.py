"""The worker: a process beside doit's that does the heavy work, and stays for the next stage.

One line of JSON goes in for each job; lines of JSON come out: progress, then a result or an error. Whatever else
the job prints, from Python or C++, goes to the job's log file. A job that kills its worker fails alone.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError

__all__ = ["Pool", "Progress"]

Progress = Callable[[str, int, int], None]
"""``progress(text, done, total)``; total is 0 where it is not known."""


class Worker:
    """A running worker process.

    Attributes
    ----------
    directory : str
        The project's directory, which it runs in.
    """

    def __init__(self, keep_open: tuple[int, ...] = ()) -> None:
        self.directory = os.getcwd()
        # Output goes through a descriptor of its own: 1 and 2 belong to whatever the job prints.
        read, write = os.pipe()
        # Equal bytes in every process: no order that hangs on a random hash, no kernels chosen by the CPU.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "TF_ENABLE_ONEDNN_OPTS": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "doit_tflm.worker_main", str(write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write, *keep_open),
            env=environment,
        )
        os.close(write)
        self._replies = os.fdopen(read, "rb")

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def run(self, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Do one job and return its result.

        Raises
        ------
        UserError
            If the job fails, or kills the process.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            for line in self._replies:
                reply = json.loads(line)
                if "progress" in reply:
                    progress(*reply["progress"])
                elif "error" in reply:
                    raise UserError(**reply["error"])
                else:
                    result: dict[str, Any] = reply["result"]
                    return result
        except BrokenPipeError:
            when = "before the job began"
        else:
            when = "while it worked"
        raise UserError(
            f"the worker process {self._fate()} {when}",
            fix=f"what it printed last is in {job['log']}",
            detail=_tail(Path(job["log"])),
        )

    def close(self) -> None:
        """Let the process end, and wait for it."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                self._process.kill()
        self._process.wait()
        self._replies.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self.close()

    def _fate(self) -> str:
        """Say how the process ended."""
        code = self._process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}" if name in ("SIGKILL", "SIGTERM", "SIGINT") else f"crashed ({name})"


def _tail(log: Path, lines: int = 4) -> str:
    """Return the last lines of a log."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


class Pool:
    """Workers, as many as there are jobs at a time; an idle one is used again.

    Attributes
    ----------
    keep_open : tuple of int
        Descriptors that workers inherit. The project's lock among them is held until the last worker has ended,
        even if doit's process is killed.
    """

    def __init__(self) -> None:
        self.keep_open: tuple[int, ...] = ()
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._pid = 0

    def run(self, call: str, arguments: dict[str, Any], log: str, progress: Progress) -> dict[str, Any]:
        """Call ``call(**arguments)`` in a worker and return its result.

        Parameters
        ----------
        call : str
            ``"module:function"``.
        arguments : dict
            Plain data.
        log : str
            Where the job's output goes; replaced.
        progress : callable
            Told of the job's progress.

        Raises
        ------
        UserError
            If the job fails.
        """
        worker = self._take()
        try:
            return worker.run({"call": call, "arguments": arguments, "log": log}, progress)
        except BaseException as error:
            if not isinstance(error, UserError):
                worker.kill()
            raise
        finally:
            self._give_back(worker)

    def _take(self) -> Worker:
        """Return an idle worker, or a new one."""
        with self._lock:
            if self._pid != os.getpid():
                # A fork of doit's: the workers, and the order to close them, belong to the parent.
                self._idle, self._pid = [], os.getpid()
                atexit.register(self.close)
            while self._idle:
                worker = self._idle.pop()
                # Every path is relative: a program may go on to another project.
                if worker.alive and worker.directory == os.getcwd():
                    return worker
                worker.close()
        return Worker(self.keep_open)

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.alive:
                self._idle.append(worker)

    def close(self) -> None:
        """End all idle workers."""
        with self._lock:
            for worker in self._idle:
                worker.close()
            self._idle.clear()
