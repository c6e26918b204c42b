"""What the pictures of an evaluation have in common: settings, colours, labels that can be drawn, and the PNG.

Equal results give equal bytes with one version of Matplotlib: its own font is used, and no settings of the user's.
"""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "GREY", "drawn", "new_figure", "plain_labels"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which the colour-blind can tell apart; without yellow, which white swallows."""
GREY = "#B0B0B0"
_FONT = "DejaVu Sans"  # comes with Matplotlib
_SETTINGS = {
    "font.family": _FONT,
    "text.parse_math": False,  # a label may hold a dollar sign
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_LONGEST_LABEL = 24

_Result = TypeVar("_Result")


def drawn(
    drawings: Mapping[str, Callable[[_Result, str], Figure]], result: _Result, name: str, title: str
) -> dict[str, bytes]:
    """Return the PNG of each drawing by its file name."""
    from matplotlib import style

    prefix = f"{name}-" if name else ""
    with style.context(["default", _SETTINGS]):
        return {f"{prefix}{stem}.png": _png(draw(result, _plain(title, "?"))) for stem, draw in drawings.items()}


def _png(figure: Figure) -> bytes:
    """Return a figure as PNG, without the version of what wrote it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return stream.getvalue()


def new_figure(width: float, height: float, title: str, what: str, beside: float = 0.5) -> Figure:
    """Return an empty figure with a title in two lines, or more where they are long.

    `width`, `height`, and the width of what lies beside the axes are in inches, at 100 pixels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    letters = max(20, int(10 * (width - beside)))
    lines = (textwrap.fill(line, letters) for line in (title, what))
    # At the left: in the middle of the figure, a long one would run into the legend beside the axes.
    figure.suptitle("\n".join(lines), x=0.06 / width, ha="left")
    return figure


@functools.cache
def _glyphs() -> frozenset[int]:
    """Return what the font can draw."""
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont(_FONT)).get_charmap())


def _plain(text: str, instead: str) -> str:
    """Return `text` in one line, with `instead` for each letter that the font lacks."""
    letters = " ".join(text.split())
    return " ".join("".join(letter if ord(letter) in _glyphs() else instead for letter in letters).split())


def plain_labels(classes: Sequence[str]) -> list[str]:
    """Return labels that can be drawn; one that loses letters begins with the number of its class."""
    found = []
    for position, text in enumerate(classes):
        kept = _plain(text, "")
        label = kept if kept and kept == _plain(text, "?") else f"#{position} {kept}".rstrip()
        if len(label) > _LONGEST_LABEL:
            label = f"{label[: _LONGEST_LABEL - 9].rstrip()}…{label[-8:].lstrip()}"
        found.append(label)
    return found
