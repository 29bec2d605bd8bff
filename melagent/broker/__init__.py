"""Hints between instances: at most once, unordered between topics, never the truth.

Whoever acts on a hint reads PostgreSQL first, and polls it in any case; losing every hint makes things slower, not
wrong.

There are two kinds of topics. Those that every instance follows are subscribed to before the start and carry short
texts. Those that come and go while the program runs (one for each open room) are opened and closed, and carry JSON
texts of any size; only instances that have one open get what is sent to it, where the server can tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Callback: TypeAlias = "Callable[[str], None]"
Receiver: TypeAlias = "Callable[[bytes], None]"
Health: TypeAlias = Literal["healthy", "degraded"]


class Broker(Protocol):
    kind: str

    @property
    def health(self) -> Health:
        """`degraded` while hints do not get through; the instance is still ready."""

    def publish(self, topic: str, message: str) -> None:
        """Send a hint soon. Never waits, never fails; messages for one topic may be packed together."""

    def announce(self, topic: str, message: str) -> None:
        """Publish a hint, and tell the subscribers of this process right now."""

    def subscribe(self, topic: str, callback: Callback) -> None:
        """Call `callback` for each message that another process sends on a topic. Subscribe before `start`."""

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` when hints may have been missed (after every new connection)."""

    async def open(self, topic: str, receive: Receiver) -> None:
        """Call `receive` for each message that is sent to a topic from now on, until it is closed.

        Returns when the server has confirmed it, so that what is read afterwards misses nothing; while the server is
        away it returns at once, and the gap is told when it is back.
        """

    def close(self, topic: str) -> None:
        """Receive nothing more that is sent to a topic."""

    def send(self, topic: str, data: bytes, *, instead: bytes | None = None, here: bool = False) -> None:
        """Send JSON text to whoever has a topic open elsewhere, with `here` also in this process. Never waits or fails.

        A text that is too large for the server is replaced by `instead`, or left out.
        """

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
