"""Where a worker gets its work from; it does not know whether that is a database or an API instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from melagent.engine.journal import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.domain.work import Message, WorkItem
    from melagent.engine.lifecycle.hold import Extended


class WorkSource(Sink, Protocol):
    """Work for one worker. Calls that fail raise MelError; all of them may be repeated."""

    claims: int
    """How many claims may wait for work at the same time, each followed by the next; 0 when they do not wait."""

    def on_work(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever there may be work. A hint only: the worker also asks by itself."""

    async def claim(self, limit: int, take: Callable[[Sequence[WorkItem]], None]) -> None:
        """Lease up to `limit` runs; `take` is given them as they come."""

    def stop_claiming(self) -> None:
        """Let claims that wait return at once, without work."""

    async def inbox(self, run_id: UUID) -> Sequence[Message]:
        """The messages that a run has not taken in."""

    async def load(self, item: WorkItem) -> WorkItem:
        """The item with its journal, its messages and its input, which a claim may leave out."""

    async def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        """Keep leases, given by run, for another lease time; what became of them."""

    async def definition(self, version_id: UUID) -> Definition:
        """The definition of a version, which never changes."""
