"""From a synchronous command to some work straight in the database."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from melagent.cli.options import settings_of
from melagent.cli.show import show_progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from melagent.settings import Settings
    from melagent.store.pool import Connection

T = TypeVar("T")


def in_database(
    url: str | None, data_dir: Path | None, config: Path | None, work: Callable[[Connection], Awaitable[T]]
) -> T:
    """Do some work on one connection. Raises Unavailable when the database cannot be reached or has no schema."""
    from melagent.store.pool import single_connection

    settings = settings_of({"database.url": url, "data_dir": data_dir}, config)

    async def connected(dsn: str) -> T:
        async with single_connection(dsn) as conn:
            return await work(conn)

    with _database(settings) as dsn:
        return asyncio.run(connected(dsn))


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The database that was named, else that of `server server` on this machine, whether it runs or not."""
    from melagent import embedded
    from melagent.cli.options import migration_url

    folder = settings.data_dir / "postgres"
    if settings.database.url is None and (folder / "data").exists():
        postgres = embedded.start(folder, on_progress=show_progress)
        try:
            yield postgres.dsn
        finally:
            postgres.stop()
    else:
        yield migration_url(settings)
