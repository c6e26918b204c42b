"""A build directory of CMake's: configured when it must be, built, and asked which programs and tests it has."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.files import digest_file, write_if_changed

__all__ = ["CmakeBuild", "Test"]

_QUERY = ".cmake/api/v1/query/codemodel-v2"
_REPLY = ".cmake/api/v1/reply"
_SHOWN_LINES = 12
_TIMEOUT_S = 300.0
_LONGEST_OUTPUT = 400
_MINDED = {"LABELS", "TIMEOUT", "WORKING_DIRECTORY"}
"""Properties of a test that are minded here; CTest itself runs a test that has others."""


@dataclass(frozen=True)
class Test:
    """A test of the project's: a command, with an emulator in front where it takes one.

    Attributes
    ----------
    name : str
        What CTest calls it.
    command : tuple of str
        What runs it.
    timeout_s : float, optional
        How long it may take; None where that is for the command to see to.
    directory : str, optional
        Where it runs; here if None.
    """

    name: str
    command: tuple[str, ...]
    timeout_s: float | None
    directory: str | None = None

    def run(self, where: str) -> tuple[str, UserError | None]:
        """Run it, and return what it printed and what went wrong; `where` names it in messages."""
        try:
            done = subprocess.run(
                self.command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            what = f"did not end within {self.timeout_s:g} s"
            return "", UserError(what, where, "run it by hand, in a debugger")
        except OSError as error:
            return "", UserError(f"cannot be run: {error}", where, "build it again")
        text = done.stdout.decode(errors="replace")
        if done.returncode == 0:
            return text, None
        said = " ".join(text.split())[:_LONGEST_OUTPUT] or "it printed nothing"
        fix = "firmware/README.md says what the exit code means"
        return text, UserError(f"ended with exit code {done.returncode}: {said}", where, fix)


@dataclass(frozen=True)
class CmakeBuild:
    """A build directory.

    Attributes
    ----------
    directory : str
        Where it is.
    log : str
        Where the output of CMake and the compilers goes.
    keep_open : tuple of int
        Descriptors that they inherit: the project's lock, which is held until the last of them has ended.
    """

    directory: str
    log: str
    keep_open: tuple[int, ...] = ()

    def configure(self, source: str, options: Sequence[str], facts: Sequence[str]) -> bool:
        """Configure, if that was not done yet, or with other options or other facts.

        Parameters
        ----------
        source : str
            The project's directory.
        options : sequence of str
            For CMake.
        facts : sequence of str
            What the result depends on besides, and CMake would not look at again.

        Returns
        -------
        bool
            Whether it was.

        Raises
        ------
        UserError
            If CMake fails.
        """
        Path(self.log).unlink(missing_ok=True)
        record, cache = (Path(self.directory, name) for name in ("doit-tflm.json", "CMakeCache.txt"))

        def wanted() -> bytes:
            # With the cache, since a user may have configured the directory by hand meanwhile.
            return json.dumps([source, *options, *facts, digest_file(cache)], indent=1).encode()

        if cache.is_file() and record.is_file() and record.read_bytes() == wanted():
            return False
        # What was cached of other options would stay: CMake forgets no variable that is not given any more.
        cache.unlink(missing_ok=True)
        record.unlink(missing_ok=True)
        write_if_changed(Path(self.directory, _QUERY), b"")
        command = ["cmake", "-B", os.path.abspath(self.directory), "--no-warn-unused-cli", *options]
        self._run(command, "CMake does not configure it", cwd=source)
        write_if_changed(record, wanted())
        return True

    def build(self) -> None:
        """Build what is not up to date.

        Raises
        ------
        UserError
            If a compiler or the linker fails.
        """
        self._run(["cmake", "--build", self.directory], "does not build")

    def programs(self) -> dict[str, str]:
        """Return the paths of the programs that are linked, by name, sorted."""
        reply = Path(self.directory, _REPLY)
        index = json.loads(max(reply.glob("index-*.json")).read_bytes())
        model = json.loads((reply / index["reply"]["codemodel-v2"]["jsonFile"]).read_bytes())
        found: dict[str, str] = {}
        for target in model["configurations"][0]["targets"]:
            facts: dict[str, Any] = json.loads((reply / target["jsonFile"]).read_bytes())
            if facts["type"] == "EXECUTABLE":
                path = os.path.join(self.directory, facts["artifacts"][0]["path"])
                # A build leaves out what the project excludes from `all`.
                if os.path.isfile(path):
                    found[facts["name"]] = path
        return dict(sorted(found.items()))

    def tests(self) -> list[Test]:
        """Return the tests that CTest knows."""
        command = ["ctest", "--test-dir", self.directory, "--show-only=json-v1"]
        listed = json.loads(self._run(command, "CTest does not list its tests", merged=False))
        found = []
        for one in listed["tests"]:
            name, properties = one["name"], {each["name"]: each["value"] for each in one.get("properties", ())}
            if properties.get("DISABLED"):
                continue
            # A test whose program is not there has no command: CTest says so, and fails.
            if "command" in one and properties.keys() <= _MINDED:
                timeout_s = float(properties.get("TIMEOUT", _TIMEOUT_S))
                found.append(Test(name, tuple(one["command"]), timeout_s, properties.get("WORKING_DIRECTORY")))
            else:
                found.append(Test(name, self._by_ctest(name), None))
        return found

    def _by_ctest(self, name: str) -> tuple[str, ...]:
        """Return the command that has CTest run one test, with all that the project says of it."""
        return ("ctest", "--test-dir", self.directory, "--output-on-failure", "-R", f"^{re.escape(name)}$")

    def _run(self, command: list[str], what: str, *, cwd: str | None = None, merged: bool = True) -> str:
        """Run a command and return its output; where it is `merged` with what goes to stderr, the log keeps it."""
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            pass_fds=self.keep_open,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        said = text if merged else done.stderr.decode(errors="replace")
        if merged:
            Path(self.log).parent.mkdir(parents=True, exist_ok=True)
            with open(self.log, "a", encoding="utf-8") as stream:
                stream.write(said)
        if done.returncode:
            raise UserError(what, self.directory, "mend what it says", _excerpt(said))
        return text


def _is_command(line: str) -> bool:
    """Tell whether Ninja shows in a line which command failed: long, and of no use before the log is read."""
    return line.startswith(": && ") or (line.startswith("/") and " -o " in line)


def _excerpt(text: str) -> str:
    """Return what a person should read of a failed command's output: from its first error on."""
    lines = [line for line in text.splitlines() if line.strip() and not _is_command(line)]
    first = next(
        (at for at, line in enumerate(lines) if "error" in line.lower() or line.startswith("FAILED")), None
    )
    shown = lines[first:][:_SHOWN_LINES] if first is not None else lines[-_SHOWN_LINES:]
    return "\n".join(f"    {line}" for line in shown)
