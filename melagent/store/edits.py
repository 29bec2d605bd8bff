"""The edits of drafts. They are only ever added, by `commit`, each as the next one of its draft.

Lock order: rows of drafts, by workflow id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store.rows import Edit, UndoableEdit, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(slots=True)
class NewEdit:
    """An edit that was applied; operations and inverse are JSON text. `reverts` are the edits that it undoes."""

    client: str
    client_edit_id: int
    by_id: str | None
    by_name: str
    ops: bytes
    inverse: bytes
    reverts: tuple[int, ...] = ()


@dataclass(slots=True)
class DraftEdits:
    """Edits that follow one another in a draft, the first of them applied to the draft as it was at `base_seq`."""

    workflow_id: UUID
    base_seq: int
    edits: Sequence[NewEdit]


COMMIT_EDITS = """
WITH wanted AS (
    SELECT workflow_id, base_seq, edits
      FROM unnest($1::uuid[], $2::bigint[], $3::int[]) AS w(workflow_id, base_seq, edits)
), held AS (
    SELECT d.workflow_id, w.base_seq, w.edits
      FROM wanted w JOIN drafts d ON d.workflow_id = w.workflow_id AND d.seq = w.base_seq
           JOIN workflows f ON f.id = d.workflow_id AND f.deleted_at IS NULL
     ORDER BY d.workflow_id FOR UPDATE OF d
), moved AS (
    UPDATE drafts d SET seq = d.seq + h.edits, updated_at = clock_timestamp()
      FROM held h WHERE d.workflow_id = h.workflow_id
 RETURNING d.workflow_id, h.base_seq, d.updated_at AS at
), made AS (
    INSERT INTO edits (workflow_id, seq, client, client_edit_id, by_id, by_name, at, ops, inverse, reverts)
    SELECT m.workflow_id, m.base_seq + e.number, e.client, e.client_edit_id, e.by_id, e.by_name, m.at,
           e.ops::json, e.inverse::json, CASE WHEN e.reverts <> '' THEN string_to_array(e.reverts, ',')::bigint[] END
      FROM unnest($4::uuid[], $5::int[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
                  $12::text[])
             AS e(workflow_id, number, client, client_edit_id, by_id, by_name, ops, inverse, reverts)
           JOIN moved m ON m.workflow_id = e.workflow_id
)
SELECT workflow_id, at FROM moved
"""


COMMIT_EDIT = """
WITH moved AS (
    UPDATE drafts d SET seq = d.seq + 1, updated_at = clock_timestamp() FROM workflows f
     WHERE d.workflow_id = $1 AND d.seq = $2 AND f.id = d.workflow_id AND f.deleted_at IS NULL
 RETURNING d.workflow_id, d.seq, d.updated_at AS at
)
INSERT INTO edits (workflow_id, seq, client, client_edit_id, by_id, by_name, at, ops, inverse, reverts)
SELECT workflow_id, seq, $3, $4, $5, $6, at, $7::text::json, $8::text::json, $9::bigint[] FROM moved
RETURNING at
"""


async def commit(conn: Connection, drafts: Sequence[DraftEdits]) -> dict[UUID, datetime]:
    """Store edits of several drafts, each named once, in one statement: all edits of a draft, or none of them.

    Those drafts are answered, with the time of their edits, that still were at `base_seq`. Somebody else was faster
    with the others, or they were deleted.
    """
    if len(drafts) == 1 and len(drafts[0].edits) == 1:
        return await _commit_one(conn, drafts[0], drafts[0].edits[0])
    return await _commit_all(conn, drafts)


async def _commit_one(conn: Connection, draft: DraftEdits, edit: NewEdit) -> dict[UUID, datetime]:
    """As most commits are: it takes a third less time than the statement for any number."""
    made = await conn.fetch(
        COMMIT_EDIT,
        draft.workflow_id,
        draft.base_seq,
        edit.client,
        edit.client_edit_id,
        edit.by_id,
        edit.by_name,
        edit.ops.decode(),
        edit.inverse.decode(),
        edit.reverts or None,
    )
    return {draft.workflow_id: made[0]["at"]} if made else {}


async def _commit_all(conn: Connection, drafts: Sequence[DraftEdits]) -> dict[UUID, datetime]:
    rows = [(draft.workflow_id, number, edit) for draft in drafts for number, edit in enumerate(draft.edits, 1)]
    edits = [edit for _, _, edit in rows]
    won = await conn.fetch(
        COMMIT_EDITS,
        [draft.workflow_id for draft in drafts],
        [draft.base_seq for draft in drafts],
        [len(draft.edits) for draft in drafts],
        [workflow_id for workflow_id, _, _ in rows],
        [number for _, number, _ in rows],
        [edit.client for edit in edits],
        [edit.client_edit_id for edit in edits],
        [edit.by_id for edit in edits],
        [edit.by_name for edit in edits],
        [edit.ops.decode() for edit in edits],
        [edit.inverse.decode() for edit in edits],
        [",".join(map(str, edit.reverts)) for edit in edits],
    )
    return {row["workflow_id"]: row["at"] for row in won}


EDITS_AFTER = """
SELECT workflow_id, seq, client, client_edit_id, by_id, by_name, at, ops::text AS ops, reverts
  FROM edits WHERE workflow_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
"""


async def after(conn: Connection, workflow_id: UUID, seq: int, limit: int) -> list[Edit]:
    """The edits that follow `seq`, in order."""
    return [value_of(Edit, row) for row in await conn.fetch(EDITS_AFTER, workflow_id, seq, limit)]


EDITS_AFTER_EACH = """
SELECT e.workflow_id, e.seq, e.client, e.client_edit_id, e.by_id, e.by_name, e.at, e.ops::text AS ops, e.reverts
  FROM unnest($1::uuid[], $2::bigint[]) AS w(workflow_id, seq)
       JOIN edits e ON e.workflow_id = w.workflow_id AND e.seq > w.seq
 ORDER BY e.workflow_id, e.seq
"""


async def after_each(conn: Connection, seqs: Mapping[UUID, int]) -> list[Edit]:
    """All edits of these drafts that follow the number given for each, in order."""
    return [value_of(Edit, row) for row in await conn.fetch(EDITS_AFTER_EACH, list(seqs), list(seqs.values()))]


LAST_EDIT_ID = "SELECT max(client_edit_id) FROM edits WHERE workflow_id = $1 AND client = $2"


async def last_id(conn: Connection, workflow_id: UUID, client: str) -> int:
    """The highest id of an edit that this client has committed; 0 when there is none."""
    return await conn.fetchval(LAST_EDIT_ID, workflow_id, client) or 0


FIND_EDIT = """
SELECT workflow_id, seq, client, client_edit_id, by_id, by_name, at, ops::text AS ops, reverts
  FROM edits WHERE workflow_id = $1 AND client = $2 AND client_edit_id = $3
"""


async def find(conn: Connection, workflow_id: UUID, client: str, client_edit_id: int) -> Edit | None:
    """An edit by the name that its author gave it."""
    row = await conn.fetchrow(FIND_EDIT, workflow_id, client, client_edit_id)
    return value_of(Edit, row) if row else None


HISTORY = """
SELECT workflow_id, seq, client, client_edit_id, by_id, by_name, at, ops::text AS ops, reverts
  FROM (SELECT *, sum(octet_length(ops::text)) OVER (ORDER BY seq DESC) - octet_length(ops::text) AS shown
          FROM edits WHERE workflow_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3) newest
 WHERE shown < $4 ORDER BY seq DESC
"""


async def before(conn: Connection, workflow_id: UUID, seq: int, limit: int, size: int) -> list[Edit]:
    """The edits before `seq`, newest first; no more after so many bytes of operations."""
    return [value_of(Edit, row) for row in await conn.fetch(HISTORY, workflow_id, seq, limit, size)]


EDITS_TO_UNDO = """
SELECT seq, by_id, by_name, at, ops::text AS ops, inverse::text AS inverse
  FROM edits WHERE workflow_id = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq DESC
"""


async def to_undo(conn: Connection, workflow_id: UUID, first: int, last: int) -> list[UndoableEdit]:
    """The edits from `first` to `last`, newest first."""
    return [value_of(UndoableEdit, row) for row in await conn.fetch(EDITS_TO_UNDO, workflow_id, first, last)]


REMOVALS = """
SELECT seq, by_id, by_name, at, ops::text AS ops, inverse::text AS inverse
  FROM edits
 WHERE workflow_id = $1 AND seq > $2
   AND (strpos(inverse::text, $3) > 0 OR strpos(inverse::text, $4) > 0 OR strpos(inverse::text, $5) > 0
        OR (strpos(inverse::text, '"op":"draft.replace"') > 0
            AND strpos(inverse::text, $6) > 0 AND strpos(ops::text, $6) = 0))
 ORDER BY seq DESC LIMIT $7
"""


async def removals(conn: Connection, workflow_id: UUID, lost: str, since: int, limit: int) -> list[UndoableEdit]:
    """Edits after `since` that may have taken away or renamed the node or edge `lost`, newest first.

    What was taken away comes back with the inverse, so that is where it is looked for. An id that JSON would escape is
    none.
    """
    added = (f'"op":"node.add","id":"{lost}"', f'"op":"edge.add","id":"{lost}"', f'"op":"node.rename","to":"{lost}"')
    texts = (*added, f'"id":"{lost}"')
    return [value_of(UndoableEdit, row) for row in await conn.fetch(REMOVALS, workflow_id, since, *texts, limit)]


PRUNE_EDITS = """
DELETE FROM edits e USING (
    SELECT o.workflow_id, o.seq FROM edits o JOIN drafts d ON d.workflow_id = o.workflow_id AND o.seq <= d.snapshot_seq
     WHERE o.at < now() - make_interval(secs => $1) LIMIT $2
) old WHERE e.workflow_id = old.workflow_id AND e.seq = old.seq
"""


async def prune(conn: Connection, keep_seconds: float, limit: int) -> int:
    """Forget edits that are older than this; how many. Those that no snapshot holds yet stay."""
    status = await conn.execute(PRUNE_EDITS, keep_seconds, limit)
    return int(status.removeprefix("DELETE "))
