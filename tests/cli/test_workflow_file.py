import pytest

from melagent.cli import workflow_file
from melagent.errors import BadRequest


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, name="nightly.yaml"):
        (tmp_path / name).write_text(text)
        return workflow_file.read(tmp_path / name)

    return write_and_read


def test_words_and_dates_stay_text_as_in_json(read):
    nodes = read("nodes: [{id: on, config: {a: yes, b: 2026-01-31, c: true, d: 1, e: null}}]").definition["nodes"]
    assert nodes == [{"id": "on", "config": {"a": "yes", "b": "2026-01-31", "c": True, "d": 1, "e": None}}]


def test_name_is_that_of_the_file_when_it_says_none(read):
    assert read("nodes: []").name == "nightly"
    named = read('{"name": "n", "description": "d", "nodes": []}', "x.json")
    assert (named.name, named.description, named.definition) == ("n", "d", {"nodes": []})


@pytest.mark.parametrize("text", ["a: [", "- 1", "text", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_workflow_is_refused(read, text):
    with pytest.raises(BadRequest, match=r"nightly\.yaml"):
        read(text)
