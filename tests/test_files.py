"""Files: replaced whole or not at all, and known by digests that are never stale."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doit_tflm import files
from doit_tflm.files import DigestCache, digest_bytes, digest_file, normalise, replacing, write_if_changed


def aged(path: Path, seconds: float = 60) -> Path:
    """Set a file's date."""
    then = time.time_ns() - int(seconds * 1e9) + 1
    os.utime(path, ns=(then, then))
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the clock ahead, so that every file is old: a ctime cannot be set."""
    real = time.time_ns
    monkeypatch.setattr(files.time, "time_ns", lambda: real() + 60_000_000_000)


def seen(cache: DigestCache, path: Path, *part: Any) -> str | None:
    """Return what a cache says of a file as it is now."""
    return cache.get(str(path), files.stamp(str(path)), *part)


class Counter:
    """Digests files, and counts how often."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, path: str, member: str) -> str:
        self.reads += 1
        return digest_file(path) + member


# write_if_changed and replacing


def test_a_file_with_that_content_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert write_if_changed(path, b"one")
    before = path.stat()
    assert not write_if_changed(path, b"one")
    assert files.stamp(str(path)) == (before.st_mtime_ns, before.st_ctime_ns, before.st_size, before.st_ino)


def test_other_content_of_the_same_length_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_if_changed(path, b"one")
    assert write_if_changed(path, b"two")
    assert path.read_bytes() == b"two"


def test_missing_directories_are_made(tmp_path: Path) -> None:
    assert write_if_changed(tmp_path / "a" / "b" / "c", b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    assert write_if_changed(tmp_path / "a", b"")
    assert not write_if_changed(tmp_path / "a", b"")


def test_a_file_is_replaced_by_a_complete_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_if_changed(path, b"old")
    with open(path, "rb") as reader:
        write_if_changed(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def cut_short(path: Path) -> None:
    with replacing(path) as stream:
        stream.write(b"half of the ne")
        raise OSError("disk full")


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        cut_short(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_an_error_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("broken")

    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="broken"):
        write_if_changed(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_killed_writer_leaves_the_old_file_and_its_remains_are_swept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from doit_tflm.files import replacing\n"
        "with replacing(sys.argv[1]) as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    write_if_changed(path, b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_permissions_are_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_if_changed(path, b"new")
    assert path.stat().st_mode & 0o7777 == mode


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_if_changed(tmp_path / "a", b"new")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_empty_directory_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert write_if_changed(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_directory_with_something_in_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "precious").touch()
    with pytest.raises(OSError, match="not empty"):
        write_if_changed(tmp_path / "a", b"x")
    assert (tmp_path / "a" / "precious").exists()


def test_remains_of_dead_writers_are_swept_and_those_of_live_ones_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [
        f".a.{os.getppid()}.part",
        f".b.{dead.pid}.part",
        ".a.notapid.part",
        ".a.part",
        f"a.{dead.pid}.part",
    ]
    for name in (*kept, f".a.{dead.pid}.part", f".a.{10**30}.part"):
        (tmp_path / name).touch()
    write_if_changed(tmp_path / "a", b"x")
    assert sorted(os.listdir(tmp_path)) == sorted(["a", *kept])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_a_writer_that_nobody_waits_for_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        (tmp_path / f".a.{zombie.pid}.part").touch()
        write_if_changed(tmp_path / "a", b"x")
        assert os.listdir(tmp_path) == ["a"]


def test_names_with_special_characters_are_swept_and_written(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".[a]*.{dead.pid}.part").touch()
    (tmp_path / f".a.{dead.pid}.part").touch()
    write_if_changed(tmp_path / "[a]*", b"x")
    assert sorted(os.listdir(tmp_path)) == [f".a.{dead.pid}.part", "[a]*"]


# digests


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_a_file_s_digest_is_that_of_its_bytes(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        assert digest_file(stream.name) == digest_bytes(content)


def test_a_digest_is_32_hexadecimal_digits() -> None:
    assert digest_bytes(b"") == "cae66941d9efbd404e4d88758ea67670"


def test_there_is_no_stamp_of_what_is_no_regular_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert files.stamp(str(tmp_path)) is None
    assert files.stamp(str(tmp_path / "b")) is None
    assert files.stamp(str(tmp_path / "a" / "b")) is None
    assert files.stamp(str(tmp_path / "a")) is not None
    assert seen(DigestCache(), tmp_path) is None
    assert seen(DigestCache(), tmp_path / "b") is None


@pytest.mark.usefixtures("later")
def test_an_untouched_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    cache, count = DigestCache(), Counter()
    assert seen(cache, path, "m", count) == seen(cache, path, "m", count) == digest_bytes(b"one") + "m"
    assert count.reads == 1
    assert list(cache.fresh) == [f"{path}!m"]


def test_a_file_written_just_now_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    cache, count = DigestCache(), Counter()
    seen(cache, path, "", count)
    seen(cache, path, "", count)
    assert count.reads == 2
    assert cache.fresh == {}


def test_an_old_date_alone_does_not_make_a_file_old(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    cache, count = DigestCache(), Counter()
    seen(cache, aged(path), "", count)
    seen(cache, path, "", count)
    assert count.reads == 2


@pytest.mark.usefixtures("later")
def test_a_file_with_a_date_in_the_future_is_believed_until_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    aged(path, seconds=-3600)
    cache, count = DigestCache(), Counter()
    seen(cache, path, "", count)
    seen(cache, path, "", count)
    assert count.reads == 1
    path.write_bytes(b"two")
    aged(path, seconds=-3600)
    seen(cache, path, "", count)
    assert count.reads == 2


@given(st.integers(1, 10**10), st.integers(0, 10**10))
def test_a_stamp_is_settled_only_when_the_clock_has_moved_on(newest: int, passed: int) -> None:
    settled = files.is_settled((0, newest, 1, 1), newest + passed)
    if passed <= 50_000_000:
        assert not settled
    if passed > 2_500_000_000:
        assert settled
    # The date can be set at will, and does not count.
    assert files.is_settled((10**18, newest, 1, 1), newest + passed) == settled


def test_whole_seconds_are_taken_for_a_coarse_clock() -> None:
    mark = (5_000_000_000, 5_000_000_000, 1, 1)
    assert not files.is_settled(mark, 7_000_000_000)
    assert files.is_settled(mark, 7_600_000_000)


@pytest.mark.usefixtures("later")
def test_a_replaced_file_of_the_same_size_and_date_is_read_again(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    cache = DigestCache()
    aged(path)
    stat = path.stat()
    assert seen(cache, path) == digest_bytes(b"one")
    other.write_bytes(b"two")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(other, path)
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert seen(cache, path) == digest_bytes(b"two")


@pytest.mark.usefixtures("later")
def test_a_file_rewritten_in_place_with_its_date_put_back_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    cache = DigestCache()
    stat = path.stat()
    assert seen(cache, path) == digest_bytes(b"one")
    time.sleep(0.02)  # until the clock of the kernel has ticked, for another ctime
    with open(path, "r+b") as stream:
        stream.write(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert seen(cache, path) == digest_bytes(b"two")


@pytest.mark.usefixtures("later")
def test_a_file_that_changes_while_it_is_read_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")

    def changing(name: str, member: str) -> str:
        digest = digest_file(name)
        path.write_bytes(b"other")
        return digest

    cache = DigestCache()
    seen(cache, path, "", changing)
    assert cache.fresh == {}
    assert seen(cache, path) == digest_bytes(b"other")


def test_a_file_that_vanishes_while_it_is_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()

    def vanishing(name: str, member: str) -> str:
        path.unlink()
        return digest_file(name)

    assert seen(DigestCache(), path, "", vanishing) is None


@pytest.mark.usefixtures("later")
def test_what_an_earlier_run_stored_is_believed_while_the_stamp_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    mark = files.stamp(str(path))
    assert mark is not None
    cache = DigestCache()
    cache.load({str(path): [list(mark), "stored"]})
    assert seen(cache, path) == "stored"
    assert cache.fresh == {}
    assert cache.known == {str(path): (mark, "stored")}
    cache.load({str(path): [[*mark[:3], mark[3] + 1], "stored"]})
    assert seen(cache, path) == digest_bytes(b"one")


@pytest.mark.usefixtures("later")
def test_that_a_file_has_no_such_part_is_remembered_too(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    reads = []
    cache = DigestCache()
    for _ in range(2):
        assert seen(cache, path, "m", lambda _, member: reads.append(member)) is None
    assert reads == ["m"]


# normalise

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
PARTS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4)
NOISE = st.lists(st.sampled_from(["", "./", "x/../", "/"]), min_size=4, max_size=4)


@given(PARTS, NOISE, st.booleans())
def test_every_spelling_of_a_path_in_the_project_is_one(parts: list[str], noise: list[str], full: bool) -> None:
    spelling = "".join(f"{part}/{extra}" for part, extra in zip(parts, noise, strict=False)).rstrip("/")
    root = "/some/project"
    assert normalise(f"{root}/{spelling}" if full else spelling, root) == "/".join(parts)


@given(PARTS)
def test_a_path_outside_of_the_project_is_absolute(parts: list[str]) -> None:
    outside = "/elsewhere/" + "/".join(parts)
    assert normalise(outside, "/some/project") == outside
    assert normalise("../../elsewhere/" + "/".join(parts), "/some/project") == outside


@given(PARTS, st.booleans())
def test_to_normalise_twice_changes_nothing(parts: list[str], full: bool) -> None:
    once = normalise(("/" if full else "") + "/".join(parts), "/some/project")
    assert normalise(once, "/some/project") == once


def test_names_that_begin_with_dots_are_in_the_project() -> None:
    assert normalise("..a/b", "/p") == "..a/b"
    assert normalise(".a", "/p") == ".a"
    assert normalise("/p-other/a", "/p") == "/p-other/a"
    assert normalise("/p", "/p") == "."


def test_the_project_is_the_current_directory_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalise(tmp_path / "a" / "b") == "a/b"
    assert normalise(Path("a") / "b") == "a/b"
