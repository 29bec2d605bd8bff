"""Hashes, encodes and decodes texts, and makes random bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from melagent.sdk import Field, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.config import JsonDict

Encoding = Literal["hex", "base64", "base64url"]

_TEXT: JsonDict = {"x-visible-if": "operation != 'random_bytes'"}
_HASH: JsonDict = {"x-visible-if": "operation == 'hash'"}
_RANDOM: JsonDict = {"x-visible-if": "operation == 'random_bytes'"}


class CryptoParams(Params):
    operation: Literal["hash", "encode", "decode", "random_bytes"] = Field(
        default="hash",
        description="hash, encode and random_bytes give encoded text, decode gives the text that was encoded",
    )
    value: str | None = Field(default=None, description="The text; it is read as UTF-8", json_schema_extra=_TEXT)
    algorithm: Literal["sha256", "sha384", "sha512", "sha1", "md5"] = Field(
        default="sha256",
        description="Hash function; sha1 and md5 are broken, for checksums that others ask for only",
        json_schema_extra=_HASH,
    )
    encoding: Encoding = Field(
        default="hex", description="How bytes are written as text (RFC 4648); base64url without padding"
    )
    length: int = Field(default=32, ge=1, le=1024, description="How many random bytes", json_schema_extra=_RANDOM)

    @model_validator(mode="after")
    def _value_is_given(self) -> Self:
        if self.operation != "random_bytes" and self.value is None:
            raise ValueError(f"{self.operation} needs a value")
        return self


class Crypto(Node[CryptoParams]):
    """Random bytes come from the operating system, not from the context: they must be impossible to guess.

    So another attempt gives others; whatever follows the step sees those that were recorded.
    """

    id = "crypto"
    name = "Crypto"
    description = "Hashes a text, encodes or decodes it, or makes random bytes that nobody can guess"
    category = "Data"
    icon = "hash"
    in_thread = True

    async def run(self, params: CryptoParams, ctx: NodeContext) -> Result:  # noqa: ARG002 - every node takes its context
        value = params.value or ""
        match params.operation:
            case "hash":
                digest = hashlib.new(params.algorithm, _bytes(value), usedforsecurity=False).digest()
                return _encoded(digest, params.encoding)
            case "encode":
                return _encoded(_bytes(value), params.encoding)
            case "decode":
                return _decoded(value, params.encoding)
            case "random_bytes":
                return _encoded(secrets.token_bytes(params.length), params.encoding)


def _encoded(data: bytes, encoding: Encoding) -> str:
    match encoding:
        case "hex":
            return data.hex()
        case "base64":
            return base64.b64encode(data).decode()
        case "base64url":
            return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str, encoding: Encoding) -> str:
    """The text in an encoded one; white space in it is passed over, and the padding of base64url may be missing."""
    try:
        data = _READERS[encoding]("".join(text.split()))
    except (binascii.Error, ValueError) as error:
        raise _wrong(f"The value is not valid {encoding}: {error}") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _wrong("The decoded bytes are not text in UTF-8.") from error


def _from_base64url(text: str) -> bytes:
    if "+" in text or "/" in text:
        raise ValueError("it has - and _ where base64 has + and /")
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)


_READERS: dict[Encoding, Callable[[str], bytes]] = {
    "hex": bytes.fromhex,
    "base64": partial(base64.b64decode, validate=True),
    "base64url": _from_base64url,
}


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _wrong("The value holds half of a surrogate pair, which is no text.") from error


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
