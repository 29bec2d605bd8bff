"""Which steps a new run takes over from another, by the definition and the journal alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from melagent.domain.definition import Definition
from melagent.domain.graph import Graph
from melagent.domain.loops import Regions
from melagent.domain.replay import Journal, behind, live_sources, unchanged, unit_of, unsaved_in_loops
from melagent.domain.run import StepRecord, StepStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATUS = {"ok": "completed", "saved": "failed"}


def regions(*edges, **changes):
    """From edges like `each.item>a`; nodes named each* are loops. `changes` has other fields of nodes."""
    pairs = [edge.split(">") for edge in edges]
    ids = dict.fromkeys(name.partition(".")[0] for pair in pairs for name in pair)
    return Regions.of(
        Definition.model_validate(
            {
                "nodes": [
                    {"id": i, "type": "for_each" if i.startswith("each") else "noop", **changes.get(i, {})} for i in ids
                ],
                "edges": [
                    {"source": s.partition(".")[0], "source_handle": s.partition(".")[2] or "out", "target": t}
                    for s, t in pairs
                ],
            }
        )
    )


def step(key, how="ok", node_type="noop", handle=None):
    """A record; `ok` and `saved` have a handle."""
    node_id = key.split("[")[0].split("/")[0]
    handle = handle or ("out" if how in STATUS else None)
    status = StepStatus(STATUS.get(how, how))
    return StepRecord(key, node_id, node_type, status, 1, NOW, NOW, handle=handle)


NESTED = regions("s>each1", "each1.item>each2", "each2.item>x", "each1.done>end")


def keys(steps):
    return [step.step_key for step in steps]


@pytest.mark.parametrize("how", ["failed", "cancelled", "pending", "running", "sleeping", "waiting"])
def test_what_is_not_done_is_done_again(how):
    flat = regions("s>a", "s>b", "s>c")
    journal = Journal([step("s"), step("a", "saved"), step("b", how), step("c", "skipped")])
    assert keys(journal.done(flat)) == ["s", "a", "c"]


def test_a_node_that_ended_its_run_is_not_taken_for_done():
    flat = regions("s>a", "s>b")
    assert keys(Journal([step("s"), step("a", node_type="stop")]).done(flat)) == ["s"]
    assert keys(Journal([step("s"), step("a", node_type="workflow_return")]).done(flat)) == ["s"]
    assert keys(Journal([step("s"), step("a", node_type="mine")], ended_by="a").done(flat)) == ["s"]


def test_a_failure_in_a_loop_is_done_again_unless_the_loop_goes_on_with_it():
    steps = [step("s"), step("each1/items"), step("each2[0]/items"), step("x[0][0]", "failed"), step("x[0][1]")]
    assert unsaved_in_loops(steps, NESTED) == {"each2[0]"}
    assert keys(Journal(steps).done(NESTED)) == ["s", "each1/items", "each2[0]/items", "x[0][1]"]
    assert keys(Journal(steps, frozenset({"each2[0]"})).done(NESTED)) == keys(steps)


def test_the_step_that_stands_for_an_item_belongs_to_its_own_loop():
    steps = [step("s"), step("each1/items"), step("each1[0]", "failed"), step("each1[1]")]
    assert unsaved_in_loops(steps, NESTED) == {"each1"}
    assert keys(Journal(steps, frozenset({"each1"})).done(NESTED)) == keys(steps)
    failed_loop = [step("each2[3]", "failed")]
    assert unsaved_in_loops(failed_loop, NESTED) == {"each1"}


@pytest.mark.parametrize(("node_id", "unit"), [("s", "s"), ("each1", "each1"), ("each2", "each1"), ("x", "each1")])
def test_a_step_in_a_loop_stands_for_the_outermost_loop(node_id, unit):
    assert unit_of(NESTED, node_id) == unit


def test_behind_a_node_lies_what_paths_lead_to():
    graph = Graph.of(regions("s>a", "s>b", "a>c", "b>c", "c>d").definition)
    assert behind(graph, ["a"]) == {"a", "c", "d"}
    assert behind(graph, ["gone"]) == set()


OLD = ("s>a", "s>b", "a>c", "b>c", "c>d")


@pytest.mark.parametrize(
    ("edges", "changes", "kept"),
    [
        (OLD, {}, "sabcd"),
        (OLD, {"c": {"name": "new", "position": {"x": 9}}}, "sabcd"),
        (OLD, {"s": {"config": {"x": 1}}}, "sabcd"),
        (OLD, {"a": {"config": {"x": 1}}}, "sb"),
        (OLD, {"c": {"disabled": True}}, "sab"),
        (("s>b", "s>a", "b>c", "a>c", "c>d"), {}, "sab"),
        (("s>a", "s>b", "a>c", "b>c", "c.error>d"), {}, "sabc"),
        (("s>a", "a>c", "c>d"), {}, "sa"),
        (("s>new", "new>a", "s>b", "a>c", "b>c", "c>d"), {}, "sb"),
    ],
)
def test_steps_hold_under_another_version_when_they_and_all_before_them_are_the_same(edges, changes, kept):
    assert unchanged(regions(*OLD), regions(*edges, **changes), "s") == set(kept)


@pytest.mark.parametrize(
    ("edges", "changes"),
    [
        (("s>each1", "each1.item>each2", "each2.item>x", "each1.done>end"), {"x": {"config": {"n": 1}}}),
        (("s>each1", "each1.item>each2", "each2.item>y", "each1.done>end"), {}),
        (("s>each1", "each1.item>each2", "each2.item>x", "x>y", "each1.done>end"), {}),
        (("s>each1", "each1.item>each2", "each1.done>end"), {}),
    ],
)
def test_a_loop_whose_body_changed_is_done_again_as_a_whole(edges, changes):
    assert unchanged(NESTED, regions(*edges, **changes), "s") == {"s"}


def test_the_live_sources_of_a_node_are_those_whose_handle_leads_to_it():
    flat = regions("s>a", "s>b", "a>c", "b.error>c", "b>d", "each1.done>c", "s>each1")
    steps = [step("s"), step("a"), step("b", "saved", handle="error"), step("each1", handle="done")]
    assert live_sources(flat, "c", steps) == ["a", "b", "each1"]
    assert live_sources(flat, "d", steps) == []
    assert live_sources(flat, "c", steps[:1]) == []
