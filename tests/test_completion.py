"""Shell completion: what bash, zsh and fish make of a line when Tab is pressed, and what that costs."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Project
from doit_tflm import cmd_tabcompletion
from doit_tflm.lock import BuildLock
from test_docs import blocks
from test_layers import HEAVY

BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
DOIT_SETUP = {
    "bash": [f"source {BASH_COMPLETION}", "source <(doit tabcompletion)"],
    "zsh": ["autoload -Uz compinit; compinit -u", "source <(doit tabcompletion --shell zsh); compdef _doit doit"],
}
OURS_SETUP = {
    "bash": ["source <(_DOIT_TFLM_COMPLETE=source_bash doit-tflm)"],
    "zsh": ["autoload -Uz compinit; compinit -u", "source <(_DOIT_TFLM_COMPLETE=source_zsh doit-tflm)"],
    "fish": ["_DOIT_TFLM_COMPLETE=source_fish doit-tflm | source"],
}


@pytest.fixture
def models(make_project: Callable[..., Project]) -> Project:
    """Return a project with three models, none built."""
    return make_project("my project", models=("kws", "kws_small", "vww"))


def needs(shell: str, *, doit: bool = False) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    if doit and shell == "bash" and not BASH_COMPLETION.exists():
        pytest.skip("doit's script needs the package bash-completion")


def environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOIT", "_TYPER", "XDG"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "HOME": str(home), "ZDOTDIR": str(home), "TERM": "dumb", "SHELL": "/bin/sh"}


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, command: list[str], where: Path, home: Path) -> None:
        self._out = b""
        self._process, self._terminal = pty.fork()
        if self._process == 0:  # pragma: no cover - the shell
            os.chdir(where)
            os.execvpe(command[0], command, environment(home))

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """Return the pattern's first group, once the shell has printed it at the beginning of a line."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._out.decode(errors="replace"))
            if found := re.search(rf"[\r\n]{pattern}\s*[\r\n]", plain):
                return found[1]
            if select.select([self._terminal], [], [], 0.1)[0]:
                self._out += os.read(self._terminal, 65536)
        raise AssertionError(f"{pattern} is not in {self._out.decode()}")

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._process, 0)


def press_tab(command: list[str], setup: list[str], line: str, where: Path, home: Path, keys: str = "\t") -> str:
    """Return what a line has become after a Tab at its end."""
    shell = Terminal(command, where, home)
    try:
        for one in [*setup, "echo re''ady"]:
            shell.type(f"{one}\n")
        shell.wait_for("(ready)")
        # To the front of the line: it is printed, not run.
        shell.type(f"{line}{keys}\x01echo @@@\n")
        return shell.wait_for("@@@(.*?)")
    finally:
        shell.close()


# doit tabcompletion.


def reply(project: Project, *words: str) -> list[str]:
    """Return what bash is offered for the last word, cut at colons as bash cuts them."""
    line = " ".join(words).replace(" : ", ":").replace(" :", ":")
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""
        {"; ".join(DOIT_SETUP["bash"])}
        COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}
        _doit
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project.root,
        env=environment(project.root),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def test_bash_offers_commands_and_tasks_then_the_tasks_of_one_model(models: Project) -> None:
    needs("bash", doit=True)
    offered = reply(models, "doit", "")
    assert {"quantize", "train", "evaluate", "why", "clean"} <= set(offered)
    assert not [name for name in offered if name.startswith("_") or ":" in name]
    assert reply(models, "doit", "quan") == ["quantize"]
    # What stands before the colon is not part of the word for bash.
    assert reply(models, "doit", "quantize", ":") == ["kws", "kws_small", "vww"]
    assert reply(models, "doit", "quantize", ":", "k") == ["kws", "kws_small"]
    assert reply(models, "doit", "info", "calibrate", ":", "v") == ["vww"]


def test_bash_offers_models_to_why_and_tasks_to_the_others(models: Project) -> None:
    needs("bash", doit=True)
    assert reply(models, "doit", "why", "") == ["kws", "kws_small", "vww"]
    assert reply(models, "doit", "why", "v") == ["vww"]
    assert reply(models, "doit", "clean", "sam") == ["sample"]


@pytest.mark.parametrize("shell", DOIT_SETUP)
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("doit quant", "doit quantize"),
        ("doit quantize:v", "doit quantize:vww"),
        ("doit evaluate:kws_", "doit evaluate:kws_small"),
        ("doit info calibrate:v", "doit info calibrate:vww"),
        ("doit quantize:vww train:v", "doit quantize:vww train:vww"),
        ("doit why v", "doit why vww"),
    ],
)
def test_tab_completes_what_is_typed_to_doit(
    models: Project, tmp_path: Path, shell: str, line: str, completed: str
) -> None:
    needs(shell, doit=True)
    assert press_tab(SHELLS[shell], DOIT_SETUP[shell], line, models.root, tmp_path) == completed


@pytest.mark.parametrize("shell", DOIT_SETUP)
def test_outside_of_a_project_doit_completes_its_commands_and_no_message_disturbs(
    tmp_path: Path, shell: str
) -> None:
    needs(shell, doit=True)
    assert press_tab(SHELLS[shell], DOIT_SETUP[shell], "doit tabc", tmp_path, tmp_path) == "doit tabcompletion"


def test_the_script_with_the_tasks_in_it_asks_for_those_of_one_model_all_the_same(
    models: Project, tmp_path: Path
) -> None:
    needs("zsh")
    load = "source <(doit tabcompletion --shell zsh --hardcode-tasks); compdef _doit doit"
    setup = [DOIT_SETUP["zsh"][0], load]
    assert press_tab(SHELLS["zsh"], setup, "doit train:v", models.root, tmp_path) == "doit train:vww"


def test_another_script_of_doits_is_told() -> None:
    with pytest.raises(ValueError, match="another script"):
        cmd_tabcompletion.with_subtasks("#compdef doit\n")


def test_listing_tasks_waits_for_no_build_and_leaves_nothing(models: Project) -> None:
    before = set(models.files())
    run = models.doit("list", "--quiet", "--all", "quantize")
    assert [line.strip() for line in run.out.splitlines()] == [
        "quantize",
        *(f"quantize:{name}" for name in ("kws", "kws_small", "vww")),
    ]
    assert set(models.files()) == before
    models.path("build").mkdir()
    lock = BuildLock(models.path("build/.doit-tflm.journal.lock"))
    lock.acquire()
    try:
        assert models.doit("list", "--quiet", "--all", "quantize", timeout_s=60).out == run.out
    finally:
        lock.release()


# doit-tflm.


def offered(where: Path, *words: str) -> list[str]:
    """Return what doit-tflm offers for the last word, in any shell."""
    variables = {
        "_DOIT_TFLM_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(["doit-tflm", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "doit_tflm"],
        cwd=where,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_models_and_stages_are_offered(models: Project) -> None:
    assert {"init", "quantize", "summarize", "export"} <= set(offered(models.root, ""))
    for command in ("quantize", "summarize", "train", "update-params"):
        assert offered(models.root, command, "") == ["kws", "kws_small", "vww"]
    assert offered(models.root, "quantize", "kws_") == ["kws_small"]
    assert offered(models.root, "stage", "cal") == ["calibrate"]
    assert offered(models.root, "stage", "calibrate", "v") == ["vww"]
    assert offered(models.path("models"), "quantize", "v") == ["vww"]


def test_a_model_is_offered_once(models: Project) -> None:
    assert offered(models.root, "export", "--into", "x", "kws", "") == ["kws_small", "vww"]
    assert offered(models.root, "vendor", "x", "vww", "kws", "") == ["kws_small"]


def test_the_models_of_a_named_project_are_offered(models: Project, tmp_path: Path) -> None:
    assert offered(tmp_path, "depfile", "--project", shlex.quote(models.root.name), "v") == ["vww"]
    assert offered(tmp_path, "depfile", "--project", "nowhere", "v") == []


def test_nothing_is_offered_and_nothing_said_where_the_settings_are_wrong(models: Project) -> None:
    models.write("pyproject.toml", "[tool.doit-tflm]\nmodel_dir = 1\n")
    assert offered(models.root, "quantize", "") == []


@pytest.mark.parametrize("shell", OURS_SETUP)
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("doit-tflm summ", "doit-tflm summarize"),
        ("doit-tflm quantize v", "doit-tflm quantize vww"),
        ("doit-tflm stage calibrate v", "doit-tflm stage calibrate vww"),
        # No model's name: a file's.
        ("doit-tflm summarize stand", "doit-tflm summarize standin.py"),
    ],
)
def test_tab_completes_what_is_typed_to_doit_tflm(
    models: Project, tmp_path: Path, shell: str, line: str, completed: str
) -> None:
    needs(shell)
    assert press_tab(SHELLS[shell], OURS_SETUP[shell], line, models.root, tmp_path) == completed


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_guide_has_installed_works_in_the_next_shell(models: Project, tmp_path: Path, shell: str) -> None:
    needs(shell, doit=True)
    if shell == "bash":
        # As Debian's .bashrc for new users does.
        (tmp_path / ".bashrc").write_text(f"source {BASH_COMPLETION}\n")
    first = Terminal(SHELLS[shell], models.root, tmp_path)
    try:
        first.type("".join(f"{line}\n" for line in blocks("docs/new-project.md", shell)[0].splitlines()))
        first.type("echo do''ne\n")
        first.wait_for("(done)")
    finally:
        first.close()
    again = [shell, "-i"]
    tabs = "\t\t" if shell == "zsh" else "\t"
    assert press_tab(again, [], "doit-tflm quantize v", models.root, tmp_path, tabs) == "doit-tflm quantize vww"
    if shell in DOIT_SETUP:
        assert press_tab(again, [], "doit quantize:v", models.root, tmp_path) == "doit quantize:vww"


def test_show_completion_prints_the_script_of_the_shell_that_asks(tmp_path: Path) -> None:
    needs("bash")
    done = subprocess.run(
        ["bash", "-c", "doit-tflm --show-completion; true"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "complete -o default -F _doit_tflm_completion doit-tflm" in done.stdout


def test_completing_loads_nothing_heavy(models: Project) -> None:
    code = (
        "import sys, runpy\n"
        "try: runpy.run_module('doit_tflm', run_name='__main__')\n"
        "except SystemExit: print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    variables = {
        "_DOIT_TFLM_COMPLETE": "complete_bash",
        "COMP_WORDS": "doit-tflm\nquantize\nv",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=models.root,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    names = done.stdout.split()
    assert names[0] == "vww"
    assert "typer" in names
    assert not (set(HEAVY) - {"typer", "rich"}) & set(names)
