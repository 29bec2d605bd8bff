"""`server variable`: the values that workflows share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from melagent.cli.options import ApiKey, AsJson, Limit, ServerUrl, json_argument
from melagent.cli.remote import call
from melagent.cli.show import show_json, show_progress, show_table

if TYPE_CHECKING:
    from melagent.cli.client import Api

app = typer.Typer(help="Variables: list, get, set, delete.", no_args_is_help=True, rich_markup_mode=None)

Key = Annotated[str, typer.Argument(help="The variable")]
OfWorkflow = Annotated[str | None, typer.Option("--workflow", help="Name or id of its workflow; global without")]
COLUMNS = ("scope", "key", "revision", "updated_at", "value")
VALUE_WIDTH = 60


@app.command("list")
def list_variables(
    *,
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only those of this workflow")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """List variables by scope and key."""

    async def work(api: Api) -> list[dict[str, Any]]:
        scope = await api.workflow_id(workflow) if workflow else None
        return await api.page("/api/variables", "variables", limit, scope=scope)

    found = call(server, api_key, work)
    show_json(found) if as_json else show_table(COLUMNS, [{**each, "value": _short(each["value"])} for each in found])


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 1] + "…"


@app.command()
def get(
    key: Key,
    *,
    workflow: OfWorkflow = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Print the value of a variable; with --json all there is to say about it."""

    async def work(api: Api) -> dict[str, Any]:
        found: dict[str, Any] = await api.get(await _path(api, workflow, key))
        return found

    found = call(server, api_key, work)
    show_json(found if as_json else found["value"])


@app.command("set")
def set_variable(
    key: Key,
    value: Annotated[str, typer.Argument(metavar="JSON|@FILE", help="Its value: a text is written '\"text\"'")],
    *,
    workflow: OfWorkflow = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Set a variable, whether it is there or not."""
    body = {"value": json_argument(value, "VALUE")}

    async def work(api: Api) -> dict[str, Any]:
        made: dict[str, Any] = await api.put(await _path(api, workflow, key), body)
        return made

    made = call(server, api_key, work)
    show_json(made) if as_json else typer.echo(f"{made['scope']} {made['key']} revision {made['revision']}")


@app.command()
def delete(
    key: Key,
    *,
    workflow: OfWorkflow = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Delete a variable."""

    async def work(api: Api) -> None:
        await api.delete(await _path(api, workflow, key))

    call(server, api_key, work)
    show_json({"deleted": key}) if as_json else show_progress(f"deleted {key}")


async def _path(api: Api, workflow: str | None, key: str) -> str:
    scope = await api.workflow_id(workflow) if workflow else "global"
    return f"/api/variables/{scope}/{quote(key, safe='')}"
