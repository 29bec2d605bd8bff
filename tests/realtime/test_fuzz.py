"""Whatever is sent gets a refusal, an error frame or a close code, and nobody else notices.

The same against processes, for two minutes: tests/acceptance/test_hostile.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.realtime.hostile import HOSTILE, MESSAGES, attack

CODES = {4400, 4413, 4529}


@pytest.fixture
def kind():
    return "postgres"


@pytest.fixture
def hammer(one, make_workflow, connect, converged, http):
    """Send sequences of messages, each on a socket of its own."""

    async def hammer(examples, messages):
        loop = asyncio.get_running_loop()
        workflow_id = await make_workflow(one)
        ada = await connect(one, workflow_id)
        outcomes = Counter()

        def open_socket():
            url = one.url(f"/api/ws/workflows/{workflow_id}")
            return http.ws_connect(url, headers={"X-API-Key": "the-bootstrap-key-of-the-tests"}, max_msg_size=0)

        async def visit(messages, joins):
            outcomes[await attack(open_socket, messages, joins=joins)] += 1

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(messages=messages, joins=st.sampled_from([True, True, True, False]))
        def each(messages, joins):
            asyncio.run_coroutine_threadsafe(visit(messages, joins), loop).result(90)

        with capture_logs() as logs:
            await asyncio.to_thread(each)
            answer = await ada.answer(await ada.edit({"op": "node.add", "id": "alive", "type": "noop"}))
            assert answer["type"] == "edit"
            await converged(workflow_id, ada)
        assert outcomes.keys() <= {*CODES, "stays", "closed"}, outcomes
        assert {"stays", 4400} <= outcomes.keys()
        assert [line for line in logs if line["log_level"] in ("error", "critical")] == []

    return hammer


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_fuzzed_frames_get_refusals_and_close_codes_only(hammer):
    await hammer(60, st.lists(MESSAGES, min_size=1, max_size=8))


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_well_formed_frames_that_are_hostile_get_refusals_and_close_codes_only(hammer):
    await hammer(150, st.lists(HOSTILE, min_size=1, max_size=3))
