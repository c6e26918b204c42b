"""A CMake project that takes its models through our module, and what a build of it did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import doit_tflm
from conftest import Run

MODULE_DIR = Path(doit_tflm.__file__).parent / "cmake"
GENERATORS = ["Ninja", "Unix Makefiles"]

CMAKE_LISTS = """\
cmake_minimum_required(VERSION 3.20)
project(app LANGUAGES {languages})
set(CMAKE_C_STANDARD 99)
{find}
add_executable(app main.c {sources})
target_compile_options(app PRIVATE -Wall -Wextra -Wpedantic -Werror)
{add}
"""
FIND = "find_package(doit_tflm REQUIRED)"
ADD = 'tflm_add_models(TARGET app MODELS {models} PROJECT_DIR "{project}")'

USER = """\
#include "{model}_model_data.h"

size_t {model}_size(void);

size_t {model}_size(void)
{{
    return g_{model}_model_data_size + g_{model}_model_data[0];
}}
"""

_LAUNCHER = """\
#!/bin/sh
for last; do :; done
case "$*" in *" -c "*) echo "$last" >> "{log}" ;; esac
exec "$@"
"""
_DOIT_TFLM = """\
#!/bin/sh
echo "$*" >> "{log}"
exec "{python}" -m doit_tflm "$@"
"""


@dataclass(frozen=True)
class Build:
    """What a build did.

    Attributes
    ----------
    code : int
        The build tool's exit code.
    out : str
        What it printed.
    pythons : int
        How often it started doit-tflm.
    compiled : list of str
        The names of the C files that it compiled, sorted.
    """

    code: int
    out: str
    pythons: int
    compiled: list[str]

    @property
    def stages(self) -> list[str]:
        """The stages that ran."""
        return Run(self.code, self.out, "").ran


class CMakeProject:
    """A program with a C file for each of some models.

    Parameters
    ----------
    root : Path
        Its directory.
    models : list of str
        The models.
    project : Path
        The project that they are specified in.
    generator : str
        CMake's generator.
    """

    def __init__(self, root: Path, models: list[str], project: Path, generator: str) -> None:
        self.root, self.models, self.project, self.generator = root, models, project, generator
        self.build_dir = root / "build"

    def write(self, *, find: str = FIND, add: str = ADD, languages: str = "C ASM", plain: int = 0) -> None:
        """Write the project; with `plain` C files that use no model."""
        self.root.mkdir(parents=True, exist_ok=True)
        users = [f"use_{model}" for model in self.models]
        for model in self.models:
            (self.root / f"use_{model}.c").write_text(USER.format(model=model))
        for number in range(plain):
            (self.root / f"plain_{number}.c").write_text(f"int plain_{number}(void);\n")
        names = [f"{name}.c" for name in [*users, *(f"plain_{number}" for number in range(plain))]]
        declared = "".join(f"size_t {model}_size(void);\n" for model in self.models)
        summed = " + ".join(f"{model}_size()" for model in self.models)
        text = f"#include <stddef.h>\n{declared}\nint main(void)\n{{\n    return ({summed}) == 0u;\n}}\n"
        (self.root / "main.c").write_text(text)
        added = add.format(models=" ".join(self.models), project=self.project)
        text = CMAKE_LISTS.format(languages=languages, find=find, add=added, sources=" ".join(names))
        (self.root / "CMakeLists.txt").write_text(text)

    def configure(self, *options: str, watched: bool = True) -> subprocess.CompletedProcess[str]:
        """Configure; the wrappers that count make a build slower."""
        self.build_dir.mkdir(parents=True, exist_ok=True)
        wrappers = [
            f"-DDOIT_TFLM_EXECUTABLE={self._script('doit-tflm', _DOIT_TFLM)}",
            *([f"-DCMAKE_C_COMPILER_LAUNCHER={self._script('launcher', _LAUNCHER)}"] if watched else []),
        ]
        command = ["cmake", "-S", str(self.root), "-B", str(self.build_dir), "-G", self.generator]
        command += [f"-Ddoit_tflm_DIR={MODULE_DIR}", *wrappers, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _script(self, name: str, text: str) -> Path:
        path = self.build_dir / name
        path.write_text(text.format(log=self.build_dir / f"{name}.log", python=sys.executable))
        path.chmod(0o755)
        return path

    @property
    def command(self) -> list[str]:
        """The build tool itself, which is what a user waits for."""
        return ["ninja", "-C", str(self.build_dir)] if self.generator == "Ninja" else self._make()

    def _make(self) -> list[str]:
        return ["make", "-C", str(self.build_dir), f"-j{os.cpu_count()}", "--no-print-directory"]

    def build(self) -> Build:
        """Build, and return what was done."""
        logs = {name: self.build_dir / f"{name}.log" for name in ("doit-tflm", "launcher")}
        for log in logs.values():
            log.unlink(missing_ok=True)
        done = subprocess.run(
            self.command, capture_output=True, text=True, check=False, timeout=900, env=self._environment()
        )
        lines = {name: log.read_text().splitlines() if log.exists() else [] for name, log in logs.items()}
        compiled = sorted(Path(line).name for line in lines["launcher"])
        return Build(done.returncode, done.stdout + done.stderr, len(lines["doit-tflm"]), compiled)

    @staticmethod
    def _environment() -> dict[str, str]:
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def remove(self) -> None:
        shutil.rmtree(self.root)
