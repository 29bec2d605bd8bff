"""Large values on their way from a worker, in parts, until the journal names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.store.pool import Connection

PUT_PART = """
INSERT INTO payload_parts (run_id, hash, start, total, data)
SELECT run_id, $3, $4, $5, $6 FROM work_items WHERE run_id = $1 AND lease = $2
ON CONFLICT (run_id, hash, start) DO UPDATE SET total = excluded.total, data = excluded.data, created_at = now()
"""


async def put(
    conn: Connection, run_id: UUID, lease: UUID, digest: bytes, *, start: int, total: int, data: bytes
) -> bool:
    """Store a part under a lease; may be repeated. False when the lease is not good."""
    return bool(await conn.execute(PUT_PART, run_id, lease, digest, start, total, data) == "INSERT 0 1")


PARTS_SIZE = "SELECT sum(octet_length(data)) FROM payload_parts WHERE run_id = $1 AND hash = ANY($2::bytea[])"


async def size(conn: Connection, run_id: UUID, hashes: Collection[bytes]) -> int:
    """The bytes of all parts of these values."""
    return int(await conn.fetchval(PARTS_SIZE, run_id, list(hashes)) or 0)


LOAD_PARTS = """
SELECT hash, start, total, data FROM payload_parts WHERE run_id = $1 AND hash = ANY($2::bytea[]) ORDER BY start
"""


async def load(conn: Connection, run_id: UUID, hashes: Collection[bytes]) -> dict[bytes, bytes]:
    """Those of the values whose parts are all there, put together but not compared with their hash."""
    found: dict[bytes, bytearray] = {}
    totals: dict[bytes, int] = {}
    for row in await conn.fetch(LOAD_PARTS, run_id, list(hashes)):
        value = found.setdefault(row["hash"], bytearray())
        if len(value) == row["start"]:
            value += row["data"]
            totals[row["hash"]] = row["total"]
    return {digest: bytes(value) for digest, value in found.items() if len(value) == totals.get(digest)}


DROP_PARTS = "DELETE FROM payload_parts WHERE run_id = $1 AND hash = ANY($2::bytea[])"


async def drop(conn: Connection, run_id: UUID, hashes: Collection[bytes]) -> None:
    await conn.execute(DROP_PARTS, run_id, list(hashes))


SWEEP_PARTS = "DELETE FROM payload_parts WHERE created_at < now() - make_interval(secs => $1)"


async def sweep(conn: Connection, seconds: float) -> int:
    """Delete parts older than this: of values that no journal ever named."""
    return int((await conn.execute(SWEEP_PARTS, seconds)).split()[-1])
