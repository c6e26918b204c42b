"""The command ``init``: a new project, with a small model that can be trained at once."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from doit_tflm.config import Config
from doit_tflm.errors import UserError

__all__ = ["Plan", "init", "next_command", "plan_project", "write_new"]

SHARED = ("pyproject.toml", ".gitignore")
"""Files that a project may have already: they are left as they are, and the user is told what to add."""

CMAKE_COMMANDS = (
    'cmake -S firmware -B firmware/build -Ddoit_tflm_DIR="$(doit-tflm cmake-dir)" && cmake --build firmware/build'
)


@dataclass(frozen=True)
class Plan:
    """What a new project consists of.

    Attributes
    ----------
    files : dict of str to str
        The texts of the files, by their paths relative to the project.
    reserved : tuple of str
        Paths that must not be there: what the build would replace.
    """

    files: dict[str, str]
    reserved: tuple[str, ...]


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to; made if it is not there.", show_default=False)
    ] = Path(),
    name: Annotated[str, typer.Option("--name", metavar="MODEL", help="What the model is called.")] = "hello",
    cmake: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--cmake", help="Also a firmware/ that CMake builds with the model in it.")
    ] = False,
) -> None:
    """Begin a project: dodo.py, pyproject.toml, .gitignore and a small model, ready to be trained.

    Nothing is overwritten.
    """
    from doit_tflm.config import read_config

    _check_name(name)
    plan = plan_project(name, read_config(directory), cmake=cmake)
    kept = [path for path in SHARED if (directory / path).is_file()]
    new = {path: text for path, text in plan.files.items() if path not in kept}
    _check_free(directory, [*new, *plan.reserved])
    said = [f"wrote {directory / path}" for path in new]
    said += [line for path in kept for line in _say_kept(directory / path, plan.files[path])]
    write_new(directory, new)
    typer.echo("\n".join([*said, "", "Next:", ""]))
    typer.echo(f"    {next_command(directory, name)}")
    if cmake:
        typer.echo(f"\nAnd then:\n\n    {CMAKE_COMMANDS}")


def plan_project(name: str, config: Config, *, cmake: bool) -> Plan:
    """Return the files of a new project.

    Parameters
    ----------
    name : str
        The model's name, a C identifier.
    config : Config
        The settings of the pyproject.toml that is there; the defaults if there is none.
    cmake : bool
        Whether the project gets a firmware.
    """
    model = f"{config.models_dir}/{name}"
    files = {
        "dodo.py": _render("dodo.py"),
        "pyproject.toml": _render("pyproject.toml"),
        ".gitignore": _render("gitignore", lines=_ignored(config, cmake=cmake)),
        f"{model}.py": _render("model.py", name=name),
    }
    if cmake:
        from doit_tflm.c_text import file_stem, macro_prefix

        files["firmware/CMakeLists.txt"] = _render("CMakeLists.txt", name=name)
        files["firmware/main.c"] = _render("main.c", name=name, stem=file_stem(name), prefix=macro_prefix(name))
    return Plan(files, (f"{model}.mltk.zip",))


def write_new(directory: Path, files: dict[str, str]) -> None:
    """Write files that are not there, all of them or none.

    Parameters
    ----------
    directory : Path
        Where to; it and what else is missing is made.
    files : dict of str to str
        Texts by path, relative to the directory.

    Raises
    ------
    UserError
        If one cannot be written; what was made before it is removed again.
    """
    made: list[Path] = []
    try:
        for name, text in files.items():
            path = directory / name
            for parent in _missing(path.parent):
                parent.mkdir()
                made.append(parent)
            with path.open("x", encoding="utf-8") as stream:
                made.append(path)
                stream.write(text)
    except BaseException as error:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            fix = "nothing was written; choose another directory, or make room there"
            where = str(error.filename or directory)
            raise UserError(f"cannot be written: {error.strerror}", where, fix) from None
        raise


def next_command(directory: Path, name: str) -> str:
    """Return what trains the model, for a POSIX shell in the current directory."""
    train = f"doit train:{name}"
    if directory.resolve() == Path.cwd():
        return train
    target = str(directory)
    return f"cd {shlex.quote(f'./{target}' if target.startswith('-') else target)} && {train}"


def _check_name(name: str) -> None:
    """Raise an error for a name that a file, a task of doit and C could not share."""
    from doit_tflm.c_text import c_identifier, is_identifier

    if not is_identifier(name):
        what = f"{name!r} is no name for a model in files, tasks and C; use letters, digits and single underscores"
        raise UserError(what, "--name", f"for instance {c_identifier(name)}")


def _check_free(directory: Path, paths: list[str]) -> None:
    """Raise an error that names all the files that are in the way."""
    taken = [path for path in paths if os.path.lexists(directory / path)]
    if taken:
        what = f"{', '.join(taken)} {'is' if len(taken) == 1 else 'are'} there already; nothing was written"
        raise UserError(what, str(directory), "choose another directory, or another --name for the model")


def _ignored(config: Config, *, cmake: bool) -> list[str]:
    """Return the lines of a .gitignore for what is made in the project."""
    made = [config.build_dir, config.header_dir, *(["firmware/build"] if cmake else [])]
    return [*(f"/{path}/" for path in made if not os.path.isabs(path)), "__pycache__/"]


def _say_kept(path: Path, text: str) -> list[str]:
    """Say that a file is left as it is, and what to add to it."""
    there = {line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()}
    lines = [] if "[tool.doit-tflm]" in there else [line for line in text.splitlines() if line not in there]
    add = ["; add to it:", "", *(f"    {line}" for line in lines), ""] if lines else [""]
    return [f"left {path} as it is{add[0]}", *add[1:]]


def _missing(directory: Path) -> list[Path]:
    """Return the directories that are not there, outermost first."""
    return [path for path in reversed([directory, *directory.parents]) if not os.path.lexists(path)]


def _render(template: str, **values: object) -> str:
    from doit_tflm.c_text import environment

    return environment().get_template(f"init/{template}.j2").render(values)
