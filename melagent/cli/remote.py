"""From a synchronous command to some asynchronous work with the API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from melagent.cli.options import settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from melagent.cli.client import Api

T = TypeVar("T")


def call(server: str | None, api_key: str | None, work: Callable[[Api], Awaitable[T]]) -> T:
    """Do some work with the API that the flags, the environment or `cli.json` name."""
    from melagent.cli import credentials
    from melagent.cli.client import connect

    found = credentials.resolve(settings_of({"client.server_url": server, "client.api_key": api_key}))

    async def connected() -> T:
        async with connect(found) as api:
            return await work(api)

    return asyncio.run(connected())
