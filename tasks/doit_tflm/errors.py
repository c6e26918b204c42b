"""What a user did that cannot work, said once: what, where, and the fix."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["UserError", "did_you_mean"]


class UserError(Exception):
    """A mistake in the user's input, shown as one message without a traceback of ours.

    Parameters
    ----------
    what : str
        What is wrong, e.g. ``"inference_input_type 'int9' is not a type"``.
    where : str, optional
        The file, member or setting it is wrong in, e.g. ``"models/kws.py"``.
    fix : str, optional
        What to do about it, e.g. ``"use int8, uint8 or float32"``.
    detail : str, optional
        Lines to show below, such as the user's own traceback.
    """

    def __init__(self, what: str, where: str = "", fix: str = "", detail: str = "") -> None:
        super().__init__(what, where, fix, detail)
        self.what = what
        self.where = where
        self.fix = fix
        self.detail = detail

    def __str__(self) -> str:
        """Render as ``where: what; fix``, the detail on the lines below."""
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.fix:
            line = f"{line}; {self.fix}"
        return f"{line}\n{self.detail.rstrip()}" if self.detail else line

    def at(self, where: str) -> UserError:
        """Return this error with a place, unless it has one."""
        return self if self.where else UserError(self.what, where, self.fix, self.detail)


def did_you_mean(name: object, known: Iterable[str], otherwise: str) -> str:
    """Return a fix for a name that is not known: the nearest that is, or what to say where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
