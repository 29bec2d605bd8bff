"""A secret as a run may use it, and how what it has leaked into is cleaned of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import orjson
from yarl import URL

from melagent.domain.origins import Origin, covered, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

MASK = "•••"
"""What is shown in the place of a secret."""

LAYERS = 3
SHORTEST = 6
"""Characters that a secret needs to be taken out of other texts: a shorter one occurs in them by chance."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A connection, opened. `fields` are all of it, those in `hidden` are secret; `headers` and `query` carry it."""

    id: UUID
    name: str
    type: str
    fields: Mapping[str, Any] = field(repr=False)
    hidden: frozenset[str]
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    origins: tuple[Origin, ...]

    def allows(self, url: str) -> bool:
        """Whether the secret may be sent to this address."""
        try:
            return covered(origin_of(url), self.origins)
        except ValueError:
            return False

    @property
    def texts(self) -> frozenset[str]:
        """The secret itself, as it is and as a header carries it."""
        own = [value for name, value in self.fields.items() if name in self.hidden and isinstance(value, str)]
        carried = [value.rpartition(" ")[2] for name, value in self.headers.items() if name == "Authorization"]
        return frozenset((*own, *carried))


class Redactor:
    """Replaces secrets in texts and in JSON values, whichever way they are written there. Numbers stay as they are."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for text in secrets if len(text) >= SHORTEST for form in _forms(text)}
        self._forms = sorted(forms, key=len, reverse=True)  # the longest first: one may hold another

    def text(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def flowing(self, text: str) -> tuple[str, str]:
        """The text so far, cleaned, and apart from it the end that may be the beginning of a secret."""
        text = self.text(text)
        held = max((_begun(form, text) for form in self._forms), default=0)
        return text[: len(text) - held], text[len(text) - held :]

    def value(self, value: Any) -> Any:
        """A JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, list | tuple) else value

    def encoded(self, value: bytes) -> bytes:
        """JSON text."""
        if not any(form.encode() in value for form in self._forms):
            return value
        return orjson.dumps(self.value(orjson.loads(value)))


def _begun(form: str, text: str) -> int:
    """How many characters at the end of the text are the beginning of the form, but not all of it."""
    start = text.find(form[0], max(0, len(text) - len(form) + 1))
    while start >= 0 and not form.startswith(text[start:]):
        start = text.find(form[0], start + 1)
    return len(text) - start if start >= 0 else 0


def _forms(text: str) -> Iterable[str]:
    """As it is, as part of an address, and as JSON within as many layers of JSON as an echo of an echo has.

    Addresses differ in what they leave as it is: aiohttp's writes fewer characters as `%xx` than the standard library.
    """
    yield from (text, quote(text, safe=""), quote(text), quote_plus(text), str(URL.build(query={"": text}))[2:])
    for write in (_plain_json, _ascii_json):
        written = text
        for _ in range(LAYERS):
            yield (written := write(written))


def _plain_json(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]


def _ascii_json(text: str) -> str:
    return json.dumps(text)[1:-1]
