"""A callable's fingerprint: its code, and all that its code uses of the user's own.

Comments, docstrings, blank lines and line numbers do not count. Followed are defaults, closures, globals, local
imports and classes, as far as they are the user's; what belongs to a package counts by the package's version.
What cannot be told apart for certain is an error, never a guess.
"""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import enum
import functools
import importlib
import importlib.util
import inspect
import logging
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes
from doit_tflm.library import library_object
from doit_tflm.mltk_compat.absent import Absent, StandIn
from doit_tflm.observe import distributions, version
from doit_tflm.spec import HeaderSettings, ModelSpec
from doit_tflm.syntax import Uses, dump, function_nodes, global_names, is_filled, source_file
from doit_tflm.trace import is_own, is_own_module, is_own_package

__all__ = ["Fingerprint", "fingerprint"]

_DYNAMIC = {"getattr", "vars", "__dict__", "asdict", "setattr"}
_PRINTED = (re.Pattern, dt.date, dt.timedelta, decimal.Decimal)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice)


class Fingerprint:
    """What was found of a callable.

    Attributes
    ----------
    lines : list of str
        The text that is hashed, readable.
    modules : set of str
        Top-level names of the packages that the code uses.
    """

    def __init__(self, root: str, where: str) -> None:
        self.lines: list[str] = []
        self.modules: set[str] = set()
        self.mentioned: set[str] = set()
        self._root = root
        self._where = where
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []
        self._specs: list[ModelSpec] = []

    @property
    def digest(self) -> str:
        """The digest of all that was found."""
        return digest_bytes("\n".join(self.lines).encode())

    def packages(self) -> dict[str, str]:
        """Return the versions of the distributions that the code uses, by name."""
        found = distributions()
        names = {name for module in self.modules for name in found.get(module, ())}
        return {name: version(name) or "" for name in sorted(names)}

    def add(self, value: Any, path: str) -> None:
        """Take in a value, and what it uses.

        Parameters
        ----------
        value : object
            Data, a function, a class or a module.
        path : str
            How the code reaches it, for messages.

        Raises
        ------
        UserError
            If equal values could not be told from unequal ones.
        """
        if isinstance(value, (*_PLAIN, *_PRINTED)):
            self._line(path, repr(value))
        elif id(value) in self._seen:
            self._line(path, f"again {self._seen[id(value)]}")
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._add_new(value, path)
        if self._is_own_class(type(value)):
            self.add(type(value), f"{path}.__class__")

    def finish(self) -> None:
        """Take in the attributes of specs that the code mentions; to be called last."""
        names = None if self.mentioned & _DYNAMIC else self.mentioned
        for spec in self._specs:
            for name, value in spec.read_by(names).items():
                self.add(value, f"spec.{name}")

    def _line(self, path: str, text: str) -> None:
        self.lines.append(f"{path} = {text}".replace(self._root, "."))

    def _add_new(self, value: Any, path: str) -> None:
        """Take in a value that is not plain and was not met before."""
        if isinstance(value, (list, tuple, set, frozenset, dict, types.MappingProxyType)):
            self._add_container(value, path)
        elif isinstance(value, PurePath):
            self._line(path, f"path {os.path.relpath(value, self._root)}")
        elif isinstance(value, enum.Enum):
            self._line(path, f"{type(value).__qualname__}.{value.name}")
        elif isinstance(value, ModelSpec):
            self._line(path, "spec")
            self._specs.append(value)
        elif isinstance(value, types.ModuleType):
            self._add_module(value, path)
        elif typing.get_origin(value) is not None:
            self._add_each((typing.get_origin(value), *typing.get_args(value)), path)
        elif isinstance(value, type):
            self._add_class(value, path)
        elif type(value).__module__ == "typing":
            self._line(path, repr(value))
        elif not callable(value) or not self._add_callable(value, path):
            self._add_object(value, path)

    def _add_container(self, value: Any, path: str) -> None:
        self._line(path, f"{type(value).__name__} of {len(value)}")
        if isinstance(value, (list, tuple)):
            self._add_each(value, path)
        elif isinstance(value, (set, frozenset)):
            self._add_each(sorted(value, key=lambda item: self._text(item, path)), path)
        else:
            for number, (key, item) in enumerate(value.items()):
                self.add(key, f"{path}.key{number}")
                self.add(item, f"{path}[{key!r}]" if isinstance(key, _PLAIN) else f"{path}[key{number}]")

    def _text(self, value: Any, path: str) -> str:
        """Return what is hashed of a value alone: it puts the items of a set, which have no order, in one."""
        alone = Fingerprint(self._root, self._where)
        alone.add(value, path)
        return "\n".join(alone.lines)

    def _add_each(self, values: Iterable[Any], path: str) -> None:
        for number, item in enumerate(values):
            self.add(item, f"{path}[{number}]")

    def _add_callable(self, value: Any, path: str) -> bool:
        """Take in a function, method or partial; False if it is none of these."""
        if isinstance(value, functools.partial):
            self._line(path, "partial")
            self._add_each((value.func, value.args, value.keywords), path)
        elif isinstance(value, types.MethodType):
            self._line(path, "method")
            self._add_each((value.__func__, value.__self__), path)
        elif isinstance(value, types.FunctionType):
            self._add_function(value, path)
        elif isinstance(
            value, (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
        ):
            self._named(value, path)
            owner = getattr(value, "__self__", None)
            if owner is not None and not isinstance(owner, types.ModuleType):
                self.add(owner, f"{path}.__self__")
        elif hasattr(value, "__wrapped__") and not self._is_own_class(type(value)):
            self.modules.add(type(value).__module__.partition(".")[0])
            self._line(path, f"{type(value).__qualname__} around")
            self.add(value.__wrapped__, f"{path}.__wrapped__")
        else:
            return False
        return True

    def _named(self, value: Any, path: str) -> None:
        """Take in something of a package, by its name; its version counts."""
        module = getattr(value, "__module__", None) or type(value).__module__
        name = getattr(value, "__qualname__", type(value).__qualname__)
        if isinstance(value, types.FunctionType):
            # functools.wraps gives a package's wrapper the name of the user's function.
            module, name = value.__globals__.get("__name__", module), value.__code__.co_name
        self.modules.add(module.partition(".")[0])
        self._line(path, f"{module}.{name}")

    def _add_function(self, function: types.FunctionType, path: str) -> None:
        if not is_own(source_file(function.__code__), self._root):
            self._named(function, path)
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                if is_filled(cell):
                    self._add_reachable(cell.cell_contents, f"{path}.{name}")
            self._add_closure(function, path, ())
            return
        nodes = function_nodes(function.__code__)
        if not nodes:
            what = f"the function {function.__qualname__}, whose source is not at hand"
            raise self._cannot(what, path, "define it in a file")
        for node in nodes:
            self._line(path, dump(node))
        for label, values in (
            ("default", function.__defaults__ or ()),
            ("kwdefault", function.__kwdefaults__ or {}),
        ):
            if values:
                self.add(values, f"{path}.{label}")
        known = global_names(function.__code__)
        package = function.__globals__.get("__package__")
        self._follow(nodes, {k: v for k, v in function.__globals__.items() if k in known}, path, package)
        self._add_closure(function, path, object)

    def _add_reachable(self, value: Any, path: str) -> None:
        """Take in what a package's wrapper holds of the user's: functions and plain data, also in containers."""
        if isinstance(value, (*_PLAIN, types.FunctionType)):
            self.add(value, path)
        elif isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                self._add_reachable(item, f"{path}[{number}]")
        elif isinstance(value, (dict, types.MappingProxyType)):
            for key, item in value.items():
                self._add_reachable(item, f"{path}[{getattr(key, '__qualname__', key)}]")

    def _add_closure(self, function: types.FunctionType, path: str, kinds: Any) -> None:
        """Take in the variables of a function's surroundings, and the function that it wraps."""
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if is_filled(cell) and isinstance(cell.cell_contents, kinds):
                self.add(cell.cell_contents, f"{path}.{name}")
        if hasattr(function, "__wrapped__"):
            self.add(function.__wrapped__, f"{path}.__wrapped__")

    def _add_class(self, cls: type, path: str) -> None:
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if not (file and is_own(file, self._root)):
            self._named(cls, path)
            return
        try:
            source = inspect.getsource(cls)
        except (OSError, TypeError):
            raise self._cannot(f"the class {cls.__qualname__}", path, "define it in a file") from None
        node = ast.parse(inspect.cleandoc("\n" + source) if source[0].isspace() else source)
        self._line(path, dump(node))
        module = sys.modules[cls.__module__]
        self._follow([node], vars(module), path, getattr(module, "__package__", None))
        for name, item in sorted(vars(cls).items()):
            if isinstance(item, types.FunctionType) and item.__code__.co_filename == file:
                self._add_closure(item, f"{path}.{name}", object)
            elif not name.startswith("__") and isinstance(item, (*_PLAIN, list, tuple, set, frozenset, dict)):
                self.add(item, f"{path}.{name}")

    def _add_module(self, module: types.ModuleType, path: str) -> None:
        """Take in a module as a whole: one of the user's by all that it defines."""
        if not is_own_module(module, self._root):
            self.modules.add(module.__name__.split(".")[0])
            self._line(path, f"module {module.__name__}")
            return
        self._line(path, "own module")
        for name, value in sorted(vars(module).items()):
            if not name.startswith("__"):
                self.add(value, f"{path}.{name}")

    def _add_object(self, value: Any, path: str) -> None:
        """Take in an array, a dtype, a tensor, or an object of a class of the user's."""
        kind = type(value)
        if isinstance(value, logging.Logger):
            self._line(path, f"logger {value.name}")
            return
        if isinstance(value, (Absent, StandIn)):
            self._line(path, f"of MLTK: {value!r}")
            if isinstance(value, StandIn):
                self.add(value.settings, f"{path}.settings")
            return
        known = library_object(value)
        if known is not None:
            self.modules.add(kind.__module__.partition(".")[0])
            text, rest = known
            self._line(path, text)
            if rest is not None:
                self.add(rest, path)
            return
        if isinstance(value, HeaderSettings) or (hasattr(value, "__dict__") and self._is_own_class(kind)):
            self.add(kind, f"{path}.__class__")
            self.add(vars(value), path)
            return
        raise self._cannot(
            f"an object of {kind.__module__}.{kind.__qualname__}",
            path,
            "make it inside the function, or use plain data",
        )

    def _is_own_class(self, cls: type) -> bool:
        return is_own(getattr(sys.modules.get(cls.__module__), "__file__", None) or "", self._root)

    def _follow(self, nodes: Iterable[ast.AST], names: dict[str, Any], path: str, package: str | None) -> None:
        """Take in what the code names: globals, attributes of modules, and local imports."""
        uses = Uses()
        for node in nodes:
            uses.visit(node)
        self.mentioned |= uses.attributes | set(uses.names)
        for name, chains in sorted(uses.names.items()):
            if name not in names or name in uses.imported:
                continue
            value = names[name]
            if isinstance(value, types.ModuleType) and "" not in chains and is_own_module(value, self._root):
                for attribute in sorted(chains):
                    self.add(getattr(value, attribute, None), f"{path}.{name}.{attribute}")
            else:
                self.add(value, f"{path}.{name}")
        for module, attribute in sorted(uses.imports):
            try:
                absolute = importlib.util.resolve_name(module, package)
            except ImportError as error:
                raise self._cannot(f"the import of {module}", path, str(error)) from None
            self._add_import(absolute, attribute, path)

    def _add_import(self, module: str, attribute: str, path: str) -> None:
        """Take in what a function imports when it runs."""
        package = module.partition(".")[0]
        if not is_own_package(package, self._root):
            self.modules.add(package)
            return
        try:
            value: Any = importlib.import_module(module)
            if attribute and not hasattr(value, attribute):
                importlib.import_module(f"{module}.{attribute}")
            value = getattr(value, attribute) if attribute else value
        except (ImportError, AttributeError) as error:
            raise self._cannot(f"the import of {module} {attribute}".rstrip(), path, str(error)) from None
        self.add(value, f"{path}.{module}.{attribute}")

    def _cannot(self, what: str, path: str, fix: str) -> UserError:
        return UserError(
            f"{path} uses {what}, and whether that changed from build to build cannot be told", self._where, fix
        )


def fingerprint(function: Callable[..., Any], root: str, where: str) -> Fingerprint:
    """Return the fingerprint of a callable.

    Parameters
    ----------
    function : callable
        The user's function, with its modules still imported.
    root : str
        The project's directory.
    where : str
        The script, for messages.

    Raises
    ------
    UserError
        If it uses something that cannot be told apart from build to build.
    """
    found = Fingerprint(root, where)
    found.add(function, getattr(function, "__name__", "function"))
    found.finish()
    return found
