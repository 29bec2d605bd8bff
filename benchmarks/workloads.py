"""The workflows that are measured. Each is called as a webhook with `{"n": N}` and answers `2 * N`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

Node: TypeAlias = dict[str, Any]

DOUBLED = "{{ input.body.n * 2 }}"


@dataclass(frozen=True, slots=True)
class Workload:
    """A workflow, and what one run of it leaves behind.

    `field` is where the answer holds `2 * N`; `steps` counts the trigger; `writes` is the number of commits after the
    start that durability asks for: one for pure steps, one for each effectful one.
    """

    name: str
    definition: dict[str, Any]
    field: str
    steps: int
    writes: int


def _chain(*nodes: Node) -> dict[str, Any]:
    """One node after the other; an `if` goes on with `true`."""
    edges = [
        {"source": one["id"], "source_handle": "true" if one["type"] == "if" else "out", "target": other["id"]}
        for one, other in pairwise(nodes)
    ]
    return {"nodes": list(nodes), "edges": edges}


def by_hand(*nodes: Node, entry: str = "manual_trigger") -> dict[str, Any]:
    """A workflow that is started by hand, or called: its nodes one after the other."""
    return _chain({"id": "start", "type": entry, "config": {}}, *nodes)


def value(node_id: str, expression: str) -> Node:
    return {"id": node_id, "type": "transform", "config": {"expression": expression}}


def looped(*body: Node, concurrency: int, distributed: bool = False) -> dict[str, Any]:
    """A workflow that is started by hand with a list; its output is the list of what `body` makes of the items."""
    config = {"items": "input", "concurrency": concurrency, "distributed": distributed}
    loop, last = {"id": "loop", "type": "for_each", "config": config}, value("last", "input")
    made = by_hand(loop)
    inner = _chain(*body)["edges"]
    made["nodes"] += [*body, last]
    made["edges"] += [
        {"source": "loop", "source_handle": "item", "target": body[0]["id"]},
        *inner,
        {"source": "loop", "source_handle": "done", "target": "last"},
    ]
    return made


def call_of(workflow_id: str, given: str) -> Node:
    return {"id": "call", "type": "workflow_call", "config": {"workflow": workflow_id, "input": given}}


def _webhook(respond: str) -> Node:
    return {"id": "hook", "type": "webhook", "config": {"mode": "sync", "respond": respond}}


def _set(number: int, value: str) -> Node:
    return {"id": f"set{number}", "type": "set", "config": {"fields": {"total": value}, "include": "none"}}


def _effect(number: int, total: str) -> Node:
    return {"id": f"effect{number}", "type": "bench_effect", "config": {"total": total}}


PURE = Workload(
    "pure",
    _chain(
        _webhook("http_response"),
        _set(1, DOUBLED),
        {"id": "positive", "type": "if", "config": {"conditions": [{"expression": "input.total > 0"}]}},
        {"id": "answer", "type": "http_response", "config": {}},
    ),
    field="total",
    steps=4,
    writes=1,
)

EFFECTFUL = Workload(
    "effectful",
    _chain(
        _webhook("last_node"),
        _effect(1, DOUBLED),
        _effect(2, "{{ input.total }}"),
        _effect(3, "{{ input.total }}"),
    ),
    field="total",
    steps=4,
    writes=3,
)
"""Each effect is durable before the next one starts. Its node comes with the benchmarks: see `node/`."""

FORTY = Workload(
    "forty",
    _chain(_webhook("last_node"), _set(1, DOUBLED), *(_set(number, "{{ input.total }}") for number in range(2, 41))),
    field="total",
    steps=41,
    writes=1,
)
