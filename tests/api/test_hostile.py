"""Input that somebody might send to break things: the answer is fine or the caller's fault, never an error of ours."""

import asyncio
import json

import pytest

from melagent.services import node_tests

DEEP = (
    b'{"name":"x","definition":{"nodes":[{"id":"a","type":"noop","config":{"x":' + b"[" * 3000 + b"]" * 3000 + b"}}]}}"
)

BODIES = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "a number": b"1",
    "half an object": b'{"name":',
    "nan": b'{"name": NaN}',
    "infinity": b'{"name": 1e999}',
    "a lone surrogate": b'{"name": "\\ud800"}',
    "a lone surrogate in a key": b'{"\\udfff": 1, "name": "x"}',
    "bytes that are no text": b'{"name": "\xff\xfe"}',
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "nul in a name": b'{"name": "a\\u0000b"}',
    "nul in a description": b'{"name": "x", "description": "\\u0000"}',
    "nul in a key": b'{"name": "x", "\\u0000": 1}',
    "a deep body": DEEP,
    "many brackets": b"[" * 100_000,
    "a huge number": b'{"name": "x", "definition": {"nodes": [], "settings": {"priority": ' + b"9" * 5000 + b"}}}",
    "a negative huge number": b'{"revision": -99999999999999999999, "definition": {}, "name": "x"}',
    "a revision beyond 64 bits": b'{"revision": 9223372036854775808, "definition": {}}',
    "a huge exponent": b'{"name": "x", "definition": {"settings": {"timeout_seconds": 1e308}}}',
    "a node id of nul": b'{"name": "x", "definition": {"nodes": [{"id": "\\u0000", "type": "noop"}]}}',
    "a handle of controls": b'{"name": "x", "definition": {"edges": [{"source": "a", "source_handle": "\\n"}]}}',
    "the same key twice": b'{"name": "x", "name": "y"}',
    "a long name": b'{"name": "' + b"x" * 100_000 + b'"}',
    "sql": b'{"name": "\'; DROP TABLE workflows; --"}',
    "a prototype": b'{"__proto__": {"role": "admin"}, "constructor": 1, "name": "x"}',
    "numbers as texts": b'{"name": "x", "definition": {"settings": {"priority": "5"}}}',
    "a truth as a number": b'{"name": "x", "definition": {"settings": {"priority": true}}}',
    "wait as a text": b'{"wait_seconds": "1"}',
    "wait for ever": b'{"wait_seconds": 1e300}',
}


async def _connection(client):
    config = {"token": "s3cret-token", "allowed_hosts": ["a.example"]}
    body = {"name": "mine", "credential_type": "bearer", "config": config}
    return (await (await client.post("/api/connections", json=body)).json())["id"]


@pytest.fixture
async def targets(client, deploy, definition, monkeypatch):
    """Every route that takes a body, on things that exist."""
    monkeypatch.setattr(node_tests, "WAIT_SECONDS", 0.01)  # no worker is here
    workflow_id = await deploy()
    trigger = (await (await client.get("/api/triggers")).json())["triggers"][0]
    return [
        ("POST", "/api/workflows"),
        ("PUT", f"/api/workflows/{workflow_id}"),
        ("PUT", f"/api/workflows/{workflow_id}/draft"),
        ("POST", f"/api/workflows/{workflow_id}/draft/expressions/preview"),
        ("POST", f"/api/workflows/{workflow_id}/draft/nodes/done/test"),
        ("PUT", f"/api/workflows/{workflow_id}/draft/nodes/start/pinned"),
        ("POST", f"/api/workflows/{workflow_id}/nodes"),
        ("PUT", f"/api/workflows/{workflow_id}/nodes/start"),
        ("POST", f"/api/workflows/{workflow_id}/edges"),
        ("POST", f"/api/workflows/{workflow_id}/layout"),
        ("POST", f"/api/workflows/{workflow_id}/versions"),
        ("POST", f"/api/workflows/{workflow_id}/execute"),
        ("POST", "/api/workflow-runs"),
        ("POST", "/webhooks/" + trigger["webhook_url"].rsplit("/", 1)[1]),
        ("POST", "/demo/echo"),
        ("POST", "/api/tokens"),
        ("POST", "/api/users"),
        ("PUT", f"/api/users/{workflow_id}"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/setup"),
        ("POST", "/api/auth/password"),
        ("POST", "/api/variables"),
        ("PUT", "/api/variables/global/x"),
        ("POST", "/api/workflow-runs/purge"),
        ("POST", "/api/connections"),
        ("PUT", f"/api/connections/{await _connection(client)}"),
        ("POST", "/api/credential-types/bearer/test"),
    ]


async def test_no_body_is_too_strange_for_any_route(client, targets):
    for method, path in targets:
        for name, body in BODIES.items():
            answer = await client.request(method, path, data=body, headers={"Content-Type": "application/json"})
            text = await answer.text()
            assert answer.status < 500, (method, path, name, text)
            if answer.status >= 400:
                assert {"error", "message", "details", "request_id"} <= json.loads(text).keys(), (path, name)


@pytest.mark.parametrize(
    "name", ["nan", "a lone surrogate", "a deep body", "nul in a name", "nul in a description", "nul in a key", "null"]
)
async def test_what_cannot_be_kept_is_refused(client, name):
    answer = await client.post("/api/workflows", data=BODIES[name])
    assert answer.status == 400


async def test_values_of_any_kind_come_back_as_they_went_in(client):
    value = {
        "nul": "a\u0000b",
        "emoji": "😀",
        "deep": [[[[{"x": None}]]]],
        "min": -(2**63),
        "max": 2**64 - 1,
        "f": 1e-300,
    }
    definition = {"nodes": [{"id": "start", "type": "manual_trigger", "config": {"data": value}}]}
    made = await (await client.post("/api/workflows", json={"name": "x", "definition": definition})).json()
    assert made["definition"]["nodes"][0]["config"]["data"] == value
    body = {"name": "x", "definition": definition, "input": value}
    run = await (await client.post("/api/workflow-runs", json=body)).json()
    assert run["input"] == value


async def test_a_whole_number_beyond_64_bits_becomes_the_nearest_float(client):
    definition = {"nodes": [{"id": "start", "type": "manual_trigger"}]}
    body = {"name": "x", "definition": definition, "input": 2**70}
    run = await (await client.post("/api/workflow-runs", json=body)).json()
    assert run["input"] == float(2**70)


@pytest.mark.parametrize(
    "path", ["/%00", "/api/workflows/%00", "/api/node-types/%00", "/api/workflow-runs/%ff", "/x//", "/../x"]
)
async def test_no_path_is_too_strange(client, path):
    assert (await client.get(path)).status == 404


@pytest.mark.parametrize(
    "query",
    [
        "kind=%00",
        "kind=%ff",
        "kind=" + "x" * 5000,
        "limit=1&limit=2",
        "limit=9999999999999999999999",
        "%00=1",
        "cursor=%00",
    ],
)
async def test_no_query_is_too_strange(client, query):
    for path in ("/api/node-types", "/api/workflows", "/api/workflow-runs", "/api/triggers"):
        assert (await client.get(f"{path}?{query}")).status < 500, path


@pytest.mark.parametrize("key", ["ä", "x" * 7000, "mel_" + "0" * 43])
async def test_no_key_is_too_strange(client, key):
    answer = await client.get("/api/workflows", headers={"Authorization": f"Bearer {key}"})
    assert answer.status == 401


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/workflows HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 9_000 + b"\r\n\r\n",
        b"GET /api/workflows HTTP/1.1\r\nHost: x\r\n" + b"X-Many: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/workflows HTTP/1.1\r\nHost: x\r\nCookie: " + b"a=b; " * 3_000 + b"\r\n\r\n",
    ],
    ids=["a large header", "many headers", "a long address", "many cookies"],
)
async def test_the_head_of_a_call_is_limited_in_size_and_number(client, head):
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(head)
    await writer.drain()
    async with asyncio.timeout(30):
        assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert (await client.get("/health")).status == 200


STRANGE_COOKIES = ["mel_session=%00", "mel_session=" + "x" * 7000, "mel_session=\xff", "=;=;", "mel_session"]


@pytest.mark.parametrize("cookie", STRANGE_COOKIES, ids=range(5))
async def test_no_cookie_is_too_strange(serve, services, cookie):
    async with serve(services, key=None) as client:
        assert (await client.get("/api/workflows", headers={"Cookie": cookie})).status == 401


async def test_a_call_with_every_kind_of_strange_bytes_starts_a_webhooks_run(client, targets, pool):
    (path,) = [path for _, path in targets if path.startswith("/webhooks/")]
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"POST {path}/%ff/%00/%ED%A0%80?%ff=%00&a=%ED%A0%80 HTTP/1.1\r\nHost: x\r\n".encode())
    writer.write(b"X-Strange: \xff\x80\r\nContent-Type: text/\xff; charset=x\r\nContent-Length: 2\r\n\r\n\xff\x00")
    await writer.drain()
    async with asyncio.timeout(30):
        assert b" 202 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    run_id = await pool.fetchval("SELECT id FROM runs")
    run = await (await client.get(f"/api/workflow-runs/{run_id}")).json()
    assert run["input"]["body"]["base64"] == "/wA="
    assert "x-strange" in run["input"]["headers"]
