"""Who is calling: API keys with roles and scopes, and worker tokens.

A key is 256 random bits with the prefix `mel_`; only its SHA-256 is stored. A key that was verified is trusted for two
seconds, so that a busy instance does not ask the database for each call and a revoked key is refused soon.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from melagent.loop import Loop
from melagent.services.memory import BriefMemory
from melagent.store import tokens
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Token

TRUSTED_SECONDS = 2.0
NOTED_SECONDS = 60.0


class Role(IntEnum):
    """What a caller may do; a higher role may do all that a lower one may. `OPEN` is anybody, without a key.

    `WORKER` stands apart: nobody else has it, however high his role, and it opens nothing else.
    """

    OPEN = 0
    VIEWER = 1
    EDITOR = 2
    ADMIN = 3
    WORKER = 100


EXECUTE = "execute"
WORKFLOW = "workflow:"


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a key may do of all that its role allows: with `execute` only start, watch and steer runs; with
    `workflow_ids` only what belongs to these workflows.
    """

    execute: bool = False
    workflow_ids: frozenset[UUID] = frozenset()

    @property
    def limited(self) -> bool:
        return self.execute or bool(self.workflow_ids)

    @property
    def texts(self) -> list[str]:
        """As they are written and stored."""
        return [*[EXECUTE] * self.execute, *sorted(f"{WORKFLOW}{each}" for each in self.workflow_ids)]


UNLIMITED = Scopes()


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `id` is that of the user or of the key, or `bootstrap` for the key from the settings."""

    id: str
    name: str
    role: Role
    kind: Literal["user", "key", "settings"] = "key"
    scopes: Scopes = UNLIMITED


@dataclass(frozen=True, slots=True)
class WorkerPrincipal:
    """A worker's token. `id` is the same on all instances. With `labels` its workers are bound to these labels."""

    id: str
    name: str
    labels: frozenset[str] = frozenset()


BOOTSTRAP = Principal("bootstrap", "bootstrap", Role.ADMIN, kind="settings")
BOOTSTRAP_WORKER = WorkerPrincipal("bootstrap", "bootstrap")


def hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def scopes_of(texts: Sequence[str]) -> Scopes:
    """Scopes as they are written: `execute`, and `workflow:` with an id. Raises ValueError for anything else."""
    unknown = [text for text in texts if text != EXECUTE and not text.startswith(WORKFLOW)]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no scope; there are `execute` and `workflow:<id>`")
    ids = frozenset(UUID(text.removeprefix(WORKFLOW)) for text in texts if text.startswith(WORKFLOW))
    return Scopes(EXECUTE in texts, ids)


async def create_key(
    conn: Connection, name: str, role: Role, expires_at: datetime | None = None, scopes: Scopes = UNLIMITED
) -> tuple[Token, str]:
    """Make an API key. The key itself is in this answer and nowhere else."""
    key = "mel_" + secrets.token_urlsafe(32)
    token = await tokens.insert(
        conn,
        new_id(),
        kind="api",
        role=role.name.lower(),
        name=name,
        key_hash=hash_key(key),
        expires_at=expires_at,
        scopes=scopes.texts,
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


def principal_of(key: Token) -> Principal:
    """The caller who has this API key."""
    return Principal(str(key.id), key.name, Role[str(key.role).upper()], scopes=scopes_of(key.scopes))


class Keys:
    """Verifies API keys and worker tokens. Those from the settings are valid on every instance that has them.

    `loop` notes which were used, at most once a minute for each: no call waits for it, and no row is written often.
    """

    def __init__(self, pool: Pool, bootstrap_key: str | None, worker_token: str | None = None) -> None:
        self._pool = pool
        self._bootstrap = hash_key(bootstrap_key) if bootstrap_key else None
        self._bootstrap_worker = hash_key(worker_token) if worker_token else None
        self._known = BriefMemory(self._find, TRUSTED_SECONDS)
        self._known_workers = BriefMemory(self._find_worker, TRUSTED_SECONDS)
        self._used: set[UUID] = set()
        self.loop = Loop("keys", self.one_pass, interval_seconds=NOTED_SECONDS)

    async def principal(self, key: str) -> Principal | None:
        """The caller with this key; null when the key is unknown, expired or revoked."""
        digest = hash_key(key)
        return BOOTSTRAP if self.is_bootstrap(digest) else await self._known.get(digest)

    def is_bootstrap(self, digest: bytes) -> bool:
        """Whether this is the hash of the key from the settings."""
        return self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap)

    async def worker(self, key: str) -> WorkerPrincipal | None:
        """The worker's token with this text; null when it is unknown, expired or revoked."""
        digest = hash_key(key)
        if self._bootstrap_worker is not None and hmac.compare_digest(digest, self._bootstrap_worker):
            return BOOTSTRAP_WORKER
        return await self._known_workers.get(digest)

    async def owner(self, key: str) -> Token | None:
        """Whose key this is, or was, whether it opens anything or not."""
        async with self._pool.acquire() as conn:
            return await tokens.find(conn, hash_key(key))

    async def one_pass(self) -> None:
        """Note what was used since the last pass."""
        used, self._used = self._used, set()
        if used:
            async with self._pool.acquire() as conn:
                await tokens.note_use(conn, [*used], NOTED_SECONDS / 2)

    async def _find(self, digest: bytes) -> Principal | None:
        """A question to the database, so at most one every two seconds for each key: a good place to note its use."""
        token = await self._valid(digest, "api")
        return principal_of(token) if token else None

    async def _find_worker(self, digest: bytes) -> WorkerPrincipal | None:
        token = await self._valid(digest, "worker")
        return WorkerPrincipal(str(token.id), token.name, frozenset(token.labels)) if token else None

    async def _valid(self, digest: bytes, kind: str) -> Token | None:
        async with self._pool.acquire() as conn:
            token = await tokens.find_valid(conn, digest, kind)
        if token is not None:
            self._used.add(token.id)
        return token
