"""Ids are UUIDv7: they sort by the time of their making, so a range of ids is a range of time."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID


def uuid7(unix_ms: int, random_bytes: bytes) -> UUID:
    """Build a UUID of version 7 (RFC 9562, section 5.7) from milliseconds since 1970 and 10 random bytes."""
    raw = bytearray(unix_ms.to_bytes(6, "big") + random_bytes)
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return UUID(bytes=bytes(raw))


def milliseconds_of(uuid: UUID) -> int:
    """The milliseconds since 1970 at which a UUIDv7 was made."""
    return uuid.int >> 80


def time_of(uuid: UUID) -> datetime:
    """The moment a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp(milliseconds_of(uuid) / 1000, UTC)
