"""Building firmware/ and running its programs, here and in QEMU."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).parent.parent.parent / "firmware"
TOOLCHAIN = FIRMWARE / "cmake" / "cortex-m.cmake"
BOARDS = {"host": "", "cortex-m3": "mps2-an385", "cortex-m7": "mps2-an500"}
CPUS = {"cortex-m3": ["-mcpu=cortex-m3"], "cortex-m7": ["-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"]}


def need(*names: str) -> None:
    """Skip the test where one of these tools is missing."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def must(*command: str | Path) -> str:
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_program(target: str, path: Path) -> tuple[int, str]:
    """Run a program that was built for a target, and return its exit code and output."""
    emulator: list[str] = []
    if target != "host":
        need("qemu-system-arm")
        emulator = [
            "qemu-system-arm",
            "-M",
            BOARDS[target],
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "none",
        ]
        emulator += ["-chardev", "stdio,id=c0,signal=off"]
        emulator += ["-semihosting-config", "enable=on,target=native,chardev=c0", "-kernel"]
    done = run(*emulator, path)
    return done.returncode, done.stdout


@dataclass(frozen=True)
class Programs:
    """A build directory, and the target that it is for."""

    target: str
    directory: Path

    def run(self, program: str) -> tuple[int, str]:
        """Run a program and return its exit code and output."""
        return run_program(self.target, next(self.directory.rglob(program)))


def configure(directory: Path, target: str, generated: Path, *options: str, source: Path = FIRMWARE) -> str:
    need("cmake", "ninja")
    command = ["cmake", "-S", str(source), "-B", str(directory), "-G", "Ninja", f"-DGENERATED_DIR={generated}"]
    if target != "host":
        need("arm-none-eabi-gcc")
        command += [f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}", f"-DCORTEX_M_BOARD={BOARDS[target]}"]
    return must(*command, *options)


def build(directory: Path, target: str, generated: Path, *options: str, source: Path = FIRMWARE) -> Programs:
    configure(directory, target, generated, *options, source=source)
    must("cmake", "--build", directory)
    return Programs(target, directory)
