"""The load generator must notice every wrong answer: a benchmark that cannot fail measures nothing."""

import pytest
from aiohttp import web

from benchmarks.load import load

SECONDS = 0.1


@pytest.fixture
def answering(aiohttp_server):
    """A server that answers each call with what a function makes of its number; the calls are counted."""

    async def start(answer):
        async def handle(request):
            served.calls += 1
            return answer((await request.json())["n"])

        app = web.Application()
        app.router.add_post("/call", handle)
        served = await aiohttp_server(app)
        served.calls = 0
        return served

    return start


def doubled(n):
    return web.json_response({"body": {"total": 2 * n}})


async def test_every_call_is_answered_and_counted(answering):
    server = await answering(doubled)
    figures = await load(str(server.make_url("/call")), "body.total", connections=5, seconds=SECONDS)
    assert figures["faults"] == {}
    assert figures["answers"] == server.calls > 5
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["max_ms"]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda n: web.json_response({"body": {"total": 2 * n + 1}}), "wrong value"),
        (lambda _: web.json_response({"body": {}}), "field missing"),
        (lambda _: web.Response(text="hello"), "field missing"),
        (lambda n: web.json_response({"body": {"total": 2 * n}}, status=202), "status 202"),
        (lambda _: web.json_response({}, status=500), "status 500"),
    ],
)
async def test_a_wrong_answer_is_a_fault(answering, answer, fault):
    server = await answering(answer)
    figures = await load(str(server.make_url("/call")), "body.total", connections=2, seconds=SECONDS)
    assert figures["answers"] == 0
    assert figures["faults"] == {fault: server.calls}


async def test_a_connection_that_the_server_closes_is_a_fault(answering):
    def closed(n):
        response = doubled(n)
        response.force_close()
        return response

    server = await answering(closed)
    figures = await load(str(server.make_url("/call")), "body.total", connections=2, seconds=SECONDS)
    assert figures["faults"] == {"connection lost": 2}
