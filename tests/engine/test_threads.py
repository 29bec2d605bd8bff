"""Nodes that say so run in a thread, and everything else about them stays as it is."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

import pytest

from melagent.domain.definition import Definition
from melagent.domain.run import RunStatus
from melagent.engine.compiled import compile_version
from melagent.engine.threads import in_thread
from melagent.registry import NodeType, Registry
from melagent.sdk import Node, NodeContext, NodeError, Params, Result
from tests.engine.executing import Sink, item, made


class Task(Params):
    expression: str = ""


class Computing(Node[Task]):
    id = "computing"
    name = description = category = "Test"
    in_thread = True
    thread = 0

    async def run(self, params: Task, ctx: NodeContext) -> Result:
        Computing.thread = threading.get_ident()
        if not params.expression:
            raise NodeError("nothing to do", code="idle", retryable=False)
        return ctx.evaluate(params.expression)


async def ended(expression):
    node = {"id": "start", "type": "computing", "config": {"expression": expression}}
    definition = Definition.model_validate({"nodes": [node], "edges": []})
    sink = Sink()
    version = compile_version(UUID(int=1), definition, Registry([NodeType.of(Computing())]))
    await made(version, sink, item()).run()
    return sink.settle


async def test_a_node_that_computes_runs_in_a_thread_with_its_context():
    settle = await ended("input.a + 1")
    assert (settle.status, settle.output) == (RunStatus.COMPLETED, b"2")
    assert Computing.thread != threading.get_ident()


async def test_its_errors_are_its_own():
    settle = await ended("")
    assert (settle.status, settle.error["code"]) == (RunStatus.FAILED, "idle")


async def test_the_loop_goes_on_meanwhile():
    loop, proceed = asyncio.get_running_loop(), threading.Event()

    async def waits_for_the_loop():
        return proceed.wait(timeout=30)

    loop.call_soon(proceed.set)
    assert await in_thread(waits_for_the_loop) is True


async def test_a_node_in_a_thread_must_not_await():
    with pytest.raises(RuntimeError, match="must not await"):
        await in_thread(lambda: asyncio.sleep(0))


async def test_a_time_limit_drops_the_result():
    proceed, gone_on = threading.Event(), threading.Event()

    async def stubborn():
        proceed.wait(timeout=30)
        gone_on.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await in_thread(stubborn)
    proceed.set()
    assert gone_on.wait(timeout=30)
