"""The recipes of the guide for Make, Meson, SCons and a script, as a user copies them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from conftest import Project
from test_docs import blocks

GUIDE = "docs/build-systems.md"
MAIN = """\
#include "kws_model_data.h"

int main(void)
{
    return g_kws_model_data_size != KWS_MODEL_DATA_LEN || (size_t)g_kws_model_data % KWS_MODEL_ALIGNMENT != 0;
}
"""


@dataclass
class Firmware:
    """A firmware in a directory of the models' project.

    Attributes
    ----------
    project : Project
        The models.
    commands : list of list of str
        What builds it.
    program : str
        The program that comes out.
    """

    project: Project
    commands: list[list[str]]
    program: str = "app/firmware"

    def build(self, *, code: int = 0) -> str:
        """Build, and return what was printed."""
        bin_dir = self.project.path("bin")
        environment = self.project.environment(PATH=f"{bin_dir}:{os.environ['PATH']}")
        out = ""
        for command in self.commands:
            done = subprocess.run(
                command, cwd=self.project.path("app"), env=environment, capture_output=True, text=True, check=False
            )
            out += done.stdout + done.stderr
            if done.returncode:
                break
        assert (done.returncode == 0) is (code == 0), out
        return out

    def runs(self) -> int:
        """Return how often doit-tflm was started since this was asked."""
        log = self.project.path("bin/log")
        count = len(log.read_text().splitlines()) if log.exists() else 0
        log.unlink(missing_ok=True)
        return count

    def stat(self, name: str) -> int:
        return self.project.path(name).stat().st_mtime_ns


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


def block(language: str) -> str:
    return next(text for text in blocks(GUIDE, language) if "sine" in text).replace("sine", "kws")


def _make(project: Project) -> Firmware:
    need("make")
    project.write("app/Makefile", block("make"))
    return Firmware(project, [["make"]])


def _meson(project: Project) -> Firmware:
    need("meson")
    project.write("app/meson.build", block("meson"))
    app = project.path("app")
    project.path("app").mkdir(exist_ok=True)
    (app / "main.c").write_text(MAIN)
    setup = [] if (app / "out").exists() else [["meson", "setup", "out"]]
    return Firmware(project, [*setup, ["ninja", "-C", "out"]], "app/out/firmware")


def _scons(project: Project) -> Firmware:
    need("scons")
    project.write("app/SConstruct", block("python"))
    return Firmware(project, [["scons", "-Q"]])


def _script(project: Project) -> Firmware:
    project.write("app/build.sh", block("sh"))
    return Firmware(project, [["sh", "build.sh"]])


SYSTEMS: dict[str, Callable[[Project], Firmware]] = {
    "make": _make,
    "meson": _meson,
    "scons": _scons,
    "script": _script,
}
INCREMENTAL = ["make", "meson", "scons"]


@pytest.fixture
def firmware(request: pytest.FixtureRequest, built: Project) -> Firmware:
    """Return a firmware, built once, whose doit-tflm is counted."""
    tool = f'#!/bin/sh\necho run >> "{built.path("bin/log")}"\nexec "{sys.executable}" -m doit_tflm "$@"\n'
    built.write("bin/doit-tflm", tool)
    built.path("bin/doit-tflm").chmod(0o755)
    built.write("app/main.c", MAIN)
    made = SYSTEMS[request.param](built)
    made.build()
    if request.param == "meson":
        made.commands = made.commands[-1:]
    return made


@pytest.mark.parametrize("firmware", SYSTEMS, indirect=True)
def test_a_recipe_builds_a_program_with_the_current_model(firmware: Firmware) -> None:
    assert subprocess.run([firmware.project.path(firmware.program)], check=False).returncode == 0
    data = firmware.project.path("build/kws/kws.tflite").read_bytes()
    assert data in firmware.project.path(firmware.program).read_bytes()
    firmware.project.edit("models/kws.py", "a test model", "another model")
    assert "kws: embed" in firmware.build()
    data = firmware.project.path("build/kws/kws.tflite").read_bytes()
    assert data in firmware.project.path(firmware.program).read_bytes()


@pytest.mark.parametrize("firmware", SYSTEMS, indirect=True)
def test_a_recipe_compiles_the_array_again_when_only_its_header_changed(firmware: Firmware) -> None:
    firmware.project.edit("models/kws.py", "epochs = 3\n", "epochs = 3\nmy_model.header.alignment = 4096\n")
    firmware.build()
    assert subprocess.run([firmware.project.path(firmware.program)], check=False).returncode == 0


@pytest.mark.parametrize("firmware", INCREMENTAL, indirect=True)
def test_a_recipe_does_nothing_when_nothing_changed(firmware: Firmware) -> None:
    firmware.build()
    firmware.runs()
    before = firmware.stat(firmware.program)
    firmware.build()
    assert (firmware.runs(), firmware.stat(firmware.program)) == (0, before)


@pytest.mark.parametrize("firmware", INCREMENTAL, indirect=True)
def test_a_recipe_compiles_nothing_after_a_comment(firmware: Firmware) -> None:
    firmware.build()
    firmware.runs()
    before = firmware.stat(firmware.program)
    firmware.project.edit("models/kws.py", "SCALE = 1.0", "SCALE = 1.0  # a comment")
    assert "kws: spec" in firmware.build()
    assert (firmware.runs(), firmware.stat(firmware.program)) == (1, before)


@pytest.mark.parametrize("firmware", INCREMENTAL, indirect=True)
def test_a_recipe_notices_a_module_that_the_specification_imports(firmware: Firmware) -> None:
    firmware.project.write("models/_scale.py", "SCALE = 1.0\n")
    firmware.project.edit("models/kws.py", "SCALE = 1.0", "from _scale import SCALE")
    firmware.build()
    firmware.build()
    firmware.runs()
    firmware.project.write("models/_scale.py", "SCALE = 2.0\n")
    assert "kws: sample" in firmware.build()
    assert firmware.runs() == 1


@pytest.mark.parametrize("firmware", INCREMENTAL, indirect=True)
@pytest.mark.parametrize("name", ["kws_model_data.c", "kws_model_data.h"])
def test_a_recipe_makes_a_deleted_source_again(firmware: Firmware, name: str) -> None:
    path = next(path for path in firmware.project.path("app").rglob(name))
    content = path.read_bytes()
    path.unlink()
    firmware.build()
    assert path.read_bytes() == content


@pytest.mark.parametrize("firmware", SYSTEMS, indirect=True)
def test_a_recipe_fails_with_the_models_message_and_keeps_the_old_array(firmware: Firmware) -> None:
    path = next(path for path in firmware.project.path("app").rglob("kws_model_data.c"))
    content = path.read_bytes()
    firmware.project.edit("models/kws.py", "version=1", "verson=1")
    assert "a ModelSpec has no attribute 'verson'" in firmware.build(code=1)
    # SCons removes what it is about to make.
    assert not path.exists() or path.read_bytes() == content
    firmware.project.edit("models/kws.py", "verson=1", "version=1")
    firmware.build()
    assert path.read_bytes() == content
