"""`server status` shows who is there and what waits."""

import json


def test_status_shows_instances_workers_and_the_queue(remote):
    answer = remote("status")
    assert answer.code == 0
    assert "embedded-" in answer.out
    assert "queue: 0 waiting" in answer.out


def test_status_as_json_is_what_the_api_answers(remote):
    found = json.loads(remote("status", "--json").out)
    (instance,) = found["instances"]
    (worker,) = found["workers"]
    assert (instance["role"], instance["status"], worker["embedded"]) == ("server", "active", True)
    assert worker["instance"] == instance["id"]


def test_status_without_a_server_is_exit_code_3(cli):
    assert cli("status", "--server", "http://127.0.0.1:1", "--api-key", "x").code == 3
