"""Edits: how operations are checked, completed, applied, replayed and undone. docs/collaboration.md has the table.

An edit is a list of operations, all or nothing. `apply` completes what its author left out, so that the operations that
are stored and shown to everybody say all there is to say: whoever replays them needs no defaults, no registry and no
checks, and ends with an equal state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from melagent.domain import draft_operations, node_operations
from melagent.domain.draft_change import Change
from melagent.domain.draft_state import Refused, is_near
from melagent.domain.editing import MAX_DEFINITION_BYTES, MAX_OPERATIONS, Editing, no_rewrites
from melagent.errors import Code, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from melagent.domain.draft_state import Author, DraftState, Operation
    from melagent.domain.editing import Kind, Rewrites
    from melagent.domain.json_paths import Path

KINDS: Final[Mapping[str, Kind]] = {**node_operations.KINDS, **draft_operations.KINDS}


@dataclass(slots=True)
class Applied:
    """An edit that was applied: what is to be stored and shown, and what undoes it on the state right after it.

    `ops_text` and `inverse_text` are the same as JSON text.
    """

    ops: list[Operation]
    inverse: list[Operation]
    ops_text: bytes
    inverse_text: bytes
    change: Change


def apply(  # noqa: PLR0917  # in the order of a sentence, and called in one place of each door
    state: DraftState, ops: Any, seq: int, by: Author, at: datetime, rewrites: Rewrites = no_rewrites
) -> Applied:
    """Complete, check and apply an edit, which gives the state the number `seq`.

    Raises Refused; the state is then as before. `rewrites` finds what a renamed node's references become.
    """
    if type(ops) is not list or not 1 <= len(ops) <= MAX_OPERATIONS:
        problem = Problem("ops", f"An edit is a list of 1 to {MAX_OPERATIONS:,} operations.")
        raise Refused(Code.BAD_REQUEST, "The edit is not of the expected form.", [problem])
    change = Change(state, seq, by, at)
    editing = Editing(state, seq, rewrites)
    completed: list[Operation] = []
    inverse: list[Operation] = []
    try:
        for number, op in enumerate(ops):
            editing.number = number
            kind = _kind_of(editing, op)
            told, back = kind.check(editing, op)
            KINDS[told["op"]].perform(change, told)  # an unset may have become a set
            completed.append(told)
            inverse[:0] = back
        if editing.texts and len(completed) > 1:
            inverse = [_undone(editing, op, completed) for op in inverse]
        ops_text = orjson.dumps(completed)
        change.finish(ops_text)
        _refuse_too_large(state)
    except BaseException:
        change.take_back()
        raise
    return Applied(completed, inverse, ops_text, orjson.dumps(inverse), change)


def replay(
    state: DraftState, ops: Sequence[Operation], seq: int, by: Author | None = None, at: datetime | None = None
) -> None:
    """Apply an edit as it was committed. Without its author a removal is not remembered as his."""
    change = Change(state, seq, by, at)
    for op in ops:
        KINDS[op["op"]].perform(change, op)
    change.finish(orjson.dumps(ops))


def undo(applied: Applied) -> None:
    """Take back an edit that was applied and is not to be: as if it had never been. Of several the last comes first."""
    applied.change.take_back()


def _undone(editing: Editing, back: Operation, completed: list[Operation]) -> Operation:
    """An operation of an inverse. A text that the edit touched otherwise as well is put back as a whole.

    The inverse touches it otherwise too, and changes of a text are refused when it was touched after their version.
    """
    if back["op"] != "text.edit":
        return back
    node_id, path = back["id"], back["path"]
    touching = [op for op in completed if _touches(op, node_id, path)]
    if len(touching) == 1:  # the change of the text itself
        return back
    return {"op": "node.set", "id": node_id, "path": path, "value": editing.texts[(node_id, *path)]}


def _touches(op: Operation, node_id: str, path: Path) -> bool:
    """Whether an operation reaches a place of a node, or all of the node; a renaming also reaches what it rewrites."""
    if op["op"] == "draft.replace":
        return True
    rewrites = any(_touches({"op": "node.set", **one}, node_id, path) for one in op.get("sets", ()))
    named = node_id in (op.get("id"), op.get("to"))
    return rewrites or (named and is_near(tuple(op.get("path", ())), tuple(path)))


def _kind_of(editing: Editing, op: Any) -> Kind:
    name = op.get("op") if type(op) is dict else None
    kind = KINDS.get(name) if type(name) is str else None
    if kind is None:
        raise editing.bad("op", f"An operation is an object whose `op` is one of {', '.join(KINDS)}.")
    return kind


def _refuse_too_large(state: DraftState) -> None:
    if state.bound > MAX_DEFINITION_BYTES:
        state.bound = state.size()
        if state.bound > MAX_DEFINITION_BYTES:
            raise Refused(Code.TOO_LARGE, f"A definition may have at most {MAX_DEFINITION_BYTES:,} bytes.")
