"""`server trigger` over the triggers of a deployed workflow."""

import json
from uuid import uuid4

import pytest

CLOCK = """
name: {name}
nodes:
  - {{id: clock, type: schedule, config: {{cron: "@yearly"}}}}
"""


@pytest.fixture
def trigger(remote, tmp_path):
    """A schedule of a workflow of its own."""
    name = f"clock {uuid4().hex[:8]}"
    (tmp_path / "clock.yaml").write_text(CLOCK.format(name=name))
    assert remote("workflow", "import", tmp_path / "clock.yaml").code == 0
    assert remote("workflow", "deploy", name).code == 0
    (found,) = json.loads(remote("trigger", "list", "--workflow", name, "--json").out)
    return found


def test_triggers_are_listed_with_their_next_moment(remote, trigger):
    assert (trigger["type"], trigger["node_id"], trigger["enabled"]) == ("schedule", "clock", True)
    line = next(line for line in remote("trigger", "list").out.splitlines() if trigger["id"] in line)
    assert trigger["next_fire_at"] in line
    assert remote("trigger", "list", "--workflow", "no such name").code == 4


def test_a_trigger_is_paused_and_resumed(remote, trigger):
    assert "False" in remote("trigger", "pause", trigger["id"]).out
    resumed = json.loads(remote("trigger", "resume", trigger["id"], "--json").out)
    assert (resumed["enabled"], resumed["next_fire_at"]) == (True, trigger["next_fire_at"])


def test_a_trigger_is_fired_and_the_run_is_told(remote, trigger):
    fired = remote("trigger", "fire", trigger["id"], "--input", '{"a": 1}')
    run = json.loads(remote("run", "show", fired.out.strip(), "--json").out)
    assert (run["trigger"]["id"], run["input"]) == (trigger["id"], {"a": 1})
    assert json.loads(remote("trigger", "fire", trigger["id"], "--json").out)["input"] is None


def test_what_is_no_trigger_is_not_found(remote):
    for command in ("fire", "pause", "resume"):
        assert remote("trigger", command, str(uuid4())).code == 4
        assert remote("trigger", command, "../x").code == 4


def test_status_says_when_the_next_schedule_is_due(remote, trigger):
    assert "schedules: " in remote("status").out
    found = json.loads(remote("status", "--json").out)["schedules"]
    assert found["active"] >= 1
    assert found["due"] == 0
