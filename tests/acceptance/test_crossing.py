"""Webhooks called at one API instance, with the worker at another: the answer needs both, the run only the second."""

from __future__ import annotations

import pytest

from deploy.local.topology import topology
from tests.acceptance.exact import check_exact
from tests.acceptance.load import DOUBLE, SYNC_HOOK, Load
from tests.acceptance.program import allow, calls, counter, line_of
from tests.builders import eventually

CALLERS = 4


@pytest.fixture
async def outside():
    async with counter() as made:
        yield made


@pytest.fixture(params=["PostgreSQL", "Redis"])
async def crossing(request, outside):
    """Two instances that hint to each other by way of the parameter, and a worker that only knows the second one."""
    async with topology(apis=2, workers=0, redis=request.param == "Redis", MEL_HTTP_ALLOW=allow(outside)) as cluster:
        await cluster.start_worker("worker-1", "--server", at(cluster, "api-2"))
        yield cluster


def at(cluster, name):
    return f"http://127.0.0.1:{cluster.members[name].port}"


async def deploy(cluster, outside):
    """The address of a webhook at the first instance; its run calls the outside world and answers the caller."""
    url = await cluster.deploy(line_of(SYNC_HOOK, *calls(outside, "charge"), DOUBLE))
    return url.replace(cluster.url, at(cluster, "api-1"))


async def test_a_caller_whose_instance_dies_gets_a_connection_error_and_its_run_ends_once(crossing, outside):
    load = Load()
    url = await deploy(crossing, outside)
    outside.open.clear()
    load.begin(url, CALLERS, sync=True)
    await eventually(lambda: len(outside.keys) == CALLERS)  # the run of each caller is under way at the worker
    load.stopping = True
    await crossing.kill("api-1")
    await load.end()
    assert (load.answered, load.kinds, len(load.failures)) == ([], {"connection"}, CALLERS)
    outside.open.set()
    proved = await check_exact(crossing, load, outside)
    assert (proved.runs, proved.calls, proved.taken_over) == (CALLERS, CALLERS, 0)


async def test_an_instance_that_dies_among_calls_and_comes_back_loses_no_answer_that_it_gave(crossing, outside):
    load = Load()
    url = await deploy(crossing, outside)
    load.begin(url, CALLERS, sync=True)
    await eventually(lambda: len(load.answered) >= 20)
    await crossing.kill("api-1")
    before = len(load.answered)
    await eventually(lambda: len(load.failures) >= CALLERS)
    await crossing.start_api("api-1")
    await eventually(lambda: len(load.answered) >= before + 20)
    await load.end()
    assert load.kinds == {"connection"}
    proved = await check_exact(crossing, load, outside)
    assert proved.repeated == 0
    assert len(load.answered) <= proved.runs <= len(load.answered) + CALLERS
