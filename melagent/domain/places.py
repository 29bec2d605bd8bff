"""Where operations reach in a draft, so that it can be told which edits build on which.

A place is a path through the draft: `("node", id, "config", "url")`, `("edge", id)`, `("meta", "settings")`, and `()`
for all of it. Two edits meet when a place of one lies in a place of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from melagent.domain.draft_state import is_near

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from melagent.domain.draft_state import Operation

Place: TypeAlias = "tuple[Any, ...]"

EDGES = "edges"
"""Where edges hang on a node: whoever removes the node meets whoever adds one, but not whoever renames it."""


def places(ops: Iterable[Operation]) -> set[Place]:
    """The places that completed operations reach."""
    return {place for op in ops for place in _places(op)}


def meeting(some: Iterable[Place], others: Sequence[Place]) -> list[Place]:
    """Those of the places that meet any of the others."""
    return sorted((place for place in some if any(is_near(place, other) for other in others)), key=str)


def written(place: Place) -> str:
    """A place as in the details of an error: `nodes.fetch.config.url`."""
    kinds = {"node": "nodes", "edge": "edges", "meta": ""}
    parts = [kinds[place[0]], *place[1:]] if place else ["definition"]
    told = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts if part != "")
    return "".join(told).removeprefix(".")


def _places(op: Operation) -> Iterator[Place]:
    name = op["op"]
    if name == "draft.replace":
        yield ()
    elif name == "meta.set":
        yield ("meta", *op["path"])
    elif name.startswith("edge."):
        yield ("edge", op["id"])
        for end in ("source", "target"):
            if end in op:
                yield ("node", op[end], EDGES)
    elif "path" in op:
        path = op["path"]
        whole = name == "node.unset" and type(path[-1]) is int  # the rest of the list moves up
        yield ("node", op["id"], *(path[:-1] if whole else path))
    else:
        yield ("node", op["id"])
        if name == "node.rename":
            yield ("node", op["to"])
            for one in op["sets"]:
                yield ("node", one["id"], *one["path"])
