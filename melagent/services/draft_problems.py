"""What would keep a draft that is being edited from being deployed, as a question that holds up nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from melagent.services.connection_uses import named_in, wrong_among
from melagent.services.live_problems import LiveProblems

if TYPE_CHECKING:
    from melagent.errors import Problem
    from melagent.registry import Registry
    from melagent.store.pool import Pool

LARGE_NODES = 100
"""Drafts with so many nodes are looked at in another thread: it takes longer than others should wait for their turn."""


class DraftProblems:
    """Of one draft. One question at a time."""

    def __init__(self, pool: Pool, registry: Registry) -> None:
        self._pool = pool
        self._registry = registry
        self._live = LiveProblems(registry)

    async def find(self, content: dict[str, Any]) -> list[Problem]:
        """The problems of a definition, with those of the connections that it names."""
        large = len(content["nodes"]) > LARGE_NODES
        found = await asyncio.to_thread(self._live.of, content) if large else self._live.of(content)
        named = list(named_in(self._live.definition, self._registry))
        if not named:
            return found
        async with self._pool.acquire() as conn:
            return [*found, *await wrong_among(conn, named)]
