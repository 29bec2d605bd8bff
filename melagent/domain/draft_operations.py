"""The operations on edges, on settings and notes, and on a draft as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from melagent.domain.definition import MAX_EDGES
from melagent.domain.draft_fields import META_FIELDS, FieldError, field_of_definition, whole_definition, whole_edge
from melagent.domain.editing import Kind, edge_added
from melagent.domain.json_paths import MISSING, get, put
from melagent.domain.json_values import MAX_DEPTH, fault_of
from melagent.errors import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from melagent.domain.draft_change import Change
    from melagent.domain.draft_state import DraftState, JsonObject, Operation
    from melagent.domain.editing import Editing

EDGE_ADD: Final = frozenset({"op", "source", "target"})
EDGE_ADD_MORE: Final = frozenset({"source_handle", "target_handle", "id"})
EDGE_REMOVE: Final = frozenset({"op", "id"})
META: Final = frozenset({"op", "path", "value"})
REPLACE: Final = frozenset({"op", "definition"})

ABOVE_NODE: Final = 2
"""Levels of a definition above its nodes."""

Checked: TypeAlias = "tuple[Operation, list[Operation]]"


def check_edge_add(editing: Editing, op: Operation) -> Checked:
    editing.has(op, EDGE_ADD, EDGE_ADD_MORE)
    try:
        edge = whole_edge({field: value for field, value in op.items() if field not in ("op", "id")})
    except FieldError as error:
        raise editing.wrong(error) from None
    if (fault := fault_of(edge)) is not None:
        raise editing.bad("source_handle", fault)
    state = editing.state
    for end in ("source", "target"):
        if edge[end] not in state.nodes:
            raise editing.absent(end, edge[end], "node")
    if edge["id"] in state.edges:
        message = f"The draft has this edge already; its id is {edge['id']}."
        raise editing.refused(Code.CONFLICT, message, "target", "It is there.")
    if len(state.edges) >= MAX_EDGES:
        message = f"A definition has at most {MAX_EDGES:,} edges."
        raise editing.refused(Code.UNPROCESSABLE, message, "op", message)
    return edge_added(edge), [{"op": "edge.remove", "id": edge["id"]}]


def perform_edge_add(change: Change, op: Operation) -> None:
    change.put_edge({field: value for field, value in op.items() if field != "op"})


def check_edge_remove(editing: Editing, op: Operation) -> Checked:
    editing.has(op, EDGE_REMOVE)
    edge_id, state = op["id"], editing.state
    if type(edge_id) is not str:
        raise editing.bad("id", "An id is text.")
    edge = state.edges.get(edge_id)
    if edge is None:
        raise editing.absent("id", edge_id, "edge")
    led_somewhere = {edge["source"], edge["target"]} <= state.nodes.keys()
    return op, [edge_added(edge)] if led_somewhere else []


def perform_edge_remove(change: Change, op: Operation) -> None:
    change.drop_edge(op["id"])


def check_meta(editing: Editing, op: Operation) -> Checked:
    editing.has(op, META)
    path = editing.path(op, META_FIELDS)
    value = editing.value(op, path)
    before = _meta(editing.state)
    field, inner = str(path[0]), path[1:]
    raw = editing.put(before, path, value)[field]
    try:
        kept = field_of_definition(field, raw)
    except FieldError as error:
        raise editing.wrong(error) from None
    old = get(before, path)
    back = {"path": path, "value": old} if old is not MISSING else {"path": [field], "value": before[field]}
    return {**op, "value": get(kept, inner)}, [{"op": "meta.set", **back}]


def perform_meta(change: Change, op: Operation) -> None:
    field = op["path"][0]
    change.put_meta(field, put(_meta(change.state), op["path"], op["value"])[field])


def check_replace(editing: Editing, op: Operation) -> Checked:
    editing.has(op, REPLACE)
    if (fault := fault_of(op["definition"], MAX_DEPTH + ABOVE_NODE)) is not None:
        raise editing.bad("definition", fault)
    try:
        definition = whole_definition(op["definition"])
    except FieldError as error:
        raise editing.wrong(error, "definition.") from None
    _refuse_repeated(editing, definition["nodes"])
    definition["edges"] = list({edge["id"]: edge for edge in definition["edges"]}.values())
    return {**op, "definition": definition}, [{"op": "draft.replace", "definition": editing.state.definition()}]


def perform_replace(change: Change, op: Operation) -> None:
    change.replace(op["definition"])


def _refuse_repeated(editing: Editing, nodes: list[JsonObject]) -> None:
    seen: set[str] = set()
    for place, node in enumerate(nodes):
        if node["id"] in seen:
            problem = f"Another node has the id {node['id']!r}; each needs its own."
            raise editing.bad(f"definition.nodes[{place}].id", problem)
        seen.add(node["id"])


def _meta(state: DraftState) -> JsonObject:
    return {"settings": state.settings, "notes": state.notes}


KINDS: Final[Mapping[str, Kind]] = {
    "edge.add": Kind(check_edge_add, perform_edge_add),
    "edge.remove": Kind(check_edge_remove, perform_edge_remove),
    "meta.set": Kind(check_meta, perform_meta),
    "draft.replace": Kind(check_replace, perform_replace),
}
