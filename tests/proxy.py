"""A relay between a program and a server that can lose an answer, cut its lines, fall silent, and be away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IDLE = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery outside a transaction: what was asked before it is committed."""


class Proxy:
    """`url` leads through the relay. While `away` it accepts connections and drops them at once.

    While `silent` it swallows what the server says on lines that are open, and keeps them open.
    """

    def __init__(self, target: dict[str, str]) -> None:
        self.url = ""
        self.port = 0
        self.away = False
        self.silent = False
        self.lost = 0
        self._target = target
        self._lose: bytes | None = None
        self._lines: set[asyncio.StreamWriter] = set()

    def lose_answer(self, tag: str) -> None:
        """Cut the line instead of passing on the next answer with this command tag, once it is committed."""
        self._lose = tag.encode() + b"\x00"

    def cut(self) -> None:
        """Cut all lines."""
        for line in self._lines:
            line.transport.abort()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.away:
            writer.transport.abort()
            return
        try:
            there_reader, there = await self._connect()
        except OSError:  # as if the server itself had refused
            writer.transport.abort()
            return
        self._lines |= {writer, there}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, there))
                group.create_task(self._answer(there_reader, writer))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._lines -= {writer, there}
            writer.transport.abort()
            there.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target.get("host", "localhost"), self._target.get("port", "5432")
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._lose is not None and self._lose in data:
                while not data.endswith(IDLE):
                    data = await reader.read(65536)
                self._lose = None
                self.lost += 1
                break
            if self.silent:
                continue
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@asynccontextmanager
async def proxy_to(database_url: str) -> AsyncIterator[Proxy]:
    """A relay to a PostgreSQL server."""
    target = {name: str(value) for name, value in conninfo_to_dict(database_url).items()}
    async with relay_to(target) as proxy:
        login = target.get("user", "postgres") + (f":{target['password']}" if "password" in target else "")
        proxy.url = f"postgresql://{login}@127.0.0.1:{proxy.port}/{target['dbname']}?sslmode=disable"
        yield proxy


@asynccontextmanager
async def relay_to(target: dict[str, str]) -> AsyncIterator[Proxy]:
    """A relay to the `host` and `port` of a target; a host that begins with a slash is a folder of sockets."""
    proxy = Proxy(target)
    relays: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.relay(reader, writer))
        relays.add(task)
        task.add_done_callback(relays.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        if relays:
            await asyncio.wait(relays, timeout=5)
