"""`server status`: instances, workers, the queue and the schedules, once or live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from melagent.cli.options import ApiKey, AsJson, ServerUrl
from melagent.cli.remote import call
from melagent.cli.show import show_json, show_progress, show_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from melagent.cli.client import Api

WATCH_SECONDS = 2.0
CLEAR = "\x1b[H\x1b[2J"
INSTANCE_COLUMNS = ("instance", "role", "status", "version", "host", "pid", "streams", "callers", "connections")
WORKER_COLUMNS = ("worker", "status", "busy", "labels", "version", "instance", "last_contact")


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds")] = False,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Show instances, workers, what waits for them, and when the next schedule is due."""
    show = show_json if as_json else _show_anew if watch else _show
    if watch:
        call(server, api_key, lambda api: _watch(api, show))
    else:
        show(call(server, api_key, lambda api: api.get("/api/cluster")))


async def _watch(api: Api, show: Callable[[Mapping[str, Any]], None]) -> None:
    """Until it is broken off. An instance that goes away is no reason to stop: another one answers next time."""
    from melagent.errors import Unavailable

    while True:
        try:
            show(await api.get("/api/cluster"))
        except Unavailable as error:
            show_progress(f"{error.message} Trying again.")
        await asyncio.sleep(WATCH_SECONDS)


def _show_anew(cluster: Mapping[str, Any]) -> None:
    """In place of what was shown before."""
    typer.echo(CLEAR, nl=False)
    _show(cluster)


def _show(cluster: Mapping[str, Any]) -> None:
    show_table(INSTANCE_COLUMNS, [_instance(instance) for instance in cluster["instances"]])
    typer.echo()
    show_table(WORKER_COLUMNS, [_worker(worker) for worker in cluster["workers"]])
    typer.echo()
    queue = cluster["queue"]
    typer.echo(f"queue: {queue['depth']} waiting, the oldest for {queue['oldest_age_seconds']:.1f} s")
    for required, line in queue["by_label"].items():
        if required:
            typer.echo(f"  {required}: {line['depth']} waiting, the oldest for {line['oldest_age_seconds']:.1f} s")
    typer.echo(_schedules(cluster["schedules"]))


def _schedules(schedules: Mapping[str, Any]) -> str:
    if not schedules["active"]:
        return "schedules: none"
    text = f"schedules: {schedules['active']}, the next at {schedules['next_fire_at']}"
    return f"{text}; {schedules['due']} due for up to {schedules['lag_seconds']:.1f} s" if schedules["due"] else text


def _instance(instance: Mapping[str, Any]) -> dict[str, Any]:
    load = instance["load"]
    return {
        **instance,
        "instance": instance["id"],
        "status": _status(instance),
        "streams": load.get("streams"),
        "callers": load.get("callers"),
        "connections": load.get("connections"),
    }


def _worker(worker: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **worker,
        "worker": worker["id"],
        "status": _status(worker),
        "busy": f"{worker['busy']}/{worker['concurrency']}",
        "labels": ",".join(worker["labels"]) or None,
        "last_contact": worker["last_contact_at"],
    }


def _status(listed: Mapping[str, Any]) -> str:
    """One that fell silent while it drained is silent."""
    return "draining" if listed["draining"] and listed["status"] == "active" else str(listed["status"])
