"""`server config`: the settings as they resolve here."""

from __future__ import annotations

from typing import Annotated

import typer

from melagent.cli.options import AsJson, Config, DatabaseUrl, DataDir, settings_of
from melagent.cli.show import show_json, show_table


def config(
    *,
    show_origin: Annotated[bool, typer.Option("--show-origin", help="Say where each value comes from")] = False,
    as_json: AsJson = False,
    config: Config = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Print the resolved settings, secrets masked."""
    from melagent.settings import shown

    columns = ["setting", "value", *(["origin"] if show_origin else [])]
    lines = [
        {column: getattr(line, column) for column in columns}
        for line in shown(settings_of({"data_dir": data_dir, "database.url": database_url}, config))
    ]
    if as_json:
        show_json(lines)
    else:
        show_table(columns, lines)
