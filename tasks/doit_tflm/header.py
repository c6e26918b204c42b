"""The facts of a model as C text: a header that declares its bytes, and one source file that defines them.

Text in, text out; the caller writes the files. Every name that the text defines is made of the model's name, so
that any number of models fit in one program.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import re
import struct
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from doit_tflm.errors import UserError

if TYPE_CHECKING:
    import jinja2

__all__ = [
    "HeaderFacts",
    "TensorFacts",
    "c_identifier",
    "check_names",
    "default_array_name",
    "file_stem",
    "macro_prefix",
    "render_header",
    "render_source",
]

_C_TYPES = {"bool": ("bool", 1), "float32": ("float", 4), "float64": ("double", 8)} | {
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
_SECTION = re.compile(r"[A-Za-z0-9_.$,:+@/-]*")
_LONGEST_IDENTIFIER = 80
_ROW_BYTES = 16
_BLOCK_ROWS = 2048  # written at a time: few enough to stay in the processor's cache


@dataclass(frozen=True)
class TensorFacts:
    """What firmware must know of an input or an output.

    Attributes
    ----------
    name, shape
        As the model has them, the batch included.
    dtype : str
        The type of an element in NumPy's spelling, e.g. ``"int8"``.
    scale, zero_point : optional
        ``real = scale * (element - zero_point)``; None when it is not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True, kw_only=True)
class HeaderFacts:
    """All that the C sources say of a model, its bytes aside.

    Attributes
    ----------
    model, version, description
        Whose sources these are; file names and macros are made of the model's name.
    array_name : str
        The C identifier of the array; `default_array_name` of the model when empty.
    section : str
        The linker section of the array; the compiler's read-only section when empty.
    alignment : int
        The alignment of the array in bytes. TFLM needs 16.
    classes, operators : tuple of str
        Labels of the outputs, in their order; the distinct operators of the model, sorted.
    inputs, outputs : tuple of TensorFacts
        In the model's order.
    sha256, tensorflow, generator : str
        The digest of the ``.tflite``, in hexadecimal; the version that made it, empty when it is not known; what
        wrote the text, e.g. ``"doit-tflm 0.1.0"``.
    schema_version : int
        The version of the ``.tflite`` schema.
    arena_bytes : int
        The tensor arena that TFLM was measured to need; 0 when it is not known.
    """

    model: str
    version: int
    description: str = ""
    array_name: str = ""
    section: str = ""
    alignment: int = 16
    classes: tuple[str, ...] = ()
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    sha256: str
    tensorflow: str = ""
    generator: str
    operators: tuple[str, ...] = ()
    schema_version: int = 3
    arena_bytes: int = 0


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


def default_array_name(model: str) -> str:
    """Return the name of the array as TFLM's own tools make it, e.g. ``g_sine_model_data``."""
    return f"g_{c_identifier(model)}_model_data"


def file_stem(model: str) -> str:
    """Return what both files are called, e.g. ``sine_model_data``, without ``.h`` and ``.c``."""
    return f"{c_identifier(model)}_model_data"


def macro_prefix(model: str) -> str:
    """Return what a model's macros begin with, e.g. ``SINE_MODEL``; no two models of a program may share it."""
    return f"{c_identifier(model).upper()}_MODEL"


def render_header(facts: HeaderFacts, size: int) -> str:
    """Return the text of the header, all ASCII, for a ``.tflite`` of `size` bytes.

    Raises
    ------
    UserError
        When a name, section, alignment or tensor of the facts cannot be written in C.
    """
    return _render("model_data.h.j2", facts, size)


def render_source(facts: HeaderFacts, data: bytes) -> str:
    """Return the text of the source file that defines what the header declares, all ASCII.

    Raises
    ------
    UserError
        As `render_header`.
    """
    return _render("model_data.c.j2", facts, len(data), _hex_blocks(data))


def check_names(facts: HeaderFacts) -> None:
    """Check the names that the user chose, before anything is built for them.

    Raises
    ------
    UserError
        If C cannot have one of them.
    """
    for what, fix in _bad_names(facts):
        raise UserError(what, fix=fix)


def _render(template: str, facts: HeaderFacts, size: int, blocks: Sequence[str] = ()) -> str:
    """Fill in a template."""
    for what, fix in itertools.chain(_bad_names(facts), _bad_tensors(facts.inputs + facts.outputs)):
        raise UserError(what, facts.model, fix)
    if size < 1:
        raise UserError("the .tflite is empty", facts.model, "quantize the model again")
    array = facts.array_name or default_array_name(facts.model)
    labels = f"{array.removesuffix('_data')}_labels"
    names = {"stem": file_stem(facts.model), "prefix": macro_prefix(facts.model), "array": array, "labels": labels}
    filled = _environment().get_template(template)
    return filled.render(names, facts=facts, size=size, blocks=blocks, c_types=_C_TYPES)


@functools.cache
def _environment() -> jinja2.Environment:
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
    environment.filters.update(comment=_comment, c_float=_float, c_int=_int, c_string=_string, product=math.prod)
    return environment


def _bad_names(facts: HeaderFacts) -> Iterator[tuple[str, str]]:
    """Yield what the user named in a way that C cannot, with the fix."""
    name, prefix = facts.array_name, macro_prefix(facts.model)
    if name and (not _IDENTIFIER.fullmatch(name) or name in _RESERVED):
        yield f"header.array_name {name!r} is no free identifier of C and C++", f"use {c_identifier(name)!r}"
    if name.startswith(f"{prefix}_"):
        yield f"header.array_name {name!r} could be a macro of ours", f"use {default_array_name(facts.model)!r}"
    if not _SECTION.fullmatch(facts.section):
        yield f"header.section {facts.section!r} is no name of a linker section", "use one such as '.model'"
    if facts.alignment < 16 or facts.alignment & (facts.alignment - 1):
        yield f"the alignment is {facts.alignment}", "use 16, or a larger power of two"
    for label in facts.classes:
        if "\0" in label:
            yield f"the class {label!r} holds a NUL, which ends a string in C", "remove it"


def _bad_tensors(tensors: tuple[TensorFacts, ...]) -> Iterator[tuple[str, str]]:
    """Yield what firmware could not fill or read, with the fix."""
    for tensor in tensors:
        if tensor.dtype not in _C_TYPES:
            yield f"the tensor {tensor.name!r} is of type {tensor.dtype}", f"use one of {', '.join(_C_TYPES)}"
        if any(length < 0 for length in tensor.shape):
            yield f"the tensor {tensor.name!r} has the open shape {tensor.shape}", "give the inputs fixed shapes"
        if tensor.scale is not None and not 0 <= tensor.scale < 2.0**127:
            yield f"the tensor {tensor.name!r} has the scale {tensor.scale}", "look for NaN in weights and samples"


def _hex_blocks(data: bytes) -> list[str]:
    """Return the initialisers of `data`, in blocks of whole rows.

    A block of rows is laid out once. Then only its digits are overwritten, column by column, and the block is
    copied out, so that the work is done on memory which is in the cache.
    """
    row = b"   " + b" 0x00," * _ROW_BYTES + b"\n"
    whole = len(data) // _ROW_BYTES * _ROW_BYTES
    rows = bytearray(row * _BLOCK_ROWS)
    done = []
    for start in range(0, whole, _ROW_BYTES * _BLOCK_ROWS):
        digits = data[start : min(start + _ROW_BYTES * _BLOCK_ROWS, whole)].hex().encode("ascii")
        del rows[len(digits) // (2 * _ROW_BYTES) * len(row) :]
        for place in range(2 * _ROW_BYTES):
            column = 6 + place // 2 * 6 + place % 2
            rows[column :: len(row)] = digits[place :: 2 * _ROW_BYTES]
        done.append(rows.decode("ascii"))
    if len(data) > whole:
        done.append("   " + "".join(f" 0x{byte:02x}," for byte in data[whole:]) + "\n")
    return done


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


def _int(value: int) -> str:
    """Return an integer constant that is safe beside any operator."""
    suffix = "" if -(2**31) < value < 2**31 else "LL"
    return f"{value}{suffix}" if value >= 0 else f"({value}{suffix})"


def _float(value: float) -> str:
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
