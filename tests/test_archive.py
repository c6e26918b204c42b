"""The archive: what is not replaced keeps its bytes, and nothing that goes wrong costs the weights in it."""

from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doit_tflm import archive, files
from doit_tflm.archive import member_digest, members, read_member, update_members
from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes

WEIGHTS = os.urandom(500) + bytes(5000)
MTLK = {
    "kws.py": b"my_model = ...\n" * 20,
    "kws.h5": WEIGHTS,
    "kws.h5.summary.txt": b"a summary\n" * 50,
    "kws.tflite": b"TFL3" * 30,
    "train/log.txt": b"",
}


def make(path: Path, contents: dict[str, bytes] = MTLK, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in contents.items():
            new.writestr(zipfile.ZipInfo(name, (2021, 3, 4, 5, 6, 8)), content, compression)
    return path


def stored(path: Path) -> dict[str, tuple[object, ...]]:
    """Return each member's bytes as they are stored, and what the directory says of it, in order."""
    data = path.read_bytes()
    found = {}
    with zipfile.ZipFile(path) as opened:
        for info in opened.infolist():
            name_bytes, extra_bytes = struct.unpack_from("<26x2H", data, info.header_offset)
            start = info.header_offset + 30 + name_bytes + extra_bytes
            kept = (info.date_time, info.compress_type, info.CRC, info.file_size, info.comment, info.external_attr)
            found[info.filename] = (data[start : start + info.compress_size], *kept)
    return found


def check(path: Path) -> None:
    """Expect other programs to read an archive."""
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
    if shutil.which("unzip"):
        done = subprocess.run(["unzip", "-tqq", str(path)], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_archive_is_made_with_its_directories(tmp_path: Path) -> None:
    path = tmp_path / "models" / "kws.mltk.zip"
    assert update_members(path, MTLK)
    check(path)
    assert members(path) == list(MTLK)
    assert {name: read_member(path, name) for name in MTLK} == MTLK


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_other_members_keep_their_bytes_place_and_date(tmp_path: Path, compression: int) -> None:
    path = make(tmp_path / "a.zip", compression=compression)
    before = stored(path)
    assert update_members(path, {"kws.tflite": b"new model", "kws.py": b"new script"})
    after = stored(path)
    check(path)
    assert list(after) == list(before)
    for name in ("kws.h5", "kws.h5.summary.txt", "train/log.txt"):
        assert after[name] == before[name]
    assert read_member(path, "kws.tflite") == b"new model"
    assert read_member(path, "kws.py") == b"new script"


def test_a_new_member_comes_last(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    update_members(path, {"eval/h5/summary.txt": b"fine"})
    assert members(path) == [*MTLK, "eval/h5/summary.txt"]


def test_members_whose_sizes_follow_their_data_are_kept(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("kws.h5", WEIGHTS)
        new.writestr("empty", b"")
        new.writestr("kws.tflite", b"old")
    path = tmp_path / "a.zip"
    path.write_bytes(pipe.getvalue())
    with zipfile.ZipFile(path) as opened:
        assert all(info.flag_bits & 8 for info in opened.infolist())
    before = stored(path)
    update_members(path, {"kws.tflite": b"new"})
    check(path)
    assert stored(path)["kws.h5"] == before["kws.h5"]
    assert stored(path)["empty"] == before["empty"]
    assert read_member(path, "kws.h5") == WEIGHTS


def test_names_in_any_script_are_kept(tmp_path: Path) -> None:
    names = ["modèle.h5", "模型.txt", "train/журнал.txt", "a b'c\"d.txt"]
    path = make(tmp_path / "a.zip", {name: name.encode() for name in names})
    before = stored(path)
    update_members(path, {"новый.tflite": b"x"})
    check(path)
    assert stored(path).items() >= before.items()
    assert members(path) == [*names, "новый.tflite"]


def test_comments_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as new:
        info = zipfile.ZipInfo("kws.h5")
        info.comment = b"epoch 12"
        new.writestr(info, WEIGHTS)
        new.comment = b"trained in Uppsala"
    update_members(path, {"kws.tflite": b"x"})
    check(path)
    with zipfile.ZipFile(path) as opened:
        assert opened.comment == b"trained in Uppsala"
        assert opened.getinfo("kws.h5").comment == b"epoch 12"


def test_directories_and_permissions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as new:
        new.mkdir("train") if sys.version_info >= (3, 11) else new.writestr("train/", b"")
        info = zipfile.ZipInfo("run.sh")
        info.external_attr = 0o755 << 16
        new.writestr(info, b"#!/bin/sh\n")
    before = stored(path)
    update_members(path, {"kws.tflite": b"x"})
    check(path)
    assert members(path) == ["train/", "run.sh", "kws.tflite"]
    assert stored(path).items() >= before.items()


def test_members_in_the_zip64_format_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new, new.open("kws.h5", "w", force_zip64=True) as out:
        out.write(WEIGHTS)
    before = stored(path)
    update_members(path, {"kws.tflite": b"x"})
    check(path)
    assert stored(path)["kws.h5"] == before["kws.h5"]


@pytest.mark.skipif(not shutil.which("zip"), reason="there is no zip program")
def test_an_archive_of_another_program_is_kept(tmp_path: Path) -> None:
    for name in ("kws.h5", "kws.tflite"):
        (tmp_path / name).write_bytes(WEIGHTS)
    subprocess.run(["zip", "-q", "a.zip", "kws.h5", "kws.tflite"], cwd=tmp_path, check=True)
    path = tmp_path / "a.zip"
    before = stored(path)
    update_members(path, {"kws.tflite": b"x"})
    check(path)
    assert stored(path)["kws.h5"] == before["kws.h5"]


def test_data_in_front_of_an_archive_does_not_confuse(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
    update_members(path, {"kws.tflite": b"x"})
    check(path)
    assert read_member(path, "kws.h5") == WEIGHTS


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=300), max_size=6)


@settings(deadline=None)
@given(CONTENTS, CONTENTS)
def test_an_update_is_that_of_a_dict(tmp_path_factory: pytest.TempPathFactory, old: dict, new: dict) -> None:
    path = make(tmp_path_factory.mktemp("a") / "a.zip", old)
    update_members(path, new)
    expected = {**old, **new}
    assert members(path) == list(expected)
    assert {name: read_member(path, name) for name in expected} == expected


def test_an_archive_that_holds_it_all_is_left_alone(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    before = path.stat()
    assert not update_members(path, MTLK)
    assert not update_members(path, {"kws.tflite": MTLK["kws.tflite"]})
    assert not update_members(path, {"train/log.txt": b""})
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_the_same_members_are_the_same_bytes_whenever_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_members(tmp_path / "a.zip", MTLK)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    update_members(tmp_path / "b.zip", MTLK)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_update_forth_and_back_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    update_members(path, MTLK)
    before = path.read_bytes()
    update_members(path, {"kws.tflite": b"other"})
    assert path.read_bytes() != before
    update_members(path, {"kws.tflite": MTLK["kws.tflite"]})
    assert path.read_bytes() == before


def test_models_are_stored_and_text_is_deflated(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    update_members(path, {"a.tflite": bytes(999), "a.keras": bytes(999), "a.h5": bytes(999), "a.txt": bytes(999)})
    with zipfile.ZipFile(path) as opened:
        kinds = {info.filename: info.compress_type for info in opened.infolist()}
    assert kinds == {
        "a.tflite": zipfile.ZIP_STORED,
        "a.keras": zipfile.ZIP_STORED,
        "a.h5": zipfile.ZIP_DEFLATED,
        "a.txt": zipfile.ZIP_DEFLATED,
    }


def test_permissions_of_the_archive_are_kept(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    path.chmod(0o640)
    update_members(path, {"kws.tflite": b"x"})
    assert path.stat().st_mode & 0o7777 == 0o640


# What goes wrong


def test_a_disk_that_is_full_leaves_the_archive_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.zip")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "add_member", full)
    with pytest.raises(OSError, match="No space left"):
        update_members(path, {"kws.tflite": b"x"})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_at_the_end_leaves_the_archive_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = make(tmp_path / "a.zip")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("broken")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="broken"):
        update_members(path, {"kws.tflite": b"x"})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("moment", ["archive.add_member", "files.os.fsync", "files.os.replace"])
def test_a_kill_at_any_moment_leaves_the_archive_as_it_was(tmp_path: Path, moment: str) -> None:
    path = make(tmp_path / "a.zip")
    before = path.read_bytes()
    code = (
        "import os, signal, sys\n"
        "from doit_tflm import archive, files\n"
        f"{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "archive.update_members(sys.argv[1], {'kws.tflite': b'x'})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    update_members(path, {"kws.tflite": b"x"})
    check(path)
    assert os.listdir(tmp_path) == ["a.zip"]


def broken(path: Path) -> list[bytes]:
    """Return ways to break an archive: cut short, no zip at all, each part of a member damaged."""
    data = make(path).read_bytes()
    with zipfile.ZipFile(path) as opened:
        info = opened.getinfo("kws.h5")
        directory = opened.start_dir
    start = info.header_offset
    found = [b"", b"not a zip", data[:100], data[: directory + 10], data[:-5], data[1000:]]
    # The signature, name length, name and length of the extra field in front of the member; then its data.
    offsets = (start, start + 26, start + 30, start + 28, start + 40, start + 300)
    return found + [data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :] for at in offsets]


def test_a_damaged_archive_is_an_error_and_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for number, data in enumerate(broken(path)):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"a\.zip: damaged archive \(.*\); restore it from a copy"):
            update_members(path, {"kws.tflite": b"x"})
        assert path.read_bytes() == data, number
        assert os.listdir(tmp_path) == ["a.zip"]
        assert member_digest(str(path), "kws.h5") in (None, digest_bytes(WEIGHTS))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_is_more_than_an_error_message(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = make(tmp_path_factory.mktemp("a") / "a.zip", {"a.h5": b"weights " * 9, "a.tflite": b"old"})
    content = bytearray(path.read_bytes())
    for offset in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[offset] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    digest = member_digest(str(path), "a.h5")
    try:
        update_members(path, {"a.tflite": b"new"})
    except UserError:
        assert path.read_bytes() == content
    else:
        assert read_member(path, "a.tflite") == b"new"
        assert member_digest(str(path), "a.h5") == digest


def test_a_missing_archive_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such archive"):
        members(tmp_path / "a.zip")
    with pytest.raises(UserError, match="there is no such archive"):
        read_member(tmp_path / "a.zip", "kws.h5")


def test_a_missing_member_is_none(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    assert read_member(path, "kws.keras") is None
    assert member_digest(str(path), "kws.keras") is None
    assert member_digest(str(tmp_path / "b.zip"), "kws.h5") is None
    assert member_digest(str(path), "kws.h5") == digest_bytes(WEIGHTS)


@pytest.mark.skipif(not shutil.which("zip"), reason="there is no zip program")
def test_an_encrypted_member_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kws.h5").write_bytes(WEIGHTS)
    subprocess.run(["zip", "-q", "-P", "secret", "a.zip", "kws.h5"], cwd=tmp_path, check=True)
    with pytest.raises(UserError, match="is encrypted"):
        read_member(tmp_path / "a.zip", "kws.h5")
    assert member_digest(str(tmp_path / "a.zip"), "kws.h5") is None


def written(path: Path, name: str, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("kws.keras", b"weights")
        file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/evil", "train/../../evil", "..\\evil.py", "C:\\evil", "c:/evil"]
)
def test_a_member_that_leaves_the_archive_is_an_error_and_nothing_is_read_or_written(
    tmp_path: Path, name: str
) -> None:
    path = written(tmp_path / "kws.mltk.zip", name)
    before = path.read_bytes()
    for use in (
        lambda: archive.members(path),
        lambda: archive.read_member(path, "kws.keras"),
        lambda: archive.update_members(path, {"kws.tflite": b"model"}),
    ):
        with pytest.raises(UserError, match="which would be unpacked outside of it"):
            use()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["kws.mltk.zip"]


@pytest.mark.parametrize("name", ["..evil", "a..b/c", "train/weights/best.h5"])
def test_a_member_with_dots_in_its_name_is_none_of_these(tmp_path: Path, name: str) -> None:
    assert archive.read_member(written(tmp_path / "kws.mltk.zip", name), name) == b"x"


def test_a_zip_bomb_is_an_error_before_it_is_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path / "kws.mltk.zip", "bomb.keras", bytes(100 << 20))
    with pytest.raises(UserError, match=r"bomb\.keras is 104,857,600 bytes in .*, which is no model's"):
        archive.read_member(path, "kws.keras")


def test_large_weights_are_no_bomb(tmp_path: Path) -> None:
    path = written(tmp_path / "kws.mltk.zip", "large.keras", os.urandom(1 << 20) * 65)
    assert len(archive.read_member(path, "large.keras") or b"") == 65 << 20
