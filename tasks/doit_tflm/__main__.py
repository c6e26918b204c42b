"""The command line: ``doit-tflm``, or ``python -m doit_tflm``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doit_tflm import cli_firmware, cli_init, cli_model, cli_train
from doit_tflm._version import __version__
from doit_tflm.completion import complete_models, complete_stages
from doit_tflm.errors import UserError

if TYPE_CHECKING:
    from doit_tflm.actions import Stage

__all__ = ["main"]

app = typer.Typer(
    name="doit-tflm",
    help="From a Keras model to int8 TensorFlow Lite Micro C arrays. Most work is done by `doit quantize`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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
def stage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STAGE", help="As `doit list` names it, e.g. calibrate.", autocompletion=complete_stages
        ),
    ],
    model: Annotated[str, typer.Argument(help="A model's name.", autocompletion=complete_models)],
) -> None:
    """Run one stage by hand, without doit: its output comes to the terminal, and nothing is recorded.

    For looking for a fault, in a debugger for instance.
    """
    from doit_tflm.config import read_config
    from doit_tflm.plan import stages
    from doit_tflm.project import find_project, inside, model_names

    root = find_project(Path.cwd())
    (model,) = model_names(root, [model])
    with inside(root):
        config = read_config()
        result = _locked(name, stages(config.spec_of(model), config), config.journal)
    for note in result["notes"]:
        typer.echo(f"warning: {note}", err=True)
    for line in [*result.get("says", ()), *result["outputs"]]:
        typer.echo(line)


def _locked(name: str, stages: Iterable[Stage], journal: str) -> dict[str, Any]:
    """Run a stage while no build does."""
    from doit_tflm.lock import BuildLock

    found = {one.task.partition(":")[0]: one for one in stages}
    if name not in found:
        raise UserError(f"there is no stage {name!r}", fix=f"use {', '.join(found)}")
    lock = BuildLock(Path(f"{journal}.lock"))
    lock.acquire()
    try:
        return _by_hand(found[name])
    finally:
        lock.release()


app.command()(cli_model.quantize)
app.command()(cli_model.summarize)
app.command()(cli_model.update_params)
app.command("update_params", hidden=True)(cli_model.update_params)  # MLTK's spelling
app.command()(cli_init.init)
for command in (cli_firmware.export, cli_firmware.depfile, cli_firmware.vendor, cli_firmware.cmake_dir):
    app.command()(command)

app.command()(cli_train.train)


def _by_hand(found: Stage) -> dict[str, Any]:
    """Call a stage's function in this process."""
    from doit_tflm.observe import input_file

    module, function = found.call.split(":")
    try:
        result: dict[str, Any] = getattr(importlib.import_module(module), function)(**found.arguments)
    except FileNotFoundError as error:
        raise UserError("is missing", input_file(str(error.filename)), "run the stages before this one") from None
    return result


def main() -> None:
    """Run the command line; a mistake of the user's is a message and exit code 1."""
    try:
        app(prog_name="doit-tflm")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
