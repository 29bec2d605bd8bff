"""Remembers for a moment what the database answered, so that a busy instance asks the same question once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class BriefMemory(Generic[K, V]):
    """Answers of `load`, each used for at most `seconds` after it was asked for; an error is not remembered.

    Whoever asks for a key that is being loaded shares that load. Holds at most `limit` keys: it is then emptied, which
    costs only questions.
    """

    def __init__(self, load: Callable[[K], Awaitable[V]], seconds: float, limit: int = 10_000) -> None:
        self._load = load
        self._seconds = seconds
        self._limit = limit
        self._answers: dict[K, tuple[float, asyncio.Future[V]]] = {}

    async def get(self, key: K) -> V:
        known = self._answers.get(key)
        if known is not None and known[0] > time.monotonic():
            answer = known[1]
            return answer.result() if answer.done() else await asyncio.shield(answer)
        if len(self._answers) >= self._limit:
            self.forget()
        answer = asyncio.ensure_future(self._load(key))
        self._answers[key] = (time.monotonic() + self._seconds, answer)
        answer.add_done_callback(lambda done: self._drop_failed(key, done))
        return await asyncio.shield(answer)

    def confirm(self, key: K) -> None:
        """The answer is known to be right still: use it for as long again as a new one."""
        known = self._answers.get(key)
        if known is not None:
            self._answers[key] = (time.monotonic() + self._seconds, known[1])

    async def get_anew(self, key: K) -> V:
        """The answer to a question asked now, whatever is remembered."""
        self.forget(key)
        return await self.get(key)

    def forget(self, key: K | None = None) -> None:
        """Forget one answer, or all."""
        if key is None:
            self._answers.clear()
        else:
            self._answers.pop(key, None)

    def _drop_failed(self, key: K, answer: asyncio.Future[V]) -> None:
        failed = answer.cancelled() or answer.exception() is not None
        if failed and key in self._answers and self._answers[key][1] is answer:
            del self._answers[key]
