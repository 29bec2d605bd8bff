"""Expressions on real data: of the newest run around a node of the draft, of a run that is named, or given."""

import asyncio

import pytest

from melagent.services import previews
from melagent.store.ids import new_id

LINE = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "double", "type": "transform", "config": {"expression": "input.n * 2"}},
        {"id": "end", "type": "noop"},
    ],
    "edges": [{"source": "start", "target": "double"}, {"source": "double", "target": "end"}],
}
SEEN = "[item, index, input, inputs, steps]"
LOOP = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "each", "type": "for_each", "config": {"items": "{{ input.items }}"}},
        {"id": "body", "type": "transform", "config": {"expression": SEEN}},
        {"id": "after", "type": "noop"},
    ],
    "edges": [
        {"source": "start", "target": "each"},
        {"source": "each", "source_handle": "item", "target": "body"},
        {"source": "each", "source_handle": "done", "target": "after"},
    ],
}


@pytest.fixture
def try_out(client):
    async def try_out(workflow_id, **body):
        answer = await client.post(f"/api/workflows/{workflow_id}/draft/expressions/preview", json=body)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    return try_out


@pytest.fixture
def ran(client, make_workflow, worker):
    """A workflow whose draft has run once, and that run."""

    async def ran(definition, given):
        workflow_id = (await make_workflow(definition))["id"]
        return workflow_id, await run(client, workflow_id, given)

    return ran


async def run(client, workflow_id, given):
    body = {"version": "draft", "input": given, "wait_seconds": 30}
    answer = await client.post(f"/api/workflows/{workflow_id}/execute", json=body)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_an_expression_sees_what_the_node_saw(ran, try_out):
    workflow_id, known = await ran(LINE, {"n": 4})
    for expression, value in [
        ("input", 8),
        ("inputs.double", 8),
        ("steps.start.output.n + steps.double.output", 12),
        ("run.id", known["id"]),
        ("run.version_id", known["version_id"]),
        ("workflow.id", workflow_id),
        ("trigger.type", "manual"),
        ("item", None),
    ]:
        tried = await try_out(workflow_id, expression=expression, node_id="end")
        assert tried == {"value": value, "error": None, "run_id": known["id"]}, expression


async def test_a_template_gives_text_and_keeps_the_type_of_a_single_value(ran, try_out):
    workflow_id, _ = await ran(LINE, {"n": 4})
    assert (await try_out(workflow_id, template="n is {{ input }}", node_id="end"))["value"] == "n is 8"
    assert (await try_out(workflow_id, template="{{ input }}", node_id="end"))["value"] == 8
    assert (await try_out(workflow_id, template="plain", node_id="end"))["value"] == "plain"


async def test_an_entry_sees_the_input_of_the_run_and_so_does_an_expression_without_a_node(ran, try_out):
    workflow_id, _ = await ran(LINE, {"n": 4})
    assert (await try_out(workflow_id, expression="input", node_id="start"))["value"] == {"n": 4}
    assert (await try_out(workflow_id, expression="[input.n, steps.double.output]"))["value"] == [4, 8]


async def test_a_node_does_not_see_what_lies_beside_it(ran, try_out):
    workflow_id, _ = await ran(LINE, {"n": 4})
    tried = await try_out(workflow_id, expression="steps.double.output", node_id="double")
    assert "undefined" in tried["error"]["message"]


async def test_a_node_that_was_added_after_the_run_sees_what_is_above_it(client, ran, try_out):
    workflow_id, _ = await ran(LINE, {"n": 4})
    await client.post(f"/api/workflows/{workflow_id}/nodes", json={"id": "new", "type": "noop"})
    await client.post(f"/api/workflows/{workflow_id}/edges", json={"source": "double", "target": "new"})
    assert (await try_out(workflow_id, expression="input", node_id="new"))["value"] == 8


async def test_in_a_loop_the_first_item_sees_what_it_saw_in_the_run(ran, try_out):
    workflow_id, _ = await ran(LOOP, {"items": ["a", "b"]})
    (first, _), item = (await try_out(workflow_id, expression="[input, item]", node_id="after"))["value"]
    assert (first[0], item) == ("a", None)
    assert (await try_out(workflow_id, expression=SEEN, node_id="body"))["value"] == first


async def test_the_newest_run_counts_unless_another_one_is_named(client, ran, try_out):
    workflow_id, first = await ran(LINE, {"n": 1})
    second = await run(client, workflow_id, {"n": 2})
    assert (await try_out(workflow_id, expression="input", node_id="end"))["run_id"] == second["id"]
    assert (await try_out(workflow_id, expression="input", node_id="end", run_id=first["id"]))["value"] == 2


async def test_large_values_are_seen_and_far_too_large_ones_are_refused(client, ran, try_out, monkeypatch):
    workflow_id, _ = await ran(LINE, {"n": 1, "text": "x" * 100_000})
    tried = await try_out(workflow_id, expression="steps.start.output.text | length", node_id="end")
    assert tried["value"] == 100_000
    monkeypatch.setattr(previews, "MAX_DATA_BYTES", 99_999)
    path = f"/api/workflows/{workflow_id}/draft/expressions/preview"
    assert (await client.post(path, json={"expression": "1", "node_id": "end"})).status == 413


async def test_without_a_run_there_is_nothing_to_see(make_workflow, try_out):
    workflow_id = (await make_workflow(LINE))["id"]
    assert await try_out(workflow_id, expression="1 + 1", node_id="end") == {"value": 2, "error": None, "run_id": None}
    assert (await try_out(workflow_id, expression="run.id", node_id="end"))["error"]


async def test_data_takes_the_place_of_a_run(make_workflow, try_out):
    workflow_id = (await make_workflow(LINE))["id"]
    data = {"input": {"n": 1}, "steps": {"a": {"output": 2}}}
    assert (await try_out(workflow_id, expression="input.n + steps.a.output", data=data))["value"] == 3
    assert (await try_out(workflow_id, expression="item", data=data))["error"]


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ({"expression": "1 +\n + 2"}, 2, 2),
        ({"expression": "input.nope + nobody"}, 1, 1),
        ({"template": "a\nb {{ input.x | teleport }}"}, 2, 16),
    ],
)
async def test_an_error_names_its_place(make_workflow, try_out, source, line, column):
    error = (await try_out((await make_workflow(LINE))["id"], **source, data={"input": {}}))["error"]
    assert (error["line"], error["column"]) == (line, column), error
    assert f"line {line}, column {column}" in error["message"]


@pytest.mark.parametrize(
    "source",
    [
        {"expression": "range(10000) | map('string') | join(range(10000) | join) | length"},
        {"template": "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}"},
        {"expression": "'x' * 1000000000000"},
        {"expression": "(" * 5000},
        {"expression": "input.append(1)"},
        {"template": "{% raw %}"},
    ],
)
async def test_hostile_expressions_are_told_what_is_wrong_while_others_are_served(
    client, make_workflow, try_out, source
):
    workflow_id = (await make_workflow(LINE))["id"]
    tries = [try_out(workflow_id, **source, data={"input": []}) for _ in range(3)]
    health = client.get("/health")
    *tried, alive = await asyncio.gather(*tries, health)
    assert all(each["error"] for each in tried)
    assert alive.status == 200


async def test_a_draft_that_is_wrong_is_looked_at_all_the_same(make_workflow, try_out):
    broken = {
        "nodes": [{"id": name, "type": "noop"} for name in ("a", "b", "b")],
        "edges": [
            {"source": "a", "target": "b"},
            {"source": "b", "target": "a"},
            {"source": "gone", "target": "a"},
            {"source": "a", "source_handle": "nope", "target": "gone"},
        ],
    }
    workflow_id = (await make_workflow(broken))["id"]
    for node_id in ("a", "b"):
        assert (await try_out(workflow_id, expression="1", node_id=node_id))["value"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"expression": "1", "template": "1"},
        {"expression": ""},
        {"expression": "1", "data": {}, "node_id": "end"},
        {"expression": "1", "data": {"secrets": 1}},
        {"expression": "1", "node_id": "\u0000"},
        {"expression": "x" * 100_001},
    ],
)
async def test_what_makes_no_sense_is_refused(client, make_workflow, body):
    workflow_id = (await make_workflow(LINE))["id"]
    answer = await client.post(f"/api/workflows/{workflow_id}/draft/expressions/preview", json=body)
    assert answer.status == 400


async def test_what_is_not_there_is_not_found(client, ran, make_workflow):
    workflow_id, known = await ran(LINE, {"n": 1})
    other = (await make_workflow(LINE))["id"]
    for path, body in [
        (workflow_id, {"node_id": "nobody"}),
        (workflow_id, {"run_id": str(new_id())}),
        (other, {"run_id": known["id"]}),
        (new_id(), {}),
        (new_id(), {"data": {}}),
    ]:
        answer = await client.post(f"/api/workflows/{path}/draft/expressions/preview", json={"expression": "1", **body})
        assert answer.status == 404, body
