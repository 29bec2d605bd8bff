"""The client of the documentation does what it says."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from examples.live_client import Draft
from tests.realtime.clients import put

VECTORS = sorted((Path(__file__).parents[1] / "domain/edits").glob("*.json"))
CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}") for file in VECTORS for case in json.loads(file.read_text())
]
PROGRAM = Path(__file__).parents[2] / "examples" / "live_client.py"


@pytest.fixture
def kind():
    return "postgres"


@pytest.fixture
def run(one):
    async def run(*arguments, key="the-bootstrap-key-of-the-tests"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, PROGRAM, one.url("").rstrip("/"), *arguments,
            env={**os.environ, "MEL_API_KEY": key}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, out.decode(), err.decode()

    return run


async def test_it_renames_a_node_while_others_edit(one, make_workflow, connect, run, converged):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await ada.answer(await ada.edit(put("Before")))
    code, out, err = await run(workflow_id, "done", "By a script")
    assert (code, err) == (0, "")
    assert out == "3: bootstrap ['node.set']\n"
    state = await converged(workflow_id, ada)
    assert state.nodes["done"]["name"] == "By a script"


async def test_it_says_why_an_edit_was_refused_and_why_it_may_not_come_back(one, make_workflow, run):
    workflow_id = await make_workflow(one)
    code, _, err = await run(workflow_id, "nowhere", "x")
    assert (code, err) == (1, "not_found: There is no such node.\n")
    code, _, err = await run(workflow_id, "done", "x", key="wrong")
    assert (code, err) == (1, "closed for good: 4401\n")


@pytest.mark.parametrize("case", CASES)
def test_its_draft_becomes_what_all_drafts_become(case):
    draft = Draft(case["definition"], case["seq"])
    for edit in case["edits"]:
        if "refused" not in edit:
            draft.apply(edit.get("applied", edit["ops"]), draft.seq + 1)
    assert draft.definition() == case["result"]


def test_it_knows_nothing_of_our_code():
    tree = ast.parse(PROGRAM.read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"aiohttp"}
