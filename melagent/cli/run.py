"""`server run`: look at runs, follow them, steer them, run them again, delete old ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from melagent.cli.options import ApiKey, AsJson, Limit, ServerUrl, json_argument, seconds_of
from melagent.cli.remote import call
from melagent.cli.show import show_fields, show_json, show_progress, show_table

if TYPE_CHECKING:
    from melagent.cli.client import Api

app = typer.Typer(
    help="Runs: list, show, watch, cancel, pause, resume, signal, retry, replay, purge.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RunId = Annotated[str, typer.Argument(help="Id of the run")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the new run and print its output")]
RUN_COLUMNS = ("id", "status", "workflow_id", "version", "created_at", "finished_at")
RUN_FIELDS = ("id", "status", "workflow_id", "version", "created_at", "started_at", "finished_at", "parent_run_id",
              "retry_of", "waiting_for", "input", "output", "error")  # fmt: skip  # a list of names, not one a line
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
    _act("cancel", run_id, as_json=as_json, server=server, api_key=api_key)


@app.command()
def pause(run_id: RunId, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Start no further step of a run until it is resumed."""
    _act("pause", run_id, as_json=as_json, server=server, api_key=api_key)


@app.command()
def resume(run_id: RunId, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Let a paused run go on."""
    _act("resume", run_id, as_json=as_json, server=server, api_key=api_key)


def _act(action: str, run_id: str, *, as_json: bool, server: str | None, api_key: str | None) -> None:
    run = call(server, api_key, lambda api: api.post(f"/api/workflow-runs/{run_id}/{action}"))
    show_json(run) if as_json else typer.echo(f"{run['id']} {run['status']}")


@app.command()
def signal(
    run_id: RunId,
    name: Annotated[str, typer.Argument(help="The signal: what the run waits for, the wait's step key by default")],
    value: Annotated[str, typer.Argument(metavar="JSON|@FILE", help="What is sent with it")] = "null",
    *,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Send a signal to a run. It wakes the run that waits for it, and is kept for one that does not yet."""
    given = json_argument(value, "VALUE")
    path = f"/api/workflow-runs/{run_id}/signals/{quote(name, safe='')}"
    sent = call(server, api_key, lambda api: api.post_once(path, given))
    show_json(sent) if as_json else typer.echo(f"sent {name} to {run_id}")


@app.command()
def retry(
    run_id: RunId, *, wait: Wait = False, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None
) -> None:
    """Run what failed of a run again, in a new run that takes over what had completed."""
    _again("retry", run_id, {}, wait=wait, as_json=as_json, server=server, api_key=api_key)


@app.command()
def replay(
    run_id: RunId,
    *,
    from_step: Annotated[str | None, typer.Option("--from", help="Node to run from; the beginning without")] = None,
    input: Annotated[str | None, typer.Option("--input", metavar="JSON|@FILE", help="Give it this instead")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Run under this version: a number, or current")
    ] = None,
    wait: Wait = False,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Run a step of a run and all behind it again, in a new run that takes over what came before."""
    body: dict[str, Any] = {} if input is None else {"input": json_argument(input, "--input")}
    if from_step is not None:
        body["from_step"] = from_step
    if version is not None:
        body["version"] = int(version) if version.isdigit() else version
    _again("replay", run_id, body, wait=wait, as_json=as_json, server=server, api_key=api_key)


def _again(
    action: str,
    run_id: str,
    body: dict[str, Any],
    *,
    wait: bool,
    as_json: bool,
    server: str | None,
    api_key: str | None,
) -> None:
    from melagent.cli.follow import follow

    async def work(api: Api) -> dict[str, Any]:
        made: dict[str, Any] = await api.post_once(f"/api/workflow-runs/{run_id}/{action}", body)
        if not wait:
            return made
        show_progress(f"run {made['id']}")
        return await follow(api, made["id"])

    run = call(server, api_key, work)
    if as_json:
        show_json(run)
    elif wait:
        show_json(run["output"])
    else:
        typer.echo(f"{run['id']} {run['status']}")


class FinalStatus(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@app.command()
def purge(
    *,
    older_than: Annotated[str, typer.Option("--older-than", help="How long ago they ended, for example 30d or 12h")],
    status: Annotated[FinalStatus | None, typer.Option("--status", help="Only those that ended so")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only those of this workflow: name or id")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Delete runs that have ended. Those that go on stay; it may be stopped and called again at any time."""
    before = _ago(older_than)
    body: dict[str, Any] = {"before": before, "status": status}

    async def work(api: Api) -> int:
        if workflow:
            body["workflow_id"] = await api.workflow_id(workflow)
        if dry_run or not yes:
            count = await _purge(api, {**body, "dry_run": True}, "runs found")
            if dry_run or not count:
                return count
            typer.confirm(f"Delete {count:,} runs that ended before {before}, for good?", abort=True, err=True)
        return await _purge(api, body, "runs deleted")

    count = call(server, api_key, work)
    if as_json:
        show_json({"count": count, "before": before, "dry_run": dry_run})
    else:
        typer.echo(f"{count:,} runs {'would be deleted' if dry_run else 'deleted'}")


async def _purge(api: Api, body: dict[str, Any], what: str) -> int:
    """Call the server until all is done, and tell how far it is."""
    count: int = 0
    cursor = None
    while True:
        answer = await api.post("/api/workflow-runs/purge", {**body, "cursor": cursor} if cursor else body)
        count += answer["count"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return count
        show_progress(f"{count:,} {what} so far")


def _ago(text: str) -> str:
    from melagent.errors import BadRequest

    try:
        return (datetime.now(UTC) - timedelta(seconds=seconds_of(text, "--older-than"))).isoformat()
    except OverflowError:
        raise BadRequest("--older-than leads to before the year 1.") from None
