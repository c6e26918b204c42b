"""How C and C++ spell what the sources are made of: names, comments, constants; and the sources' templates."""

from __future__ import annotations

import functools
import hashlib
import math
import re
import struct
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

__all__ = [
    "C_TYPES",
    "c_float",
    "c_identifier",
    "c_int",
    "environment",
    "file_stem",
    "is_identifier",
    "macro_prefix",
]

C_TYPES = {"bool": ("bool", 1), "float32": ("float", 4), "float64": ("double", 8)} | {
    f"{sign}int{bits}": (f"{sign}int{bits}_t", bits // 8) for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""What firmware reads or writes an element with, and its size in bytes."""

_TAKEN = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class compl
concept const const_cast consteval constexpr constinit continue co_await co_return co_yield decltype default delete
do double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
namespace new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
requires restrict return short signed sizeof static static_assert static_cast struct switch template this
thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile
wchar_t while xor xor_eq NULL errno i386 linux main offsetof std unix size_t ptrdiff_t max_align_t int8_t int16_t
int32_t int64_t intptr_t intmax_t uint8_t uint16_t uint32_t uint64_t uintptr_t uintmax_t
"""
_RESERVED = frozenset(_TAKEN.split())
"""Keywords of C and C++, and names that compilers or the included headers take."""

# C++ reserves an underscore in front and two in a row; `_size` is appended, so that none may end a name either.
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
_LONGEST_IDENTIFIER = 80


def is_identifier(name: str) -> bool:
    """Tell whether a name is a free identifier of C and C++, also with something appended."""
    return bool(_IDENTIFIER.fullmatch(name)) and name not in _RESERVED


def c_identifier(text: str) -> str:
    """Return a C and C++ identifier made of `text`; what it returned once, it returns unchanged.

    What is no ASCII letter or digit becomes an underscore. Where that loses letters, a digest of the text is
    appended, so that two such names stay apart.
    """
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = "_".join(re.findall("[A-Za-z0-9]+", text))
    if not name or not text.isascii():
        name = f"{name}_{digest}".lstrip("_")
    if name[0].isdigit() or name in _RESERVED:
        name = f"m_{name}"
    if len(name) > _LONGEST_IDENTIFIER:
        name = f"{name[: _LONGEST_IDENTIFIER - 9].rstrip('_')}_{digest}"
    return name


def file_stem(model: str) -> str:
    """Return what a model's files are called, e.g. ``sine_model_data``, without ``.h`` and the like."""
    return f"{c_identifier(model)}_model_data"


def macro_prefix(model: str) -> str:
    """Return what a model's macros begin with, e.g. ``SINE_MODEL``; no two models of a program may share it."""
    return f"{c_identifier(model).upper()}_MODEL"


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates, and the filters that they use."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("doit_tflm"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  this is C, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        asm_string=_asm_string,
        comment=_comment,
        c_float=c_float,
        c_int=c_int,
        c_string=_string,
        product=math.prod,
    )
    return environment


def _comment(text: str, title: str = "") -> str:
    """Return lines of a block comment: ASCII, with nothing in them that a compiler takes for a sign of its own."""
    plain = " ".join(text.split()).encode("unicode_escape").decode("ascii").replace("\\\\", "\\x5c")
    safe = re.sub(r"\?(?=\?)", "? ", plain.replace("*/", "* /").replace("/*", "/ *"))
    return textwrap.fill(
        safe, 110, initial_indent=title, subsequent_indent=" *   ", break_on_hyphens=False, break_long_words=False
    )


def _string(text: str) -> str:
    """Return a string literal: UTF-8, in octal escapes (which end after three digits), and without trigraphs."""
    kept = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {0x22: '\\"', 0x3F: "\\?", 0x5C: "\\\\"}
    return '"' + "".join(kept.get(byte, f"\\{byte:03o}") for byte in text.encode("utf-8", "surrogatepass")) + '"'


def _asm_string(text: str) -> str:
    """Return a string of the assembler: UTF-8, in octal escapes where it or the preprocessor has a say."""
    kept = {byte: chr(byte) for byte in range(0x20, 0x7F) if chr(byte) not in '"?\\'}
    return '"' + "".join(kept.get(byte, f"\\{byte:03o}") for byte in text.encode("utf-8", "surrogatepass")) + '"'


def c_int(value: int) -> str:
    """Return an integer constant that is safe beside any operator."""
    if value == -(2**63):
        # C has no negative constants, and its positive counterpart is too large.
        return f"({value + 1}LL - 1)"
    suffix = "" if -(2**31) < value < 2**31 else "LL"
    return f"{value}{suffix}" if value >= 0 else f"({value}{suffix})"


def c_float(value: float) -> str:
    """Return the shortest constant of type float that a compiler reads as the 32-bit float nearest to `value`."""
    wanted = _rounded(value)
    for digits in range(1, 10):
        text = f"{wanted:.{digits}g}"
        near = float(text)
        # A compiler rounds once, we do twice: the same for sure where the neighbours agree, and no tie is near.
        if {_rounded(math.nextafter(near, end)) for end in (-math.inf, near, math.inf)} == {wanted}:
            break
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _rounded(value: float) -> float:
    """Return the 32-bit float nearest to `value`."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])
