"""The helpers of ``mltk.utils`` that specification scripts call when they are loaded."""

from __future__ import annotations

import importlib.util
import logging
import os
from typing import Any

from doit_tflm.errors import UserError

__all__ = [
    "DictObject",
    "append_exception_msg",
    "as_list",
    "create_user_dir",
    "fullpath",
    "get_mltk_logger",
    "install_pip_package",
    "prepend_exception_msg",
]


class DictObject(dict[str, Any]):
    """A dict whose entries are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        """Return an entry."""
        if name not in self:
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an entry."""
        self[name] = value


def get_mltk_logger(*_: Any, **__: Any) -> logging.Logger:
    """Return the logger ``mltk``; what it prints is in the stage's log."""
    return logging.getLogger("mltk")


def as_list(value: Any, split: str | None = None) -> list[Any]:
    """Return a list of a list, a tuple, a single value, or a string with separators; nothing for None."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return list(value)
    return value.split(split) if split and isinstance(value, str) else [value]


def fullpath(path: str, cwd: str | None = None) -> str:
    """Return an absolute path with ``~`` and variables expanded, and forward slashes."""
    expanded = os.path.expandvars(os.path.expanduser(path))
    return os.path.abspath(os.path.join(cwd or "", expanded)).replace("\\", "/")


def create_user_dir(suffix: str = "", base_dir: str | None = None) -> str:
    """Return a directory below `base_dir`, ``$MLTK_CACHE_DIR`` or ``~/.mltk``, which is made."""
    base = base_dir or os.environ.get("MLTK_CACHE_DIR") or "~/.mltk"
    path = fullpath(f"{base}/{suffix.lstrip('/')}" if suffix else base)
    os.makedirs(path, exist_ok=True)
    return path


def install_pip_package(package: str, module_name: str | None = None, **_: Any) -> None:
    """Check that a package is installed: a build installs none.

    Raises
    ------
    UserError
        If it is not.
    """
    module = module_name or package.partition("=")[0].rstrip("<>!~ ").replace("-", "_")
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise UserError(f"wants to install {package}, and a build installs nothing", fix=f"pip install {package}")


def prepend_exception_msg(error: Exception, text: str) -> Exception:
    """Put a text before an exception's message."""
    error.args = (f"{text}\n{error}", *error.args[1:])
    return error


def append_exception_msg(error: Exception, text: str) -> Exception:
    """Put a text after an exception's message."""
    error.args = (f"{error}{text}", *error.args[1:])
    return error
