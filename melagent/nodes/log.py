"""Writes into the log."""

from __future__ import annotations

import orjson

from melagent.sdk import Field, Json, LogLevel, Node, NodeContext, Params, Result


class LogParams(Params):
    level: LogLevel = Field(default="info", description="How much it matters")
    message: Json = Field(
        description="Text, or a value that is written as JSON", json_schema_extra={"x-widget": "template"}
    )


class Log(Node[LogParams]):
    id = "log"
    name = "Log"
    description = "Writes a message into the run's log and the process log; passes its input on"
    category = "Data"
    icon = "scroll-text"

    async def run(self, params: LogParams, ctx: NodeContext) -> Result:
        message = params.message
        ctx.log(params.level, message if isinstance(message, str) else orjson.dumps(message).decode())
        return ctx.input
