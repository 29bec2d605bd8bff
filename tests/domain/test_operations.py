"""What holds for any edits: replayed equals applied, undone is as before, an inverse leads back."""

import copy
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from melagent.domain import draft_change, draft_operations, editing, node_operations, operations
from melagent.domain.draft_state import Author, DraftState, Refused
from melagent.domain.edit_frames import edit_frame, refused_frame
from melagent.domain.operations import apply, replay, undo
from melagent.domain.places import meeting, places, written
from melagent.domain.text_changes import ChangesError, changed
from melagent.errors import Code

ADA = Author("ada", "Ada")
AT = datetime(2026, 1, 1, tzinfo=UTC)
IDS = ["a", "b", "c", "d"]
DEFINITION = {
    "nodes": [
        {"id": "a", "type": "t", "config": {"text": "Hello 👋", "list": ["x", {"y": 1}]}},
        {"id": "b", "type": "t", "name": "B", "labels": ["k=v", "l=w"]},
    ],
    "edges": [{"source": "a", "target": "b"}, {"source": "a", "target": "a"}, {"source": "a", "target": "ghost"}],
    "notes": [{"text": "n"}],
}

ids = st.sampled_from(IDS)
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "é👋", "\x00"]) | st.floats(-1, 1)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ids, inner, max_size=2))
config_paths = st.builds(
    lambda steps: ["config", *steps],
    st.lists(st.sampled_from(["text", "list", "y", "new", 0, 1, 2]), max_size=3),
)
field_values = st.sampled_from(
    [
        (["name"], "N"), (["position"], {"x": 1, "y": 2.5}), (["position", "x"], 7), (["disabled"], True),
        (["retry", "max_attempts"], 4), (["retry"], {"jitter": "none"}), (["labels"], ["a=b"]), (["labels", 0], "c=d"),
        (["on_error"], "branch"), (["on_error"], "x"), (["timeout_seconds"], 5), (["retry", "non_retryable", 0], "e"),
    ]
)  # fmt: skip
sections = st.integers(0, 4) | st.builds(
    lambda deleted, lines: [deleted, *lines], st.integers(0, 3), st.lists(st.sampled_from(["", "z", "👋"]), max_size=2)
)


def op(name, **fields):
    return st.fixed_dictionaries({"op": st.just(name), **fields})


ops = st.one_of(
    op("node.add", id=ids, type=st.just("t"), config=st.dictionaries(st.just("text"), values | ids, max_size=1)),
    op("node.remove", id=ids),
    op("node.rename", id=ids, to=ids),
    op("node.set", id=ids, path=config_paths, value=values),
    op("node.unset", id=ids, path=config_paths),
    st.builds(lambda i, pv: {"op": "node.set", "id": i, "path": pv[0], "value": pv[1]}, ids, field_values),
    st.builds(lambda i, pv: {"op": "node.unset", "id": i, "path": pv[0]}, ids, field_values),
    op("edge.add", source=ids, target=ids),
    op("edge.add", source=ids, target=ids, source_handle=st.sampled_from(["out", "error"])),
    st.builds(lambda s, t: {"op": "edge.remove", "id": edge_id(s, t)}, ids, ids),
    op("meta.set", path=st.sampled_from([["notes", 0], ["notes", 1], ["notes", 0, "text"]]), value=st.just({"n": 1})),
    op("meta.set", path=st.just(["settings", "priority"]), value=st.integers(0, 11)),
    op("text.edit", id=ids, path=st.sampled_from([["config", "text"], ["config", "new"], ["name"]]),
       version=st.integers(0, 12), changes=st.lists(sections, max_size=3)),
    op("draft.replace", definition=st.sampled_from([DEFINITION, {}, {"nodes": [{"id": "c", "type": "t"}]}])),
)  # fmt: skip
edits = st.lists(ops, min_size=1, max_size=4)


def edge_id(source, target):
    from melagent.domain.definition import Edge

    return Edge(source=source, target=target).id


def rewrites(nodes, node_id, to):
    """A rename rewrites every text in which the id stands for itself."""
    return [
        {"id": to if node["id"] == node_id else node["id"], "path": ["config", "text"], "value": to}
        for node in nodes.values()
        if node["config"].get("text") == node_id
    ]


def fresh():
    return DraftState.load(copy.deepcopy(DEFINITION), 1)


def seen(state):
    """All that can be seen of a state, with the order of everything."""
    touched = {node_id: dict(paths) for node_id, paths in state.touched.items()}
    return orjson.dumps(state.definition()), state.seq, state.base, state.bound, touched, dict(state.removed)


def unordered(definition):
    """Without the order of nodes and edges, and without edges that lead nowhere, which no inverse brings back."""
    nodes = {node["id"]: node for node in definition["nodes"]}
    edges = {edge["id"]: edge for edge in definition["edges"] if {edge["source"], edge["target"]} <= nodes.keys()}
    return {**definition, "nodes": nodes, "edges": edges}


@settings(max_examples=400, deadline=None)
@given(st.lists(edits, min_size=1, max_size=6))
def test_any_edits(sequence):
    state, copied = fresh(), fresh()
    for edit in sequence:
        before, definition = seen(state), copy.deepcopy(state.definition())
        try:
            applied = apply(state, copy.deepcopy(edit), state.seq + 1, ADA, AT, rewrites)
        except Refused as refused:
            event(f"refused: {refused.error}")
            assert seen(state) == before, "a refused edit changes nothing"
            continue
        event("applied")
        after = seen(state)
        undo(applied)
        assert seen(state) == before, "an edit that is undone has never been, in any order of anything"
        applied = apply(state, copy.deepcopy(edit), state.seq + 1, ADA, AT, rewrites)
        assert seen(state) == after

        replay(copied, orjson.loads(applied.ops_text), copied.seq + 1, ADA, AT)
        assert seen(copied) == after, "replayed equals applied"

        assert state.size() <= state.bound
        assert DraftState.load(copy.deepcopy(state.definition()), 1).definition() == state.definition()
        assert_leads_back(state, applied, definition)


def assert_leads_back(state, applied, definition):
    inverse = orjson.loads(applied.inverse_text)
    replayed = DraftState.load(copy.deepcopy(state.definition()), state.seq)
    replay(replayed, inverse, state.seq + 1)
    assert unordered(replayed.definition()) == unordered(definition)
    if inverse:
        checked = DraftState.load(copy.deepcopy(state.definition()), state.seq)
        apply(checked, inverse, state.seq + 1, ADA, AT)
        assert unordered(checked.definition()) == unordered(definition)


@pytest.mark.parametrize(
    "other",
    [
        {"op": "node.set", "id": "a", "path": ["name"], "value": "another"},
        {"op": "node.unset", "id": "a", "path": ["name"]},
        {"op": "node.rename", "id": "a", "to": "z"},
        {"op": "node.remove", "id": "a"},
        {"op": "draft.replace", "definition": {"nodes": [{"id": "z", "type": "noop"}]}},
    ],
    ids=lambda other: other["op"],
)
def test_an_edit_that_changes_a_text_and_touches_it_otherwise_can_be_undone(other):
    state = fresh()
    definition, name = copy.deepcopy(state.definition()), state.nodes["a"]["name"]
    typed = {"op": "text.edit", "id": "a", "path": ["name"], "version": state.seq, "changes": [[len(name), "typed"]]}
    assert_leads_back(state, apply(state, [typed, other], state.seq + 1, ADA, AT, rewrites), definition)


def test_an_edit_that_types_the_name_of_a_node_and_renames_the_node_can_be_undone():
    state = fresh()
    state.nodes["a"]["config"]["text"] = "see "
    definition = copy.deepcopy(state.definition())
    changes = [[4, "b"]]
    typed = {"op": "text.edit", "id": "a", "path": ["config", "text"], "version": state.seq, "changes": changes}
    renamed = {"op": "node.rename", "id": "b", "to": "z"}
    applied = apply(state, [typed, renamed], state.seq + 1, ADA, AT, rewrites)
    assert applied.ops[1]["sets"]
    assert_leads_back(state, applied, definition)


@settings(max_examples=150, deadline=None)
@given(st.lists(edits, min_size=2, max_size=6))
def test_edits_whose_commit_lost_are_undone_together(sequence):
    """What a room does with several edits that it had applied: the last one is undone first."""
    state = fresh()
    before = seen(state)
    made = []
    for edit in sequence:
        try:
            made.append(apply(state, edit, state.seq + 1, ADA, AT, rewrites))
        except Refused:
            continue
    for applied in reversed(made):
        undo(applied)
    assert seen(state) == before


@settings(max_examples=300, deadline=None)
@given(values | st.lists(values) | edits.map(lambda edit: edit[0]))
def test_no_shape_of_an_edit_is_too_strange(strange):
    for edit in (
        strange,
        [strange],
        [{"op": strange}],
        [{"op": "node.set", "id": "a", "path": strange, "value": strange}],
    ):
        state = fresh()
        before = seen(state)
        try:
            apply(state, edit, 2, ADA, AT)
        except Refused:
            assert seen(state) == before


HOSTILE = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    [None],
    {},
    {"a": 1},
    "\x00",
    [[[]]],
    2**70,
    float("nan"),
    "\ud800",
    ["\ud800"],
]


@pytest.mark.parametrize(
    "field", ["op", "id", "type", "to", "path", "value", "source", "version", "changes", "definition"]
)
@pytest.mark.parametrize("name", list(operations.KINDS))
def test_every_field_of_every_operation_may_hold_anything(name, field):
    good = {
        "op": name, "id": "a", "type": "t", "to": "z", "path": ["config", "text"], "value": "v", "source": "a",
        "target": "b", "version": 1, "changes": [8], "definition": {},
    }  # fmt: skip
    kinds = {
        "node.add": "id type", "node.remove": "id", "node.rename": "id to", "node.set": "id path value",
        "node.unset": "id path", "text.edit": "id path version changes", "edge.add": "source target",
        "edge.remove": "id", "meta.set": "path value", "draft.replace": "definition",
    }  # fmt: skip
    for hostile in HOSTILE:
        op = {"op": name} | {key: good[key] for key in kinds[name].split()} | {field: hostile}
        state = fresh()
        before = seen(state)
        try:
            apply(state, [op], 2, ADA, AT)
        except Refused:
            assert seen(state) == before


def test_an_edit_has_at_most_5000_operations():
    op = {"op": "node.set", "id": "a", "path": ["name"], "value": "x"}
    state = fresh()
    apply(state, [op] * editing.MAX_OPERATIONS, 2, ADA, AT)
    with pytest.raises(Refused):
        apply(state, [op] * (editing.MAX_OPERATIONS + 1), 3, ADA, AT)


def test_a_draft_has_at_most_so_many_nodes_and_edges(monkeypatch):
    monkeypatch.setattr(node_operations, "MAX_NODES", 2)
    monkeypatch.setattr(draft_operations, "MAX_EDGES", 3)
    state = fresh()
    for op in ({"op": "node.add", "id": "c", "type": "t"}, {"op": "edge.add", "source": "b", "target": "a"}):
        with pytest.raises(Refused) as refused:
            apply(state, [op], 2, ADA, AT)
        assert refused.value.error is Code.UNPROCESSABLE


def test_the_size_of_a_draft_is_that_of_its_text_however_often_it_was_edited(monkeypatch):
    state = fresh()
    monkeypatch.setattr(operations, "MAX_DEFINITION_BYTES", state.size() + 200)
    for number in range(300):
        apply(state, [{"op": "node.set", "id": "a", "path": ["config", "n"], "value": number}], state.seq + 1, ADA, AT)
    with pytest.raises(Refused) as refused:
        apply(
            state, [{"op": "node.set", "id": "a", "path": ["config", "n"], "value": "x" * 200}], state.seq + 1, ADA, AT
        )
    assert refused.value.error is Code.TOO_LARGE


def test_the_size_of_a_draft_counts_the_edges_of_a_node_that_gets_a_longer_id():
    nodes = [{"id": f"n{number}", "type": "t"} for number in range(200)]
    edges = [{"source": "n0", "target": f"n{number}"} for number in range(200)]
    state = DraftState.load({"nodes": nodes, "edges": edges}, 1)
    apply(state, [{"op": "node.rename", "id": "n0", "to": "n" * 100}], 2, ADA, AT)
    assert state.size() <= state.bound


def test_an_edit_renames_at_most_20_nodes():
    state = fresh()
    there_and_back = [
        {"op": "node.rename", "id": "a", "to": "z"}, {"op": "node.rename", "id": "z", "to": "a"},
    ]  # fmt: skip
    apply(state, there_and_back * 10, 2, ADA, AT)
    with pytest.raises(Refused):
        apply(state, there_and_back * 11, 3, ADA, AT)


def test_a_node_that_was_touched_in_very_many_places_counts_as_touched_all_over(monkeypatch):
    monkeypatch.setattr(draft_change, "MAX_PLACES", 3)
    state = fresh()
    for number in range(5):
        op = {"op": "node.set", "id": "a", "path": ["config", f"k{number}"], "value": 1}
        apply(state, [op], state.seq + 1, ADA, AT)
    assert len(state.touched["a"]) <= 3
    assert state.touched_at("a", ["config", "text"]) == 5
    assert state.touched_at("b", ["name"]) == 1


def test_only_so_many_removals_are_remembered(monkeypatch):
    monkeypatch.setattr(draft_change, "MAX_REMOVALS", 2)
    state = fresh()
    for node_id in ("c", "d", "e"):
        apply(state, [{"op": "node.add", "id": node_id, "type": "t"}], state.seq + 1, ADA, AT)
        apply(state, [{"op": "node.remove", "id": node_id}], state.seq + 1, ADA, AT)
    assert list(state.removed) == ["d", "e"]
    assert state.touched == {}, "nobody asks when something was touched that is not there"


def test_thousands_of_removals_take_no_time():
    nodes = [{"id": f"n{number}", "type": "t"} for number in range(4_000)]
    edges = [{"source": f"n{number}", "target": f"n{number + 1}"} for number in range(3_999)]
    state = DraftState.load({"nodes": nodes, "edges": edges}, 1)
    applied = apply(state, [{"op": "node.remove", "id": node["id"]} for node in nodes], 2, ADA, AT)
    assert (state.nodes, state.edges) == ({}, {})
    undo(applied)
    assert len(state.edges) == 3_999
    assert len(state.at_node("n7")) == 2


@given(st.text(st.sampled_from("ab\n👋é"), max_size=12), st.lists(sections, max_size=4))
def test_changes_of_a_text_lead_there_and_back_as_javascript_counts(text, changes):
    try:
        new, back = changed(text, changes)
    except ChangesError:
        return
    assert changed(new, back) == (text, changed(new, back)[1])
    units = text.encode("utf-16-le")
    expected, at = b"", 0
    for section in changes:
        if isinstance(section, int):
            expected += units[at * 2 : (at + section) * 2]
            at += section
        else:
            expected += "\n".join(section[1:]).encode("utf-16-le")
            at += section[0]
    assert new.encode("utf-16-le") == expected


def test_a_frame_is_what_the_wire_says():
    state = fresh()
    applied = apply(state, [{"op": "node.remove", "id": "a"}], 2, ADA, AT)
    frame = edit_frame(seq=2, by=ADA, client="c", client_edit_id=7, at=AT, ops=applied.ops_text)
    assert orjson.loads(frame) == {
        "type": "edit", "seq": 2, "by": {"id": "ada", "name": "Ada"}, "client": "c", "id": 7,
        "at": "2026-01-01T00:00:00Z", "ops": [{"op": "node.remove", "id": "a"}],
    }  # fmt: skip
    with pytest.raises(Refused) as refused:
        apply(state, [{"op": "node.remove", "id": "a"}], 3, ADA, AT)
    assert orjson.loads(refused_frame(8, refused.value, 2)) == {
        "type": "refused", "id": 8, "seq": 2, "error": "gone", "message": "This was removed by Ada.",
        "details": [{"field": "ops[0].id", "problem": "There is no node 'a'."}],
        "gone": {"id": "a", "by": {"id": "ada", "name": "Ada"}, "at": "2026-01-01T00:00:00Z", "seq": 2},
    }  # fmt: skip


def test_edits_meet_where_one_reaches_into_what_the_other_changed():
    state = fresh()

    def reached(*ops):
        return places(apply(state, list(ops), state.seq + 1, ADA, AT).ops)

    url = reached({"op": "node.set", "id": "a", "path": ["config", "url"], "value": 1})
    name = reached({"op": "node.set", "id": "a", "path": ["name"], "value": "x"})
    config = reached({"op": "node.set", "id": "a", "path": ["config"], "value": {"list": [1, 2]}})
    first = reached({"op": "node.set", "id": "a", "path": ["config", "list", 0], "value": 3})
    moved = reached({"op": "node.unset", "id": "a", "path": ["config", "list", 1]})
    edge = reached({"op": "edge.add", "source": "b", "target": "a"})
    renamed = reached({"op": "node.rename", "id": "b", "to": "z"})
    meta = reached({"op": "meta.set", "path": ["settings", "priority"], "value": 1})
    whole = reached({"op": "draft.replace", "definition": {}})

    def meet(some, others):
        assert bool(meeting(some, list(others))) == bool(meeting(others, list(some)))
        return bool(meeting(some, list(others)))

    assert [meet(config, other) for other in (url, name, first, moved, edge)] == [True, False, True, True, False]
    assert meet(moved, first)
    assert meet(edge, renamed)
    assert not meet(edge, name)
    assert all(meet(whole, other) for other in (url, edge, meta))
    assert not meet(meta, url)
    told = {written(place) for place in url | edge | meta | first | {()}}
    assert told >= {"nodes.a.config.url", "settings.priority", "nodes.a.config.list[0]", "definition", "nodes.a.edges"}
