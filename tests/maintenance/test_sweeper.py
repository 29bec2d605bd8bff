from melagent.maintenance import sweeper
from melagent.maintenance.sweeper import Sweeper
from melagent.services.idempotency import claim


async def test_expired_keys_are_deleted_and_others_kept(pool):
    for number in range(5):
        await claim(pool, "scope", f"k{number}", b"")
    await pool.execute("UPDATE run_keys SET expires_at = now() WHERE key < 'k3'")
    assert await Sweeper(pool).one_pass() is None
    assert {row["key"] for row in await pool.fetch("SELECT key FROM run_keys")} == {"k3", "k4"}


async def test_a_full_batch_is_followed_by_another_at_once(pool, monkeypatch):
    monkeypatch.setattr(sweeper, "BATCH", 2)
    for number in range(3):
        await claim(pool, "scope", f"k{number}", b"")
    await pool.execute("UPDATE run_keys SET expires_at = now()")
    passes = Sweeper(pool)
    assert [await passes.one_pass(), await passes.one_pass()] == [0.0, None]
    assert await pool.fetchval("SELECT count(*) FROM run_keys") == 0


async def test_a_key_that_is_being_taken_over_is_passed_over(pool):
    await claim(pool, "scope", "k", b"")
    await pool.execute("UPDATE run_keys SET expires_at = now()")
    async with pool.acquire() as other, other.transaction():
        await other.execute("UPDATE run_keys SET expires_at = now() + interval '1 day'")
        await Sweeper(pool).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM run_keys") == 1
