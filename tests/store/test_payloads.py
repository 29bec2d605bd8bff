"""Large values leave their rows, once for each run, and come back as they were."""

from __future__ import annotations

import os
from uuid import uuid4

from melagent.store import journal
from melagent.store.payloads import INLINE_BYTES, Payloads, load, unpack
from tests.builders import entry, leased_run, step


async def test_a_value_of_8_kib_stays_in_its_row_and_a_larger_one_does_not():
    payloads, run_id = Payloads(), uuid4()
    assert await payloads.put(run_id, None) == (None, None)
    assert await payloads.put(run_id, b"x" * INLINE_BYTES) == (b"x" * INLINE_BYTES, None)
    inline, digest = await payloads.put(run_id, b"x" * (INLINE_BYTES + 1))
    assert inline is None
    assert payloads.hashes == [digest]
    assert payloads.sizes == [INLINE_BYTES + 1]
    assert unpack(payloads.data[0]) == b"x" * (INLINE_BYTES + 1)


async def test_the_same_value_is_kept_once_for_each_run():
    payloads, one, two = Payloads(), uuid4(), uuid4()
    value = b"y" * 20_000
    for run_id in (one, two, one):
        await payloads.put(run_id, value)
    assert payloads.run_ids == [one, two]
    assert len(set(payloads.hashes)) == 1


async def test_values_of_many_sizes_survive_the_database_unchanged(pool):
    values = [os.urandom(size) for size in (INLINE_BYTES + 1, 300_000, 16 * 1024 * 1024)]
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        steps = [step(f"s{n}", n, output=value) for n, value in enumerate(values)]
        await journal.write(conn, [entry(grant, 1, *steps)], 15.0)
        assert [record.output for record in await journal.journal(conn, grant.run_id)] == values


async def test_the_same_large_value_in_later_writes_is_stored_once(pool):
    value = b'"' + b"z" * 30_000 + b'"'
    async with pool.acquire() as conn:
        grant = await leased_run(conn, input=value)
        await journal.write(conn, [entry(grant, 1, step("a", 1, output=value))], 15.0)
        await journal.write(conn, [entry(grant, 2, step("b", 2, output=value))], 15.0)
        assert await conn.fetchval("SELECT count(*) FROM payloads") == 1
        digest = await conn.fetchval("SELECT input_hash FROM runs")
        assert await load(conn, grant.run_id, [digest]) == {digest: value}
        assert await load(conn, grant.run_id, []) == {}
