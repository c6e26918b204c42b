"""``doit tabcompletion``: doit's own script, which completes the models too, and with zsh the tasks of one model.

doit's script for bash asks for the tasks of one model, ``quantize:sine``, when it comes to the colon; that for zsh
does not.
"""

from __future__ import annotations

import io
from typing import Any

from doit import cmd_completion

__all__ = ["TabCompletion", "with_subtasks"]

_MODELS = r"""$($pt_bin_name list --quiet --all quantize 2>/dev/null | sed -n 's/^quantize:\([^ ]*\).*/\1/p')"""
"""Prints the models of the project, a line each."""

_ZSH_BEFORE = "    # complete command or task name\n"
"""The line of doit's script that follows on the list of tasks."""

_ZSH_SUBTASKS = r"""    local base=${${words[CURRENT]//\\/}%%%%:*}
    local -a models
    if [[ ${words[2]} == why ]]; then
        models=(${(f)"%(models)s"})
    elif [[ ${words[CURRENT]} == *:* ]]; then
        # the tasks of one model; in `name:description`, a colon of the name is written \:
        tasks=(${(f)"$(%(name)s list --all --template $'{name}\t{doc}' $base 2>/dev/null)"})
        tasks=("${(@)tasks//:/\\:}")
        tasks=("${(@)tasks/$'\t'/:}")
    fi

"""


class TabCompletion(cmd_completion.TabCompletion):  # type: ignore[misc]  # doit has no types
    """The command; doit finds it by its entry point, and takes it instead of its own."""

    outstream: Any

    def _generate_zsh(self, opt_values: dict[str, Any], pos_args: list[str]) -> None:
        stream, self.outstream = self.outstream, io.StringIO()
        try:
            super()._generate_zsh(opt_values, pos_args)
            script = self.outstream.getvalue()
        finally:
            self.outstream = stream
        stream.write(with_subtasks(script))

    @classmethod
    def _zsh_arg_list(cls, cmd: Any) -> list[str]:
        """Return the arguments of a command for zsh."""
        lines: list[str] = super()._zsh_arg_list(cmd)
        return [*lines, "'*::model:(($models))'"] if _takes_models(cmd) else lines

    @classmethod
    def _bash_cmd_args(cls, cmd: Any) -> str:
        """Return the case of a command for bash."""
        if not _takes_models(cmd):
            return str(super()._bash_cmd_args(cmd))
        return str(cmd_completion.bash_subcmd_arg.format(cmd_name=cmd.name, completion=f'-W "{_MODELS}"'))


def with_subtasks(script: str) -> str:
    """Return doit's script for zsh, completed by the tasks behind a colon and the models.

    Parameters
    ----------
    script : str
        The script as doit 0.37 writes it.

    Raises
    ------
    ValueError
        If it is of another shape.
    """
    first, found, rest = script.partition(_ZSH_BEFORE)
    if not found:
        raise ValueError("doit writes another script for zsh than version 0.37")
    name = script.splitlines()[0].removeprefix("#compdef ")
    added = _ZSH_SUBTASKS % {"name": name, "models": _MODELS.replace("$pt_bin_name", name)}
    # Where there is no dodo.py, its message would land in the line that is being typed.
    return first.replace("'{name}: {doc}')", "'{name}: {doc}' 2>/dev/null)") + added + found + rest


def _takes_models(cmd: Any) -> bool:
    return "MODEL" in cmd.doc_usage
