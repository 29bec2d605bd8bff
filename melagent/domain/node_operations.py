"""The operations on nodes: add, remove, rename, set, unset, and the editing of texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from melagent.domain.definition import MAX_NODES, NODE_ID_PATTERN, Node
from melagent.domain.draft_fields import NODE_FIELDS, FieldError, default_of_node, field_of_node, whole_node
from melagent.domain.editing import Kind, edge_added
from melagent.domain.json_paths import MISSING, PathError, drop, get, made_by, put
from melagent.domain.json_values import fault_of
from melagent.domain.text_changes import ChangesError, changed
from melagent.errors import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from melagent.domain.draft_change import Change
    from melagent.domain.draft_state import JsonObject, Operation
    from melagent.domain.editing import Editing
    from melagent.domain.json_paths import Path

MAX_RENAMES: Final = 20
"""In an edit. Each one looks through all nodes for what names the node."""

ADD: Final = frozenset({"op", "id", "type"})
ADD_MORE: Final = frozenset(Node.model_fields)
REMOVE: Final = frozenset({"op", "id"})
RENAME: Final = frozenset({"op", "id", "to"})
SETS: Final = frozenset({"sets"})
SET: Final = frozenset({"op", "id", "path", "value"})
UNSET: Final = frozenset({"op", "id", "path"})
TEXT: Final = frozenset({"op", "id", "path", "version", "changes"})

CONFIG: Final = "config"

Checked: TypeAlias = "tuple[Operation, list[Operation]]"


def check_add(editing: Editing, op: Operation) -> Checked:
    editing.has(op, ADD, ADD_MORE)
    if (fault := fault_of(op)) is not None:
        raise editing.bad("config", fault)
    try:
        node = whole_node({field: value for field, value in op.items() if field != "op"})
    except FieldError as error:
        raise editing.wrong(error) from None
    if node["id"] in editing.state.nodes:
        raise editing.refused(Code.CONFLICT, f"The draft has a node {node['id']!r} already.", "id", "It is taken.")
    if len(editing.state.nodes) >= MAX_NODES:
        message = f"A definition has at most {MAX_NODES:,} nodes."
        raise editing.refused(Code.UNPROCESSABLE, message, "op", message)
    return {"op": "node.add", **node}, [{"op": "node.remove", "id": node["id"]}]


def perform_add(change: Change, op: Operation) -> None:
    change.put_node({field: value for field, value in op.items() if field != "op"})
    change.touch(op["id"])


def check_remove(editing: Editing, op: Operation) -> Checked:
    editing.has(op, REMOVE)
    node, state = editing.node(op), editing.state
    edges = [state.edges[edge_id] for edge_id in state.at_node(node["id"])]
    back = [edge_added(edge) for edge in edges if {edge["source"], edge["target"]} <= state.nodes.keys()]
    return op, [{"op": "node.add", **node}, *back]


def perform_remove(change: Change, op: Operation) -> None:
    for edge_id in list(change.state.at_node(op["id"])):
        change.drop_edge(edge_id)
    change.drop_node(op["id"])


def check_rename(editing: Editing, op: Operation) -> Checked:
    editing.has(op, RENAME, SETS)
    node, to, state = editing.node(op), op["to"], editing.state
    if type(to) is not str or not _is_id(to):
        raise editing.bad("to", f"An id matches {NODE_ID_PATTERN}.")
    if to in state.nodes:
        raise editing.refused(Code.CONFLICT, f"The draft has a node {to!r} already.", "to", "It is taken.")
    if state.at_node(to):
        problem = f"Edges name {to!r}, though there is no such node."
        raise editing.refused(Code.CONFLICT, "This id is in use.", "to", problem)
    editing.renames += 1
    if editing.renames > MAX_RENAMES:
        raise editing.bad("op", f"An edit renames at most {MAX_RENAMES} nodes.")
    sets = editing.rewrites(state.nodes, node["id"], to)
    back = [_set_back(state.nodes[node["id"] if one["id"] == to else one["id"]], one) for one in sets]
    return {**op, "sets": sets}, [*reversed(back), {"op": "node.rename", "to": node["id"], "id": to, "sets": []}]


def perform_rename(change: Change, op: Operation) -> None:
    change.rename_node(op["id"], op["to"])
    change.touch(op["to"])
    for one in op["sets"]:
        perform_set(change, one)


def check_set(editing: Editing, op: Operation) -> Checked:
    editing.has(op, SET)
    node = editing.node(op)
    path = editing.path(op, NODE_FIELDS)
    value = editing.value(op, path)
    after = editing.put(node, path, value)
    if path[0] != CONFIG or len(path) == 1:
        op = _fitting(editing, op, after)
    return op, [_set_back(node, op)]


def perform_set(change: Change, op: Operation) -> None:
    change.put_node(put(change.state.nodes[op["id"]], op["path"], op["value"]))
    change.touch(op["id"], tuple(op["path"]))


def check_unset(editing: Editing, op: Operation) -> Checked:
    editing.has(op, UNSET)
    node = editing.node(op)
    path = editing.path(op, NODE_FIELDS)
    if len(path) == 1:
        told = {"op": "node.set", "id": op["id"], "path": path, "value": default_of_node(path[0])}
        return told, [_set_back(node, told)]
    try:
        after = drop(node, path)
    except PathError as error:
        raise editing.bad("path", str(error)) from None
    if after is node or get(node, path) is MISSING:
        return op, []
    told = op if path[0] == CONFIG else _fitting(editing, op, after)
    whole = path[:-1] if type(path[-1]) is int else path
    return told, [{"op": "node.set", "id": op["id"], "path": whole, "value": get(node, whole)}]


def perform_unset(change: Change, op: Operation) -> None:
    node, path = change.state.nodes[op["id"]], op["path"]
    change.put_node(drop(node, path))
    change.touch(op["id"], tuple(path[:-1] if type(path[-1]) is int else path))


def check_text(editing: Editing, op: Operation) -> Checked:
    editing.has(op, TEXT)
    node = editing.node(op)
    path = editing.path(op, NODE_FIELDS)
    place = (op["id"], *path)
    if place in editing.texts:
        raise editing.bad("path", "An edit changes a text once.")
    _refuse_old_version(editing, op, path)
    found = get(node, path)
    text = "" if found is MISSING else found
    if type(text) is not str:
        raise editing.bad("path", "What stands there is no text.")
    editing.texts[place] = text
    try:
        new, changes = changed(text, op["changes"])
    except ChangesError as error:
        raise editing.bad("changes", str(error)) from None
    if (fault := fault_of(new)) is not None:
        raise editing.bad("changes", fault)
    after = editing.put(node, path, new)
    if path[0] != CONFIG and _fitting(editing, op, after) is not op:
        raise editing.bad("changes", f"The text does not fit the field {path[0]!r}.")
    if found is MISSING:
        return op, [{"op": "node.unset", "id": op["id"], "path": path[: made_by(node, path)]}]
    return op, [{**op, "version": editing.seq, "changes": changes}]


def perform_text(change: Change, op: Operation) -> None:
    node, path = change.state.nodes[op["id"]], op["path"]
    text = get(node, path)
    new, _ = changed("" if text is MISSING else text, op["changes"])
    change.put_node(put(node, path, new))
    change.touch(op["id"], tuple(path))


def _refuse_old_version(editing: Editing, op: Operation, path: Path) -> None:
    version, state = op["version"], editing.state
    if type(version) is not int or version < 0:
        raise editing.bad("version", "A version is the number of an edit.")
    if version > state.seq or state.touched_at(op["id"], path) > version:
        problem = f"The text has changed since edit {version:,}."
        raise editing.refused(Code.CONFLICT, "Somebody else has changed this text.", "version", problem)


def _fitting(editing: Editing, op: Operation, after: JsonObject) -> Operation:
    """The operation as it must be told so that the field is valid after it: with its values as the field keeps them."""
    field, *inner = op["path"]
    raw = after[field]
    try:
        kept = field_of_node(field, raw)
    except FieldError as error:
        raise editing.wrong(error) from None
    if kept is raw or orjson.dumps(kept) == orjson.dumps(raw):
        return op
    if op["op"] == "node.set":
        return {**op, "value": get(kept, inner)}
    return {"op": "node.set", "id": op["id"], "path": [field], "value": kept}


def _set_back(node: JsonObject, op: Mapping[str, Any]) -> Operation:
    """What undoes that something is set in a node."""
    path = op["path"]
    old = get(node, path)
    if old is MISSING:
        return {"op": "node.unset", "id": op["id"], "path": path[: made_by(node, path)]}
    return {"op": "node.set", "id": op["id"], "path": path, "value": old}


def _is_id(text: str) -> bool:
    return re.fullmatch(NODE_ID_PATTERN.strip("^$"), text, re.ASCII) is not None


KINDS: Final[Mapping[str, Kind]] = {
    "node.add": Kind(check_add, perform_add),
    "node.remove": Kind(check_remove, perform_remove),
    "node.rename": Kind(check_rename, perform_rename),
    "node.set": Kind(check_set, perform_set),
    "node.unset": Kind(check_unset, perform_unset),
    "text.edit": Kind(check_text, perform_text),
}
