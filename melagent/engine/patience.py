"""Begin a coroutine here and now: most nodes never wait, and those cost neither a timer nor a task."""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator

T = TypeVar("T")


class Begun(Generic[T]):
    """A coroutine that was run up to its first wait: `done` with its `result`, or to be awaited through `rest`.

    There is a result only when it is done.
    """

    __slots__ = ("_coroutine", "_waits_for", "done", "result")

    def __init__(self, begun: Coroutine[Any, Any, T]) -> None:
        """Raises what the coroutine raises before it first waits."""
        self._coroutine = begun
        try:
            self._waits_for = begun.send(None)
            self.done = False
        except StopIteration as end:
            self.done = True
            self.result: T = end.value

    def rest(self) -> Awaitable[T]:
        """Go on from the first wait. Must be awaited exactly once, by the task that began the coroutine."""
        return _resumed(self._coroutine, self._waits_for)


@coroutine
def _resumed(begun: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """What `await` does (PEP 380), from the first wait on."""
    while True:
        thrown: BaseException | None = None
        try:
            yield waits_for
        except GeneratorExit:
            begun.close()
            raise
        except BaseException as error:  # noqa: BLE001  # handed in: the coroutine decides what becomes of it
            thrown = error
        try:
            waits_for = begun.throw(thrown) if thrown else begun.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
