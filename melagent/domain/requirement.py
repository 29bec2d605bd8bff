"""What a run asks of the worker that runs it: labels, and node types that are not built in.

A requirement is one text, its parts sorted and separated by blanks: `region=eu type:my_node`. It is what the queue is
divided by, so equal requirements must be equal texts. The empty one is met by every worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ANY_WORKER = ""

MAX_LENGTH = 2000
"""Characters of a requirement, all of them ASCII. The queue's index holds it, and refuses an entry above 2,704 bytes:
a run that was leased with a longer one could never be freed again."""


def requirement(labels: Iterable[str], node_types: Iterable[str] = ()) -> str:
    """The requirement of a run with these labels whose nodes have these types, built-in ones left out."""
    return " ".join(sorted(capabilities(labels, node_types)))


def capabilities(labels: Iterable[str], node_types: Iterable[str] = ()) -> frozenset[str]:
    """What a worker with these labels and node types has to offer."""
    return frozenset(labels) | {f"type:{node_type}" for node_type in node_types}


def meets(offered: frozenset[str], required: str, *, bound: bool = False) -> bool:
    """Whether a worker that offers this may run what is required. A `bound` one only runs what requires something."""
    return offered.issuperset(required.split()) if required else not bound


def met(offered: frozenset[str], requirements: Iterable[str], *, bound: bool = False) -> set[str]:
    """Those of the requirements that a worker with this offer meets."""
    return {required for required in requirements if meets(offered, required, bound=bound)}


def missing(offered: frozenset[str], required: str) -> list[str]:
    """The parts of a requirement that a worker lacks."""
    return [part for part in required.split() if part not in offered]
