"""The command line: ``doit-tflm``, or ``python -m doit_tflm``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from doit_tflm._version import __version__
from doit_tflm.errors import UserError

__all__ = ["main"]

app = typer.Typer(
    name="doit-tflm",
    help="From a Keras model to int8 TensorFlow Lite Micro C arrays. Most work is done by `doit quantize`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

STAGES = ("evaluate", "sample", "calibrate", "convert", "embed", "archive", "header")

Model = Annotated[str, typer.Argument(help="A model's name, specification script or archive.")]


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's callback
    if asked:
        typer.echo(f"doit-tflm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command()
def quantize(model: Model) -> None:
    """Bring a model's .tflite, archive and C sources up to date.

    The same build as `doit quantize:NAME`, also where there is no dodo.py.
    """
    from doit_tflm.api import build

    _, code = build(model, sys.stdout)
    raise typer.Exit(code)


@app.command()
def stage(
    name: Annotated[str, typer.Argument(metavar="STAGE", help=f"One of {', '.join(STAGES)}.")],
    model: Annotated[str, typer.Argument(help="A model's name.")],
) -> None:
    """Run one stage by hand, without doit: its output comes to the terminal, and nothing is recorded.

    For looking for a fault, in a debugger for instance.
    """
    from doit_tflm.config import read_config
    from doit_tflm.lock import BuildLock
    from doit_tflm.stages import by_hand

    if name not in STAGES:
        raise UserError(f"there is no stage {name!r}", fix=f"use {', '.join(STAGES)}")
    config = read_config()
    lock = BuildLock(Path(f"{config.journal}.lock"))
    lock.acquire()
    result = by_hand(
        name,
        script=f"{config.models_dir}/{model}.py",
        directory=f"{config.build_dir}/{model}",
        model=model,
        archive_path=f"{config.models_dir}/{model}.mltk.zip",
        header_dir=config.header_dir,
        converter=config.converter,
    )
    lock.release()
    for note in result["notes"]:
        typer.echo(f"warning: {note}", err=True)
    for path in result["outputs"]:
        typer.echo(path)


def main() -> None:
    """Run the command line; a mistake of the user's is a message and exit code 1."""
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
