"""What a linked program holds: its segments, sections and symbols, and a model's array among them.

All of it is looked up in the bytes of an ELF file, of whichever processor; a program that was stripped has no
symbols, and its array is found by its content.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doit_tflm.errors import UserError

__all__ = ["ALIGNMENT", "Image", "Section", "Segment", "check_array", "occurrences", "read_image", "stored_array"]

ALIGNMENT = 16
"""What TFLM needs of a model's address."""

_DOCS = "docs/c-sources.md tells what the generated sources see to"


@dataclass(frozen=True)
class Segment:
    """What is loaded in one piece: where to, the bytes that the file has of it, and whether it can be written."""

    address: int
    data: bytes
    is_writable: bool


@dataclass(frozen=True)
class Section:
    """A section that takes up memory of the running program; one without content is zeroed at the start."""

    name: str
    address: int
    size_bytes: int
    is_writable: bool
    has_content: bool


@dataclass(frozen=True)
class Image:
    """A linked program.

    Attributes
    ----------
    segments, sections : tuple
        In the file's order.
    symbols : dict
        Address and size in bytes of every definition of a name.
    unloaded : frozenset of str
        The names that are defined in sections which take up no memory of the running program.
    """

    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    symbols: dict[str, tuple[tuple[int, int], ...]]
    unloaded: frozenset[str] = frozenset()


def read_image(data: bytes, where: str = "") -> Image:
    """Read an ELF file.

    Parameters
    ----------
    data : bytes
        Its content.
    where : str, optional
        Its name, for messages.

    Raises
    ------
    UserError
        If it is none, is cut short, or is no program.
    """
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        file = ELFFile(io.BytesIO(data))
        image = Image(tuple(_segments(file)), tuple(_sections(file)), *_symbols(file))
    except (ELFError, ConstructError, UnicodeDecodeError, OverflowError, ValueError) as error:
        raise UserError(f"is no whole ELF file ({error})", where, "build the program again") from None
    if not image.segments:
        raise UserError("is an ELF file, but nothing of it is loaded", where, "give a linked program")
    return image


def _segments(file: Any) -> Iterator[Segment]:
    from elftools.elf.constants import P_FLAGS

    for segment in file.iter_segments("PT_LOAD"):
        content = segment.data()
        if len(content) != segment["p_filesz"]:
            raise ValueError("it ends within a segment")
        yield Segment(segment["p_vaddr"], content, bool(segment["p_flags"] & P_FLAGS.PF_W))


def _sections(file: Any) -> Iterator[Section]:
    from elftools.elf.constants import SH_FLAGS

    for section in file.iter_sections():
        flags = section["sh_flags"]
        if flags & SH_FLAGS.SHF_ALLOC:
            yield Section(
                section.name,
                section["sh_addr"],
                section["sh_size"],
                bool(flags & SH_FLAGS.SHF_WRITE),
                section["sh_type"] != "SHT_NOBITS",
            )


def _symbols(file: Any) -> tuple[dict[str, tuple[tuple[int, int], ...]], frozenset[str]]:
    """Return the places of what is in memory, and the names of what is not."""
    from elftools.elf.constants import SH_FLAGS

    found: dict[str, set[tuple[int, int]]] = {}
    unloaded: set[str] = set()
    table = file.get_section_by_name(".symtab")
    for symbol in table.iter_symbols() if table else ():
        section = symbol["st_shndx"]
        if not symbol.name or section == "SHN_UNDEF":
            continue
        if isinstance(section, int) and not file.get_section(section)["sh_flags"] & SH_FLAGS.SHF_ALLOC:
            unloaded.add(symbol.name)
        else:
            found.setdefault(symbol.name, set()).add((symbol["st_value"], symbol["st_size"]))
    return {name: tuple(sorted(places)) for name, places in found.items()}, frozenset(unloaded)


def occurrences(image: Image, data: bytes) -> list[int]:
    """Return the addresses at which loaded bytes are `data`."""
    found = []
    for segment in image.segments:
        at = segment.data.find(data)
        while at >= 0:
            found.append(segment.address + at)
            at = segment.data.find(data, at + 1)
    return sorted(found)


def stored_array(image: Image, symbol: str, data: bytes) -> bytes | None:
    """Return what a program holds as a model's array, or None where it holds no such array.

    Parameters
    ----------
    image : Image
        The program.
    symbol : str
        The array's name in C.
    data : bytes
        What it should hold: how a program without symbols is searched, and the length of a symbol without a size.
    """
    if symbol in image.unloaded:
        return b""
    for address, size in image.symbols.get(symbol, ()):
        return _bytes_at(image, address, size or len(data))
    return data if occurrences(image, data) else None


def _bytes_at(image: Image, address: int, size: int) -> bytes:
    """Return loaded bytes, as many as the file has of them."""
    segment = _segment_at(image, address)
    return segment.data[address - segment.address :][:size] if segment else b""


def _segment_at(image: Image, address: int) -> Segment | None:
    return next((one for one in image.segments if 0 <= address - one.address < len(one.data)), None)


def check_array(image: Image, symbol: str, data: bytes, where: str) -> list[UserError]:
    """Return what is wrong with a model's array in a program that holds it; nothing is as it should be.

    It must be the model byte for byte, once, at a multiple of 16, in memory that the program does not write.

    Parameters
    ----------
    image : Image
        The program.
    symbol : str
        The array's name in C.
    data : bytes
        The ``.tflite``.
    where : str
        The program's name, for messages.
    """
    if symbol in image.unloaded:
        return [UserError(f"{symbol} is not loaded with the program", where, "place it beside .rodata")]
    hits = occurrences(image, data)
    addresses = sorted({*hits, *(address for address, _ in image.symbols.get(symbol, ()))})
    found = []
    stored = stored_array(image, symbol, data)
    if stored != data:
        what = f"{symbol} is not the .tflite: {_difference(stored or b'', data)}"
        found.append(UserError(what, where, "see what the build does to the program after the compiler"))
    if len(addresses) > 1:
        places = ", ".join(f"{address:#x}" for address in addresses)
        what = f"holds {symbol} {len(addresses)} times, at {places}"
        found.append(UserError(what, where, "compile NAME_model_data.c once, and define the array nowhere else"))
    for address in addresses:
        found += _check_place(image, symbol, address, where)
    return found


def _difference(stored: bytes, data: bytes) -> str:
    at = next((at for at, pair in enumerate(zip(stored, data, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        return f"{len(stored)} bytes instead of {len(data)}"
    return f"the first byte that differs is {at}: {stored[at]:#04x} instead of {data[at]:#04x}"


def _check_place(image: Image, symbol: str, address: int, where: str) -> Iterator[UserError]:
    """Yield what is wrong with an array's address."""
    if address % ALIGNMENT:
        what = f"{symbol} lies at {address:#x}, which is no multiple of {ALIGNMENT}"
        yield UserError(what, where, f"keep the alignment of its definition; {_DOCS}")
    segment = _segment_at(image, address)
    sections = [one for one in image.sections if 0 <= address - one.address < one.size_bytes]
    name = " ".join(one.name for one in sections) or "no section"
    if segment is None:
        yield UserError(f"{symbol} ({name}) is not loaded with the program", where, "place it beside .rodata")
    elif segment.is_writable or any(one.is_writable for one in sections):
        what = f"{symbol} lies in memory that can be written ({name})"
        yield UserError(what, where, f"keep it const, in a section that the linker places in flash; {_DOCS}")
