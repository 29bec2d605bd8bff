"""The worker protocol, on the side of the instance; `melagent.protocol` says what passes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from melagent.api.auth import require_still_a_worker
from melagent.api.bodies import LARGE_BYTES, parsed
from melagent.api.context import SECRETS, STREAM, WORKER, WORKERS, services_of, uuid_in_path
from melagent.api.wire import UNBUFFERED, answer, answer_message
from melagent.domain.variables import KEY_PATTERN, Wanted, is_key
from melagent.domain.work import Verdict
from melagent.engine.live import LiveLine
from melagent.engine.values import MAX_VALUE_BYTES
from melagent.errors import BadRequest, Conflict, LeaseLost, MelError, NotFound, Problem, TooLarge, Unavailable
from melagent.protocol.messages import (
    PART_BYTES,
    VERSION,
    Beat,
    BeatAnswer,
    ChildAnswer,
    ChildQuestion,
    Claim,
    CompleteCall,
    EntryOf,
    EventsCall,
    JournalAnswer,
    JournalCall,
    Message,
    Registered,
    Registration,
    Rejection,
    SecretQuestion,
    Value,
    VariablesAnswer,
)
from melagent.protocol.reading import entry_of, hashes_in
from melagent.protocol.writing import encoded, item_message, message_message, secret_message, step_message
from melagent.store import versions
from melagent.store.workers import Heartbeat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence

    from melagent.domain.work import WorkItem
    from melagent.engine.ask import Asker
    from melagent.services.workers import Session

STEPS_A_PAGE = 200


class SessionQuery(Message):
    session: UUID


class PageQuery(SessionQuery):
    after: int = 0
    limit: int = Field(default=STEPS_A_PAGE, ge=1, le=STEPS_A_PAGE)


class VariablesQuery(SessionQuery):
    keys: str | None = None
    prefix: str = Field(default="", pattern=rf"^$|{KEY_PATTERN}")
    scope: Literal["workflow", "global"] | None = None


class PartQuery(SessionQuery):
    lease: UUID
    offset: int = 0
    total: int


async def register(request: web.Request, body: Registration) -> web.Response:
    """Register a worker, or begin a new session of a known one."""
    services = services_of(request)
    if body.protocol != VERSION:
        raise Conflict(f"This server speaks version {VERSION} of the worker protocol, the worker {body.protocol}.")
    session = await request.app[WORKERS].register(request[WORKER], body)
    registered = Registered(
        id=body.id,
        session=session,
        lease_seconds=services.engine.lease_seconds,
        heartbeat_seconds=services.heartbeat_seconds,
        instance=services.instance,
    )
    return answer_message(registered, 201)


async def unregister(request: web.Request, query: SessionQuery) -> web.Response:
    """Forget a worker, and give its runs to others at once."""
    await request.app[WORKERS].unregister(await _session(request, query.session))
    return web.Response(status=204)


async def heartbeat(request: web.Request, body: Beat) -> web.Response:
    """Keep all leases of a worker; what it does not name it has let go."""
    session = await _session(request, body.session)
    beat = Heartbeat(session.worker_id, session.session, body.seq, body.leases, body.draining)
    extended = await request.app[WORKERS].heartbeat(beat)
    beaten = BeatAnswer(
        lost=tuple(extended.lost),
        cancelled=tuple(extended.cancelled),
        paused=tuple(extended.paused),
        mail=tuple(extended.mail),
    )
    return answer_message(beaten)


async def claim_work(request: web.Request, body: Claim) -> web.StreamResponse:
    """Wait for runs, and lease them: the first that come, none when there are none for a while.

    Nothing is handed over to a worker whose token was revoked meanwhile: other workers get it at once.

    With `stream` each run is sent as soon as there is one, on a line of its own, until as many have come as were
    asked for or the wait is over.
    """
    services, session = services_of(request), await _session(request, body.session)
    if services.draining.is_set():
        raise Unavailable("This instance is about to stop; ask again.")
    if body.stream:
        return await _stream_work(request, session.asker, body)
    items = await services.engine.desk.ask(session.asker, body.max_items, body.wait_seconds, lambda: _is_there(request))
    async with _given_back_on_failure(request, items):
        response = web.Response(body=await _items(request, items), content_type="application/json")
        await response.prepare(request)
        await response.write_eof()
    return response


async def _stream_work(request: web.Request, asker: Asker, body: Claim) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **UNBUFFERED})
    await response.prepare(request)
    request[STREAM] = response
    await response.write(b"\n")  # so that the worker sees that nobody on the way holds lines back
    async with services_of(request).engine.desk.asking(asker, body.max_items, lambda: _is_there(request)) as ask:
        until = ask.asked_at + body.wait_seconds
        while await ask.some(until - asyncio.get_running_loop().time()):
            items = ask.take()
            async with _given_back_on_failure(request, items):
                await response.write(await _items(request, items) + b"\n")
    await response.write_eof()
    return response


@asynccontextmanager
async def _given_back_on_failure(request: web.Request, items: Sequence[WorkItem]) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await services_of(request).engine.give_back({item.run_id: item.lease for item in items})
        raise


async def _items(request: web.Request, items: Iterable[WorkItem]) -> bytes:
    await require_still_a_worker(request)
    engine = services_of(request).engine
    return encoded([item_message(await engine.linked(item)) for item in items])


async def journal(request: web.Request, body: JournalCall) -> web.Response:
    """Record steps and settle leases, of many runs; what is not rejected is durable."""
    await _session(request, body.session)
    return answer_message(JournalAnswer(rejected=await _record(request, body.entries, body.sent_at)))


async def complete_work(request: web.Request, body: CompleteCall) -> web.Response:
    """Record one entry of one run; 409 when its lease is lost."""
    await _session(request, body.session)
    entry = EntryOf(
        run_id=uuid_in_path(request, "item_id"),
        lease=body.lease,
        seq=body.seq,
        steps=body.steps,
        starts=body.starts,
        taken=body.taken,
        commands=body.commands,
        settle=body.settle,
    )
    for rejected in await _record(request, [entry], body.sent_at):
        raise _error_of(rejected)
    return answer_message(JournalAnswer())


async def events(request: web.Request, body: EventsCall) -> web.Response:
    """Show log lines and texts of running steps to those who watch; not those of runs that the worker does not hold."""
    session = await _session(request, body.session)
    held = await request.app[WORKERS].held(session, {event.run_id for event in body.events})
    live = services_of(request).engine.live
    for event in body.events:
        if event.run_id in held:
            ids = (event.run_id, event.step_key, event.attempt, event.number)
            live.publish(LiveLine(*ids, event.data, event.kind))
    return web.Response(status=204)


async def get_version(request: web.Request, query: SessionQuery) -> web.Response:
    """The definition of a version that the worker holds a run of."""
    session, version_id = await _session(request, query.session), uuid_in_path(request, "version_id")
    await request.app[WORKERS].check_version(session, version_id)
    async with services_of(request).pool.acquire() as conn:
        text = await versions.definition_of(conn, version_id)
    if text is None:
        raise NotFound("There is no such version.")
    return web.Response(body=text, content_type="application/json")


async def get_journal(request: web.Request, query: PageQuery) -> web.Response:
    """The recorded steps of a run that the worker holds, after a `seq`."""
    session, run_id = await _session(request, query.session), uuid_in_path(request, "run_id")
    await request.app[WORKERS].check_run(session, run_id)
    found = await services_of(request).engine.steps_after(run_id, query.after, query.limit)
    steps = [step_message(record, digest) for record, digest in found]
    return answer({"steps": steps, "more": len(found) == query.limit, "now": datetime.now(UTC)})


async def get_inbox(request: web.Request, query: SessionQuery) -> web.Response:
    """The messages that a run has not taken in, which the worker holds."""
    session, run_id = await _session(request, query.session), uuid_in_path(request, "run_id")
    await request.app[WORKERS].check_run(session, run_id)
    messages = await services_of(request).engine.unread(run_id)
    return answer({"messages": [message_message(message) for message in messages]})


async def get_variables(request: web.Request, query: VariablesQuery) -> web.Response:
    """Variables that a run sees, which the worker holds."""
    session, run_id = await _session(request, query.session), uuid_in_path(request, "run_id")
    await request.app[WORKERS].check_run(session, run_id)
    keys = None if query.keys is None else frozenset(filter(is_key, query.keys.split(",")))
    found = await request.app[WORKERS].variables(run_id, Wanted(keys, query.prefix, query.scope))
    return answer_message(VariablesAnswer(variables={key: value.decode() for key, value in found.items()}))


async def secrets(request: web.Request, body: SecretQuestion) -> web.Response:
    """A connection, opened: for a live lease of the worker's session on a run whose definition names it."""
    session = await _session(request, body.session)
    secret = await request.app[SECRETS].of_lease(session.worker_id, body.run_id, body.lease, body.connection_id)
    response = answer(secret_message(secret))
    response.headers["Cache-Control"] = "no-store"
    return response


async def children(request: web.Request, body: ChildQuestion) -> web.Response:
    """What a call of a run that the worker holds would start."""
    session = await _session(request, body.session)
    await request.app[WORKERS].check_run(session, body.run_id)
    call = body.call.model_copy(update={"input": Value(text="null")})  # it may not have been uploaded yet
    run = await request.app[WORKERS].child(body.run_id, call)
    return answer_message(ChildAnswer(workflow_id=run.workflow_id, version_id=run.version_id, entry=run.entry))


async def get_payload(request: web.Request, query: SessionQuery) -> web.Response:
    """A large value of a run that the worker holds, or of a child of such a run."""
    session, run_id = await _session(request, query.session), uuid_in_path(request, "run_id")
    workers = request.app[WORKERS]
    await workers.check_value(session, run_id)
    return web.Response(body=await workers.value(run_id, _digest(request)), content_type="application/octet-stream")


async def put_payload(request: web.Request, query: PartQuery) -> web.Response:
    """Upload a part of a large value of a run; the journal then names the value by its hash."""
    await _session(request, query.session)
    data = await request.read()
    if len(data) > PART_BYTES or query.total > MAX_VALUE_BYTES:
        raise TooLarge(f"A part may have {PART_BYTES:,} bytes and a value {MAX_VALUE_BYTES:,}.")
    if query.offset < 0 or not data or query.offset + len(data) > query.total:
        raise BadRequest(details=[Problem("offset", "The part does not lie within the value.")])
    await request.app[WORKERS].put_part(
        uuid_in_path(request, "run_id"),
        query.lease,
        _digest(request),
        start=query.offset,
        total=query.total,
        data=data,
    )
    return web.Response(status=204)


async def _session(request: web.Request, session: UUID) -> Session:
    return await request.app[WORKERS].check(request[WORKER], request.match_info["id"], session)


async def _record(request: web.Request, messages: Sequence[EntryOf], sent_at: datetime) -> tuple[Rejection, ...]:
    """Record entries; those that changed nothing. The others are durable."""
    size = len(await request.read())
    writes = [_write(request, message, sent_at, size) for message in messages]
    results = await asyncio.gather(*writes, return_exceptions=True)
    rejections = (_rejection(message, result) for message, result in zip(messages, results, strict=True))
    return tuple(rejection for rejection in rejections if rejection is not None)


def _write(request: web.Request, message: EntryOf, sent_at: datetime, size: int) -> Awaitable[Verdict]:
    """Write one entry, of a call of this size. Most say all by themselves; those do not need a task of their own."""
    if size > LARGE_BYTES or message.starts or message.commands or hashes_in(message):
        return _look_up_and_write(request, message, sent_at, size)
    try:
        entry = entry_of(message, sent_at)
    except MelError as error:
        return _fail(error)
    return services_of(request).engine.recorder.submit(entry)


async def _fail(error: MelError) -> Verdict:
    raise error


async def _look_up_and_write(request: web.Request, message: EntryOf, sent_at: datetime, size: int) -> Verdict:
    digests = [bytes.fromhex(digest) for digest in hashes_in(message)]
    workers = request.app[WORKERS]
    uploaded = await workers.uploaded(message.run_id, digests) if digests else {}
    fetched = {digest.hex(): value for digest, value in uploaded.items()}
    starts = await workers.starts(message, fetched) if message.starts else ()
    commands = await workers.commands(message, fetched) if message.commands else ()
    size += sum(map(len, fetched.values()))
    entry = await parsed(request, size, lambda: entry_of(message, sent_at, fetched, starts, commands))
    verdict = await services_of(request).engine.recorder.submit(entry)
    if verdict is Verdict.ACCEPTED and digests:
        await workers.drop_parts(message.run_id, digests)
    return verdict


def _rejection(message: EntryOf, result: Verdict | BaseException) -> Rejection | None:
    """What the worker is told of an entry; null when it is durable."""
    if result is Verdict.ACCEPTED:
        return None
    if isinstance(result, Verdict):
        return _rejected(message, "lease_lost" if result is Verdict.LEASE_LOST else "invalid", "")
    if not isinstance(result, MelError):
        raise result
    return _rejected(message, "unavailable" if isinstance(result, Unavailable) else "invalid", result.message)


def _rejected(message: EntryOf, error: Literal["lease_lost", "invalid", "unavailable"], text: str) -> Rejection:
    return Rejection.model_construct(run_id=message.run_id, lease=message.lease, error=error, message=text)


def _error_of(rejected: Rejection) -> MelError:
    if rejected.error == "lease_lost":
        return LeaseLost()
    return Unavailable(rejected.message) if rejected.error == "unavailable" else BadRequest(rejected.message)


def _is_there(request: web.Request) -> bool:
    """Whether the client still waits: aiohttp takes the transport away when the connection is lost."""
    return request.transport is not None and not request.transport.is_closing()


def _digest(request: web.Request) -> bytes:
    text = request.match_info["hash"]
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise NotFound("A value is named by the SHA-256 of its text, in hex.")
    return digest
