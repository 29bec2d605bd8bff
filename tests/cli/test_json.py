"""Every command answers in JSON when it is asked to: found by walking the program, so that none is forgotten."""

import json

import pytest
import typer.main

from melagent import __version__
from melagent.api.app import ROUTES
from melagent.cli import credentials
from melagent.cli.program import app

SERVING_OR_SCRIPT = {"server", "api-server", "realtime", "worker", "completion"}
"""They have no answer, or one for a shell to read."""

ARGUMENTS = {
    "migrate": "status --database-url {database}",
    "workflow list": "",
    "workflow show": "{workflow}",
    "workflow import": "{file}",
    "workflow export": "{workflow}",
    "workflow validate": "{file}",
    "workflow deploy": "{workflow}",
    "workflow run": "{file} --wait",
    "run list": "",
    "run show": "{run}",
    "run watch": "{run}",
    "run cancel": "{sleeper}",
    "run pause": "{sleeper}",
    "run resume": "{paused}",
    "run signal": "{sleeper} go",
    "run retry": "{cancelled}",
    "run replay": "{run} --from start --wait",
    "run purge": "--older-than 1000d --yes",
    "trigger list": "",
    "trigger fire": "{trigger}",
    "trigger pause": "{trigger}",
    "trigger resume": "{trigger}",
    "variable list": "",
    "variable get": "{variable}",
    "variable set": "rate 1",
    "variable delete": "{variable}",
    "user add": "ada@example.com --generate --database-url {database}",
    "user list": "--database-url {database}",
    "user password": "{user} --generate --database-url {database}",
    "user remove": "{user} --database-url {database}",
    "token create": "--database-url {database}",
    "token list": "--database-url {database}",
    "token revoke": "{token} --database-url {database}",
    "keys rotate": "--database-url {database}",
    "keys status": "--database-url {database}",
    "node new": "radar",
    "status": "",
    "config": "",
    "healthcheck": "--port {port}",
    "version": "",
}
"""How each command is called here; what stands in braces is made first."""


def walk(command, path=""):
    """Every command of the program by its full name, groups not included."""
    for name, child in getattr(command, "commands", {}).items():
        full = f"{path} {name}".strip()
        if getattr(child, "commands", None):
            yield from walk(child, full)
        else:
            yield full, child


COMMANDS = dict(walk(typer.main.get_command(app)))


@pytest.fixture
def thing(remote, running, database_url, workflow_file, tmp_path):
    """Makes what a command is about, when it is asked for."""

    def sleeper():
        path = tmp_path / "sleeper.yaml"
        path.write_text(
            "nodes: [{id: start, type: manual_trigger}, {id: nap, type: delay, config: {duration: 1h}}]\n"
            "edges: [{source: start, target: nap}]"
        )
        return json.loads(remote("workflow", "run", path, "--json").out)["id"]

    def paused():
        run_id = sleeper()
        remote("run", "pause", run_id)
        return run_id

    def cancelled():
        run_id = sleeper()
        remote("run", "cancel", run_id)
        return run_id

    def user():
        remote("user", "add", "bo@example.com", "--generate", "--database-url", database_url)
        return "bo@example.com"

    def variable():
        remote("variable", "set", "rate", "1")
        return "rate"

    def trigger():
        path = tmp_path / "clock.yaml"
        path.write_text("name: clock\nnodes: [{id: clock, type: schedule, config: {cron: '@yearly'}}]")
        workflow_id = json.loads(remote("workflow", "import", path, "--json").out)["id"]
        remote("workflow", "deploy", workflow_id)
        return json.loads(remote("trigger", "list", "--workflow", workflow_id, "--json").out)[0]["id"]

    return {
        "database": lambda: database_url,
        "file": lambda: workflow_file,
        "workflow": lambda: json.loads(remote("workflow", "import", workflow_file, "--json").out)["id"],
        "run": lambda: json.loads(remote("workflow", "run", workflow_file, "--wait", "--json").out)["id"],
        "sleeper": sleeper,
        "paused": paused,
        "cancelled": cancelled,
        "user": user,
        "trigger": trigger,
        "variable": variable,
        "token": lambda: json.loads(remote("token", "create", "--json", "--database-url", database_url).out)["id"],
        "port": lambda: credentials.read(running).server_url.rsplit(":", 1)[1],
    }


def test_the_walk_finds_commands_and_those_within_groups():
    assert {"version", "workflow list", "node new"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - SERVING_OR_SCRIPT - {"openapi"}))
def test_command_answers_in_json(remote, thing, name):
    assert "--json" in {option for param in COMMANDS[name].params for option in param.opts}
    arguments = ARGUMENTS[name].split()
    given = [thing[word[1:-1]]() if word.startswith("{") else word for word in arguments]
    answer = remote(*name.split(), *given, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert isinstance(found, list if name.endswith(" list") or name == "config" else dict)


def test_openapi_is_the_document_that_a_server_serves_and_needs_none(cli):
    found = json.loads(cli("openapi").out)
    assert (found["openapi"], found["info"]["version"]) == ("3.1.0", __version__)
    assert len(found["paths"]) == len({route.path for route in ROUTES})
