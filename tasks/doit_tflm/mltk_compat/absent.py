"""What of MLTK is not here: it can be imported, passed on and kept, and says so when it is used."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NoReturn

from doit_tflm.errors import UserError

__all__ = ["Absent", "AbsentModule", "StandIn", "needs_mltk", "stand_in"]

WAY_OUT = (
    "give tflite_converter['representative_dataset'] a generator function or dataset a function of your own; "
    "or name a file of samples: `--samples FILE.npz`, or [tool.doit-tflm.samples] in pyproject.toml"
)


def needs_mltk(name: str, fix: str = "") -> UserError:
    """Return the error for a use of MLTK's own code."""
    return UserError(f"needs {name}, which is MLTK's own code and is not here", fix=fix or _fix(name))


def _fix(name: str) -> str:
    if name.rpartition(".")[2].isupper():
        return "write its value into the script"
    if name.startswith("mltk.models."):
        return (
            "copy that module beside the script and import it from there; "
            "weights that hold the whole model can be quantized without it"
        )
    if name.startswith(("mltk.datasets.", "mltk.core.preprocess.", "mltk.utils.archive_downloader")):
        return WAY_OUT
    return "do it in a program that imports the real MLTK, or take it out of the script"


class Absent:
    """A function, class or value of MLTK that is not here.

    Parameters
    ----------
    name : str
        Its full name, e.g. ``"mltk.models.shared.ResNet10V1"``.
    """

    def __init__(self, name: str) -> None:
        self._absent_name = name

    def __getattr__(self, key: str) -> Absent:
        """Return what it would hold; that is absent as well."""
        if key.startswith("__") or key == "_absent_name":
            raise AttributeError(key)
        return Absent(f"{self._absent_name}.{key}")

    def __repr__(self) -> str:
        return self._absent_name

    def __instancecheck__(self, instance: object) -> bool:
        """Tell that nothing is one of these."""
        return False

    def _used(self, *_: Any, **__: Any) -> NoReturn:
        raise needs_mltk(self._absent_name)

    __call__ = __iter__ = __len__ = __getitem__ = __contains__ = __mro_entries__ = _used
    __add__ = __radd__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __format__ = __fspath__ = _used
    __int__ = __float__ = __index__ = _used


class AbsentModule(ModuleType):
    """A module of MLTK; whatever it is asked for that it does not have is absent."""

    def __getattr__(self, key: str) -> Any:
        """Return a stand-in for a name."""
        if key.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {key!r}")
        return Absent(f"{self.__name__}.{key}")


class StandIn:
    """An object of MLTK that was made, with its settings, and can do nothing.

    Attributes
    ----------
    settings : dict
        The arguments that it was made with, over the defaults; they are its attributes as well.
    """

    full_name = ""
    defaults: dict[str, Any] = {}  # noqa: RUF012 - replaced by each class

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        object.__setattr__(self, "settings", {**self.defaults, **settings})
        if arguments:
            self.settings["arguments"] = arguments

    settings: dict[str, Any]

    def __getattr__(self, key: str) -> Any:
        """Return a setting; asking for anything else is a use of MLTK's code."""
        if key.startswith("__") or key == "settings":
            raise AttributeError(key)
        if key in self.settings:
            return self.settings[key]
        raise needs_mltk(self.full_name, WAY_OUT if "Generator" in self.full_name else "")

    def __setattr__(self, key: str, value: Any) -> None:
        """Keep a setting."""
        self.settings[key] = value

    def __repr__(self) -> str:
        return self.full_name


def stand_in(full_name: str, **defaults: Any) -> type[StandIn]:
    """Return a class whose objects are kept, and not used."""
    name = full_name.rpartition(".")[2]
    return type(name, (StandIn,), {"full_name": full_name, "defaults": defaults, "__module__": __name__})
