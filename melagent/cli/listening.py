"""Where an instance listens, and how it stops to without breaking a connection."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from contextlib import suppress

LOOPBACK_OF = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # translated, not bound
"""By which address this machine reaches what listens on all of them. IPv6 does not take in IPv4."""

ATTACH_FILTER = 26
"""SO_ATTACH_FILTER of Linux, which the `socket` module does not name."""

DROP_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags of the TCP header
        (0x45, 0, 1, 0x02),  # is it a SYN?
        (0x06, 0, 0, 0),  # then drop it,
        (0x06, 0, 0, 0xFFFFFFFF),  # else let it pass
    )
)
"""A classic BPF program, see packet-filtering in the documentation of Linux."""


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything is told the port; OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=1024)
    listening.setblocking(False)  # noqa: FBT003  # the standard library takes it by position
    return listening


def begin_no_more(listening: socket.socket) -> None:
    """Let the kernel ignore who wants to connect from now on; whoever is connected can still be accepted.

    To close a listening socket resets the connections that have not been accepted yet. Their callers may have sent a
    request already, and a proxy never repeats a POST: it would fail. Whoever is ignored tries again a second later,
    finds the port closed, and goes elsewhere. Only Linux can do this; on other systems nothing happens.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(DROP_SYN, len(DROP_SYN))
    pointer = struct.pack("@HP", len(DROP_SYN) // 8, ctypes.addressof(program))
    with suppress(OSError):  # a sandbox that only looks like Linux
        listening.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, pointer)
