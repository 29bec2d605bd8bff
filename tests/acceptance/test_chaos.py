"""Three API instances and two workers behind nginx under load, while process after process is killed or stopped.

What is answered is true whatever dies. The short form belongs to the tests; the long one is part of `make prove`, and
writes what it did and found to benchmarks/results/chaos.json.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime

import orjson
import pytest

from benchmarks import machine
from deploy.local.topology import ROOT, topology
from tests.acceptance.chaos import Chaos, takeover_seconds
from tests.acceptance.exact import check_exact
from tests.acceptance.load import Load, deploy_hooks
from tests.acceptance.program import allow, counter

RESULT = ROOT / "benchmarks/results/chaos.json"
RESCUE_SECONDS = 2.0
FAILURES = {"connection", "502 proxy", "503 unavailable", "504 proxy"}
"""How calls may fail: nginx answers for an instance that died or stands still."""
SEEDS, TURNS = range(3), 40
LONG_PAUSES = (20.0, 8.0, 8.0)
"""Beyond a lease and within it, for workers and instances."""


async def chaos(seed, turns, pauses, lease_seconds):
    """The numbers of one round, when all that must hold has held."""
    promised_seconds = lease_seconds + RESCUE_SECONDS
    async with counter() as outside:
        settings = {
            "MEL_WORKER_CONCURRENCY": "100",
            "MEL_HTTP_ALLOW": allow(outside),
            "MEL_LEASE_SECONDS": str(lease_seconds),
            "MEL_HEARTBEAT_SECONDS": str(lease_seconds / 3),
        }
        async with topology(**settings) as cluster:
            load, chaos, begun_at = Load(), Chaos(cluster, seed, pauses, lease_seconds), time.monotonic()
            sync, deferred = await deploy_hooks(cluster, outside)
            load.begin(sync, 4, sync=True)
            load.begin(deferred, 2, sync=False, pause=0.05)
            await chaos.go(turns)
            await load.end()
            seconds = time.monotonic() - begun_at
            proved = await check_exact(cluster, load, outside, chaos.had_begun)
            takeovers = await takeover_seconds(cluster, chaos.lost)
            clear = await takeover_seconds(cluster, chaos.lost_while_instances_answered(promised_seconds))
    assert load.kinds <= FAILURES
    assert max(clear) <= promised_seconds
    assert chaos.dropped > 0, "nobody went on after its lease had passed to somebody else: the test proved nothing"
    assert proved.taken_over > 0
    assert len(load.answered) > 100
    assert len(load.accepted) > 50
    return {
        "seed": seed,
        "seconds": round(seconds),
        "done": dict(sorted(chaos.done.items())),
        "calls": {
            "sent": load.sent,
            "answered with a result": len(load.answered),
            "accepted": len(load.accepted),
            "failed": dict(Counter(failure.kind for failure in load.failures)),
        },
        "proved": asdict(proved),
        "leases lost by who went on late": chaos.dropped,
        "taken over from lost workers": {
            "runs": len(clear),
            "longest in seconds": round(max(clear), 1),
            "runs while an instance stood still": len(takeovers) - len(clear),
            "longest of all in seconds": round(max(takeovers), 1),
        },
    }


async def test_whatever_is_killed_or_stopped_every_answered_call_has_one_finished_run():
    """With a lease of five seconds, so that whoever stood still goes on after its lease has passed on."""
    await chaos(seed=7, turns=9, pauses=(8.0,), lease_seconds=5.0)


@pytest.fixture(scope="module")
def rounds():
    """Those that held; when all did, they are written where results are kept."""
    found = []
    yield found
    if len(found) == len(SEEDS):
        frame = {
            "commit": machine.commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine.machine(),
            "versions": machine.versions(),
            "settings": {"instances": 3, "workers": 2, "concurrency": 100, "lease_seconds": 15.0, "turns": TURNS},
        }
        RESULT.write_bytes(
            orjson.dumps({**frame, "rounds": found}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )


@pytest.mark.prove
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_same_for_minutes_with_the_lease_that_is_the_default(rounds, seed):
    rounds.append(await chaos(seed, TURNS, LONG_PAUSES, lease_seconds=15.0))
