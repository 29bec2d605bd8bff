"""http_request against a real server on loopback, and http_response."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from melagent.net import guarded_session
from melagent.nodes.http_request import MAX_RESPONSE_BYTES
from melagent.registry import Registry
from melagent.sdk import NodeError


async def echo(request):
    body = await request.text()
    headers = {name.lower(): value for name, value in request.headers.items()}
    seen = {"method": request.method, "query": request.rel_url.raw_query_string, "headers": headers, "body": body}
    return web.json_response(seen, headers={"X-Answer": "yes"})


async def answer(request):
    kind = request.match_info["kind"]
    if kind.isdigit():
        return web.Response(status=int(kind), text="because")
    if kind == "slow":
        await asyncio.sleep(30)
    if kind == "away":
        raise web.HTTPFound("/echo")
    if kind == "loop":
        raise web.HTTPFound("/answer/loop")
    if kind == "inside":
        raise web.HTTPFound("http://10.0.0.1/")
    if kind == "bomb":
        packed = gzip.compress(b"\x00" * (MAX_RESPONSE_BYTES + 1))
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    if kind == "cut":
        request.transport.close()
    kinds = {
        "broken": ("{", "application/json"),
        "number": ("1", "application/problem+json"),
        "text": ('{"a": 1}', "text/plain"),
        "latin": ("é".encode("latin-1"), "text/plain; charset=latin-1"),
        "strange": ("é", "text/plain; charset=klingon"),
    }
    content, content_type = kinds[kind]
    body = content if isinstance(content, bytes) else content.encode()
    return web.Response(body=body, headers={"Content-Type": content_type})


@pytest.fixture
async def base():
    app = web.Application()
    app.router.add_route("*", "/echo", echo)
    app.router.add_route("*", "/answer/{kind}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def call(run_node, loopback_http, base):
    async def run(path="/echo", **config):
        return await run_node("http_request", {"url": base + path, **config}, http=loopback_http, input={"id": 7})

    return run


@pytest.fixture
def failure(call):
    async def run(path, **config) -> NodeError:
        with pytest.raises(NodeError) as caught:
            await call(path, **config)
        return caught.value

    return run


async def test_output_holds_status_headers_body_url_and_duration(call, base):
    output = await call()
    assert output["status"] == 200
    assert output["headers"]["x-answer"] == "yes"
    assert output["body"]["method"] == "GET"
    assert output["url"] == f"{base}/echo"
    assert output["duration_ms"] >= 0


async def test_query_headers_and_body_are_sent(call):
    output = await call(
        method="POST",
        query={"a": "x y", "list": [1, "b"], "yes": True, "nothing": None},
        headers={"X-Id": "{{ input.id }}"},
        body={"id": "{{ input.id }}", "text": "\x00é"},
    )
    seen = output["body"]
    assert seen["query"] == "a=x+y&list=1&list=b&yes=true"
    assert seen["headers"]["x-id"] == "7"
    assert seen["headers"]["content-type"] == "application/json"
    assert seen["body"] == '{"id":7,"text":"\\u0000é"}'


async def test_json_text_form_and_raw_bodies(call):
    as_text = (await call(method="POST", body='{"a": {{ input.id }}}'))["body"]
    assert (as_text["body"], as_text["headers"]["content-type"]) == ('{"a": 7}', "application/json")
    form = (await call(method="POST", bodyType="form", body={"a": "x y", "n": 1}))["body"]
    assert (form["body"], form["headers"]["content-type"]) == ("a=x+y&n=1", "application/x-www-form-urlencoded")
    raw = (await call(method="PUT", bodyType="raw", body="<a/>", headers={"Content-Type": "text/xml"}))["body"]
    assert (raw["body"], raw["headers"]["content-type"]) == ("<a/>", "text/xml")


async def test_get_sends_no_body(call):
    assert (await call(body={"a": 1}))["body"]["body"] == ""


@pytest.mark.parametrize(
    ("method", "key"), [("POST", "run-1:node"), ("DELETE", "run-1:node"), ("GET", None), ("OPTIONS", None)]
)
async def test_unsafe_methods_carry_an_idempotency_key(call, method, key):
    headers = (await call(method=method))["body"]["headers"]
    assert headers.get("idempotency-key") == key


async def test_idempotency_key_of_the_author_is_kept(call):
    headers = (await call(method="POST", headers={"Idempotency-Key": "mine"}))["body"]["headers"]
    assert headers["idempotency-key"] == "mine"


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
async def test_client_error_is_not_tried_again(failure, status):
    error = await failure(f"/answer/{status}")
    assert error.code == f"http_{status}"
    assert not error.retryable
    assert error.details["status"] == status
    assert error.details["body"] == "because"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
async def test_error_that_may_pass_is_tried_again(failure, status):
    error = await failure(f"/answer/{status}")
    assert error.code == f"http_{status}"
    assert error.retryable


async def test_any_status_can_be_accepted(call):
    assert (await call("/answer/404", failOnStatus=False))["status"] == 404


@pytest.mark.parametrize(
    ("kind", "response", "body"),
    [
        ("number", "auto", 1),
        ("number", "text", "1"),
        ("text", "auto", '{"a": 1}'),
        ("text", "json", {"a": 1}),
        ("broken", "auto", "{"),
        ("latin", "auto", "é"),
        ("strange", "auto", "é"),
    ],
)
async def test_body_is_read_as_asked(call, kind, response, body):
    assert (await call(f"/answer/{kind}", response=response))["body"] == body


async def test_body_that_is_not_json_is_an_error_when_json_was_asked_for(failure):
    error = await failure("/answer/broken", response="json")
    assert (error.code, error.retryable) == ("not_json", False)


async def test_redirects_are_followed_unless_they_must_not_be(call):
    assert (await call("/answer/away"))["url"].endswith("/echo")
    assert (await call("/answer/away", followRedirects=False))["status"] == 302


async def test_time_limit_ends_the_call(failure):
    error = await failure("/answer/slow", timeout=0.05)
    assert (error.code, error.retryable) == ("timeout", True)


async def test_response_that_unpacks_to_too_much_is_refused(failure):
    error = await failure("/answer/bomb")
    assert (error.code, error.retryable) == ("too_large", False)


async def test_lost_connection_is_tried_again(failure):
    error = await failure("/answer/cut")
    assert (error.code, error.retryable) == ("http_error", True)


@pytest.mark.parametrize("path", ["/answer/loop", "/answer/inside"])
async def test_redirect_that_leads_nowhere_good_is_not_tried_again(failure, path):
    error = await failure(path)
    assert (error.code, error.retryable) == ("http_error", False)


@pytest.mark.parametrize(
    "url", ["not a url", "ftp://host/", "http://", "file:///etc/passwd", "http://a..b/", "http://[::1"]
)
async def test_url_that_cannot_be_called_is_not_tried_again(run_node, loopback_http, url):
    with pytest.raises(NodeError) as caught:
        await run_node("http_request", {"url": url}, http=loopback_http)
    assert not caught.value.retryable


async def test_header_cannot_smuggle_another_one(failure):
    error = await failure("/echo", headers={"X-A": "b\r\nX-C: d"})
    assert not error.retryable


async def test_address_that_is_not_public_is_refused_for_good(run_node, base):
    async with guarded_session([]) as http:
        with pytest.raises(NodeError, match=r"security\.http_allow") as caught:
            await run_node("http_request", {"url": f"{base}/echo"}, http=http)
    assert not caught.value.retryable


@pytest.mark.parametrize("status", [101, 199, 600])
@pytest.mark.parametrize("type_id", ["http_response", "webhook"])
def test_status_that_is_no_answer_is_refused(type_id, status):
    fields = [problem.field for problem in Registry.builtin().get(type_id).problems({"statusCode": status})]
    assert fields == ["statusCode"]


async def test_answer_to_the_caller_has_status_headers_and_body(run_node):
    assert await run_node("http_response", {}, input={"a": 1}) == {"statusCode": 200, "headers": {}, "body": {"a": 1}}
    config = {"statusCode": "{{ input.a }}", "headers": {"X-A": "{{ input.a }}"}, "body": None}
    assert await run_node("http_response", config, input={"a": 201}) == {
        "statusCode": 201,
        "headers": {"X-A": "201"},
        "body": None,
    }
