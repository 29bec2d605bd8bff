"""Many edit one workflow over three instances, while whatever there is dies, and all copies stay equal to the database.

The short form belongs to the tests; the long one is part of `make prove`, and writes what it did and found to
benchmarks/results/editing.json.
"""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from benchmarks import machine
from deploy.local.topology import ROOT
from tests.acceptance.editing import scene

KINDS = pytest.mark.parametrize("redis", [True, False], ids=["redis", "postgres"])
RESULT = ROOT / "benchmarks/results/editing.json"
SEEDS, EDITORS, ROAMERS, SECONDS = range(3), 15, 5, 30


async def chaos(seed, seconds, editors, *, redis, roamers=0):
    """What was done and seen, when all that must hold has held."""
    async with scene(seed, redis=redis) as there:
        there.begin(editors, callers=2)
        if roamers:
            await there.begin_roaming(roamers)
        await there.edits_go_on()
        await there.chaos(seconds)
        await there.edits_go_on()
        await there.settle()
        seen = await there.check()
    assert seen["authors who came back"] > 0
    assert seen["acknowledged"] > 20 * editors
    return seen


@KINDS
async def test_whatever_dies_no_acknowledged_edit_is_lost_and_all_copies_are_equal(redis):
    await chaos(7, seconds=10, editors=8, redis=redis)


@pytest.mark.parametrize("redis", [True], ids=["redis"])
async def test_our_own_client_library_holds_the_same_whatever_dies(redis):
    seen = await chaos(11, seconds=10, editors=5, roamers=4, redis=redis)
    assert seen["roaming"]["acknowledged"] > 100


@pytest.fixture(scope="module")
def rounds():
    """Those that held; when all did, they are written where results are kept."""
    found = []
    yield found
    if len(found) == 2 * len(SEEDS):
        frame = {
            "commit": machine.commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine.machine(),
            "versions": machine.versions(),
            "settings": {"instances": 3, "editors": EDITORS, "with our client library": ROAMERS, "seconds": SECONDS},
        }
        RESULT.write_bytes(
            orjson.dumps({**frame, "rounds": found}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )


@pytest.mark.prove
@KINDS
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_same_for_longer_with_more_people(rounds, seed, redis):
    seen = await chaos(seed, SECONDS, EDITORS, roamers=ROAMERS, redis=redis)
    rounds.append({"seed": seed, "broker": "redis" if redis else "postgres", **seen})
