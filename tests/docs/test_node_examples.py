"""Each node type has one example in `examples/nodes`: valid, run, and giving the output that it says."""

import json
import re

import pytest
import yaml

from melagent.domain.definition import Definition
from melagent.registry import Registry
from melagent.services.problems import problems
from tests import examples

FOLDER = examples.ROOT / "examples" / "nodes"
REGISTRY = Registry.builtin()
TYPES = [node_type.id for node_type in REGISTRY.all()]
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


def test_every_node_type_has_an_example():
    without = sorted({*TYPES} - {path.stem for path in EXAMPLES})
    assert without == [], f"add examples/nodes/ID.yaml for {', '.join(without)}, and run `make docs`"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_about_its_node_and_says_how_to_run_it(path):
    text = path.read_text()
    first, empty, command = text.splitlines()[:3]
    assert re.fullmatch(r"# .*\.", first)
    assert empty == "#"
    assert command.startswith("#   ./server workflow ")
    assert [*examples.preparations(path), *examples.runs(path)] == examples.commands(path)
    (run,) = examples.runs(path)
    assert run[3] == "--wait"
    content = yaml.safe_load(text)
    assert content.pop("name") == REGISTRY.get(path.stem).node.name
    definition = Definition.model_validate(content)
    assert path.stem in {node.type for node in definition.nodes}
    assert problems(definition, REGISTRY) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_gives_what_it_says(remote, path):
    for command in examples.preparations(path):
        assert remote(*command).code == 0
    answer = remote(*examples.runs(path)[0])
    assert answer.code == 0, answer.err
    for said in examples.outputs(path):
        assert json.loads(answer.out) == said
