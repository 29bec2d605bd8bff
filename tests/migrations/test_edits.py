"""The migration of drafts: what was there before it is the first snapshot."""

import asyncpg
import psycopg
import pytest

from melagent import migrate
from melagent.domain.draft_state import Author
from melagent.schema import known_ids
from melagent.services import drafts
from melagent.store.ids import new_id

ID = "0014.edits"
OF_BEFORE = '{"nodes": [{"id": "a", "type": "noop"}], "edges": [{"source": "a", "target": "a"}]}'


class Silence:
    def send(self, topic, data, *, here):
        pass


async def test_a_draft_of_before_is_read_and_edited_as_it_was(database_url, pool):
    migrate.down(database_url, len(known_ids()) - known_ids().index(ID))
    workflow_id = new_id()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("INSERT INTO workflows (id, name) VALUES (%s, 'w')", (workflow_id,))
        await connection.execute(
            "INSERT INTO drafts (workflow_id, seq, definition) VALUES (%s, 41, %s)", (workflow_id, OF_BEFORE)
        )
    migrate.up(database_url)
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as fresh:
        read = await drafts.read(fresh, workflow_id)
        assert (read.revision, read.definition) == (41, OF_BEFORE.encode())
        editor = drafts.Editor(fresh, Silence(), Author(None, "me"))
        op = {"op": "node.set", "id": "a", "path": ["name"], "value": "A"}
        edited = await drafts.edit(editor, workflow_id, lambda _: [op])
        assert (edited.state.seq, edited.state.nodes["a"]["name"], len(edited.state.edges)) == (42, "A", 1)


async def test_the_migration_is_not_taken_back_over_edits_that_are_in_no_snapshot(database_url):
    workflow_id = new_id()
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO workflows (id, name) VALUES (%s, 'w')", (workflow_id,))
        connection.execute("INSERT INTO drafts (workflow_id, seq, definition) VALUES (%s, 2, '{}')", (workflow_id,))
    steps = len(known_ids()) - known_ids().index(ID)
    with pytest.raises(Exception, match="no snapshot"):
        migrate.down(database_url, steps)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE drafts SET definition = definition")
    assert ID in migrate.down(database_url, steps)
