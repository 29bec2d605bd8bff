"""What would keep a draft from being deployed, as a question that does not hold up anything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from melagent.domain.definition import Definition
from melagent.services.connection_uses import wrong_connections
from melagent.services.problems import problems

if TYPE_CHECKING:
    from melagent.errors import Problem
    from melagent.registry import Registry
    from melagent.store.pool import Pool

LARGE_NODES = 100
"""Drafts with so many nodes are looked at in another thread: it takes longer than others should wait for their turn."""


async def draft_problems(pool: Pool, registry: Registry, content: dict[str, Any]) -> list[Problem]:
    """The problems of a definition, with those of the connections that it names."""

    def find() -> tuple[Definition, list[Problem]]:
        definition = Definition.model_validate(content)
        return definition, problems(definition, registry)

    definition, found = await asyncio.to_thread(find) if len(content["nodes"]) > LARGE_NODES else find()
    async with pool.acquire() as conn:
        return [*found, *await wrong_connections(conn, definition, registry)]
