"""Remote workers as an instance knows them: registrations, sessions, heartbeats, and what passes under their leases.

A session is checked from memory, so a call costs no statement for it. That is safe: what a call of an older session may
still bring is fenced by the lease tokens it names, and a heartbeat is checked against the table. Nobody is refused from
memory: the worker may have registered at another instance a moment ago.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from melagent.domain.requirement import capabilities
from melagent.engine.ask import Asker
from melagent.engine.batch import Batcher
from melagent.engine.values import MAX_RUN_BYTES, MAX_VALUE_BYTES
from melagent.errors import Conflict, Forbidden, LeaseLost, NotFound, Problem, TooLarge, Unprocessable
from melagent.loop import Loop
from melagent.protocol.reading import NOTHING, child_call, step_command
from melagent.services.calls import Calls
from melagent.services.memory import BriefMemory
from melagent.services.workflows import found
from melagent.store import parts, payloads, runs, workers
from melagent.store.pool import transaction
from melagent.store.workers import Heartbeat, WorkerRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.commands import StepCommand
    from melagent.domain.variables import Wanted
    from melagent.domain.work import Caller, NewRun
    from melagent.engine.engine import Engine
    from melagent.engine.lifecycle.hold import Extended
    from melagent.protocol.messages import CallOf, EntryOf, Registration
    from melagent.protocol.reading import Fetched
    from melagent.registry import Registry
    from melagent.services.access import WorkerPrincipal
    from melagent.store.pool import Pool

TRUSTED_SECONDS = 45.0
"""Longer than a claim waits. Who was heard of is confirmed meanwhile, many by one statement: polling costs none."""

CONTACT_SECONDS = 5.0
SWEEP_SECONDS = 3600.0
"""After this time a worker that is silent is forgotten, and parts that no journal named are deleted."""

MAX_ENTRY_BYTES = MAX_RUN_BYTES + MAX_VALUE_BYTES
"""Of large values in one entry: all that the steps of a run may have, and the output of the run."""

REGISTER_AGAIN = Problem("session", "Register again.")
OTHER_SESSION = Problem("session", "This one has ended.")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Session:
    """A registered worker. One whose token has labels is bound to runs that require something."""

    session: UUID
    asker: Asker

    @property
    def worker_id(self) -> str:
        return self.asker.worker_id


class Workers:
    """The registered workers of all instances, as this one sees them. `loop` notes when they were last heard of."""

    def __init__(self, pool: Pool, engine: Engine, registry: Registry, instance: str) -> None:
        self._pool = pool
        self._calls = Calls(pool, registry)
        self._engine = engine
        self._instance = instance
        self._known = BriefMemory(self._find, TRUSTED_SECONDS)
        self._contacts: dict[str, UUID] = {}
        self._beats: Batcher[Heartbeat, Extended | None] = Batcher(
            self._take_in, lanes=1, size_of=lambda beat: 32 * len(beat.leases), key_of=lambda beat: beat.worker_id
        )
        self.loop = Loop("workers", self.one_pass, interval_seconds=CONTACT_SECONDS)

    async def register(self, principal: WorkerPrincipal, candidate: Registration) -> UUID:
        """Begin a session; the leases of an earlier one of this worker end, because its process has been restarted.

        A session that has begun before goes on as it is: its registration was sent again, or came late.
        Raises Forbidden for labels that the token does not allow, Conflict when the id is somebody else's.
        """
        if principal.labels and not principal.labels.issuperset(candidate.labels):
            allowed = ", ".join(sorted(principal.labels))
            raise Forbidden(f"This token allows only workers with labels among {allowed}.")
        session = candidate.session or uuid4()
        row = WorkerRow(
            id=candidate.id,
            session=session,
            token_id=principal.id,
            name=candidate.name or candidate.id,
            version=candidate.version,
            labels=list(candidate.labels),
            node_types=list(candidate.node_types),
            concurrency=candidate.concurrency,
            instance=self._instance,
        )
        async with transaction(self._pool) as conn:
            begun_at = await workers.register(conn, row)
            present = await workers.find(conn, candidate.id) if begun_at is None else None
        if present is not None and (present.session, present.token_id) == (session, principal.id):
            return session
        if begun_at is None:
            raise Conflict(f"A worker with the id {candidate.id!r} is registered already, with another token.")
        await self._engine.release_workers({candidate.id: begun_at})
        self._known.forget(candidate.id)
        log.info("worker registered", worker_id=candidate.id, labels=row.labels, concurrency=row.concurrency)
        return session

    async def check(self, principal: WorkerPrincipal, worker_id: str, session: UUID) -> Session:
        """The session of a call. NotFound: register again. Conflict: another process has registered under this id."""
        row = await self._known.get(worker_id)
        if row is None or (row.session, row.token_id) != (session, principal.id):
            row = await self._known.get_anew(worker_id)
        if row is None or row.token_id != principal.id:
            raise NotFound("This worker is not registered.", [REGISTER_AGAIN])
        if row.session != session:
            raise Conflict("Another process has registered as this worker since.", [OTHER_SESSION])
        self._contacts[worker_id] = session
        offered = capabilities(row.labels, row.node_types)
        return Session(session, Asker(worker_id, offered, bound=bool(principal.labels)))

    async def heartbeat(self, beat: Heartbeat) -> Extended:
        """Extend all leases of a worker, and free those it has let go. Conflict for a heartbeat that comes too late."""
        extended = await self._beats.submit(beat)
        if extended is None:
            raise Conflict("A later heartbeat, or a later session, has been here before.")
        return extended

    async def unregister(self, session: Session) -> None:
        """Forget a worker and free its runs. May be repeated; a session that a later one has ended frees nothing."""
        self._known.forget(session.worker_id)
        async with transaction(self._pool) as conn:
            ended_at = await workers.forget(conn, session.worker_id, session.session)
        if ended_at is not None:
            self._contacts.pop(session.worker_id, None)
            await self._engine.release_workers({session.worker_id: ended_at})

    async def page(self, after: str, limit: int) -> tuple[list[workers.ListedWorker], int]:
        """The workers with an id behind `after`, in the order of their ids, and how many there are in all."""
        async with self._pool.acquire() as conn:
            return await workers.page(conn, after, limit), await workers.count(conn)

    async def held(self, session: Session, run_ids: Collection[UUID]) -> set[UUID]:
        """Those of the runs that the worker holds."""
        async with self._pool.acquire() as conn:
            return await workers.held(conn, session.worker_id, run_ids)

    async def check_run(self, session: Session, run_id: UUID) -> None:
        """Raises Forbidden unless the worker holds this run."""
        if not await self.held(session, [run_id]):
            raise Forbidden("A worker sees only the runs that it holds.")

    async def check_value(self, session: Session, run_id: UUID) -> None:
        """Raises Forbidden unless the worker holds this run, or the run that waits for its end."""
        if await self.held(session, [run_id]):
            return
        async with self._pool.acquire() as conn:
            if not await workers.holds_parent(conn, session.worker_id, run_id):
                raise Forbidden("A worker sees only the runs that it holds.")

    async def child(self, run_id: UUID, call: CallOf, fetched: Fetched = NOTHING) -> NewRun:
        """The run that a call of this run would start; the errors of `Calls.resolve`."""
        caller, depth = await self._caller(run_id)
        return await self._calls.resolve(child_call(call, run_id, caller, depth + 1, fetched))

    async def starts(self, message: EntryOf, fetched: Fetched) -> tuple[NewRun, ...]:
        """The runs that an entry starts. What a worker says of them is looked up anew: it may be any worker."""
        return tuple([await self.child(message.run_id, call, fetched) for call in message.starts])

    async def commands(self, message: EntryOf, fetched: Fetched) -> tuple[StepCommand, ...]:
        """The commands of an entry. A worker cannot say which workflow's variables it means: they are the run's."""
        caller, _ = await self._caller(message.run_id)
        return tuple(step_command(command, caller.workflow_id, fetched) for command in message.commands)

    async def variables(self, run_id: UUID, wanted: Wanted) -> dict[str, bytes]:
        """Variables that a run sees. TooLarge above 16 MiB in all."""
        caller, _ = await self._caller(run_id)
        return await self._engine.variables(caller.workflow_id, wanted)

    async def check_version(self, session: Session, version_id: UUID) -> None:
        """Raises Forbidden unless the worker holds a run of this version."""
        async with self._pool.acquire() as conn:
            if not await workers.holds_version(conn, session.worker_id, version_id):
                raise Forbidden("A worker sees only the versions of runs that it holds.")

    async def value(self, run_id: UUID, digest: bytes) -> bytes:
        """A large value of a run, by its hash."""
        async with self._pool.acquire() as conn:
            found = await payloads.load(conn, run_id, [digest])
        if digest not in found:
            raise NotFound("This run has no such value.")
        return found[digest]

    async def put_part(self, run_id: UUID, lease: UUID, digest: bytes, *, start: int, total: int, data: bytes) -> None:
        """Keep a part of a value until the journal names it. LeaseLost unless the run is held with this lease."""
        async with transaction(self._pool) as conn:
            if not await parts.put(conn, run_id, lease, digest, start=start, total=total, data=data):
                raise LeaseLost

    async def uploaded(self, run_id: UUID, digests: Collection[bytes]) -> dict[bytes, bytes]:
        """Values whose parts have come, or that the run has already. Unprocessable names those that are missing.

        TooLarge when they are more than a run may have: nobody shall make an instance load them all.
        """
        async with self._pool.acquire() as conn:
            _check_size(await parts.size(conn, run_id, digests))
            found = await parts.load(conn, run_id, digests)
        sound = await asyncio.to_thread(_sound, found)
        if left := [digest for digest in digests if digest not in sound]:
            async with self._pool.acquire() as conn:
                _check_size(await payloads.size(conn, run_id, left))
                sound |= await payloads.load(conn, run_id, left)
        if missing := [digest.hex() for digest in digests if digest not in sound]:
            raise Unprocessable(f"These values were not uploaded whole: {', '.join(missing)}.")
        return sound

    async def drop_parts(self, run_id: UUID, digests: Collection[bytes]) -> None:
        async with self._pool.acquire() as conn:
            await parts.drop(conn, run_id, digests)

    async def _caller(self, run_id: UUID) -> tuple[Caller, int]:
        async with self._pool.acquire() as conn:
            return found(await runs.caller(conn, run_id), "run")

    async def one_pass(self) -> float | None:
        """Note who was heard of since the last pass, for all of them in one statement; and forget what is long over.

        The same statement tells whose session is still the worker's own.
        """
        contacts, self._contacts = self._contacts, {}
        current: set[str] = set()
        async with transaction(self._pool) as conn:
            if contacts:
                current = await workers.contact(conn, contacts, self._instance)
            await workers.forget_silent(conn, SWEEP_SECONDS)
            await parts.sweep(conn, SWEEP_SECONDS)
        for worker_id in contacts:
            if worker_id in current:
                self._known.confirm(worker_id)
            else:
                self._known.forget(worker_id)
        return None

    async def _find(self, worker_id: str) -> WorkerRow | None:
        async with self._pool.acquire() as conn:
            return await workers.find(conn, worker_id)

    async def _take_in(self, beats: Sequence[Heartbeat]) -> list[Extended | None]:
        """Heartbeats of many workers: order checked, leases extended, those let go freed, with a statement for each.

        A lease that the worker does not name was let go only if it was granted before the heartbeat before this one:
        what was granted since may still be on its way to the worker.
        """
        async with transaction(self._pool) as conn:
            previous = await workers.beat(conn, beats, self._instance)
        in_order = [beat for beat in beats if beat.worker_id in previous]
        answers = await asyncio.gather(*(self._engine.extend(beat.leases) for beat in in_order))
        granted_before = {worker_id: moment for worker_id, moment in previous.items() if moment is not None}
        if granted_before:
            kept = [lease for beat in in_order for lease in beat.leases.values()]
            await self._engine.release_workers(granted_before, kept)
        by_worker = dict(zip((beat.worker_id for beat in in_order), answers, strict=True))
        return [by_worker.get(beat.worker_id) for beat in beats]


def _check_size(size: int) -> None:
    if size > MAX_ENTRY_BYTES:
        raise TooLarge(f"The large values of an entry may have {MAX_ENTRY_BYTES:,} bytes together.")


def _sound(found: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The values that are what their hash says."""
    return {digest: value for digest, value in found.items() if hashlib.sha256(value).digest() == digest}
