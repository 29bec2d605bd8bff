"""The page for authors: its workflows run and give what they say, and it speaks of all there is to say."""

import json
import re

import pytest

from melagent.cli import workflow_file
from melagent.domain import definition
from melagent.domain.definition import Definition
from melagent.engine.context import Scope
from melagent.registry import Registry
from melagent.sandbox.expressions import evaluate
from melagent.services.problems import problems
from tests.cli.conftest import ROOT

PAGE = (ROOT / "docs" / "workflows.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


WORKFLOWS = {text.splitlines()[0].removeprefix("name: "): text for text in blocks("yaml")}
SAID = PAGE.partition("| Expression | Value |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
EXPRESSIONS = [re.fullmatch(r"\| `(.*)` \| `(.*)` \|", row).groups() for row in SAID]


def written(text, folder):
    path = folder / "page.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_on_the_page_is_valid(name, tmp_path):
    read = workflow_file.read(written(WORKFLOWS[name], tmp_path))
    assert problems(Definition.model_validate(read.definition), Registry.builtin()) == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_on_the_page_gives_what_it_says(remote, name, tmp_path):
    answer = remote("workflow", "run", written(WORKFLOWS[name], tmp_path), "--wait")
    assert answer.code == 0, answer.err
    (said,) = re.findall(r"^# Output: (.*)$", WORKFLOWS[name], re.MULTILINE)
    assert json.loads(answer.out) == json.loads(said)


@pytest.mark.parametrize(("expression", "value"), EXPRESSIONS)
def test_expression_on_the_page_has_the_value_beside_it(expression, value):
    (given,) = blocks("json")
    scope = {"input": json.loads(given), "steps": {}}
    assert evaluate(expression.replace("\\|", "|"), scope) == json.loads(value)


def test_the_page_speaks_of_every_name_and_every_field():
    said = set(re.findall(r"\w+", PAGE))
    models = (
        definition.Node,
        definition.Retry,
        definition.WorkflowSettings,
        definition.OnError,
        definition.OnInterrupted,
    )
    fields = {name for model in models for name in getattr(model, "model_fields", model)}
    assert {*Scope.NAMES, *fields} - said == set()


def test_every_page_and_example_that_is_named_is_there():
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    assert [link for link in links if "://" not in link and not (ROOT / "docs" / link).exists()] == []
