"""What an armed webhook asks of its callers, read from the parameters of its node.

A webhook that asks for nothing has no `Terms`, and its calls pass by all of this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import orjson

from melagent.domain import signatures
from melagent.domain.run import Trigger
from melagent.domain.work import NewRun
from melagent.services.rate_limits import Rate
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from melagent.domain.signatures import Scheme
    from melagent.registry import NodeType
    from melagent.store.rows import WorkflowTrigger

WEBHOOK = "webhook"
SLACK = "slack"
CALLED_TYPES = (WEBHOOK, SLACK)
"""Types of triggers that have an address."""

ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

MAX_BODY_BYTES = 10 * 1024 * 1024
"""No body of any call is larger."""

Keeping = Literal["none", "refused", "all"]
DeliveryId = Literal["none", "github", "stripe", "signed"]
"""Where a provider writes the id of a delivery: nowhere, in X-GitHub-Delivery, in the event, or under the signature."""


@dataclass(frozen=True, slots=True)
class Door:
    """How callers show who they are: by a `scheme` of signatures, else by the very secret in the header `header`.

    `secret` is the connection that holds the secret; without one nobody can pass. With `basic` the secret is
    `user:password`.
    """

    secret: UUID | None
    header: str = "Authorization"
    basic: bool = False
    scheme: Scheme | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered at once in place of the run's id."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Terms:
    """What a webhook asks for. `masked` are the names of headers, in lower case, that the run is not to see."""

    door: Door | None = None
    delivery_id: DeliveryId = "none"
    dedupe_key: str = ""
    replay_protection: bool = True
    tolerance_seconds: float = signatures.TOLERANCE_SECONDS
    rate: Rate | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    raw_body: bool = False
    keeps_accepted: bool = False
    reply: Reply | None = None
    masked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hook:
    """An armed webhook: how it may be called, how it answers, and the run that a call starts.

    `keeps` says which calls are kept as deliveries. A hook that `captures` starts nothing: it shows a call to whoever
    made its address.
    """

    workflow_id: UUID
    version_id: UUID
    trigger: Trigger
    node_id: str
    methods: tuple[str, ...]
    path: str
    sync: bool
    answered_by_node: bool
    status_code: int
    headers: Mapping[str, str]
    facts: Mapping[str, Any]
    terms: Terms | None = None
    keeps: Keeping = "refused"
    captures: bool = False

    @property
    def id(self) -> UUID:
        """The id of the trigger."""
        if self.trigger.id is None:
            raise TypeError("a webhook is a stored trigger")
        return self.trigger.id

    def run(self, data: bytes, run_id: UUID | None = None) -> NewRun:
        return NewRun(
            id=run_id or new_id(),
            workflow_id=self.workflow_id,
            version_id=self.version_id,
            entry=self.node_id,
            input=data,
            trigger=self.trigger,
            **self.facts,
        )


def hook_of(
    trigger: WorkflowTrigger, node_type: NodeType, facts: Mapping[str, Any], per_second: float | None, *, captures: bool
) -> Hook:
    """The webhook of a trigger. No more than `per_second` calls pass, whatever its node allows."""
    params = node_type.params.model_validate(orjson.loads(trigger.config)).model_dump()
    read = _slack if trigger.type == SLACK else _webhook
    return Hook(
        workflow_id=trigger.workflow_id,
        version_id=trigger.version_id,
        trigger=Trigger(trigger.type, trigger.id, trigger.node_id),
        node_id=trigger.node_id,
        facts=facts,
        captures=captures,
        **read(params, per_second),
    )


def _webhook(params: Mapping[str, Any], per_second: float | None) -> dict[str, Any]:
    terms = _terms(params, per_second)
    return {
        "methods": ANY_METHOD if params["method"] == "ANY" else (params["method"],),
        "path": params["path"].strip("/"),
        "sync": params["mode"] == "sync" and params["respond"] != "at_once",
        "answered_by_node": params["respond"] == "http_response",
        "status_code": params["status_code"],
        "headers": params["headers"],
        "terms": None if terms == Terms() else terms,
        "keeps": params["deliveries"],
    }


def _slack(params: Mapping[str, Any], per_second: float | None) -> dict[str, Any]:
    said = {"response_type": params["response_type"], "text": params["text"]}
    terms = Terms(
        door=Door(params["secret"], scheme=signatures.Slack()),
        rate=_rate(None, None, per_second),
        reply=Reply(orjson.dumps(said) if params["text"] else b""),
    )
    return {
        "methods": ("POST",),
        "path": "",
        "sync": False,
        "answered_by_node": False,
        "status_code": 200,
        "headers": {},
        "terms": terms,
    }


def _terms(params: Mapping[str, Any], per_second: float | None) -> Terms:
    door = _door(params)
    terms = Terms(
        door=door,
        dedupe_key=params["dedupe_key"],
        rate=_rate(params["per_second"], params["burst"], per_second),
        max_body_bytes=params["max_body_bytes"],
        raw_body=params["raw_body"],
        keeps_accepted=params["deliveries"] == "all",
    )
    if door is None:
        return terms
    if door.scheme is None:
        return replace(terms, masked=(door.header.lower(),))
    return replace(
        terms,
        delivery_id=_DELIVERY_IDS.get(params["preset"], "none"),
        replay_protection=params["replay_protection"],
        tolerance_seconds=float(params["tolerance_seconds"]),
    )


_DELIVERY_IDS: dict[str, DeliveryId] = {"github": "github", "stripe": "stripe", "standard_webhooks": "signed"}


def _door(params: Mapping[str, Any]) -> Door | None:
    kind, secret = params["auth"], params["secret"]
    if kind == "none":
        return None
    if kind == "hmac":
        return Door(secret, scheme=_scheme(params))
    return Door(secret, basic=True) if kind == "basic" else Door(secret, header=params["auth_header"])


def _scheme(params: Mapping[str, Any]) -> Scheme:
    preset, tolerance = params["preset"], float(params["tolerance_seconds"])
    if preset == "github":
        return signatures.GitHub()
    if preset == "stripe":
        return signatures.Stripe(tolerance)
    if preset == "slack":
        return signatures.Slack(tolerance)
    if preset == "standard_webhooks":
        return signatures.StandardWebhooks(tolerance)
    return signatures.Generic(
        header=params["signature_header"],
        algorithm=params["algorithm"],
        encoding=params["encoding"],
        prefix=params["signature_prefix"],
        time_header=params["timestamp_header"],
        tolerance_seconds=tolerance,
    )


def _rate(per_second: float | None, burst: int | None, most: float | None) -> Rate | None:
    """The rate that a node asks for, but at most `most` calls a second."""
    if per_second is None:
        return None if most is None else Rate.of(most)
    return Rate.of(per_second, burst) if most is None or per_second <= most else Rate.of(most, burst)
