"""The client of the documentation does what it says."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.realtime.clients import put

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
