"""Writing a TensorFlow Lite model again: with other metadata, or with its buffers aligned.

Metadata comes by writing a new root table in front of the old file, so that all else stays as it is. Unpacking and
packing a whole model moves everything; TensorFlow's converter does that in Python, and loses the alignment of the
weights, which kernels on a microcontroller read where they lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.schema.flatbuffer import numbers, reading, tables, target, tensorflow_schema, text, unknown_fields

__all__ = ["ALIGNMENT", "Plan", "inner_start", "packed", "plan", "write"]

ALIGNMENT = 16
"""The ``force_align`` that TensorFlow's schema asks of a buffer's data."""
_MODEL_SCHEMA = "schema_py_generated"
_IDENTIFIER = b"TFL3"
_VERSION, _DESCRIPTION, _BUFFERS, _METADATA, _MODEL_FIELDS = 0, 3, 4, 6, 8
"""Fields of the root table by number, and how many there are to carry over."""


_REFERRED_TO = (1, 2, 5, 7)
"""Fields that a new root table takes over as they are: operator codes, subgraphs, old metadata, signatures."""


@dataclass(frozen=True)
class Plan:
    """What the new root table is to hold: an integer is the position of something old, all else is new."""

    version: int
    fields: Mapping[int, int]
    buffers: list[int | bytes]
    metadata: list[int | tuple[str, int]]


def plan(model: Any, entries: Mapping[str, bytes]) -> Plan:
    """Return how a model, given by its root table, comes to have these metadata entries.

    Raises
    ------
    UserError
        If parts of the model would be lost.
    """
    _refuse_losses(model, "metadata cannot be added")
    positions = {field: target(model._tab, field) for field in range(1, _MODEL_FIELDS)}
    # Buffer 0 is by convention the empty one that tensors without data share.
    buffers: list[int | bytes] = [buffer._tab.Pos for buffer in tables(model, "Buffers")] or [b""]
    metadata: list[int | tuple[str, int]] = []
    users = _buffer_users(model)
    left = dict(entries)
    for old in tables(model, "Metadata"):
        name, index = text(old.Name()), old.Buffer()
        if name not in entries:
            metadata.append(old._tab.Pos)
        elif name in left and index and users[index] == 1:
            buffers[index] = left.pop(name)
            metadata.append(old._tab.Pos)
    for name in sorted(left):
        metadata.append((name, len(buffers)))
        buffers.append(left[name])
    fields = {field: position for field, position in positions.items() if position}
    return Plan(model.Version(), fields, buffers, metadata)


def write(data: bytes, change: Plan, description: str | None) -> bytes:
    """Return the file `data` with the change, and with a description unless that is None."""
    front = _Front(data)
    fields = {field: front.old(position) for field, position in change.fields.items()}
    fields[_BUFFERS] = front.tables([front.buffer(item) for item in change.buffers])
    fields[_METADATA] = front.tables([front.metadata(item) for item in change.metadata])
    if description is not None:
        fields[_DESCRIPTION] = front.builder.CreateString(description)
    return front.finish(change.version, fields)


def inner_start(data: bytes, root: Callable[[bytes], Any]) -> int:
    """Return where the file begins that `write` put a head in front of; 0 where there is no such head.

    Without this, each change of the metadata would make a file longer.

    Parameters
    ----------
    data : bytes
        The file.
    root : callable
        Returns the root table of a file, or raises a UserError.
    """
    outer = root(data)
    last = min(position for field in _REFERRED_TO if (position := target(outer._tab, field)))
    place = data.find(_IDENTIFIER, ALIGNMENT, last)
    while place > 0:
        start = place - 4
        if start % ALIGNMENT == 0:
            with suppress(UserError), reading("no model"):  # these four bytes may stand anywhere
                if _is_head_of(outer, root(data[start:]), start):
                    return start
        place = data.find(_IDENTIFIER, place + 1, last)
    return 0


def _is_head_of(outer: Any, inner: Any, start: int) -> bool:
    """Tell whether a root table has all that another one has, at the same place, and more metadata only."""
    places = [[target(table._tab, field) for field in _REFERRED_TO] for table in (outer, inner)]
    if places[0] != [place and place + start for place in places[1]]:
        return False
    used = {tensor.Buffer() for graph in tables(outer, "Subgraphs") for tensor in tables(graph, "Tensors")}
    new = [buffer._tab.Pos for buffer in tables(outer, "Buffers")]
    old = [buffer._tab.Pos + start for buffer in tables(inner, "Buffers")]
    names = [{text(entry.Name()) for entry in tables(model, "Metadata")} for model in (outer, inner)]
    return names[0] >= names[1] and all(index < len(old) and new[index] == old[index] for index in used)


def packed(model: Any) -> bytes:
    """Return a model, given by its root table, packed anew so that every buffer's data starts at a multiple of 16.

    Raises
    ------
    UserError
        If parts of the model would be lost.
    """
    from flatbuffers import Builder

    _refuse_losses(model, "alignment cannot be added")
    whole = tensorflow_schema(_MODEL_SCHEMA).ModelT.InitFromObj(model)
    whole.buffers = [
        buffer if buffer.data is None else _AlignedBuffer(bytes(buffer.data)) for buffer in whole.buffers
    ]
    builder = Builder(len(model._tab.Bytes) + 4096)
    builder.Finish(whole.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


@dataclass(frozen=True)
class _AlignedBuffer:
    """Stands in for a buffer of the schema when a model is packed."""

    data: bytes

    def Pack(self, builder: Any) -> int:  # noqa: N802
        """Write it, and return its offset."""
        return _new_buffer(builder, self.data)


def _new_buffer(builder: Any, data: bytes) -> int:
    """Write a buffer whose data starts at a multiple of 16 bytes, and return its offset."""
    schema = tensorflow_schema(_MODEL_SCHEMA)
    # What the vector itself asks for, a multiple of 4, is then met already.
    builder.Prep(ALIGNMENT, len(data))
    vector = builder.CreateByteVector(data)
    schema.BufferStart(builder)
    schema.BufferAddData(builder, vector)
    return int(schema.BufferEnd(builder))


class _Front:
    """Builds tables in front of an old file, whose bytes stay as they are.

    A builder works from the back and counts offsets from the end, so that whatever stood in the old file has an
    offset too: new tables refer to old ones like to any other.

    Parameters
    ----------
    data : bytes
        The old file. Zeros follow it up to a multiple of 16 bytes.

    Attributes
    ----------
    builder : flatbuffers.Builder
        For strings and tables.
    """

    def __init__(self, data: bytes) -> None:
        from flatbuffers import Builder

        self._size = len(data) + -len(data) % ALIGNMENT
        self.builder = Builder(self._size + 4096)
        # The total size becomes a multiple of 16, so that every address in the old file stays equal modulo 16.
        self.builder.Prep(ALIGNMENT, 0)
        head = self.builder.Head() - self._size
        self.builder.Bytes[head : head + len(data)] = data
        self.builder.head = head

    def old(self, position: int) -> int:
        """Return the offset of what stood at `position` of the old file."""
        return self._size - position

    def tables(self, offsets: list[int]) -> int:
        """Write a vector of tables."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def buffer(self, item: int | bytes) -> int:
        """Return the offset of a buffer: the old one at a position, or a new one that is written now."""
        return self.old(item) if isinstance(item, int) else _new_buffer(self.builder, item)

    def metadata(self, item: int | tuple[str, int]) -> int:
        """Return the offset of a metadata table: the old one at a position, or a new one that is written now."""
        if isinstance(item, int):
            return self.old(item)
        schema = tensorflow_schema(_MODEL_SCHEMA)
        name = self.builder.CreateString(item[0])
        schema.MetadataStart(self.builder)
        schema.MetadataAddName(self.builder, name)
        schema.MetadataAddBuffer(self.builder, item[1])
        return int(schema.MetadataEnd(self.builder))

    def finish(self, version: int, fields: Mapping[int, int]) -> bytes:
        """Write the root table, all of whose `fields` but the version are offsets, and return the new file."""
        self.builder.StartObject(_MODEL_FIELDS)
        self.builder.PrependUint32Slot(_VERSION, version, 0)
        for field in sorted(fields):
            self.builder.PrependUOffsetTRelativeSlot(field, fields[field], 0)
        self.builder.Finish(self.builder.EndObject(), file_identifier=_IDENTIFIER)
        return bytes(self.builder.Output())


def _refuse_losses(model: Any, what: str) -> None:
    """Refuse a model whose data would not come along, or would be looked for at its old place in the file."""
    outside = [f"buffer {i}" for i, buffer in enumerate(tables(model, "Buffers")) if buffer.Offset() > 1]
    for graph in tables(model, "Subgraphs"):
        operators = enumerate(tables(graph, "Operators"))
        outside += [f"options of operator {i}" for i, op in operators if op.LargeCustomOptionsOffset() > 1]
    outside += [f"field {field} of the root table" for field in unknown_fields(model._tab, _MODEL_FIELDS)]
    if outside:
        what = f"{what} to a model with data outside of its tables: {outside[0]}"
        raise UserError(what, fix="convert the model to less than 2 GB, without external buffers")


def _buffer_users(model: Any) -> Counter[int]:
    """Count what refers to each buffer."""
    users = Counter(entry.Buffer() for entry in tables(model, "Metadata"))
    users.update(tensor.Buffer() for graph in tables(model, "Subgraphs") for tensor in tables(graph, "Tensors"))
    users.update(numbers(model, "MetadataBuffer"))
    return users
