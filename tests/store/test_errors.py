import asyncpg
import pytest

from melagent.errors import Conflict, NotFound, Unavailable, Unprocessable
from melagent.store import tokens, versions, workflows
from melagent.store.errors import CONSTRAINTS, domain_error
from melagent.store.ids import new_id

NAMED_CONSTRAINTS = """
SELECT conname FROM pg_constraint
 WHERE conrelid = ANY (ARRAY['workflows', 'drafts', 'versions', 'triggers', 'tokens', 'users', 'webhook_tests',
                            'connections', 'connection_uses', 'trigger_uses', 'oauth_states']::regclass[])
   AND contype IN ('c', 'f', 'u')
   AND conname <> ALL ('{versions_listed_are_numbered,triggers_position_is_whole,triggers_by_hand}')
"""


async def test_every_constraint_that_a_caller_can_violate_has_its_words(pool):
    names = {row["conname"] for row in await pool.fetch(NAMED_CONSTRAINTS)}
    assert names == set(CONSTRAINTS)


async def test_a_violated_constraint_becomes_the_error_with_its_name(pool):
    values = {"kind": "api", "role": "viewer", "name": "a", "key_hash": b"same"}
    await tokens.insert(pool, new_id(), **values)
    with pytest.raises(asyncpg.UniqueViolationError) as caught:
        await tokens.insert(pool, new_id(), **values)
    meaning = domain_error(caught.value)
    assert isinstance(meaning, Conflict)
    assert meaning.message == "This key exists already."


async def test_a_version_of_a_missing_workflow_is_not_found(pool):
    with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
        await versions.insert(
            pool, new_id(), new_id(), name="v", description="", definition=b"{}", definition_hash=b"", created_by="a"
        )
    assert isinstance(domain_error(caught.value), NotFound)


async def test_a_database_that_went_away_is_unavailable(pool):
    async with pool.acquire() as conn:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert isinstance(domain_error(caught.value), Unavailable)


async def test_a_value_that_cannot_be_stored_is_unprocessable_and_the_drivers_words_stay_here(pool):
    with pytest.raises(asyncpg.PostgresError) as caught:
        await workflows.insert(pool, new_id(), "nul \x00", "", b"{}")
    meaning = domain_error(caught.value)
    assert isinstance(meaning, Unprocessable)
    assert str(caught.value) not in meaning.message


def test_a_defect_of_our_own_has_no_meaning():
    assert domain_error(KeyError("x")) is None
