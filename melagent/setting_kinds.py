"""How a setting is declared: marks that say where it comes from, and the kinds of values that it may have."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from melagent.domain.definition import Label

KEY_BYTES = 32
KEYS_EXPECTED = "expected keys of 32 bytes in base64 or hex, the newest first, as from `openssl rand -base64 32`"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Env:
    """Marks a setting with the environment variables that may give it, the first one set wins."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """Marks a setting with the option of the command line that gives it, in its spellings."""

    names: tuple[str, ...]


class Secret:
    """Marks a setting whose value is never shown."""


class Group(BaseModel):
    """Base of what settings are grouped in: `group.name` is a setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


def _seconds(value: object) -> object:
    """A duration: a number of seconds, or text such as `90s`, `5m`, `1h30m`."""
    if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value.strip())
    if not parts or "".join(number + unit for number, unit in parts) != value.strip():
        raise ValueError("expected a duration such as 90s, 5m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _list(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _keys(value: object) -> object:
    """Keys of 32 bytes, each written in hex or in base64 of either alphabet."""
    parts = _list(value)
    if not isinstance(parts, list | tuple):
        raise ValueError(KEYS_EXPECTED)  # noqa: TRY004  # what Pydantic makes a problem of
    return tuple(part if isinstance(part, bytes) else _key(number, part) for number, part in enumerate(parts, 1))


def _key(number: int, text: object) -> bytes:
    """One key. Raises ValueError that tells its number, and nothing of the key."""
    if isinstance(text, str):
        written = text.strip()
        try:
            if re.fullmatch(r"[0-9A-Fa-f]{64}", written):
                return bytes.fromhex(written)
            standard = written.translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
            key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
            if len(key) == KEY_BYTES:
                return key
        except (ValueError, binascii.Error):
            pass
    raise ValueError(f"{KEYS_EXPECTED}; number {number} is not")


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for part in value:
        try:
            ip_network(part)
        except ValueError as error:
            raise ValueError(f"expected addresses and networks such as 10.0.0.0/8: {error}") from None
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for part in value:
        if not re.fullmatch(r"https?://[^/?#@\s]+", part) or part != part.lower():
            raise ValueError(f"expected origins such as https://tools.example.com, without a path: {part!r} is none")
    return value


def _url_with(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        if urlsplit(value).scheme not in schemes:
            raise ValueError(f"expected a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value.rstrip("/")

    return AfterValidator(check)


Seconds = Annotated[
    float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False, json_schema_extra={"format": "duration"})
]
TextList = Annotated[tuple[str, ...], BeforeValidator(_list)]
KeyList = Annotated[tuple[bytes, ...], BeforeValidator(_keys), Secret()]
OriginList = Annotated[TextList, AfterValidator(_origins)]
NetworkList = Annotated[TextList, AfterValidator(_networks)]
LabelList = Annotated[tuple[Label, ...], BeforeValidator(_list)]
HttpUrl = Annotated[str, _url_with("http", "https")]
DatabaseUrl = Annotated[str, _url_with("postgresql", "postgres"), Secret()]
RedisUrl = Annotated[str, _url_with("redis", "rediss", "unix"), Secret()]
