"""Problems that are kept while a draft is edited are those that would be found anew."""

import copy
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melagent.domain.definition import Definition
from melagent.domain.draft_state import Author, DraftState, Refused
from melagent.domain.operations import apply, undo
from melagent.registry import Registry
from melagent.services import live_problems
from melagent.services.live_problems import LiveProblems
from melagent.services.problems import NodeFacts, problems

ADA, AT = Author("ada", "Ada"), datetime(2026, 1, 1, tzinfo=UTC)
REGISTRY = Registry.builtin()
DEFINITION = {
    "nodes": [
        {"id": "a", "type": "manual_trigger"},
        {"id": "b", "type": "for_each", "config": {"items": "input"}},
        {"id": "c", "type": "log", "config": {"message": "{{ steps.a.output }}"}},
        {"id": "d", "type": "if", "config": {}},
    ],
    "edges": [{"source": "a", "target": "b"}, {"source": "b", "source_handle": "item", "target": "c"}],
}

ids = st.sampled_from("abcdef")
types = st.sampled_from(["manual_trigger", "for_each", "log", "if", "http_request", "unknown"])
texts = st.sampled_from(["{{ steps.a.x }}", "{{ steps.c.x }}", "{{ steps.z }}", "{{ nonsense", "plain", "input > 1"])
handles = st.sampled_from(["out", "item", "done", "true", "error"])


def op(name, **fields):
    return st.fixed_dictionaries({"op": st.just(name), **fields})


ops = st.one_of(
    op("node.add", id=ids, type=types, config=st.dictionaries(st.sampled_from(["message", "url", "items"]), texts)),
    op("node.remove", id=ids),
    op("node.rename", id=ids, to=ids),
    op("node.set", id=ids, path=st.sampled_from([["config", key] for key in ("message", "url", "items")]), value=texts),
    op("node.set", id=ids, path=st.just(["disabled"]), value=st.booleans()),
    op("node.set", id=ids, path=st.just(["on_error"]), value=st.sampled_from(["fail", "branch"])),
    op("node.set", id=ids, path=st.just(["position", "x"]), value=st.integers(0, 9)),
    op("node.set", id=ids, path=st.just(["name"]), value=st.sampled_from(["One", "Other"])),
    op("node.unset", id=ids, path=st.just(["config", "message"])),
    op("edge.add", source=ids, target=ids, source_handle=handles),
    op("meta.set", path=st.just(["settings", "error_workflow_id"]), value=st.sampled_from([None, "no id"])),
    op("draft.replace", definition=st.sampled_from([DEFINITION, {}])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(ops, min_size=1, max_size=3), min_size=1, max_size=8))
def test_they_are_those_that_would_be_found_anew(sequence):
    state = DraftState.load(copy.deepcopy(DEFINITION), 1)
    live = LiveProblems(REGISTRY)
    for edit in sequence:
        try:
            applied = apply(state, edit, state.seq + 1, ADA, AT)
        except Refused:
            continue
        assert live.of(state.definition()) == anew(state)
        if state.seq % 3 == 0:
            undo(applied)
            assert live.of(state.definition()) == anew(state)


def test_a_name_that_an_old_draft_holds_is_a_problem_until_it_is_changed():
    named = copy.deepcopy(DEFINITION)
    named["nodes"][0]["name"] = "Half\x00"
    state, live = DraftState.load(named, 1), LiveProblems(REGISTRY)
    assert next(problem.field for problem in live.of(state.definition())) == "nodes.a.name"
    apply(state, [{"op": "node.set", "id": "a", "path": ["name"], "value": "Whole"}], 2, ADA, AT)
    assert live.of(state.definition()) == anew(state)
    assert "nodes.a.name" not in [problem.field for problem in anew(state)]


def anew(state):
    return problems(Definition.model_validate(state.definition()), REGISTRY)


@pytest.fixture
def looked_at(monkeypatch):
    """The nodes that are looked at, as they are."""
    seen, of = [], NodeFacts.of

    class Counting:
        @staticmethod
        def of(node, registry):
            seen.append(node.id)
            return of(node, registry)

    monkeypatch.setattr(live_problems, "NodeFacts", Counting)
    return seen


@pytest.fixture
def structures(monkeypatch):
    """How often the structure of the whole is derived."""
    seen, of = [], live_problems.Structure.of

    class Counting:
        @staticmethod
        def of(definition):
            seen.append(len(definition.edges))
            return of(definition)

    monkeypatch.setattr(live_problems, "Structure", Counting)
    return seen


def test_only_what_an_edit_touched_is_derived_again(looked_at, structures):
    state, live = DraftState.load(copy.deepcopy(DEFINITION), 1), LiveProblems(REGISTRY)

    def edit(*ops):
        apply(state, list(ops), state.seq + 1, ADA, AT)
        looked_at.clear()
        structures.clear()
        live.of(state.definition())
        return list(looked_at), list(structures)

    live.of(state.definition())
    assert (looked_at, structures) == (["a", "b", "c", "d"], [2])
    set_text = {"op": "node.set", "id": "c", "path": ["config", "message"], "value": "x"}
    assert edit(set_text) == (["c"], [])
    assert edit({"op": "node.set", "id": "c", "path": ["position"], "value": {"x": 1, "y": 1}}) == ([], [])
    assert edit({"op": "node.set", "id": "c", "path": ["name"], "value": "Another name"}) == ([], [])
    assert edit({"op": "edge.add", "source": "c", "target": "d"}) == ([], [3])
    assert edit({"op": "node.remove", "id": "d"}) == ([], [2])
    assert edit({"op": "node.add", "id": "d", "type": "log"}) == (["d"], [2])
    assert edit({"op": "meta.set", "path": ["settings", "priority"], "value": 1}) == ([], [])
