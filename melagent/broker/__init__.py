"""Hints between instances: at most once, unordered between topics, never the truth.

Whoever acts on a hint reads PostgreSQL first, and polls it in any case; losing every hint makes things slower, not
wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Callback: TypeAlias = "Callable[[str], None]"
Health: TypeAlias = Literal["healthy", "degraded"]


class Broker(Protocol):
    kind: str

    @property
    def health(self) -> Health:
        """`degraded` while hints do not get through; the instance is still ready."""

    def publish(self, topic: str, message: str) -> None:
        """Send a hint soon. Never waits, never fails; messages for one topic may be packed together."""

    def subscribe(self, topic: str, callback: Callback) -> None:
        """Call `callback` for each message that another process sends on a topic. Subscribe before `start`."""

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` when hints may have been missed (after every new connection)."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
