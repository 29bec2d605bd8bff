"""The guard seen by somebody who wants to get past it: odd spellings, names that change their answer, open connections.

127.0.0.1 stands for an address that is allowed, 127.0.0.2 for one that is not; a server listens on both.
"""

from __future__ import annotations

import ipaddress
import socket

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from melagent.net import AddressRefused, guarded_session, is_public, parse_allowed

ALLOWED, INSIDE = "127.0.0.1", "127.0.0.2"


@pytest.fixture
async def port():
    return unused_port()


@pytest.fixture
async def called(port):
    """What the two servers were asked for, as `address path`."""
    seen = []

    async def answer(request):
        seen.append(f"{request.transport.get_extra_info('sockname')[0]} {request.path}")
        return web.Response(text="hello")

    app, again = web.Application(), web.Application()
    app.router.add_get("/{any:.*}", answer)
    again.router.add_get("/{any:.*}", answer)
    async with TestServer(app, host=ALLOWED, port=port), TestServer(again, host=INSIDE, port=port):
        yield seen


@pytest.fixture
def resolves(monkeypatch):
    """Let names resolve to the addresses given, one list for each look-up."""

    def resolves(*answers):
        left = iter(answers)

        async def resolve(self, host, port=0, family=socket.AF_INET):
            return [
                {
                    "hostname": host,
                    "host": address,
                    "port": port,
                    "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                    "proto": 0,
                    "flags": socket.AI_NUMERICHOST,
                }
                for address in next(left)
            ]

        monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", resolve)

    return resolves


async def refused(url: str, *allow: str) -> None:
    async with guarded_session(allow) as session:
        with pytest.raises(AddressRefused):
            await session.get(url, timeout=aiohttp.ClientTimeout(total=30))


async def fetched(session, url: str, **options) -> None:
    async with session.get(url, timeout=aiohttp.ClientTimeout(total=30), **options) as response:
        assert await response.text() == "hello"


SPECIAL = {
    "the metadata server of Oracle": "192.0.0.192",
    "the virtual server of Azure": "168.63.129.16",
    "the metadata server of Alibaba": "100.100.100.200",
    "the credentials of a container of AWS": "169.254.170.2",
    "the metadata server of AWS in IPv6": "fd00:ec2::254",
    "the credentials of a pod of AWS in IPv6": "fd00:ec2::23",
    "the metadata server of Google in IPv6": "fd20:ce::254",
    "a metadata server as link-local IPv6": "fe80::a9fe:a9fe",
    "the first address of carrier-grade NAT": "100.64.0.0",
    "the last address of carrier-grade NAT": "100.127.255.255",
    "a relay of 6to4": "192.88.99.1",
    "the broadcast": "255.255.255.255",
    "a multicast": "224.0.0.251",
    "a multicast for all nodes": "ff02::1",
    "a multicast of global scope": "ff0e::1",
    "any address": "0.0.0.0",
    "another one of this network": "0.1.2.3",
    "any address in IPv6": "::",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped loopback with a zone": "::ffff:127.0.0.1%1",
    "mapped any address": "::ffff:0.0.0.0",
    "translated loopback": "::ffff:0:127.0.0.1",
    "compatible metadata": "::169.254.169.254",
    "6to4 of a private address": "2002:c0a8:0101::1",
    "NAT64 of metadata": "64:ff9b::169.254.169.254",
    "local NAT64": "64:ff9b:1::a9fe:a9fe",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "ORCHID": "2001:20::1",
    "ISATAP of a private address": "2606:4700::5efe:192.168.1.1",
    "ISATAP of a private address that is unique": "2606:4700::200:5efe:10.0.0.1",
    "documentation": "2001:db8::1",
    "documentation, the newer one": "3fff::1",
    "segment routing": "5f00::1",
    "what has not been given out": "4000::1",
    "dummy": "100::1",
    "a public address of one interface": "2606:4700:4700::1111%eth0",
    "loopback of one interface": "::1%lo",
    "link-local of one interface": "fe80::1%eth0",
}
PUBLIC = [
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "192.0.1.1",
    "168.63.129.17",
    "2001:4860:4860::8888",
    "2600::",
    "2606:4700::5efe:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", SPECIAL.values(), ids=SPECIAL)
def test_no_special_address_is_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_neighbours_of_special_addresses_are_public(address):
    assert is_public(ipaddress.ip_address(address))


SPELLINGS = [
    "localhost",
    "LOCALHOST",
    "ⓛocalhost",
    "127。0。0。2",
    "127\uff0e0\uff0e0\uff0e2",
    "①②⑦.⓪.⓪.②",
    "[::ffff:127.0.0.2]",
    "[::FFFF:7F00:2]",
    "[0:0:0:0:0:ffff:7f00:0002]",
    "[::127.0.0.2]",
    "[::]",
    "[::1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::1%25lo]",
    "[fe80::1%25lo]",
    "[64:ff9b::7f00:2]",
    "[2002:7f00:2::]",
    "0.0.0.0",
    "127.0.0.2",
    "example.com@127.0.0.2",
    "127.0.0.1:80@127.0.0.2",
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_however_a_private_address_is_spelled_it_is_refused(called, port, host):
    await refused(f"http://{host}:{port}/", "friend.example", "127.0.0.3")
    assert called == []


ODD = [
    "2130706434",
    "0x7f000002",
    "017700000002",
    "0x7f.0x0.0x0.0x2",
    "0177.0.0.02",
    "127.2",
    "127.0.2",
    "127.000.000.002",
    "127.0.0.2.",
    "localhost.",
    "127.0.0.2%00.example.com",
    "127.0.0.2%2eexample.com",
    "[127.0.0.2]",
]


@pytest.mark.parametrize("host", ODD)
async def test_odd_numbers_reach_nothing_whatever_the_resolver_makes_of_them(called, port, host):
    async with guarded_session([ALLOWED]) as session:
        with pytest.raises((aiohttp.ClientError, ValueError)):
            await session.get(f"http://{host}:{port}/", timeout=aiohttp.ClientTimeout(total=30))
    assert called == []


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "100.64.0.1", "169.254.169.254", "fd00:ec2::254", "::ffff:10.0.0.1", "fe80::1%1", "not one"]
)
async def test_a_name_may_resolve_to_no_private_address(resolves, address):
    resolves([address])
    await refused("http://inside.example/")


async def test_a_name_that_changes_its_answer_is_refused_though_it_was_fine_before(called, port, resolves):
    resolves([ALLOWED], [INSIDE])
    async with guarded_session([ALLOWED]) as session:
        await fetched(session, f"http://rebinding.example:{port}/a", headers={"Connection": "close"})
        session.connector.clear_dns_cache()
        with pytest.raises(AddressRefused):
            await session.get(f"http://rebinding.example:{port}/b")
    assert called == [f"{ALLOWED} /a"]


async def test_a_name_is_looked_up_once_for_a_connection_so_its_next_answer_comes_too_late(called, port, resolves):
    resolves([ALLOWED])  # a second look-up would be an error
    async with guarded_session([ALLOWED]) as session:
        await fetched(session, f"http://rebinding.example:{port}/")
    assert called == [f"{ALLOWED} /"]


@pytest.mark.parametrize("answer", [[INSIDE, ALLOWED], [ALLOWED, INSIDE], ["::1", INSIDE, ALLOWED, "10.0.0.1"]])
async def test_of_several_addresses_only_those_that_are_allowed_are_called(called, port, resolves, answer):
    resolves(answer, answer)
    async with guarded_session([ALLOWED]) as session:
        for _ in range(2):
            await fetched(session, f"http://both.example:{port}/", headers={"Connection": "close"})
            session.connector.clear_dns_cache()
    assert called == [f"{ALLOWED} /"] * 2


async def test_a_private_address_is_no_way_out_when_the_public_one_does_not_answer(called, port, resolves):
    resolves(["127.0.0.3", INSIDE])  # nobody listens on the first
    async with guarded_session(["127.0.0.3"]) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://both.example:{port}/")
    assert called == []


async def test_an_open_connection_is_not_used_for_another_name_of_its_address(called, port, resolves):
    resolves([ALLOWED], [ALLOWED])
    async with guarded_session(["friend.example"]) as session:
        await fetched(session, f"http://friend.example:{port}/")
        for host in ("stranger.example", ALLOWED):
            with pytest.raises(AddressRefused):
                await session.get(f"http://{host}:{port}/")
    assert called == [f"{ALLOWED} /"]


async def test_a_header_that_names_an_allowed_host_opens_nothing(called, port):
    async with guarded_session([ALLOWED, "friend.example"]) as session:
        with pytest.raises(AddressRefused):
            await session.get(f"http://{INSIDE}:{port}/", headers={"Host": "friend.example"})
    assert called == []


async def test_an_allowed_name_may_move_within_the_private_network(called, port, resolves):
    resolves([ALLOWED], [INSIDE])
    async with guarded_session([f"friend.example:{port}"]) as session:
        await fetched(session, f"http://friend.example:{port}/", headers={"Connection": "close"})
        session.connector.clear_dns_cache()
        await fetched(session, f"http://FRIEND.example.:{port}/")
    assert called == [f"{ALLOWED} /", f"{INSIDE} /"]


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"])
async def test_an_allowed_name_that_turns_to_the_metadata_of_a_cloud_is_refused(resolves, address):
    resolves([address])
    await refused("http://friend.example/", "friend.example")


@pytest.mark.parametrize("entry", ["169.254.169.254", "169.254.169.254:80", "169.254.169.0/24", "169.254.0.0/16"])
def test_metadata_is_opened_by_an_entry_for_just_that(entry):
    assert parse_allowed(entry).matches("x", ipaddress.ip_address("169.254.169.254"), 80)


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("0.0.0.0/0", "169.254.169.254"),
        ("169.0.0.0/8", "169.254.169.254"),
        ("100.64.0.0/10", "100.100.100.200"),
        ("fd00::/8", "fd00:ec2::254"),
        ("::/0", "fe80::1"),
        ("169.254.169.254:8080", "169.254.169.254"),
        ("169.254.169.253", "169.254.169.254"),
        ("::ffff:169.254.169.254", "169.254.169.254"),
    ],
)
def test_metadata_is_opened_by_no_entry_for_more_or_for_something_else(entry, address):
    assert not parse_allowed(entry).matches("x", ipaddress.ip_address(address), 80)


@pytest.mark.parametrize("entry", [f"{INSIDE}:1", "localhost:1", "127.0.0.3", "127.0.0.0/31", "[::1]", "local", "host"])
async def test_an_entry_opens_nothing_beside_what_it_names(called, port, entry):
    await refused(f"http://{INSIDE}:{port}/", entry)
    assert called == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"])
async def test_a_proxy_of_the_environment_is_no_way_inside(called, port, monkeypatch, name):
    monkeypatch.setenv(name, f"http://{ALLOWED}:{port}")
    for scheme in ("http", "https"):
        await refused(f"{scheme}://{INSIDE}:{port}/", ALLOWED)
    assert called == []


async def test_passwords_of_the_environment_go_nowhere(called, port, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text(f"machine {ALLOWED} login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with guarded_session([ALLOWED]) as session, session.get(f"http://{ALLOWED}:{port}/") as response:
        assert "Authorization" not in response.request_info.headers


async def test_a_web_socket_is_guarded_as_well(port):
    async with guarded_session([ALLOWED]) as session:
        with pytest.raises(AddressRefused):
            await session.ws_connect(f"ws://{INSIDE}:{port}/")
