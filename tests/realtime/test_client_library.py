"""The client library in TypeScript against real instances: random edits of several people, offline now and then."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from melagent.store import edits
from tests.realtime.conftest import ADMIN_KEY

ROOT = Path(__file__).parents[2]
SECONDS = 6


@pytest.fixture
def roam(tmp_path):
    """Runs `web/tests/roam.ts` on one draft of several instances; answers what it reports."""

    async def roam(instances, workflow_id, *, clients, seed):
        out = tmp_path / "roam.json"
        arguments = {"workflow": workflow_id, "seconds": SECONDS, "seed": seed, "clients": clients, "out": out}
        reach = {"MEL_URL": ",".join(one.url("") for one in instances), "MEL_KEY": ADMIN_KEY}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "web/build.py", "run", "roam", "--",
            *(f"--{key}={value}" for key, value in arguments.items()),
            cwd=ROOT, env=os.environ | reach, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip  # one process
        said, _ = await process.communicate()
        assert out.exists(), said.decode()
        return orjson.loads(out.read_bytes())

    return roam


@pytest.fixture
def committed(pool):
    """The edits of a draft as the database has them: by client and id, their number."""

    async def committed(workflow_id):
        async with pool.acquire() as conn:
            found = await edits.after(conn, UUID(workflow_id), 0, 100_000)
        return {(edit.client, edit.client_edit_id): edit.seq for edit in found}

    return committed


async def test_copies_of_the_client_library_on_two_instances_end_equal_to_the_database(
    start, make_workflow, roam, stored, committed
):
    instances = [await start(), await start()]
    workflow_id = await make_workflow(instances[0])
    report = await roam(instances, workflow_id, clients=4, seed=7)
    assert report["settled"], [client["status"] for client in report["clients"]]
    assert report["equal"]
    state = await stored(workflow_id)
    assert report["definition"] == state.definition()
    assert {client["seq"] for client in report["clients"]} == {state.seq}
    kept = await committed(workflow_id)
    acknowledged = {(edit["client"], edit["id"]): edit["seq"] for edit in report["acknowledged"]}
    assert len(acknowledged) > SECONDS
    assert {edit: kept.get(edit) for edit in acknowledged} == acknowledged
    assert {edit for edit in kept if not edit[0].startswith("rest")} == acknowledged.keys()
    refused = [refused for client in report["clients"] for refused in client["refused"]]
    assert not [one for one in refused if one["error"] not in {"gone", "not_found", "conflict"}]
