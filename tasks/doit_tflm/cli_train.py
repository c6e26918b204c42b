"""The command `train`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from doit_tflm.completion import complete_models

__all__ = ["train"]


def train(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's name, specification script or archive; NAME-test for a dry run.",
            autocompletion=complete_models,
        ),
    ],
    epochs: Annotated[
        int | None, typer.Option(help="How many, instead of the specification's; -1 until early stopping.")
    ] = None,
    resume: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--resume", help="Go on from the last epoch that was finished.")
    ] = False,
    clean: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--clean", help="First remove what earlier trainings left in the build directory.")
    ] = False,
    verbose: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--verbose", "-v", help="Show what Keras prints.")
    ] = False,
) -> None:
    """Train a model, put the result into its archive, and quantize it.

    NAME-test trains on three batches, into NAME-test.mltk.zip, to see that everything works.
    """
    from doit_tflm.train import Asked
    from doit_tflm.training import run_training

    _, _, code = run_training(model, Asked(epochs, resume, clean), sys.stdout, verbose=verbose)
    raise typer.Exit(code)
