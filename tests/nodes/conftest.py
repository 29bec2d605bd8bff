"""Nodes by their type, and a context for one: real expressions and a real guarded client, as the engine gives them."""

from __future__ import annotations

from typing import Any

import pytest

from melagent import testing
from melagent.net import guarded_session
from melagent.registry import Registry

REGISTRY = Registry.builtin()


@pytest.fixture
def context():
    return testing.Context


@pytest.fixture
def run_node():
    """Renders, validates and runs a node as the engine does."""

    async def run(type_id: str, config: dict[str, Any], context: testing.Context | None = None, **given: Any) -> Any:
        node_type = REGISTRY.get(type_id)
        assert node_type is not None
        return await testing.run_node(node_type.node, config, context, **given)

    return run


@pytest.fixture
async def loopback_http():
    """The guarded client, with loopback allowed."""
    async with guarded_session(["127.0.0.1"]) as session:
        yield session
