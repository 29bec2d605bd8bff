"""Limits on attempts to sign in, over all instances.

An attempt counts for its address and for the account that it names, and comes back after a while; one that succeeds
does not count. A browser that has signed in before holds a device token for that account and has a limit of its own, so
whoever uses up an account's attempts from elsewhere does not keep its owner out.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from melagent.errors import RateLimited
from melagent.store import server_keys, sign_in_attempts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from melagent.store.pool import Pool

SLOT_BITS = 20
KEY_NAME = "sign-in"
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Limit:
    """So many attempts at once, and one more each time that `seconds` have passed."""

    kind: str
    attempts: int
    seconds: float


ACCOUNT = Limit("account", 10, 60.0)
DEVICE = Limit("device", 10, 60.0)
ADDRESS = Limit("address", 30, 10.0)
"""An address may be that of a whole office."""

Slot = tuple[Limit, int]


class Throttle:
    """What was taken is given back by `succeeded`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._key: bytes | None = None

    async def take(self, email: str, address: str, device_token: str | None) -> Sequence[Slot]:
        """Count an attempt. Raises RateLimited when there were too many; then no password needs to be looked at."""
        key = await self._shared_key()
        return await self._take(self._slots(key, email, address, device_token))

    async def take_again(self, session_token: str) -> Sequence[Slot]:
        """Count an attempt of somebody who is signed in, and says the password once more. Raises as `take`."""
        return await self._take([(DEVICE, _slot(await self._shared_key(), DEVICE, session_token))])

    async def _take(self, slots: Sequence[Slot]) -> Sequence[Slot]:
        for limit, slot in slots:
            async with self._pool.acquire() as conn:
                wait = await sign_in_attempts.take(conn, slot, limit.seconds, limit.attempts)
            if wait is not None:
                raise RateLimited(wait, "There were too many attempts to sign in; try again later.")
        return slots

    async def succeeded(self, taken: Sequence[Slot]) -> None:
        """Give back what a successful attempt has taken, and no more: others still guess at the same address."""
        async with self._pool.acquire() as conn:
            for limit, slot in taken:
                await sign_in_attempts.give_back(conn, slot, limit.seconds)

    async def device_token(self, email: str) -> str:
        """A token for a browser that has just signed in to this account."""
        nonce = secrets.token_bytes(TOKEN_BYTES)
        return _text(nonce + _signature(await self._shared_key(), email, nonce))

    @staticmethod
    def _slots(key: bytes, email: str, address: str, device_token: str | None) -> list[Slot]:
        nonce = _nonce(key, email, device_token)
        if nonce is not None:
            return [(DEVICE, _slot(key, DEVICE, _text(nonce)))]
        return [(ADDRESS, _slot(key, ADDRESS, network_of(address))), (ACCOUNT, _slot(key, ACCOUNT, email))]

    async def _shared_key(self) -> bytes:
        if self._key is None:
            async with self._pool.acquire() as conn:
                self._key = await server_keys.shared(conn, KEY_NAME, secrets.token_bytes(32))
        return self._key


def _nonce(key: bytes, email: str, device_token: str | None) -> bytes | None:
    """What a device token is known by, when it is one of this account."""
    try:
        sent = base64.urlsafe_b64decode((device_token or "") + "==")
    except ValueError:
        return None
    nonce, signature = sent[:TOKEN_BYTES], sent[TOKEN_BYTES:]
    return nonce if hmac.compare_digest(signature, _signature(key, email, nonce)) else None


def _signature(key: bytes, email: str, nonce: bytes) -> bytes:
    return hmac.digest(key, b"device\0" + nonce + email.encode("utf-8", "replace"), "sha256")


def _slot(key: bytes, limit: Limit, subject: str) -> int:
    """The row that counts for a subject. Two that share one share a limit; without the key nobody can find such two."""
    digest = hmac.digest(key, f"{limit.kind}\0{subject}".encode("utf-8", "replace"), "sha256")
    return int.from_bytes(digest[:4]) >> (32 - SLOT_BITS)


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the 64 bits that one customer is given (RFC 6177)."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return str(found)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
