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


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nodes: &again [*again]", "nested"),
        ("nodes: " + "[" * 200 + "]" * 200, "nested"),
        ("nodes: " + "[" * 20_000, "recursion"),
        (BOMB, "500,000 values"),
        ("nodes: {0: a}", "the name 0 is not a text"),
        ("nodes: {[a]: b}", "unhashable"),
        ("nodes: .nan", "nan"),
        ("nodes: -.inf", "inf"),
        ("nodes: !!binary aGk=", "bytes"),
        ("nodes: !!set {a, b}", "set"),
        ("nodes: !!timestamp 2026-01-31", "date"),
    ],
    ids=range(11),
)
def test_what_json_cannot_say_is_refused_with_the_reason(read, text, reason):
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert reason in caught.value.details[0].problem


NOT_FOR_SERVERS = {
    "half a character": '{"nodes": "\\ud800"}',
    "half a character in a name": '{"nodes": {"\\udfff": 1}}',
    "no number": '{"nodes": NaN}',
    "brackets without end": '{"nodes": ' + "[" * 100_000,
    "too many brackets": '{"nodes": ' + "[" * 500 + "]" * 500 + "}",
}


@pytest.mark.parametrize("text", NOT_FOR_SERVERS.values(), ids=NOT_FOR_SERVERS)
def test_json_that_no_server_takes_is_refused(read, text):
    with pytest.raises(BadRequest):
        read(text, "x.json")
