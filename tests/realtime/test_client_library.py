"""The client library in TypeScript against real instances: random edits of several people, offline now and then."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from melagent.store import edits
from tests.realtime.conftest import ADMIN_KEY

WEB = Path(__file__).parents[2] / "web"
SECONDS = 6


@pytest.fixture
def roam(tmp_path):
    """Runs `web/tests/roam.ts` on one draft of several instances; answers what it reports."""
    node = shutil.which("node")
    assert node is not None, "the client library's tests need Node"
    assert (WEB / "node_modules" / "tsx").is_dir(), "run `npm ci --ignore-scripts` in web/ first"

    async def roam(instances, workflow_id, *, clients, seed):
        out = tmp_path / "roam.json"
        arguments = {"workflow": workflow_id, "seconds": SECONDS, "seed": seed, "clients": clients, "out": out}
        process = await asyncio.create_subprocess_exec(
            node, "--import", "tsx", "tests/roam.ts", *(f"--{key}={value}" for key, value in arguments.items()),
            cwd=WEB, env=os.environ | {"MEL_URL": ",".join(one.url("") for one in instances), "MEL_KEY": ADMIN_KEY},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip  # one process
        _, errors = await process.communicate()
        assert process.returncode in {0, 1}, errors.decode()
        return orjson.loads(out.read_bytes())

    return roam


async def test_copies_of_the_client_library_on_two_instances_end_equal_to_the_database(
    one, two, make_workflow, roam, stored, pool
):
    workflow_id = await make_workflow(one)
    report = await roam([one, two], workflow_id, clients=4, seed=7)
    assert report["settled"], [client["status"] for client in report["clients"]]
    assert report["equal"]
    state = await stored(workflow_id)
    assert report["definition"] == state.definition()
    assert {client["seq"] for client in report["clients"]} == {state.seq}
    async with pool.acquire() as conn:
        found = await edits.after(conn, UUID(workflow_id), 0, 100_000)
    committed = {(edit.client, edit.client_edit_id): edit.seq for edit in found}
    acknowledged = {(edit["client"], edit["id"]): edit["seq"] for edit in report["acknowledged"]}
    assert len(acknowledged) > SECONDS
    assert {edit: committed.get(edit) for edit in acknowledged} == acknowledged
    assert {edit for edit in committed if not edit[0].startswith("rest")} == acknowledged.keys()
    refused = [refused for client in report["clients"] for refused in client["refused"]]
    assert not [one for one in refused if one["error"] not in {"gone", "not_found", "conflict"}]
