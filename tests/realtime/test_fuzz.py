"""Whatever is sent gets a refusal, an error frame or a close code, and nobody else notices."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

CODES = {4400, 4413, 4529}

TEXT = st.text(max_size=20)
IDS = st.sampled_from(["start", "done", "x", "", "__proto__", "a" * 101])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
PATHS = st.lists(
    st.sampled_from(["name", "config", "position", "x", "labels", "retry", "id"]) | st.integers(-2, 5) | TEXT,
    max_size=5,
)
CHANGES = st.lists(st.integers(-1, 20) | st.lists(st.integers(0, 5) | TEXT, max_size=3), max_size=5)
OPERATIONS = st.one_of(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["node.set", "node.unset", "meta.set", "text.edit"]), "id": IDS, "path": PATHS},
        optional={"value": JSON, "version": st.integers(-1, 50), "changes": CHANGES},
    ),
    st.fixed_dictionaries(
        {"op": st.sampled_from(["node.add", "node.remove", "node.rename", "edge.add", "edge.remove"]), "id": IDS},
        optional={"to": IDS, "type": TEXT, "source": IDS, "target": IDS, "config": JSON, "position": JSON},
    ),
    st.fixed_dictionaries({"op": st.just("draft.replace"), "definition": JSON}),
    JSON,
)
FRAMES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("edit"), "id": st.integers(-1, 2**60) | JSON, "ops": st.lists(OPERATIONS, max_size=4) | JSON}
    ),
    st.fixed_dictionaries({"type": st.just("presence"), "state": JSON}),
    st.fixed_dictionaries({"type": st.just("join")}, optional={"client": JSON, "since": JSON}),
    st.fixed_dictionaries({"type": TEXT}, optional={"id": JSON}),
    JSON,
)
MESSAGES = st.one_of(
    FRAMES.map(lambda frame: orjson.dumps(frame, default=str, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
               if fits(frame) else "{}"),
    st.text(max_size=200).filter(lambda text: text.isprintable()),
    st.binary(max_size=50),
    st.sampled_from(['{"type":"edit","id":1,"ops":[NaN]}', '{"type":"edit","id":1,"ops":["\\ud800"]}', "[" * 3_000,
                     '{"type":"presence","state":' + '{"a":' * 200 + "1" + "}" * 201, '{"type":"edit"', "null"]),
)  # fmt: skip


def fits(value):
    """Whether orjson writes a value: it knows 64 bits only."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@pytest.fixture
def kind():
    return "postgres"


@pytest.fixture
def hammer(one, make_workflow, connect, converged):
    """Send sequences of messages, each on a socket of its own, until so many or for so long."""

    async def hammer(examples, seconds):
        loop, until = asyncio.get_running_loop(), time.monotonic() + seconds
        workflow_id = await make_workflow(one)
        ada = await connect(one, workflow_id)
        outcomes: dict[object, int] = {}

        async def attack(messages, joins):
            client = await connect(one, workflow_id, join=joins)
            for message in messages:
                if client.socket.closed:
                    break
                await (client.socket.send_bytes(message) if isinstance(message, bytes) else client.send(message))
            if joins and not client.reading.done():
                await client.send({"type": "ping"})
                ticked = asyncio.ensure_future(client.until(lambda: any(f["type"] == "tick" for f in client.frames)))
                await asyncio.wait([ticked, client.reading], return_when=asyncio.FIRST_COMPLETED, timeout=30)
                ticked.cancel()
                await asyncio.gather(ticked, return_exceptions=True)
            stays = joins and not client.reading.done()
            outcome = "stays" if stays else await client.close_code(30) if messages or joins else "silent"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            await client.close()

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=seconds < 60,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(messages=st.lists(MESSAGES, min_size=1, max_size=8), joins=st.sampled_from([True, True, True, False]))
        def send(messages, joins):
            if time.monotonic() < until:
                asyncio.run_coroutine_threadsafe(attack(messages, joins), loop).result(60)

        with capture_logs() as logs:
            await asyncio.to_thread(send)
            assert (await ada.answer(await ada.edit({"op": "node.add", "id": "alive", "type": "noop"})))[
                "type"
            ] == "edit"
            await converged(workflow_id, ada)
        assert outcomes.keys() <= {*CODES, "stays"}, outcomes
        assert {"stays", 4400} <= outcomes.keys()
        assert [line for line in logs if line["log_level"] in ("error", "critical")] == []
        return outcomes

    return hammer


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_fuzzed_frames_get_refusals_and_close_codes_only(hammer):
    await hammer(60, 40)


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_fuzzed_frames_get_refusals_and_close_codes_only_for_two_minutes(hammer):
    await hammer(1_000_000, 120)
