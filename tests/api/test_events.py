import asyncio
import json
from uuid import UUID

import pytest

from melagent.api import events
from melagent.engine.live import LiveLine

CHAIN = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "say", "type": "log", "config": {"message": "hello"}},
        {"id": "end", "type": "noop"},
    ],
    "edges": [{"source": "start", "target": "say"}, {"source": "say", "target": "end"}],
}


@pytest.fixture
def start(client):
    async def start():
        answer = await client.post("/api/workflow-runs", json={"name": "x", "definition": CHAIN})
        return (await answer.json())["id"]

    return start


@pytest.fixture
def listen(client):
    """Read the stream of a run to its end; each event as (id, kind, data)."""

    async def listen(run_id, after=None):
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        async with asyncio.timeout(60), client.get(f"/api/workflow-runs/{run_id}/events", headers=headers) as answer:
            assert answer.status == 200
            text = await answer.text()
        return [parsed(block) for block in text.split("\n\n") if block.startswith("id:")]

    return listen


def parsed(block):
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    return int(fields["id"]), fields["event"], json.loads(fields["data"])


async def test_a_run_is_told_from_its_first_step_to_its_end(start, listen, worker):
    told = await listen(await start())
    kinds = [kind for _, kind, _ in told]
    assert kinds.count("step") == 3
    assert kinds.count("log") == 1
    assert kinds[-1] == "end"
    assert told[-1][2]["status"] == "completed"
    assert [data["node_id"] for _, kind, data in told if kind == "step"] == ["start", "say", "end"]
    positions = [position for position, _, _ in told]
    assert positions == sorted(positions)


async def test_a_log_line_names_its_step_and_comes_before_it(start, listen, worker):
    told = [(kind, data) for _, kind, data in await listen(await start()) if kind in ("log", "step")]
    place = next(index for index, (kind, _) in enumerate(told) if kind == "log")
    assert (told[place][1]["step_key"], told[place][1]["message"]) == ("say", "hello")
    assert told[place + 1][1]["step_key"] == "say"


async def test_whoever_comes_back_hears_only_what_is_new(start, listen, worker):
    run_id = await start()
    everything = await listen(run_id)
    for position, _, _ in everything:
        again = await listen(run_id, after=position)
        assert [event for event in again if event[1] == "step"] == [
            event for event in everything if event[1] == "step" and event[0] > position
        ]
        assert again[-1][1] == "end"


async def test_a_waiting_listener_hears_of_changes_at_once(start, listen, client):
    run_id = await start()
    listening = asyncio.create_task(listen(run_id))
    await asyncio.sleep(0)
    await client.post(f"/api/workflow-runs/{run_id}/cancel")
    told = await listening
    assert told[-1][2]["status"] == "cancelled"


async def test_the_stream_is_not_to_be_buffered_or_kept(client, start, worker):
    async with client.get(f"/api/workflow-runs/{await start()}/events") as answer:
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Request-Id"]


async def test_a_quiet_stream_says_that_it_is_still_there(client, start, monkeypatch):
    monkeypatch.setattr(events, "COMMENT_SECONDS", 0)
    async with asyncio.timeout(60), client.get(f"/api/workflow-runs/{await start()}/events") as answer:
        while not (await answer.content.readline()).startswith(b":"):
            pass


async def test_a_draining_instance_ends_its_streams_so_that_readers_come_back(client, start, services):
    async with asyncio.timeout(60), client.get(f"/api/workflow-runs/{await start()}/events") as answer:
        assert await answer.content.readline() == b"retry: 1000\n"
        services.draining.set()
        text = await answer.text()
    assert "event: end" not in text


async def test_a_reader_who_leaves_is_noticed(client, start, engine, eventually):
    async with client.get(f"/api/workflow-runs/{await start()}/events") as answer:
        await answer.content.readline()
        answer.close()

    async def nobody_listens():
        return not engine.waiters._streams

    await eventually(nobody_listens)


@pytest.mark.parametrize("sent", ["x", "-1", "99999999999", "²"])
async def test_an_id_that_is_none_of_this_stream_is_a_bad_request(client, start, sent):
    path = f"/api/workflow-runs/{await start()}/events"
    answer = await client.get(path, headers={"Last-Event-ID": sent})
    assert answer.status == 400


async def test_a_stream_whose_database_goes_away_ends_so_that_its_reader_comes_back(client, start, pool, capfd):
    async with asyncio.timeout(60), client.get(f"/api/workflow-runs/{await start()}/events") as answer:
        await answer.content.readline()
        await pool.execute("ALTER TABLE parked RENAME TO away")
        text = await answer.text()
    assert "parked" not in text
    assert "HTTP/1.1" not in text
    await pool.execute("ALTER TABLE away RENAME TO parked")


async def test_text_that_comes_later_than_the_record_of_its_step_is_not_told(client, engine, worker):
    waiting = {"id": "hold", "type": "wait", "config": {"signal": "go"}}
    nodes = [*CHAIN["nodes"][:2], waiting]
    edges = [{"source": "start", "target": "say"}, {"source": "say", "target": "hold"}]
    answer = await client.post("/api/workflow-runs", json={"name": "x", "definition": {"nodes": nodes, "edges": edges}})
    run_id, told = (await answer.json())["id"], b""
    async with asyncio.timeout(60), client.get(f"/api/workflow-runs/{run_id}/events") as stream:
        while b'"step_key":"hold"' not in told:
            told += await stream.content.readline()
        for step_key, text in (("say", "too late"), ("other", "in time")):
            engine.live.publish(LiveLine(UUID(run_id), step_key, 1, 0, {"text": text}, "token"))
        while b"in time" not in told:
            told += await stream.content.readline()
        await client.post(f"/api/workflow-runs/{run_id}/cancel")
        told += await stream.read()
    assert b"too late" not in told
    assert b"event: end" in told
