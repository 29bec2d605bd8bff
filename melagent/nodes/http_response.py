"""Answers the caller of a webhook."""

from __future__ import annotations

from melagent.sdk import Field, Json, Node, NodeContext, Params, Result


class HttpResponseParams(Params):
    status_code: int = Field(default=200, ge=200, le=599, description="Status of the answer")
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers of the answer", json_schema_extra={"x-widget": "key-value"}
    )
    body: Json = Field(default=None, description="Text, or a value that is sent as JSON; the input when not given")


class HttpResponse(Node[HttpResponseParams]):
    id = "http_response"
    name = "HTTP response"
    description = "Answers the caller of a webhook in sync mode; the run goes on behind it"
    category = "Integrations"
    icon = "reply"
    answers = True

    async def run(self, params: HttpResponseParams, ctx: NodeContext) -> Result:
        body = params.body if "body" in params.model_fields_set else ctx.input
        return {"statusCode": params.status_code, "headers": params.headers, "body": body}
