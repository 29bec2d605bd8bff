"""A context for one node: real expressions and a real guarded client, as the engine gives them."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from melagent.net import guarded_session
from melagent.registry import Registry
from melagent.sandbox import expressions
from melagent.sdk import NodeError, RunInfo

if TYPE_CHECKING:
    import aiohttp

REGISTRY = Registry.builtin()


@dataclass
class Context:
    """What `NodeContext` promises, kept in memory."""

    input: Any = None
    inputs: dict[str, Any] = field(default_factory=dict)
    http: aiohttp.ClientSession | None = None
    run: RunInfo = field(default_factory=lambda: RunInfo("run-1", None, "version-1", None))
    trigger: dict[str, Any] = field(default_factory=lambda: {"id": None, "type": "manual", "node_id": None})
    step_key: str = "node"
    attempt: int = 1
    idempotency_key: str = "run-1:node"
    now: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    random: random.Random = field(default_factory=lambda: random.Random(1))
    lines: list[tuple[str, str]] = field(default_factory=list)

    def scope(self, extra: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"input": self.input, "inputs": self.inputs, "steps": {}, "run": asdict(self.run)} | (extra or {})

    def evaluate(self, expression: str, extra: dict[str, Any] | None = None) -> Any:
        try:
            return expressions.evaluate(expression, self.scope(extra))
        except expressions.ExpressionError as error:
            raise NodeError(error.message, code="expression_error", retryable=False) from error

    def render(self, template: str, extra: dict[str, Any] | None = None) -> str:
        return expressions.render(template, self.scope(extra))

    def log(self, level: str, message: str, **_fields: Any) -> None:
        self.lines.append((level, message))


@pytest.fixture
def context():
    return Context


@pytest.fixture
def run_node():
    """Renders, validates and runs a node as the engine does."""

    async def run(type_id: str, config: dict[str, Any], context: Context | None = None, **given: Any) -> Any:
        node_type = REGISTRY.get(type_id)
        assert node_type is not None
        ctx = context or Context(**given)
        template = expressions.compile_config(config, node_type.raw_fields)
        rendered = template.render(ctx.scope()) if template else config
        return await node_type.node.run(node_type.params.model_validate(rendered), ctx)

    return run


@pytest.fixture
async def loopback_http():
    """The guarded client, with loopback allowed."""
    async with guarded_session(["127.0.0.1"]) as session:
        yield session
