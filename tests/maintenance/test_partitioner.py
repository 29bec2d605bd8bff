"""One pass of the partitioner keeps eight weeks ahead."""

from __future__ import annotations

from melagent.maintenance.partitioner import WEEKS_AHEAD, Partitioner


async def test_a_pass_makes_the_weeks_that_are_missing_ahead(pool):
    ahead = "SELECT to_char(now() AT TIME ZONE 'UTC' + make_interval(weeks => $1), '\"runs_\"IYYY\"w\"IW')"
    last = await pool.fetchval(ahead, WEEKS_AHEAD - 1)
    await pool.execute(f"DROP TABLE {last}")
    partitioner = Partitioner(pool)
    for _ in range(2):
        assert await partitioner.one_pass() is None
        assert await pool.fetchval("SELECT to_regclass($1) IS NOT NULL", last)
