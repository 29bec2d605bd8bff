"""Callers of webhooks who number what they send, and what they were answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.acceptance.program import calls, line_of

if TYPE_CHECKING:
    from deploy.local.topology import Topology
    from tests.acceptance.program import Counter

SYNC_HOOK = {"id": "hook", "type": "webhook", "config": {"mode": "sync", "respond": "last_node"}}
ASYNC_HOOK = {"id": "hook", "type": "webhook"}
DOUBLE = {"id": "double", "type": "set", "config": {"fields": {"doubled": "{{ steps.hook.output.body.n * 2 }}"}}}
END = {"id": "end", "type": "noop"}


def sleep(duration: str) -> dict[str, Any]:
    return {"id": "sleep", "type": "delay", "config": {"duration": duration}}


async def deploy_hooks(cluster: Topology, outside: Counter) -> tuple[str, str]:
    """A webhook that answers with the result, and one that answers at once, whose runs take longer than a second.

    Both call the outside world, the second one before and after its sleep.
    """
    answering = line_of(SYNC_HOOK, *calls(outside, "charge"), DOUBLE)
    deferred = line_of(ASYNC_HOOK, *calls(outside, "charge"), sleep("1s"), DOUBLE, *calls(outside, "confirm"), END)
    return await cluster.deploy(answering), await cluster.deploy(deferred)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call without a 2xx, and when it began. `kind` is `connection`, or a status and our error code, or `proxy`."""

    n: int
    begun_at: float
    kind: str


@dataclass
class Load:
    """Each call has a number of its own. `answered` are those of results, `accepted` leads from number to run."""

    sent: int = 0
    answered: list[int] = field(default_factory=list)
    accepted: dict[int, str] = field(default_factory=dict)
    wrong: list[Any] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stopping: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def kinds(self) -> set[str]:
        """How calls failed."""
        return {failure.kind for failure in self.failures}

    def begin(self, url: str, callers: int, *, sync: bool, pause: float = 0.0) -> None:
        self.tasks += [asyncio.create_task(self._go_on_calling(url, sync=sync, pause=pause)) for _ in range(callers)]

    async def end(self) -> None:
        """Begin no more calls, and wait for the answers to those under way."""
        self.stopping = True
        await asyncio.gather(*self.tasks)

    async def send(self, url: str, count: int) -> None:
        """So many calls of a webhook that answers at once, all of which must be accepted."""
        before = len(self.failures)
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._call(session, url, sync=False) for _ in range(count)))
        assert self.failures[before:] == []

    async def _go_on_calling(self, url: str, *, sync: bool, pause: float) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90)) as session:
            while not self.stopping:
                if not await self._call(session, url, sync=sync):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(pause)

    async def _call(self, session: aiohttp.ClientSession, url: str, *, sync: bool) -> bool:
        self.sent += 1
        n, begun_at = self.sent, time.time()
        try:
            async with session.post(url, json={"n": n}) as response:
                kind = await self._take_in(response, n, sync=sync)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            kind = type(error).__name__ if isinstance(error, TimeoutError) else "connection"
        except (aiohttp.ClientError, TimeoutError) as error:
            kind = type(error).__name__
        if kind:
            self.failures.append(Failure(n, begun_at, kind))
        return not kind

    async def _take_in(self, response: aiohttp.ClientResponse, n: int, *, sync: bool) -> str:
        """Note an answer; how the call failed, empty when it did not."""
        body = await response.json() if response.content_type == "application/json" else {}
        if response.status == (200 if sync else 202):
            if not sync:
                self.accepted[n] = body["run_id"]
            elif body.get("doubled") == 2 * n:
                self.answered.append(n)
            else:
                self.wrong.append((n, body))
            return ""
        if response.status == 504 and "run_id" in body:  # accepted, and not done within the time of a call
            self.accepted[n] = body["run_id"]
            return ""
        return f"{response.status} {body.get('error', 'proxy')}"
