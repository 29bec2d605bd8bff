"""Free places for runs: of the worker in this process, and of remote workers that wait at this instance for work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from melagent.domain.work import WorkItem


class Slots(Protocol):
    """The free places of one worker, for runs that start on this instance."""

    @property
    def worker_id(self) -> str: ...

    def meets(self, required: str, /) -> bool:
        """Whether the worker may run what is required (see `domain.requirement`)."""

    def reserve(self, wanted: int, /) -> int:
        """Take up to `wanted` places; how many there were."""

    def release(self, count: int, /) -> None:
        """Give back reserved places that are not needed."""

    def run(self, items: Sequence[WorkItem], held_from: float, /) -> None:
        """Run items in reserved places. The leases count from `held_from`, on the event loop's clock."""
