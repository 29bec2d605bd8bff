"""One attempt at one step: parameters, context, the node itself, and what its outcome means for the journal."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from functools import partial
from traceback import format_exc
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from pydantic import ValidationError

from melagent.domain.commands import StepCommand
from melagent.domain.definition import Jitter, OnError, OnInterrupted, Retry
from melagent.domain.loops import DONE_HANDLE, ITEMS_SUFFIX, LOOP_TYPE
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.variables import RUN
from melagent.domain.work import Settle
from melagent.engine.course import opening
from melagent.engine.patience import Begun
from melagent.engine.secrets import clean_command, clean_settle, clean_step
from melagent.engine.threads import in_thread
from melagent.engine.values import encode, storable
from melagent.engine.variables import SET_TYPE, command_of
from melagent.errors import MelError, Unavailable
from melagent.sandbox.expressions import ExpressionError
from melagent.sdk import Call, Finish, ForEach, NodeError, Outcome, SetVariable, Sleep, Success, Wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from melagent.domain.secrets import Redactor
    from melagent.domain.work import NewRun
    from melagent.engine.compiled import CompiledNode
    from melagent.engine.context import Context, Scope
    from melagent.registry import NodeType
    from melagent.sdk import Json, Node, Params, Result

MAX_RETRY_AFTER_SECONDS = 3_600.0
"""What somebody else asks for is heeded so far: he must not put a run off for ever."""

log = structlog.get_logger()


class Interrupted(Exception):  # not an error: the worker is draining and the node had to stop
    """The attempt was broken off by its worker. Nothing is recorded: the step runs again elsewhere."""


@dataclass(slots=True)
class Ended:
    """An attempt's record, and how the whole run ends when the node decided that.

    With `starts` a child starts together with the record. A record that `opens` a loop lists its items. The output of
    one with a `command` is the command's result, known when it is executed. A `recorded` one is in the journal already.
    Treat it as frozen; it is not for the reason that `StepRecord` gives.
    """

    record: StepRecord
    settle: Settle | None = None
    starts: NewRun | None = None
    opens: bool = False
    command: StepCommand | None = None
    recorded: bool = False

    def led_to(self, record: StepRecord, *, recorded: bool = False) -> Ended:
        """The outcome once its command has been executed; a refused one may end the run."""
        failed = record.status is StepStatus.FAILED and record.handle is None
        return Ended(record, Settle(RunStatus.FAILED, error=record.error) if failed else None, recorded=recorded)


@dataclass(slots=True)
class Attempt:
    """An attempt under way. `interrupt` stops the node as a time limit would."""

    compiled: CompiledNode
    context: Context
    scope: Scope
    clock: Callable[[], datetime]
    child: Callable[[Attempt, Call, bytes], Awaitable[NewRun]]
    _limit: asyncio.Timeout | None = None
    _interrupted: bool = False

    def interrupt(self) -> None:
        self._interrupted = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> Ended:
        """Run the node once. Raises nothing but Interrupted: whatever goes wrong in the node becomes its record.

        What comes of it holds no secret that the node has opened.
        """
        started_at = self.clock()
        try:
            ended = await self._ended(started_at)
        except NodeError as error:
            ended = self._failed(started_at, error)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001  # any fault of the node is its own; it is logged
            self._log_crash()
            ended = self._failed(started_at, NodeError(f"{type(error).__name__}: {error}", code="node_crashed"))
        finally:
            self.context.close()
        redactor = self.context.redactor
        return ended if redactor is None else self._clean(redactor, ended)

    def _clean(self, redactor: Redactor, ended: Ended) -> Ended:
        starts = ended.starts and replace(ended.starts, input=redactor.encoded(ended.starts.input))
        return replace(
            ended,
            record=clean_step(redactor, ended.record),
            settle=ended.settle and clean_settle(redactor, ended.settle),
            starts=starts,
            command=ended.command and clean_command(redactor, ended.command),
        )

    def _log_crash(self) -> None:
        redactor, trace = self.context.redactor, format_exc()
        trace = redactor.text(trace) if redactor is not None else trace
        log.error("node crashed", run_id=self.context.run.id, step_key=self.context.step_key, exception=trace)

    def interrupted(self) -> Ended:
        """The outcome of a step whose worker died while the node ran, and that must not simply run again."""
        started_at = self.clock()
        if self.compiled.node.on_interrupted is OnInterrupted.SKIP:
            return Ended(self._record(started_at, StepStatus.SKIPPED, output=b"null", handle="out"))
        message = "The worker was lost while the node ran; whether it had its effect is unknown."
        return self._failed(started_at, NodeError(message, code="interrupted", retryable=False))

    def failed(self, failure: NodeError) -> Ended:
        """The outcome of a step that failed for a reason outside the node."""
        return self._failed(self.clock(), failure)

    def begun(self) -> StepRecord:
        """The record that says that the node is about to start."""
        return self._record(self.clock(), StepStatus.RUNNING)

    @property
    def _onward(self) -> str:
        """The output where a run goes on past a node that did not do its work."""
        return DONE_HANDLE if self.compiled.node.type == LOOP_TYPE else "out"

    async def _ended(self, started_at: datetime) -> Ended:
        compiled = self.compiled
        if (node_type := compiled.type) is None:
            message = f"This worker does not know the node type {compiled.node.type!r}."
            raise NodeError(message, code="unknown_node_type", retryable=False)
        if compiled.node.disabled:
            return self._completed(started_at, encode(self.context.input), self._onward)
        if compiled.variables is None or compiled.variables:
            await self.scope.read_variables(compiled.variables)
        params = self._rendered(node_type) if compiled.params is None else compiled.params
        result, handle = await self._call(node_type.node, params), "out"
        if isinstance(result, Outcome):
            if not isinstance(result, Success):
                return await self._not_just_done(started_at, result)
            result, handle = result.output, result.handle
        if handle not in node_type.node.handles(params):
            message = f"The node chose the output {handle!r}, which it does not have."
            raise NodeError(message, code="invalid_output", retryable=False)
        return Ended(self._record(started_at, StepStatus.COMPLETED, encode(result), handle))

    async def _call(self, node: Node[Any], params: Params) -> Result:
        if self._interrupted:
            raise Interrupted
        try:
            if node.in_thread:
                begun = Begun(in_thread(partial(node.run, params, self.context)))
            else:
                begun = Begun(node.run(params, self.context))
            if begun.done:
                return begun.result
            async with asyncio.timeout(self.compiled.timeout_seconds) as self._limit:
                return await begun.rest()
        except NodeError:
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise NodeError("The node was cancelled from within.", code="node_crashed") from error
        except Exception as error:
            if self._interrupted:
                raise Interrupted from error
            if self._limit is not None and self._limit.expired():
                message = f"The node took longer than {self.compiled.timeout_seconds:g} s."
                raise NodeError(message, code="timeout") from error
            raise
        finally:
            self._limit = None  # too late for an interruption: the node has ended

    def _rendered(self, node_type: NodeType) -> Params:
        template = self.compiled.template
        try:
            config = template.render(self.scope) if template else self.compiled.node.config
            return node_type.params.model_validate(config)
        except ExpressionError as error:
            raise NodeError(error.message, code="expression_error", retryable=False) from error
        except ValidationError as error:
            raise NodeError(_describe(error), code="invalid_params", retryable=False) from error

    async def _called(self, started_at: datetime, call: Call) -> Ended:
        try:
            run = await self.child(self, call, encode(call.input))
        except MelError as error:
            retryable = isinstance(error, Unavailable)
            raise NodeError(error.message, code=error.code, retryable=retryable, details=_details(error)) from error
        output = encode({"run_id": str(run.id)})
        if not call.wait:
            return replace(self._completed(started_at, output), starts=run)
        return Ended(self._record(started_at, StepStatus.WAITING, output=output, due_in=call.seconds), starts=run)

    def _completed(self, started_at: datetime, output: bytes, handle: str = "out") -> Ended:
        return Ended(self._record(started_at, StepStatus.COMPLETED, output, handle))

    async def _not_just_done(self, started_at: datetime, outcome: Outcome) -> Ended:
        match outcome:
            case Sleep():
                return self._asleep(started_at, outcome)
            case Finish():
                output = encode(outcome.output)
                return replace(self._completed(started_at, output), settle=self._finish(outcome, output))
            case Wait():
                output = encode({"signal": outcome.signal, "shown": outcome.shown})
                return Ended(self._record(started_at, StepStatus.WAITING, output=output, due_in=outcome.seconds))
            case Call():
                return await self._called(started_at, outcome)
            case ForEach():
                return self._opened(started_at, outcome)
            case SetVariable():
                return self._changing(started_at, outcome)
        raise NodeError(f"{type(outcome).__name__} is no outcome.", code="invalid_output", retryable=False)

    def _asleep(self, started_at: datetime, sleep: Sleep) -> Ended:
        output = encode(sleep.output)
        if (seconds := self._seconds_of(sleep)) <= 0:
            return self._completed(started_at, output)
        return Ended(self._record(started_at, StepStatus.SLEEPING, output=output, due_in=seconds))

    def _changing(self, started_at: datetime, outcome: SetVariable) -> Ended:
        if outcome.scope == RUN and self.compiled.node.type != SET_TYPE:
            message = f"Only a node of the type {SET_TYPE} can change variables of the run."
            raise NodeError(message, code="invalid_output", retryable=False)
        command = command_of(outcome, self.scope.view.item)
        record = self._record(started_at, StepStatus.COMPLETED, handle="out")
        return Ended(record, command=StepCommand(record.step_key, command, self._handle_after_failure()))

    def _opened(self, started_at: datetime, outcome: ForEach) -> Ended:
        if self.compiled.node.type != LOOP_TYPE:
            raise NodeError("Only a node of the type for_each can loop.", code="invalid_output", retryable=False)
        spec = opening(list(outcome.items), outcome.concurrency, outcome.on_item_error, distributed=outcome.distributed)
        record = self._record(started_at, StepStatus.COMPLETED, output=encode(spec))
        return Ended(replace(record, step_key=record.step_key + ITEMS_SUFFIX), opens=True)

    def _seconds_of(self, sleep: Sleep) -> float:
        return sleep.seconds if sleep.until is None else (sleep.until - self.clock()).total_seconds()

    def _finish(self, outcome: Finish, output: bytes) -> Settle:
        if outcome.error is None:
            return Settle(RunStatus.COMPLETED, output=output)
        error = {"code": "stopped", "message": storable(outcome.error), "node_id": self.compiled.node.id}
        return Settle(RunStatus.FAILED, output=output, error=error)

    def _failed(self, started_at: datetime, failure: NodeError) -> Ended:
        node, attempt = self.compiled.node, self.context.attempt
        error = _error(failure, node.id)
        if failure.retryable and failure.code not in node.retry.non_retryable and attempt < node.retry.max_attempts:
            delay = retry_delay(node.retry, attempt, seed=self.context.idempotency_key)
            delay = max(delay, min(failure.retry_after, MAX_RETRY_AFTER_SECONDS))
            return Ended(self._record(started_at, StepStatus.PENDING, error=error, due_in=delay))
        if (handle := self._handle_after_failure()) is None:
            settle = Settle(RunStatus.FAILED, error=error)
            return Ended(self._record(started_at, StepStatus.FAILED, error=error), settle)
        output = orjson.dumps({"error": error})
        return Ended(self._record(started_at, StepStatus.FAILED, error=error, output=output, handle=handle))

    def _handle_after_failure(self) -> str | None:
        """The output at which the run goes on; null when the failure is the run's."""
        node = self.compiled.node
        return {OnError.FAIL: None, OnError.CONTINUE: self._onward, OnError.BRANCH: "error"}[node.on_error]

    def _record(
        self,
        started_at: datetime,
        status: StepStatus,
        output: bytes | None = None,
        handle: str | None = None,
        *,
        error: dict[str, Any] | None = None,
        due_in: float | None = None,
    ) -> StepRecord:
        node, context = self.compiled.node, self.context
        finished_at = max(self.clock(), started_at) if status.final else None
        return StepRecord(
            context.step_key, node.id, node.type, status, context.attempt, started_at, finished_at, handle, output,
            error, () if context.lines is None else context.lines.recorded(), due_in,
        )  # fmt: skip  # in the order of the fields


def retry_delay(retry: Retry, attempt: int, *, seed: str) -> float:
    """Seconds before the next attempt: exponential back-off with full jitter (AWS Architecture Blog, 2015).

    The jitter is seeded by step and attempt, so a delay can be computed again.
    """
    delay_ms = min(retry.max_delay_ms, retry.initial_delay_ms * retry.backoff_multiplier ** min(attempt - 1, 64))
    if retry.jitter is Jitter.FULL:
        delay_ms *= random.Random(f"{seed}:{attempt}").random()  # noqa: S311  # spreads load; not a secret
    return delay_ms / 1000


def _error(failure: NodeError, node_id: str) -> dict[str, Any]:
    error: dict[str, Any] = {"code": failure.code, "message": storable(failure.message), "node_id": node_id}
    if failure.details is None:
        return error
    return error | {"details": storable(failure.details)}


def _details(error: MelError) -> Json | None:
    return [{"field": problem.field, "problem": problem.problem} for problem in error.details] or None


def _describe(error: ValidationError) -> str:
    problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
    return "Parameters are not valid: " + "; ".join(problems)
