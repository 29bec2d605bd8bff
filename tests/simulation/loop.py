"""An event loop whose time stands still while anything can run, and jumps to the next timer when nothing can.

So a minute of timers takes milliseconds, and the same seed gives the same order of events. It also knows processes:
code that runs in the context of a frozen process is put off until the process goes on, timers included.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import TYPE_CHECKING, Any

from melagent.errors import MelError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Process:
    """A simulated operating system process: all tasks and timers that were made in its context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frozen = False
        self.dead = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.put_off: list[asyncio.Handle] = []
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name


class VirtualLoop(asyncio.AbstractEventLoop):
    """Timers, tasks and futures; no files, sockets or threads. A failed callback ends the run with its error."""

    def __init__(self) -> None:
        self.faults: list[BaseException] = []
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()
        self._frozen: list[Process] = []

    def run_until_complete(self, main: Coroutine[Any, Any, None]) -> None:
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done() and not self.faults:
                self._turn()
            if self.faults or task.exception():
                self._give_up()
        finally:
            asyncio._set_running_loop(None)
        if self.faults:
            raise self.faults[0]
        task.result()

    def freeze(self, process: Process) -> None:
        process.frozen = True
        self._frozen.append(process)

    def thaw(self, process: Process) -> None:
        process.frozen = False
        self._ready.extend(process.put_off)
        process.put_off.clear()

    def kill(self, process: Process) -> None:
        """Stop everything that runs in a process. Nothing that its tasks still do may leave it (see `Link`)."""
        process.dead = True
        self.thaw(process)
        for task in process.tasks:
            task.cancel()

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks.append(task)
            if process.dead:
                task.cancel()
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Told of whatever nobody caught. An answer that came too late for its caller is none of that."""
        error = context.get("exception") or AssertionError(context["message"])
        if not isinstance(error, MelError):
            self.faults.append(error)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays in the heap until its time comes."""

    def _turn(self) -> None:
        if not self._ready:
            self._advance()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle.cancelled():
                continue
            process = handle._context.get(PROCESS)
            if process is not None and process.frozen:
                process.put_off.append(handle)
            else:
                handle._run()

    def _give_up(self) -> None:
        """Let all tasks end, so that none is destroyed while it waits."""
        for process in self._frozen:
            self.thaw(process)
        while tasks := asyncio.all_tasks(self):
            for task in tasks:
                task.cancel()
            self._turn()

    def _advance(self) -> None:
        """Go to the time of the next timer, and take all timers of that moment."""
        if not self._timers:
            raise AssertionError("everything waits for ever")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            _, _, timer = heapq.heappop(self._timers)
            self._ready.append(timer)
