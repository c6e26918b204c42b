"""The commands for other build systems: `export`, `depfile`, `vendor` and `cmake-dir`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doit_tflm.completion import complete_models
from doit_tflm.errors import UserError

if TYPE_CHECKING:
    from doit_tflm.export import Built

__all__ = ["cmake_dir", "depfile", "export", "vendor"]

CMAKE_DIR = Path(__file__).parent / "cmake"

_Models = Annotated[
    list[str] | None,
    typer.Argument(help="The models' names; all of the project when left out.", autocompletion=complete_models),
]
_Project = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="The project with the models; the one around here if left out."),
]


def export(
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="Where the C sources go.")],
    models: _Models = None,
    project: _Project = None,
    stamp: Annotated[Path | None, typer.Option(metavar="FILE", help="Written last; lists the sources.")] = None,
    deps: Annotated[
        Path | None,
        typer.Option("--depfile", metavar="FILE", help="What the sources depend on, as a Makefile rule."),
    ] = None,
    target: Annotated[str, typer.Option(help="The rule's target; the stamp when left out.")] = "",
    expect: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A source that must be among them.")
    ] = None,
) -> None:
    r"""Build models, and copy their C sources to a directory of another build system.

    Files that did not change are left alone. For Make, for example:

    \b
        build/models.stamp:
                doit-tflm export --into build/models --stamp $@ --depfile build/models.d sine kws
        -include build/models.d
    """
    from doit_tflm.export import put_sources, render_depfile, write_stamp
    from doit_tflm.files import write_if_changed

    if deps and not (stamp or target):
        raise UserError("--depfile needs a target", fix="give --stamp FILE, or --target NAME")
    found = _build(models, project)
    missing = [name for name in expect or [] if name not in found.sources]
    if missing:
        raise UserError(
            f"the models' sources are {', '.join(sorted(found.sources))}, but {', '.join(missing)} is expected",
            fix="correct what is asked for (FORM, GOLDEN), or header.form and golden_vectors of the models",
        )
    put_sources(found.sources, into)
    if deps:
        write_if_changed(deps, render_depfile(target or str(stamp), found.dependencies).encode())
    if stamp:
        write_stamp(stamp, found)


def depfile(
    target: Annotated[str, typer.Option(help="The file that depends on them.")],
    models: _Models = None,
    project: _Project = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; the terminal if left out.")
    ] = None,
) -> None:
    """Write what the C sources of models depend on, as the last build found it, as a Makefile rule.

    After `doit quantize`, for build systems that run that themselves.
    """
    from doit_tflm.config import read_config
    from doit_tflm.export import built, render_depfile
    from doit_tflm.files import write_if_changed
    from doit_tflm.project import inside, model_names

    root = _root(project)
    names = model_names(root, models or [])
    with inside(root):
        text = render_depfile(target, built(read_config(), names).dependencies)
    if output:
        write_if_changed(output, text.encode())
    else:
        sys.stdout.write(text)


def vendor(
    directory: Annotated[Path, typer.Argument(help="Where to; it is to be committed.")],
    models: _Models = None,
    project: _Project = None,
    check: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--check", help="Change nothing; fail if a file is not current.")
    ] = False,
) -> None:
    """Copy the C sources of models, and what CMake needs, for machines without Python.

    There, `include(DIRECTORY/doit_tflm.cmake)` takes the place of find_package(doit_tflm), and the rest of a
    CMakeLists.txt is the same.
    """
    from doit_tflm.export import put_sources, stale_sources
    from doit_tflm.facets import canonical_json

    found = _build(models, project)
    facts = {"doit-tflm": _own_version(), "sources": sorted(found.sources)}
    found.sources["vendored.json"] = canonical_json(facts)
    found.sources["doit_tflm.cmake"] = (CMAKE_DIR / "doit_tflm.cmake").read_bytes()
    if check:
        stale = stale_sources(found.sources, directory)
        if stale:
            raise UserError(
                f"{', '.join(stale)} {'is' if len(stale) == 1 else 'are'} not what the models give",
                str(directory),
                "run `doit-tflm vendor` and commit what it writes",
            )
        typer.echo(f"{directory} is current")
        return
    changed = put_sources(found.sources, directory)
    for name in changed:
        typer.echo(f"{directory / name}{'' if (directory / name).exists() else ' (removed)'}")
    if not changed:
        typer.echo(f"{directory} is current")


def cmake_dir() -> None:
    """Print the directory of the CMake module, for -Ddoit_tflm_DIR or CMAKE_MODULE_PATH."""
    typer.echo(CMAKE_DIR)


def _root(project: Path | None) -> Path:
    from doit_tflm.project import find_project

    if project is not None and not project.is_dir():
        raise UserError("there is no such directory", str(project), "give the project's")
    return project.absolute() if project else find_project(Path.cwd())


def _build(models: list[str] | None, project: Path | None) -> Built:
    """Build models; the lines of the stages go to stdout."""
    from doit_tflm.export import build_sources
    from doit_tflm.project import model_names

    root = _root(project)
    found, code = build_sources(root, model_names(root, models or []), sys.stdout)
    if code:
        raise typer.Exit(code)
    return found


def _own_version() -> str:
    from doit_tflm._version import __version__

    return __version__
