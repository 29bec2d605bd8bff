"""The vectors that every implementation of edits has to agree on; `edits/README.md` describes them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from melagent.domain.draft_state import Author, DraftState, Refused
from melagent.domain.operations import apply, replay

ADA = Author("ada", "Ada")
AT = datetime(2026, 1, 1, tzinfo=UTC)
FILES = sorted((Path(__file__).parent / "edits").glob("*.json"))
CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}") for file in FILES for case in json.loads(file.read_text())
]


def rewrites(nodes, node_id, to):
    """What the README says a rename rewrites in the vectors."""
    found = []
    for node in nodes.values():
        for path, text in texts(node["config"], ("config",)):
            if f"steps.{node_id}" in text:
                owner = to if node["id"] == node_id else node["id"]
                found.append({"id": owner, "path": [*path], "value": text.replace(f"steps.{node_id}", f"steps.{to}")})
    return found


def texts(value, path):
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts(inner, (*path, key))


def unordered(definition):
    """A definition without the order of its nodes and edges, and without edges that lead nowhere."""
    nodes = {node["id"]: node for node in definition["nodes"]}
    edges = {edge["id"]: edge for edge in definition["edges"] if {edge["source"], edge["target"]} <= nodes.keys()}
    return {**definition, "nodes": nodes, "edges": edges}


@pytest.mark.parametrize("case", CASES)
def test_the_edits_of_a_vector_lead_to_its_result(case):
    state = DraftState.load(case["definition"], case["seq"])
    assert state.definition() == case["definition"], "the definition of a case has every field written out"
    copy = DraftState.load(case["definition"], case["seq"])
    for edit in case["edits"]:
        before = state.definition()
        if "refused" in edit:
            with pytest.raises(Refused) as refused:
                apply(state, edit["ops"], state.seq + 1, ADA, AT, rewrites)
            assert told(refused.value) == edit["refused"]
            assert (state.definition(), state.seq) == (before, copy.seq)
            continue
        applied = apply(state, edit["ops"], state.seq + 1, ADA, AT, rewrites)
        assert applied.ops == edit.get("applied", edit["ops"])
        if "inverse" in edit:
            assert applied.inverse == edit["inverse"]
        replay(copy, edit.get("applied", edit["ops"]), copy.seq + 1, ADA, AT)
        assert copy == state
        assert_inverse_leads_back(state, applied.inverse, before)
    assert state.definition() == case["result"]
    assert copy.definition() == case["result"]


def assert_inverse_leads_back(state, inverse, before):
    if not inverse:
        assert state.definition() == before
        return
    back = DraftState.load(state.definition(), state.seq)
    apply(back, inverse, back.seq + 1, ADA, AT, rewrites)
    assert unordered(back.definition()) == unordered(before)


def told(refused):
    told = {"error": refused.error, "fields": [detail.field for detail in refused.details]}
    if refused.gone is not None:
        told["gone"] = {name: value for name, value in refused.gone.as_json().items() if name not in ("by", "at")}
    return told


def test_there_are_vectors_of_every_operation():
    from melagent.domain.operations import KINDS

    used = {
        op["op"] for case in CASES for edit in case.values[0]["edits"] if "refused" not in edit for op in edit["ops"]
    }
    assert used == KINDS.keys()
