"""Small programs that hold an array, linked for this machine and for a Cortex-M3, to look for the array in."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["COMPILERS", "DATA", "SYMBOL", "array", "link", "tool"]

DATA = random.Random(1).randbytes(400)
SYMBOL = "g_kws_model_data"
COMPILERS = {
    "gcc": ["gcc", "-Wl,-z,noexecstack"],
    "arm-none-eabi-gcc": [
        "arm-none-eabi-gcc",
        "-mcpu=cortex-m3",
        "-mthumb",
        "-nostdlib",
        "-Wl,--entry=main,-Ttext=0x10000,-Tdata=0x20000000,-z,max-page-size=4096",
    ],
}

_MAIN = f"extern const unsigned char {SYMBOL}[]; int main(void) {{ return {SYMBOL}[3] == 1; }}\n"
ALIGNED = "__attribute__((aligned(16)))"


def array(declared: str = f"{ALIGNED} const unsigned char {SYMBOL}[400]", data: bytes = DATA) -> str:
    """Return C source that defines an array."""
    return f"{declared} = {{{', '.join(map(str, data))}}};\n"


def tool(*command: str | Path) -> str:
    """Run a tool, or skip the test where it is not installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def link(directory: Path, compiler: str, *sources: str, main: str = _MAIN) -> Path:
    """Link a program of these sources and a main function, and return its path."""
    paths = []
    for number, text in enumerate([main, *sources]):
        paths.append(directory / f"{number}.c")
        paths[-1].write_text(text)
    program = directory / "program"
    tool(*COMPILERS[compiler], "-O1", *paths, "-o", program)
    return program
