"""The guard for outgoing connections: which addresses a node may reach.

The address is checked when a connection is made, after the name was resolved, and the connection goes to the very
address that was checked. So neither a redirect, nor a name that resolves differently the second time, nor an unusual
spelling of an address gets past it. Whatever is not publicly routable is refused unless an entry allows it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.abc import ResolveResult
    from aiohttp.tracing import Trace

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_ENTRY = re.compile(r"(?P<host>[^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")


class AddressRefused(aiohttp.ClientConnectionError):
    """The address is private, or otherwise not for nodes to reach, and no entry of the allow list names it."""

    retryable: ClassVar[bool] = False
    """Read by nodes: trying again will not help."""

    def __init__(self, host: str, port: int, address: str) -> None:
        where = f"{host}:{port}" if host == address else f"{host}:{port} ({address})"
        super().__init__(f"{where} is not a public address; the setting security.http_allow can allow it")


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of the allow list: a host name or a network, and the port unless all ports are meant."""

    host: str | None
    network: Network | None
    port: int | None

    def matches(self, host: str, address: Address, port: int) -> bool:
        if self.port not in (None, port):
            return False
        return self.host == _normal(host) if self.network is None else address in self.network


def parse_allowed(entry: str) -> Allowed:
    """Read `host`, `host:port`, `10.0.0.0/8`, `10.0.0.1`, `10.0.0.1:80`, `fd00::/8` or `[fd00::1]:80`.

    Raises ValueError that names the entry.
    """
    if network := _network(entry):
        return Allowed(None, network, None)
    found = _ENTRY.fullmatch(entry)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or port == 0 or (port or 0) > 65535:
        raise ValueError(f"{entry!r} is not a host, host:port, address or network")
    network = _network(found["host"].strip("[]"))
    return Allowed(None if network else _normal(found["host"]), network, port)


def is_public(address: Address) -> bool:
    """Whether the whole internet may route to the address. An IPv4 address within one of IPv6 counts as itself."""
    address = _embedded(address)
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not isinstance(address, ipaddress.IPv6Address) or not (address.is_site_local or address in _NAT64_LOCAL)


def guarded_session(allow: Sequence[str]) -> aiohttp.ClientSession:
    """A client for nodes. Keeps no cookies, reads no proxy from the environment, refuses what is not allowed.

    `allow` holds entries as `parse_allowed` reads them. Must be called with a running loop; the caller closes it.
    """
    return aiohttp.ClientSession(
        connector=GuardedConnector([parse_allowed(entry) for entry in allow]),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


class GuardedConnector(aiohttp.TCPConnector):
    """Connects only to addresses that are public or allowed; raises AddressRefused otherwise."""

    def __init__(self, allowed: Sequence[Allowed]) -> None:
        super().__init__()
        self._allowed = allowed

    async def _resolve_host(self, host: str, port: int, traces: Sequence[Trace] | None = None) -> list[ResolveResult]:
        """The one step that every connection takes, with a name or a literal address, first request or redirect."""
        found = await super()._resolve_host(host, port, traces)
        permitted = [result for result in found if self._permits(host, result["host"], port)]
        if not permitted:
            raise AddressRefused(host, port, found[0]["host"] if found else host)
        return permitted

    def _permits(self, host: str, literal: str, port: int) -> bool:
        return _permits(self._allowed, host, literal, port)


async def pinned_address(host: str, port: int, allow: Sequence[str]) -> str:
    """An address of a host that may be connected to, for what is not HTTP; connect to it, not to the name.

    Raises AddressRefused, and OSError for a name that cannot be resolved.
    """
    loop, allowed = asyncio.get_running_loop(), [parse_allowed(entry) for entry in allow]
    found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    literals = [str(address[0]) for *_, address in found]
    for literal in literals:
        if _permits(allowed, host, literal, port):
            return literal
    raise AddressRefused(host, port, literals[0] if literals else host)


async def pinned_socket(host: str, port: int, allow: Sequence[str]) -> socket.socket:
    """A connection to a host that may be connected to. Raises AddressRefused and OSError; the caller closes it."""
    address = await pinned_address(host, port, allow)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
    try:
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of an answer. Raises ClientPayloadError when it is longer."""
    received = bytearray()
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > limit:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return bytes(received)


def _permits(allowed: Sequence[Allowed], host: str, literal: str, port: int) -> bool:
    try:
        address = _embedded(ipaddress.ip_address(literal))
    except ValueError:
        return False
    return is_public(address) or any(entry.matches(host, address, port) for entry in allowed)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64); any other address as it is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _normal(host: str) -> str:
    return host.lower().rstrip(".")
