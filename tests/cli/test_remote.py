import json
import re
import stat
from uuid import uuid4

import pytest

from melagent.cli import credentials

NO_SUCH_RUN = "00000000-0000-7000-8000-000000000000"


def test_running_a_file_and_waiting_prints_its_output(remote, workflow_file):
    answer = remote("workflow", "run", workflow_file, "--wait", "--input", '{"name": "you"}')
    assert (answer.code, json.loads(answer.out)) == (0, {"name": "you", "text": "hello you"})
    assert "✓ greet (set)" in answer.err


def test_input_may_come_from_a_file(remote, workflow_file, tmp_path):
    (tmp_path / "input.json").write_text('{"name": "file"}')
    answer = remote("workflow", "run", workflow_file, "--wait", "--input", f"@{tmp_path / 'input.json'}")
    assert json.loads(answer.out)["text"] == "hello file"
    assert remote("workflow", "run", workflow_file, "--input", "{").code == 2


def test_a_deploy_says_the_address_of_a_new_webhook_once(remote, tmp_path):
    path = tmp_path / "hook.yaml"
    path.write_text(f"name: hook {uuid4().hex[:8]}\nnodes: [{{id: call, type: webhook}}]\n")
    name = path.read_text().splitlines()[0].removeprefix("name: ")
    assert remote("workflow", "import", path).code == 0
    first, second = (remote("workflow", "deploy", name).out.splitlines() for _ in range(2))
    assert re.fullmatch(r"call: http://\S+/webhooks/[\w-]{43}", first[1])
    assert len(second) == 1


def test_file_is_imported_deployed_and_run_by_name(remote, workflow_file):
    id, name = remote("workflow", "import", workflow_file).out.strip().split(" ", 1)
    assert remote("workflow", "deploy", name).out == f"deployed version 1 of {name}\n"
    assert json.loads(remote("workflow", "run", name, "--wait").out) == {"text": "hello world"}
    listed = json.loads(remote("workflow", "list", "--json").out)
    assert [each["current_version"] for each in listed if each["id"] == id] == [1]
    assert f"name: {name}" in remote("workflow", "show", id).out
    assert remote("workflow", "validate", name).code == 0


def test_name_of_two_workflows_is_not_guessed(remote, workflow_file):
    for _ in range(2):
        remote("workflow", "import", workflow_file, "--name", "twins")
    answer = remote("workflow", "show", "twins")
    assert answer.code == 1
    assert "2 workflows are named 'twins'" in answer.err


def test_run_is_listed_shown_and_watched_after_its_end(remote, workflow_file):
    run = json.loads(remote("workflow", "run", workflow_file, "--wait", "--json").out)
    assert run["id"] in [each["id"] for each in json.loads(remote("run", "list", "--json").out)]
    shown = json.loads(remote("run", "show", run["id"], "--json").out)
    assert [step["step_key"] for step in shown["steps"]] == ["start", "greet"]
    assert json.loads(remote("run", "watch", run["id"]).out) == {"text": "hello world"}
    assert remote("run", "cancel", run["id"]).code == 1


def test_sleeping_run_can_be_cancelled(remote, tmp_path):
    path = tmp_path / "sleepy.yaml"
    path.write_text(
        "nodes: [{id: start, type: manual_trigger}, {id: nap, type: delay, config: {duration: 1h}}]\n"
        "edges: [{source: start, target: nap}]"
    )
    run_id = remote("workflow", "run", path).out.split()[0]
    assert remote("run", "cancel", run_id).out == f"{run_id} cancelled\n"
    watched = remote("run", "watch", run_id)
    assert watched.code == 1
    assert f"Run {run_id} cancelled" in watched.err


def test_failed_run_is_exit_code_1_with_its_error(remote, tmp_path):
    path = tmp_path / "stop.yaml"
    path.write_text(
        "nodes: [{id: start, type: manual_trigger}, {id: halt, type: stop, config: {status: error, message: enough}}]\n"
        "edges: [{source: start, target: halt}]"
    )
    answer = remote("workflow", "run", path, "--wait")
    assert answer.code == 1
    assert "enough" in answer.err


def test_every_problem_of_a_file_is_named_with_and_without_a_server(remote, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("nodes: [{id: a, type: nope}]\nedges: [{source: a, target: b}]")
    for command in ("validate", "run"):
        answer = remote("workflow", command, path)
        assert answer.code == 1
        assert "nodes.a.type: There is no node type 'nope'." in answer.err
        assert "edges[0].target" in answer.err
    body = json.loads(remote("workflow", "run", path, "--json").err)
    assert body["error"] == "unprocessable"
    assert len(body["details"]) >= 2


def test_file_that_is_no_workflow_is_wrong_usage(remote, tmp_path):
    (tmp_path / "list.yaml").write_text("- 1")
    assert remote("workflow", "run", tmp_path / "list.yaml").code == 2
    assert remote("workflow", "run", tmp_path / "absent.yaml").code == 2


def test_exit_codes_tell_what_went_wrong(remote):
    assert remote("run", "show", NO_SUCH_RUN).code == 4
    assert remote("workflow", "show", "no such name").code == 4
    assert remote("run", "list", "--status", "odd").code == 2
    assert remote("run", "list", "--api-key", "wrong").code == 5
    unreachable = remote("run", "list", "--server", "http://127.0.0.1:1")
    assert unreachable.code == 3
    assert "server server" in unreachable.err


def test_server_writes_a_key_for_its_user_alone(running):
    assert stat.S_IMODE((running / "cli.json").stat().st_mode) == 0o600
    assert credentials.read(running).api_key.startswith("mel_")


def test_stored_key_goes_to_the_server_it_was_written_for_and_to_no_other(tmp_path):
    from melagent.settings import load

    credentials.write(tmp_path, credentials.Credentials("http://127.0.0.1:5", "mel_k"))

    def resolved(**flags):
        return credentials.resolve(load({"data_dir": tmp_path, **flags}, environ={}))

    assert resolved() == credentials.Credentials("http://127.0.0.1:5", "mel_k")
    assert resolved(**{"client.server_url": "http://elsewhere:1"}).api_key is None
    assert resolved(**{"client.api_key": "mine"}).api_key == "mine"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"server_url": "http://x"}', "null"])
def test_broken_cli_json_counts_as_none(tmp_path, content):
    (tmp_path / "cli.json").write_text(content)
    assert credentials.read(tmp_path) is None


def test_healthcheck_asks_the_server_on_this_machine(remote, running):
    port = credentials.read(running).server_url.rsplit(":", 1)[1]
    assert remote("healthcheck", "--port", port).out == "healthy\n"
    assert remote("healthcheck", "--port", "1").code == 3


def test_second_server_on_the_same_port_says_so(remote, running, database_url):
    port = credentials.read(running).server_url.rsplit(":", 1)[1]
    answer = remote("api-server", "--host", "127.0.0.1", "--port", port, "--database-url", database_url)
    assert answer.code == 1
    assert "Cannot listen on" in answer.err
