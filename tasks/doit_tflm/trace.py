"""Which files a piece of user code reads, as Python's audit events tell.

Reads that Python does not carry out itself (TensorFlow's, HDF5's) cause no event: `ModelSpec.data_files` names
those.
"""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Recorder", "is_own", "is_own_module", "is_own_package", "recording"]

_GENERATED = os.sep + "__autograph_generated_file"
"""What TensorFlow compiles of user code, and removes again."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/proc",
    "/sys",
    "/dev",
    "/run/user",
    "/var/lib",
)


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """Return the directories whose files are known by a version, or are the system's."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    places |= {*site.getsitepackages(), site.getusersitepackages()}
    # A .pth file or PYTHONPATH may add the packages of another environment.
    places |= {place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")}
    # Where ours lies in an editable installation.
    places.add(str(Path(__file__).parent))
    return tuple({os.path.realpath(place) + os.sep for place in (*places, *_SYSTEM)})


@lru_cache(maxsize=4096)
def is_own(path: str, root: str = "") -> bool:
    """Tell whether a file is the user's: neither of the Python installation nor of the system.

    Parameters
    ----------
    path : str
        An absolute path.
    root : str
        The project's directory. Outside of it, hidden directories of the home directory (caches, settings of
        programs) are not the user's work either.
    """
    real = os.path.realpath(path)
    if not path.startswith(os.sep) or ".dist-info" + os.sep in real or _GENERATED in real:
        return False
    inside = os.path.realpath(root) + os.sep if root else ""
    if inside and real.startswith(inside):
        # A project may lie below /usr, or be its own virtual environment; one below it is none of its work.
        return not any(
            real.startswith(place) for place in _installed() if place.startswith(inside) and place != inside
        )
    if real.startswith(_installed()):
        return False
    home = os.path.expanduser("~")
    return not real.startswith(os.path.join(home, "."))


def is_own_module(module: ModuleType, root: str) -> bool:
    """Tell whether a module is the user's; a package without ``__init__.py`` has no file, but a directory."""
    place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", None) or ()), "")
    return is_own(str(place), root)


def is_own_package(name: str, root: str) -> bool:
    """Tell whether a top-level module or package, imported or not, is the user's."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    places = (spec.origin or "", *(spec.submodule_search_locations or ())) if spec else ()
    return any(is_own(place, root) for place in places)


class Recorder:
    """What was opened while it was active.

    Attributes
    ----------
    read, written, listed : set of str
        Absolute paths that were opened for reading, and for writing, and directories that were listed.
    active : bool
        Whether it takes notes.
    """

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.listed: set[str] = set()
        self.active = True

    def note(self, path: Any, mode: Any, flags: Any) -> None:
        """Take note of an ``open`` event."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        name = os.path.abspath(os.fsdecode(path))
        writing = any(c in mode for c in "wax+") if isinstance(mode, str) else bool(flags & _WRITING)
        (self.written if writing else self.read).add(name)

    def note_listing(self, path: Any, caller: str) -> None:
        """Take note of an ``os.listdir`` or ``os.scandir`` event; Python's own search for modules is none."""
        if isinstance(path, (str, bytes, os.PathLike)) and "importlib" not in caller:
            self.listed.add(os.path.abspath(os.fsdecode(path)))

    def directories(self, root: str, without: tuple[str, ...] = ()) -> list[str]:
        """Return the user's directories that were listed, sorted; as `inputs`."""
        skipped = tuple(os.path.abspath(place) + os.sep for place in without)
        found = (path for path in self.listed if is_own(path + os.sep, root))
        return sorted(path for path in found if not (path + os.sep).startswith(skipped))

    def inputs(self, root: str, without: tuple[str, ...] = ()) -> list[str]:
        """Return the user's files that were read and not written, sorted.

        Parameters
        ----------
        root : str
            The project's directory.
        without : tuple of str
            Directories whose files are left out: the build's own.
        """
        skipped = tuple(os.path.abspath(place) + os.sep for place in without)
        return sorted(
            path
            for path in self.read - self.written
            if is_own(path, root) and not path.startswith(skipped) and not path.endswith((".pyc", ".pyo"))
        )


_active: Recorder | None = None
_hooked = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _active is None or not _active.active:
        return
    if event == "open":
        _active.note(*args)
    elif event in ("os.listdir", "os.scandir"):
        _active.note_listing(args[0] or ".", sys._getframe(1).f_code.co_filename)


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record the files that are opened until the block ends.

    An audit hook cannot be removed, so there is one, which is idle outside of such a block.
    """
    global _active, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    outer, _active = _active, Recorder()
    try:
        yield _active
    finally:
        _active = outer
