"""Many edit one workflow over three instances, while whatever there is dies, and all copies stay equal to the database.

The short form belongs to the tests, the long one to `make prove`.
"""

from __future__ import annotations

import pytest

from tests.acceptance.editing import scene

KINDS = pytest.mark.parametrize("redis", [True, False], ids=["redis", "postgres"])
SEEDS = range(3)


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


@pytest.mark.prove
@KINDS
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_same_for_longer_with_more_people(seed, redis):
    print(await chaos(seed, seconds=30, editors=15, roamers=5, redis=redis))
