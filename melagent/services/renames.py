"""What follows a node that gets another id: the expressions and templates of all nodes that name its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from melagent.domain.draft_state import JsonObject
    from melagent.domain.editing import Rewrites
    from melagent.registry import Registry


def rewriter(registry: Registry) -> Rewrites:
    """Finds what a renaming changes besides. Texts that nobody evaluates, and nodes of unknown types, stay."""

    def rewrites(nodes: Mapping[str, JsonObject], node_id: str, to: str) -> list[JsonObject]:
        return [
            {"id": to if node["id"] == node_id else node["id"], "path": ["config", *path], "value": text}
            for node in nodes.values()
            if (node_type := registry.get(node["type"])) is not None
            for path, text in node_type.renamed(node["config"], node_id, to)
        ]

    return rewrites
