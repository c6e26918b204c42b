"""``NAME.mltk.zip``: a plain zip with a model's script, weights, ``.tflite`` and logs, as MLTK lays it out.

It may be the only copy of somebody's trained weights: it is only ever replaced by a complete new file.
"""

from __future__ import annotations

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes, replacing, stamp

__all__ = ["add_member", "member_digest", "members", "read_member", "update_members"]

_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip can hold: what we write carries no date, so that equal input is equal bytes."""
_STORED = (".tflite", ".keras", ".png", ".zip")
"""Not deflated: they are compressed already, or are read in place by others."""
_LARGE_BYTES, _DENSEST = 64 << 20, 200
"""What is larger than this, and was denser, is a zip bomb. The weights of a model hardly shrink at all."""
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


@contextmanager
def _opened(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive for reading.

    Raises
    ------
    UserError
        If it is missing, or is no whole zip file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, str(path))
            yield archive
    except FileNotFoundError:
        raise UserError("there is no such archive", str(path)) from None
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        RuntimeError,
        ValueError,
        OSError,
        zlib.error,
    ) as fault:
        if isinstance(fault, OSError) and fault.errno not in (None, errno.EINVAL):
            raise  # the machine's fault; these two are what a nonsensical offset, and bz2, come to
        raise UserError(f"damaged archive ({fault})", str(path), "restore it from a copy") from None


def _check(archive: zipfile.ZipFile, path: str) -> None:
    """Refuse what no archive of a model holds: it was made to do harm to whoever unpacks it."""
    for info in archive.infolist():
        parts = info.filename.replace("\\", "/").split("/")
        if parts[0] == "" or parts[0].endswith(":") or ".." in parts:
            raise UserError(
                f"has the member {info.filename!r}, which would be unpacked outside of it",
                path,
                "do not use it; ask where it comes from",
            )
        if info.file_size > _LARGE_BYTES and info.file_size > _DENSEST * info.compress_size:
            raise UserError(
                f"{info.filename} is {info.file_size:,} bytes in {info.compress_size:,}, which is no model's",
                path,
                "do not use it; ask where it comes from",
            )


def members(path: str | Path) -> list[str]:
    """Return the names of an archive's members, in the archive's order."""
    with _opened(path) as archive:
        return archive.namelist()


def read_member(path: str | Path, member: str) -> bytes | None:
    """Return a member's content, or None where the archive has no such member.

    Raises
    ------
    UserError
        If the archive is missing or damaged, or the member is encrypted.
    """
    with _opened(path) as archive:
        if member not in archive.namelist():
            return None
        return archive.read(member)


def member_digest(path: str, member: str) -> str | None:
    """Return the digest of a member's content; None without the archive or the member, or if it cannot be read.

    An archive that cannot be read differs from what it was, which is all that a digest is asked for; whoever
    reads it next says what is wrong with it.
    """
    try:
        content = read_member(path, member)
    except UserError:
        return None
    return None if content is None else digest_bytes(content)


def update_members(path: str | Path, changes: Mapping[str, bytes], remove: Sequence[str] = ()) -> bool:
    """Replace or add members; every other member keeps its bytes, its place and its date.

    Parameters
    ----------
    path : path
        The archive; made if there is none.
    changes : mapping of str to bytes
        Content by member name.
    remove : sequence of str
        Members that shall not be there any more.

    Returns
    -------
    bool
        Whether the archive was written: it is left alone if it holds all of that already.

    Raises
    ------
    UserError
        If the archive is damaged. It is left as it is.
    """
    present: dict[str, bytes] = {}
    mark = stamp(str(path))
    if Path(path).exists():
        with _opened(path) as archive:
            names = archive.namelist()
            present = {name: archive.read(name) for name in changes if name in names}
        if present == dict(changes) and not {*remove} & {*names}:
            return False
    with replacing(path, mark) as stream, zipfile.ZipFile(stream, "w") as new:
        if Path(path).exists():
            with _opened(path) as old:
                _copy(old, new, stream, changes, remove)
        for name in [n for n in changes if n not in present]:
            add_member(new, name, changes[name])
    return True


def _copy(
    old: zipfile.ZipFile,
    new: zipfile.ZipFile,
    stream: BinaryIO,
    changes: Mapping[str, bytes],
    remove: Sequence[str],
) -> None:
    """Copy members as they are stored, the changed ones with their new content."""
    damaged = old.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not have its checksum")
    new.comment = old.comment
    for info in old.infolist():
        if info.filename in changes:
            add_member(new, info.filename, changes[info.filename])
        elif info.filename not in remove:
            _copy_stored(old, info, new, stream)


def _copy_stored(old: zipfile.ZipFile, info: zipfile.ZipInfo, new: zipfile.ZipFile, stream: BinaryIO) -> None:
    """Copy one member's stored bytes, without decompressing them.

    zipfile cannot do this itself; the header is written from the central directory, so that members whose sizes
    follow their data (flag bit 3) come out with the sizes in front.
    """
    assert old.fp is not None
    old.fp.seek(info.header_offset)
    header = _LOCAL_HEADER.unpack(old.fp.read(_LOCAL_HEADER.size))
    old.fp.seek(header[9] + header[10], io.SEEK_CUR)
    stored = old.fp.read(info.compress_size)
    if len(stored) != info.compress_size:
        raise zipfile.BadZipFile(f"{info.filename} is cut short")
    copy = zipfile.ZipInfo(info.filename, info.date_time)
    for field in (
        "compress_type",
        "comment",
        "create_system",
        "external_attr",
        "CRC",
        "compress_size",
        "file_size",
    ):
        setattr(copy, field, getattr(info, field))
    copy.flag_bits = info.flag_bits & ~0x08
    copy.header_offset = new.start_dir
    stream.seek(new.start_dir)
    stream.write(copy.FileHeader(zip64=info.file_size >= zipfile.ZIP64_LIMIT))
    stream.write(stored)
    new.start_dir = stream.tell()
    new.filelist.append(copy)
    new.NameToInfo[copy.filename] = copy


def add_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Write a member that depends on nothing but its content."""
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(_STORED) else zipfile.ZIP_DEFLATED
    archive.writestr(info, content)
