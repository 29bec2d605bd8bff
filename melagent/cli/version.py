"""`server version`."""

from __future__ import annotations

import typer

from melagent.cli.options import AsJson
from melagent.cli.show import show_json


def version(*, as_json: AsJson = False) -> None:
    """Print the version of this program."""
    from melagent import __version__

    if as_json:
        show_json({"version": __version__})
    else:
        typer.echo(__version__)
