from datetime import UTC, datetime, timedelta

from melagent.store import tokens
from melagent.store.ids import new_id


async def make(pool, key_hash=b"hash", **changes):
    values = {"kind": "api", "role": "editor", "name": "ci", "key_hash": key_hash, **changes}
    return await tokens.insert(pool, new_id(), **values)


async def test_a_key_is_found_by_its_hash(pool):
    made = await make(pool)
    assert await tokens.find_valid(pool, b"hash", "api") == made


async def test_a_revoked_key_is_not_found_and_is_revoked_once(pool):
    made = await make(pool)
    assert await tokens.revoke(pool, made.id)
    assert not await tokens.revoke(pool, made.id)
    assert await tokens.find_valid(pool, b"hash", "api") is None


async def test_an_expired_key_is_not_found(pool):
    await make(pool, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert await tokens.find_valid(pool, b"hash", "api") is None


async def test_a_key_of_a_worker_is_no_key_of_the_api(pool):
    await make(pool, kind="worker", role=None)
    assert await tokens.find_valid(pool, b"hash", "api") is None
    assert await tokens.find_valid(pool, b"hash", "worker") is not None
