"""`server worker`: runs workflows for a server that it reaches over HTTP; needs nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from melagent.cli.options import Config, LogFormat, LogLevel, settings_of

if TYPE_CHECKING:
    from melagent.settings import Settings


def worker(
    *,
    token: Annotated[str | None, typer.Option("-t", "--token", help="Worker token; better in MEL_WORKER_TOKEN")] = None,
    server: Annotated[
        str | None, typer.Option("-s", "--server", help="Any API instance, or the load balancer; also MEL_SERVER_URL")
    ] = None,
    id: Annotated[str | None, typer.Option("--id", help="Name that stays the same over restarts")] = None,
    concurrency: Annotated[
        int | None, typer.Option("-c", "--concurrency", help="Runs at the same time, 5 by default")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="key=value; runs that require it come only to such workers")
    ] = None,
    health_port: Annotated[
        int | None, typer.Option("--health-port", help="Serve /health, /ready and /metrics here")
    ] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: Config = None,
) -> None:
    """Run a worker. It takes runs from the server, executes them, and gives them back when it is told to stop."""
    import uvloop

    from melagent import log

    flags = {
        "worker.token": token,
        "worker.server": server,
        "worker.id": id,
        "worker.concurrency": concurrency,
        "worker.labels": label or None,
        "worker.health_port": health_port,
        "log.level": log_level,
        "log.format": log_format,
    }
    settings = settings_of(flags, config)
    given = _token(settings)
    log.configure(settings.log.level, settings.log.format)
    uvloop.run(_run(settings, given))


def _token(settings: Settings) -> str:
    from melagent.errors import Problem
    from melagent.settings import SettingsError

    if settings.worker.token is None:
        hint = "expected a worker token, by MEL_WORKER_TOKEN or --token; `server token create --kind worker` makes one"
        raise SettingsError(details=[Problem("worker.token", f"default: {hint}")])
    return settings.worker.token


async def _run(settings: Settings, token: str) -> None:
    """Work until told to stop, which drains, or until the server refuses the worker, which is raised."""
    from melagent.cli.signals import on_signal

    working = asyncio.create_task(_work(settings, token))
    stopping = asyncio.create_task(on_signal().wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _work(settings: Settings, token: str) -> None:
    from melagent.cli.compose_worker import remote_worker

    async with remote_worker(settings, token) as connection:
        raise await asyncio.shield(connection.dismissed)
