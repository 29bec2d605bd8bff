"""What the checks of all operations need: the state they look at, and the words in which they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from melagent.domain.draft_state import Refused
from melagent.domain.json_paths import PathError, put
from melagent.domain.json_values import MAX_DEPTH, fault_of, fault_of_key
from melagent.errors import Code, Problem

if TYPE_CHECKING:
    from melagent.domain.draft_change import Change
    from melagent.domain.draft_fields import FieldError
    from melagent.domain.draft_state import DraftState, JsonObject, Operation, Removal
    from melagent.domain.json_paths import Path

MAX_OPERATIONS: Final = 5_000
MAX_DEFINITION_BYTES: Final = 16 * 1024 * 1024
"""Of a definition as JSON text. One that comes in a body of 10 MiB is smaller, with every field written out."""

Rewrites: TypeAlias = Callable[[Mapping[str, "JsonObject"], str, str], list["JsonObject"]]
"""What becomes of the values that name a node when it gets another id, as `{id, path, value}` with the new ids."""


def no_rewrites(_nodes: Mapping[str, JsonObject], _node_id: str, _to: str) -> list[JsonObject]:
    return []


class Kind(NamedTuple):
    """A kind of operation. `check` answers it completed, with the operations that undo it; `perform` trusts it."""

    check: Callable[[Editing, Operation], tuple[Operation, list[Operation]]]
    perform: Callable[[Change, Operation], None]


class Editing:
    """An edit while its operations are checked, one after the other, each on what the one before left."""

    __slots__ = ("number", "renames", "rewrites", "seq", "state", "texts")

    def __init__(self, state: DraftState, seq: int, rewrites: Rewrites) -> None:
        self.state = state
        self.seq = seq
        self.rewrites = rewrites
        self.number = 0
        self.renames = 0
        self.texts: dict[tuple[Any, ...], str] = {}
        """The texts that the edit changes, by node and path, as they were."""

    def node(self, op: Operation) -> JsonObject:
        """The node that an operation is about; Refused when there is none."""
        node_id = op["id"]
        if type(node_id) is not str:
            raise self.bad("id", "An id is text.")
        node = self.state.nodes.get(node_id)
        if node is None:
            raise self.absent("id", node_id, "node")
        return node

    def path(self, op: Operation, fields: frozenset[str]) -> Path:
        """Where an operation reaches: into one of the fields. Refused for anything that is no such path."""
        path = op["path"]
        if type(path) is not list or not path or len(path) > MAX_DEPTH:
            raise self.bad("path", f"A path is a list of 1 to {MAX_DEPTH} keys and indexes.")
        if type(path[0]) is not str or path[0] not in fields:
            raise self.bad("path", f"A path begins with one of {', '.join(sorted(fields))}.")
        for step in path[1:]:
            if type(step) is not int and type(step) is not str:
                raise self.bad("path", "A key is text, an index is a whole number.")
            if (fault := fault_of(step) if type(step) is int else fault_of_key(step)) is not None:
                raise self.bad("path", fault)
        return path

    def value(self, op: Operation, path: Path) -> Any:
        """What an operation puts at a path. Refused when a draft cannot hold it there."""
        value = op["value"]
        if (fault := fault_of(value, MAX_DEPTH - len(path))) is not None:  # it lies in a node, which is the first level
            raise self.bad("value", fault)
        return value

    def put(self, holder: JsonObject, path: Path, value: Any) -> JsonObject:
        """The node or definition with a value at a path; Refused when the path leads nowhere."""
        try:
            changed: JsonObject = put(holder, path, value)
        except PathError as error:
            raise self.bad("path", str(error)) from None
        return changed

    def has(self, op: Operation, required: frozenset[str], optional: frozenset[str] = frozenset()) -> None:
        """Refused when a field of the operation is missing, or is none of those."""
        keys = op.keys()
        if keys != required:
            if missing := sorted(required - keys):
                raise self.bad(missing[0], "This field is required.")
            if unknown := sorted(keys - required - optional):
                raise self.bad(unknown[0][:100], "An operation of this kind has no such field.")

    def bad(self, field: str, problem: str) -> Refused:
        return self.refused(Code.BAD_REQUEST, "The edit is not of the expected form.", field, problem)

    def wrong(self, error: FieldError, prefix: str = "") -> Refused:
        inside = f"ops[{self.number}].{prefix}"
        details = [Problem(f"{inside}{one.field}".rstrip("."), one.problem) for one in error.problems]
        return Refused(Code.BAD_REQUEST, "A value does not fit.", details)

    def refused(self, code: Code, message: str, field: str, problem: str) -> Refused:
        return Refused(code, message, [Problem(f"ops[{self.number}].{field}", problem)])

    def absent(self, field: str, lost: str, what: str) -> Refused:
        """The refusal of an operation on something that is not there: `gone` when we know who took it away."""
        removal = self.state.removed.get(lost)
        details = [Problem(f"ops[{self.number}].{field}", f"There is no {what} {lost[:100]!r}.")]
        if removal is None:
            return Refused(Code.NOT_FOUND, f"There is no such {what}.", details, missing=lost)
        return Refused(Code.GONE, words_for(removal), details, missing=lost, gone=removal)


def words_for(removal: Removal) -> str:
    done = "removed" if removal.to is None else f"renamed to {removal.to!r}"
    return f"This was {done} by {removal.by.name or 'somebody'}."


def edge_added(edge: JsonObject) -> Operation:
    """The operation that adds an edge; its id comes first, by which the one that took it away is found."""
    return {"op": "edge.add", "id": edge["id"], **edge}
