"""`server migrate`: bring the database's schema up to date, back, or say how it stands."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from melagent.cli.options import AsJson, Config, DatabaseUrl, migration_url, settings_of
from melagent.cli.show import show_json, show_progress, show_table

if TYPE_CHECKING:
    from melagent.migrate import Planned, Status


class Action(StrEnum):
    UP = "up"
    DOWN = "down"
    STATUS = "status"
    PLAN = "plan"


def migrate(
    action: Annotated[Action, typer.Argument(help="up: apply what is pending; down: take back the last")] = Action.UP,
    *,
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many to take back")] = 1,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until the database can be reached; with status: until it is up to date"),
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most")] = 300,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Apply migrations; safe to run from any number of places at once."""
    from melagent import migrate as migrations

    dsn = migration_url(settings_of({"database.url": database_url}, config))
    if wait:
        migrations.wait(dsn, timeout, "current" if action is Action.STATUS else "reachable")
    if action is Action.UP:
        _show_changed("applied", migrations.up(dsn, show_progress), as_json=as_json)
    elif action is Action.DOWN:
        _show_changed("rolled_back", migrations.down(dsn, steps, show_progress), as_json=as_json)
    elif action is Action.STATUS:
        _show_status(migrations.status(dsn), as_json=as_json)
    else:
        _show_plan(migrations.plan(dsn), as_json=as_json)


def _show_changed(what: str, ids: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        show_json({what: ids})
    elif not ids:
        typer.echo("nothing to do")
    for id in () if as_json else ids:
        typer.echo(f"{what.replace('_', ' ')} {id}")


def _show_status(status: Status, *, as_json: bool) -> None:
    if as_json:
        show_json({"applied": status.applied, "pending": status.pending, "newer": status.newer})
        return
    groups = {"applied": status.applied, "pending": status.pending, "newer than this program": status.newer}
    show_table(
        ("migration", "status"), [{"migration": id, "status": name} for name, ids in groups.items() for id in ids]
    )


def _show_plan(plan: list[Planned], *, as_json: bool) -> None:
    if as_json:
        show_json([{"id": planned.id, "sql": planned.sql} for planned in plan])
        return
    for planned in plan:
        typer.echo(f"-- {planned.id}\n{planned.sql}")
