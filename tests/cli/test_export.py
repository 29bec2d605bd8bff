"""`server workflow export`: files that are imported again to the same definition."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from melagent.cli import workflow_file
from melagent.cli.workflow_file import WorkflowFile

FULL = """
name: "yes"
description: "Says: hello"
nodes:
  - {id: start, type: manual_trigger, position: {x: 10, y: -2.5}, config: {data: {on: yes, when: 2026-01-31, n: 1.0}}}
  - id: work
    type: transform
    name: "on"
    config: {template: "a\\n  b\\n\\n", }
    retry: {max_attempts: 7, non_retryable: [timeout]}
    on_error: branch
    timeout_seconds: 2
  - {id: late, type: noop, disabled: true}
edges:
  - {source: start, target: work}
  - {source: work, source_handle: error, target: late}
settings: {labels: [region=eu], priority: 0}
notes: [{text: "# not a comment", x: 1}]
"""

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "yes",
        "tRue",
        "2026-01-31",
        "~",
        "=",
        "<<",
        "1_0",
        "1:30",
        "- a",
        " a\n b\n",
        "\n",
        "a\r\nb",
        "a\u2028b",
        "{{ x }}",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def imported(remote, tmp_path):
    """Imports a file; the workflow as the API shows it."""

    def make(path):
        return json.loads(remote("workflow", "import", path, "--json").out)

    return make


@pytest.fixture
def full(imported, tmp_path):
    (tmp_path / "full.yaml").write_text(FULL)
    return imported(tmp_path / "full.yaml")


@pytest.mark.parametrize("name", ["again.yaml", "again.json"])
def test_an_exported_file_is_imported_to_an_equal_workflow(remote, imported, full, tmp_path, name):
    written = remote("workflow", "export", full["id"], "-o", tmp_path / name)
    assert (written.code, written.out) == (0, "")
    again = imported(tmp_path / name)
    assert [again[field] for field in ("name", "description", "definition")] == [
        full[field] for field in ("name", "description", "definition")
    ]


def test_a_file_says_nothing_that_follows_from_the_rest(remote, full):
    text = remote("workflow", "export", full["id"]).out
    assert "#" not in text.replace("# not a comment", "")
    exported = yaml.safe_load(text)
    assert exported["nodes"][2] == {"id": "late", "type": "noop", "disabled": True}
    assert exported["edges"][0] == {"source": "start", "target": "work"}
    assert [*exported] == ["name", "description", "nodes", "edges", "settings", "notes"]
    assert json.loads(remote("workflow", "export", full["id"], "--json").out) == exported


def test_a_version_and_the_draft_are_exported_apart(remote, imported, workflow_file):
    made = imported(workflow_file)
    assert remote("workflow", "export", made["id"], "--version", "current").code == 4
    remote("workflow", "deploy", made["id"])
    draft = remote("workflow", "export", made["name"]).out
    assert remote("workflow", "export", made["name"], "--version", "1").out == draft
    assert remote("workflow", "export", made["name"], "--version", "current").out == draft
    for version, code in (("2", 4), ("../draft", 2), ("latests", 2)):
        assert remote("workflow", "export", made["name"], "--version", version).code == code


def test_a_file_that_cannot_be_written_is_told(remote, full, tmp_path):
    answer = remote("workflow", "export", full["id"], "-o", tmp_path / "absent" / "x.yaml")
    assert (answer.code, "cannot be written" in answer.err) == (2, True)


def test_fields_of_a_newer_server_are_kept():
    file = WorkflowFile("n", "", {"nodes": [], "lanes": [1]})
    assert yaml.safe_load(file.text()) == {"name": "n", "nodes": [], "lanes": [1]}


@given(value=VALUES, name=TEXTS.filter(bool))
def test_whatever_a_definition_holds_is_read_as_it_was_written(tmp_path_factory, value, name):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    config = {"value": value}
    WorkflowFile(name, name, {"nodes": [{"id": "a", "type": "t", "config": config}]}).write(path)
    read = workflow_file.read(path)
    assert (read.name, read.description, read.definition["nodes"][0]["config"]) == (name, name, config)
