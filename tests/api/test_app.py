"""What surrounds every call: ids, headers, error bodies, limits."""

from io import BytesIO

import pytest

from melagent.api import health
from melagent.api.wire import MAX_BODY_BYTES


async def error_of(answer):
    body = await answer.json()
    assert {"error", "message", "details", "request_id"} <= body.keys()
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return answer.status, body["error"]


async def test_a_sane_request_id_is_taken_over(client):
    answer = await client.get("/health", headers={"X-Request-Id": "abc-1.2:3"})
    assert answer.headers["X-Request-Id"] == "abc-1.2:3"


@pytest.mark.parametrize("sent", ["a b", "x" * 129, "<script>", ""])
async def test_any_other_request_id_is_replaced(client, sent):
    answer = await client.get("/health", headers={"X-Request-Id": sent})
    assert answer.headers["X-Request-Id"] not in ("", sent)


async def test_every_answer_names_the_instance_and_forbids_sniffing(client):
    for path in ("/health", "/nowhere", "/api/workflows"):
        answer = await client.get(path)
        assert answer.headers["X-Mel-Instance"] == "test-instance"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_server_timing_is_sent_only_when_asked_for(client):
    assert "Server-Timing" not in (await client.get("/health")).headers
    assert "total;dur=" in (await client.get("/health", headers={"X-Debug": "true"})).headers["Server-Timing"]


async def test_an_unknown_address_has_the_error_body(client):
    assert await error_of(await client.get("/nowhere")) == (404, "not_found")


async def test_a_wrong_method_says_which_are_allowed(client):
    answer = await client.delete("/health")
    assert await error_of(answer) == (405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


async def test_a_missing_or_wrong_key_is_unauthenticated(client):
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
        answer = await client.get("/api/workflows", headers=headers)
        assert await error_of(answer) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_may_come_as_x_api_key(serve, services):
    async with serve(services, key=None) as client:
        answer = await client.get("/api/workflows", headers={"X-API-Key": services.bootstrap_key})
        assert answer.status == 200


async def test_without_a_bootstrap_key_an_empty_key_opens_nothing(serve, services):
    from dataclasses import replace

    async with serve(replace(services, bootstrap_key=""), key=None) as client:
        for headers in ({"X-API-Key": ""}, {"Authorization": "Bearer "}):
            assert (await client.get("/api/workflows", headers=headers)).status == 401


async def test_a_body_above_ten_mebibytes_is_too_large(client):
    answer = await client.post("/api/workflows", data=BytesIO(b" " * (MAX_BODY_BYTES + 1)))
    assert await error_of(answer) == (413, "too_large")


async def test_a_body_that_is_not_encoded_as_it_says_is_a_bad_request(client):
    answer = await client.post("/api/workflows", data=b"not gzip", headers={"Content-Encoding": "gzip"})
    assert await error_of(answer) == (400, "bad_request")


async def test_every_problem_of_a_body_is_listed_with_its_path(client):
    body = {
        "description": 5,
        "colour": "red",
        "definition": {"nodes": [{"id": "a", "type": "noop", "retry": {"max_attempts": 0}}, {"id": "b"}]},
    }
    answer = await client.post("/api/workflows", json=body)
    fields = {detail["field"] for detail in (await answer.json())["details"]}
    assert fields == {
        "name", "description", "colour", "definition.nodes[0].retry.max_attempts", "definition.nodes[1].type",
    }  # fmt: skip


async def test_an_error_of_our_own_shows_nothing_of_its_inside(client, monkeypatch, capsys):
    async def broken(_services):
        raise RuntimeError("SELECT secret FROM canary")

    monkeypatch.setattr(health, "_database", broken)
    answer = await client.get("/ready")
    assert await error_of(answer) == (500, "internal")
    assert "canary" not in await answer.text()


async def test_a_statement_that_fails_shows_neither_sql_nor_the_drivers_words(client, pool):
    await pool.execute("ALTER TABLE workflows RENAME TO hidden")
    answer = await client.get("/api/workflows")
    assert await error_of(answer) == (500, "internal")
    assert "relation" not in await answer.text()


async def test_a_database_that_is_away_is_unavailable(client, pool):
    await pool.close()
    assert await error_of(await client.get("/api/workflows")) == (503, "unavailable")


async def test_open_pages_answer_head(client):
    answer = await client.head("/health")
    assert (answer.status, await answer.read()) == (200, b"")


async def test_the_document_and_its_page_need_nothing_from_outside(client):
    api = await (await client.get("/api/openapi.json")).json()
    assert api["openapi"] == "3.1.0"
    page = await (await client.get("/api/docs")).text()
    assert "openapi.json" in page
    assert "http://" not in page
    assert "https://" not in page


async def test_raw_garbage_does_not_hurt_the_server(client):
    import asyncio

    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"\x00\xff\r\n\r\n")
    await writer.drain()
    async with asyncio.timeout(30):
        assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert (await client.get("/health")).status == 200


async def test_a_query_that_does_not_fit_is_a_bad_request(client):
    for query in ("limit=0", "limit=101", "limit=x", "cursor=nope", "colour=red"):
        answer = await client.get(f"/api/workflows?{query}")
        assert await error_of(answer) == (400, "bad_request"), query
