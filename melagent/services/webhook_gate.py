"""Who may pass a webhook that asks for something: rate, proof, and deliveries that came before.

A call that may come again gets its run's id from a key in the database, claimed before the run is started; starting is
idempotent by that id. So of many calls with one key, on any instances and at whatever moment, one run is started, and
a call that died half-way is finished by its repetition. The first answer is kept, and everybody gets it.

A signature is claimed too, unless it covers the provider's id of the delivery: who has overheard a call could else send
it again under another id.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import orjson

from melagent.domain.signatures import Proof, Unproven, same
from melagent.errors import BadRequest, Conflict, Problem, RateLimited, Unauthenticated, Unavailable
from melagent.sandbox.expressions import evaluate
from melagent.sandbox.lexer import ExpressionError
from melagent.services import idempotency
from melagent.services.memory import BriefMemory
from melagent.store.ids import new_id
from melagent.store.run_keys import Claim, Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from melagent.services.hooks import Door, Hook, Terms
    from melagent.services.rate_limits import RateLimits
    from melagent.store.pool import Pool

DELIVERY_SECONDS = 3 * 24 * 3600.0
"""How long a delivery is known: GitHub delivers again for three days, and so does Stripe."""

LARGE_BYTES = 256 * 1024
"""A larger body is hashed in a thread."""

REMEMBERED_SECONDS = 1.0
"""How long a secret is used before it is opened again."""

REPEATED = "This signature was used before."


class Secrets(Protocol):
    """Where secrets of webhooks come from."""

    async def secret(self, connection_id: UUID) -> str:
        """The secret in a connection. Raises MelError when it is not there or cannot be read."""


class Refused(Unauthenticated):
    """The call does not show that it may pass. `reason` is for the owner of the webhook; the caller is not told."""

    default_message = "This call is not authenticated."
    challenge: ClassVar[str] = "Webhook"

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class RefusedPassword(Refused):
    challenge = 'Basic realm="webhook"'


@dataclass(frozen=True, slots=True)
class Key:
    """What tells that a delivery came before. `request` must be the same each time; `signed` means by the caller."""

    value: str
    request: bytes = b""
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """A call may pass: the id of its run, the claim to keep its answer under, and the answer that was kept already."""

    run_id: UUID
    claim: Claim | None = None
    kept: Kept | None = None
    marks_only: bool = False


class Gate:
    """One for each instance."""

    def __init__(
        self, pool: Pool, secrets: Secrets, limits: RateLimits, clock: Callable[[], float] = time.time
    ) -> None:
        self._pool = pool
        self._secrets = BriefMemory(secrets.secret, REMEMBERED_SECONDS)
        self._limits = limits
        self._clock = clock

    async def count(self, hook: Hook, terms: Terms) -> None:
        """Count a call against the webhook's budget. Raises RateLimited."""
        if terms.rate is not None and (wait := await self._limits.spend(f"webhook:{hook.id}", terms.rate)):
            raise RateLimited(wait, "This webhook is called too often.")

    async def prove(self, terms: Terms, headers: Mapping[str, str], body: bytes) -> Proof | None:
        """What shows that a call may pass, null if it bears no signature. Raises Refused; MelError without a secret."""
        door = terms.door
        if door is None:
            return None
        secret = await self._secrets.get(door.secret) if door.secret is not None else ""
        if not secret:
            raise Unavailable("This webhook has no secret to check calls with.")
        if door.scheme is None:
            _check_secret(door, secret, headers)
            return None
        try:
            if len(body) <= LARGE_BYTES:
                return door.scheme.prove(secret, headers, body, self._clock())
            return await asyncio.to_thread(door.scheme.prove, secret, headers, body, self._clock())
        except Unproven as error:
            raise Refused(str(error)) from None

    async def admit(self, hook: Hook, terms: Terms, key: Key | None, proof: Proof | None) -> Admission:
        """Let a call pass that may be a repetition. Raises Refused for a signature that was used before.

        Raises Conflict for an idempotency key that was used for another body.
        """
        if proof is not None and terms.replay_protection and not (key is not None and key.signed):
            admission = await self._claim_signature(hook, terms, key, proof)
            if key is None:
                return admission
        if key is None:
            return Admission(new_id())
        claim, kept = await idempotency.claim(
            self._pool, _scope(hook), _short(key.value.encode()), key.request, DELIVERY_SECONDS
        )
        return Admission(claim.resource, claim, kept)

    async def keep(self, admission: Admission, kept: Kept) -> Kept:
        """Keep the answer to a call that may come again; the one that was kept first."""
        if admission.claim is None:
            return kept
        if admission.marks_only:
            await idempotency.keep(self._pool, admission.claim, Kept(kept.status, b""))
            return kept
        return await idempotency.keep(self._pool, admission.claim, kept)

    async def _claim_signature(self, hook: Hook, terms: Terms, key: Key | None, proof: Proof) -> Admission:
        """Claim a signature for the delivery that it came with; a second one with it is refused."""
        seconds = 2 * terms.tolerance_seconds + 60 if proof.dated else DELIVERY_SECONDS
        delivery = key.value.encode() if key is not None else b""
        try:
            claim, kept = await idempotency.claim(
                self._pool, f"{_scope(hook)} signature", _short(proof.signature), delivery, seconds
            )
        except Conflict:
            raise Refused(REPEATED) from None
        if kept is not None:
            raise Refused(REPEATED)
        return Admission(claim.resource, claim, marks_only=True)


def key_of(terms: Terms, headers: Mapping[str, str], body: bytes, data: bytes, proof: Proof | None) -> Key | None:
    """What tells repetitions of this delivery, if anything does; `data` is the input of the run.

    Raises BadRequest when the webhook's expression has no value for this call.
    """
    if terms.dedupe_key:
        return _key_by_expression(terms.dedupe_key, data)
    if terms.delivery_id == "signed" and proof is not None and proof.signed_id:
        return Key(f"delivery {_text(proof.signed_id)}", signed=True)
    if terms.delivery_id == "stripe" and (event := _stripe_event(body)):
        return Key(f"delivery {event}", signed=True)
    if terms.delivery_id == "github" and (delivery := headers.get("X-GitHub-Delivery")):
        return Key(f"delivery {_text(delivery)}")
    return None


def key_by_header(value: str, request: bytes) -> Key:
    """The key of a call that came with the header Idempotency-Key."""
    return Key(f"key {value}", request)


def _key_by_expression(expression: str, data: bytes) -> Key | None:
    try:
        value = evaluate(expression, {"input": orjson.loads(data)})
    except ExpressionError as error:
        raise BadRequest("This call has no key.", [Problem("dedupeKey", str(error))]) from None
    return None if value in (None, "") else Key(f"value {_text(orjson.dumps(value).decode())}")


def _stripe_event(body: bytes) -> str | None:
    """The id of the event, https://docs.stripe.com/api/events/object."""
    with suppress(orjson.JSONDecodeError):
        event: Any = orjson.loads(body)
        if isinstance(event, dict) and isinstance(event.get("id"), str):
            return str(event["id"]) or None
    return None


def _check_secret(door: Door, secret: str, headers: Mapping[str, str]) -> None:
    given = headers.get(door.header, "")
    if not door.basic:
        if not same(given, secret):
            raise Refused(f"The header {door.header} does not hold the secret.")
        return
    scheme, _, coded = given.partition(" ")
    expected = base64.b64encode(secret.encode()).decode()
    if scheme.lower() != "basic" or not same(coded.strip(), expected):
        raise RefusedPassword("User and password are not the right ones.")


def _scope(hook: Hook) -> str:
    return f"webhook {hook.id}"


def _short(value: bytes) -> str:
    """A name of fixed length for whatever a caller sends."""
    return hashlib.sha256(value).hexdigest()


def _text(value: str) -> str:
    """The text without half characters."""
    return value.encode("utf-8", "replace").decode()
