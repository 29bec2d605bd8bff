"""What can be done to a run: cancel, pause, resume, retry, replay, signal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import orjson
from pydantic import Field, PlainValidator, RootModel, WithJsonSchema

from melagent.api.context import services_of, uuid_in_path
from melagent.api.idempotency import fresh_id, is_keyed
from melagent.api.runs import MAX_NUMBER, run_answer, started
from melagent.api.wire import Answer, Body, answer
from melagent.errors import BadRequest, Problem, TooLarge
from melagent.services.copies import UNSET, Copies, Replay

if TYPE_CHECKING:
    from aiohttp import web

MAX_SIGNAL_BYTES = 1024 * 1024
SIGNAL_NAME = re.compile(r"[^\x00-\x1f]{1,250}")


def _which_version(value: Any) -> int | str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_NUMBER
    if not is_number and value != "current":
        raise ValueError('Input should be a version number or "current"')
    return value  # type: ignore[no-any-return]  # one of the two, as just checked


class ReplayBody(Body):
    """`from_step` is the id of a node, the beginning when it is left out. `input` is what it is given instead.

    A node that several lead to takes an object by the ids of these. `version` is that of the run when it is left out.
    """

    from_step: str | None = Field(default=None, min_length=1, max_length=300)
    input: Any = None
    version: Annotated[
        int | str | None,
        PlainValidator(_which_version),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "current"}]}),
    ] = None

    def replay(self) -> Replay:
        given = self.input if "input" in self.model_fields_set else UNSET
        return Replay(self.from_step, given, self.version)


class SignalValue(RootModel[Any]):
    """What the waiting step gets: any JSON value of at most 1 MiB; null when there is no body."""


class SignalAnswer(Answer):
    id: UUID
    run_id: UUID
    name: str


async def cancel_run(request: web.Request) -> web.Response:
    """End a run in whatever state it is. A run that has ended already is a conflict."""
    run_id = uuid_in_path(request)
    await services_of(request).engine.cancel(run_id)
    return await run_answer(request, run_id)


async def pause_run(request: web.Request) -> web.Response:
    """Start no further step of a run until it is resumed; steps that run finish. May be repeated."""
    run_id = uuid_in_path(request)
    await services_of(request).engine.pause(run_id)
    return await run_answer(request, run_id)


async def resume_run(request: web.Request) -> web.Response:
    """Let a paused run go on. One that is not paused is a conflict."""
    run_id = uuid_in_path(request)
    await services_of(request).engine.resume(run_id)
    return await run_answer(request, run_id)


async def retry_run(request: web.Request) -> web.Response:
    """Start a new run that takes over what a failed or cancelled one has completed, and runs the rest."""
    new_id = fresh_id(request)
    await _copies(request).retry(uuid_in_path(request), new_id)
    return await started(request, new_id)


async def replay_run(request: web.Request, body: ReplayBody) -> web.Response:
    """Start a new run that takes over what a run has recorded before a step, and runs that step and what follows."""
    new_id = fresh_id(request)
    await _copies(request).replay(uuid_in_path(request), new_id, body.replay())
    return await started(request, new_id)


async def send_signal(request: web.Request, body: SignalValue) -> web.Response:
    """Send a signal to a run: it wakes the run, or is there when the run comes to wait for it."""
    run_id, name, signal_id = uuid_in_path(request), request.match_info["name"], fresh_id(request)
    sent = await request.read()
    if not SIGNAL_NAME.fullmatch(name):
        raise BadRequest(details=[Problem("name", "A name has 1 to 250 characters, none of them a control character.")])
    if len(sent) > MAX_SIGNAL_BYTES:
        raise TooLarge(f"A signal may have at most {MAX_SIGNAL_BYTES:,} bytes.")
    value = orjson.dumps(body.root) if sent else b"null"
    engine = services_of(request).engine
    if is_keyed(request):
        await engine.signal_once(run_id, name, value, scope="signal", key=str(signal_id))
    else:
        await engine.signal(run_id, name, value)
    return answer({"id": signal_id, "run_id": run_id, "name": name}, 202)


def _copies(request: web.Request) -> Copies:
    services = services_of(request)
    return Copies(services.pool, services.engine, services.registry)
