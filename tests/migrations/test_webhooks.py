"""The migration of tokens: addresses that were given away before it go on working."""

import hashlib

import asyncpg

from melagent import migrate
from melagent.schema import known_ids
from melagent.store import trigger_tokens
from melagent.store.ids import new_id

ID = "0012.webhooks"


async def test_a_token_of_before_is_found_by_its_hash_afterwards(database_url):
    migrate.down(database_url, len(known_ids()) - known_ids().index(ID))
    connection = await asyncpg.connect(database_url)
    workflow_id, version_id, trigger_id = new_id(), new_id(), new_id()
    await connection.execute("INSERT INTO workflows (id, name) VALUES ($1, 'w')", workflow_id)
    await connection.execute(
        "INSERT INTO versions (id, workflow_id, version_number, name, definition, definition_hash, created_by)"
        " VALUES ($1, $2, 1, 'v', '{}', '', 'test')", version_id, workflow_id,
    )  # fmt: skip  # the statement, then its values
    await connection.execute(
        "INSERT INTO triggers (id, workflow_id, node_id, type, name, config, token, version_id)"
        " VALUES ($1, $2, 'hook', 'webhook', 'hook', '{}', 'a-token-of-before', $3)",
        trigger_id, workflow_id, version_id,
    )  # fmt: skip  # as above
    migrate.up(database_url)
    await connection.reload_schema_state()
    found = await trigger_tokens.find_by_token(connection, hashlib.sha256(b"a-token-of-before").digest(), ["webhook"])
    assert found.id == trigger_id
    await connection.close()
