"""Starts a run for each call of a Slack slash command."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from melagent.sdk import Connection, Field, Node, NodeContext, Params, Raw, Result


class SlackParams(Params):
    """All raw: the parameters are read when a call comes in, before there is a run with values."""

    secret: Annotated[UUID | None, Connection("slack", "webhook_secret")] = Field(
        default=None,
        description="The connection with the app's signing secret; without it calls are refused",
    )
    text: Annotated[str, Raw] = Field(
        default="",
        max_length=3_000,
        description="What is said at once, while the run goes on; nothing when empty",
        json_schema_extra={"x-group": "Response"},
    )
    response_type: Annotated[Literal["ephemeral", "in_channel"], Raw] = Field(
        default="ephemeral", description="Who sees that text", json_schema_extra={"x-group": "Response"}
    )


class Slack(Node[SlackParams]):
    id = "slack"
    name = "Slack command"
    description = (
        "Starts a run for each call of a slash command; the output is what Slack sends: "
        "{command, text, user_id, channel_id, response_url, …}"
    )
    category = "Triggers"
    icon = "slack"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: SlackParams, ctx: NodeContext) -> Result:  # noqa: ARG002 - every node takes its parameters
        """The fields of the command; run by hand there is no call, and the input is the output."""
        call = ctx.input
        return call["body"] if isinstance(call, dict) and "body" in call else call
