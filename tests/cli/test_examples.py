"""Each example runs as its comment says, with its own input and with others."""

import json

import pytest

from tests import examples

FOLDER = examples.ROOT / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))
IMPORTED = set()


@pytest.fixture
def prepared(remote):
    """Makes and deploys what an example calls, once for all tests."""

    def prepare(path):
        for command in examples.preparations(path):
            if (*command,) not in IMPORTED:
                IMPORTED.add((*command,))
                assert remote(*command).code == 0

    return prepare


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_valid_and_runs_to_its_end_without_any_input(remote, prepared, path):
    assert remote("workflow", "validate", path).code == 0
    assert examples.runs(path)[0] == ["workflow", "run", str(path), "--wait"]
    prepared(path)
    answer = remote("workflow", "run", path, "--wait")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) is not None
    for said in examples.outputs(path):
        assert json.loads(answer.out) == said


@pytest.mark.parametrize(
    ("name", "given", "output"),
    [
        (
            "approval-with-timeout",
            {"amount": 40},
            {"amount": 40, "decision": "approved", "why": "Small expenses need no approval."},
        ),
        ("parent-and-children-price", {"article": "chair", "count": 10}, {"article": "chair", "price": 450.0}),
        (
            "order-webhook",
            {"body": {"order": {"id": 7, "items": [{"price": 20, "count": 2}, {"price": 1.5, "count": 2}]}}},
            {"order": 7, "total": 43.0},
        ),
        ("rate-limited-calls", {"customers": []}, {"called": []}),
        ("retry-with-fallback", {"first": 200}, {"source": "first", "fresh": True}),
        ("retry-with-fallback", {"first": 404, "second": 404}, {"source": "yesterday", "fresh": False}),
        ("saga-with-compensation", {"full": "nothing"}, {"booked": True}),
        (
            "saga-with-compensation",
            {"full": "flight"},
            {"booked": False, "cancelled": [], "why": "flight: The server answered 409."},
        ),
        (
            "saga-with-compensation",
            {"full": "hotel"},
            {"booked": False, "cancelled": ["flight"], "why": "hotel: The server answered 409."},
        ),
    ],
)
def test_example_takes_another_way_with_another_input(remote, name, given, output):
    answer = remote("workflow", "run", FOLDER / f"{name}.yaml", "--wait", "--input", json.dumps(given))
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == output


def test_what_cannot_be_priced_fails_with_the_reason(remote):
    given = json.dumps({"article": "door", "count": 1})
    answer = remote("workflow", "run", FOLDER / "parent-and-children-price.yaml", "--wait", "--input", given)
    assert answer.code == 1
    assert "There is no door." in answer.err
