"""The guard against requests to addresses that are not public."""

from __future__ import annotations

import ipaddress
import socket

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from melagent.net import AddressRefused, guarded_session, is_public, parse_allowed

REFUSED = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"]


@pytest.fixture
async def server():
    async def hello(request):
        if target := request.query.get("to"):
            raise web.HTTPFound(target)
        return web.json_response(
            {"cookie": request.headers.get("Cookie"), "host": request.host}, headers={"Set-Cookie": "a=b"}
        )

    app = web.Application()
    app.router.add_get("/", hello)
    async with TestServer(app, host="127.0.0.1") as running:
        yield running


async def refusal(url: str, *allow: str) -> str:
    async with guarded_session(allow) as session:
        with pytest.raises(AddressRefused) as caught:
            await session.get(url, timeout=aiohttp.ClientTimeout(total=60))
        return str(caught.value)


@pytest.mark.parametrize("text", REFUSED)
def test_address_that_is_not_public_is_told_from_public_ones(text):
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_address_is_public(text):
    assert is_public(ipaddress.ip_address(text))


async def test_server_on_loopback_is_refused_and_told_how_to_allow(server):
    message = await refusal(str(server.make_url("/")))
    assert f"127.0.0.1:{server.port}" in message
    assert "security.http_allow" in message


async def test_name_that_resolves_to_a_private_address_is_refused(server):
    message = await refusal(f"http://localhost:{server.port}/")
    assert "localhost" in message


@pytest.mark.parametrize("host", ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[::1]", "0.0.0.0"])
async def test_other_spellings_of_loopback_are_refused(server, host):
    await refusal(f"http://{host}:{server.port}/")


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1", "0x7f.1", "0x7f000001"])
async def test_numeric_spellings_of_loopback_reach_nothing(server, host):
    async with guarded_session([]) as session:
        with pytest.raises((AddressRefused, aiohttp.ClientError)):
            await session.get(f"http://{host}:{server.port}/")


@pytest.mark.parametrize("entry", ["127.0.0.1:{port}", "127.0.0.1", "127.0.0.0/8", "localhost", "LOCALHOST:{port}"])
async def test_entry_of_the_allow_list_opens_what_it_names(server, entry):
    host = "localhost" if "localhost" in entry.lower() else "127.0.0.1"
    async with (
        guarded_session([entry.format(port=server.port)]) as session,
        session.get(f"http://{host}:{server.port}/") as response,
    ):
        assert response.status == 200


async def test_entry_with_a_port_opens_no_other_port(server):
    await refusal(f"http://127.0.0.1:{server.port}/", "127.0.0.1:1")


async def test_allowed_name_does_not_open_another_name_for_the_same_address(server):
    await refusal(f"http://127.0.0.1:{server.port}/", "localhost")


async def test_redirect_from_an_allowed_server_to_a_refused_address_is_refused(server):
    allowed = f"127.0.0.1:{server.port}"
    message = await refusal(f"http://{allowed}/?to=http://169.254.169.254/latest/meta-data", allowed)
    assert "169.254.169.254" in message


async def test_name_is_checked_anew_for_each_connection(server, monkeypatch):
    answers = iter(["127.0.0.1", "10.0.0.1"])

    async def resolve(self, host, port=0, family=socket.AF_INET):
        address = next(answers)
        return [{"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}]

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", resolve)
    async with guarded_session(["127.0.0.1"]) as session:
        url = f"http://rebinding.example:{server.port}/"
        async with session.get(url, headers={"Connection": "close"}) as response:
            assert response.status == 200
        session.connector.clear_dns_cache()
        with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
            await session.get(url)


async def test_environment_names_no_proxy_to_the_client(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with (
        guarded_session([f"127.0.0.1:{server.port}"]) as session,
        session.get(server.make_url("/")) as response,
    ):
        assert response.status == 200


async def test_cookies_of_one_call_are_not_sent_with_the_next(server):
    async with guarded_session(["127.0.0.1"]) as session:
        for _ in range(2):
            async with session.get(server.make_url("/")) as response:
                assert (await response.json())["cookie"] is None


@pytest.mark.parametrize(
    "entry", ["", "a b", "host:", "host:x", "host:0", "host:70000", "http://host", "10.0.0.0/99", "a:b:1"]
)
def test_malformed_entry_is_named_in_the_error(entry):
    with pytest.raises(ValueError, match="is not a host"):
        parse_allowed(entry)


def test_entries_for_ipv6_are_understood():
    address = ipaddress.ip_address("fd00::1")
    assert parse_allowed("fd00::/8").matches("x", address, 1)
    assert parse_allowed("[fd00::1]:80").matches("x", address, 80)
    assert not parse_allowed("[fd00::1]:80").matches("x", address, 81)
