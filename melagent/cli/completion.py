"""`server completion`: the script that a shell loads to complete our commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that will load the script")]) -> None:
    """Print the completion script of a shell, for example: source <(server completion bash)"""
    typer.echo(get_completion_script(prog_name="server", complete_var="_SERVER_COMPLETE", shell=shell.value))
