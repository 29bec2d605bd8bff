"""What came to a webhook: deliveries that were kept, test calls, and a new address."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import orjson
from multidict import CIMultiDict
from pydantic import Field

from melagent.api.bodies import parsed
from melagent.api.call_bodies import file_value
from melagent.api.call_input import whole
from melagent.api.context import DELIVERIES, WEBHOOK_TESTS, WEBHOOKS, services_of, uuid_in_path, webhook_url
from melagent.api.idempotency import fresh_id
from melagent.api.wire import Answer, Body, answer, first_page
from melagent.domain.ids import time_of
from melagent.errors import Conflict, NotFound
from melagent.services import webhook_tokens
from melagent.services.hooks import CALLED_TYPES
from melagent.services.workflows import found
from melagent.store import triggers

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.api.workflows import PageQuery
    from melagent.services.hooks import Hook
    from melagent.store.deliveries import Delivery
    from melagent.store.rows import WorkflowTrigger


class DeliveryAnswer(Answer):
    """A call that was kept. `request` has no secrets; `reason` says why it was refused."""

    id: UUID
    received_at: datetime
    outcome: Literal["accepted", "duplicate", "refused", "failed"]
    status: int
    reason: str | None
    run_id: UUID | None
    request: dict[str, Any]
    body_size: int
    body_kept: bool


class WholeDeliveryAnswer(DeliveryAnswer):
    """`body` is a text, or `{filename, content_type, size, base64}`; null when it was not kept."""

    body: Any


class DeliveriesAnswer(Answer):
    deliveries: list[DeliveryAnswer]
    next_cursor: UUID | None


class ReplayAnswer(Answer):
    run_id: UUID


class TestAnswer(Answer):
    """The address takes one call until `expires_at`. It is shown once."""

    id: UUID
    test_url: str
    expires_at: datetime


class TestQuery(Body):
    wait_seconds: float = Field(default=0, ge=0, le=50, description="How long to wait for the call")


class CapturedAnswer(Answer):
    """`call` is null while nobody has called. Else `input` is what a run would be given; `refused` says why none would
    start.
    """

    call: dict[str, Any] | None


async def list_deliveries(request: web.Request, query: PageQuery) -> web.Response:
    """The calls of a webhook that were kept, newest first, without their bodies."""
    trigger = await _called(request)
    kept = await request.app[DELIVERIES].page(trigger.id, query.cursor, query.limit + 1)
    page, next_cursor = first_page(kept, query.limit)
    return answer({"deliveries": [_delivery(one) for one in page], "next_cursor": next_cursor})


async def get_delivery(request: web.Request) -> web.Response:
    """One call of a webhook that was kept, with its body."""
    trigger = await _called(request)
    one = await request.app[DELIVERIES].get(trigger.id, uuid_in_path(request, "delivery_id"))
    return answer(_delivery(one) | {"body": _body(one)})


async def replay_delivery(request: web.Request) -> web.Response:
    """Start a new run with a call that was kept, whatever became of it then."""
    trigger = await _called(request)
    one = await request.app[DELIVERIES].get(trigger.id, uuid_in_path(request, "delivery_id"))
    if one.body is None:
        raise Conflict("The body of this delivery was not kept, so it cannot be replayed.")
    hook = await _hook(request, trigger)
    data = await parsed(request, len(one.body), partial(_input, hook, one, one.body))
    run = hook.run(data, fresh_id(request))
    await services_of(request).engine.start(run)
    return answer({"run_id": run.id}, 202)


async def start_test(request: web.Request) -> web.Response:
    """Make an address that takes one call, on any instance, and starts nothing."""
    trigger = await _called(request)
    listening = await request.app[WEBHOOK_TESTS].listen(trigger.id)
    url = webhook_url(request, listening.token)
    return answer({"id": listening.id, "test_url": url, "expires_at": listening.expires_at}, 201)


async def await_test(request: web.Request, query: TestQuery) -> web.Response:
    """The call that came to a test address, waited for."""
    trigger_id, test_id = uuid_in_path(request), uuid_in_path(request, "test_id")
    stopping = services_of(request).draining
    call = await request.app[WEBHOOK_TESTS].captured(trigger_id, test_id, query.wait_seconds, stopping)
    return answer({"call": call})


async def renew_address(request: web.Request) -> web.Response:
    """Give a webhook a new address; the old one ends within a second, everywhere."""
    trigger, services = await _called(request), services_of(request)
    token = await webhook_tokens.renew(services.pool, services.vault, trigger.id)
    request.app[WEBHOOKS].forget()
    new = {"trigger_id": trigger.id, "node_id": trigger.node_id, "webhook_url": webhook_url(request, token)}
    return answer(new)


async def _called(request: web.Request) -> WorkflowTrigger:
    """The webhook that the path names."""
    async with services_of(request).pool.acquire() as conn:
        trigger = found(await triggers.find_armed(conn, uuid_in_path(request)), "trigger")
    if trigger.type not in CALLED_TYPES:
        raise NotFound("This trigger is no webhook.")
    return trigger


async def _hook(request: web.Request, trigger: WorkflowTrigger) -> Hook:
    async with services_of(request).pool.acquire() as conn:
        return found(await request.app[WEBHOOKS].of(conn, trigger), "trigger of a type that is known here")


def _input(hook: Hook, one: Delivery, body: bytes) -> bytes:
    call = orjson.loads(one.request)
    return whole(call, CIMultiDict(call["headers"]), body, raw=hook.terms is not None and hook.terms.raw_body)


def _delivery(one: Delivery) -> dict[str, Any]:
    return {
        "id": one.id,
        "received_at": time_of(one.id),
        "outcome": one.outcome,
        "status": one.status,
        "reason": one.reason,
        "run_id": one.run_id,
        "request": one.request,
        "body_size": one.body_size,
        "body_kept": one.body is not None,
    }


def _body(one: Delivery) -> Any:
    if one.body is None:
        return None
    try:
        return one.body.decode()
    except UnicodeDecodeError:
        return file_value(None, orjson.loads(one.request)["headers"].get("content-type", ""), one.body)
