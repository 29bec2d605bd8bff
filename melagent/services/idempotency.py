"""Calls that may be repeated: the same key and body give the first answer again, and make nothing a second time.

The id of what a call makes is stored with its key before anything is made, and making something is idempotent by that
id. So whoever repeats a call that died half-way finishes it, and of many that come at the same moment all work on one
thing. The first answer that is kept is everybody's answer. A call that was refused keeps none: nothing was made, and
the same call may be tried again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from melagent.errors import Conflict
from melagent.store import run_keys
from melagent.store.ids import new_id
from melagent.store.run_keys import Claim

if TYPE_CHECKING:
    from melagent.store.pool import Pool
    from melagent.store.run_keys import Kept

KEPT_SECONDS = 24 * 3600.0


async def claim(
    pool: Pool, scope: str, key: str, request: bytes, seconds: float = KEPT_SECONDS
) -> tuple[Claim, Kept | None]:
    """A claim on the key, and the answer that was kept under it. Conflict when it was used for another request."""
    wanted, digest = Claim(scope, key, new_id()), hashlib.sha256(request).digest()
    async with pool.acquire() as conn:
        known = await run_keys.claim(conn, wanted, digest, seconds)
    if known.request_hash != digest:
        raise Conflict("This Idempotency-Key was used for another body; use a new key for another call.")
    return Claim(scope, key, known.resource), known.kept


async def keep(pool: Pool, claim: Claim, kept: Kept) -> Kept:
    """Keep the answer to a call; the one that was kept first, which is this one unless the call was made twice."""
    async with pool.acquire() as conn:
        if await run_keys.keep(conn, claim, kept):
            return kept
        return await run_keys.find(conn, claim) or kept
