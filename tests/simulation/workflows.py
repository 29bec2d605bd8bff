"""Random small workflows, which may call one another, wait, sleep, loop and fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from melagent.domain.definition import Definition
from melagent.domain.loops import DONE_HANDLE, ITEM_HANDLE, Regions
from tests.simulation.nodes import Await, CallWorkflow, Choose, Effect, Entry, Nap, Pure, Repeat, Stop

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.simulation.nodes import Watched

SIGNALS = ("go", "come")
LABEL = "gpu=1"
MAX_CALLS, MAX_LOOPS = 2, 2
"""So deep may workflows call one another, and loops lie in one another."""

KINDS: dict[type[Watched], float] = {
    Pure: 4, Effect: 5, Nap: 3, Choose: 2, Stop: 0.3, Await: 1.5, CallWorkflow: 2, Repeat: 1,
}  # fmt: skip


@dataclass(frozen=True)
class Workflow:
    """A workflow with its only version; `depth` levels of calls may be below it."""

    number: int
    definition: Definition
    depth: int

    @property
    def id(self) -> UUID:
        return UUID(int=self.number)

    @property
    def name(self) -> str:
        return f"workflow {self.number}"

    @property
    def version_id(self) -> UUID:
        return UUID(int=1_000_000 + self.number)

    @cached_property
    def regions(self) -> Regions:
        return Regions.of(self.definition)


class Library:
    """All workflows of a simulation."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._by_name: dict[str, Workflow] = {}
        self._by_version: dict[UUID, Workflow] = {}
        self._labels = dice.random() < 0.3

    def named(self, name: str) -> Workflow:
        return self._by_name[name]

    def of_version(self, version_id: UUID) -> Workflow:
        return self._by_version[version_id]

    def any(self) -> Workflow:
        """A workflow that was made before, or a new one with those that it may call."""
        dice = self._dice
        if self._by_name and dice.random() < 0.4:
            return dice.choice(list(self._by_name.values()))
        for depth in range(dice.choice([0, 0, 0, 1, 1, MAX_CALLS])):
            self._make(depth, dice.randint(1, 4))
        return self._make(MAX_CALLS, dice.randint(1, 7))

    def _make(self, depth: int, size: int) -> Workflow:
        callable_ = [workflow for workflow in self._by_name.values() if workflow.depth < depth]
        definition = Draft(self._dice, [workflow.name for workflow in callable_], self._labels).definition(size)
        calls = {node.config["workflow"] for node in definition.nodes if node.type == CallWorkflow.id}
        below = max((workflow.depth + 1 for workflow in callable_ if workflow.name in calls), default=0)
        workflow = Workflow(len(self._by_name) + 1, definition, below)
        self._by_name[workflow.name] = self._by_version[workflow.version_id] = workflow
        return workflow


@dataclass
class Draft:
    """A definition in the making."""

    dice: random.Random
    callable_: Sequence[str]
    labels: bool
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        often = self.dice.random() < 0.4
        self.works = (0.0, 8.0, 12.0) if often else (0.0, 0.0, 0.05, 0.5, 2.0, self.dice.uniform(0, 20))
        self.kinds = {kind: weight for kind, weight in KINDS.items() if self.callable_ or kind is not CallWorkflow}

    def definition(self, size: int) -> Definition:
        dice = self.dice
        self.nodes.append({"id": "n0", "type": Entry.id})
        self._region([("n0", Entry.outputs)], size, loops=0)
        settings = {
            "timeout_seconds": dice.choice([None, None, None, dice.uniform(4, 30)]),
            "max_concurrency": dice.choice([None, None, 1, 2]),
            "priority": dice.randint(0, 9),
            "labels": [LABEL] if self._labelled() else [],
        }
        return Definition.model_validate({"nodes": self.nodes, "edges": self.edges, "settings": settings})

    def _region(self, sources: list[tuple[str, Sequence[str]]], size: int, *, loops: int) -> None:
        """So many nodes behind some others, each given with the handles that lead to here."""
        dice = self.dice
        for _ in range(size):
            kinds = {kind: weight for kind, weight in self.kinds.items() if kind is not Repeat or loops < MAX_LOOPS}
            kind = dice.choices(list(kinds), list(kinds.values()))[0]
            node_id = f"n{len(self.nodes)}"
            self.nodes.append(self._node(node_id, kind))
            for source, handles in dict([dice.choice(sources) for _ in range(dice.choice([1, 1, 2, 3]))]).items():
                failing = dice.random() < 0.2 and ITEM_HANDLE not in handles
                handle = dice.choice([*handles, "error"] if failing else handles)
                self.edges.append({"source": source, "source_handle": handle, "target": node_id})
            if kind is Repeat:
                self._region([(node_id, [ITEM_HANDLE])], dice.choice([1, 1, 2, 3]), loops=loops + 1)
            sources.append((node_id, [DONE_HANDLE] if kind is Repeat else kind.outputs))

    def _node(self, node_id: str, kind: type[Watched]) -> dict[str, Any]:
        dice = self.dice
        config: dict[str, Any] = {"work": dice.choice(self.works)} | self._config(kind)
        if dice.random() < 0.25:
            config["fails"] = dice.randint(1, 3)
        return {
            "id": node_id,
            "type": kind.id,
            "config": config,
            "disabled": dice.random() < 0.05,
            "timeout_seconds": dice.choice([None, None, None, None, None, 1.0]),
            "retry": {"max_attempts": dice.randint(1, 3), "initial_delay_ms": dice.choice([0, 300, 2_000, 9_000])},
            "on_error": dice.choice(["fail", "continue", "branch"]),
            "on_interrupted": dice.choice(["retry", "retry", "fail", "skip"]),
            "labels": [LABEL] if self._labelled() else [],
        }

    def _config(self, kind: type[Watched]) -> dict[str, Any]:
        """The parameters that belong to a type."""
        dice = self.dice
        if kind is Nap:
            return {"seconds": dice.choice([0.0, 0.5, 3.0, 4.8, 5.0, 6.0, 12.0])}
        if kind is Await:
            return {"signal": dice.choice(SIGNALS), "seconds": dice.choice([None, None, 1.0, 6.0, 15.0])}
        if kind is CallWorkflow:
            timeout = dice.choice([None, None, None, 3.0, 12.0])
            return {"workflow": dice.choice(self.callable_), "seconds": timeout, "sync": dice.random() < 0.85}
        if kind is Repeat:
            return {
                "items": dice.randint(2, 5),
                "concurrency": dice.choice([1, 2, 10]),
                "on_item_error": dice.choice(["fail", "continue", "skip"]),
                "distributed": dice.random() < 0.3,
            }
        return {}

    def _labelled(self) -> bool:
        return self.labels and self.dice.random() < 0.15
