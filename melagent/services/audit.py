"""The audit log: who did what from where. Neither bodies nor secrets are part of it.

A call that changed something is answered when its row is durable; rows of concurrent calls share a write. What was
changed is committed before, so when the row cannot be written the answer stands, and the row is in the log as an error
instead: `audit row not written`. Refusals are gathered for some seconds, and those of one kind become one row that
counts them: whoever guesses keys fills neither the table nor the time of others.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import structlog

from melagent.engine.batch import Batcher
from melagent.loop import Loop
from melagent.store import audit
from melagent.store.ids import FIRST_ID, LAST_ID, first_id_at, new_id
from melagent.store.pool import MAY_PASS
from melagent.store.rows import AuditRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from uuid import UUID

    from melagent.store.audit import ActorKind, Wanted
    from melagent.store.pool import Pool

WRITE_SECONDS = 5.0
"""How long a call waits for its row before it is answered all the same."""

GATHER_SECONDS = 5.0
MOST_KINDS = 1_000
MOST_CHARACTERS = 200
ROW_BYTES = 500
EXPORTED_AT_ONCE = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: a person, a key, a worker's token, the key of the settings, or anybody."""

    kind: ActorKind
    id: str | None = None
    name: str | None = None


ANYBODY = Actor("anybody")


@dataclass(frozen=True, slots=True)
class Act:
    """What was done, and how it ended. `ids` are those of the things it was about."""

    actor: Actor
    action: str
    status: int
    address: str
    request_id: str
    ids: Mapping[str, str]


class AuditLog:
    """Writes the log. `loop` writes the refusals that were gathered."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._rows: Batcher[AuditRow, None] = Batcher(
            self._write, lanes=1, size_of=lambda _: ROW_BYTES, key_of=lambda row: row.id
        )
        self._refusals: dict[tuple[Actor, str, int, str], AuditRow] = {}
        self.loop = Loop("audit", self.one_pass, interval_seconds=GATHER_SECONDS)

    async def record(self, act: Act) -> None:
        """Return when the row is durable; or when it cannot be written and is in the log."""
        row = _row(act)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._rows.submit(row)
        except MAY_PASS as error:
            shown = {name: str(value) for name, value in asdict(row).items() if name != "ids"}
            log.error("audit row not written", reason=repr(error), ids=row.ids.decode(), **shown)  # noqa: TRY400  # no defect, and the reason is told

    def refused(self, act: Act) -> None:
        """Count a refusal. Of too many kinds at once, the address is left out."""
        kind = (act.actor, act.action, act.status, act.address)
        if kind not in self._refusals and len(self._refusals) >= MOST_KINDS:
            act = replace(act, address="many")
            kind = (act.actor, act.action, act.status, act.address)
        known = self._refusals.get(kind)
        self._refusals[kind] = replace(known, times=known.times + 1) if known else _row(act)

    async def one_pass(self) -> None:
        """Write what was refused since the last pass. What cannot be written now is for the next one."""
        gathered, self._refusals = self._refusals, {}
        try:
            await self._write([*gathered.values()])
        except BaseException:
            later, self._refusals = self._refusals, gathered
            for kind, row in later.items():
                known = gathered.get(kind)
                gathered[kind] = replace(known, times=known.times + row.times) if known else row
            raise

    async def close(self) -> None:
        """Write all that there is still. Ends also when it cannot be written."""
        await self.loop.stop()
        await self._rows.drain()
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self.one_pass()
        except MAY_PASS as error:
            log.error("refusals not written", reason=repr(error), kinds=len(self._refusals))  # noqa: TRY400  # no defect, and the reason is told

    async def _write(self, rows: Sequence[AuditRow]) -> Sequence[None]:
        if rows:
            async with self._pool.acquire() as conn:
                await audit.insert(conn, rows)
        return [None] * len(rows)


@dataclass(frozen=True, slots=True)
class Span:
    """The ids of a span of time: from `first` on, before `end`."""

    first: UUID = FIRST_ID
    end: UUID = LAST_ID


def span(since: datetime | None, until: datetime | None) -> Span:
    """From `since` on and before `until`; null is for ever."""
    return Span(first_id_at(since) if since else FIRST_ID, first_id_at(until) if until else LAST_ID)


async def every(pool: Pool, wanted: Wanted, within: Span) -> AsyncGenerator[Sequence[AuditRow]]:
    """All rows that are wanted, newest first, some hundreds at a time; no connection is held in between."""
    end = within.end
    while True:
        async with pool.acquire() as conn:
            rows = await audit.page(conn, wanted, end, within.first, EXPORTED_AT_ONCE)
        if not rows:
            return
        yield rows
        end = rows[-1].id


def _row(act: Act) -> AuditRow:
    return AuditRow(
        id=new_id(),
        at=datetime.now(UTC),
        actor_kind=act.actor.kind,
        actor_id=act.actor.id,
        actor_name=act.actor.name,
        action=act.action,
        ids=orjson.dumps({name: _storable(value) for name, value in act.ids.items()}),
        status=act.status,
        address=_storable(act.address),
        request_id=act.request_id,
    )


def _storable(text: str) -> str:
    """A text that a caller chose, as it can be stored: valid Unicode without NUL, and not too long."""
    return text[:MOST_CHARACTERS].encode("utf-8", "replace").decode().replace("\0", "?")
