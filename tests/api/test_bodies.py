"""Bodies that would hold everybody up."""

import asyncio
import gzip
import threading
from io import BytesIO

import pytest

from melagent.api import call_bodies
from melagent.api.bodies import LARGE_BYTES, PARSER
from melagent.api.wire import MAX_MARKS, parse_json
from tests.builders import eventually

JSON = {"Content-Type": "application/json"}
LARGE = b'"' + b"x" * LARGE_BYTES + b'"'


class Parser:
    """Stands before `parse_json`: counts who came in, and lets them on when the gate opens."""

    def __init__(self):
        self.threads = []
        self.gate = threading.Event()

    def __call__(self, data):
        self.threads.append(threading.current_thread())
        assert self.gate.wait(5)
        return parse_json(data)


@pytest.fixture
def parser(monkeypatch):
    parser = Parser()
    monkeypatch.setattr(call_bodies, "parse_json", parser)
    return parser


@pytest.fixture
async def token(client, deploy):
    await deploy()
    trigger = (await (await client.get("/api/triggers")).json())["triggers"][0]
    return trigger["webhook_url"].rsplit("/", 1)[1]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
async def test_a_packed_body_is_refused_on_every_route(client, token, encoding):
    packed = gzip.compress(b'{"name": "x"}')
    for path in ("/api/workflows", "/demo/echo", f"/webhooks/{token}", "/nowhere"):
        answer = await client.post(path, data=packed, headers={**JSON, "Content-Encoding": encoding})
        body = await answer.json()
        assert (answer.status, body["error"]) == (400, "bad_request"), path
        assert [detail["field"] for detail in body["details"]] == ["Content-Encoding"], path


async def test_a_body_that_says_it_is_not_packed_is_taken(client):
    answer = await client.post("/demo/echo", data=b"1", headers={**JSON, "Content-Encoding": "identity"})
    assert (await answer.json())["body"] == 1


async def test_a_refused_body_is_not_unpacked_either(client):
    """One that cannot be unpacked would break the connection."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"POST /demo/echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")
    writer.write(b"GET /demo/status/204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(30):
        answers = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b" 400 " in answers.splitlines()[0]
    assert b"HTTP/1.1 204 " in answers


async def test_while_a_large_body_is_parsed_other_calls_are_answered(client, parser):
    echoed = asyncio.create_task(client.post("/demo/echo", data=LARGE, headers=JSON))
    await eventually(lambda: parser.threads)
    assert (await client.get("/health")).status == 200
    parser.gate.set()
    assert len((await (await echoed).json())["body"]) == LARGE_BYTES


async def test_large_bodies_are_parsed_one_at_a_time(client, parser):
    echoed = [asyncio.create_task(client.post("/demo/echo", data=LARGE, headers=JSON)) for _ in range(3)]
    await eventually(lambda: len(client.app[PARSER]._waiters or ()) == 2)
    assert len(parser.threads) == 1
    parser.gate.set()
    assert [answer.status for answer in await asyncio.gather(*echoed)] == [200] * 3


async def test_a_small_body_is_parsed_where_it_came_in(client, parser):
    parser.gate.set()
    await client.post("/demo/echo", data=b"[]", headers=JSON)
    assert parser.threads == [threading.current_thread()]


async def test_a_large_body_is_checked_like_any_other(client, token):
    too_many = b"[" + b"[]," * MAX_MARKS + b"0]"
    for path in ("/api/workflows", "/demo/echo", f"/webhooks/{token}"):
        answer = await client.post(path, data=BytesIO(too_many), headers=JSON)
        assert (answer.status, (await answer.json())["error"]) == (413, "too_large"), path
    definition = {"nodes": [{"id": "a", "type": "noop", "config": {"x": "x" * LARGE_BYTES}}]}
    made = await client.post("/api/workflows", json={"name": "x", "definition": definition})
    assert (await made.json())["definition"]["nodes"][0]["config"] == {"x": "x" * LARGE_BYTES}
