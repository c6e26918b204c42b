"""The commands that take one model: `quantize`, `summarize` and `update-params`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doit_tflm.completion import complete_models

if TYPE_CHECKING:
    from doit_tflm.order import Quantized
    from doit_tflm.summary import Summary

__all__ = ["quantize", "summarize", "update_params"]


def quantize(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's name, specification script or archive; NAME-test for a dry run's.",
            autocompletion=complete_models,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file or directory for the .tflite, and nothing else."
        ),
    ] = "",
    build: Annotated[  # noqa: FBT002 - an option
        bool,
        typer.Option("--build", "-b", help="Build the model instead of loading weights: to see its structure."),
    ] = False,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            "-w",
            metavar="VALUE",
            help="Other weights: a path, a file name among the archive's train/weights, or `best` of these.",
        ),
    ] = "",
    samples: Annotated[
        str, typer.Option(metavar="FILE", help="A .npz of representative samples instead of the specification's.")
    ] = "",
    update_archive: Annotated[
        bool | None,
        typer.Option("--update-archive/--no-update-archive", help="Whether the .tflite goes into the archive."),
    ] = None,
    verbose: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--verbose", "-v", help="Show what TensorFlow printed as well.")
    ] = False,
) -> None:
    r"""Bring a model's .tflite, archive and C sources up to date, and show what it holds.

    The same build as `doit quantize:NAME`: nothing runs where nothing changed. With --build or --weights, the
    model is built once beside that, and the archive is left alone unless --update-archive says otherwise.

    \b
    Examples:
      doit-tflm quantize sine
      doit-tflm quantize sine --output .
      doit-tflm quantize audio_example1.mltk.zip -o audio.tflite
      doit-tflm quantize models/sine.py --build
      doit-tflm quantize sine --weights best --update-archive
    """
    from doit_tflm import order

    began_ns = time.time_ns()
    done = order.quantize(order.Order(model, output, weights, build, update_archive, samples=samples), sys.stdout)
    if verbose:
        _show_logs(done.logs, began_ns)
    if done.code:
        raise typer.Exit(done.code)
    typer.echo()
    _show(_summary_of(done))
    if output:
        typer.echo(f"\n{done.path}")


def summarize(
    model: Annotated[
        str, typer.Argument(help="A .tflite file, an archive, or a model's name.", autocompletion=complete_models)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002 - an option
    measure: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--measure/--no-measure", help="Measure the tensor arena with TFLM.")
    ] = True,
) -> None:
    """Show what a model holds and needs: layers, MACs, sizes, arena, quantization, parameters.

    The model may be anybody's .tflite.
    """
    import json

    from doit_tflm.api_made import summarize_model
    from doit_tflm.summary import to_json

    found = summarize_model(model, measure=measure)
    if as_json:
        typer.echo(json.dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        _show(found)


def update_params(
    model: Annotated[
        str,
        typer.Argument(
            help="A .tflite file, whoever made it, an archive, or a model's name.", autocompletion=complete_models
        ),
    ],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY[:TYPE]=VALUE]...", help="Parameters to add or replace.")
    ] = None,
    params: Annotated[
        Path | None, typer.Option("--params", "-p", metavar="FILE", help="A JSON file with more of them.")
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", "-d", metavar="TEXT", help="A new description.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file or directory for the .tflite, and nothing else."
        ),
    ] = None,
) -> None:
    r"""Change the parameters in a model's metadata; its weights and layers keep their bytes.

    A model of the project is brought up to date first, with the parameters of its specification. What is given
    here goes into the archive until the next build: write it into the specification to keep it.

    Types are bool, int8 ... uint64, float, double, str, str_list, int32_list, float_list and bin.

    \b
    Examples:
      doit-tflm update-params model.tflite volume=10 threshold:double=0.25 'labels=["no", "yes"]'
      doit-tflm update-params sine --params my_params.json --output .
    """
    from doit_tflm.api_made import update_model_parameters
    from doit_tflm.key_values import from_arguments, from_file

    given = {**(from_file(params) if params else {}), **from_arguments(parameters or [])}
    typer.echo(update_model_parameters(model, given, description, output))


def _show(found: Summary) -> None:
    from rich.console import Console

    from doit_tflm.summary import print_summary

    print_summary(Console(), found)


def _summary_of(done: Quantized) -> Summary:
    """Return the summary of what was built, without measuring again what the build has measured."""
    if done.directory is not None:
        from doit_tflm.deliver import summary_of_build

        return summary_of_build(str(done.directory), done.directory.name)
    from doit_tflm.api_made import summarize_model

    return summarize_model(done.path)


def _show_logs(logs: Iterable[Path], since_ns: int) -> None:
    """Print the logs that were written since."""
    for log in logs:
        if log.is_file() and log.stat().st_mtime_ns >= since_ns:
            typer.echo(f"--- {log}")
            typer.echo(log.read_text(errors="replace").rstrip())
