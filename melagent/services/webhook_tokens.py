"""Tokens of webhooks: 256 random bits made here. The database finds them by their SHA-256.

Where there is an encryption key, a sealed copy shows the address again to those who may edit. Without one an address is
shown once, to whoever deploys or renews.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from melagent.errors import NotFound
from melagent.services.hooks import CALLED_TYPES
from melagent.store import trigger_tokens
from melagent.store.pool import transaction
from melagent.store.sealed import TRIGGER_TOKEN
from melagent.vault import key_id_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import ListedTrigger
    from melagent.vault import Vault

TEST_PREFIX = "test-"
"""How the token of a test address begins."""

CONCEALED_AT_ONCE = 500


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


async def give(conn: Connection, vault: Vault, trigger_ids: Collection[UUID]) -> dict[UUID, str]:
    """New tokens for triggers, by their ids; the old ones are of no use any more."""
    made = {trigger_id: new_token() for trigger_id in trigger_ids}
    await trigger_tokens.set_tokens(
        conn,
        [(trigger_id, hash_token(token), _sealed(vault, trigger_id, token)) for trigger_id, token in made.items()],
    )
    return made


async def renew(pool: Pool, vault: Vault, trigger_id: UUID) -> str:
    """Give an armed webhook a new token. NotFound when there is none with this id."""
    async with transaction(pool) as conn:
        if not await trigger_tokens.lock_called(conn, trigger_id, CALLED_TYPES):
            raise NotFound("There is no such webhook.")
        return (await give(conn, vault, [trigger_id]))[trigger_id]


def token_of(vault: Vault, trigger: ListedTrigger) -> str | None:
    """The token of a trigger, if it can be shown."""
    if trigger.type not in CALLED_TYPES:
        return None
    if trigger.token_sealed is not None and key_id_of(trigger.token_sealed) in vault.key_ids:
        return vault.open(trigger.token_sealed, TRIGGER_TOKEN.context(trigger.id)).decode()
    return trigger.token


async def conceal(pool: Pool, vault: Vault) -> int:
    """Seal tokens that an earlier version left in plain text; how many there were.

    Without a key they stay, but are hashed: an instance of that version may still deploy.
    """
    async with transaction(pool) as conn:
        if not vault.available:
            await trigger_tokens.hash_plain_tokens(conn)
            return 0
        plain = await trigger_tokens.plain_tokens(conn, CONCEALED_AT_ONCE)
        await trigger_tokens.set_tokens(
            conn, [(found, hash_token(token), _sealed(vault, found, token)) for found, token in plain.items()]
        )
    return len(plain)


def _sealed(vault: Vault, trigger_id: UUID, token: str) -> bytes | None:
    return vault.seal(token.encode(), TRIGGER_TOKEN.context(trigger_id)) if vault.available else None
