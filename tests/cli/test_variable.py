"""`server variable`: global by default, of a workflow when one is named."""

import json
from uuid import uuid4

import pytest


@pytest.fixture
def key():
    return f"k{uuid4().hex[:8]}"


def test_a_variable_is_set_read_and_deleted(remote, key):
    assert remote("variable", "set", key, '{"a": "ä"}').out == f"global {key} revision 1\n"
    assert json.loads(remote("variable", "get", key).out) == {"a": "ä"}
    whole = json.loads(remote("variable", "get", key, "--json").out)
    assert (whole["scope"], whole["revision"]) == ("global", 1)
    assert json.loads(remote("variable", "set", key, "7", "--json").out)["revision"] == 2
    assert remote("variable", "delete", key).code == 0
    assert remote("variable", "get", key).code == 4
    assert remote("variable", "delete", key).code == 4


def test_a_variable_of_a_workflow_is_its_own(remote, key, workflow_file):
    id, name = remote("workflow", "import", workflow_file).out.strip().split(" ", 1)
    remote("variable", "set", key, "1")
    assert remote("variable", "set", key, "2", "--workflow", name).out == f"{id} {key} revision 1\n"
    assert remote("variable", "get", key).out == "1\n"
    listed = json.loads(remote("variable", "list", "--workflow", name, "--json").out)
    assert [(each["scope"], each["key"], each["value"]) for each in listed] == [(id, key, 2)]
    assert remote("variable", "list", "--workflow", "no such name").code == 4


def test_a_value_may_come_from_a_file_and_a_long_one_is_cut_in_the_table(remote, key, tmp_path):
    (tmp_path / "value.json").write_text(json.dumps("x" * 5000))
    assert remote("variable", "set", key, f"@{tmp_path / 'value.json'}").code == 0
    line = next(line for line in remote("variable", "list").out.splitlines() if key in line)
    assert line.endswith("x…")
    assert json.loads(remote("variable", "get", key).out) == "x" * 5000


def test_what_is_not_json_and_what_is_no_key_is_wrong_usage(remote, key):
    answer = remote("variable", "set", key, "plain text")
    assert (answer.code, "expected JSON" in answer.err) == (2, True)
    assert remote("variable", "set", "a/b", "1").code == 2
    assert remote("variable", "get", "../x").code == 4
