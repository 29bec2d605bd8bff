"""Every column that holds sealed values, and what rotation asks of them: which keys they are under, and to rewrap them.

A blob names its master key in its bytes 2 to 9 (see `melagent.vault`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A bytea column that holds blobs or nulls, of a table with a uuid `id`. A blob's context is `table/id/column`."""

    table: str
    column: str

    def context(self, row_id: UUID) -> str:
        return f"{self.table}/{row_id}/{self.column}"

    @property
    def key_id(self) -> str:
        """The id of the key that a blob is under, in SQL."""
        return f"encode(substring({self.column} FROM 2 FOR 8), 'hex')"


CONNECTION_SECRET = SealedColumn("connections", "secret")
CONNECTION_TOKENS = SealedColumn("connections", "tokens")
TRIGGER_TOKEN = SealedColumn("triggers", "token_sealed")
OAUTH_VERIFIER = SealedColumn("oauth_states", "verifier")

SEALED_COLUMNS = (CONNECTION_SECRET, CONNECTION_TOKENS, TRIGGER_TOKEN, OAUTH_VERIFIER)
"""Whoever stores sealed values lists the column here: it is then counted, watched by readiness, and rotated."""

COUNT_BY_KEY = " UNION ALL ".join(
    f"SELECT {one.key_id} AS key_id, count(*) FROM {one.table} WHERE {one.column} IS NOT NULL GROUP BY 1"  # noqa: S608  # names of the table above
    for one in SEALED_COLUMNS
)


async def count_by_key(conn: Connection) -> dict[str, int]:
    """How many values are sealed under each key, by its id."""
    counts: Counter[str] = Counter()
    for row in await conn.fetch(COUNT_BY_KEY):
        counts[row["key_id"]] += row["count"]
    return dict(counts)


TAKE_SEALED = {
    one: f"""
SELECT id, {one.column} AS blob FROM {one.table}
 WHERE id > $1 AND {one.key_id} = ANY($2::text[]) ORDER BY id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608  # names of the table above
    for one in SEALED_COLUMNS
}


async def take(
    conn: Connection, column: SealedColumn, key_ids: Collection[str], after: UUID, limit: int
) -> dict[UUID, bytes]:
    """Values of a column under certain keys, by row, those behind `after`; locked. Rows in use are passed over."""
    rows = await conn.fetch(TAKE_SEALED[column], after, list(key_ids), limit)
    return {row["id"]: row["blob"] for row in rows}


PUT_SEALED = {one: f"UPDATE {one.table} SET {one.column} = $2 WHERE id = $1" for one in SEALED_COLUMNS}  # noqa: S608  # as above


async def put(conn: Connection, column: SealedColumn, row_id: UUID, blob: bytes) -> None:
    await conn.execute(PUT_SEALED[column], row_id, blob)
