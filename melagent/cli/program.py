"""The whole program on one page: every command and the group it belongs to."""

from __future__ import annotations

import typer
from typer._completion_classes import completion_init

from melagent.cli import (
    completion,
    config,
    healthcheck,
    keys,
    migrate,
    node,
    openapi,
    run,
    serve,
    status,
    token,
    trigger,
    user,
    variable,
    version,
    worker,
    workflow,
)

app = typer.Typer(
    name="server",
    help="MEL Agent: AI workflow automation that scales by starting more processes.",
    no_args_is_help=True,
    add_completion=False,  # `completion` takes its place
    rich_markup_mode=None,  # plain help is fast help
    pretty_exceptions_enable=False,
)

app.command("server")(serve.server)
app.command("api-server")(serve.api_server)
app.command("realtime")(serve.realtime)
app.command("worker")(worker.worker)
app.command("migrate")(migrate.migrate)
app.add_typer(workflow.app, name="workflow")
app.add_typer(run.app, name="run")
app.add_typer(trigger.app, name="trigger")
app.add_typer(variable.app, name="variable")
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(keys.app, name="keys")
app.add_typer(node.app, name="node")
app.command("status")(status.status)
app.command("config")(config.config)
app.command("openapi")(openapi.openapi)
app.command("healthcheck")(healthcheck.healthcheck)
app.command("completion")(completion.completion)
app.command("version")(version.version)

completion_init()  # teaches the program to answer the shells' questions
