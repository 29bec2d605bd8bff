"""The history of a draft: who changed what, taking edits back, and who removed what is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from melagent.domain.draft_state import Author, DraftState, Refused, Removal
from melagent.domain.editing import words_for
from melagent.domain.json_paths import MISSING, get
from melagent.domain.operations import apply, replay
from melagent.domain.places import meeting, places, written
from melagent.errors import Code, Conflict, Gone, NotFound, Problem, Unprocessable
from melagent.services.drafts import edit_within, tell
from melagent.services.workflows import found
from melagent.store import drafts, edits, workflows
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from uuid import UUID

    from melagent.domain.draft_state import Operation
    from melagent.services.drafts import Edited, Editor
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Draft, Edit, UndoableEdit

PAGE_BYTES = 4 * 1024 * 1024
"""Of operations in a page of the history, beyond which it ends early."""

MAX_BACK = 10_000
"""An edit with more edits after it is not taken back."""

MAX_TOLD = 50

MAX_LOOKED_AT = 20
"""Edits whose texts look as if they had taken something away."""


async def page(pool: Pool, workflow_id: UUID, before: int, limit: int) -> tuple[list[Edit], bool]:
    """The edits before `before`, newest first, and whether there are more; fewer than `limit` when they are large."""
    async with pool.acquire() as conn:
        found(await workflows.find(conn, workflow_id), "workflow")
        some = await edits.before(conn, workflow_id, before, limit + 1, PAGE_BYTES)
    return some[:limit], len(some) > limit or sum(len(one.ops) for one in some) >= PAGE_BYTES


async def revert(editor: Editor, workflow_id: UUID, seqs: Collection[int], *, force: bool) -> Draft:
    """Take back just these edits, by an edit of its own.

    Raises Conflict with the edits that were made since where these reach; with `force` they are overruled, and what is
    not there any more is left out. Gone when the history does not go back that far.
    """
    wanted = set(seqs)

    def make(state: DraftState, since: Sequence[UndoableEdit]) -> list[Operation]:
        undone = [one for one in since if one.seq in wanted]
        if not force:
            _refuse_built_on(undone, since)
        return _undoing(state, since, wanted, force=force)

    return (await _with_history(editor, workflow_id, min(wanted), make, wanted)).draft()


async def restore(editor: Editor, workflow_id: UUID, seq: int, *, force: bool) -> Draft:
    """Make the draft what it was after the edit `seq`, by an edit of its own.

    Raises Conflict when others than the caller have edited since, unless `force` is set; Gone as `revert`.
    """

    def make(state: DraftState, since: Sequence[UndoableEdit]) -> list[Operation]:
        if not since:
            return []
        others = [one for one in since if (one.by_id, one.by_name) != (editor.author.id, editor.author.name)]
        if others and not force:
            raise Conflict("Others have edited since.", [_told(one, "edited") for one in others[:MAX_TOLD]])
        return [{"op": "draft.replace", "definition": _before(state, since).definition()}]

    return (await _with_history(editor, workflow_id, seq + 1, make, ())).draft()


async def who_removed(conn: Connection, workflow_id: UUID, lost: str) -> Removal | None:
    """The last edit that took a node or an edge away, or renamed it; null when none of the newest 10,000 did."""
    for draft in await drafts.find(conn, [workflow_id]):
        for one in await edits.removals(conn, workflow_id, lost, draft.seq - MAX_BACK, MAX_LOOKED_AT):
            if any(_brings_back(op, lost) for op in orjson.loads(one.inverse)):
                renamed = [op["to"] for op in orjson.loads(one.ops) if op["op"] == "node.rename" and op["id"] == lost]
                return Removal(lost, Author(one.by_id, one.by_name), one.at, one.seq, renamed[-1] if renamed else None)
    return None


async def explained(conn: Connection, workflow_id: UUID, refused: Refused) -> Refused:
    """A refusal that says who took away what is missing, if anybody knows."""
    if refused.error is not Code.NOT_FOUND or refused.missing is None:
        return refused
    removal = await who_removed(conn, workflow_id, refused.missing)
    if removal is None:
        return refused
    return Refused(Code.GONE, words_for(removal), refused.details, missing=refused.missing, gone=removal)


async def _with_history(
    editor: Editor,
    workflow_id: UUID,
    first: int,
    make: Callable[[DraftState, Sequence[UndoableEdit]], list[Operation]],
    reverts: Collection[int],
) -> Edited:
    """Edit a draft with what `make` finds, given all edits from `first` on, newest first."""
    async with transaction(editor.pool) as conn:
        held = found(await drafts.lock(conn, workflow_id), "workflow")
        if first < 1 or max(reverts, default=first - 1) > held.seq or first > held.seq + 1:
            raise NotFound(f"There is no such edit; the draft is at {held.seq}.")
        if held.seq - first >= MAX_BACK:
            raise Unprocessable(f"More than {MAX_BACK:,} edits have been made since.")
        since = await edits.to_undo(conn, workflow_id, first, held.seq)
        if len(since) != held.seq - first + 1:
            raise Gone("The history of the draft does not go back that far.")
        edited = await edit_within(conn, editor, workflow_id, lambda state: make(state, since), sorted(reverts))
    tell(editor.broker, edited)
    return edited


def _brings_back(op: Operation, lost: str) -> bool:
    """Whether an operation that undoes an edit adds a node or an edge, or gives a node its id."""
    if op["op"] == "draft.replace":
        return any(part["id"] == lost for name in ("nodes", "edges") for part in op["definition"][name])
    return (op["op"] in ("node.add", "edge.add") and op["id"] == lost) or op.get("to") == lost


def _refuse_built_on(undone: Sequence[UndoableEdit], since: Sequence[UndoableEdit]) -> None:
    """Conflict when an edit that stays was made later where one reaches that is to be undone."""
    told: list[Problem] = []
    reached: dict[int, list[tuple[object, ...]]] = {one.seq: list(places(orjson.loads(one.inverse))) for one in undone}
    for later in since:
        earlier = [place for seq, inside in reached.items() if seq < later.seq for place in inside]
        if later.seq not in reached and (met := meeting(places(orjson.loads(later.ops)), earlier)):
            told.append(_told(later, "changed " + ", ".join(map(written, met[:3]))))
    if told:
        raise Conflict("Others have built on it.", told[:MAX_TOLD])


def _undoing(
    state: DraftState, since: Sequence[UndoableEdit], wanted: Collection[int], *, force: bool
) -> list[Operation]:
    """What undoes the wanted edits, the newest first. With `force` what cannot be done any more is left out."""
    past = DraftState.load(state.definition(), state.seq)
    now = DraftState.load(state.definition(), state.seq)
    ops: list[Operation] = []
    for one in since:
        inverse = orjson.loads(one.inverse)
        replay(past, inverse, state.seq)
        for op in _without_changes(inverse, past) if one.seq in wanted else ():
            try:
                apply(now, [op], now.seq + 1, Author(one.by_id, one.by_name), one.at)
            except Refused:
                if not force:
                    raise
            else:
                ops.append(op)
    if not ops and force:
        raise Conflict("Nothing of it is left to be undone.")
    return ops


def _without_changes(inverse: Sequence[Operation], past: DraftState) -> Iterator[Operation]:
    """Operations whose changes of texts, which need the text as it was then, became the text as it was before."""
    for op in inverse:
        if op["op"] == "text.edit":
            text = get(past.nodes.get(op["id"], {}), op["path"])
            if text is not MISSING:
                yield {"op": "node.set", "id": op["id"], "path": op["path"], "value": text}
        else:
            yield op


def _before(state: DraftState, since: Sequence[UndoableEdit]) -> DraftState:
    """The draft as it was before these edits, the newest of which led to `state`."""
    past = DraftState.load(state.definition(), state.seq)
    for one in since:
        replay(past, orjson.loads(one.inverse), one.seq - 1)
    return past


def _told(one: UndoableEdit, what: str) -> Problem:
    at = one.at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Problem(f"edits.{one.seq}", f"{one.by_name or 'Somebody'} {what} at {at}.")
