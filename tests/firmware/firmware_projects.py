"""Projects that have ``doit firmware``, and what it says in them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from firmware_builds import FIRMWARE, need

from conftest import DODO, Project, Run

__all__ = ["ARM", "QEMU", "give_firmware", "path_without", "run_doit", "up_to_date"]

FIRMWARE_DODO = (
    DODO.replace("import doit_config", "import doit_config, firmware_tasks")
    + """

def task_firmware():
    yield from firmware_tasks()
"""
)
ARM = ("arm-none-eabi-gcc", "arm-none-eabi-g++")
QEMU = ("qemu-system-arm",)
NO_TFLM = {"TFLM_INCLUDE_DIRS": "", "TFLM_LIBRARIES": "", "TFLM_DEFINITIONS": ""}


def give_firmware(project: Project, *presets: str, own: bool = False) -> Project:
    """Give a project the firmware of this repository, for some presets; its `own` copy if it is to be edited."""
    need("cmake", "ninja", "gcc")
    project.write("dodo.py", FIRMWARE_DODO)
    directory = "firmware" if own else str(FIRMWARE)
    if own:
        ignored = shutil.ignore_patterns("generated")
        shutil.copytree(FIRMWARE, project.path("firmware"), dirs_exist_ok=True, ignore=ignored)
    table = f'\n[tool.doit-tflm.firmware]\ndirectory = "{directory}"\npresets = {list(presets)}\n'
    project.write("pyproject.toml", project.path("pyproject.toml").read_text() + table)
    return project


def run_doit(project: Project, *arguments: str, code: int = 0, **environment: str) -> Run:
    """Run doit without TFLM, unless the environment gives it, and expect an exit code."""
    run = project.doit(*arguments, **{**NO_TFLM, **environment})
    assert run.code == code, run.out + run.err
    return run


def up_to_date(*presets: str) -> str:
    """Return what a build says in which nothing was to do."""
    verb = "is" if len(presets) == 1 else "are"
    return f"1 model is up to date\nfirmware for {', '.join(presets)} {verb} up to date\n"


def path_without(directory: Path, *names: str) -> str:
    """Make a directory with every program that is found now, but for some, and return it as PATH."""
    directory.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = directory / program.name
            if program.name not in names and not link.is_symlink():
                link.symlink_to(program)
    return str(directory)
