"""`kill -9` in the middle of everything: what was answered is there, goes on, and repeats nothing that was recorded."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

import aiohttp
import orjson

from tests.acceptance.program import allow, calls, counter, line_of, program
from tests.builders import eventually, misplaced

QUICK_RESCUE = {"MEL_LEASE_SECONDS": "3", "MEL_HEARTBEAT_SECONDS": "1"}
HOOK = {"id": "hook", "type": "webhook"}


async def stream(url, accepted, sent, stop):
    """One caller, who sends again whatever was not answered, until told to stop."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        while not stop.is_set():
            sent[0] += 1
            try:
                async with session.post(url, json={"n": sent[0]}) as response:
                    if response.status == 202:
                        accepted.append((await response.json())["run_id"])
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.05)


async def end_of_all(server):
    await eventually(server.nothing_live, seconds=90)


async def test_killing_server_and_database_in_the_middle_loses_nothing_and_repeats_no_recorded_step():
    async with counter() as outside, program(**QUICK_RESCUE, MEL_HTTP_ALLOW=allow(outside)) as server:
        nodes = calls(outside, "a", "b", "c", "d")
        url = await server.deploy(line_of(HOOK, *nodes))
        accepted, sent, stop = [], [0], asyncio.Event()
        callers = [asyncio.create_task(stream(url, accepted, sent, stop)) for _ in range(4)]
        for _ in range(2):
            seen = len(outside.keys)
            await eventually(lambda seen=seen: len(outside.keys) > seen + 150, seconds=60)
            outside.open.clear()  # some calls have been made and are not yet answered
            await eventually(lambda seen=seen: len(outside.keys) > seen + 152, seconds=60)
            await server.kill_everything()
            outside.open.set()
            await server.start()
        stop.set()
        await asyncio.gather(*callers)
        await end_of_all(server)
        async with server.database() as conn:
            runs = {str(row["id"]): row["status"] for row in await conn.fetch("SELECT id, status FROM runs")}
            steps = await conn.fetch("SELECT run_id, step_key, status, output FROM steps")
            assert await misplaced(conn) == []
    assert set(accepted) <= set(runs)
    assert set(runs.values()) == {"completed"}
    assert len(steps) == 5 * len(runs)
    assert {step["status"] for step in steps} == {"completed"}
    made = defaultdict(list)
    for number, key in enumerate(outside.keys, 1):
        made[key].append(number)
    recorded = {
        f"{step['run_id']}:{step['step_key']}": orjson.loads(step["output"])["body"]["call"]
        for step in steps
        if step["step_key"] != "hook"
    }
    assert set(made) == set(recorded)
    # A step that ran again after it was recorded would have a call later than the recorded one.
    assert [key for key, number in recorded.items() if number != made[key][-1]] == []
    assert any(len(numbers) > 1 for numbers in made.values()), "nothing was broken off: the test proved nothing"


async def test_a_server_killed_again_and_again_under_load_keeps_every_accepted_run():
    async with program(**QUICK_RESCUE) as server:
        fields = {"doubled": "{{ input.body.n * 2 }}"}
        nodes = [HOOK, {"id": "double", "type": "set", "config": {"fields": fields}}, {"id": "end", "type": "noop"}]
        url = await server.deploy(line_of(*nodes))
        accepted, sent, stop = [], [0], asyncio.Event()
        callers = [asyncio.create_task(stream(url, accepted, sent, stop)) for _ in range(4)]
        for _ in range(4):
            seen, earliest = len(accepted), time.monotonic() + 3
            await eventually(
                lambda seen=seen, earliest=earliest: len(accepted) > seen + 50 and time.monotonic() > earliest,
                seconds=60,
            )
            await server.kill()
            await server.start()
        stop.set()
        await asyncio.gather(*callers)
        await end_of_all(server)
        async with server.database() as conn:
            runs = {str(row["id"]): row["status"] for row in await conn.fetch("SELECT id, status FROM runs")}
            steps = await conn.fetchval("SELECT count(*) FROM steps WHERE status = 'completed'")
            assert await misplaced(conn) == []
    assert len(accepted) == len(set(accepted)) > 200
    assert set(accepted) <= set(runs)
    assert set(runs.values()) == {"completed"}
    assert steps == len(nodes) * len(runs)
