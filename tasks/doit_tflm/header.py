"""The facts of a model as C text: a header that declares its bytes, and what defines them, in one of three forms.

Text in, text out; the caller writes the files. Every name that the text defines is made of the model's name, so
that any number of models fit in one program.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doit_tflm.c_text import C_TYPES, c_identifier, environment, file_stem, is_identifier, macro_prefix
from doit_tflm.errors import UserError

__all__ = [
    "FORMS",
    "ArenaFacts",
    "HeaderFacts",
    "TensorFacts",
    "check_names",
    "default_array_name",
    "render_assembly",
    "render_files",
    "render_header",
    "render_source",
    "render_template",
]

FORMS = ("pair", "single", "incbin")
"""What the bytes are defined by: a C file; the header itself, once per program; or the assembler, from a file."""

_LARGEST_ALIGNMENT = 65536
_SECTION = re.compile(r"[A-Za-z0-9_.$,:+@/-]*")
_ATTRIBUTES = re.compile(r'[A-Za-z0-9_ ,.:()\[\]"=@$+-]*')
_STRING = re.compile(r'"[^"]*"')
_BRACKETS = re.compile(r"\([^()\[\]]*\)|\[[^()\[\]]*\]")
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
class ArenaFacts:
    """What TFLM's tensor arena must hold.

    Attributes
    ----------
    bytes, measured_bytes : int
        What to reserve, with a margin, and the smallest that was measured to do.
    kernels : str
        The kernels that it was measured with, e.g. ``"reference"``.
    word_bits : int
        The width of a pointer on the machine that it was measured on.
    """

    bytes: int
    measured_bytes: int
    kernels: str
    word_bits: int


@dataclass(frozen=True, kw_only=True)
class HeaderFacts:
    """All that the C sources say of a model, its bytes aside.

    Attributes
    ----------
    model, version, description
        Whose sources these are; file names and macros are made of the model's name.
    array_name : str
        The C identifier of the array; `default_array_name` of the model when empty.
    form : str
        One of `FORMS`.
    section : str
        The linker section of the array; the compiler's read-only section when empty.
    alignment : int
        The alignment of the array in bytes, a power of two. TFLM needs 16.
    attributes : str
        What is written before the array's definition, e.g. ``__attribute__((used))``.
    classes, operators : tuple of str
        Labels of the outputs, in their order; the distinct operators of the model, sorted.
    inputs, outputs : tuple of TensorFacts
        In the model's order.
    sha256, tensorflow, generator : str
        The digest of the ``.tflite``, in hexadecimal; the version that made it, empty when it is not known; what
        wrote the text, e.g. ``"doit-tflm 0.1.0"``.
    schema_version : int
        The version of the ``.tflite`` schema.
    arena : ArenaFacts, optional
        The tensor arena, where it was measured.
    macs : int
        Multiply-accumulates of one inference; 0 when they are not known.
    """

    model: str
    version: int
    description: str = ""
    array_name: str = ""
    form: str = "pair"
    section: str = ""
    alignment: int = 16
    attributes: str = ""
    classes: tuple[str, ...] = ()
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    sha256: str
    tensorflow: str = ""
    generator: str
    operators: tuple[str, ...] = ()
    schema_version: int = 3
    arena: ArenaFacts | None = None
    macs: int = 0


def default_array_name(model: str) -> str:
    """Return the name of the array as TFLM's own tools make it, e.g. ``g_sine_model_data``."""
    return f"g_{c_identifier(model)}_model_data"


def render_files(facts: HeaderFacts, data: bytes) -> dict[str, bytes]:
    """Return the files of a model in its form, by name.

    Raises
    ------
    UserError
        As `render_header`.
    """
    stem = file_stem(facts.model)
    declared = render_header(facts, len(data))
    if facts.form == "incbin":
        texts = {f"{stem}.h": declared, f"{stem}.S": render_assembly(facts, len(data))}
        return {f"{stem}.tflite": data} | {name: text.encode() for name, text in texts.items()}
    defined = render_source(facts, data)
    if facts.form == "single":
        return {f"{stem}.h": (declared + defined).encode()}
    return {f"{stem}.h": declared.encode(), f"{stem}.c": defined.encode()}


def render_header(facts: HeaderFacts, size: int) -> str:
    """Return the text of the header, all ASCII, for a ``.tflite`` of `size` bytes.

    Raises
    ------
    UserError
        When a setting or a tensor of the facts cannot be written in C.
    """
    return render_template("model_data.h.j2", facts, size)


def render_source(facts: HeaderFacts, data: bytes) -> str:
    """Return the text that defines what the header declares, all ASCII: a file, or the header's second part.

    Raises
    ------
    UserError
        As `render_header`.
    """
    return render_template("model_data.c.j2", facts, len(data), blocks=_hex_blocks(data))


def render_assembly(facts: HeaderFacts, size: int) -> str:
    """Return the text for GNU's assembler and Clang's that takes in a ``.tflite`` of `size` bytes, all ASCII.

    Raises
    ------
    UserError
        As `render_header`.
    """
    return render_template("model_data.S.j2", facts, size)


def check_names(facts: HeaderFacts) -> None:
    """Check the settings that the user chose, before anything is built for them.

    Raises
    ------
    UserError
        If C or TFLM cannot have one of them.
    """
    for what, fix in _bad_names(facts):
        raise UserError(what, fix=fix)


def render_template(template: str, facts: HeaderFacts, size: int, **values: Any) -> str:
    """Fill in a template of sources that go with a model's.

    Parameters
    ----------
    template : str
        Its name.
    facts : HeaderFacts
        The model's facts.
    size : int
        The size of the ``.tflite`` in bytes.
    **values
        What the template takes besides.

    Raises
    ------
    UserError
        As `render_header`.
    """
    for what, fix in itertools.chain(_bad_names(facts), _bad_tensors(facts.inputs + facts.outputs)):
        raise UserError(what, facts.model, fix)
    if size < 1:
        raise UserError("the .tflite is empty", facts.model, "quantize the model again")
    array = facts.array_name or default_array_name(facts.model)
    base = array.removesuffix("_data")
    names = {
        "stem": file_stem(facts.model),
        "prefix": macro_prefix(facts.model),
        "array": array,
        "labels": f"{base}_labels",
        "golden_array": f"{base}_golden",
    }
    filled = environment().get_template(template)
    return filled.render(names, facts=facts, size=size, c_types=C_TYPES, **values)


def _bad_names(facts: HeaderFacts) -> Iterator[tuple[str, str]]:
    """Yield what the user named in a way that C cannot, with the fix."""
    name, prefix = facts.array_name, macro_prefix(facts.model)
    if name and not is_identifier(name):
        yield f"header.array_name {name!r} is no free identifier of C and C++", f"use {c_identifier(name)!r}"
    if name.startswith(f"{prefix}_"):
        yield f"header.array_name {name!r} could be a macro of ours", f"use {default_array_name(facts.model)!r}"
    if not _SECTION.fullmatch(facts.section):
        yield f"header.section {facts.section!r} is no name of a linker section", "use one such as '.model'"
    if not 16 <= facts.alignment <= _LARGEST_ALIGNMENT or facts.alignment & (facts.alignment - 1):
        yield f"header.alignment is {facts.alignment}", f"use a power of two from 16 to {_LARGEST_ALIGNMENT}"
    yield from _bad_form(facts)
    for label in facts.classes:
        if "\0" in label:
            yield f"the class {label!r} holds a NUL, which ends a string in C", "remove it"


def _bad_form(facts: HeaderFacts) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the form and with what goes before the definition, with the fix."""
    if facts.form not in FORMS:
        near = difflib.get_close_matches(facts.form, FORMS, n=1)
        yield f"header.form is {facts.form!r}", f"use {repr(near[0]) if near else ', '.join(map(repr, FORMS))}"
    if not _is_attributes(facts.attributes):
        yield (
            f"header.attributes {facts.attributes!r} cannot stand before a definition",
            "write attributes or a macro in one line, e.g. '__attribute__((used))'",
        )
    if facts.attributes and facts.form == "incbin":
        yield "header.attributes are for compilers, and the form 'incbin' has none", "remove them, or use 'pair'"


def _is_attributes(text: str) -> bool:
    """Tell whether nothing of a text gets out of its place before a definition."""
    rest, count = _STRING.sub("", text), 1
    while count:
        rest, count = _BRACKETS.subn("", rest)
    return bool(_ATTRIBUTES.fullmatch(text) and re.fullmatch(r"[A-Za-z_][\w ]*|", rest.strip()))


def _bad_tensors(tensors: tuple[TensorFacts, ...]) -> Iterator[tuple[str, str]]:
    """Yield what firmware could not fill or read, with the fix."""
    for tensor in tensors:
        if tensor.dtype not in C_TYPES:
            yield f"the tensor {tensor.name!r} is of type {tensor.dtype}", f"use one of {', '.join(C_TYPES)}"
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
