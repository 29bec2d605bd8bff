"""Drafts as everybody reads and edits them: a snapshot, and the edits that came after it.

Whatever changes a draft, through whichever door, is an edit: checked and applied to the draft as it is, committed as
its next number, and told to open rooms afterwards. Doors without a room hold the draft's row while they do that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import orjson

from melagent.domain.definition import Definition
from melagent.domain.draft_state import Author, DraftState, Refused
from melagent.domain.editing import Rewrites, no_rewrites
from melagent.domain.operations import apply, replay
from melagent.errors import (
    BadRequest,
    Code,
    Conflict,
    Gone,
    MelError,
    NotFound,
    Problem,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from melagent.services import rooms
from melagent.services.definitions import encode
from melagent.store import drafts, edits
from melagent.store.edits import DraftEdits, NewEdit
from melagent.store.pool import transaction
from melagent.store.rows import Draft

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from pydantic import BaseModel

    from melagent.broker import Broker
    from melagent.domain.draft_state import Operation
    from melagent.services.access import Principal
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Edit, Snapshot

COMPACT_EDITS = 200
COMPACT_BYTES = 256 * 1024
"""With more edits, or more of them, behind its snapshot a draft gets a new one, so that reading it stays quick."""

READINGS = 3

ERRORS: dict[Code, type[MelError]] = {
    error.code: error for error in (BadRequest, Conflict, Gone, NotFound, TooLarge, Unprocessable)
}


T = TypeVar("T")

Make: TypeAlias = Callable[[DraftState], "list[Operation]"]
"""Finds the operations for a draft as it is. It may raise, which leaves the draft as it was."""


@dataclass(frozen=True, slots=True)
class Editor:
    """Who edits through a door that has no room, and who is told of it. `rewrites` as in `operations.apply`."""

    pool: Pool
    broker: Broker
    author: Author
    rewrites: Rewrites = no_rewrites


@dataclass(frozen=True, slots=True)
class Edited:
    """A draft after an edit that was committed at `at`; `ops` as all others apply them."""

    workflow_id: UUID
    state: DraftState
    ops: list[Operation]
    at: datetime

    def draft(self) -> Draft:
        return _draft(self.workflow_id, self.state, self.at)


async def load(conn: Connection, workflow_id: UUID) -> DraftState:
    """A draft in memory, as it is now. Raises NotFound."""
    return _replayed(*_only(await _read(conn, [workflow_id])))


async def read(conn: Connection, workflow_id: UUID) -> Draft:
    """A draft with its definition as text, as it is now. Raises NotFound."""
    return _only(await read_all(conn, [workflow_id]))


async def read_all(conn: Connection, workflow_ids: Collection[UUID]) -> list[Draft]:
    """These drafts, without those of deleted workflows, in any order."""
    found = []
    for snapshot, following in await _read(conn, workflow_ids):
        if following:
            found.append(_draft(snapshot.workflow_id, _replayed(snapshot, following), following[-1].at))
        else:
            found.append(Draft(snapshot.workflow_id, snapshot.definition, snapshot.seq, snapshot.updated_at))
    return found


async def edit(editor: Editor, workflow_id: UUID, make: Make) -> Edited:
    """Edit a draft with the operations that `make` finds for it as it is. Without operations nothing happens.

    Raises what `make` raises, NotFound, and the error that tells why the operations are refused.
    """
    async with transaction(editor.pool) as conn:
        edited = await edit_within(conn, editor, workflow_id, make)
    tell(editor.broker, edited)
    return edited


async def edit_within(
    conn: Connection, editor: Editor, workflow_id: UUID, make: Make, reverts: Sequence[int] = ()
) -> Edited:
    """As `edit`, in the caller's transaction; when that is committed he tells of it."""
    snapshot = await drafts.lock(conn, workflow_id)
    if snapshot is None:
        raise NotFound("There is no such workflow.")
    following = await edits.after_each(conn, {workflow_id: snapshot.snapshot_seq})
    state = _replayed(snapshot, following)
    ops = make(state)
    if not ops:
        return Edited(workflow_id, state, [], snapshot.updated_at)
    try:
        applied = apply(state, ops, state.seq + 1, editor.author, datetime.now(UTC), editor.rewrites)
    except Refused as refused:
        raise _error_of(refused) from None
    new = NewEdit(
        client=f"rest-{token_hex(8)}",
        client_edit_id=1,
        by_id=editor.author.id,
        by_name=editor.author.name,
        ops=applied.ops_text,
        inverse=applied.inverse_text,
        reverts=tuple(reverts),
    )
    committed = await edits.commit(conn, [DraftEdits(workflow_id, snapshot.seq, [new])])
    if _is_long(snapshot, state.seq, sum(len(one.ops) for one in following) + len(new.ops)):
        await drafts.write_snapshot(conn, workflow_id, _text(state), state.seq)
    return Edited(workflow_id, state, applied.ops, committed[workflow_id])


def tell(broker: Broker, edited: Edited) -> None:
    """Let open rooms, here and on other instances, know that a draft was edited. They poll for it in any case."""
    if edited.ops:
        rooms.edited(broker, edited.workflow_id, edited.state.seq)


async def compact(pool: Pool, workflow_id: UUID) -> None:
    """Write a snapshot of a draft as it is now, while others go on editing it; nothing happens when there is one, or
    the draft is no more.
    """
    async with pool.acquire() as conn:
        for snapshot, following in await _read(conn, [workflow_id]):
            if following:
                state = _replayed(snapshot, following)
                await drafts.write_snapshot(conn, workflow_id, _text(state), state.seq)


async def keep(pool: Pool, workflow_id: UUID, definition: bytes, seq: int) -> None:
    """Write the snapshot of a draft that is open: its definition after the edit `seq`. Nothing happens when there is a
    newer one.
    """
    async with pool.acquire() as conn:
        await drafts.write_snapshot(conn, workflow_id, definition, seq)


def author_of(principal: Principal) -> Author:
    """As whom somebody edits. The key of the settings is nobody in particular."""
    return Author(None if principal.kind == "settings" else principal.id, principal.name)


def whole(definition: Definition) -> bytes:
    """The text of a definition as a draft holds it: each node and each edge once.

    Of nodes with the same id the later ones get ids of their own.
    """
    state = DraftState.load(definition.model_dump(mode="json"), 0)
    return _text(state) if _repeats(definition, state) else encode(definition)


def replacing(definition: Definition) -> list[Operation]:
    """The edit that puts a definition in the place of a draft, whatever that holds; see `whole`."""
    return [{"op": "draft.replace", "definition": orjson.loads(whole(definition))}]


def _repeats(definition: Definition, state: DraftState) -> bool:
    told = [*(node.id for node in definition.nodes), *(edge.id for edge in definition.edges)]
    return told != [*state.nodes, *state.edges]


async def _read(conn: Connection, workflow_ids: Collection[UUID]) -> list[tuple[Snapshot, list[Edit]]]:
    """Drafts, each with the edits after its snapshot.

    A program that knows no edits may write a draft between the two statements; what follows then does not follow on
    what was read before, and all is read again.
    """
    for _ in range(READINGS):
        snapshots = await drafts.find(conn, workflow_ids)
        found = await edits.after_each(conn, {one.workflow_id: one.snapshot_seq for one in snapshots})
        following = {workflow_id: list(some) for workflow_id, some in groupby(found, lambda one: one.workflow_id)}
        read = [(one, following.get(one.workflow_id, [])) for one in snapshots]
        if all(_is_whole(*one) for one in read):
            return read
    raise Unavailable("The draft is being changed too fast to be read; try again.")


def _only(found: Sequence[T]) -> T:
    if not found:
        raise NotFound("There is no such workflow.")
    return found[0]


def _is_whole(snapshot: Snapshot, following: list[Edit]) -> bool:
    reached = snapshot.snapshot_seq + len(following)
    return reached >= snapshot.seq and (not following or following[-1].seq == reached)


def _replayed(snapshot: Snapshot, following: list[Edit]) -> DraftState:
    state = DraftState.load(orjson.loads(snapshot.definition), snapshot.snapshot_seq)
    for one in following:
        replay(state, orjson.loads(one.ops), one.seq, Author(one.by_id, one.by_name), one.at)
    return state


def _draft(workflow_id: UUID, state: DraftState, at: datetime) -> Draft:
    return Draft(workflow_id, _text(state), state.seq, at)


def _text(state: DraftState) -> bytes:
    return encode(Definition.model_validate(state.definition()))


def _error_of(refused: Refused) -> MelError:
    """What a door without operations says of a refusal: its caller has not numbered them."""
    details = [Problem(detail.field.partition("].")[2] or detail.field, detail.problem) for detail in refused.details]
    return ERRORS[refused.error](refused.message, details)


def _is_long(snapshot: Snapshot, seq: int, size: int) -> bool:
    return seq - snapshot.snapshot_seq > COMPACT_EDITS or size > COMPACT_BYTES


def json_of(part: BaseModel) -> Any:
    """A model as JSON values, with numbers as every reader of an edit reads them."""
    return orjson.loads(part.model_dump_json())
