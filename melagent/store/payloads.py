"""Large values: kept apart from the rows that mention them, compressed, and named by their hash."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    import asyncpg

    from melagent.store.pool import Connection

INLINE_BYTES = 8 * 1024
"""Values up to this size stay in the row that mentions them."""

_THREAD_BYTES = 256 * 1024
"""From this size on, hashing and compressing would hold up the event loop."""


@dataclass(slots=True)
class Payloads:
    """The large values of one write, as columns. `put` answers what the row itself stores: the value or its hash."""

    run_ids: list[UUID] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    _seen: set[tuple[UUID, bytes]] = field(default_factory=set)

    async def put(self, run_id: UUID, value: bytes | None) -> tuple[bytes | None, bytes | None]:
        """The pair (inline value, hash) of a row; at most one of them is set."""
        if value is None or len(value) <= INLINE_BYTES:
            return value, None
        digest, packed = _pack(value) if len(value) < _THREAD_BYTES else await asyncio.to_thread(_pack, value)
        if (run_id, digest) not in self._seen:
            self._seen.add((run_id, digest))
            self.run_ids.append(run_id)
            self.hashes.append(digest)
            self.sizes.append(len(value))
            self.data.append(packed)
        return None, digest


def _pack(value: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(value).digest(), zlib.compress(value, 1)


def unpack(data: bytes) -> bytes:
    return zlib.decompress(data)


SIZE = "SELECT sum(size) FROM payloads WHERE run_id = $1 AND hash = ANY($2::bytea[])"


async def size(conn: Connection, run_id: UUID, hashes: Collection[bytes]) -> int:
    """The bytes of these values, unpacked."""
    return int(await conn.fetchval(SIZE, run_id, list(hashes)) or 0)


LOAD = "SELECT hash, data FROM payloads WHERE run_id = $1 AND hash = ANY($2::bytea[])"


async def load(conn: Connection, run_id: UUID, hashes: Collection[bytes]) -> dict[bytes, bytes]:
    """The values with these hashes, as they were put."""
    if not hashes:
        return {}
    rows = await conn.fetch(LOAD, run_id, list(hashes))
    if sum(len(row["data"]) for row in rows) < _THREAD_BYTES // 8:
        return _unpacked(rows)
    return await asyncio.to_thread(_unpacked, rows)


def _unpacked(rows: Sequence[asyncpg.Record]) -> dict[bytes, bytes]:
    return {row["hash"]: unpack(row["data"]) for row in rows}
