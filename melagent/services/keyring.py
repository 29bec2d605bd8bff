"""Which encryption keys there are, what is sealed under each, and how everything comes under the newest one.

Every instance says which keys it has, and nothing is sealed under a key that one of them lacks. So a new key can be
given to the instances one after the other: what is stored stays readable for all of them, and when the last one has the
new key everything moves under it. A move that dies has done what it committed, and rows that are in use are left to the
next one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from melagent.errors import Conflict
from melagent.store import instances, oauth_states, sealed
from melagent.store.ids import FIRST_ID
from melagent.store.pool import guarded
from melagent.vault import NoKey, Tampered

if TYPE_CHECKING:
    from collections.abc import Callable

    from melagent.store.pool import Connection
    from melagent.store.sealed import SealedColumn
    from melagent.vault import Vault

BATCH = 100
PAUSE_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key: whether it is here, how many of the running instances have it, and seal with it; the secrets under it."""

    key_id: str
    here: bool
    instances: int
    sealing: int
    secrets: int


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """All keys, ours first, the newest before the others. `instances` counts the running ones that have keys."""

    keys: tuple[KeyLine, ...]
    instances: int


async def agree(conn: Connection, vault: Vault) -> bool:
    """Settle which key to seal under; whether it is our newest one. To be called before anything is sealed."""
    return vault.agree(await instances.key_ids(conn))


async def rewrap(conn: Connection, vault: Vault) -> int:
    """Bring what is under our other keys under the one that is sealed with; how many values that were.

    Sign-ins that have not come back in time are forgotten: one under a key that is lost holds nobody up for longer.
    """
    async with guarded(conn):
        await oauth_states.forget_stale(conn)
    return sum([await _rewrap(conn, vault, column) for column in sealed.SEALED_COLUMNS])


async def status(conn: Connection, vault: Vault) -> KeyStatus:
    stored = await sealed.count_by_key(conn)
    having = [key_ids for key_ids in await instances.key_ids(conn) if key_ids]
    others = sorted({*stored, *(key_id for key_ids in having for key_id in key_ids)} - {*vault.key_ids})
    lines = tuple(
        KeyLine(
            key_id=key_id,
            here=key_id in vault.key_ids,
            instances=sum(key_id in key_ids for key_ids in having),
            sealing=sum(key_id == key_ids[0] for key_ids in having),
            secrets=stored.get(key_id, 0),
        )
        for key_id in (*vault.key_ids, *others)
    )
    return KeyStatus(lines, len(having))


async def rotate(conn: Connection, vault: Vault, patience: float, told: Callable[[str], None]) -> KeyStatus:
    """Rewrap until everything is under our newest key, and all instances seal with it: wait for those that do not yet.

    Raises NoKey, and Conflict that says what stands in the way after so many seconds.
    """
    if not vault.available:
        raise NoKey
    give_up_at = asyncio.get_running_loop().time() + patience
    waiting = False
    while True:
        if await agree(conn, vault):
            await rewrap(conn, vault)
        found = await status(conn, vault)
        obstacle = _obstacle(found)
        if obstacle is None:
            told(f"All {found.keys[0].secrets} secrets are under the key {found.keys[0].key_id}.")
            return found
        if asyncio.get_running_loop().time() > give_up_at:
            raise Conflict(obstacle)
        if not waiting:
            told(f"{obstacle} Waiting …")
            waiting = True
        await asyncio.sleep(PAUSE_SECONDS)


def _obstacle(found: KeyStatus) -> str | None:
    """What is left to do; null when all is done."""
    newest, *others = found.keys
    if newest.instances < found.instances:
        return f"{found.instances - newest.instances} running instances do not have the key {newest.key_id} yet."
    if newest.sealing < found.instances:
        return f"{found.instances - newest.sealing} running instances have not taken up the key {newest.key_id} yet."
    if not any(key.secrets for key in others):
        return None
    left = ", ".join(f"{key.secrets} under {key.key_id}" for key in others if key.secrets)
    missing = " That key is not here." if any(key.secrets and not key.here for key in others) else ""
    return f"Some secrets are in use or damaged: {left}.{missing}"


async def _rewrap(conn: Connection, vault: Vault, column: SealedColumn) -> int:
    old = [key_id for key_id in vault.key_ids if key_id != vault.sealing_id]
    moved, after, full = 0, FIRST_ID, bool(old)
    while full:
        async with guarded(conn):
            batch = await sealed.take(conn, column, old, after, BATCH)
            for row_id, blob in batch.items():
                try:
                    await sealed.put(conn, column, row_id, vault.rewrap(blob, column.context(row_id)))
                    moved += 1
                except Tampered as error:
                    where = f"{column.table}.{column.column}"
                    log.warning("secret not re-encrypted", column=where, id=str(row_id), error=error.message)
        after, full = max(batch, default=after), len(batch) == BATCH
    return moved
