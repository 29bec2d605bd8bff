"""`server run purge`: it asks first, counts when that is all it is to do, and deletes what has ended."""

import io
import json

import pytest

SLEEPY = """
nodes: [{id: start, type: manual_trigger}, {id: nap, type: delay, config: {duration: 1h}}]
edges: [{source: start, target: nap}]
"""


@pytest.fixture
def workflow(remote, workflow_file):
    """The name of a deployed workflow that ran three times."""
    name = remote("workflow", "import", workflow_file).out.strip().split(" ", 1)[1]
    remote("workflow", "deploy", name)
    for _ in range(3):
        assert remote("workflow", "run", name, "--wait").code == 0
    return name


@pytest.fixture
def purge(remote, workflow):
    return lambda *options: remote("run", "purge", "--older-than", "1ms", "--workflow", workflow, *options)


def runs_of(remote, workflow):
    return json.loads(remote("run", "list", "--workflow", workflow, "--json").out)


def test_runs_that_ended_are_deleted_and_a_second_time_there_is_nothing_left(remote, workflow, purge):
    assert purge("--yes").out == "3 runs deleted\n"
    assert runs_of(remote, workflow) == []
    answer = json.loads(purge("--yes", "--json").out)
    assert (answer["count"], answer["dry_run"]) == (0, False)


def test_a_dry_run_only_counts(remote, workflow, purge):
    assert purge("--dry-run").out == "3 runs would be deleted\n"
    assert purge("--dry-run", "--status", "failed").out == "0 runs would be deleted\n"
    assert len(runs_of(remote, workflow)) == 3


@pytest.mark.parametrize("said", ["n\n", "", "y\n"])
def test_without_yes_it_asks_and_takes_only_yes_for_yes(remote, workflow, purge, monkeypatch, said):
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    answer = purge()
    assert "Delete 3 runs" in answer.err
    assert (answer.code, len(runs_of(remote, workflow))) == ((0, 0) if said == "y\n" else (1, 3))


def test_only_runs_that_ended_long_enough_ago_are_deleted_and_no_live_one(remote, tmp_path, workflow):
    assert remote("run", "purge", "--older-than", "30d", "--workflow", workflow, "--yes").out == "0 runs deleted\n"
    (tmp_path / "sleepy.yaml").write_text(SLEEPY)
    run_id = remote("workflow", "run", tmp_path / "sleepy.yaml").out.split()[0]
    assert remote("run", "purge", "--older-than", "1ms", "--status", "cancelled", "--yes").code == 0
    assert remote("run", "cancel", run_id).code == 0
    assert remote("run", "purge", "--older-than", "1ms", "--status", "cancelled", "--yes").code == 0
    assert remote("run", "show", run_id).code == 4


@pytest.mark.parametrize(
    "options",
    [(), ("--older-than", "soon"), ("--older-than", "999999999d"), ("--older-than", "1d", "--status", "running")],
)
def test_misuse_is_told_and_deletes_nothing(remote, options):
    answer = remote("run", "purge", "--yes", *options)
    assert (answer.code, bool(answer.err)) == (2, True)
