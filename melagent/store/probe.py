"""A look at somebody else's PostgreSQL: whether it lets us in."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Literal

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 10.0

REFUSALS: Mapping[type[BaseException], str] = {
    asyncpg.InvalidPasswordError: "It refused the password.",
    asyncpg.InvalidAuthorizationSpecificationError: "It refused this role.",
    asyncpg.InvalidCatalogNameError: "It has no such database.",
    asyncpg.TooManyConnectionsError: "It has no free connection.",
    ssl.SSLCertVerificationError: "Its certificate is not valid for this host.",
    ssl.SSLError: "It does not speak TLS as it should.",
    ConnectionError: "It does not take connections, or ended this one; perhaps it does not offer TLS.",
    TimeoutError: f"It did not answer within {SECONDS:g} s.",
    OSError: "It cannot be reached.",
    asyncpg.PostgresError: "It refused the connection.",
    asyncpg.InterfaceError: "It is no PostgreSQL, or refused the connection.",
}
"""The first that fits counts. The server's own words are not passed on: they may hold what nobody should see."""

IS_THERE = "SELECT 1"


async def probe(
    address: str,
    host: str,
    port: int,
    *,
    database: str,
    user: str,
    password: str,
    security: Literal["verify", "tls", "none"],
) -> str | None:
    """Connect to `address`, which was resolved from `host`, and ask for a row. What is wrong; null when it answers."""
    try:
        conn = await asyncpg.connect(
            host=address, port=port, database=database, user=user, password=password, timeout=SECONDS,
            ssl=_context(host, security) or False, passfile="",
        )  # fmt: skip  # the driver's many parameters
        try:
            await conn.fetchval(IS_THERE, timeout=SECONDS)
        finally:
            await conn.close(timeout=SECONDS)
    except tuple(REFUSALS) as error:
        return next(words for kind, words in REFUSALS.items() if isinstance(error, kind))
    return None


def _context(host: str, security: str) -> ssl.SSLContext | None:
    if security == "none":
        return None
    context = _For(ssl.PROTOCOL_TLS_CLIENT)
    context.host = host
    if security == "verify":
        context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _For(ssl.SSLContext):
    """Asks for the certificate of a host, whatever address the connection goes to."""

    host: str

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*arguments, **{**options, "server_hostname": self.host})
