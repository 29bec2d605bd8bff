import json
import subprocess
import sys

import pytest

COMMANDS = {
    "server", "api-server", "worker", "migrate", "workflow", "run", "user", "token", "keys", "node", "status", "config",
    "openapi", "healthcheck", "completion", "version", "variable", "trigger", "realtime",
}  # fmt: skip  # one set of words
SLOW = {"aiohttp", "asyncpg", "minijinja", "psycopg", "pydantic", "rich", "structlog", "uvloop", "yaml", "yoyo"}


def imported_for(*arguments):
    """What the program has imported when it has printed some help: the slow ones, and how many modules in all."""
    program = (
        "import json, sys, melagent.cli\n"
        f"sys.argv = {['server', *arguments, '--help']}\n"
        "try: melagent.cli.main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = json.loads(ran.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in modules} & SLOW, len(modules)


def test_help_imports_nothing_that_is_slow():
    slow, count = imported_for()
    assert slow == set()
    assert count < 300


@pytest.mark.parametrize("arguments", [("workflow",), ("workflow", "run"), ("server",), ("migrate",), ("run", "list")])
def test_help_of_a_command_imports_but_what_typer_needs(arguments):
    slow, count = imported_for(*arguments)
    assert slow <= {"pydantic"}
    assert count < 450


def test_help_lists_every_command(cli):
    answer = cli("--help")
    assert answer.code == 0
    assert {line.split()[0] for line in answer.out.partition("Commands:\n")[2].splitlines()} == COMMANDS


def test_unknown_command_and_unknown_option_are_wrong_usage(cli):
    assert cli("fly").code == 2
    assert cli("run", "list", "--fast").code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_script_is_printed_for_each_shell(cli, shell):
    answer = cli("completion", shell)
    assert answer.code == 0
    assert "_SERVER_COMPLETE" in answer.out


def test_completion_knows_the_commands():
    ran = subprocess.run(
        [sys.executable, "-m", "melagent"],
        env={"_SERVER_COMPLETE": "complete_bash", "COMP_WORDS": "server workflow dep", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["deploy"]


def test_version_is_that_of_the_package(cli):
    from melagent import __version__

    assert cli("version").out.strip() == __version__


def test_config_shows_values_with_their_origin_and_masks_secrets(cli, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:s3cret@h/d")
    monkeypatch.setenv("MEL_API_KEY", "s3cret-key")
    answer = cli("config", "--show-origin")
    (line,) = [line for line in answer.out.splitlines() if line.startswith("database.url ")]
    assert line.split() == ["database.url", "postgresql://u:•••@h/d", "environment", "DATABASE_URL"]
    assert "s3cret" not in answer.out
    assert '"origin"' not in cli("config", "--json").out


def test_broken_setting_is_exit_code_2_with_name_origin_and_expectation(cli, monkeypatch):
    monkeypatch.setenv("MEL_LEASE_SECONDS", "soon")
    answer = cli("server")
    assert answer.code == 2
    assert "engine.lease_seconds: environment MEL_LEASE_SECONDS: expected a duration" in answer.err


def test_api_server_without_a_database_says_what_to_set(cli):
    answer = cli("api-server", "--port", "0")
    assert answer.code == 2
    assert "DATABASE_URL" in answer.err


def test_migrate_shows_plan_and_status_and_goes_up_and_down(cli, empty_database_url):
    given = ("--database-url", empty_database_url)
    assert "CREATE TABLE workflows" in cli("migrate", "plan", *given).out
    assert cli("migrate", "status", *given).out.count("pending") > 0
    assert "applied 0001.workflows" in cli("migrate", *given).out
    assert cli("migrate", "up", *given).out == "nothing to do\n"
    assert cli("migrate", "status", "--wait", *given).out.count("pending") == 0
    assert "rolled back" in cli("migrate", "down", *given).out
    assert cli("migrate", "status", "--wait", "--timeout", "0", *given).code == 1


def test_database_that_is_away_is_exit_code_3(cli):
    answer = cli("migrate", "--database-url", "postgresql://u@127.0.0.1:1/d")
    assert answer.code == 3
    assert "cannot be reached" in answer.err
