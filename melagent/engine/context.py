"""What a node sees of the world during one attempt; built by the executor, typed for authors in `sdk.NodeContext`."""

from __future__ import annotations

import random
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from melagent.domain.ids import time_of
from melagent.domain.loops import step_key
from melagent.domain.secrets import Redactor
from melagent.domain.variables import Wanted
from melagent.engine.live import Flow, LiveLine
from melagent.engine.values import decode, encode, storable
from melagent.sandbox.expressions import ExpressionError, evaluate, render
from melagent.sdk import Json, LogLevel, NodeError, RunInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from uuid import UUID

    import aiohttp

    from melagent.domain.secrets import Secret
    from melagent.domain.work import WorkItem
    from melagent.engine.compiled import CompiledVersion
    from melagent.engine.course import Course
    from melagent.engine.live import Kind
    from melagent.engine.planner import Place, Plan
    from melagent.engine.secrets import Secrets
    from melagent.engine.variables import Variables
    from melagent.sdk import Received, VariableScope

LEVELS: dict[LogLevel, int] = {"debug": 10, "info": 20, "warn": 30, "error": 40}
MAX_LOG_LINES = 1_000
MAX_LOG_TEXT = 10_000
_UNREAD = object()

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class World:
    """What the executor takes from outside, so that a simulation can give it a clock and a network of its own."""

    clock: Callable[[], datetime]
    http: Callable[[], aiohttp.ClientSession]
    demo_url: str | None = None
    live: Callable[[LiveLine], None] | None = None
    """Told each log line as soon as it is written, and each piece of a text that a node shows."""


def _run_info(item: WorkItem, world: World) -> RunInfo:
    return RunInfo(
        id=str(item.run_id),
        workflow_id=str(item.workflow_id) if item.workflow_id else None,
        version_id=str(item.version_id),
        demo_url=world.demo_url,
    )


@dataclass(slots=True)
class View:
    """What all steps of a run see of it. `outer` has outputs from around the loop whose item this run is, as JSON.

    Treat it as frozen; it is not for the reason that `StepRecord` gives.
    """

    course: Course
    version: CompiledVersion
    item: WorkItem
    world: World
    outer: Mapping[str, bytes]
    variables: Variables
    secrets: Secrets
    _run: RunInfo | None = None

    @property
    def run(self) -> RunInfo:
        """What nodes and expressions may know of the run; made when the first of them asks."""
        if self._run is None:
            self._run = _run_info(self.item, self.world)
        return self._run


def shared(plan: Plan, node: int) -> Json:
    """The decoded output of a finished step, decoded once for all expressions of a run, which cannot change it."""
    if node not in plan.values:
        record = plan.done[node]
        plan.values[node] = decode(record.output) if record is not None else None
    return plan.values[node]


class Scope(Mapping[str, Json]):
    """The names that expressions see at one place; each value is made when an expression first asks for it."""

    __slots__ = ("_known", "_live_inputs", "place", "view")

    NAMES = ("input", "inputs", "steps", "run", "trigger", "workflow", "vars", "item", "index")

    def __init__(self, view: View, place: Place) -> None:
        self.view = view
        self.place = place
        self._known: dict[str, Json] = {}
        self._live_inputs: list[int] | None = None

    def __getitem__(self, name: str) -> Json:
        if name not in self._known:
            self._known[name] = self._value(name)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self.NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)

    def _value(self, name: str) -> Json:  # noqa: PLR0911  # one for each name
        plan = self.place.plan
        match name:
            case "input":
                return self._input()
            case "inputs":
                return {plan.graph.node_ids[source]: shared(plan, source) for source in self.live_inputs()}
            case "steps":
                return self._steps()
            case "run":
                known = {key: getattr(self.view.run, key) for key in ("id", "workflow_id", "version_id", "demo_url")}
                return known | {"resume_urls": self._resume_urls()}
            case "trigger":
                trigger = self.view.item.trigger
                return {"type": trigger.type, "id": trigger.id and str(trigger.id), "node_id": trigger.node_id}
            case "workflow":
                return {"id": self.view.run.workflow_id}
            case "vars":
                raise ExpressionError("variables can be looked at where a parameter of the node names `vars`")
            case "item" | "index":
                return self._loop_value(name) if plan.path else None
        raise KeyError(name)

    async def read_variables(self, keys: frozenset[str] | None) -> None:
        """Read the variables with these keys, or all, once for every expression here. Raises NodeError."""
        found = await self.view.variables.read(Wanted(keys))
        self._known["vars"] = {key: decode(value) for key, value in found.items()}

    def _loop_value(self, name: str) -> Json:
        plan = self.place.plan
        return shared(plan, plan.entry) if name == "item" else plan.path[-1]

    def _resume_urls(self) -> dict[str, Json]:
        """The approval link of each wait of the run by its node; in a loop, that of the item which this place is in."""
        view, links = self.view, self.view.item.links
        if links is None or not view.version.waits:
            return {}
        regions, path = view.version.regions, self.place.plan.path
        around = list(regions.loops_around(self.place.node_id))
        urls: dict[str, Json] = {}
        for node_id, signal in view.version.waits.items():
            loops = list(regions.loops_around(node_id))
            own = view.item.scope is None or view.item.entry in loops  # else it is a step of the parent
            if own and (signal or loops == around[len(around) - len(loops) :]):
                urls[node_id] = links.url(signal or step_key(node_id, path[: len(loops)]))
        return urls

    @property
    def is_entry(self) -> bool:
        """Whether this is the node at which the run enters, whose input is the run's."""
        return self.place.plan is self.view.course.top and self.place.node == self.place.plan.entry

    def live_inputs(self) -> list[int]:
        """The nodes whose outputs reach this one; all of that is decided before it starts."""
        if self._live_inputs is None:
            self._live_inputs = self.place.plan.live_inputs(self.place.node)
        return self._live_inputs

    def _input(self) -> Json:
        if self.is_entry:
            return decode(self.view.item.input or b"null")
        live = self.live_inputs()
        if len(live) == 1:
            return shared(self.place.plan, live[0])
        return [shared(self.place.plan, source) for source in live] or None

    def _steps(self) -> dict[str, Json]:
        """The outputs of what lies upstream, here and around the loops that this place is in."""
        ancestors = self.view.version.ancestors(self.place.node_id)
        found: dict[str, Json] = {}
        for plan in self.view.course.outwards(self.place.plan):
            for node_id in ancestors:
                node = plan.graph.index.get(node_id)
                if node is None or node_id in found:
                    continue
                if (record := plan.done[node]) is not None and record.handle is not None:
                    found[node_id] = {"output": shared(plan, node)}
        for node_id, output in self.view.outer.items():
            if node_id in ancestors and node_id not in found:
                found[node_id] = {"output": decode(output)}
        return found


@dataclass(slots=True)
class Log:
    """The lines of one attempt, recorded with the step. Long lines are cut, and lines beyond the limit are counted."""

    lines: list[dict[str, Json]] = field(default_factory=list)
    dropped: int = 0

    def add(self, at: datetime, level: LogLevel, message: str, fields: Mapping[str, Json]) -> dict[str, Json] | None:
        """The line as it is kept, null when it is dropped."""
        if len(self.lines) >= MAX_LOG_LINES:
            self.dropped += 1
            return None
        line: dict[str, Json] = {"at": at.isoformat(), "level": level, "message": storable(message[:MAX_LOG_TEXT])}
        if fields:
            kept = {name: storable(fields[name]) for name in fields}
            text = str(kept)
            line["fields"] = kept if len(text) <= MAX_LOG_TEXT else {"cut": storable(text[:MAX_LOG_TEXT])}
        self.lines.append(line)
        return line

    def recorded(self) -> tuple[dict[str, Json], ...]:
        if self.dropped:
            note = f"{self.dropped} more lines were dropped"
            return (*self.lines, {"level": "warn", "message": note})
        return tuple(self.lines)


class Context:
    """The `sdk.NodeContext` of one attempt at one step.

    `lines` is set once the node has logged something, `redactor` once it has opened a connection.
    """

    redactor: Redactor | None = None
    lines: Log | None = None
    _input: Json = _UNREAD
    _random: random.Random | None = None
    _secrets: frozenset[str] = frozenset()
    _flow: Flow | None = None

    def __init__(self, scope: Scope, world: World, attempt: int, received: Received | None = None) -> None:
        self._scope = scope
        self._world = world
        self.step_key = scope.place.key
        self.attempt = attempt
        self.received = received

    @property
    def run(self) -> RunInfo:
        return self._scope.view.run

    @property
    def idempotency_key(self) -> str:
        return f"{self.run.id}:{self.step_key}"

    @property
    def now(self) -> datetime:
        records = [self._scope.place.plan.done[source] for source in self._scope.live_inputs()]
        times = [record.finished_at for record in records if record and record.finished_at]
        return max(times, default=time_of(self._scope.view.item.run_id))

    @property
    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self.idempotency_key)  # noqa: S311  # must repeat on every attempt
        return self._random

    @property
    def input(self) -> Json:
        """A copy of its own: whatever the node does to it, nobody else sees."""
        if self._input is _UNREAD:
            self._input = self._decoded_input()
        return self._input

    def _decoded_input(self) -> Json:
        if self._scope.is_entry:
            return decode(self._scope.view.item.input or b"null")
        live = self._scope.live_inputs()
        return self._output(live[0]) if len(live) == 1 else [self._output(source) for source in live] or None

    @property
    def inputs(self) -> Mapping[str, Json]:
        ids = self._scope.place.plan.graph.node_ids
        return {ids[source]: self._output(source) for source in self._scope.live_inputs()}

    def _output(self, source: int) -> Json:
        record = self._scope.place.plan.done[source]
        return decode(record.output) if record is not None else None

    @property
    def trigger(self) -> Mapping[str, Json]:
        return dict(self._scope["trigger"])

    @property
    def http(self) -> aiohttp.ClientSession:
        return self._world.http()

    async def variables(
        self, scope: VariableScope | None = None, *, keys: Collection[str] | None = None, prefix: str = ""
    ) -> dict[str, Json]:
        wanted = Wanted(None if keys is None else frozenset(keys), prefix, scope)
        found = await self._scope.view.variables.read(wanted)
        return {key: decode(found[key]) for key in sorted(found)}

    async def connection(self, connection_id: UUID) -> Secret:
        secret = await self._scope.view.secrets.open(connection_id)
        self._secrets |= secret.texts
        self.redactor = Redactor(self._secrets)
        return secret

    def evaluate(self, expression: str, extra: Mapping[str, Json] | None = None) -> Json:
        try:
            return evaluate(expression, self._with(extra))
        except ExpressionError as error:
            raise NodeError(error.message, code="expression_error", retryable=False) from error

    def render(self, template: str, extra: Mapping[str, Json] | None = None) -> str:
        try:
            return render(template, self._with(extra))
        except ExpressionError as error:
            raise NodeError(error.message, code="expression_error", retryable=False) from error

    def _with(self, extra: Mapping[str, Json] | None) -> Mapping[str, Json]:
        return ChainMap(dict(extra), self._scope) if extra else self._scope  # type: ignore[arg-type]  # only read

    def log(self, level: LogLevel, message: str, **fields: Json) -> None:
        if self.redactor is not None:
            message = self.redactor.text(message)
            texts = {name: self.redactor.encoded(encode(storable(value))) for name, value in fields.items()}
            fields = {name: decode(text) for name, text in texts.items()}
        if self.lines is None:
            self.lines = Log()
        line = self.lines.add(self._world.clock(), level, message, fields)
        if line is not None:
            self._tell(len(self.lines.lines) - 1, line)
            ids = {"run_id": self.run.id, "step_key": self.step_key}
            log.log(LEVELS[level], line["message"], **ids, fields=line.get("fields", {}))

    def show(self, text: str) -> None:
        if self._flow is None:
            self._flow = Flow(lambda place, piece: self._tell(place, {"text": piece}, "token"), self._flowing)
        self._flow.add(text.encode("utf-8", "replace").decode())  # half a character, which may have come, is no text

    def _flowing(self, text: str) -> tuple[str, str]:
        return self.redactor.flowing(text) if self.redactor is not None else (text, "")

    def _tell(self, number: int, line: dict[str, Json], kind: Kind = "log") -> None:
        if self._world.live is not None:
            run_id = self._scope.view.item.run_id
            self._world.live(LiveLine(run_id, self.step_key, self.attempt, number, line, kind))

    def close(self) -> None:
        """The attempt is over: nothing is shown later than its end."""
        if self._flow is not None:
            self._flow.close()
            self._flow = None
