"""What a newcomer does first: start the server, and run the examples from a second shell."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests import examples
from tests.acceptance.program import program
from tests.builders import eventually

if TYPE_CHECKING:
    from tests.acceptance.program import Program

FOLDER = examples.ROOT / "examples"


async def test_every_example_runs_from_a_second_shell_and_prints_its_output():
    paths = sorted(FOLDER.glob("*.yaml"))
    assert len(paths) >= 15
    async with program() as server:
        for command in [command for path in paths for command in examples.preparations(path)]:
            assert (await server.cli(*command))[0] == 0
        results = await asyncio.gather(
            *(server.cli("workflow", "run", str(path), "--wait", seconds=60) for path in paths)
        )
        outputs = {path.name: result for path, result in zip(paths, results, strict=True)}
        assert {name: code for name, (code, _, _) in outputs.items()} == dict.fromkeys(outputs, 0), outputs
        for name, (_, output, errors) in outputs.items():
            assert json.loads(output) is not None, name
            assert "run " in errors, name
        listed = await server.call("GET", "/api/workflow-runs?limit=100")
        failed = [run["error"]["message"] for run in listed["runs"] if run["status"] != "completed"]
        assert failed == ["There is no door."]  # a child's, whose parent tells it


async def waits_for(server: Program, signal: str) -> Any:
    """The newest run, once it waits for a signal."""

    async def waits() -> Any:
        run = (await server.call("GET", "/api/workflow-runs?limit=1"))["runs"][0]
        return run if (run["waiting_for"] or {}).get("signal") == signal else None

    return await eventually(waits)


@pytest.mark.parametrize(
    ("name", "given", "signal", "answer", "output"),
    [
        (
            "approval-with-timeout",
            {"amount": 900, "patience": "1h"},
            "approval",
            {"approved": True, "note": "Once."},
            {"amount": 900, "decision": "approved", "why": "Once."},
        ),
        (
            "escalation",
            {"alarm": "The shop is down", "patience": "30m"},
            "taken",
            {"by": "Ada"},
            {"alarm": "The shop is down", "taken_by": "Ada", "told": ["team"]},
        ),
    ],
)
async def test_an_example_that_asks_goes_on_with_the_answer(name, given, signal, answer, output):
    async with program() as server:
        code, _, errors = await server.cli(
            "workflow", "run", str(FOLDER / f"{name}.yaml"), "--input", json.dumps(given)
        )
        assert code == 0, errors
        run = await waits_for(server, signal)
        await server.call("POST", f"/api/workflow-runs/{run['id']}/signals/{signal}", answer)

        async def ended() -> Any:
            shown = await server.call("GET", f"/api/workflow-runs/{run['id']}")
            return shown if shown["status"] == "completed" else None

        assert (await eventually(ended))["output"] == output


async def test_a_second_start_finds_the_database_and_what_is_in_it():
    async with program() as server:
        await server.deploy({"nodes": [{"id": "hook", "type": "webhook"}], "edges": []})
        server.terminate()
        assert await server.exit_code() == 0
        await server.start()
        listed = await server.call("GET", "/api/workflows")
        assert [workflow["name"] for workflow in listed["workflows"]] == ["acceptance"]
