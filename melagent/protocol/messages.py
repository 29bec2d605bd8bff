"""The worker protocol, version 1: what workers and API instances say to each other, as JSON over HTTP.

Every call carries `Authorization: Bearer <worker token>` and may reach any instance; all but the first carry the
session that the registration answered. Unknown fields are ignored on both sides, so that neighbouring versions
understand each other. Lengths of time are durations in the unit that their name says. The times of steps are by the
worker's clock, and `sent_at` says what that clock showed, so that the instance can shift them to its own.

A value (input, output) travels as the JSON text that it was encoded to once, inside a JSON string: every reader gets
these very bytes. A value above `INLINE_BYTES` travels apart from the call that mentions it, by its SHA-256 in hex.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from melagent.domain.definition import Label
from melagent.domain.requirement import MAX_LENGTH
from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.variables import KEY_PATTERN, VariableOperation

VERSION = 1

INLINE_BYTES = 64 * 1024
"""Values up to this size are part of the call that mentions them."""

PART_BYTES = 512 * 1024
"""The largest part of a value in one call, and about the largest call: a proxy's limit of 1 MiB lets both pass."""

Settled = Literal["completed", "failed", "sleeping", "waiting", "paused", "released"]

Topic = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,300}$")]

MAX_WAIT_SECONDS = 30.0
MAX_ITEMS = 100
MAX_ENTRIES = 500


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Registration(Message):
    """POST /api/workers. Labels and node types (those that are not built in) say which runs the worker can take.

    The process chooses its `session` and keeps it: the same registration again, also one that was long on its way,
    then changes nothing. Without one the server chooses.
    """

    session: UUID | None = None
    id: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._:-]+$")
    name: str = Field(default="", max_length=200)
    concurrency: int = Field(default=5, ge=1, le=10_000)
    labels: tuple[Label, ...] = Field(default=(), max_length=100)
    version: str = Field(default="", max_length=100)
    protocol: int = VERSION
    node_types: tuple[str, ...] = Field(default=(), max_length=10_000)


class Registered(Message):
    id: str
    session: UUID
    lease_seconds: float
    heartbeat_seconds: float
    instance: str
    protocol: int = VERSION


class Beat(Message):
    """PUT /api/workers/{id}/heartbeat. `leases` is complete. `seq` grows by one with each beat of a session."""

    session: UUID
    seq: int = Field(default=0, ge=0, lt=2**63)
    leases: dict[UUID, UUID] = Field(default_factory=dict, description="The lease of each run that the worker holds.")
    draining: bool = False


class BeatAnswer(Message):
    """Leases that the worker must let go, those of cancelled runs twice; and of the others those whose run is to be
    paused, and those whose run has messages that it has not taken in.
    """

    lost: tuple[UUID, ...] = ()
    cancelled: tuple[UUID, ...] = ()
    paused: tuple[UUID, ...] = ()
    mail: tuple[UUID, ...] = ()
    drain: bool = False


class Claim(Message):
    """POST /api/workers/{id}/claim-work. Answered by an array of items.

    With `stream` the answer is lines (each an array of items, or empty) that are sent as runs become free, until
    `max_items` have come or the wait is over. Whoever does not know `stream` answers one line.
    """

    session: UUID
    max_items: int = Field(default=1, ge=1, le=MAX_ITEMS)
    wait_seconds: float = Field(default=0.0, ge=0, le=MAX_WAIT_SECONDS)
    stream: bool = False


class Value(Message):
    """A value: its JSON text, or the hash (SHA-256 of the text, hex) and size in bytes by which to fetch it."""

    text: str | None = None
    hash: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = Field(default=None, ge=0)


class TriggerOf(Message):
    type: str = "manual"
    id: UUID | None = None
    node_id: str | None = None


class Step(Message):
    """One record of a journal."""

    step_key: str = Field(min_length=1, max_length=300)
    node_id: str = Field(min_length=1, max_length=100)
    node_type: str = Field(min_length=1, max_length=200)
    status: StepStatus
    attempt: int = Field(ge=1, lt=2**31)
    seq: int = Field(ge=1, lt=2**31)
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    handle: str | None = None
    output: Value | None = None
    error: dict[str, Any] | None = None
    logs: tuple[dict[str, Any], ...] = ()
    due_in: float | None = Field(default=None, allow_inf_nan=False)


class Payload(Message):
    """What a worker must know of a run.

    `journal_complete` false: fetch the steps recorded so far, and the inbox, before going on. A `pausing` run starts
    nothing. `requires` is what it required at its start, `scope` the loop item that it runs for its parent. With
    `link_key` (hex), which holds for this run alone, the worker makes its approval links; they begin with `link_base`.
    """

    workflow_id: UUID | None
    version_id: UUID
    entry: str
    input: Value
    trigger: TriggerOf
    journal: tuple[Step, ...] = ()
    journal_complete: bool = True
    variables: dict[str, Any] = Field(default_factory=dict)
    deadline_in: float | None = None
    pausing: bool = False
    depth: int = 0
    scope: str | None = None
    requires: str = ""
    link_base: str = ""
    link_key: str | None = Field(default=None, pattern=r"^([0-9a-f]{2})+$")
    traceparent: str | None = None


class Item(Message):
    """A leased run. `granted_after_ms` counts from the arrival of the call to the grant; the worker adds it."""

    id: UUID
    type: Literal["run"] = "run"
    run_id: UUID
    lease: UUID
    granted_after_ms: float
    attempt: int
    payload: Payload


class SettleWith(Message):
    """How a lease ends. `released` gives the run back at its last step boundary, to workers that meet `requires`.

    A `waiting` run is due again when a message of one of the topics `waits` comes, or after `wake_in` seconds.
    """

    status: Settled
    output: Value | None = None
    error: dict[str, Any] | None = None
    wake_in: float | None = Field(default=None, allow_inf_nan=False)
    waiting_for: dict[str, Any] | None = None
    waits: tuple[Topic, ...] = Field(default=(), max_length=1_000)
    requires: str | None = Field(default=None, max_length=MAX_LENGTH)

    @model_validator(mode="after")
    def _all_wake(self) -> Self:
        if self.status == "sleeping" and self.wake_in is None:
            raise ValueError("a sleeping run needs `wake_in`")
        if self.status == "waiting" and not self.waits:
            raise ValueError("a waiting run needs `waits`")
        return self


class CallOf(Message):
    """A run that a step starts: of a workflow (by id or name; `version` is a number, an id or null), or of an item."""

    run_id: UUID
    step_key: str = Field(min_length=1, max_length=300)
    attached: bool
    workflow: str | None = Field(default=None, max_length=300)
    version: int | UUID | None = None
    scope: str | None = Field(default=None, max_length=300)
    input: Value


class ChildQuestion(Message):
    """POST /api/workers/{id}/children: what would a call of a leased run start? Nothing is started yet."""

    session: UUID
    run_id: UUID
    call: CallOf


class ChildAnswer(Message):
    """The version that would run. The worker names it in the journal entry that starts the run."""

    workflow_id: UUID | None
    version_id: UUID
    entry: str


class MessageOf(Message):
    """Something that was sent to a run: a signal, or the end of a child (then with its status)."""

    id: int
    topic: str
    value: Value | None = None
    child_id: UUID | None = None
    status: RunStatus | None = None
    error: dict[str, Any] | None = None


class InboxAnswer(Message):
    """GET /api/workers/{id}/inbox/{run_id}: the messages that the run has not taken in, the oldest first."""

    messages: tuple[MessageOf, ...] = ()


class CommandOf(Message):
    """A change of a variable, of the run's own workflow or a global one; the step's output becomes its result.

    The step is completed, and part of the same entry. When the change is refused it fails, and the run goes on at the
    output `handle_refused` if there is one.
    """

    step_key: str = Field(min_length=1, max_length=300)
    scope: Literal["workflow", "global"]
    key: str = Field(pattern=KEY_PATTERN)
    operation: VariableOperation
    value: Value | None = None
    expected: Value | None = None
    amount: int | Annotated[float, Field(allow_inf_nan=False)] = 1
    handle_refused: str | None = Field(default=None, max_length=100)


class EntryOf(Message):
    """One write of one run. `(lease, seq)` names it: sent again, it is answered as the first time."""

    run_id: UUID
    lease: UUID
    seq: int = Field(ge=1, lt=2**31)
    steps: tuple[Step, ...] = ()
    starts: tuple[CallOf, ...] = Field(default=(), max_length=MAX_ENTRIES)
    taken: tuple[int, ...] = Field(default=(), max_length=100_000)
    commands: tuple[CommandOf, ...] = Field(default=(), max_length=MAX_ENTRIES)
    settle: SettleWith | None = None


class JournalCall(Message):
    """POST /api/workers/{id}/journal."""

    session: UUID
    sent_at: AwareDatetime
    entries: tuple[EntryOf, ...] = Field(max_length=MAX_ENTRIES)


class CompleteCall(Message):
    """POST /api/workers/{id}/complete-work/{item_id}: one entry of the run that the path names."""

    session: UUID
    sent_at: AwareDatetime
    lease: UUID
    seq: int = Field(ge=1, lt=2**31)
    steps: tuple[Step, ...] = ()
    starts: tuple[CallOf, ...] = Field(default=(), max_length=MAX_ENTRIES)
    taken: tuple[int, ...] = Field(default=(), max_length=100_000)
    commands: tuple[CommandOf, ...] = Field(default=(), max_length=MAX_ENTRIES)
    settle: SettleWith | None = None


class Rejection(Message):
    """An entry that changed nothing: its lease is lost, its values cannot be stored, or the database is away."""

    run_id: UUID
    lease: UUID
    error: Literal["lease_lost", "invalid", "unavailable"]
    message: str = ""


class JournalAnswer(Message):
    """What is not rejected is durable."""

    rejected: tuple[Rejection, ...] = ()
    results: tuple[dict[str, Any], ...] = ()
    items: tuple[Item, ...] = ()


class JournalPage(Message):
    """GET /api/workers/{id}/journal/{run_id}?after=N&limit=N: recorded steps by `seq`; `more` says to ask again."""

    steps: tuple[Step, ...]
    more: bool = False
    now: AwareDatetime


class VariablesAnswer(Message):
    """GET /api/workers/{id}/variables/{run_id}?keys=&prefix=&scope=: variables that the run sees, as JSON text by key.

    `keys` are joined by commas; without it any variable is meant, without `scope` the workflow's and the global ones.
    """

    variables: dict[str, str] = Field(default_factory=dict)


class SecretQuestion(Message):
    """POST /api/workers/{id}/secrets: a connection that the definition of a run names, which the worker holds."""

    session: UUID
    run_id: UUID
    lease: UUID
    connection_id: UUID


class SecretAnswer(Message):
    """An opened connection: all its `fields`, and which are `hidden`; `origins` are where HTTP may carry it."""

    id: UUID
    name: str
    type: str
    fields: dict[str, Any] = Field(repr=False)
    hidden: tuple[str, ...]
    headers: dict[str, str] = Field(repr=False)
    query: dict[str, str] = Field(repr=False)
    origins: tuple[str, ...]


class LiveEvent(Message):
    """Something that those who watch a run see at once: the `number`-th log line of an attempt, counted from zero.

    Of the kind `token` a piece of the text that the attempt shows: `{"text"}`, from its `number`-th character on.
    """

    run_id: UUID
    step_key: str = Field(max_length=300)
    attempt: int = Field(ge=1, lt=2**31)
    number: int = Field(ge=0, lt=2**31)
    kind: Literal["log", "token"] = "log"
    data: dict[str, Any]

    @model_validator(mode="after")
    def _piece_of_text(self) -> Self:
        if self.kind == "token" and not isinstance(self.data.get("text"), str):
            raise ValueError("a token has a text")
        return self


class EventsCall(Message):
    """POST /api/workers/{id}/events. Not stored: what a log says is recorded with its step in any case."""

    session: UUID
    events: tuple[LiveEvent, ...] = Field(max_length=MAX_ENTRIES)


SETTLE_STATUS: dict[Settled, RunStatus] = {
    "completed": RunStatus.COMPLETED,
    "failed": RunStatus.FAILED,
    "sleeping": RunStatus.SLEEPING,
    "waiting": RunStatus.WAITING,
    "paused": RunStatus.PAUSED,
    "released": RunStatus.PENDING,
}
