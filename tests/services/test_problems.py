"""Each reason why a definition cannot be run, named by node and parameter."""

import pytest

from melagent.domain.definition import Definition
from melagent.registry import Registry
from melagent.services.problems import problems

START = {"id": "start", "type": "manual_trigger"}


@pytest.fixture(scope="module")
def fields():
    """The fields of all problems of a definition, in order."""
    registry = Registry.builtin()

    def fields(nodes, *edges):
        links = [dict(zip(("source", "target", "source_handle"), edge, strict=False)) for edge in edges]
        return [problem.field for problem in problems(Definition(nodes=nodes, edges=links), registry)]

    return fields


def noop(node_id, **more):
    return {"id": node_id, "type": "noop", **more}


def test_a_good_definition_has_no_problem(fields):
    assert fields([START, noop("a"), noop("b")], ("start", "a"), ("a", "b")) == []


def test_a_repeated_id_is_a_problem(fields):
    assert fields([START, noop("a"), noop("a")]) == ["nodes.a.id"]


def test_an_edge_to_nowhere_is_a_problem_on_the_side_that_is_missing(fields):
    assert fields([START], ("start", "gone")) == ["edges[0].target"]
    assert fields([START, noop("a")], ("gone", "a")) == ["edges[0].source"]


def test_an_edge_to_nowhere_hides_no_other_problem(fields):
    says = {"id": "says", "type": "log", "config": {"message": "{{ steps.away.output }}"}}
    edges = [
        ("start", "a"), ("a", "b"), ("b", "a"), ("b", "says", "wrong"), ("start", "gone", "wrong"), ("gone", "start"),
    ]  # fmt: skip
    assert set(fields([START, noop("a"), noop("b"), noop("away"), says], *edges)) == {
        "edges[4].target", "edges[5].source", "nodes.a", "edges[3].source_handle", "edges[4].source_handle",
        "edges[5].target", "nodes.says.config.message",
    }  # fmt: skip


def linked(nodes, edges):
    """All problems of a definition with these nodes, and edges as pairs."""
    links = [{"source": source, "target": target} for source, target in edges]
    return problems(Definition(nodes=nodes, edges=links), Registry.builtin())


def test_a_cycle_is_told_once_with_its_nodes_and_none_behind_it():
    nodes = [START, noop("a"), noop("b"), noop("behind")]
    (found,) = linked(nodes, [("start", "a"), ("a", "b"), ("b", "a"), ("b", "behind")])
    assert (found.field, found.problem) == ("nodes.a", "This node lies on a cycle, with all of: a, b.")


def test_each_cycle_is_told(fields):
    nodes = [START, *(noop(name) for name in "abcd")]
    edges = [("start", "a"), ("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c")]
    assert fields(nodes, *edges) == ["nodes.a", "nodes.c"]


def test_of_a_large_cycle_ten_nodes_are_named():
    names = [f"n{number}" for number in range(1500)]
    nodes = [START, *map(noop, names)]
    (found,) = linked(nodes, [("start", "n0"), *zip(names, [*names[1:], "n0"], strict=True)])
    assert found.field == "nodes.n0"
    assert found.problem.endswith("n8, n9 and 1,490 more.")


def test_two_hundred_problems_are_told_and_how_many_more_there_are(fields):
    edges = [("start", "gone")] * 200
    assert fields([START], *edges) == [f"edges[{position}].target" for position in range(200)]
    *told, last = linked([START], [("start", "gone")] * 1234)
    assert len(told) == 200
    assert (last.field, last.problem) == ("definition", "There are 1,034 more problems.")


def test_a_node_that_leads_into_itself_is_a_cycle(fields):
    assert fields([START, noop("a")], ("start", "a"), ("a", "a")) == ["nodes.a"]


def test_an_unknown_type_is_a_problem(fields):
    assert fields([START, {"id": "a", "type": "teleport"}], ("start", "a")) == ["nodes.a.type"]


def test_an_unknown_parameter_is_named(fields):
    assert fields([START, noop("a", config={"colour": 1})], ("start", "a")) == ["nodes.a.config.colour"]


def test_a_wrong_parameter_is_named(fields):
    wrong = {"id": "a", "type": "log", "config": {"level": "loud", "message": "x"}}
    assert fields([START, wrong], ("start", "a")) == ["nodes.a.config.level"]


def test_a_bad_expression_is_named(fields):
    wrong = {"id": "a", "type": "log", "config": {"message": "{{ input. }}"}}
    assert fields([START, wrong], ("start", "a")) == ["nodes.a.config.message"]


@pytest.mark.parametrize("text", ["{{ steps.later.output }}", '{{ steps["later"].output }}', "{{ inputs.later }}"])
def test_an_expression_that_names_a_node_that_is_not_upstream_is_a_problem(fields, text):
    looks = {"id": "a", "type": "log", "config": {"message": text}}
    assert fields([START, looks, noop("later")], ("start", "a"), ("a", "later")) == ["nodes.a.config.message"]
    assert fields([START, noop("later"), looks], ("start", "later"), ("later", "a")) == []


def test_an_expression_inside_a_list_is_named_by_its_place(fields):
    check = {
        "id": "a",
        "type": "if",
        "config": {"conditions": [{"expression": "input.a"}, {"expression": "steps.gone.output", "branch": "b"}]},
    }
    assert "nodes.a.config.conditions[1].expression" in fields([START, check], ("start", "a"))


def test_an_output_that_the_node_does_not_have_is_a_problem(fields):
    assert fields([START, noop("a")], ("start", "a", "maybe")) == ["edges[0].source_handle"]


def test_outputs_follow_the_parameters_of_the_node(fields):
    check = {"id": "check", "type": "if", "config": {"conditions": [{"expression": "input.ok"}]}}
    nodes = [START, check, noop("a")]
    assert fields(nodes, ("start", "check"), ("check", "a", "true")) == []
    assert fields(nodes, ("start", "check"), ("check", "a", "out")) == ["edges[1].source_handle"]


def test_the_error_output_is_there_only_for_a_node_that_branches_on_error(fields):
    edges = (("start", "a"), ("a", "b", "error"))
    assert fields([START, noop("a", on_error="branch"), noop("b")], *edges) == []
    assert fields([START, noop("a"), noop("b")], *edges) == ["edges[1].source_handle"]


def test_an_input_that_the_node_does_not_have_is_a_problem():
    edge = {"source": "start", "target": "a", "target_handle": "side"}
    definition = Definition(nodes=[START, noop("a")], edges=[edge])
    assert [problem.field for problem in problems(definition, Registry.builtin())] == ["edges[0].target_handle"]


def test_nothing_leads_into_a_trigger(fields):
    assert fields([START, {"id": "hook", "type": "webhook"}], ("start", "hook")) == ["edges[0].target"]


def test_a_workflow_needs_a_trigger(fields):
    assert fields([noop("a")]) == ["nodes"]
    assert fields([START | {"disabled": True}, noop("a")]) == ["nodes"]
    assert fields([]) == ["nodes"]


def test_a_disabled_node_may_have_wrong_parameters(fields):
    assert fields([START, noop("a", disabled=True, config={"colour": 1})], ("start", "a")) == []


def test_a_name_that_a_table_cannot_hold_is_a_problem(fields):
    assert fields([START | {"name": "a\x00b"}]) == ["nodes.start.name"]


def test_all_problems_are_told_at_once(fields):
    nodes = [noop("a", config={"colour": 1}), {"id": "b", "type": "teleport"}]
    assert set(fields(nodes, ("a", "gone"))) == {"nodes", "nodes.a.config.colour", "nodes.b.type", "edges[0].target"}


@pytest.mark.parametrize("wanted", [{"on_interrupted": "fail"}, {"on_interrupted": "skip"}, {"labels": ["zone=eu"]}])
def test_a_node_may_say_what_an_interruption_means_and_which_workers_it_needs(fields, wanted):
    assert fields([START, noop("a", **wanted)], ("start", "a")) == []


def of_settings(**settings):
    return problems(Definition(nodes=[START], settings=settings), Registry.builtin())


def test_a_workflow_may_limit_its_runs_and_name_another_for_its_failures():
    assert of_settings(max_concurrency=1, error_workflow_id="0199ec5d-8f2b-7c3e-9a51-3f1f0c7f2b6a") == []


@pytest.mark.parametrize("workflow_id", ["x", "", "Alarms"])
def test_an_error_workflow_that_is_not_given_by_its_id_is_a_problem(workflow_id):
    (found,) = of_settings(error_workflow_id=workflow_id)
    assert (found.field, found.problem) == ("settings.error_workflow_id", "This is not the id of a workflow.")


EACH = {"id": "each", "type": "for_each"}
LOOP = (("start", "each"), ("each", "a", "item"), ("each", "b", "done"))


def test_a_loop_with_a_body_and_something_after_it_is_no_problem(fields):
    assert fields([START, EACH, noop("a"), noop("b")], *LOOP) == []


@pytest.mark.parametrize(
    ("edge", "at_fault"),
    [
        (("a", "b"), "edges[3]"),  # leaves the body
        (("a", "b", "error"), "edges[3]"),
        (("start", "a"), "edges[1]"),  # enters it past the items, so what was its body is none
        (("b", "a"), "edges[1]"),
    ],
)
def test_an_edge_that_crosses_the_border_of_a_body_is_a_problem(edge, at_fault):
    nodes = [START, EACH, noop("a", on_error="branch"), noop("b")]
    links = [dict(zip(("source", "target", "source_handle"), pair, strict=False)) for pair in (*LOOP, edge)]
    (found,) = problems(Definition(nodes=nodes, edges=links), Registry.builtin())
    assert found.field == at_fault
    assert found.problem.startswith("It leaves or enters the body of the loop 'each'.")


def test_an_edge_between_two_bodies_is_a_problem(fields):
    nodes = [START, EACH, {"id": "inner", "type": "for_each"}, noop("a"), noop("b")]
    edges = [("start", "each"), ("each", "inner", "item"), ("inner", "a", "item"), ("inner", "b", "done")]
    assert fields(nodes, *edges) == []
    assert fields(nodes, *edges, ("a", "b")) == ["edges[4]"]


def test_a_cycle_in_a_loop_is_told_without_guesses_about_its_body(fields):
    edges = (*LOOP, ("a", "c"), ("c", "a"), ("c", "b"))
    assert fields([START, EACH, noop("a"), noop("b"), noop("c")], *edges) == ["nodes.a"]


def test_what_follows_a_loop_cannot_look_into_its_body(fields):
    looks = {"id": "b", "type": "log", "config": {"message": "{{ steps.a.output }}"}}
    assert fields([START, EACH, noop("a"), looks], *LOOP) == ["nodes.b.config.message"]
    looks = {"id": "a", "type": "log", "config": {"message": "{{ steps.start.output }} {{ item }}"}}
    assert fields([START, EACH, looks, noop("b")], *LOOP) == []


def test_what_has_its_default_is_no_problem(fields):
    assert fields([START | {"on_interrupted": "retry", "labels": []}]) == []
    assert of_settings(max_concurrency=None, labels=[], error_workflow_id=None, priority=1, timeout_seconds=5) == []


def test_what_is_read_before_there_is_a_run_cannot_be_a_template():
    clock = {"id": "clock", "type": "schedule", "config": {"cron": "{{ vars.when }}"}}
    (found,) = problems(Definition(nodes=(clock,)), Registry.builtin())
    assert found.field == "nodes.clock.config.cron"
