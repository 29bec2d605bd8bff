"""`server run`: look at runs, follow them, cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from melagent.cli.options import ApiKey, AsJson, Limit, ServerUrl
from melagent.cli.remote import call
from melagent.cli.show import show_fields, show_json, show_table

if TYPE_CHECKING:
    from melagent.cli.client import Api

app = typer.Typer(help="Runs: list, show, watch, cancel.", no_args_is_help=True, rich_markup_mode=None)

RunId = Annotated[str, typer.Argument(help="Id of the run")]
RUN_COLUMNS = ("id", "status", "workflow_id", "version", "created_at", "finished_at")
RUN_FIELDS = ("id", "status", "workflow_id", "version", "created_at", "started_at", "finished_at", "waiting_for",
              "input", "output", "error")  # fmt: skip  # a list of names, not one a line
STEP_COLUMNS = ("step_key", "node_type", "status", "attempt", "started_at", "finished_at")


@app.command("list")
def list_runs(
    *,
    workflow: Annotated[str | None, typer.Option("--workflow", help="Name or id of the workflow")] = None,
    status: Annotated[str | None, typer.Option("--status", help="pending, sleeping, waiting, completed …")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """List runs, newest first."""

    async def work(api: Api) -> list[dict[str, Any]]:
        workflow_id = await api.workflow_id(workflow) if workflow else None
        return await api.page("/api/workflow-runs", "runs", limit, workflow_id=workflow_id, status=status)

    runs = call(server, api_key, work)
    show_json(runs) if as_json else show_table(RUN_COLUMNS, runs)


@app.command()
def show(run_id: RunId, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Show a run and its steps."""

    async def work(api: Api) -> dict[str, Any]:
        run = await api.get(f"/api/workflow-runs/{run_id}")
        return {**run, "steps": await api.page(f"/api/workflow-runs/{run_id}/steps", "steps", limit=100_000)}

    run = call(server, api_key, work)
    if as_json:
        show_json(run)
        return
    show_fields({**run, "waiting_for": _waiting_for(run)}, RUN_FIELDS)
    if run["steps"]:
        typer.echo()
        show_table(STEP_COLUMNS, run["steps"])


def _waiting_for(run: dict[str, Any]) -> Any:
    """What it waits for, in words where there are some."""
    waiting_for = run["waiting_for"]
    return waiting_for.get("message", waiting_for) if waiting_for else None


@app.command()
def watch(run_id: RunId, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Follow a run live until it ends, then print its output; with --json the whole run."""
    from melagent.cli.follow import follow

    run = call(server, api_key, lambda api: follow(api, run_id))
    show_json(run if as_json else run["output"])


@app.command()
def cancel(run_id: RunId, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """End a run, whatever it is doing."""
    run = call(server, api_key, lambda api: api.post(f"/api/workflow-runs/{run_id}/cancel"))
    show_json(run) if as_json else typer.echo(f"{run['id']} {run['status']}")
