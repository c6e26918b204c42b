"""What the shell is offered for an argument of the command line: models and stages of the project around here."""

from __future__ import annotations

from pathlib import Path

import typer

from doit_tflm.errors import UserError

__all__ = ["complete_models", "complete_stages"]


def complete_models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the models that a word may become: of the project named by ``--project``, or of the one around here.

    Parameters
    ----------
    ctx : typer.Context
        The command, with what is on its line already.
    incomplete : str
        What is typed of the word.
    """
    from doit_tflm.project import find_project, model_names

    named = ctx.params.get("project")
    try:
        names = model_names(Path(named) if named else find_project(Path.cwd()))
    except UserError:
        # A message would land in the middle of the line that is being typed; the command will say it.
        return []
    given = ctx.params.get("models") or ()
    return [name for name in names if name.startswith(incomplete) and name not in given]


def complete_stages(incomplete: str) -> list[str]:
    """Return the stages that a word may become."""
    from doit_tflm.plan import stage_names

    return [name for name in stage_names() if name.startswith(incomplete)]
