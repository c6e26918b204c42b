"""Model specification scripts: run by path, each on its own, and their errors made readable."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import linecache
import os
import random
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes
from doit_tflm.mltk_compat.finder import is_stand_in, standing_in
from doit_tflm.spec import CURRENT_NAME, ModelSpec
from doit_tflm.trace import is_own, is_own_module

__all__ = ["Script", "loaded", "surroundings", "user_code"]


@dataclass(frozen=True)
class Script:
    """A script that was run.

    Attributes
    ----------
    path : str
        As it was given.
    spec : ModelSpec
        Its model specification.
    module : ModuleType
        Its namespace.
    """

    path: str
    spec: ModelSpec
    module: ModuleType

    def own_modules(self) -> list[str]:
        """Return the files of the user's modules that are imported, sorted."""
        files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        return sorted({file for file in files if file and is_own(file, os.getcwd())})


_NO_SPEC = "write my_model = ModelSpec(...) at its top level; or, if it is a helper, begin its name with _"

_REAL_MLTK = (
    "the package mltk is installed, and its models are no ModelSpec; build in an environment without it, where a "
    "stand-in takes its place"
)


class _FromSource(importlib.machinery.SourceFileLoader):
    """Compiles the source itself: a ``.pyc`` is taken for current by its date in whole seconds and its size."""

    def path_stats(self, path: str) -> dict[str, float]:
        """Deny that there is anything to compare a ``.pyc`` with."""
        raise OSError(path)


class _OwnFinder(importlib.abc.MetaPathFinder):
    """Finds the user's modules as Python would, and loads them from source."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module of the user's; None leaves it to Python."""
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is None or type(found.loader) is not importlib.machinery.SourceFileLoader:
            return None
        if not found.origin or not is_own(found.origin, os.getcwd()):
            return None
        found.loader = _FromSource(fullname, found.origin)
        return found


@contextmanager
def loaded(path: str) -> Iterator[Script]:
    """Run a specification script, and keep its surroundings for the block.

    Raises
    ------
    UserError
        If the script fails, or does not define exactly one ModelSpec.
    """
    with surroundings(path):
        module = _run(path)
        spec = _the_spec(module, path)
        with user_code(path):
            spec = spec.finished()
        yield Script(path, spec, module)


@contextmanager
def surroundings(path: str) -> Iterator[None]:
    """Import as a specification script does, for the block.

    The script's directory, then the project's, are searched for modules. What it imports of the user's modules
    is forgotten afterwards, so that two scripts may have helpers of the same name beside them.
    """
    # Both remember files by their date: too coarse for an edit in the same tick.
    linecache.clearcache()
    importlib.invalidate_caches()
    is_own(os.path.abspath(path))  # asks sysconfig for the first time, which must not import through the finder
    before = set(sys.modules)
    saved_path, finder = list(sys.path), _OwnFinder()
    sys.path[:0] = [os.path.abspath(Path(path).parent), os.getcwd()]
    sys.meta_path.insert(0, finder)
    token = CURRENT_NAME.set(Path(path).stem)
    try:
        with standing_in():
            yield
    finally:
        name = _module_name(path)
        own = [k for k in set(sys.modules) - before if k == name or is_own_module(sys.modules[k], os.getcwd())]
        for key in own:
            del sys.modules[key]
        CURRENT_NAME.reset(token)
        sys.meta_path.remove(finder)
        sys.path[:] = saved_path


def _module_name(path: str) -> str:
    """Return what a script's module is called: no two are called the same."""
    return f"doit_tflm_model_{digest_bytes(os.path.abspath(path).encode())[:8]}_{Path(path).stem}"


def _run(path: str) -> ModuleType:
    """Run a script as a module."""
    name = _module_name(path)
    if not Path(path).is_file():
        raise UserError("there is no such specification", path, "write it, or name another model")
    module = ModuleType(name)
    module.__file__ = os.path.abspath(path)
    sys.modules[name] = module
    seed(0)
    with user_code(path):
        code = compile(Path(path).read_bytes(), module.__file__, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - running the script is the point
    return module


def _the_spec(module: ModuleType, path: str) -> ModelSpec:
    """Return the one ModelSpec of a module."""
    specs = {id(v): (k, v) for k, v in vars(module).items() if isinstance(v, ModelSpec)}
    if not specs:
        real = "mltk" in sys.modules and not is_stand_in(sys.modules["mltk"])
        raise UserError("defines no ModelSpec", path, _REAL_MLTK if real else _NO_SPEC)
    if len(specs) > 1:
        names = " and ".join(sorted(k for k, _ in specs.values()))
        raise UserError(f"defines more than one ModelSpec ({names})", path, "give each a script of its own")
    return next(iter(specs.values()))[1]


def seed(value: int) -> None:
    """Seed the generators that user code draws from: Python's, and those of NumPy and TensorFlow if imported."""
    random.seed(value)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(value % 2**32)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(value)


@contextmanager
def user_code(path: str, doing: str = "") -> Iterator[None]:
    """Turn what the user's code raises into one error with their traceback, cut to their frames.

    Parameters
    ----------
    path : str
        The script, to say where.
    doing : str
        What the code was asked for, e.g. ``'dataset("validation") '``.

    Raises
    ------
    UserError
        Instead of any exception.
    """
    try:
        with _staying(path, doing):
            yield
    except UserError as error:
        raise error.at(_place(error.__traceback__, path)) from None
    except SyntaxError as error:
        text = "".join(traceback.format_exception_only(type(error), error))
        raise UserError("does not compile", path, "mend it", detail=text) from None
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{doing}raised {type(error).__name__}: {error}", path, "mend it", detail=_own_traceback(error)
        ) from error


@contextmanager
def _staying(path: str, doing: str) -> Iterator[None]:
    """Go back to the project's directory, and complain, if the user's code leaves it: every path is relative."""
    root = os.getcwd()
    try:
        yield
    finally:
        moved = os.getcwd() != root
        os.chdir(root)
    if moved:
        raise UserError(
            f"{doing}changes the current directory", path, "leave it, and build paths from Path(__file__).parent"
        )


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """Return the frames of the user's files."""
    root = os.getcwd()
    return [frame for frame in traceback.extract_tb(trace) if is_own(os.path.abspath(frame.filename), root)]


def _place(trace: TracebackType | None, path: str) -> str:
    """Return the user's innermost line as ``file:line``."""
    frames = _frames(trace)
    if not frames:
        return path
    return f"{os.path.relpath(frames[-1].filename)}:{frames[-1].lineno}"


def _own_traceback(error: BaseException) -> str:
    """Return an error's traceback without the frames of others."""
    frames = _frames(error.__traceback__)
    for frame in frames:
        frame.filename = os.path.relpath(frame.filename)
    lines = ["Traceback (most recent call last; only your files):\n", *traceback.format_list(frames)]
    return "".join(lines + traceback.format_exception_only(type(error), error))
