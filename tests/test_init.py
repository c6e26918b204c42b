"""`doit-tflm init`: the project that it begins, what it leaves alone, and what it leaves behind when it fails."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import DODO, Project, Run
from doit_tflm import cli_init
from doit_tflm.c_text import is_identifier
from doit_tflm.config import Config, read_config
from doit_tflm.errors import UserError
from doit_tflm.script import loaded
from test_docs import blocks

ROOT = Path(__file__).parent.parent
FRESH = [".gitignore", "dodo.py", "models/hello.py", "pyproject.toml"]


def init(where: Path, *arguments: str) -> Run:
    command = [sys.executable, "-m", "doit_tflm", "init", *arguments]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    return Run(done.returncode, done.stdout, done.stderr)


def next_command(run: Run) -> str:
    return run.out.partition("\nNext:\n\n    ")[2].splitlines()[0]


# The project.


def test_a_new_project_has_its_four_files_and_says_so(tmp_path: Path) -> None:
    run = init(tmp_path, "demo")
    assert (run.code, run.err) == (0, "")
    project = Project(tmp_path / "demo")
    assert sorted(project.files()) == FRESH
    assert project.path("dodo.py").read_text() == DODO
    assert project.path(".gitignore").read_text() == "/build/\n/firmware/generated/\n__pycache__/\n"
    assert [line for line in run.out.splitlines() if line.startswith("wrote ")] == [
        f"wrote demo/{name}" for name in ("dodo.py", "pyproject.toml", ".gitignore", "models/hello.py")
    ]


def test_its_settings_are_the_defaults(tmp_path: Path) -> None:
    init(tmp_path)
    assert "[tool.doit-tflm]" in (tmp_path / "pyproject.toml").read_text()
    assert read_config(tmp_path) == Config()


def test_its_model_is_a_specification_that_lint_has_nothing_against(tmp_path: Path) -> None:
    init(tmp_path, "--name", "waves")
    path = tmp_path / "models/waves.py"
    with loaded(str(path)) as script:
        script.spec.tflite_converter.check()
        assert (script.spec.name, script.spec.classes) == ("waves", ["sine", "square", "triangle"])
    assert "doit train:waves" in path.read_text()
    if shutil.which("ruff") is None:
        pytest.skip("ruff is not installed")
    for options in (["check", "--select", "E,F,B,N,UP"], ["format", "--check"]):
        command = ["ruff", *options, "--isolated", "--line-length", "115", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_doit_finds_the_model_and_says_that_it_must_be_trained(tmp_path: Path) -> None:
    init(tmp_path)
    run = Project(tmp_path).doit("quantize:hello")
    assert run.code != 0
    assert "no trained weights of hello; train it: doit train:hello" in run.out


@pytest.mark.parametrize(
    ("directory", "command"),
    [
        ("", "doit train:hello"),
        (".", "doit train:hello"),
        ("new", "cd new && doit train:hello"),
        ("a/b", "cd a/b && doit train:hello"),
        ("my $project's", None),
        ("-dash", "cd ./-dash && doit train:hello"),
        ("~tilde", "cd '~tilde' && doit train:hello"),
    ],
)
def test_the_next_command_is_one_for_a_shell_in_this_directory(
    tmp_path: Path, directory: str, command: str | None
) -> None:
    run = init(tmp_path, "--", *([directory] if directory else []))
    assert run.code == 0, run.err
    if command is not None:
        assert next_command(run) == command
    change = next_command(run).removesuffix("doit train:hello") + "pwd"
    where = subprocess.run(["sh", "-c", change], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert where == f"{tmp_path / directory}\n"
    assert (tmp_path / directory / "dodo.py").is_file()


@given(st.text(st.characters(blacklist_characters="\0/\r\n", codec="utf-8"), min_size=1))
def test_the_next_command_quotes_any_directory(name: str) -> None:
    command = cli_init.next_command(Path(name), "hello")
    words = shlex.split(command)
    if Path(name) == Path():
        assert words == ["doit", "train:hello"]
    else:
        assert [words[0], *words[2:]] == ["cd", "&&", "doit", "train:hello"]
        assert Path(words[1]) == Path(name)
        assert not words[1].startswith("-")


def test_with_cmake_it_has_a_firmware_and_says_how_to_build_it(tmp_path: Path) -> None:
    run = init(tmp_path, "--cmake", "--name", "waves")
    project = Project(tmp_path)
    assert {"firmware/CMakeLists.txt", "firmware/main.c"} <= set(project.files())
    assert "MODELS waves" in project.path("firmware/CMakeLists.txt").read_text()
    assert '#include "waves_model_data.h"' in project.path("firmware/main.c").read_text()
    assert "/firmware/build/\n" in project.path(".gitignore").read_text()
    assert run.out.endswith(f"\nNext:\n\n    doit train:waves\n\nAnd then:\n\n    {cli_init.CMAKE_COMMANDS}\n")


# What is there already.


def test_files_in_the_way_are_all_named_and_nothing_is_written(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("dodo.py", "mine")
    project.write("models/hello.mltk.zip", "weights")
    project.write("firmware/main.c", "mine")
    before = project.files()
    run = init(tmp_path, ".", "--cmake")
    assert (run.code, run.out) == (1, "")
    assert "dodo.py, firmware/main.c, models/hello.mltk.zip are there already; nothing was written" in run.err
    assert project.files() == before
    project.path("firmware/main.c").unlink()
    assert init(tmp_path).err.startswith("error: .: dodo.py, models/hello.mltk.zip are there")


def test_a_second_time_is_refused(tmp_path: Path) -> None:
    init(tmp_path)
    before = Project(tmp_path).files()
    run = init(tmp_path, "--name", "other")
    assert (run.code, run.err.count("\n")) == (1, 1)
    assert "dodo.py is there already" in run.err
    assert Project(tmp_path).files() == before


@pytest.mark.parametrize("name", ["dodo.py", ".gitignore"])
def test_a_link_that_leads_nowhere_is_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    run = init(tmp_path)
    assert run.code == 1
    assert f"{name} is there already" in run.err
    assert os.listdir(tmp_path) == [name]


def test_pyproject_and_gitignore_are_kept_and_what_to_add_is_said(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("pyproject.toml", '[project]\nname = "app"\n')
    project.write(".gitignore", "*.o\n/build/")
    run = init(tmp_path)
    assert run.code == 0, run.err
    assert project.path("pyproject.toml").read_text() == '[project]\nname = "app"\n'
    assert project.path(".gitignore").read_text() == "*.o\n/build/"
    assert "left pyproject.toml as it is; add to it:\n\n    # Where" in run.out
    assert '\n    [tool.doit-tflm]\n    models_dir = "models"\n' in run.out
    assert "left .gitignore as it is; add to it:\n\n    /firmware/generated/\n    __pycache__/\n" in run.out


def test_the_settings_that_are_there_are_followed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("pyproject.toml", '[tool.doit-tflm]\nmodels_dir = "ml/specs"\nbuild_dir = "out"\n')
    run = init(tmp_path)
    assert "left pyproject.toml as it is\n" in run.out
    assert sorted(project.files()) == [".gitignore", "dodo.py", "ml/specs/hello.py", "pyproject.toml"]
    assert "/out/\n" in project.path(".gitignore").read_text()
    assert "train:hello" in project.doit("list", "--all").out


def test_settings_that_are_wrong_are_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.doit-tflm]\nmodel_dir = "x"\n')
    run = init(tmp_path)
    assert run.code == 1
    assert "did you mean 'models_dir'?" in run.err
    assert os.listdir(tmp_path) == ["pyproject.toml"]


# Failures.


@pytest.mark.parametrize("name", ["", "2x", "_a", "kws-v2", "a b", "../x", "a__b", "main", "größe", "x.py"])
def test_a_name_that_c_could_not_have_is_told_with_one_that_it_could(tmp_path: Path, name: str) -> None:
    run = init(tmp_path, "--name", name)
    assert (run.code, run.out) == (1, "")
    assert f"{name!r} is no name for a model" in run.err
    assert is_identifier(run.err.split("for instance ")[1].strip())
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in ("file", "file/below"):
        run = init(tmp_path, directory)
        assert run.code == 1
        assert "Not a directory; nothing was written" in run.err
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("there", [(), ("project",), ("project", "project/models")])
def test_a_failure_half_way_leaves_nothing(tmp_path: Path, there: tuple[str, ...]) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    # The last file's directory would have the name of a file.
    files = {"dodo.py": "", "models/hello.py": "", "dodo.py/main.c": ""}
    with pytest.raises(UserError, match="nothing was written"):
        cli_init.write_new(tmp_path / "project", files)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == list(there)


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("theirs")
    with pytest.raises(UserError, match="File exists"):
        cli_init.write_new(tmp_path, {"a": "", "b": "ours"})
    assert Project(tmp_path).files() == {"b": b"theirs"}


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    class Interrupting(dict[str, str]):
        def items(self):  # type: ignore[no-untyped-def]
            yield "models/a", ""
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cli_init.write_new(tmp_path / "new", Interrupting())
    assert os.listdir(tmp_path) == []


# From the wheel.


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with our wheel; what it depends on is this environment's."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install -e '.[dev]'")
    root = tmp_path_factory.mktemp("installed")
    wheel = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", root, ROOT]
    subprocess.run([sys.executable, "-m", "pip", *wheel], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    python = root / "venv/bin/python"
    install = ["install", "--quiet", "--no-deps", *root.glob("*.whl")]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    lenders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    Path(packages, "lender.pth").write_text("\n".join(f"import site; site.addsitedir({one!r})" for one in lenders))
    return root / "venv"


def run_in(venv: Path, where: Path, command: str) -> Run:
    path = f"{venv}/bin:{os.environ['PATH']}"
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "DOIT", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=where,
        env={**kept, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_commands_of_the_guide_work_with_the_installed_package(installed: Path, tmp_path: Path) -> None:
    where = tmp_path / "with space"
    where.mkdir()
    # Where the package comes from, if an editable installation is lent as well.
    found = run_in(installed, where, "python -c 'import doit_tflm; print(doit_tflm.__file__)'")
    assert found.out.startswith(f"{installed}/"), found.out + found.err
    begin, firmware = blocks("docs/new-project.md", "sh")
    done = run_in(installed, where, f"set -e\n{begin}")
    assert done.code == 0, done.out + done.err
    assert f"\n    cd my_app && {begin.splitlines()[2]}\n" in done.out
    stages = ["spec", "sample", "calibrate", "quantize", "verify", "embed", "archive", "header", "train"]
    assert done.stages == stages
    assert done.out.endswith("\n1 model is up to date\n")
    project = where / "my_app"
    edit = 'sed -i \'s/input_type"] = "int8"/input_type"] = "float32"/\' models/hello.py && doit quantize'
    edited = run_in(installed, project, edit)
    assert "hello: quantize   (inference_input_type: int8 → float32)" in edited.out
    assert "calibrate" not in edited.out
    if all(shutil.which(tool) for tool in ("cmake", "make", "cc")):
        built = run_in(installed, project, f"set -e\n{firmware}")
        assert built.code == 0, built.out + built.err
        assert built.out.splitlines()[-1].startswith("hello 1: ")
        assert built.out.endswith("classes: sine square triangle\n")
