import pytest

from melagent.domain.definition import Definition
from melagent.domain.draft_state import Author
from melagent.maintenance import compactor
from melagent.maintenance.compactor import Compactor
from melagent.services import drafts, workflows
from melagent.services.drafts import Editor
from melagent.store import drafts as table

DEFINITION = Definition.model_validate({"nodes": [{"id": "a", "type": "noop"}]})
RESTED = "UPDATE drafts SET updated_at = now() - interval '11 minutes' WHERE workflow_id = $1"


class Silence:
    def send(self, topic, data, *, here):
        pass


@pytest.fixture
def edited(pool):
    async def edited(times, text="x"):
        """A draft with so many edits behind its snapshot."""
        made = await workflows.create(pool, "w", "", DEFINITION)
        editor = Editor(pool, Silence(), Author(None, "me"))
        for number in range(times):
            op = {"op": "node.set", "id": "a", "path": ["config", "text"], "value": f"{number}{text}"}
            await drafts.edit(editor, made.id, lambda _, op=op: [op])
        return made.id

    return edited


async def behind(pool, workflow_id):
    [draft] = await table.find(pool, [workflow_id])
    return draft.seq - draft.snapshot_seq


async def test_a_draft_that_rests_gets_its_snapshot_and_one_in_use_does_not(pool, edited):
    resting, used = await edited(3), await edited(3)
    await pool.execute(RESTED, resting)
    before = await drafts.read(pool, resting)
    assert await Compactor(pool, 0).one_pass() is None
    assert (await behind(pool, resting), await behind(pool, used)) == (0, 3)
    after = await drafts.read(pool, resting)
    assert (after.definition, after.revision) == (before.definition, before.revision)


async def test_a_draft_that_is_far_behind_is_not_left_so(pool, edited, monkeypatch):
    workflow_id = await edited(5)
    monkeypatch.setattr(compactor, "COMPACT_EDITS", 4)
    await Compactor(pool, 0).one_pass()
    assert await behind(pool, workflow_id) == 0


async def test_a_draft_with_much_behind_it_is_not_left_so(pool, edited, monkeypatch):
    workflow_id = await edited(2, "long" * 1_000)
    monkeypatch.setattr(compactor, "COMPACT_BYTES", 5_000)
    await Compactor(pool, 0).one_pass()
    assert await behind(pool, workflow_id) == 0


async def test_a_draft_that_cannot_be_read_holds_up_no_other(pool, edited):
    broken, fine = await edited(1), await edited(1)
    for workflow_id in (broken, fine):
        await pool.execute(RESTED, workflow_id)
    await pool.execute("UPDATE drafts SET definition = '{\"nodes\": 5}' WHERE workflow_id = $1", broken)
    await pool.execute("UPDATE drafts SET snapshot_seq = 1 WHERE workflow_id = $1", broken)
    assert await Compactor(pool, 0).one_pass() is None
    assert (await behind(pool, broken), await behind(pool, fine)) == (1, 0)


async def test_old_edits_are_forgotten_unless_they_are_kept_for_ever(pool, edited):
    workflow_id = await edited(3)
    await pool.execute(RESTED, workflow_id)
    await pool.execute("UPDATE edits SET at = now() - interval '40 days' WHERE seq < 4")
    await Compactor(pool, 0).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM edits") == 3
    await Compactor(pool, 30).one_pass()
    assert [row["seq"] for row in await pool.fetch("SELECT seq FROM edits")] == [4]


async def test_a_full_batch_is_followed_by_another_at_once(pool, edited, monkeypatch):
    monkeypatch.setattr(compactor, "BATCH", 2)
    workflow_id = await edited(3)
    await pool.execute(RESTED, workflow_id)
    await pool.execute("UPDATE edits SET at = now() - interval '40 days'")
    passes = Compactor(pool, 30)
    assert [await passes.one_pass(), await passes.one_pass()] == [0.0, None]
