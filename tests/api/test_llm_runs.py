"""Runs that ask a model: their text as those who watch see it, what is recorded, and where the key is not."""

import asyncio
import io
import json
from contextlib import asynccontextmanager

import pytest

from melagent import log
from melagent.engine.live import PIECE_CHARACTERS
from melagent.net import guarded_session
from melagent.services.access import create_worker_token
from melagent.vault import Vault
from tests.ai.providers import KEY
from tests.ai.providers import provider as opened
from tests.api.test_canary import dump, embedded, remote
from tests.api.test_events import parsed
from tests.builders import chain, eventually, expire, new_run, stored
from tests.instances import Stage, instance

WORKERS = pytest.mark.parametrize("working", [embedded, remote])


@pytest.fixture(params=["openai", "anthropic"])
async def provider(request):
    async with opened(request.param) as made:
        yield made


@pytest.fixture
def services(services):
    object.__setattr__(services, "vault", Vault([bytes(range(32))]))
    return services


@pytest.fixture
def logged():
    stream = io.StringIO()
    log.configure("debug", "json", stream)
    return stream


@pytest.fixture
def stage(serve, services, registry, pool, provider):
    """A server with a worker of this kind, and a function that starts a run which asks the provider."""

    @asynccontextmanager
    async def stage(working):
        token = (await create_worker_token(pool, "tests"))[1]
        async with serve(services) as client, working(services, registry, client, token):
            config = {"base_url": provider.base_url, "api_key": KEY}
            body = {"name": "model", "credential_type": provider.kind, "config": config}
            connection = (await (await client.post("/api/connections", json=body)).json())["id"]

            async def start(**changes):
                asked = {"model": "m", "prompt": "a-private-question"}
                config = {"connection": connection, **asked, **changes.pop("config", {})}
                model = {"id": "ask", "type": "llm", "config": config, "retry": {"max_attempts": 1}, **changes}
                nodes = [{"id": "start", "type": "manual_trigger"}, model]
                definition = {"nodes": nodes, "edges": [{"source": "start", "target": "ask"}]}
                answer = await client.post("/api/workflow-runs", json={"name": "x", "definition": definition})
                assert answer.status == 202, await answer.text()
                return (await answer.json())["id"]

            yield client, start

    return stage


async def frames(answer):
    """The events of a stream, as they come."""
    block = []
    async for text in answer.content:
        if text != b"\n":
            block.append(text.decode().rstrip("\n"))
        elif block and block[0].startswith("id:"):
            yield parsed("\n".join(block))
            block = []
        else:
            block = []


@WORKERS
async def test_text_is_seen_while_it_is_made_and_its_record_is_the_truth(stage, provider, working):
    whole = provider.says("Hello", ", ", "world")
    provider.silent_after(*whole[:4])
    provider.chunks = whole[4:]
    async with stage(working) as (client, start), asyncio.timeout(60):
        run_id = await start()
        told = []
        async with client.get(f"/api/workflow-runs/{run_id}/events") as answer:
            async for event in frames(answer):
                told.append(event)
                if event[1] == "token":
                    provider.gate.set()
        steps = (await (await client.get(f"/api/workflow-runs/{run_id}/steps")).json())["steps"]
    tokens = [data for _, kind, data in told if kind == "token"]
    text, output = "".join(data["text"] for data in tokens), steps[-1]["output"]
    assert output["text"] == "Hello, world"
    assert output["usage"] == {"input_tokens": 19, "output_tokens": 10, "cached_tokens": 8}
    assert text == "Hello, world"[: len(text)]
    assert text.startswith("Hello")
    assert [data["offset"] for data in tokens] == [text.index(data["text"]) for data in tokens]
    assert {(data["step_key"], data["attempt"]) for data in tokens} == {("ask", 1)}
    kinds = [(kind, data.get("step_key")) for _, kind, data in told]
    assert max(place for place, kind in enumerate(kinds) if kind[0] == "token") < kinds.index(("step", "ask"))
    assert kinds[-1][0] == "end"


@WORKERS
async def test_key_that_a_service_gives_back_piece_by_piece_is_seen_nowhere(stage, provider, working, pool, logged):
    pieces = [f"It is {KEY}, "[place : place + 3] for place in range(0, len(KEY) + 8, 3)]
    whole = provider.says(*pieces, KEY, " and ", KEY[:-1])
    provider.silent_after(*whole[:-6])
    provider.chunks = whole[-6:]
    heard = []
    async with stage(working) as (client, start), asyncio.timeout(60):
        run_id = await start()
        async with client.get(f"/api/workflow-runs/{run_id}/events") as answer:
            async for event in frames(answer):
                heard.append(event)
                if event[1] == "token":
                    provider.gate.set()
        provider.error(401, {"type": "x", "code": KEY, "message": f"{KEY} is wrong"})
        failed = await start()
        async with client.get(f"/api/workflow-runs/{failed}/events") as answer:
            heard += [event async for event in frames(answer)]
        for path in (f"{run_id}/steps", run_id, f"{failed}/steps", failed):
            heard.append(await (await client.get(f"/api/workflow-runs/{path}")).text())
    shown = "".join(data["text"] for _, kind, data in filter(lambda one: len(one) == 3, heard) if kind == "token")
    places = {"events": json.dumps(heard), "text": shown, "logs": logged.getvalue(), "rows": await dump(pool)}
    assert {place for place, text in places.items() if KEY in text} == set()
    assert "It is •••" in shown
    assert "a-private-question" not in places["logs"]
    assert "••• is wrong" in places["rows"]
    assert provider.headers[0].get("authorization", provider.headers[0].get("x-api-key")).endswith(KEY)


@WORKERS
async def test_cancelled_run_closes_its_connection(stage, provider, working):
    provider.silent_after(*provider.says("Hello")[:4])
    async with stage(working) as (client, start), asyncio.timeout(60):
        run_id = await start()
        async with client.get(f"/api/workflow-runs/{run_id}/events") as answer:
            async for _, kind, data in frames(answer):
                if kind == "token":
                    await client.post(f"/api/workflow-runs/{run_id}/cancel")
                if kind == "end":
                    assert data["status"] == "cancelled"
        await provider.left.wait()


async def test_watcher_who_does_not_read_holds_nobody_up(stage, provider):
    whole = provider.says(*["word " * 2_000] * 300)
    provider.silent_after(*whole[:4])
    provider.chunks = whole[4:]
    async with stage(embedded) as (client, start), asyncio.timeout(120):
        run_id = await start()
        async with client.get(f"/api/workflow-runs/{run_id}/events") as answer:
            await answer.content.readuntil(b"\n\n")  # whoever has been told of the run watches it
            provider.gate.set()

            async def ended():
                run = await (await client.get(f"/api/workflow-runs/{run_id}")).json()
                return run["status"] == "completed"

            await eventually(ended)
            blocks = (await answer.text()).split("\n\n")
    told = [parsed(block) for block in blocks if block.startswith("id:")]
    assert told[-1][1] == "end"
    assert len(told[-1][2]["output"]["text"]) == 3_000_000
    pieces = [data for _, kind, data in told if kind == "token"]
    assert max(len(data["text"]) for data in pieces) <= PIECE_CHARACTERS
    places = [data["offset"] for data in pieces]
    assert places == sorted(set(places))


@pytest.mark.parametrize(("asked", "given"), [("500", 500), ("999999", 3_600)])
async def test_service_says_when_the_next_try_may_come_within_an_hour(stage, provider, pool, asked, given):
    provider.error(429, {"message": "slow down"}, {"Retry-After": asked})
    async with stage(embedded) as (_client, start):
        await start(retry={"max_attempts": 3, "initial_delay_ms": 1})

        async def put_off():
            return await pool.fetchval("SELECT extract(epoch FROM wake_at - now()) FROM parked")

        assert given - 100 < await eventually(put_off) <= given
    assert len(provider.asked) == 1


@WORKERS
async def test_half_a_character_does_no_harm_to_what_is_watched(stage, provider, working):
    whole = provider.says("a\ud83d", "\ude42b", "\ud83d", "c")
    provider.silent_after(*whole[:-4])
    provider.chunks = whole[-4:]
    async with stage(working) as (client, start), asyncio.timeout(60):
        run_id = await start()
        async with client.get(f"/api/workflow-runs/{run_id}/events") as answer:
            tokens = []
            async for _, kind, data in frames(answer):
                if kind == "token":
                    tokens.append(data)
                    provider.gate.set()
        output = (await (await client.get(f"/api/workflow-runs/{run_id}")).json())["output"]
    assert output["text"] == "a🙂b\ufffdc"
    shown = "".join(data["text"] for data in tokens)
    assert shown == "a??b?c"[: len(shown)]
    assert len(shown) >= 2


async def test_model_is_not_asked_again_once_its_answer_is_recorded_whatever_dies(database_url, pool, provider):
    if provider.kind == "anthropic":  # one kind will do, and this one needs no key
        return
    provider.chunks = provider.says("Hello")
    config = {"baseUrl": provider.base_url, "model": "m", "prompt": "Hi"}
    version = await stored(
        pool, chain(("start", "manual_trigger"), {"id": "ask", "type": "llm", "config": config}, ("b", "effect"))
    )
    first, second, run = Stage(), Stage(), new_run(version)
    first.gate("b")
    async with guarded_session(["127.0.0.1"]) as http:
        async with instance(database_url, first, http=lambda: http) as dying:
            await dying.engine.start(run)
            await eventually(lambda: first.steps() == ["b"])
            await dying.crash()
        async with instance(database_url, second, worker_id="other", http=lambda: http) as other:
            await expire(pool)
            await other.rescuer.one_pass()
            await eventually(lambda: pool.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'"))
    steps = await pool.fetch("SELECT step_key FROM steps WHERE status = 'completed' ORDER BY seq")
    assert [step["step_key"] for step in steps] == ["start", "ask", "b"]
    assert len(provider.asked) == 1
