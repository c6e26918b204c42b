"""The summary of a ``.tflite`` on a page: for a terminal, and as text that no terminal has a part in."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from doit_tflm.inventory import Footprint, Port, Row, Summary, Totals, by, summarize, to_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["Footprint", "Port", "Row", "Summary", "Totals", "print_summary", "render", "summarize", "to_json"]

_WITH_OPTIONS, _WITH_OPERATIONS = 100, 120
"""So many columns wide, these fit beside the rest."""
_NARROWEST = 60
_LONGEST = 300
"""So many characters of a parameter are shown."""
_RULED = "    \n    \n -- \n    \n    \n    \n    \n    \n"
"""A box of rich with nothing but a line below the head, in ASCII."""


def render(summary: Summary, width: int = 100) -> str:
    """Return a summary as plain text, in ASCII but for what the model says of itself.

    Parameters
    ----------
    summary : Summary
        What to show.
    width : int, optional
        The columns that a line may have, at least 60. Below 120, the operations of single operators are left out;
        below 100, their options as well.
    """
    from rich.console import Console

    stream = io.StringIO()
    # Nothing is left for rich to find out, as it would from COLUMNS, NO_COLOR, or a notebook around it.
    console = Console(
        file=stream,
        width=max(width, _NARROWEST),
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
        _environ={},
    )
    print_summary(console, summary)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n")) + "\n"


def print_summary(console: Console, summary: Summary) -> None:
    """Print a summary as wide as the console, in colour where it has any."""
    for part in _parts(summary, console.width):
        console.print(part, markup=False, highlight=False, emoji=False)


def _parts(summary: Summary, width: int) -> Iterator[RenderableType]:
    """Yield the tables, and what is between them."""
    from rich.text import Text

    yield Text(_line(summary.name), style="bold")
    if summary.description:
        yield _line(summary.description)
    yield ""
    yield _operators(summary, width)
    yield ""
    yield _pairs(_totals(summary.totals))
    yield ""
    yield _ports(summary)
    if summary.measured is not None:
        yield ""
        yield _footprints(summary.measured, summary.float_twin)
        if summary.arena_note:
            yield f"Arena: {_line(summary.arena_note)}"
    if summary.model_parameters:
        yield ""
        yield _pairs((key, _shown(value)) for key, value in summary.model_parameters.items())


def _operators(summary: Summary, width: int) -> Table:
    columns: dict[str, Callable[[Row], str]] = {
        ">#": lambda row: str(row.index),
        "operator": lambda row: row.operator,
        "layer": lambda row: row.layer,
        "output": lambda row: ", ".join(
            f"{by(s)} {dtype}" for s, dtype in zip(row.shapes, row.dtypes, strict=True)
        ),
        "options": lambda row: row.options,
        ">MACs": lambda row: _count(row.macs),
        ">operations": lambda row: _count(row.operations),
        ">bytes": lambda row: _count(row.constant_bytes),
    }
    if width < _WITH_OPERATIONS:
        del columns[">operations"]
    if width < _WITH_OPTIONS:
        del columns["options"]
    return _table(columns, ([show(row) for show in columns.values()] for row in summary.rows))


def _totals(totals: Totals) -> Iterator[tuple[str, str]]:
    at_least = "at least " if totals.uncounted else ""
    yield "MACs", f"{at_least}{totals.macs:,}{_short(totals.macs)}"
    yield "Operations", f"{at_least}{totals.operations:,}{_short(totals.operations)}"
    if totals.uncounted:
        yield "Not counted", ", ".join(totals.uncounted)
    yield "Parameters", f"{totals.parameters:,}{_short(totals.parameters)}"
    yield ".tflite", f"{totals.tflite_bytes:,} bytes, {totals.weights_bytes:,} of them constants"
    where = f", at {totals.tensor_peak}" if totals.tensor_peak else ""
    yield "Tensors in RAM", f"up to {totals.tensor_bytes:,} bytes together{where}"
    yield "Operators", f"{len(totals.operators)}: {', '.join(totals.operators)}"


def _ports(summary: Summary) -> Table:
    ports = [("input", port) for port in summary.inputs] + [("output", port) for port in summary.outputs]
    return _table(
        ("", "name", "shape", "type", ">scale", ">zero point"),
        (
            (
                what,
                port.name,
                by(port.shape),
                port.dtype,
                "-" if port.scale is None else f"{port.scale:.9g}",
                "-" if port.zero_point is None else str(port.zero_point),
            )
            for what, port in ports
        ),
    )


def _footprints(measured: Footprint, twin: Footprint | None) -> Table:
    rows = [("this model", f"{measured.flash_bytes:,}", _count(measured.arena_bytes))]
    if twin is not None:
        rows += [
            ("in float32", f"{twin.flash_bytes:,}", _count(twin.arena_bytes)),
            (
                "ratio",
                _ratio(twin.flash_bytes, measured.flash_bytes),
                _ratio(twin.arena_bytes, measured.arena_bytes),
            ),
        ]
    return _table(("", ">.tflite bytes", ">arena bytes"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Return a table; columns of numbers have a ``>`` in front, and are not broken."""
    from rich.box import Box
    from rich.table import Table

    table = Table(
        box=Box(_RULED, ascii=True),
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold cyan",
    )
    for head in heads:
        is_number = head.startswith(">")
        name = head.removeprefix(">")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    _fill(table, rows)
    return table


def _pairs(pairs: Iterable[tuple[str, str]]) -> Table:
    """Return names and values below each other."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    _fill(grid, pairs)
    return grid


def _fill(table: Table, rows: Iterable[Iterable[str]]) -> None:
    from rich.text import Text

    for row in rows:
        # A str may hold what rich takes for markup or an emoji.
        table.add_row(*(Text(_line(cell)) for cell in row))


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _short(number: int) -> str:
    """Return a large number in three digits, e.g. ``" (12.5 M)"``."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        # What would round up to 1000 of a unit is one of the next.
        if number >= unit * 0.9995:
            return f" ({number / unit:.3g} {name})" if number >= 1000 else ""
    return ""


def _ratio(more: int | None, less: int | None) -> str:
    return f"{more / less:.1f}x" if more and less else "?"


def _shown(value: object) -> str:
    """Return a parameter's value, the whole of it where it is not too long."""
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    if isinstance(value, float):
        return f"{value:.9g}"
    text = ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text):,} characters)"


def _line(text: str) -> str:
    """Return text on one line; what is not printable becomes a question mark."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
