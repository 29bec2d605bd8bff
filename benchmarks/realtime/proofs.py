"""That what a contender holds afterwards is what was sent, besides what the swarm has counted itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from melagent.store.pool import single_connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.realtime.contenders import Contender

EDITS = """
SELECT count(*) AS edits, count(DISTINCT (workflow_id, client, client_edit_id)) AS distinct_edits
  FROM edits WHERE workflow_id = ANY($1::uuid[])
"""
HOLES = """
SELECT count(*) FROM (
    SELECT d.seq, min(e.seq) AS least, max(e.seq) AS most, count(*) AS edits
      FROM drafts d JOIN edits e USING (workflow_id) WHERE d.workflow_id = ANY($1::uuid[]) GROUP BY workflow_id, d.seq
) AS of_draft WHERE most <> seq OR most - least + 1 <> edits
"""


async def prove(contender: Contender, rooms: Sequence[str], sent: int | None) -> dict[str, Any]:
    """What is held afterwards; null for `sent` when that is not known.

    Raises RuntimeError when ours does not hold every update once. Of another program it is a finding, `differs`.
    """
    if contender.cluster is not None:
        return await _in_table(contender, rooms, sent)
    if contender.dsn:
        return await _in_floor(contender, rooms, sent)
    if contender.dialect == "hocuspocus":
        return await _in_documents(contender, rooms, sent)
    return {}


async def _in_floor(contender: Contender, rooms: Sequence[str], sent: int | None) -> dict[str, Any]:
    async with single_connection(contender.dsn) as connection:
        stored = await connection.fetchval("SELECT count(*) FROM floor_updates WHERE room = ANY($1::text[])", rooms)
    return {"stored": stored, "differs": sent is not None and stored != sent}


async def _in_table(contender: Contender, rooms: Sequence[str], sent: int | None) -> dict[str, Any]:
    assert contender.cluster is not None
    async with contender.cluster.database() as connection:
        found = dict(await connection.fetchrow(EDITS, rooms))
        found["drafts_with_holes"] = await connection.fetchval(HOLES, rooms)
    wanted = found["edits"] if sent is None else sent
    if found != {"edits": wanted, "distinct_edits": wanted, "drafts_with_holes": 0}:
        raise RuntimeError(f"{sent} edits were sent, and the table holds {found}")
    return found


async def _in_documents(contender: Contender, rooms: Sequence[str], sent: int | None) -> dict[str, Any]:
    """The documents of both instances, which are open still for a moment after their last peer."""
    held = []
    async with aiohttp.ClientSession() as session:
        for address in contender.addresses:
            count = 0
            for room in rooms:
                async with session.get(f"http://{address}/lengths", params={"room": room}) as answer:
                    count += sum((await answer.json()).values())
            held.append(count)
    return {"held": held, "differs": sent is not None and held != [sent, sent]}
