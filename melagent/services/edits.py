"""Edits of a draft that have a call of their own: its nodes, its edges, and where they stand on the canvas.

A draft may be wrong and still be kept; what an edit refuses is what could not be undone by another one: an id that is
taken, an edge that leads nowhere, more than a definition may hold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.definition import Definition, Edge, Node
from melagent.domain.editing import edge_added
from melagent.domain.layout import layout
from melagent.errors import BadRequest, NotFound, Problem, Unprocessable
from melagent.services.drafts import edit, edit_within, json_of, tell
from melagent.services.workflows import found, not_behind
from melagent.store import drafts, run_keys
from melagent.store.pool import transaction
from melagent.store.run_keys import Kept

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from melagent.domain.definition import Position
    from melagent.domain.draft_state import DraftState, JsonObject, Operation
    from melagent.services.drafts import Editor, Make
    from melagent.store.rows import Draft
    from melagent.store.run_keys import Claim

LONGEST_PROPOSAL = 80
CREATED = 201


async def add_node(editor: Editor, workflow_id: UUID, node: Node, claim: Claim | None = None) -> bytes:
    """Append a node, which is answered as JSON text. With an empty id it gets a short one that tells its type.

    Raises Conflict when the id is taken. Under a claim the node is added once, however often that is repeated.
    """

    def make(state: DraftState) -> list[Operation]:
        named = {"id": node.id or propose_id(node.type, state.nodes)}
        return [{"op": "node.add", **json_of(node), **named}]

    return await _add(editor, workflow_id, make, Node, claim)


async def change_node(editor: Editor, workflow_id: UUID, node_id: str, changes: Mapping[str, Any]) -> Node:
    """Give a node new values for the fields named; all others stay as they are. The id cannot be changed."""
    if changes.get("id", node_id) != node_id:
        raise BadRequest(details=[Problem("id", "The id of a node cannot be changed.")])

    def make(state: DraftState) -> list[Operation]:
        before = _node(state, node_id)
        after = json_of(Node.model_validate({**before, **changes}))
        if after["type"] != before["type"]:
            return _made_anew(state, after)
        return [
            {"op": "node.set", "id": node_id, "path": [field], "value": after[field]}
            for field in changes
            if field not in ("id", "type") and not _is_same(after[field], before[field])
        ]

    edited = await edit(editor, workflow_id, make)
    return Node.model_validate(edited.state.nodes[node_id])


async def remove_node(editor: Editor, workflow_id: UUID, node_id: str) -> None:
    """Take out a node, and the edges that lead into it and out of it."""

    def make(state: DraftState) -> list[Operation]:
        return [{"op": "node.remove", "id": _node(state, node_id)["id"]}]

    await edit(editor, workflow_id, make)


async def add_edge(editor: Editor, workflow_id: UUID, edge: Edge, claim: Claim | None = None) -> bytes:
    """Append an edge, which is answered as JSON text. Under a claim it is added once, however often that is repeated.

    Raises Conflict when the edge is there already, Unprocessable when one of its nodes is not.
    """

    def make(state: DraftState) -> list[Operation]:
        ends = {"source": edge.source, "target": edge.target}
        missing = [Problem(end, f"There is no node {name!r}.") for end, name in ends.items() if name not in state.nodes]
        if missing:
            raise Unprocessable("The edge leads nowhere.", missing)
        return [edge_added(json_of(edge))]

    return await _add(editor, workflow_id, make, Edge, claim)


async def remove_edge(editor: Editor, workflow_id: UUID, edge_id: str) -> None:
    def make(state: DraftState) -> list[Operation]:
        if edge_id not in state.edges:
            raise NotFound("There is no such edge.")
        return [{"op": "edge.remove", "id": edge_id}]

    await edit(editor, workflow_id, make)


async def lay_out(
    editor: Editor, workflow_id: UUID, positions: Mapping[str, Position] | None, min_revision: int | None
) -> Draft:
    """Move nodes to the positions given, or all of them to computed ones.

    Raises Unprocessable for nodes that are not there, DraftBehind when the draft has not reached `min_revision`.
    """

    def make(state: DraftState) -> list[Operation]:
        not_behind(state.seq, min_revision)
        places = layout(Definition.model_validate(state.definition())) if positions is None else positions
        if missing := places.keys() - state.nodes.keys():
            problems = [Problem(f"positions.{node_id}", "There is no such node.") for node_id in sorted(missing)]
            raise Unprocessable("Some of these nodes are not there.", problems)
        return [
            {"op": "node.set", "id": node_id, "path": ["position"], "value": json_of(place)}
            for node_id, place in places.items()
        ]

    return (await edit(editor, workflow_id, make)).draft()


def propose_id(node_type: str, taken: Collection[str]) -> str:
    """A short id that nobody has: `http_request`, then `http_request_2` and so on."""
    base = re.sub(r"[^A-Za-z0-9_]+", "_", node_type)[:LONGEST_PROPOSAL].strip("_") or "node"
    number = 1
    while (proposed := base if number == 1 else f"{base}_{number}") in taken:
        number += 1
    return proposed


async def _add(editor: Editor, workflow_id: UUID, make: Make, kind: type[Node | Edge], claim: Claim | None) -> bytes:
    """Add a part to a draft; what was added, as JSON text, is kept under the claim in the same transaction."""
    async with transaction(editor.pool) as conn:
        found(await drafts.lock(conn, workflow_id), "workflow")
        if claim is not None and (kept := await run_keys.find(conn, claim)) is not None:
            return kept.body
        edited = await edit_within(conn, editor, workflow_id, make)
        made = {field: value for field, value in edited.ops[0].items() if field != "op"}
        text = kind.model_validate(made).model_dump_json().encode()
        if claim is not None:
            await run_keys.keep(conn, claim, Kept(CREATED, text))
    tell(editor.broker, edited)
    return text


def _made_anew(state: DraftState, node: JsonObject) -> list[Operation]:
    """A node of another type in the place of the one with its id, with the same edges."""
    edges = [edge_added(state.edges[edge_id]) for edge_id in state.at_node(node["id"])]
    return [{"op": "node.remove", "id": node["id"]}, {"op": "node.add", **node}, *edges]


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values are the same JSON: `1` is not `true`."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


def _node(state: DraftState, node_id: str) -> JsonObject:
    return found(state.nodes.get(node_id), "node")
