"""Files: replaced whole or not at all, left alone when equal, and known by the digest of their content.

A digest is remembered together with the file's stat, so that an unchanged file is read once. As in git's index
("racy git"), a stat that is younger than the clock can tell apart is not believed.
"""

from __future__ import annotations

import glob
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from doit_tflm.errors import UserError

__all__ = [
    "DigestCache",
    "Stamp",
    "digest_bytes",
    "digest_file",
    "normalise",
    "replacing",
    "stamp",
    "sweep",
    "write_if_changed",
    "write_out",
]

Stamp = tuple[int, int, int, int]
"""mtime in ns, ctime in ns, size in bytes, inode: equal stamps mean an untouched file."""

_FINE_WINDOW_NS = 50_000_000
"""Kernels stamp files with a clock that ticks every 1 to 10 ms; five ticks of the slowest is beyond doubt."""
_COARSE_WINDOW_NS = 2_500_000_000
"""FAT and some network file systems keep whole or even seconds."""


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Return the BLAKE2b-128 digest of `data` as 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_file(path: str | Path) -> str:
    """Return the BLAKE2b-128 digest of a file's content as 32 hexadecimal digits.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    state = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def normalise(path: str | Path, root: str | Path = ".") -> str:
    """Return the one spelling of a path: relative to `root` where it lies below it, else absolute.

    doit matches a file_dep with a target by its spelling, so that ``./a``, ``a`` and ``/project/a`` must be one.
    """
    absolute = os.path.normpath(os.path.join(os.path.abspath(root), path))
    relative = os.path.relpath(absolute, os.path.abspath(root))
    return absolute if relative == ".." or relative.startswith(".." + os.sep) else Path(relative).as_posix()


def stamp(path: str) -> Stamp | None:
    """Return the stamp of a regular file, or None where there is none.

    A file that cannot be looked at counts as none: whoever reads it next says what is wrong with it.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    if found.st_mode & 0o170000 != 0o100000:
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def is_settled(mark: Stamp, now_ns: int) -> bool:
    """Tell whether a write after `now_ns` would be sure to change `mark`."""
    # ctime: any change sets it, and nobody can set it back, or ahead.
    changed = mark[1]
    window = _COARSE_WINDOW_NS if changed % 1_000_000_000 == 0 else _FINE_WINDOW_NS
    return changed + window < now_ns


class DigestCache:
    """Content digests by path, believed while the file's stamp stays the same.

    Attributes
    ----------
    known : dict
        Stamp and digest by key.
    fresh : dict
        Entries that were added since the cache was loaded, for whoever stores it.
    """

    def __init__(self) -> None:
        self.known: dict[str, tuple[Stamp, str | None]] = {}
        self.fresh: dict[str, tuple[Stamp, str | None]] = {}

    def load(self, entries: Mapping[str, Sequence[Any]]) -> None:
        """Take over entries that an earlier run stored: stamp and digest by key."""
        self.known.update({key: (tuple(mark), digest) for key, (mark, digest) in entries.items()})

    def get(
        self,
        path: str,
        mark: Stamp | None,
        member: str = "",
        compute: Callable[[str, str], str | None] | None = None,
    ) -> str | None:
        """Return the digest of a file, or of a part of it.

        Parameters
        ----------
        path : str
            The file.
        mark : Stamp or None
            Its stamp as it is now; None where there is no file.
        member : str, optional
            A name for the part of the file that `compute` reads.
        compute : callable, optional
            ``compute(path, member)`` returns the part's digest, or None where the file has no such part.
            Without it the whole file's digest is taken.

        Returns
        -------
        str or None
            None where there is no such file, or no such part of it.
        """
        if mark is None:
            return None
        key = f"{path}!{member}" if member else path
        known = self.known.get(key)
        if known is not None and known[0] == mark:
            return known[1]
        now_ns = time.time_ns()
        try:
            digest = compute(path, member) if compute else digest_file(path)
        except OSError:
            return None
        if is_settled(mark, now_ns) and stamp(path) == mark:
            self.known[key] = self.fresh[key] = (mark, digest)
        return digest


@contextmanager
def replacing(path: str | Path, expected: Stamp | None = None) -> Iterator[BinaryIO]:
    """Write a complete new file beside `path` and rename it there; on any error `path` stays as it was.

    Parameters
    ----------
    path : path
        The file; where it is a link, the file that it leads to.
    expected : Stamp, optional
        The stamp of the file that the new one is made from.

    Raises
    ------
    UserError
        If the file is not the expected one any more: what another wrote there meanwhile would be lost.

    Yields
    ------
    BinaryIO
        Open for reading and writing. It is flushed to the disk before the rename.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    part = target.parent / f".{target.name}.{os.getpid()}.part"
    try:
        with open(part, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            os.chmod(part, target.stat().st_mode & 0o7777)
        _check_expected(target, expected)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _check_expected(target: Path, expected: Stamp | None) -> None:
    if expected is not None and stamp(str(target)) != expected:
        raise UserError("was written by another meanwhile", target.name, "run the build again")


def write_if_changed(path: str | Path, data: bytes) -> bool:
    """Make `data` the content of `path`, atomically; leave a file alone that holds it already.

    Returns
    -------
    bool
        Whether the file was written.
    """
    target = Path(path)
    if target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data:
        return False
    if target.is_dir() and not target.is_symlink():
        target.rmdir()
    with replacing(target) as stream:
        stream.write(data)
    return True


def write_out(path: str | Path, data: bytes) -> bool:
    """Write a file to where the user wants it, as `write_if_changed` does.

    Raises
    ------
    UserError
        If it cannot be written there.
    """
    if Path(path).is_dir():
        raise UserError("is a directory", str(path), "name a file in it")
    try:
        return write_if_changed(path, data)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(path), "name another place") from None


def _sync_directory(directory: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(target: Path) -> None:
    """Remove what killed writers of `target` left beside it."""
    for name in glob.glob(f".{glob.escape(target.name)}.*.part", root_dir=target.parent):
        pid = name.rsplit(".", 2)[1]
        if pid.isdigit() and not _alive(int(pid)):
            (target.parent / name).unlink(missing_ok=True)


def sweep(directories: tuple[str, ...]) -> None:
    """Remove what writers that were killed left in directories; only while nobody else can write there."""
    for directory in directories:
        for part in Path(directory).glob(".*.part"):
            if part.is_file() and part.name.split(".")[-2].isdigit():
                part.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    """Tell whether a process of this machine has this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:
        # A zombie writes no more; where nobody waits for orphans, as in many containers, it stays one.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self/stat").exists()
