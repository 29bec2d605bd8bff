"""`server run pause|resume|signal|retry|replay`, as people call them."""

import json

import pytest

ASKING = """
nodes:
  - {id: start, type: manual_trigger}
  - {id: ask, type: wait}
  - {id: check, type: if, config: {conditions: [{expression: input.ok, branch: fine}]}}
  - {id: halt, type: stop, config: {status: error, message: not so}}
  - {id: done, type: transform, config: {expression: "[input.ok, steps.start.output]"}}
edges:
  - {source: start, target: ask}
  - {source: ask, target: check}
  - {source: check, source_handle: else, target: halt}
  - {source: check, source_handle: fine, target: done}
"""


@pytest.fixture
def asking(remote, tmp_path):
    """The id of a run that waits for a signal."""
    (tmp_path / "asking.yaml").write_text(ASKING)
    started = remote("workflow", "run", tmp_path / "asking.yaml", "--input", "7")
    assert started.code == 0, started.err
    run_id = started.out.split()[0]
    while json.loads(remote("run", "show", run_id, "--json").out)["status"] != "waiting":
        pass
    return run_id


def test_a_run_is_paused_resumed_and_signalled(remote, asking):
    assert remote("run", "pause", asking).out == f"{asking} paused\n"
    assert remote("run", "signal", asking, "ask", '{"ok": true}').out == f"sent ask to {asking}\n"
    assert remote("run", "resume", asking).out.startswith(f"{asking} ")
    assert json.loads(remote("run", "watch", asking).out) == [True, 7]
    assert remote("run", "resume", asking).code == 1


def test_a_waiting_run_shows_for_what_it_waits_and_the_link(remote, asking):
    shown = remote("run", "show", asking).out
    assert "'signal': 'ask'" in shown
    assert "/resume/" in shown


def test_a_failed_run_is_retried_or_replayed_with_another_input(remote, asking):
    remote("run", "signal", asking, "ask", '{"ok": false}')
    assert remote("run", "watch", asking).code == 1
    retried = remote("run", "retry", asking, "--wait")
    assert (retried.code, "not so" in retried.err) == (1, True)
    replayed = remote("run", "replay", asking, "--from", "check", "--input", '{"ok": true}', "--wait")
    assert (replayed.code, json.loads(replayed.out)) == (0, [True, 7])
    assert "✓ done" in replayed.err
    made = json.loads(remote("run", "replay", asking, "--from", "done", "--json").out)
    assert made["retry_of"] == asking
    assert remote("run", "replay", asking, "--from", "nowhere").code == 1
    assert remote("run", "replay", asking, "--version", "odd").code == 2
    assert remote("run", "replay", asking, "--input", "{").code == 2


def test_what_is_not_there_or_not_reachable_is_told(remote):
    nobody = "00000000-0000-7000-8000-000000000000"
    for command in (("pause",), ("resume",), ("retry",), ("replay",), ("signal", "ask")):
        assert remote("run", command[0], nobody, *command[1:]).code == 4
    assert remote("run", "retry", nobody, "--server", "http://127.0.0.1:1").code == 3
