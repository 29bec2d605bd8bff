"""Who is calling: API keys with roles, and worker tokens.

A key is 256 random bits with the prefix `mel_`; only its SHA-256 is stored. A key that was verified is trusted for two
seconds, so that a busy instance does not ask the database for each call and a revoked key is refused soon.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from melagent.services.memory import BriefMemory
from melagent.store import tokens
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Token

TRUSTED_SECONDS = 2.0


class Role(IntEnum):
    """What a caller may do; a higher role may do all that a lower one may. `OPEN` is anybody, without a key.

    `WORKER` stands apart: nobody else has it, however high his role, and it opens nothing else.
    """

    OPEN = 0
    VIEWER = 1
    EDITOR = 2
    ADMIN = 3
    WORKER = 100


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `id` is the id of the key, or `bootstrap` for the key from the settings."""

    id: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class WorkerPrincipal:
    """A worker's token. `id` is the same on all instances. With `labels` its workers are bound to these labels."""

    id: str
    name: str
    labels: frozenset[str] = frozenset()


BOOTSTRAP = Principal("bootstrap", "bootstrap", Role.ADMIN)
BOOTSTRAP_WORKER = WorkerPrincipal("bootstrap", "bootstrap")


def hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


async def create_key(conn: Connection, name: str, role: Role, expires_at: datetime | None = None) -> tuple[Token, str]:
    """Make an API key. The key itself is in this answer and nowhere else."""
    key = "mel_" + secrets.token_urlsafe(32)
    token = await tokens.insert(
        conn, new_id(), kind="api", role=role.name.lower(), name=name, key_hash=hash_key(key), expires_at=expires_at
    )
    return token, key


async def create_worker_token(
    conn: Connection, name: str, labels: Sequence[str] = (), expires_at: datetime | None = None
) -> tuple[Token, str]:
    """Make a worker token. The token itself is in this answer and nowhere else."""
    key = "mel_worker_" + secrets.token_urlsafe(32)
    token = await tokens.insert(
        conn,
        new_id(),
        kind="worker",
        role=None,
        name=name,
        key_hash=hash_key(key),
        expires_at=expires_at,
        labels=sorted(set(labels)),
    )
    return token, key


class Keys:
    """Verifies API keys and worker tokens. Those from the settings are valid on every instance that has them."""

    def __init__(self, pool: Pool, bootstrap_key: str | None, worker_token: str | None = None) -> None:
        self._pool = pool
        self._bootstrap = hash_key(bootstrap_key) if bootstrap_key else None
        self._bootstrap_worker = hash_key(worker_token) if worker_token else None
        self._known = BriefMemory(self._find, TRUSTED_SECONDS)
        self._known_workers = BriefMemory(self._find_worker, TRUSTED_SECONDS)

    async def principal(self, key: str) -> Principal | None:
        """The caller with this key; null when the key is unknown, expired or revoked."""
        digest = hash_key(key)
        if self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap):
            return BOOTSTRAP
        return await self._known.get(digest)

    async def worker(self, key: str) -> WorkerPrincipal | None:
        """The worker's token with this text; null when it is unknown, expired or revoked."""
        digest = hash_key(key)
        if self._bootstrap_worker is not None and hmac.compare_digest(digest, self._bootstrap_worker):
            return BOOTSTRAP_WORKER
        return await self._known_workers.get(digest)

    async def _find(self, digest: bytes) -> Principal | None:
        async with self._pool.acquire() as conn:
            token = await tokens.find_valid(conn, digest, "api")
        return Principal(str(token.id), token.name, Role[str(token.role).upper()]) if token else None

    async def _find_worker(self, digest: bytes) -> WorkerPrincipal | None:
        async with self._pool.acquire() as conn:
            token = await tokens.find_valid(conn, digest, "worker")
        return WorkerPrincipal(str(token.id), token.name, frozenset(token.labels)) if token else None
