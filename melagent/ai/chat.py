"""What a chat model is asked and what it answers, whoever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from melagent.sdk import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from melagent.sdk import Json

MAX_CHARACTERS = 4_000_000
"""Of one answer: about a million tokens, more than any model gives."""


@dataclass(frozen=True, slots=True)
class ImageLink:
    """An http or https address, from which the provider fetches the picture."""

    url: str


@dataclass(frozen=True, slots=True)
class ImageData:
    """A picture itself; `data` is base64."""

    media_type: str
    data: str


Image: TypeAlias = ImageLink | ImageData


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["user", "assistant"]
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is null is left to the provider. With `as_json` the model is asked for JSON, by a `schema` if given.

    It may not comply: whoever asks checks the answer.
    """

    model: str
    messages: Sequence[Message]
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    as_json: bool = False
    schema: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens; null what the provider does not say. `input_tokens` are all, the `cached_tokens` among them too."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`model` is the one that answered. `finish` is `stop`, or `length` when a limit cut the text off."""

    text: str
    model: str
    finish: str
    usage: Usage


class ChatModel(Protocol):
    """A provider's models, with the connection that may use them."""

    async def ask(self, question: Question, heard: Callable[[str], None]) -> Answer:
        """The whole answer; `heard` is given its text meanwhile, in order, in whatever pieces it comes.

        Raises NodeError, retryable where another try may help. Whoever cancels it closes the connection.
        """


class Transcript:
    """The text of an answer while it comes in."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._pieces: list[str] = []
        self._length = 0

    def add(self, piece: str | None) -> None:
        """Raises NodeError for an answer that has no end, TypeError for what is no text."""
        if not piece:
            return
        if not isinstance(piece, str):
            raise TypeError("a piece of the answer is no text")
        self._length += len(piece)
        if self._length > MAX_CHARACTERS:
            message = f"The answer is longer than {MAX_CHARACTERS:,} characters."
            raise NodeError(message, code="too_large", retryable=False)
        self._pieces.append(piece)
        self._heard(piece)

    @property
    def text(self) -> str:
        """What has come. Halves of a character that came apart are put together; a lone one is replaced."""
        text = "".join(self._pieces)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def count(number: object) -> int | None:
    """A number of tokens as a provider says it; null for anything else."""
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None


def refused(reason: str | None, usage: Usage) -> NodeError:
    """The model, or its provider's filter, does not want to answer."""
    message = f"The model refused to answer{f': {reason[:500]}' if reason else '.'}"
    return NodeError(message, code="content_refused", retryable=False, details={"usage": spent(usage)})


def spent(usage: Usage) -> dict[str, Json]:
    """The usage as nodes give it out."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
    }
