"""Starts a run for each call of its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self
from uuid import UUID

from pydantic import model_validator

from melagent.sdk import Connection, Expression, Field, Node, NodeContext, Params, Raw, Result

if TYPE_CHECKING:
    from pydantic.config import JsonDict

HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
MAX_BODY_BYTES = 10 * 1024 * 1024

HTTP: JsonDict = {"x-group": "HTTP"}
RESPONSE: JsonDict = {"x-group": "Response"}
ACCESS: JsonDict = {"x-group": "Access"}
SIGNED: JsonDict = ACCESS | {"x-visible-if": "auth == 'hmac'"}
GENERIC: JsonDict = ACCESS | {"x-visible-if": "auth == 'hmac' and preset == 'generic'"}
LIMITS: JsonDict = {"x-group": "Limits"}
REPEATS: JsonDict = {"x-group": "Repetitions"}


class WebhookParams(Params):
    """All raw: the parameters are read when a call comes in, before there is a run with values."""

    method: Annotated[Literal["ANY", "GET", "POST", "PUT", "PATCH", "DELETE"], Raw] = Field(
        default="POST", description="HTTP method; any other is answered with 405", json_schema_extra=HTTP
    )
    path: Annotated[str, Raw] = Field(
        default="",
        pattern=r"^[^\s?#]{0,200}$",
        description="What must follow the token in the URL; empty takes anything",
        json_schema_extra=HTTP,
    )
    raw_body: Annotated[bool, Raw] = Field(
        default=False,
        description="Give the run the bytes of the body too: `raw` is `{filename, content_type, size, base64}`",
        json_schema_extra=HTTP,
    )
    mode: Annotated[Literal["async", "sync"], Raw] = Field(
        default="async", description="Answer at once with the run's id, or wait for the run"
    )
    respond: Annotated[Literal["last_node", "http_response", "at_once"], Raw] = Field(
        default="last_node",
        description="What answers the caller in sync mode: the run's output, an HTTP response node, or neither",
        json_schema_extra=RESPONSE | {"x-visible-if": "mode == 'sync'"},
    )
    status_code: Annotated[int, Raw] = Field(
        default=200, ge=200, le=599, description="Status of an answer", json_schema_extra=RESPONSE
    )
    headers: Annotated[dict[str, str], Raw] = Field(
        default_factory=dict,
        description="Headers of an answer",
        json_schema_extra=RESPONSE | {"x-widget": "key-value"},
    )
    auth: Annotated[Literal["none", "header", "basic", "hmac"], Raw] = Field(
        default="none",
        description="How callers show who they are: not at all, by a secret, by user and password, by a signature",
        json_schema_extra=ACCESS,
    )
    secret: Annotated[UUID | None, Connection("webhook_secret")] = Field(
        default=None,
        description="The connection of type webhook_secret that holds the secret; for `basic` it is `user:password`",
        json_schema_extra=ACCESS | {"x-visible-if": "auth != 'none'"},
    )
    auth_header: Annotated[str, Raw] = Field(
        default="X-Webhook-Secret",
        pattern=HEADER_NAME,
        description="The header that holds the secret",
        json_schema_extra=ACCESS | {"x-visible-if": "auth == 'header'"},
    )
    preset: Annotated[Literal["generic", "github", "stripe", "slack", "standard_webhooks"], Raw] = Field(
        default="generic", description="Who signs, and so how", json_schema_extra=SIGNED
    )
    signature_header: Annotated[str, Raw] = Field(
        default="X-Signature", pattern=HEADER_NAME, description="The header with the HMAC", json_schema_extra=GENERIC
    )
    signature_prefix: Annotated[str, Raw] = Field(
        default="",
        max_length=100,
        description="What stands before the HMAC in its header, for example `sha256=`",
        json_schema_extra=GENERIC,
    )
    algorithm: Annotated[Literal["sha256", "sha512", "sha1"], Raw] = Field(
        default="sha256", description="Hash function of the HMAC", json_schema_extra=GENERIC
    )
    encoding: Annotated[Literal["hex", "base64"], Raw] = Field(
        default="hex", description="How the HMAC is written", json_schema_extra=GENERIC
    )
    timestamp_header: Annotated[str, Raw] = Field(
        default="",
        pattern=HEADER_NAME.replace("{1,100}", "{0,100}"),
        description="Header with the time in seconds since 1970; the HMAC is then over `<time>.<body>`",
        json_schema_extra=GENERIC,
    )
    tolerance_seconds: Annotated[int, Raw] = Field(
        default=300,
        ge=1,
        le=86_400,
        description="How far the time of a signature may lie from ours",
        json_schema_extra=SIGNED,
    )
    replay_protection: Annotated[bool, Raw] = Field(
        default=True,
        description="Refuse a signature that was used before, unless the call is a delivery that was repeated",
        json_schema_extra=SIGNED,
    )
    dedupe_key: Annotated[str, Expression] = Field(
        default="",
        description="An expression over `input`: calls with the same value within three days start one run. When empty "
        "the id of the delivery counts where the preset has one, else the header Idempotency-Key",
        json_schema_extra=REPEATS,
    )
    per_second: Annotated[float | None, Raw] = Field(
        default=None,
        gt=0,
        le=100_000,
        description="Calls a second that are let through in the long run, over all instances; others get 429",
        json_schema_extra=LIMITS,
    )
    burst: Annotated[int | None, Raw] = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Calls that may come at once; one second's worth when not given",
        json_schema_extra=LIMITS,
    )
    max_body_bytes: Annotated[int, Raw] = Field(
        default=MAX_BODY_BYTES,
        ge=0,
        le=MAX_BODY_BYTES,
        description="Largest body that is taken; others get 413",
        json_schema_extra=LIMITS,
    )
    deliveries: Annotated[Literal["none", "refused", "all"], Raw] = Field(
        default="refused",
        description="Which calls are kept to be looked at and replayed: none, those that started nothing, or all",
        json_schema_extra=REPEATS,
    )

    @model_validator(mode="after")
    def _who_asks_for_proof_needs_a_secret(self) -> Self:
        if self.auth != "none" and self.secret is None:
            raise ValueError("`secret` must name a connection of type webhook_secret when `auth` is not `none`")
        return self


class Webhook(Node[WebhookParams]):
    id = "webhook"
    name = "Webhook"
    description = "Starts a run for each call of its URL; the output is {method, path, query, headers, body}"
    category = "Triggers"
    icon = "webhook"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: WebhookParams, ctx: NodeContext) -> Result:  # noqa: ARG002 - every node takes its parameters
        return ctx.input
