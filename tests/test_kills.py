"""``kill -9`` before each file that a build puts into place: the archive stays whole, the next build is right."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from conftest import Project
from doit_tflm import archive

ARCHIVE = "models/kws.mltk.zip"
KILLER = """\
import os
import signal
import sys

def watch(event, arguments):
    if event == "os.rename":
        # Doit's process and its workers count together.
        with open(os.environ["KILL_COUNT"], "ab", buffering=0) as stream:
            stream.write(b".")
            if stream.tell() == int(os.environ["KILL_AT"]):
                os.killpg(0, signal.SIGKILL)

sys.addaudithook(watch)
"""


@pytest.fixture
def killer(tmp_path: Path) -> Path:
    """Return a directory that makes every Python process in whose PYTHONPATH it is count, and kill."""
    directory = tmp_path / "killer"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(KILLER)
    return directory


def killed_build(project: Project, killer: Path, number: int) -> bool:
    """Build, and return whether that was killed before the file of that number was put into place."""
    path = os.pathsep.join(filter(None, [str(killer), os.environ.get("PYTHONPATH", "")]))
    (killer / "count").unlink(missing_ok=True)
    running = project.start("quantize", PYTHONPATH=path, KILL_COUNT=str(killer / "count"), KILL_AT=str(number))
    out, err = running.communicate(timeout=120)
    assert running.returncode in (0, -signal.SIGKILL), out + err
    return running.returncode != 0


def test_a_kill_at_any_file_leaves_the_archive_whole_and_the_next_build_right(
    template: Project, tmp_path: Path, killer: Path
) -> None:
    start = template.copy_to(tmp_path / "start")
    start.edit("models/kws.py", '_output_type"] = "int8"', '_output_type"] = "float32"')
    archive.update_members(start.path(ARCHIVE), {"kws.keras": b"new weights", "train/log.txt": b"a log"})
    members = archive.members(start.path(ARCHIVE))
    clean = start.copy_to(tmp_path / "clean")
    clean.build()
    number = 0
    while True:
        number += 1
        project = start.copy_to(tmp_path / f"killed-{number}")
        if not killed_build(project, killer, number):
            break
        assert set(archive.members(project.path(ARCHIVE))) == set(members), number
        assert archive.read_member(project.path(ARCHIVE), "kws.keras") == b"new weights"
        assert archive.read_member(project.path(ARCHIVE), "train/log.txt") == b"a log"
        project.build()
        assert project.outputs() == clean.outputs(), number
        assert project.path(ARCHIVE).read_bytes() == clean.path(ARCHIVE).read_bytes(), number
        assert project.build().stages == []
    assert number > 10, "each stage puts files into place"
    assert project.outputs() == clean.outputs()
