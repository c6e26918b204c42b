"""Generated sources that are wrong on purpose, and forced past the checks that the compiler makes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["BROKEN", "Pair", "in_a_section", "read_pair", "write_all", "write_pair"]

_OTHER_SHA = hashlib.sha256(b"another build").hexdigest()

_MISALIGNED = """\
#include "kws_model_data.h"
static const struct {{ uint8_t odd; uint8_t bytes[KWS_MODEL_DATA_LEN]; }} holder __attribute__((used)) = {{1, {{
{rows}}}}};
__asm__(".globl g_kws_model_data\\n.set g_kws_model_data, holder + 1");
const size_t g_kws_model_data_size = KWS_MODEL_DATA_LEN;
const uint32_t g_kws_model_data_id = KWS_MODEL_DATA_ID;
"""


@dataclass(frozen=True)
class Pair:
    """The text of a header and of its source; and of a header that only the source sees."""

    header: str
    source: str
    own_header: str = ""

    @property
    def rows(self) -> str:
        """The array's rows, as they are in the source."""
        return "".join(re.findall(r"^    0x.*\n", self.source, flags=re.MULTILINE))

    @property
    def data(self) -> bytes:
        return bytes(int(byte, 16) for byte in re.findall("0x([0-9a-f]{2})", self.rows))

    def holding(self, data: bytes) -> Pair:
        """Return the pair with other bytes in the array."""
        rows = (", ".join(f"0x{byte:02x}" for byte in data[at : at + 16]) for at in range(0, len(data), 16))
        return replace(self, source=self.source.replace(self.rows, "".join(f"    {row},\n" for row in rows)))


def read_pair(generated: Path) -> Pair:
    """Read the sources of the model kws."""
    header, source = ((generated / f"kws_model_data.{suffix}").read_text() for suffix in "hc")
    return Pair(header, source)


def write_pair(name: str, pair: Pair, directory: Path) -> None:
    """Write a pair as those of the model ``kws_NAME``, so that many are built in one go."""
    model = f"kws_{name}"
    texts = {"model_data.h": pair.header, "model_data.c": pair.source, "own.h": pair.own_header}
    for end, text in texts.items():
        if text:
            renamed = text.replace("kws", model).replace("KWS", model.upper())
            (directory / f"{model}_{end}").write_text(renamed)


def in_a_section(pair: Pair) -> Pair:
    section = '#define KWS_MODEL_DATA_SECTION __attribute__((section(".model")))\n'
    return replace(pair, source=section + pair.source)


def _misaligned(pair: Pair) -> Pair:
    return replace(pair, source=_MISALIGNED.format(rows=pair.rows))


def _another_header(pair: Pair) -> Pair:
    """Replace the header by one of a model of the same length, and silence what the source says to that."""
    header = pair.header.replace(_digest(pair.data), _OTHER_SHA).replace(_digest(pair.data)[:8], _OTHER_SHA[:8])
    return Pair(header, re.sub("#error .*", "", pair.source))


def _older_header(pair: Pair) -> Pair:
    """Let the program see a header of another length, and the source its own, as two include directories do."""
    older = re.sub(r"(DATA_LEN) \d+u", r"\1 1200u", pair.header)
    source = pair.source.replace('#include "kws_model_data.h"', '#include "kws_own.h"')
    return Pair(older, source, own_header=pair.header)


def _mixed_header(pair: Pair) -> Pair:
    return replace(pair, header=pair.header.replace(_digest(pair.data), _OTHER_SHA))


def _no_tflite(pair: Pair) -> Pair:
    return pair.holding(pair.data[:4] + b"TFL2" + pair.data[8:])


def _truncated(pair: Pair) -> Pair:
    """Cut the array, and correct the length where it is written."""
    size = len(pair.data)
    cut = pair.holding(pair.data[:-48])
    header, source = (re.sub(rf"\b{size}u", f"{size - 48}u", text) for text in (cut.header, cut.source))
    return Pair(header, source)


def _another_schema(pair: Pair) -> Pair:
    return replace(pair, header=pair.header.replace("SCHEMA_VERSION 3\n", "SCHEMA_VERSION 4\n"))


def _swapped_bytes(pair: Pair) -> Pair:
    return pair.holding(pair.data.replace(b"a test model", b"a test mdoel"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


BROKEN: dict[str, tuple[Callable[[Pair], Pair], int, str]] = {
    "misaligned": (_misaligned, 10, "the array is misaligned"),
    "another_header": (_another_header, 11, "header and source are of different builds"),
    "older_header": (_older_header, 11, "header and source are of different builds"),
    "mixed_header": (_mixed_header, 11, "header and source are of different builds"),
    "no_tflite": (_no_tflite, 12, "the array is no .tflite"),
    "truncated": (_truncated, 13, "the array is truncated"),
    "another_schema": (_another_schema, 14, "another schema version"),
    "swapped_bytes": (_swapped_bytes, 15, "the array's SHA-256 is not the header's"),
}
"""What breaks a pair; the self-check's exit code for it, and a part of its message."""


def write_all(generated: Path, directory: Path) -> None:
    """Write the sources of kws in every broken form, and in a section of their own."""
    directory.mkdir()
    pair = read_pair(generated)
    for name, (breaks, _, _) in BROKEN.items():
        broken = breaks(pair)
        assert broken != pair
        write_pair(name, broken, directory)
    write_pair("section", in_a_section(pair), directory)
