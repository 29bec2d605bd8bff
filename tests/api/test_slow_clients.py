"""Clients that take their time, most of them on purpose: others are answered meanwhile, and the connection is ended.

Times that are minutes elsewhere are fractions of a second here.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from melagent.api import patience, webhooks
from melagent.api.app import build_app
from melagent.api.wire import MAX_BODY_BYTES

SECONDS, LINGERING_SECONDS, PATIENCE_SECONDS = 0.3, 0.1, 30
KEY = "the-bootstrap-key-of-the-tests"
MANY = 100


@pytest.fixture
async def address(services, monkeypatch):
    """Of an instance that is in a hurry."""
    monkeypatch.setattr(patience, "BODY_SECONDS", SECONDS)
    server = TestServer(build_app(replace(services, keepalive_seconds=SECONDS)))
    await server.start_server(lingering_time=LINGERING_SECONDS)
    yield server.host, server.port
    await server.close()


@pytest.fixture
async def other(address):
    """A client like any other, at the same instance."""
    host, port = address
    async with aiohttp.ClientSession(f"http://{host}:{port}", headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


@asynccontextmanager
async def connection(address):
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield reader, writer
    finally:
        writer.close()


async def drip(reader, writer, data):
    """Send one byte after the other, and `x` without end after them, until the other side ends the connection.

    Returns what it said before that.
    """

    async def send():
        for byte in data:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.005)

    sending, said = asyncio.ensure_future(send()), bytearray()
    try:
        while part := await reader.read(65536):
            said += part
    except ConnectionResetError:
        pass
    finally:
        sending.cancel()
    return bytes(said)


def head(method, path, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def hook(other, **config):
    nodes = [{"id": "hook", "type": "webhook", "config": {"method": "POST", **config}}]
    made = await (await other.post("/api/workflows", json={"name": "x", "definition": {"nodes": nodes}})).json()
    await other.post(f"/api/workflows/{made['id']}/versions", json={"name": "first"})
    await other.post(f"/api/workflows/{made['id']}/versions/latest/deploy")
    triggers = (await (await other.get("/api/triggers")).json())["triggers"]
    return "/webhooks/" + triggers[0]["webhook_url"].rsplit("/", 1)[1]


SLOW_HEADS = {
    "a path": b"GET /" + b"a" * 20,
    "a header": b"GET / HTTP/1.1\r\nX-A: ",
    "headers": b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 5,
}


@pytest.mark.parametrize("name", SLOW_HEADS)
async def test_a_head_that_comes_byte_by_byte_ends_the_connection(address, name):
    async with connection(address) as (reader, writer):
        assert await drip(reader, writer, SLOW_HEADS[name]) == b""


async def test_a_client_that_says_nothing_is_not_kept(address):
    async with connection(address) as (reader, _):
        assert await reader.read() == b""


async def test_a_slow_head_on_a_connection_that_was_used_ends_it_as_well(address):
    async with connection(address) as (reader, writer):
        writer.write(head("GET", "/health"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1" not in await drip(reader, writer, b"GET / HTTP/1.1\r\nX-A: ")


async def test_a_connection_that_is_used_again_in_time_is_kept(address):
    async with connection(address) as (reader, writer):
        ends = time.monotonic() + 3 * SECONDS
        while time.monotonic() < ends:
            writer.write(head("GET", "/nowhere"))
            answer = await reader.readuntil(b"}")
            assert b" 404 " in answer
            await asyncio.sleep(SECONDS / 10)


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/workflows"),
        ("POST", "/api/workflow-runs"),
        ("PUT", "/api/variables/global/x"),
        ("POST", "/demo/echo"),
        ("POST", "webhook"),
    ],
)
async def test_a_body_that_comes_byte_by_byte_is_refused_and_ends_the_connection(address, other, method, path, framing):
    path = await hook(other) if path == "webhook" else path
    start = b"ffffff\r\n{" if "chunked" in framing else b"{"
    async with connection(address) as (reader, writer):
        writer.write(head(method, path, f"Authorization: Bearer {KEY}", framing, "Idempotency-Key: slow"))
        answer = await drip(reader, writer, start)
    first, _, rest = answer.partition(b"\r\n")
    assert first == b"HTTP/1.1 408 Request Timeout"
    body = json.loads(rest.partition(b"\r\n\r\n")[2])
    assert (body["error"], body["details"]) == ("too_slow", [])


async def test_a_slow_body_of_a_call_that_is_refused_anyway_ends_the_connection(address):
    for path in ("/api/workflows", "/nowhere"):
        async with connection(address) as (reader, writer):
            writer.write(head("POST", path, "Content-Length: 1000000"))
            assert (await drip(reader, writer, b"{"))[9:12] in (b"401", b"404")


async def test_a_call_whose_body_is_given_up_leaves_nothing_and_may_be_repeated(address, other, pool):
    key = {"Idempotency-Key": "again"}
    async with connection(address) as (reader, writer):
        writer.write(
            head(
                "POST", "/api/workflows", f"Authorization: Bearer {KEY}", "Content-Length: 99", "Idempotency-Key: again"
            )
        )
        await drip(reader, writer, b"{")
    assert await pool.fetchval("SELECT count(*) FROM workflows") == 0
    assert (await other.post("/api/workflows", json={"name": "x"}, headers=key)).status == 201


async def test_a_body_in_pieces_is_taken_when_it_is_whole_in_time(address):
    async with connection(address) as (reader, writer):
        writer.write(head("POST", "/demo/echo", "Content-Length: 9", "Content-Type: application/json"))
        for byte in b'{"a": 12}':
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_the_time_for_a_body_is_over_when_it_is_there(address, other, monkeypatch):
    """However long the answer takes then: here a workflow's, for which there is no worker."""
    monkeypatch.setattr(webhooks, "WAIT_SECONDS", 3 * SECONDS)
    path = await hook(other, mode="sync")
    async with connection(address) as (reader, writer):
        writer.write(head("POST", path, "Content-Length: 2", "Content-Type: application/json"))
        writer.write(b"{")
        await writer.drain()
        await other.get("/health")  # the head has been read meanwhile
        writer.write(b"}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 504")


async def test_others_are_answered_while_many_are_slow(address, other):
    async def slow(data):
        async with connection(address) as (reader, writer):
            await drip(reader, writer, data)

    body = head("POST", "/demo/echo", "Content-Length: 1000000") + b"{"
    async with asyncio.TaskGroup() as clients:
        slow_ones = [clients.create_task(slow(body if number % 2 else b"GET /")) for number in range(MANY)]
        answered = 0
        while not all(task.done() for task in slow_ones):
            assert (await other.get("/health")).status == 200
            answered += 1
    assert answered > 10


async def test_a_body_of_chunks_is_limited_as_one_that_says_its_size(address):
    async with connection(address) as (reader, writer):
        writer.write(head("POST", "/demo/echo", "Transfer-Encoding: chunked"))
        writer.write(b"%x\r\n" % (MAX_BODY_BYTES + 1) + b"x" * (MAX_BODY_BYTES + 1) + b"\r\n0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")


HOSTILE_FRAMING = {
    "a chunk without end of its size": b"1" * 20_000,
    "a chunk that is no number": b"zz\r\n",
    "a negative chunk": b"-1\r\n",
    "more than was said": b"1\r\nxx\r\n",
    "many trailers": b"0\r\n" + b"X-A: b\r\n" * 1_000 + b"\r\n",
    "a large trailer": b"0\r\nX-A: " + b"x" * 20_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE_FRAMING)
async def test_chunks_that_are_none_are_the_fault_of_the_caller(address, name):
    async with connection(address) as (reader, writer):
        writer.write(head("POST", "/demo/echo", "Transfer-Encoding: chunked") + HOSTILE_FRAMING[name])
        assert b" 400 " in await reader.readline()


async def test_an_extension_of_a_chunk_that_never_ends_is_refused_like_a_slow_body(address):
    async with connection(address) as (reader, writer):
        writer.write(head("POST", "/demo/echo", "Transfer-Encoding: chunked") + b"1;" + b"x" * 100_000)
        assert b" 408 " in (await drip(reader, writer, b"y")).partition(b"\r\n")[0]


async def test_one_request_hidden_in_another_is_refused(address):
    async with connection(address) as (reader, writer):
        writer.write(head("POST", "/demo/echo", "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
        writer.write(head("GET", "/health"))
        answer = await reader.read()
    assert answer.count(b"HTTP/1.") == 1
    assert b" 400 " in answer.partition(b"\r\n")[0]
