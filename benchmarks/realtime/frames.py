"""What a WebSocket client needs of RFC 6455, and no more than costs nothing."""

from __future__ import annotations

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FINAL = 0x80
NO_MASK = b"\0\0\0\0"
"""Clients have to mask what they send; this mask changes nothing, and costs a server what any other does."""

LONG, VERY_LONG = 126, 127


def upgrade(host: str, path: str, headers: dict[str, str]) -> bytes:
    """The request that opens a socket."""
    lines = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in (lines | headers).items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def sent(opcode: int, payload: bytes) -> bytes:
    """A whole message of a client; at most 65,535 bytes."""
    size = len(payload)
    if size < LONG:
        return bytes((FINAL | opcode, 0x80 | size)) + NO_MASK + payload
    return bytes((FINAL | opcode, 0x80 | LONG)) + size.to_bytes(2, "big") + NO_MASK + payload


def bounds(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the server's frame at `at` begins and ends; null when its head is not whole yet."""
    if len(data) < at + 2:
        return None
    size, start = data[at + 1], at + 2
    if size == LONG:
        start += 2
        size = int.from_bytes(data[at + 2 : start], "big")
    elif size == VERY_LONG:
        start += 8
        size = int.from_bytes(data[at + 2 : start], "big")
    return (start, start + size) if len(data) >= start else None
