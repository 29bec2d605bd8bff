"""Threads for nodes that would block the event loop (`sdk.Node.in_thread`).

They are not those of the loop's default executor, which looks up the names of hosts: nodes that compute for long must
not keep others from the network.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from melagent.engine.patience import Begun

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

THREADS = 4
"""Of a process. More would not compute faster for long: Python code takes turns."""


async def in_thread(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Make a coroutine and run it in a thread; raises what it raises, and RuntimeError when it waits for something.

    When this is cancelled, a call that has begun goes on to its end, and nobody learns of it.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads(), _completed, call)


def _completed(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    coroutine = call()
    begun = Begun(coroutine)
    if not begun.done:
        coroutine.close()
        raise RuntimeError("a node that runs in a thread must not await anything")
    return begun.result


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="node")
