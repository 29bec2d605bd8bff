"""Where a secret may be sent: origins, each a scheme, a host and a port.

Addresses are read by the library that the HTTP client reads them with, so that both mean the same host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from yarl import URL

WILDCARD = "*."
_HOST = re.compile(r"[a-z0-9_:-]+(\.[a-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Origin:
    """`host` is lower-case, in ASCII, without a dot at its end; that of an allowed origin may begin with `*.`."""

    scheme: str
    host: str
    port: int

    def covers(self, other: Origin) -> bool:
        """Whether what may be sent here may also be sent there. A wildcard stands for one or more labels."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.host.startswith(WILDCARD):
            return other.host.endswith(self.host[1:]) and len(other.host) > len(self.host) - 1
        return self.host == other.host

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def origin_of(url: URL | str) -> Origin:
    """The origin of an http or https address. Raises ValueError."""
    address = _read(url)
    if address.scheme not in ("http", "https") or not address.raw_host or address.port is None:
        raise ValueError("expected an address that begins with https:// or http://")
    return Origin(address.scheme, address.raw_host.lower().rstrip("."), address.port)


def allowed_origin(entry: str) -> Origin:
    """Read `api.example.com`, `*.example.com`, `api.example.com:8443`; `http://10.0.0.5:8080` for one without TLS.

    Raises ValueError that names the entry.
    """
    address = entry if "://" in entry else f"https://{entry}"
    try:
        url = _read(address)
        origin = origin_of(url)
    except ValueError:
        raise ValueError(_expected(entry)) from None
    host = origin.host.removeprefix(WILDCARD)
    spurious = url.user is not None or url.raw_path not in ("", "/") or "?" in entry or "#" in entry
    if spurious or not _HOST.fullmatch(host) or (host != origin.host and "." not in host):
        raise ValueError(_expected(entry))
    return origin


def covered(origin: Origin, allowed: list[Origin] | tuple[Origin, ...]) -> bool:
    """Whether one of the allowed origins covers this one."""
    return any(one.covers(origin) for one in allowed)


def _read(url: URL | str) -> URL:
    """Raises ValueError, where the library raises IndexError for `http://[::1]@`: aio-libs/yarl#1822."""
    try:
        return URL(url)
    except IndexError as error:
        raise ValueError("expected an address with a host") from error


def _expected(entry: str) -> str:
    return f"{entry[:200]!r} is no host such as api.example.com, *.example.com:8443 or http://10.0.0.5:8080"
