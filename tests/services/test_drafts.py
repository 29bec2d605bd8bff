"""Drafts: a snapshot and the edits after it, whoever writes and whoever reads."""

import asyncio

import orjson
import pytest

from melagent.domain.definition import Definition
from melagent.domain.draft_state import Author, Refused
from melagent.errors import BadRequest, Code, NotFound, TooLarge, Unavailable
from melagent.registry import Registry
from melagent.services import drafts, history, versions, workflows
from melagent.services.drafts import Editor
from melagent.services.renames import rewriter
from melagent.store import drafts as table
from melagent.store import edits
from melagent.store.edits import DraftEdits, NewEdit
from melagent.store.ids import new_id
from melagent.store.pool import PoolLimits, create_pool, transaction

DEFINITION = Definition.model_validate(
    {
        "nodes": [{"id": "a", "type": "manual_trigger"}, {"id": "b", "type": "log", "config": {"message": "x"}}],
        "edges": [{"source": "a", "target": "b"}],
    }
)


class Heard:
    """A broker that keeps what is sent to rooms."""

    def __init__(self):
        self.hints = []

    def send(self, topic, data, *, here):
        assert here
        self.hints.append((topic, data))


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def editor(pool, heard):
    return Editor(pool, heard, Author("ada", "Ada"), rewriter(Registry.builtin()))


@pytest.fixture
async def workflow_id(pool):
    return (await workflows.create(pool, "w", "", DEFINITION)).id


def setting(value, node_id="b", path=("config", "message")):
    return {"op": "node.set", "id": node_id, "path": [*path], "value": value}


async def set_to(editor, workflow_id, value, **where):
    return await drafts.edit(editor, workflow_id, lambda _: [setting(value, **where)])


async def message(conn, workflow_id):
    return (await drafts.load(conn, workflow_id)).nodes["b"]["config"]["message"]


async def test_readers_see_snapshot_and_edits_with_the_text_that_a_snapshot_would_have(pool, editor, workflow_id):
    await set_to(editor, workflow_id, "new")
    edited = await set_to(editor, workflow_id, 7, path=("position", "x"))
    state = await drafts.load(pool, workflow_id)
    assert (state.seq, state.nodes["b"]["position"]) == (3, {"x": 7, "y": 0})
    read = await drafts.read(pool, workflow_id)
    assert (read.revision, read.updated_at) == (3, edited.at)
    assert read == edited.draft()
    await drafts.compact(pool, workflow_id)
    [snapshot] = await table.find(pool, [workflow_id])
    assert (snapshot.definition, snapshot.snapshot_seq, snapshot.seq) == (read.definition, 3, 3)
    assert await drafts.read(pool, workflow_id) == read
    await drafts.compact(pool, workflow_id)
    await drafts.compact(pool, new_id())


async def test_versions_and_changes_are_those_of_the_draft_as_it_is_now(pool, editor, workflow_id):
    values = {"name": "v", "description": "", "definition": None, "created_by": "me"}
    first = await versions.create(pool, workflow_id, **values)
    await pool.execute("UPDATE workflows SET current_version = 1")
    assert not (await workflows.get(pool, workflow_id)).has_changes
    await set_to(editor, workflow_id, "new")
    now = await workflows.get(pool, workflow_id)
    [listed], _ = await workflows.page(pool, new_id(), 10)
    assert now.has_changes
    assert listed == now
    assert orjson.loads(now.definition)["nodes"][1]["config"] == {"message": "new"}
    second = await versions.create(pool, workflow_id, **values)
    assert second.definition == now.definition != first.definition
    await set_to(editor, workflow_id, "x")
    assert not (await workflows.get(pool, workflow_id)).has_changes


async def test_an_edit_is_told_to_rooms_after_it_is_committed_and_only_then(pool, editor, heard, workflow_id):
    await set_to(editor, workflow_id, "new")
    assert heard.hints == [(str(workflow_id), b"h2")]
    with pytest.raises(BadRequest):
        await set_to(editor, workflow_id, "\x00")
    assert (await drafts.edit(editor, workflow_id, lambda _: [])).state.seq == 2
    with pytest.raises(NotFound):
        await set_to(editor, new_id(), "x")
    assert len(heard.hints) == 1


async def test_writers_of_two_instances_lose_nothing(pool, database_url, editor, workflow_id):
    other = await create_pool(database_url, PoolLimits(max_open=6))
    try:
        doors = [editor, Editor(other, Heard(), Author(None, "other"))]
        keys = [f"k{number}" for number in range(24)]
        tries = [set_to(doors[n % 2], workflow_id, n, path=("config", key)) for n, key in enumerate(keys)]
        await asyncio.gather(*tries)
    finally:
        await other.close()
    state = await drafts.load(pool, workflow_id)
    assert {key: state.nodes["b"]["config"][key] for key in keys} == {key: n for n, key in enumerate(keys)}
    stored = await edits.after(pool, workflow_id, 0, 100)
    assert [edit.seq for edit in stored] == list(range(2, 26))
    assert state.seq == 25


async def test_a_room_that_was_slower_than_a_call_loses_and_tries_again_on_what_is_there(pool, editor, workflow_id):
    """What the hub does: committed against the state it was checked on, or not at all."""
    state = await drafts.load(pool, workflow_id)
    await set_to(editor, workflow_id, "of the call")
    new = NewEdit("c", 1, None, "me", b'[{"op":"node.set","id":"b","path":["name"],"value":"n"}]', b"[]")
    assert await edits.commit(pool, [DraftEdits(workflow_id, state.seq, [new])]) == {}
    assert (await edits.commit(pool, [DraftEdits(workflow_id, 2, [new])])).keys() == {workflow_id}
    now = await drafts.load(pool, workflow_id)
    assert (now.nodes["b"]["name"], now.nodes["b"]["config"]["message"], now.seq) == ("n", "of the call", 3)


async def test_a_crash_between_the_statements_of_an_edit_leaves_the_draft_as_it_was(pool, editor, workflow_id):
    async def crash():
        async with transaction(pool) as conn:
            await drafts.edit_within(conn, editor, workflow_id, lambda _: [setting("lost")])
            raise RuntimeError("crash")

    before = await drafts.read(pool, workflow_id)
    with pytest.raises(RuntimeError, match="crash"):
        await crash()
    assert await drafts.read(pool, workflow_id) == before
    assert (await set_to(editor, workflow_id, "kept")).state.seq == 2


async def test_a_snapshot_is_written_by_the_edit_that_makes_one_due(pool, editor, workflow_id, monkeypatch):
    monkeypatch.setattr(drafts, "COMPACT_EDITS", 3)
    for value in range(4):
        await set_to(editor, workflow_id, value)
    [snapshot] = await table.find(pool, [workflow_id])
    assert (snapshot.snapshot_seq, snapshot.seq) == (5, 5)
    monkeypatch.setattr(drafts, "COMPACT_BYTES", 1_000)
    await set_to(editor, workflow_id, "x" * 600)
    assert await behind(pool, workflow_id) == 1
    await set_to(editor, workflow_id, "y" * 600)
    assert await behind(pool, workflow_id) == 0
    assert await message(pool, workflow_id) == "y" * 600


async def behind(pool, workflow_id):
    [snapshot] = await table.find(pool, [workflow_id])
    return snapshot.seq - snapshot.snapshot_seq


async def test_compaction_beside_writers_loses_nothing(pool, editor, workflow_id):
    async def write(number):
        await set_to(editor, workflow_id, number, path=("config", f"k{number}"))
        await drafts.compact(pool, workflow_id)

    await asyncio.gather(*(write(number) for number in range(16)))
    config = (await drafts.load(pool, workflow_id)).nodes["b"]["config"]
    assert config == {"message": "x"} | {f"k{number}": number for number in range(16)}


async def test_a_snapshot_that_is_written_late_holds_what_it_was_made_of_and_never_replaces_a_newer_one(
    pool, editor, workflow_id
):
    texts = {}
    for value in ("two", "three", "four"):
        draft = (await set_to(editor, workflow_id, value)).draft()
        texts[draft.revision] = draft.definition
    for written, held in ((3, 3), (2, 3), (4, 4), (5, 4)):
        await table.write_snapshot(pool, workflow_id, texts.get(written, b"{}"), written)
        [snapshot] = await table.find(pool, [workflow_id])
        assert (snapshot.snapshot_seq, snapshot.seq) == (held, 4)
        assert orjson.loads(snapshot.definition) == orjson.loads(texts[held])
        assert (await drafts.read(pool, workflow_id)).definition == texts[4]


async def test_a_snapshot_of_an_older_program_between_two_readings_is_noticed(pool, editor, workflow_id, monkeypatch):
    await set_to(editor, workflow_id, "new")
    stale = await table.find(pool, [workflow_id])
    await pool.execute("UPDATE drafts SET definition = definition, seq = seq + 1")
    await set_to(editor, workflow_id, "newer")
    find, answers = table.find, [stale]

    async def find_stale_first(conn, ids):
        return answers.pop() if answers else await find(conn, ids)

    monkeypatch.setattr(table, "find", find_stale_first)
    assert (await drafts.load(pool, workflow_id)).seq == 4
    answers.extend([stale] * drafts.READINGS)
    with pytest.raises(Unavailable):
        await drafts.load(pool, workflow_id)


async def test_a_draft_of_ten_mebibytes_is_edited_and_one_beyond_the_limit_is_not(pool, editor, workflow_id):
    large = "x" * (10 * 1024 * 1024)
    await set_to(editor, workflow_id, large)
    assert await message(pool, workflow_id) == large
    await set_to(editor, workflow_id, "a name", path=("name",))
    with pytest.raises(TooLarge):
        await set_to(editor, workflow_id, large, path=("config", "more"))
    for value in "abc":
        await set_to(editor, workflow_id, value + large[1:])  # what is replaced does not count
    assert (await drafts.load(pool, workflow_id)).seq == 6


async def test_who_removed_what_is_gone_is_found_in_the_table(pool, editor, workflow_id):
    async def edit(*ops):
        return await drafts.edit(editor, workflow_id, lambda _: list(ops))

    [edge_id] = (await drafts.load(pool, workflow_id)).edges
    await edit({"op": "node.add", "id": "c", "type": "noop", "config": {"to": "b", "id": "b"}})
    await edit({"op": "node.remove", "id": "b"})
    await edit({"op": "node.rename", "id": "c", "to": "d"})
    await edit({"op": "draft.replace", "definition": {"nodes": [{"id": "d", "type": "noop"}]}})
    await edit({"op": "node.unset", "id": "d", "path": ["config"]})
    async with pool.acquire() as conn:
        gone = {lost: await history.who_removed(conn, workflow_id, lost) for lost in ("a", "b", "c", edge_id)}
        assert {lost: (one.seq, one.to, one.by) for lost, one in gone.items()} == {
            "a": (5, None, editor.author),
            "b": (3, None, editor.author),
            "c": (4, "d", editor.author),
            edge_id: (3, None, editor.author),
        }
        for lost in ("d", "nobody", 'x"', "%", "\\"):
            assert await history.who_removed(conn, workflow_id, lost) is None, lost
        missing = await history.explained(conn, workflow_id, Refused(Code.NOT_FOUND, "", missing="b"))
        assert (missing.error, missing.gone, missing.message) == (Code.GONE, gone["b"], "This was removed by Ada.")
        kept = Refused(Code.NOT_FOUND, "", missing="nobody")
        assert await history.explained(conn, workflow_id, kept) is kept


async def test_a_renamed_node_is_followed_by_what_names_it(pool, editor, workflow_id):
    await set_to(editor, workflow_id, '{{ steps.a.x }} {{ inputs["a"] }} steps.a {{ input.steps.a }} {{ steps.ab }}')
    renamed = await drafts.edit(editor, workflow_id, lambda _: [{"op": "node.rename", "id": "a", "to": "begin"}])
    told = '{{ steps.begin.x }} {{ inputs["begin"] }} steps.a {{ input.steps.a }} {{ steps.ab }}'
    assert renamed.ops[0]["sets"] == [{"id": "b", "path": ["config", "message"], "value": told}]
    await drafts.edit(editor, workflow_id, lambda _: [{"op": "node.rename", "id": "begin", "to": "1-st"}])
    assert await message(pool, workflow_id) == (
        '{{ steps["1-st"].x }} {{ inputs["1-st"] }} steps.a {{ input.steps.a }} {{ steps.ab }}'
    )
    await history.revert(editor, workflow_id, [4], force=False)
    assert (await message(pool, workflow_id)) == told
