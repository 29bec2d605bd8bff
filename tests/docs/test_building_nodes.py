"""The page about building nodes: its Python is run, its tests too, and its workflow is valid with its nodes."""

import inspect
import re

import pytest
import yaml

from melagent import sdk
from melagent.domain.definition import Definition
from melagent.registry import NodeType, Registry
from melagent.services.problems import problems
from tests.cli.conftest import ROOT

PAGE = (ROOT / "docs" / "building-nodes.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def on_the_page():
    """All that the Python of the page defines, block after block, as in one module."""
    names = {"__name__": "page"}
    exec(compile("\n".join(blocks("python")), "building-nodes.md", "exec", dont_inherit=True), names)
    return names


NAMES = on_the_page()
NODES = [value for value in NAMES.values() if inspect.isclass(value) and value.__module__ == "page"
         and issubclass(value, sdk.Node)]  # fmt: skip  # one list
TESTS = {name: value for name, value in NAMES.items() if name.startswith("test_")}


def test_every_node_on_the_page_would_be_loaded():
    assert {NodeType.of(node()).id for node in NODES} == {
        "greet", "pick", "triage", "notify", "payment", "reminder",
    }  # fmt: skip


@pytest.mark.parametrize("name", TESTS)
async def test_test_on_the_page_passes(name):
    await TESTS[name]()


def test_the_workflow_on_the_page_is_valid():
    registry = Registry([*Registry.builtin().all(), *(NodeType.of(node()) for node in NODES)])
    for text in blocks("yaml"):
        assert problems(Definition.model_validate(yaml.safe_load(text)), registry) == []


def test_the_page_speaks_of_all_that_the_sdk_offers():
    said = set(re.findall(r"\w+", PAGE))
    types_of_arguments = {"Json", "LogLevel", "RunInfo"}
    assert {*sdk.__all__} - types_of_arguments - said == set()
    attributes = {name for name in vars(sdk.NodeContext) if not name.startswith("_")}
    assert attributes - said == set()
