"""For the tests of nodes: runs a node once, as the engine does, on values that the test chooses.

async def test_greets():
    assert await run_node(Greet(), {"name": "{{ input.who }}"}, input={"who": "Ada"}) == {"text": "hello Ada"}
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from melagent.registry import NodeType
from melagent.sandbox import expressions
from melagent.sdk import Json, LogLevel, Node, NodeError, Received, Result, RunInfo, Secret, VariableScope

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID


@dataclass
class Context:
    """What `sdk.NodeContext` promises, in a loop or outside.

    `http` is the client to use, if any; `lines` is what the node has logged, `shown` what it has shown. `vars` are the
    variables, of whatever scope, and `connections` what can be opened (`domain.secrets.Secret`).
    """

    input: Json = None
    inputs: dict[str, Json] = field(default_factory=dict)
    item: Json = None
    index: int | None = None
    http: Any = None
    run: RunInfo = field(default_factory=lambda: RunInfo("run-1", None, "version-1", None))
    trigger: dict[str, Json] = field(default_factory=lambda: {"id": None, "type": "manual", "node_id": None})
    step_key: str = "node"
    attempt: int = 1
    received: Received | None = None
    idempotency_key: str = "run-1:node"
    now: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311  # must repeat
    vars: dict[str, Json] = field(default_factory=dict)
    connections: dict[UUID, Secret] = field(default_factory=dict)
    lines: list[tuple[LogLevel, str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def scope(self, extra: Mapping[str, Json] | None = None) -> dict[str, Json]:
        """The names that expressions see."""
        known = {"input": self.input, "inputs": self.inputs, "steps": {}, "run": asdict(self.run)}
        known |= {"trigger": self.trigger, "workflow": {"id": self.run.workflow_id}, "vars": self.vars}
        return {**known, "item": self.item, "index": self.index, **(extra or {})}

    async def connection(self, connection_id: UUID) -> Secret:
        if connection_id not in self.connections:
            raise NodeError("There is no such connection.", code="not_found", retryable=False)
        return self.connections[connection_id]

    async def variables(
        self, _scope: VariableScope | None = None, *, keys: Collection[str] | None = None, prefix: str = ""
    ) -> dict[str, Json]:
        wanted = [key for key in sorted(self.vars) if (keys is None or key in keys) and key.startswith(prefix)]
        return {key: self.vars[key] for key in wanted}

    def evaluate(self, expression: str, extra: Mapping[str, Json] | None = None) -> Json:
        try:
            return expressions.evaluate(expression, self.scope(extra))
        except expressions.ExpressionError as error:
            raise NodeError(error.message, code="expression_error", retryable=False) from error

    def render(self, template: str, extra: Mapping[str, Json] | None = None) -> str:
        try:
            return expressions.render(template, self.scope(extra))
        except expressions.ExpressionError as error:
            raise NodeError(error.message, code="expression_error", retryable=False) from error

    def log(self, level: LogLevel, message: str, **_fields: Json) -> None:
        self.lines.append((level, message))

    def show(self, text: str) -> None:
        self.shown.append(text)


async def run_node(node: Node[Any], config: dict[str, Json], context: Context | None = None, **given: Any) -> Result:
    """What the node returns for a config and a context, or for one made of what is `given` (`input=…`).

    Raises what `run` raises, DeclarationError for a node that no server would load, and ValidationError of Pydantic
    for parameters that are not valid.
    """
    node_type, ctx = NodeType.of(node), context or Context(**given)
    template = expressions.compile_config(config, node_type.raw_fields)
    rendered = template.render(ctx.scope()) if template else config
    return await node.run(node_type.params.model_validate(rendered), ctx)
