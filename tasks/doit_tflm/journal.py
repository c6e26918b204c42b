"""The journal: doit's database as a file that is only ever appended to.

doit keeps, for each task, what it saw when the task last succeeded. Its own backends write that at the end of a
run, so that a killed run forgets everything. Here each finished task is one appended line; a line that was cut
short by a kill, or damaged, is left out on reading, and its task runs again.

Format, one record a line, UTF-8: ``CRC32 TAB KIND TAB NAME TAB VALUE``. The kinds are T (a task's state, as JSON),
D (a task's state is dropped) and F (stamps and digests by path, as JSON). The first line names the format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from doit_tflm.files import DigestCache, Stamp, replacing
from doit_tflm.lock import BuildLock
from doit_tflm.observe import View

__all__ = ["Journal"]

_FORMAT = "doit-tflm journal 1"
_LAST_KEY = "deps:"
"""The key that doit 0.37 saves last when a task has succeeded (Dependency.save_success)."""


def _line(kind: str, name: str, text: str) -> str:
    """Return a record as a line."""
    if "\\" in name or not name.isprintable():
        name = name.encode("unicode_escape").decode()
    body = f"{kind}\t{name}\t{text}"
    return f"{crc32(body.encode()):08x}\t{body}\n"


def _records(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Yield kind, name and value of every whole record."""
    for line in data.split(b"\n"):
        body = line[9:]
        if line[:9] != b"%08x\t" % crc32(body):
            continue
        kind, name, value = body.split(b"\t", 2)
        yield kind.decode(), name.decode("unicode_escape") if b"\\" in name else name.decode(), value


class Journal:
    """A doit backend (the interface of ``doit.dependency.JsonDB``).

    Parameters
    ----------
    name : str
        The journal's path.
    codec : object
        doit's codec; unused, since the journal's text is JSON.
    module_name : str, optional
        Unused; part of doit's interface.

    Attributes
    ----------
    digests : DigestCache
        The digests of files, stored along with the tasks.
    view : View
        What is there now; a new one whenever a task has run.
    lock : BuildLock
        The project's lock. Whoever runs tasks takes it first, through `begin`.
    """

    desc = "append-only; survives kill -9"

    def __init__(self, name: str, codec: object = None, *, module_name: str | None = None) -> None:
        del codec, module_name
        self.name = name
        self.digests = DigestCache()
        self.view = View(self.digests)
        self.lock = BuildLock(Path(f"{name}.lock"))
        self._tasks: dict[str, dict[str, Any]] = {}
        self._texts: dict[str, bytes] = {}
        self._dirty: set[str] = set()
        self._lines = 0
        self._end: tuple[int, int] | None = None
        self._load()

    def begin(self) -> None:
        """Take the project's lock, and see what others did while this process waited for it."""
        if not self.lock.held:
            self.lock.acquire()
        self.view = View(self.digests)
        self.refresh()

    def refresh(self) -> None:
        """Read the journal again, if another process has written to it."""
        if self._where() != self._end:
            self._load()

    def get(self, task_id: str, dependency: str) -> Any:
        """Return a value of a task's state, or None."""
        task = self._tasks.get(task_id)
        if task is None:
            text = self._texts.get(task_id)
            if text is None:
                return None
            task = self._tasks[task_id] = json.loads(text.decode())
        return task.get(dependency)

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Change a value of a task's state; the last one of a finished task makes it durable."""
        self.view = View(self.digests)
        self.get(task_id, dependency)
        self._tasks.setdefault(task_id, {})[dependency] = value
        self._dirty.add(task_id)
        if dependency == _LAST_KEY:
            self._write([self._flushed(task_id)])

    def in_(self, task_id: str) -> bool:
        """Tell whether a task has a state."""
        return task_id in self._tasks or task_id in self._texts

    def remove(self, task_id: str) -> None:
        """Forget a task's state."""
        self.view = View(self.digests)
        if self.in_(task_id):
            self._tasks.pop(task_id, None)
            self._texts.pop(task_id, None)
            if self.lock.held:
                self._write([self._flushed(task_id)])
            else:
                self._dirty.add(task_id)

    def remove_all(self) -> None:
        """Forget the state of every task."""
        for task_id in {*self._tasks, *self._texts}:
            self.remove(task_id)

    def dump(self) -> None:
        """Write what is not written yet, and let the next build in."""
        if self._dirty:
            self.lock.acquire()
        if self._dirty or (self.digests.fresh and self._may_write()):
            lines = [self._flushed(task_id) for task_id in sorted(self._dirty)]
            lines += self._files_line(self.digests.fresh)
            self.digests.fresh.clear()
            self._write(lines)
        if self._is_stale() and self.lock.held and not self.lock.inherited:
            self._compact()
        self.lock.release()

    def _may_write(self) -> bool:
        """Tell whether digests can be stored: nobody builds here, and the directory can be written."""
        try:
            return self.lock.acquire(wait=False)
        except OSError:
            return False

    def _flushed(self, task_id: str) -> str:
        """Return the line that stores a task's state."""
        self._dirty.discard(task_id)
        if task_id in self._tasks:
            return _line("T", task_id, json.dumps(self._tasks[task_id]))
        return _line("D", task_id, "null")

    def _where(self) -> tuple[int, int] | None:
        """Return inode and size in bytes of the file, or None where there is none."""
        try:
            found = os.stat(self.name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_ino, found.st_size

    def _load(self) -> None:
        """Read the whole journal."""
        self._end = self._where()
        self._tasks, self._texts = {}, {}
        self._lines = 0
        if self._end is None:
            return
        data = Path(self.name).read_bytes()
        if not data.startswith(_FORMAT.encode() + b"\n"):
            return
        for kind, name, value in _records(data):
            self._lines += 1
            if kind == "T":
                self._texts[name] = value
            elif kind == "D":
                self._texts.pop(name, None)
            elif kind == "F":
                self.digests.load(json.loads(value.decode()))

    def _write(self, lines: list[str]) -> None:
        """Append lines; on a line of their own even where a killed writer left half of one."""
        Path(self.name).parent.mkdir(parents=True, exist_ok=True)
        nested = self._where() != self._end
        with open(self.name, "a+b", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            if stream.read(len(_FORMAT) + 1) != (_FORMAT + "\n").encode():
                stream.truncate(0)
                start = _FORMAT + "\n"
            else:
                stream.seek(size - 1)
                start = "" if stream.read(1) == b"\n" else "\n"
            stream.write((start + "".join(lines)).encode())
        self._lines += len(lines)
        self._end = self._where()
        if nested:
            # A build that this one started has written its own lines.
            self._load()

    def _files_line(self, entries: Mapping[str, tuple[Stamp, str | None]]) -> list[str]:
        """Return the line that stores files, if there are any."""
        return [_line("F", "files", json.dumps(entries, sort_keys=True))] if entries else []

    def _is_stale(self) -> bool:
        """Tell whether most lines were overtaken by later ones."""
        return self._lines > 100 + 2 * len({*self._tasks, *self._texts})

    def _compact(self) -> None:
        """Write the journal anew, without what was overtaken."""
        texts = {name: text.decode() for name, text in self._texts.items()}
        texts |= {name: json.dumps(task) for name, task in self._tasks.items()}
        lines = [_FORMAT + "\n"]
        lines += [_line("T", name, text) for name, text in sorted(texts.items())]
        lines += self._files_line(self.digests.known)
        with replacing(self.name) as stream:
            stream.write("".join(lines).encode())
        self._lines = len(lines) - 1
        self._end = self._where()
