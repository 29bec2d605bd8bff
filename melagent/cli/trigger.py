"""`server trigger`: what starts runs by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from melagent.cli.options import ApiKey, AsJson, Limit, ServerUrl, json_argument
from melagent.cli.remote import call
from melagent.cli.show import show_json, show_table

if TYPE_CHECKING:
    from melagent.cli.client import Api

app = typer.Typer(help="Triggers: list, fire, pause, resume.", no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="The trigger")]
COLUMNS = ("id", "type", "name", "enabled", "next_fire_at", "last_fired_at", "workflow_id", "node_id")


@app.command("list")
def list_triggers(
    *,
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only those of this workflow")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """List triggers, newest first."""

    async def work(api: Api) -> list[dict[str, Any]]:
        workflow_id = await api.workflow_id(workflow) if workflow else None
        return await api.page("/api/triggers", "triggers", limit, workflow_id=workflow_id)

    found = call(server, api_key, work)
    show_json(found) if as_json else show_table(COLUMNS, found)


@app.command()
def fire(
    id: Id,
    *,
    given: Annotated[str, typer.Option("--input", metavar="JSON|@FILE", help="The input of the run")] = "null",
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Start now what a trigger starts, also when it is paused; print the id of the run."""
    body = {"input": json_argument(given, "--input")}
    run = call(server, api_key, lambda api: api.post_once(f"/api/triggers/{_part(id)}/fire", body))
    show_json(run) if as_json else typer.echo(run["id"])


@app.command()
def pause(id: Id, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Let a trigger start nothing until it is resumed."""
    _enable(id, server, api_key, enabled=False, as_json=as_json)


@app.command()
def resume(id: Id, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Let a paused trigger go on; a schedule with its next moment, not with those that have passed."""
    _enable(id, server, api_key, enabled=True, as_json=as_json)


def _enable(id: str, server: str | None, api_key: str | None, *, enabled: bool, as_json: bool) -> None:
    body = {"enabled": enabled}
    changed = call(server, api_key, lambda api: api.put(f"/api/triggers/{_part(id)}", body))
    show_json(changed) if as_json else show_table(COLUMNS, [changed])


def _part(id: str) -> str:
    """The id as a part of a path, whatever somebody has typed."""
    from urllib.parse import quote

    return quote(id, safe="")
