"""Whether a call was signed by who knows the secret: the schemes of providers, and one to be put together.

Everything here is pure: bytes, headers, secret and clock go in, a `Proof` comes out or `Unproven` is raised. Signatures
are compared in constant time, as bytes, and all of those that a header holds are compared whichever fits.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOLERANCE_SECONDS = 300.0
"""How far the time of a signature may lie from ours: the default of Stripe, Slack and Standard Webhooks."""

MAX_SIGNATURES = 20
"""More are no rotation of keys."""

_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)

Preset = Literal["github", "stripe", "slack", "standard_webhooks", "generic"]
Algorithm = Literal["sha256", "sha512", "sha1"]
Encoding = Literal["hex", "base64"]


class Unproven(Exception):
    """The signature does not show that the call is genuine. The message is for the owner, not for the caller."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A signature that fits. `signed_id` is the provider's id of the delivery, if the signature covers it.

    `dated` tells whether the time of the signature was checked: then a copy of it is of no use after a while.
    """

    signature: bytes
    dated: bool
    signed_id: str | None = None


class Scheme(Protocol):
    """A way of signing calls."""

    def prove(self, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Proof:
        """What the signature shows at the moment `now`, in seconds since 1970. Raises Unproven.

        `headers` must find a name in whatever case.
        """


@dataclass(frozen=True, slots=True)
class GitHub:
    """`X-Hub-Signature-256: sha256=<hex>` over the body. It has no time, and does not cover the delivery's id.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """

    def prove(self, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Proof:  # noqa: ARG002 - undated
        kind, _, text = _header(headers, "X-Hub-Signature-256").partition("=")
        given = _from_hex(text) if kind == "sha256" else None
        return Proof(_matching([given], hmac.digest(secret.encode(), body, "sha256")), dated=False)


@dataclass(frozen=True, slots=True)
class Stripe:
    """`Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]` over `<seconds>.<body>`; other versions do not count.

    https://docs.stripe.com/webhooks/signature#verify-manually
    """

    tolerance_seconds: float = TOLERANCE_SECONDS

    def prove(self, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Proof:
        parts = [part.strip().partition("=") for part in _header(headers, "Stripe-Signature").split(",")]
        time = next((value for name, _, value in parts if name == "t"), "")
        _check_time(time, now, self.tolerance_seconds)
        given = [_from_hex(value) for name, _, value in parts if name == "v1"]
        expected = hmac.digest(secret.encode(), f"{time}.".encode() + body, "sha256")
        return Proof(_matching(given, expected), dated=True)


@dataclass(frozen=True, slots=True)
class Slack:
    """`X-Slack-Signature: v0=<hex>` over `v0:<X-Slack-Request-Timestamp>:<body>`.

    https://docs.slack.dev/authentication/verifying-requests-from-slack
    """

    tolerance_seconds: float = TOLERANCE_SECONDS

    def prove(self, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Proof:
        time = _header(headers, "X-Slack-Request-Timestamp")
        _check_time(time, now, self.tolerance_seconds)
        version, _, text = _header(headers, "X-Slack-Signature").partition("=")
        given = _from_hex(text) if version == "v0" else None
        expected = hmac.digest(secret.encode(), f"v0:{time}:".encode() + body, "sha256")
        return Proof(_matching([given], expected), dated=True)


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """`webhook-signature: v1,<base64>[ v1,<base64>…]` over `<webhook-id>.<webhook-timestamp>.<body>`.

    The secret is `whsec_` and the key in base64.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    tolerance_seconds: float = TOLERANCE_SECONDS

    def prove(self, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Proof:
        identity, time = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
        _check_time(time, now, self.tolerance_seconds)
        key = _from_base64(secret.removeprefix("whsec_"))
        if not key:
            raise Unproven("The secret is not `whsec_` and base64.")
        parts = [part.partition(",") for part in _header(headers, "webhook-signature").split(" ")]
        given = [_from_base64(value) for version, _, value in parts if version == "v1"]
        signed = f"{identity}.{time}.".encode("utf-8", "surrogateescape") + body
        return Proof(_matching(given, hmac.digest(key, signed, "sha256")), dated=True, signed_id=identity)


@dataclass(frozen=True, slots=True)
class Generic:
    """A header with an HMAC over the body; where `time_header` is set, over `<its value>.<body>`.

    `prefix` is what stands before the signature in its header.
    """

    header: str
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    time_header: str = ""
    tolerance_seconds: float = TOLERANCE_SECONDS

    def prove(self, secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Proof:
        text = _header(headers, self.header)
        if not text.startswith(self.prefix):
            raise Unproven(f"The signature does not begin with {self.prefix!r}.")
        read = _from_hex if self.encoding == "hex" else _from_base64
        signed = body
        if self.time_header:
            time = _header(headers, self.time_header)
            _check_time(time, now, self.tolerance_seconds)
            signed = f"{time}.".encode() + body
        expected = hmac.digest(secret.encode(), signed, self.algorithm)
        return Proof(_matching([read(text[len(self.prefix) :])], expected), dated=bool(self.time_header))


def same(given: str, expected: str) -> bool:
    """Whether two texts are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape"))


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise Unproven(f"The header {name} is missing.")
    return value


def _check_time(text: str, now: float, tolerance_seconds: float) -> None:
    if not _SECONDS.fullmatch(text):
        raise Unproven("The time of the signature is not a number of seconds since 1970.")
    if abs(now - int(text)) > tolerance_seconds:
        raise Unproven(f"The signature was made more than {tolerance_seconds:g} s ago, or will be.")


def _matching(given: Iterable[bytes | None], expected: bytes) -> bytes:
    """The expected signature, if one of those given is it. All are compared, so that time tells nothing."""
    candidates = list(given)
    if len(candidates) > MAX_SIGNATURES:
        raise Unproven(f"There are more than {MAX_SIGNATURES} signatures.")
    if sum(hmac.compare_digest(candidate or b"", expected) for candidate in candidates):
        return expected
    raise Unproven("The signature does not fit the body and the secret.")


def _from_hex(text: str) -> bytes | None:
    return bytes.fromhex(text) if _HEX.fullmatch(text) else None


def _from_base64(text: str) -> bytes | None:
    """The bytes, with or without padding at the end."""
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
