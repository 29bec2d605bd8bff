"""Work over HTTP from any API instance, for `server worker`; needs no database."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

import structlog

from melagent.domain.definition import Definition
from melagent.domain.work import NewRun, Verdict
from melagent.engine.batch import Batcher
from melagent.engine.lifecycle.hold import Extended
from melagent.engine.live import Backlog
from melagent.errors import Internal, LeaseLost, MelError, NotFound, TooLarge, Unavailable
from melagent.protocol import reading, writing
from melagent.protocol.messages import (
    INLINE_BYTES,
    MAX_ITEMS,
    PART_BYTES,
    BeatAnswer,
    ChildAnswer,
    InboxAnswer,
    JournalAnswer,
    JournalPage,
    SecretAnswer,
    VariablesAnswer,
)
from melagent.worker.connection import CALL_SECONDS, HeldBack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.run import StepRecord
    from melagent.domain.secrets import Secret
    from melagent.domain.variables import Wanted
    from melagent.domain.work import ChildCall, Entry, WorkItem
    from melagent.domain.work import Message as InboxMessage
    from melagent.engine.live import LiveLine
    from melagent.protocol.messages import MessageOf, Step
    from melagent.protocol.writing import Object
    from melagent.worker.connection import Connection

WAIT_SECONDS = 28.0
"""How long a claim waits at the server: below the 30 s and more after which proxies lose patience."""

BEGIN_SECONDS = 5.0
"""In which the answer to a claim must begin. A proxy on the way that keeps answers until they are whole would keep
work from the worker for longer than a lease."""

POLL_SECONDS = 600.0
"""How long work is asked for call by call then; the cause may have been a server that hung. Not shorter, because what
is granted until the next answer is found to be held back waits for its lease to run out."""

JOURNAL_LANES = 2
JOURNAL_PATIENCE_SECONDS = 0.05
"""For a call to an instance that is not far away; where each takes longer, two are under way."""

JOURNAL_ENTRIES = 8
"""Enough for a call beside the one under way: in a fuller one an entry costs hardly less, and runs wait longer."""

JOURNAL_BYTES = 400 * 1024
"""Of values in one call; with what is around them, and escaped as JSON, it stays below a proxy's limit of 1 MiB."""

BEAT_SHARE_OF_LEASE = 0.2
"""How long a heartbeat may take: with heartbeats every third of a lease there is time for two more."""

KEYS_CHARACTERS = 4_000
"""Names of variables in one call. For more than that all are fetched, as a proxy may refuse an address of 8 KiB."""

SECRET_SECONDS = 30.0
"""The instance may have to renew a token at a third party first."""

RETRY_SECONDS = 0.2
TELL_SECONDS = 0.2
MAX_LIVE_LINES = 200
"""In one call; further lines are seen when their step is recorded."""

log = structlog.get_logger()


class HttpSource:
    """A `WorkSource` over the worker protocol. `lease_seconds` is what the registration answered."""

    claims = 2
    """Through a balancer they wait at several instances: a run that starts there goes straight to this worker."""

    def __init__(self, connection: Connection, lease_seconds: float) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._beat_seq = count(1)
        self._beats: deque[float] = deque(maxlen=2)
        self._lines = Backlog(MAX_LIVE_LINES)
        self._telling: asyncio.Task[None] | None = None
        self._poll_until = -math.inf
        self._uploads: set[asyncio.Task[Verdict]] = set()
        self._claims: set[asyncio.Task[None]] = set()
        self._entries: Batcher[Entry, Verdict] = Batcher(
            self._write,
            lanes=JOURNAL_LANES,
            size_of=_size,
            key_of=lambda entry: entry.run_id,
            max_bytes=JOURNAL_BYTES,
            patience=JOURNAL_PATIENCE_SECONDS,
            enough=JOURNAL_ENTRIES,
        )

    def on_work(self, listener: Callable[[], None]) -> None:
        """Never called: a claim that waits is answered as soon as there is work."""

    async def claim(self, limit: int, take: Callable[[Sequence[WorkItem]], None]) -> None:
        """Lease up to `limit` runs within 28 s, and as long as the server is away wait for it."""
        claiming = asyncio.create_task(self._claim(limit, take))
        self._claims.add(claiming)
        claiming.add_done_callback(self._claims.discard)
        await asyncio.wait([claiming])
        if not claiming.cancelled():
            claiming.result()

    def stop_claiming(self) -> None:
        """Break off claims that wait. What the server grants to them meanwhile it takes back."""
        for claiming in self._claims:
            claiming.cancel()

    async def _claim(self, limit: int, take: Callable[[Sequence[WorkItem]], None]) -> None:
        clock = asyncio.get_running_loop().time
        asked_at = sent_at = clock()
        stream = asked_at >= self._poll_until

        def message(session: UUID) -> Object:
            nonlocal sent_at
            sent_at = clock()
            asked = {"max_items": min(limit, MAX_ITEMS), "wait_seconds": WAIT_SECONDS, "stream": stream}
            return {"session": session, **asked}

        def heard(line: bytes) -> None:
            items = reading.work_items(line, sent_at - asked_at)
            if good := [item for item in items if not self._may_be_released(asked_at + item.granted_after)]:
                take(good)

        try:
            await self._connection.stream(
                "/claim-work",
                message,
                heard,
                seconds=WAIT_SECONDS + CALL_SECONDS,
                begins_within=BEGIN_SECONDS if stream else None,
            )
        except HeldBack:
            self._poll_until = clock() + POLL_SECONDS
            log.info("answers are held back on the way: asking for work call by call", seconds=POLL_SECONDS)

    def _may_be_released(self, granted_at: float) -> bool:
        """Whether two heartbeats went out since the grant that did not name it: the server may have freed the run."""
        return len(self._beats) == 2 and self._beats[0] > granted_at

    async def load(self, item: WorkItem) -> WorkItem:
        if item.loaded:
            return item
        run_input, journal = item.input, item.journal
        if run_input is None and item.input_hash is not None:
            run_input = await self._value(item.run_id, item.input_hash.hex())
        return replace(
            item,
            input=run_input or b"null",
            input_hash=None,
            journal=await self._journal(item.run_id) if journal is None else journal,
            inbox=tuple(await self.inbox(item.run_id)) if journal is None else item.inbox,
        )

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        if not writing.large_values(entry):
            return self._entries.submit(entry)
        uploading = asyncio.create_task(self._upload_and_submit(entry))
        self._uploads.add(uploading)
        uploading.add_done_callback(self._uploads.discard)
        return uploading

    async def child(self, call: ChildCall) -> NewRun:
        def message(session: UUID) -> Object:
            return {"session": session, "run_id": call.parent.run_id, "call": writing.call_message(call)}

        data = await self._connection.call("POST", "/children", message, patience=self._lease_seconds)
        answer = ChildAnswer.model_validate_json(data)
        return NewRun(
            id=call.run_id,
            workflow_id=answer.workflow_id,
            version_id=answer.version_id,
            entry=answer.entry,
            input=call.input,
            parent=call.parent,
            scope=call.scope,
        )

    async def recorded(self, run_id: UUID, seq: int) -> StepRecord:
        for step in (await self._journal_page(run_id, seq - 1, limit=1))[0]:
            if step.seq == seq:
                return step
        raise NotFound(f"The run {run_id} has no step {seq}.")

    async def variables(self, run_id: UUID, _workflow_id: UUID | None, wanted: Wanted) -> dict[str, bytes]:
        params = {"prefix": wanted.prefix, **({"scope": wanted.scope} if wanted.scope else {})}
        keys = ",".join(sorted(wanted.keys or ()))
        if wanted.keys is not None and len(keys) <= KEYS_CHARACTERS:
            params["keys"] = keys
        data = await self._connection.call(
            "GET", f"/variables/{run_id}", params=params, seconds=3 * CALL_SECONDS, patience=self._lease_seconds
        )
        found = VariablesAnswer.model_validate_json(data).variables
        return {key: value.encode() for key, value in found.items() if wanted.includes(key)}

    async def secret(self, run_id: UUID, lease: UUID, connection_id: UUID) -> Secret:
        def message(session: UUID) -> Object:
            return {"session": session, "run_id": run_id, "lease": lease, "connection_id": connection_id}

        data = await self._connection.call(
            "POST", "/secrets", message, seconds=SECRET_SECONDS, patience=self._lease_seconds
        )
        return reading.secret(SecretAnswer.model_validate_json(data))

    async def inbox(self, run_id: UUID) -> Sequence[InboxMessage]:
        data = await self._connection.call("GET", f"/inbox/{run_id}", patience=self._lease_seconds)
        return [await self._message(run_id, message) for message in InboxAnswer.model_validate_json(data).messages]

    async def _message(self, run_id: UUID, message: MessageOf) -> InboxMessage:
        digest = message.value.hash if message.value is not None else None
        owner = message.child_id or run_id
        return reading.inbox_message(message, {digest: await self._value(owner, digest)} if digest else {})

    async def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        """One heartbeat, with little patience: an instance that hangs must not cost the leases, another one answers."""
        seq = next(self._beat_seq)
        self._beats.append(asyncio.get_running_loop().time())

        def message(session: UUID) -> Object:
            return {"session": session, "seq": seq, "leases": {str(run): lease for run, lease in leases.items()}}

        seconds = self._lease_seconds * BEAT_SHARE_OF_LEASE
        answer = await self._connection.call("PUT", "/heartbeat", message, seconds=seconds, patience=0)
        beat = BeatAnswer.model_validate_json(answer)
        return Extended(*map(frozenset, (beat.lost, beat.cancelled, beat.paused, beat.mail)))

    async def definition(self, version_id: UUID) -> Definition:
        answer = await self._connection.call("GET", f"/versions/{version_id}", patience=self._lease_seconds)
        return Definition.model_validate_json(answer)

    def tell(self, line: LiveLine) -> None:
        """Show a line to those who watch, soon and if that is possible."""
        self._lines.add(line)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_all())

    async def drain(self) -> None:
        """Wait until everything submitted has been answered."""
        if self._uploads:
            await asyncio.wait(self._uploads)
        await self._entries.drain()
        if self._telling is not None:
            await self._telling

    async def _tell_all(self) -> None:
        while self._lines:
            await asyncio.sleep(TELL_SECONDS)  # lines come in flocks
            await self._tell(self._lines.take())

    async def _tell(self, lines: Sequence[LiveLine]) -> None:
        events = [
            {
                "run_id": line.run_id,
                "step_key": line.step_key,
                "attempt": line.attempt,
                "number": line.number,
                "kind": line.kind,
                "data": line.line,
            }
            for line in lines
        ]

        def message(session: UUID) -> Object:
            return {"session": session, "events": events}

        try:
            await self._connection.call("POST", "/events", message, patience=0)
        except MelError as error:
            log.debug("log lines not shown", count=len(lines), error=error.message)

    async def _write(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Write entries until each is recorded or refused. Unavailable when that fails for a whole lease."""
        give_up_at = asyncio.get_running_loop().time() + self._lease_seconds
        verdicts = [Verdict.ACCEPTED] * len(entries)
        open_ = list(range(len(entries)))
        while True:
            left = give_up_at - asyncio.get_running_loop().time()
            answer = await self._send([entries[number] for number in open_], max(0.0, left))
            if not answer.rejected:
                return verdicts
            rejected = {rejection.run_id: rejection.error for rejection in answer.rejected}
            verdicts = [
                Verdict(error) if (error := rejected.get(entry.run_id)) and error != "unavailable" else verdict
                for entry, verdict in zip(entries, verdicts, strict=True)
            ]
            open_ = [number for number in open_ if rejected.get(entries[number].run_id) == "unavailable"]
            if not open_:
                return verdicts
            if left <= 0:
                raise Unavailable("The server cannot record this right now.")
            await asyncio.sleep(RETRY_SECONDS)

    async def _send(self, entries: Sequence[Entry], patience: float) -> JournalAnswer:
        messages = [writing.entry_message(entry) for entry in entries]

        def message(session: UUID) -> Object:
            return {"session": session, "sent_at": datetime.now(UTC), "entries": messages}

        return JournalAnswer.model_validate_json(
            await self._connection.call("POST", "/journal", message, patience=patience)
        )

    async def _upload_and_submit(self, entry: Entry) -> Verdict:
        """Apart from the entries of other runs: what goes wrong with a large value is of no concern to them."""
        try:
            await self._upload(entry)
        except LeaseLost:
            return Verdict.LEASE_LOST
        except TooLarge:
            return Verdict.INVALID
        return await self._entries.submit(entry)

    async def _upload(self, entry: Entry) -> None:
        """Send the values that are too large for the call itself, in parts."""
        for digest, value in writing.large_values(entry).items():
            for start in range(0, len(value), PART_BYTES):
                await self._connection.call(
                    "PUT",
                    f"/payloads/{entry.run_id}/{digest}",
                    data=value[start : start + PART_BYTES],
                    params={"lease": str(entry.lease), "offset": str(start), "total": str(len(value))},
                    patience=self._lease_seconds,
                )

    async def _journal(self, run_id: UUID) -> tuple[StepRecord, ...]:
        """All recorded steps of a run."""
        steps: list[StepRecord] = []
        more = True
        while more:
            page, more = await self._journal_page(run_id, steps[-1].seq if steps else 0)
            steps += page
        return tuple(steps)

    async def _journal_page(self, run_id: UUID, after: int, limit: int | None = None) -> tuple[list[StepRecord], bool]:
        """Recorded steps after a `seq`, and whether there are more."""
        params = {"after": str(after), **({"limit": str(limit)} if limit else {})}
        answer = await self._connection.call("GET", f"/journal/{run_id}", params=params, patience=self._lease_seconds)
        page = JournalPage.model_validate_json(answer)
        shift = datetime.now(UTC) - page.now
        steps = [reading.step_record(step, shift, await self._outputs(run_id, step)) for step in page.steps]
        return steps, page.more

    async def _outputs(self, run_id: UUID, step: Step) -> dict[str, bytes]:
        digest = step.output.hash if step.output is not None else None
        return {digest: await self._value(run_id, digest)} if digest else {}

    async def _value(self, run_id: UUID, digest: str) -> bytes:
        value = await self._connection.call(
            "GET", f"/payloads/{run_id}/{digest}", seconds=3 * CALL_SECONDS, patience=self._lease_seconds
        )
        if hashlib.sha256(value).hexdigest() != digest:
            raise Internal(f"The value {digest} of run {run_id} came damaged.")
        return value


def _size(entry: Entry) -> int:
    """About what an entry needs in a call: large values travel apart."""
    inline = sum([len(value) for value in entry.values if len(value) <= INLINE_BYTES])
    steps = sum([1 + len(step.logs) for step in entry.steps])
    return inline + 500 * (steps + len(entry.starts) + len(entry.commands))
