"""What a newcomer does first: start the server, and run the examples from a second shell."""

from __future__ import annotations

import asyncio
import json

from tests.acceptance.program import ROOT, program


async def test_every_example_runs_from_a_second_shell_and_prints_its_output():
    examples = sorted((ROOT / "examples").glob("*.yaml"))
    assert len(examples) >= 5
    async with program() as server:
        results = await asyncio.gather(
            *(server.cli("workflow", "run", str(example), "--wait", seconds=60) for example in examples)
        )
        outputs = {example.name: result for example, result in zip(examples, results, strict=True)}
        assert {name: code for name, (code, _, _) in outputs.items()} == dict.fromkeys(outputs, 0), outputs
        for name, (_, output, errors) in outputs.items():
            assert json.loads(output) is not None, name
            assert "run " in errors, name
        listed = await server.call("GET", "/api/workflow-runs?limit=100")
        assert {run["status"] for run in listed["runs"]} == {"completed"}


async def test_a_second_start_finds_the_database_and_what_is_in_it():
    async with program() as server:
        await server.deploy({"nodes": [{"id": "hook", "type": "webhook"}], "edges": []})
        server.terminate()
        assert await server.exit_code() == 0
        await server.start()
        listed = await server.call("GET", "/api/workflows")
        assert [workflow["name"] for workflow in listed["workflows"]] == ["acceptance"]
