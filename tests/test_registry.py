"""The registry: declarations, descriptions, and what is wrong with a config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import pytest
import yaml

from melagent.domain.definition import Definition
from melagent.registry import DeclarationError, NodeType, Registry
from melagent.sdk import Connection, Expression, Field, Node, Params, Raw

REGISTRY = Registry.builtin()
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))


class Item(Params):
    when: Annotated[str, Expression] = ""
    note: Annotated[str, Raw] | None = None
    text: str = ""


class SampleParams(Params):
    max_size: int = Field(default=3, ge=1, description="How large", json_schema_extra={"x-group": "Limits"})
    mode: str = "a"
    item_list: list[Item] = Field(default_factory=list)
    by_name: dict[str, Item] = Field(default_factory=dict)


class Sample(Node[SampleParams]):
    id = "sample"
    name = "Sample"
    description = "For tests"
    category = "Tests"

    async def run(self, params, ctx):
        return None


def declared(**attributes):
    return type("Declared", (Sample,), attributes)()


def problems(type_id, config):
    node_type = REGISTRY.get(type_id)
    assert node_type is not None
    return {problem.field: problem.problem for problem in node_type.problems(config)}


def test_builtin_types_are_those_of_the_catalogue():
    assert [node_type.id for node_type in REGISTRY.all()] == [
        "crypto",
        "csv",
        "datetime",
        "delay",
        "error_trigger",
        "for_each",
        "html",
        "http_request",
        "http_response",
        "if",
        "inject",
        "list",
        "llm",
        "log",
        "manual_trigger",
        "merge",
        "noop",
        "random",
        "schedule",
        "set",
        "slack",
        "stop",
        "switch",
        "timer",
        "transform",
        "variable_get",
        "variable_list",
        "variable_set",
        "wait",
        "webhook",
        "workflow_call",
        "workflow_return",
        "workflow_trigger",
        "xml",
    ]
    assert REGISTRY.get("nope") is None


def test_flags_say_what_the_engine_must_know():
    assert {node_type.id for node_type in REGISTRY.all() if node_type.effects} == {
        "http_request", "llm", "workflow_call",
    }  # fmt: skip
    assert {node_type.id for node_type in REGISTRY.all() if node_type.entry_point} == {
        "error_trigger", "inject", "manual_trigger", "schedule", "slack", "timer", "webhook", "workflow_trigger",
    }  # fmt: skip
    assert {node_type.id for node_type in REGISTRY.all() if node_type.branching} == {"if", "switch", "wait"}
    assert {node_type.id for node_type in REGISTRY.all() if node_type.answers} == {"http_response"}


@pytest.mark.parametrize("node_type", REGISTRY.all(), ids=lambda node_type: node_type.id)
def test_description_has_the_fields_of_the_contract(node_type):
    described = node_type.describe()
    assert set(described) == {
        "id", "name", "description", "category", "icon", "kinds", "entry_point", "branching", "effects", "answers",
        "inputs", "outputs", "parameters", "schema",
    }  # fmt: skip
    for parameter in described["parameters"]:
        assert parameter["name"] in described["schema"]["properties"]
        assert parameter["label"]


def test_parameters_are_described_for_a_form():
    (parameter,) = [entry for entry in NodeType.of(Sample()).parameters if entry["name"] == "maxSize"]
    assert parameter == {
        "name": "maxSize",
        "label": "Max size",
        "type": "integer",
        "required": False,
        "default": 3,
        "description": "How large",
        "group": "Limits",
        "options": [],
        "widget": None,
        "credential_types": [],
        "visible_if": None,
    }


class Posting(Params):
    connection: Annotated[UUID | None, Connection("bearer", "basic")] = None
    others: list[Annotated[UUID, Connection("slack")]] = Field(default_factory=list)


class Posts(Node[Posting]):
    id, name, description, category = "posts", "Posts", "Posts", "Tests"

    async def run(self, params, ctx):
        return None


def test_connections_are_found_by_their_mark_and_are_no_templates():
    node_type = NodeType.of(Posts())
    one, other = UUID(int=1), UUID(int=2)
    config = {"connection": str(one), "others": [str(other), "no id", 3]}
    assert list(node_type.connections(config)) == [
        ("connection", one, ("bearer", "basic")),
        ("others[0]", other, ("slack",)),
    ]
    assert node_type.schema["properties"]["connection"]["x-credential"] == ["bearer", "basic"]
    (form, *_) = node_type.parameters
    assert (form["widget"], form["credential_types"]) == ("connection", ["bearer", "basic"])
    assert [problem.field for problem in node_type.problems({"connection": "{{ input.id }}"})] == ["connection"]
    assert [problem.field for problem in node_type.problems({"connection": "x"})] == ["connection"]
    method = next(entry for entry in REGISTRY.get("http_request").parameters if entry["name"] == "method")
    assert (method["type"], method["options"][0]) == ("enum", "GET")


def test_raw_and_expression_fields_are_found_at_every_depth():
    node_type = NodeType.of(Sample())
    assert node_type.expression_fields >= {"itemList[].when"}
    assert node_type.raw_fields >= {"itemList[].when", "itemList[].note"}
    assert "itemList[].text" not in node_type.raw_fields
    assert REGISTRY.get("if").expression_fields == {"conditions[].expression"}


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"id": "Bad-Id"}, "lower-case words"),
        ({"id": ""}, "`id` is missing"),
        ({"description": ""}, "`description` is missing"),
        ({"kinds": ("robot",)}, "kinds must be among"),
        ({"kinds": ()}, "kinds must be among"),
        ({"outputs": ("a", "a")}, "differ from each other"),
        ({"outputs": ("a,b",)}, "'a,b' cannot be a handle"),
        ({"outputs": ("error",)}, "every node's already"),
        ({"entry_point": True}, "an entry point has no inputs"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_wrong_declaration_is_refused_with_the_class_and_the_fault(attributes, fault):
    with pytest.raises(DeclarationError, match=f"Declared: .*{fault}"):
        NodeType.of(declared(**attributes))


def test_two_types_cannot_have_the_same_id():
    with pytest.raises(DeclarationError, match="Sample and Declared have the same id 'sample'"):
        Registry([NodeType.of(Sample()), NodeType.of(declared())])


@pytest.mark.parametrize(
    ("type_id", "config", "found"),
    [
        ("http_request", {}, {"url": "this parameter is required"}),
        ("http_request", {"url": "x", "nope": "{{ input }}"}, {"nope": "there is no such parameter"}),
        ("http_request", {"url": "x", "timeout": "abc"}, {"timeout": "Input should be a valid number"}),
        ("http_request", {"url": "x", "headers": {"a": []}}, {"headers.a": "valid string"}),
        (
            "http_request",
            {"url": "{{ input.", "body": {"a": ["{{ b | nope }}"]}},
            {"url": "is missing", "body.a[0]": "nope"},
        ),
        ("if", {"conditions": []}, {"conditions": "at least 1 item"}),
        ("if", {"conditions": [{"expression": "a >"}]}, {"conditions[0].expression": "unexpected end"}),
        ("if", {"conditions": [{"branch": "x"}]}, {"conditions[0].expression": "required"}),
        ("if", {"conditions": [{"expression": "a", "branch": "error"}]}, {"conditions[0].branch": "`error`"}),
        ("delay", {"duration": "soon"}, {"duration": "no duration"}),
        ("merge", {"strategy": "by_key"}, {"": "by_key needs a key"}),
        ("webhook", {"mode": "never", "statusCode": 99}, {"mode": "'async' or 'sync'", "statusCode": "greater than"}),
    ],
)
def test_problems_name_the_parameter(type_id, config, found):
    reported = problems(type_id, config)
    assert set(reported) == set(found)
    for field, text in found.items():
        assert text in reported[field]


@pytest.mark.parametrize(
    ("type_id", "config"),
    [
        ("http_request", {"url": "{{ input.url }}", "timeout": "{{ input.t }}", "headers": "{{ input.h }}"}),
        ("http_request", {"url": "x", "verifySSL": False, "failOnStatus": False}),
        ("delay", {"duration": "{{ input.ms }}"}),
        ("manual_trigger", {"data": "{{ input }}", "format": "number"}),
        ("switch", {"cases": [{"value": "{{ not a template }}", "handle": "a"}]}),
        ("set", {"fields": {"a": "{% if input.a %}1{% endif %}"}}),
    ],
)
def test_value_that_is_known_only_in_the_run_is_no_problem(type_id, config):
    assert problems(type_id, config) == {}


def test_the_variables_that_a_config_looks_at_are_those_of_its_templates_and_expressions():
    transform, switch = REGISTRY.get("transform"), REGISTRY.get("switch")
    assert transform.variables({"template": {"a": ["{{ vars.a }}", "vars.b"]}, "expression": "vars.c"}) == {"a", "c"}
    assert switch.variables({"expression": "vars.a", "cases": [{"value": "{{ vars.raw }}", "handle": "x"}]}) == {"a"}
    assert transform.variables({"template": "{{ vars[input] }}"}) is None
    assert transform.variables({"template": "{{ vars.a", "expression": "vars.b +"}) == frozenset()


def test_references_are_named_with_the_parameter():
    config = {"conditions": [{"expression": "steps.a.output.x > inputs['b']"}, {"expression": "steps.("}]}
    assert list(REGISTRY.get("if").references(config)) == [
        ("conditions[0].expression", "a"),
        ("conditions[0].expression", "b"),
    ]
    config = {"template": {"deep": ["{{ steps.c.output }}"]}, "expression": ""}
    assert list(REGISTRY.get("transform").references(config)) == [("template.deep[0]", "c")]


def test_handles_of_a_config_that_is_not_valid_are_the_declared_ones():
    assert REGISTRY.get("if").handles({"conditions": []}) == ("true", "false")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_a_valid_workflow(path):
    text = path.read_text()
    assert text.startswith("#")
    assert f"./server workflow run examples/{path.name} --wait" in text
    document = yaml.safe_load(text)
    assert document.pop("name")
    assert document.pop("description")
    definition = Definition.model_validate(document)
    for node in definition.nodes:
        node_type = REGISTRY.get(node.type)
        assert node_type is not None, node.type
        assert node_type.problems(node.config) == []
    for edge in definition.edges:
        source = definition.node(edge.source)
        assert edge.source_handle in (*REGISTRY.get(source.type).handles(source.config), "error")
