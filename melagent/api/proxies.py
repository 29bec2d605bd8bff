"""Calls that come through a proxy: how and from where the client made them, when the proxy is one that is trusted."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

Networks = tuple[IPv4Network | IPv6Network, ...]


def as_sent(request: web.Request, trusted: Networks) -> web.Request:
    """The request with scheme, host and address as its client sent it, in so far as a trusted proxy tells them.

    Of several values the last counts, which the proxy next to us added; of addresses the last that is not a trusted
    proxy's. From anybody else these headers mean nothing: whoever calls can write into them what he likes.
    """
    if not trusted or not _within(request.remote or "", trusted):
        return request
    told: dict[str, Any] = {}
    if (scheme := _values(request, "X-Forwarded-Proto")[-1].lower()) in ("http", "https"):
        told["scheme"] = scheme
    if host := _values(request, "X-Forwarded-Host")[-1]:
        told["host"] = host
    if client := _client(_values(request, "X-Forwarded-For"), trusted):
        told["remote"] = client
    return request.clone(**told) if told else request


def _values(request: web.Request, name: str) -> list[str]:
    """The values of a header in their order, an empty one when there is none."""
    return [value.strip() for value in ",".join(request.headers.getall(name, [""])).split(",")]


def _client(addresses: Sequence[str], trusted: Networks) -> str:
    return next((each for each in reversed(addresses) if not _within(each, trusted)), addresses[0])


def _within(address: str, networks: Networks) -> bool:
    try:
        found = ip_address(address)
    except ValueError:  # a Unix socket, or no address at all
        return False
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found  # how an IPv4 client looks on a socket for both
    return any(found in network for network in networks)
