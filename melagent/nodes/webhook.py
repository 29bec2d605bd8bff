"""Starts a run for each call of its URL."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Field, Node, NodeContext, Params, Raw, Result


class WebhookParams(Params):
    """All raw: the parameters are read when a call comes in, before there is a run with values."""

    method: Annotated[Literal["ANY", "GET", "POST", "PUT", "PATCH", "DELETE"], Raw] = Field(
        default="POST", description="HTTP method; any other is answered with 405", json_schema_extra={"x-group": "HTTP"}
    )
    path: Annotated[str, Raw] = Field(
        default="",
        pattern=r"^[^\s?#]{0,200}$",
        description="What must follow the token in the URL; empty takes anything",
        json_schema_extra={"x-group": "HTTP"},
    )
    mode: Annotated[Literal["async", "sync"], Raw] = Field(
        default="async", description="Answer at once with the run's id, or wait for the run"
    )
    respond: Annotated[Literal["last_node", "http_response", "at_once"], Raw] = Field(
        default="last_node",
        description="What answers the caller in sync mode: the run's output, an HTTP response node, or neither",
        json_schema_extra={"x-group": "Response", "x-visible-if": "mode == 'sync'"},
    )
    status_code: Annotated[int, Raw] = Field(
        default=200, ge=200, le=599, description="Status of an answer", json_schema_extra={"x-group": "Response"}
    )
    headers: Annotated[dict[str, str], Raw] = Field(
        default_factory=dict,
        description="Headers of an answer",
        json_schema_extra={"x-group": "Response", "x-widget": "key-value"},
    )


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
