"""One build at a time in a project: the second waits, and says for whom."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["INHERITED", "BuildLock"]

INHERITED = "DOIT_TFLM_LOCK"
"""Names the lock that a process holds for its children as well: `train` starts a build of its own."""


class BuildLock:
    """An advisory lock on a file, which the kernel releases however the process ends.

    Parameters
    ----------
    path : Path
        The lock file. It holds who has the lock, and is never removed: a removed lock file can be held twice.

    Attributes
    ----------
    interrupted : bool
        Whether whoever had the lock before was killed: it did not give it back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interrupted = False
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process, or the one that started it, has the lock."""
        return self._descriptor is not None or self.inherited

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The open lock file, for child processes to hold along."""
        return () if self._descriptor is None else (self._descriptor,)

    @property
    def inherited(self) -> bool:
        """Whether the parent process holds the lock for this one."""
        return self._descriptor is None and os.environ.get(INHERITED) == str(self.path.absolute())

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock.

        Parameters
        ----------
        wait : bool
            Wait for whoever has it, after saying so on stderr; otherwise give up at once.

        Returns
        -------
        bool
            Whether this process has the lock now.
        """
        if self.held:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                os.close(descriptor)
                return False
            sys.stderr.write(f"waiting for {self._holder()}\n")
            sys.stderr.flush()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        os.environ[INHERITED] = str(self.path.absolute())
        self.interrupted = os.fstat(descriptor).st_size > 0
        os.ftruncate(descriptor, 0)
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "command": command}).encode(), 0)
        return True

    def release(self) -> None:
        """Give the lock back, if this process took it; also for the children that hold it along."""
        if self._descriptor is not None:
            os.environ.pop(INHERITED, None)
            os.ftruncate(self._descriptor, 0)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def _holder(self) -> str:
        """Describe who has the lock."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(self.path.read_bytes())
            return f"process {holder['pid']} ({holder['command']}), which is building here"
        return "another process, which is building here"
