"""`server server`, `server api-server`, `server realtime`, and the server inside `workflow run --local`.

Settings, then logging, then a database, then its schema, then the server, and the same way back: the first SIGTERM or
SIGINT drains, the second ends the process at once.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from melagent.cli.options import Config, DatabaseUrl, DataDir, Host, LogFormat, LogLevel, Port, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from melagent.cli.client import Api
    from melagent.cli.compose import Role, Server
    from melagent.settings import Settings

T = TypeVar("T")

DEFAULTS: dict[Role, dict[str, Any]] = {
    "server": {"server.host": "127.0.0.1", "database.auto_migrate": True},
    "api-server": {"server.host": "0.0.0.0"},  # noqa: S104  # the contract: it stands behind a load balancer
    "realtime": {"server.host": "0.0.0.0", "server.port": 8090},  # noqa: S104  # as api-server
}
LOCAL_DEFAULTS = {**DEFAULTS["server"], "log.level": "error"}


def server(
    *,
    port: Port = None,
    host: Host = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: Config = None,
) -> None:
    """Run everything in one process; without a database it brings its own PostgreSQL."""
    _serve("server", _flags(port, host, database_url, data_dir, log_level, log_format), config)


def api_server(
    *,
    port: Port = None,
    host: Host = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: Config = None,
) -> None:
    """Run the API and the maintenance loops, without workers."""
    _serve("api-server", _flags(port, host, database_url, data_dir, log_level, log_format), config)


def realtime(
    *,
    port: Port = None,
    host: Host = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: Config = None,
) -> None:
    """Run live editing alone, for deployments that scale sockets apart from the API."""
    _serve("realtime", _flags(port, host, database_url, data_dir, log_level, log_format), config)


def with_local_server(work: Callable[[Api], Awaitable[T]]) -> T:
    """Do some work with a server of our own that ends with it."""
    import uvloop

    from melagent import log
    from melagent.cli import credentials
    from melagent.cli.client import connect
    from melagent.cli.compose import open_server

    settings = _with_key(settings_of({"server.port": 0}, defaults=LOCAL_DEFAULTS), credentials.new_key())
    log.configure(settings.log.level, settings.log.format)

    async def locally() -> T:
        async with _database(settings, "server") as dsn:
            running = await open_server(settings, dsn, "server")
            try:
                key = settings.security.bootstrap_api_key
                async with connect(credentials.Credentials(running.url, key)) as api:
                    return await work(api)
            finally:
                await running.drain()

    return uvloop.run(locally())


def _flags(  # noqa: PLR0917  # in the order of the options above
    port: int | None,
    host: str | None,
    database_url: str | None,
    data_dir: Path | None,
    log_level: str | None,
    log_format: str | None,
) -> dict[str, Any]:
    return {
        "server.port": port,
        "server.host": host,
        "database.url": database_url,
        "data_dir": data_dir,
        "log.level": log_level,
        "log.format": log_format,
    }


def _serve(role: Role, flags: dict[str, Any], config: Path | None) -> None:
    import uvloop

    from melagent import log

    settings = settings_of(flags, config, DEFAULTS[role])
    log.configure(settings.log.level, settings.log.format)
    if role == "server":
        settings = _with_key(settings, _key_of_this_user(settings))
    uvloop.run(_run(settings, role))


async def _run(settings: Settings, role: Role) -> None:
    from melagent.cli import credentials
    from melagent.cli.compose import open_server
    from melagent.cli.signals import on_signal
    from melagent.errors import Conflict

    told_to_stop = on_signal()
    async with _database(settings, role) as dsn:
        try:
            running = await open_server(settings, dsn, role)
        except OSError as error:
            address = f"{settings.server.host}:{settings.server.port}"
            raise Conflict(f"Cannot listen on {address}: {error.strerror}. Choose another with --port.") from error
        if role == "server":
            key = settings.security.bootstrap_api_key
            credentials.write(settings.data_dir, credentials.Credentials(running.url, key))
            await _show_setup_link(running, settings.server.public_url or running.url)
        await told_to_stop.wait()
        await running.drain()


async def _show_setup_link(running: Server, url: str) -> None:
    """Say on standard output, and in no log, how to make the first administrator, as long as there is none.

    The token stands behind the `#`, so the browser sends it to no server and no proxy with the address.
    """
    import typer

    from melagent.services import first_run

    if token := await first_run.link_token(running.services.pool):
        typer.echo(f"Make the first administrator: {url}/setup#{token}")


@asynccontextmanager
async def _database(settings: Settings, role: Role) -> AsyncIterator[str]:
    """The URL of a database that is there and, if so set, migrated: the one given, or one of our own meanwhile."""
    import structlog

    from melagent import embedded, migrate
    from melagent.cli.options import database_url, migration_url

    logger = structlog.get_logger()
    postgres = None
    if settings.database.url is None and role == "server":
        postgres = await asyncio.to_thread(embedded.start, settings.data_dir / "postgres", on_progress=logger.info)
    try:
        if settings.database.auto_migrate:
            await asyncio.to_thread(migrate.up, postgres.dsn if postgres else migration_url(settings), logger.info)
        yield postgres.dsn if postgres else database_url(settings)
    finally:
        if postgres:
            await asyncio.to_thread(postgres.stop)


def _key_of_this_user(settings: Settings) -> str:
    """The API key for `cli.json`: the one in the settings, else the one that is there already, else a new one."""
    from melagent.cli import credentials

    stored = credentials.read(settings.data_dir)
    ours = stored is not None and urlsplit(stored.server_url).hostname in ("127.0.0.1", "localhost", "::1")
    return settings.security.bootstrap_api_key or (stored.api_key if stored and ours else None) or credentials.new_key()


def _with_key(settings: Settings, key: str) -> Settings:
    security = settings.security.model_copy(update={"bootstrap_api_key": key})
    return settings.model_copy(update={"security": security})
