"""The planner over random graphs, with random choices of handles and in any order of completion."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from melagent.domain.definition import Definition
from melagent.domain.graph import Graph
from melagent.domain.loops import Regions
from melagent.domain.run import StepRecord, StepStatus
from melagent.engine.course import fold
from melagent.engine.planner import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HANDLES = ("out", "left", "right")

planner = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@dataclass(frozen=True)
class Case:
    """A graph, the outcome of each of its nodes, and a seed for the order in which they end."""

    definition: Definition
    graph: Graph
    outcomes: tuple[tuple[StepStatus, str | None], ...]
    seed: int

    @property
    def entry(self) -> str:
        return self.graph.node_ids[0]

    def record(self, node: int, seq: int = 0) -> StepRecord:
        status, handle = self.outcomes[node]
        node_id = self.graph.node_ids[node]
        return StepRecord(node_id, node_id, "stub", status, 1, NOW, finished_at=NOW, handle=handle, seq=seq)

    def open_record(self, node: int, seq: int) -> StepRecord:
        node_id = self.graph.node_ids[node]
        return StepRecord(node_id, node_id, "stub", StepStatus.PENDING, 1, NOW, due_in=1.0, seq=seq)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An acyclic graph: edges lead from earlier to later nodes, whose ids are in no order; some nodes have no input."""
    size = draw(st.integers(1, 12))
    pairs = [(a, b) for b in range(1, size) for a in range(b)]
    edges = draw(st.lists(st.tuples(st.sampled_from(pairs), st.sampled_from(HANDLES)), max_size=24)) if pairs else []
    names = draw(st.permutations([f"n{number}" for number in range(size)]))
    definition = Definition.model_validate(
        {
            "nodes": [{"id": name, "type": "stub"} for name in names],
            "edges": [{"source": names[a], "target": names[b], "source_handle": h} for (a, b), h in edges],
        }
    )
    outcome = st.sampled_from(
        [
            *((StepStatus.COMPLETED, handle) for handle in HANDLES),
            (StepStatus.FAILED, "out"),
            (StepStatus.FAILED, "error"),
        ]
    )
    outcomes = draw(st.lists(outcome, min_size=size, max_size=size))
    return Case(definition, Graph.of(definition), tuple(outcomes), draw(st.integers(0, 2**32)))


def alive_by_definition(case: Case) -> list[bool]:
    """Which nodes must run, straight from the words: the entry, and whatever a taken edge from such a node leads to."""
    alive = [False] * len(case.graph.node_ids)
    alive[0] = True  # nodes are numbered so that edges lead from lower to higher
    for node in range(len(alive)):
        taken = [e for e in case.graph.incoming[node] if is_taken(case, e) and alive[case.graph.sources[e]]]
        alive[node] = alive[node] or bool(taken)
    return alive


def is_taken(case: Case, edge: int) -> bool:
    return case.outcomes[case.graph.sources[edge]][1] == case.graph.edges[edge].source_handle


def play(case: Case, *, retries: bool = False) -> Iterator[tuple[Plan, list[int], list[StepRecord]]]:
    """Run the case, nodes ending in random order: after each step the plan, the nodes that run, and the journal."""
    dice = random.Random(case.seed)
    plan = Plan(case.graph, case.entry)
    running: list[int] = []
    journal: list[StepRecord] = []
    while plan.ready or running:
        if plan.ready and dice.random() < 0.6:
            running.append(plan.ready.pop(0))
        elif running:
            node = running.pop(dice.randrange(len(running)))
            if retries and dice.random() < 0.3:
                record = case.open_record(node, len(journal) + 1)
                running.append(node)
            else:
                record = case.record(node, len(journal) + 1)
                plan.advance(node, record)
            journal.append(record)
        yield plan, running, journal


def played(case: Case) -> Plan:
    plan = Plan(case.graph, case.entry)
    for plan, _running, _journal in play(case):  # noqa: B007  # the last one counts
        pass
    return plan


@planner
@given(cases())
def test_the_journal_folds_into_the_plan_at_every_step_of_the_way(case):
    for plan, running, journal in play(case, retries=True):
        latest = {record.step_key: record for record in journal}
        in_no_order = random.Random(case.seed).sample(list(latest.values()), len(latest))
        course, open_steps = fold(Regions.of(case.definition), case.entry, in_no_order)
        folded = course.top
        assert (folded.done, folded.skipped) == (plan.done, plan.skipped)
        assert open_steps == {key: record for key, record in latest.items() if not record.status.final}
        unfinished = [place.node for place in course.ready] + [folded.graph.index[key] for key in open_steps]
        assert sorted(unfinished) == sorted([*plan.ready, *running])
        assert folded.leaves() == plan.leaves()
        assert all(folded.live_inputs(node) == plan.live_inputs(node) for node in range(len(plan.done)))


@planner
@given(cases())
def test_every_node_ends_exactly_one_of_done_and_skipped(case):
    plan = played(case)
    done = {node for node, record in enumerate(plan.done) if record is not None}
    assert done | plan.skipped == set(range(len(plan.done)))
    assert not done & plan.skipped


@planner
@given(cases())
def test_a_node_runs_exactly_when_it_is_alive_by_definition(case):
    assert [record is not None for record in played(case).done] == alive_by_definition(case)


@planner
@given(cases())
def test_a_node_starts_once_and_only_when_all_its_inputs_are_decided_and_one_is_taken(case):
    started: set[int] = set()
    for plan, running, _journal in play(case):
        for node in {*plan.ready, *running} - started:
            sources = [case.graph.sources[edge] for edge in case.graph.incoming[node]]
            assert all(plan.done[source] or source in plan.skipped for source in sources)
            assert node == plan.entry or plan.live_inputs(node)
            assert plan.done[node] is None
        assert len({*plan.ready, *running}) == len(plan.ready) + len(running)
        assert not {node for node in plan.ready if plan.done[node] is not None}
        started.update(plan.ready, running)


@planner
@given(cases(), st.integers(0, 2**32))
def test_the_order_in_which_nodes_end_does_not_matter(case, other_seed):
    one, other = played(case), played(replace(case, seed=other_seed))
    assert one.skipped == other.skipped
    assert one.leaves() == other.leaves()
    for node in range(len(case.graph.node_ids)):
        assert (one.done[node] is None) == (other.done[node] is None)
        assert one.live_inputs(node) == other.live_inputs(node)


@planner
@given(cases())
def test_live_inputs_are_the_taken_edges_in_the_order_of_the_definition(case):
    plan, alive = played(case), alive_by_definition(case)
    for node, edges in enumerate(case.graph.incoming):
        taken = [case.graph.sources[e] for e in edges if is_taken(case, e) and alive[case.graph.sources[e]]]
        assert plan.live_inputs(node) == taken


@planner
@given(cases())
def test_leaves_are_the_nodes_that_ran_and_led_nowhere(case):
    alive = alive_by_definition(case)
    expected = [
        node
        for node in range(len(alive))
        if alive[node] and not any(is_taken(case, edge) for edge in case.graph.outgoing[node])
    ]
    assert played(case).leaves() == expected
    assert expected, "a run always has an output"


def graph_of(nodes: str, *edges: tuple[str, str, str]) -> Graph:
    return Graph.of(
        Definition.model_validate(
            {
                "nodes": [{"id": node, "type": "stub"} for node in nodes.split()],
                "edges": [{"source": s, "source_handle": h, "target": t} for s, h, t in edges],
            }
        )
    )


def ended(
    node_id: str, handle: str | None = "out", status: StepStatus = StepStatus.COMPLETED, seq: int = 1
) -> StepRecord:
    return StepRecord(node_id, node_id, "stub", status, 1, NOW, finished_at=NOW, handle=handle, seq=seq)


def test_what_follows_the_handle_that_was_not_chosen_is_skipped_down_to_where_a_live_path_joins():
    graph = graph_of(
        "if a b c join", ("if", "true", "a"), ("if", "false", "b"), ("b", "out", "c"), ("a", "out", "join"),
        ("c", "out", "join"),
    )  # fmt: skip
    plan = Plan(graph, "if")
    plan.advance(0, ended("if", "true"))
    assert {graph.node_ids[node] for node in plan.skipped} == {"b", "c"}
    plan.ready.remove(graph.index["a"])
    plan.advance(graph.index["a"], ended("a"))
    assert plan.ready == [0, graph.index["join"]]
    assert plan.live_inputs(graph.index["join"]) == [graph.index["a"]]


def test_triggers_that_did_not_fire_are_dead_and_do_not_hold_up_what_they_lead_to():
    graph = graph_of("manual webhook work", ("manual", "out", "work"), ("webhook", "out", "work"))
    plan = Plan(graph, "manual")
    plan.ready.clear()
    plan.advance(0, ended("manual"))
    assert plan.ready == [2]
    assert plan.skipped == {1}


def test_a_dead_path_of_five_thousand_nodes_needs_no_deep_stack():
    names = " ".join(f"n{number}" for number in range(5_000))
    graph = graph_of(names, *((f"n{number}", "out", f"n{number + 1}") for number in range(4_999)))
    plan = Plan(graph, "n0")
    plan.advance(0, ended("n0", "elsewhere"))
    assert len(plan.skipped) == 4_999


@pytest.mark.parametrize(("handle", "fails"), [(None, True), ("out", False), ("error", False)])
def test_a_failed_node_fails_the_run_unless_a_handle_was_taken_in_its_stead(handle, fails):
    graph = graph_of("a b", ("a", "out", "b"))
    record = ended("a", handle, StepStatus.FAILED)
    plan = Plan(graph, "a")
    plan.advance(0, record)
    assert plan.failure == (record if fails else None)
