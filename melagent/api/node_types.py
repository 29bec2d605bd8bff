"""The catalogue of node types, and of the packages that bring some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from melagent.api.context import services_of
from melagent.api.wire import Answer, Body, answer
from melagent.errors import NotFound

if TYPE_CHECKING:
    from aiohttp import web


class NodeTypesQuery(Body):
    kind: str | None = None


class NodeTypeAnswer(Answer):
    id: str
    name: str
    description: str
    category: str
    icon: str
    kinds: list[str]
    entry_point: bool
    branching: bool
    effects: bool
    inputs: list[str]
    outputs: list[str]
    parameters: list[dict[str, Any]]
    schema_: dict[str, Any] = Field(alias="schema")


class ExtensionAnswer(Answer):
    name: str
    version: str
    node_types: list[str]


async def list_node_types(request: web.Request, query: NodeTypesQuery) -> web.Response:
    """All node types, or those of one kind (action, trigger, model, memory, tool)."""
    types = services_of(request).registry.all()
    return answer([found.describe() for found in types if query.kind is None or query.kind in found.kinds])


async def get_node_type(request: web.Request) -> web.Response:
    """One node type with its parameters and their JSON Schema."""
    found = services_of(request).registry.get(request.match_info["id"])
    if found is None:
        raise NotFound("There is no such node type.")
    return answer(found.describe())


async def list_extensions(request: web.Request) -> web.Response:
    """The installed packages that bring node types, each with its version and the ids of its types."""
    return answer(services_of(request).registry.extensions)
