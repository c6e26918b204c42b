"""How much flash and RAM programs take, and what has changed since they were linked before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from doit_tflm.elf import Image
from doit_tflm.errors import UserError

__all__ = ["Row", "Sizes", "compare", "from_json", "measure", "render", "to_json"]


@dataclass(frozen=True)
class Sizes:
    """What one program takes up, in bytes.

    Attributes
    ----------
    text, data, bss : int
        As ``size`` counts them: what is only read, what is written and has an initial value, what starts as zeros.
        Flash is text + data, static RAM is data + bss.
    model : int
        The arrays of models, which are part of text.
    arena : int
        The tensor arenas that its models need, as their headers say. They are part of bss where the program runs
        its models.
    """

    text: int
    data: int
    bss: int
    model: int
    arena: int


@dataclass(frozen=True)
class Row:
    """A program's sizes now and when it was linked before; None where there was or is no such program."""

    target: str
    program: str
    now: Sizes | None
    before: Sizes | None


def measure(image: Image, where: str, models: Mapping[str, int]) -> Sizes:
    """Return what a program takes up.

    Parameters
    ----------
    image : Image
        The program.
    where : str
        Its name, for messages.
    models : mapping of str to int
        The arena in bytes of each model, by the name of the model's array.

    Raises
    ------
    UserError
        If it has no section headers to count by.
    """
    if not image.sections:
        raise UserError("has no section headers, so that its sizes cannot be told", where, "keep them (no sstrip)")
    held = {name: image.symbols[name][0][1] for name in models if name in image.symbols}
    return Sizes(
        text=sum(one.size_bytes for one in image.sections if one.has_content and not one.is_writable),
        data=sum(one.size_bytes for one in image.sections if one.has_content and one.is_writable),
        bss=sum(one.size_bytes for one in image.sections if not one.has_content),
        model=sum(held.values()),
        arena=sum(models[name] for name in held),
    )


def compare(target: str, now: Mapping[str, Sizes], before: Mapping[str, Sizes]) -> list[Row]:
    """Return a row for each program that there is or was, sorted by name."""
    return [Row(target, name, now.get(name), before.get(name)) for name in sorted({*now, *before})]


def to_json(sizes: Mapping[str, Sizes]) -> dict[str, dict[str, int]]:
    """Return sizes by program as plain data."""
    return {name: asdict(one) for name, one in sorted(sizes.items())}


def from_json(stored: Mapping[str, Any]) -> dict[str, Sizes]:
    """Return what `to_json` was given.

    Raises
    ------
    TypeError
        If it is something else.
    """
    return {name: Sizes(**one) for name, one in stored.items()}


def render(rows: Iterable[Row], width: int | None = None) -> str:
    """Return a table of the sizes, one line for each program, with the differences to before.

    Parameters
    ----------
    rows : iterable of Row
        What to show, in order.
    width : int, optional
        The width in columns; wide enough for everything when left out.
    """
    import io

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("bytes")
    table.add_column("")
    for field in fields(Sizes):
        table.add_column(field.name, justify="right")
    shown = ""
    for row in rows:
        table.add_row("" if row.target == shown else row.target, row.program, *_cells(row))
        shown = row.target
    console = Console(file=io.StringIO(), width=width or 200, color_system=None, highlight=False)
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def _cells(row: Row) -> list[str]:
    """Return the numbers of a line: what there is now, and by how much that is more or less than before."""
    if row.now is None:
        return ["gone"]
    cells = []
    for field in fields(Sizes):
        now = getattr(row.now, field.name)
        difference = now - getattr(row.before, field.name) if row.before else 0
        cells.append(f"{now:,}" + (f" ({difference:+,})" if difference else ""))
    return cells
