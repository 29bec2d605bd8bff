"""PostgreSQL and the model side by side: the same calls to both, and the same form for what they answer and hold."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from melagent.domain.work import CHILD_TOPIC
from melagent.engine.lifecycle.cancel import cancel
from melagent.engine.lifecycle.claim import claim, load
from melagent.engine.lifecycle.hold import Holder
from melagent.engine.lifecycle.pause import pause, resume
from melagent.engine.lifecycle.record import Recorder
from melagent.engine.lifecycle.signal import send
from melagent.engine.lifecycle.start import Starter
from melagent.errors import Conflict, NotFound
from melagent.store import inbox, journal, payloads, pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from melagent.domain.run import StepRecord
    from melagent.domain.work import Entry, Message, NewRun, WorkItem
    from melagent.engine.lifecycle.hold import Extended
    from tests.model.run import ModelRun

LEASE = 1000.0
NOBODY = UUID(int=7)
MANY = 1_000


class Slots:
    """Free places for eager starts: as many as the test says."""

    worker_id = "eager"

    def __init__(self) -> None:
        self.free = 0
        self.items: list[WorkItem] = []

    def meets(self, required: str) -> bool:
        return not required

    def reserve(self, wanted: int) -> int:
        count = min(wanted, self.free)
        self.free -= count
        return count

    def release(self, count: int) -> None:
        self.free += count

    def run(self, items: Sequence[WorkItem], held_from: float) -> None:
        self.items.extend(items)


class Database:
    """The lifecycle on PostgreSQL, called from plain functions."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._runner = runner
        self.pool = self.wait(pool.create_pool(url))
        self.slots = Slots()
        self.recorder = Recorder(self.pool, lease_seconds=LEASE, on_recorded=lambda *_: None)
        self.starter = Starter(
            self.pool,
            lease_seconds=LEASE,
            offer=self._offer,
            on_queued=lambda _: None,
            on_limited=lambda _: None,
        )

    def _offer(self, required: str) -> Slots | None:
        return self.slots if self.slots.meets(required) and self.slots.reserve(1) else None

    def wait(self, call: Awaitable[Any]) -> Any:
        async def called() -> Any:
            return await call

        return self._runner.run(called())

    def close(self) -> None:
        self.wait(self.pool.close())

    def start(self, runs: Sequence[NewRun], eager: int) -> list[WorkItem]:
        """Start all runs in one statement; those that were leased to this process at once."""
        self.slots.free, self.slots.items = eager, []

        async def together() -> None:
            await asyncio.gather(*(self.starter.start(run) for run in runs))

        self.wait(together())
        return self.slots.items

    def claim(self, limit: int, wanted: Sequence[str]) -> list[WorkItem]:
        """Free runs with these requirements, leased and loaded."""

        async def together() -> list[WorkItem]:
            claimed = await claim(self.pool, ["worker"] * limit, wanted, LEASE)
            return [await load(self.pool, item) for _, item in claimed]

        return self.wait(together())

    def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        return self.wait(Holder(self.pool, lease_seconds=LEASE).extend(leases))

    def write(self, entries: Sequence[Entry]) -> list[Any]:
        async def together() -> list[Any]:
            return await asyncio.gather(*[self.recorder.submit(entry) for entry in entries])

        return self.wait(together())

    def cancel(self, run_id: UUID) -> str:
        return self._answer(cancel(self.pool, run_id))

    def send(self, run_id: UUID, name: str, value: bytes) -> str:
        return self._answer(send(self.pool, run_id, name, value))

    def pause(self, run_id: UUID) -> str:
        return self._answer(pause(self.pool, run_id))

    def resume(self, run_id: UUID) -> str:
        return self._answer(resume(self.pool, run_id))

    def _answer(self, call: Awaitable[Any]) -> str:
        """`done`, or the code of the error."""
        try:
            self.wait(call)
        except (Conflict, NotFound) as error:
            return error.code
        return "done"

    def let_pass(self, seconds: float, run_ids: Iterable[UUID]) -> None:
        self.wait(
            self.pool.execute(
                f"UPDATE work_items SET lease_expires_at = lease_expires_at - interval '{seconds} s',"
                f" deadline_at = deadline_at - interval '{seconds} s';"
                f"UPDATE parked SET wake_at = wake_at - interval '{seconds} s',"
                f" deadline_at = deadline_at - interval '{seconds} s'"
            )
        )
        self.wait(
            self.pool.execute(
                f"UPDATE steps SET wake_at = wake_at - interval '{seconds} s' WHERE run_id = ANY($1::uuid[])",
                list(run_ids),
            )
        )

    def forget(self) -> None:
        tables = ("work_items", "parked", "run_inbox", "runs")
        self.wait(self.pool.execute("; ".join(f"DELETE FROM {table}" for table in tables)))


def comparable(item: WorkItem) -> WorkItem:
    """What both must agree on: all but the token, the numbers of messages, and what depends on the clock."""
    steps = tuple(sorted((plain(step) for step in item.journal or ()), key=lambda step: (step.seq, step.step_key)))
    messages = tuple(replace(message, id=0) for message in in_order(item.inbox))
    return replace(item, lease=NOBODY, deadline_in=None, journal=steps, inbox=messages)


def in_order(messages: Iterable[Message]) -> list[Message]:
    """Messages of a topic in their order; those about children, which may end at the same moment, by the child."""
    return sorted(messages, key=lambda m: (m.topic, m.child_id or NOBODY, 0 if m.topic == CHILD_TOPIC else m.id))


def plain(step: StepRecord) -> StepRecord:
    return replace(step, due_in=None, logs=())


def durations(item: WorkItem) -> dict[str, float | None]:
    return {"deadline": item.deadline_in} | {step.step_key: step.due_in for step in item.journal or ()}


STATE = """
SELECT r.id, r.status, r.output, r.output_hash, r.error, r.settled_lease, r.settled_seq,
       r.finished_at IS NOT NULL AS ended, coalesce(w.attempt, p.attempt, r.attempt) AS attempt,
       coalesce(w.priority, p.priority, r.priority) AS priority, w.lease, w.lease_seq, w.expiries, p.reason,
       coalesce(w.requires, p.requires) AS requires, coalesce(w.limited_by, p.limited_by) AS limited_by,
       coalesce(w.limit_to, p.limit_to) AS limit_to, coalesce(w.pausing, false) AS pausing,
       coalesce(p.waits, '{}') AS waits, EXISTS (SELECT FROM run_inbox i WHERE i.run_id = r.id) AS mail,
       extract(epoch FROM w.lease_expires_at - now())::float8 AS expires_in,
       extract(epoch FROM p.wake_at - now())::float8 AS wake_in,
       extract(epoch FROM coalesce(w.deadline_at, p.deadline_at) - now())::float8 AS deadline_in
  FROM runs r LEFT JOIN work_items w ON w.run_id = r.id LEFT JOIN parked p ON p.run_id = r.id
 WHERE r.id = ANY($1::uuid[])
"""


async def stored_states(pool: Any, run_ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """What the tables hold of each run, with its steps and large values."""
    async with pool.acquire() as conn:
        found = {}
        for row in await conn.fetch(STATE, run_ids):
            output = row["output"]
            if row["output_hash"]:
                output = (await payloads.load(conn, row["id"], [row["output_hash"]]))[row["output_hash"]]
            steps = {step.step_key: plain(step) for step in await journal.journal(conn, row["id"])}
            messages = await inbox.unread(conn, row["id"], MANY) if row["mail"] else ()
            found[row["id"]] = dict(row) | {"output": output, "steps": steps, "inbox": messages}
        return found


PLACE = ("requires", "limited_by", "limit_to", "pausing", "expiries")


def state_of_row(stored: dict[str, Any], tokens: dict[UUID, UUID]) -> dict[str, Any]:
    """The stored state, with the model's tokens in place of the database's."""
    settled = (tokens[stored["settled_lease"]], stored["settled_seq"]) if stored["settled_lease"] else None
    return {
        "status": stored["status"],
        "ended": stored["ended"],
        "output": stored["output"],
        "failed": stored["error"] is not None,
        "attempt": stored["attempt"],
        "priority": stored["priority"],
        "lease": tokens[stored["lease"]] if stored["lease"] else None,
        "lease_seq": stored["lease_seq"] if stored["lease"] else None,
        "settled": settled,
        "reason": stored["reason"],
        "waits": set(stored["waits"]),
        "place": {name: stored[name] or 0 for name in PLACE},
        "steps": {key: without_times(step) for key, step in stored["steps"].items()},
        "inbox": [replace(message, id=0) for message in in_order(stored["inbox"])],
    }


def state_of_model(run: ModelRun, messages: Iterable[Message]) -> dict[str, Any]:
    return {
        "status": run.status,
        "ended": run.status.final,
        "output": run.output,
        "failed": run.error is not None,
        "attempt": run.attempt,
        "priority": run.new.priority,
        "lease": run.lease,
        "lease_seq": run.lease_seq if run.lease else None,
        "settled": run.settled,
        "reason": run.reason,
        "waits": set(run.waits),
        "place": dict.fromkeys(PLACE, 0) if run.status.final else _place_of_model(run),
        "steps": {key: without_times(step) for key, step in run.steps.items()},
        "inbox": [replace(message, id=0) for message in in_order(messages)],
    }


def _place_of_model(run: ModelRun) -> dict[str, Any]:
    limit = run.new.limit
    values = (run.requires, limit and limit.workflow_id, limit and limit.runs, run.pausing, run.expiries)
    return {name: value or 0 for name, value in zip(PLACE, values, strict=True)}


def without_times(step: StepRecord) -> StepRecord:
    return replace(plain(step), finished_at=None)


def moments_of_row(stored: dict[str, Any]) -> dict[str, float | None]:
    return {name: stored[name] for name in ("expires_in", "wake_in", "deadline_in")}


def moments_of_model(run: ModelRun, now: float) -> dict[str, float | None]:
    deadline = None if run.status.final or run.deadline_at is None else run.deadline_at - now
    return {
        "expires_in": run.expires_at - now if run.lease else None,
        "wake_in": None if run.wake_at is None else run.wake_at - now,
        "deadline_in": deadline,
    }
