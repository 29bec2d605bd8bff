"""What counts of the headers that proxies add, and from whom."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from melagent.api.proxies import as_sent

LOCAL = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.fixture
async def told():
    """What is known of a call with these headers, when those networks are trusted: scheme, host and address."""

    async def told(headers, trusted=LOCAL):
        async def handler(request):
            seen = as_sent(request, trusted)
            return web.json_response([seen.scheme, seen.host, seen.remote, (await seen.json())["body"]])

        app = web.Application()
        app.router.add_post("/", handler)
        async with TestClient(TestServer(app, host="127.0.0.1")) as client:
            answer = await client.post("/", json={"body": 1}, headers={"Host": "inside", **headers})
            *seen, body = await answer.json()
        assert body == 1, "the body is there as well"
        return seen

    return told


ALL = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "mel.example", "X-Forwarded-For": "198.51.100.7"}


async def test_a_trusted_proxy_tells_scheme_host_and_address_of_the_client(told):
    assert await told(ALL) == ["https", "mel.example", "198.51.100.7"]


@pytest.mark.parametrize("trusted", [(), (ip_network("10.0.0.0/8"),)], ids=["nobody", "somebody else"])
async def test_what_anybody_else_says_counts_for_nothing(told, trusted):
    assert await told(ALL, trusted) == ["http", "inside", "127.0.0.1"]


async def test_a_trusted_proxy_that_says_nothing_changes_nothing(told):
    assert await told({}) == ["http", "inside", "127.0.0.1"]


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("198.51.100.7, ::ffff:10.1.2.3, fd00::1", "198.51.100.7"),
        ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("unknown, 10.1.2.3", "unknown"),
    ],
)
async def test_the_client_is_the_last_address_that_is_no_trusted_proxy(told, sent, client):
    assert (await told({"X-Forwarded-For": sent}))[2] == client


async def test_of_several_schemes_and_hosts_the_last_counts_and_nonsense_does_not(told):
    assert (await told({"X-Forwarded-Proto": "http, HTTPS", "X-Forwarded-Host": "a, b"}))[:2] == ["https", "b"]
    assert (await told({"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": ""}))[:2] == ["http", "inside"]
