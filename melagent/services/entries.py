"""Where runs enter that no trigger node starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.errors import Problem, Unprocessable

if TYPE_CHECKING:
    from melagent.domain.definition import Definition
    from melagent.registry import Registry

MANUAL = "manual_trigger"


def entry_of(definition: Definition, registry: Registry, wanted: str | None) -> str:
    """The node at which a start by hand enters: the one asked for, else the manual trigger, else the only trigger.

    Raises Unprocessable when that does not name exactly one node.
    """
    triggers = [
        node
        for node in definition.nodes
        if (node_type := registry.get(node.type)) is not None and node_type.entry_point and not node.disabled
    ]
    choices = [node for node in triggers if node.type == MANUAL] or triggers
    if wanted is not None:
        choices = [node for node in triggers if node.id == wanted]
    if len(choices) == 1:
        return choices[0].id
    names = ", ".join(node.id for node in triggers) or "none"
    problem = "This is not a trigger of the workflow" if wanted else "Name the trigger to start at"
    raise Unprocessable("The run cannot be started.", [Problem("entry", f"{problem}; its triggers are: {names}.")])


def entry_by_hand(definition: Definition, registry: Registry, *, needed: bool) -> str | None:
    """Where triggers enter that were made by hand; null when that is not clear, which is Unprocessable if `needed`."""
    try:
        return entry_of(definition, registry, None)
    except Unprocessable as error:
        if not needed:
            return None
        problems = [
            Problem("definition", f"It has triggers that were made by hand. {each.problem}") for each in error.details
        ]
        raise Unprocessable("The version cannot be started by triggers that were made by hand.", problems) from None
