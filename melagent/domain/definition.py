"""The definition of a workflow: nodes, edges and settings, exactly as files, drafts and versions hold them.

The models check shape only (types, ranges, unknown fields). Whether a definition makes sense (known node types, no
cycle, valid parameters) is the business of `services.workflows`, because a draft may be wrong and must still be kept.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

NODE_ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$"
HANDLE_PATTERN = r"^[^\x00-\x1f,]{1,100}$"

MAX_NODES = 5_000
MAX_EDGES = 20_000

NodeId = Annotated[str, Field(pattern=NODE_ID_PATTERN)]
Handle = Annotated[str, Field(pattern=HANDLE_PATTERN)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,63}=[A-Za-z0-9_./-]{0,63}$")]


class Frozen(BaseModel):
    """Base of the definition's parts: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OnError(StrEnum):
    """What a failed node does to its run."""

    FAIL = "fail"
    CONTINUE = "continue"
    BRANCH = "branch"


class OnInterrupted(StrEnum):
    """What to do with a node that was running when its worker died."""

    RETRY = "retry"
    FAIL = "fail"
    SKIP = "skip"


class Jitter(StrEnum):
    FULL = "full"
    NONE = "none"


class Retry(Frozen):
    """How often and how patiently a failed node is tried again; delays in milliseconds."""

    max_attempts: int = Field(default=3, ge=1, le=100)
    initial_delay_ms: int = Field(default=1000, ge=0, le=86_400_000)
    backoff_multiplier: float = Field(default=2.0, ge=1.0, le=100.0)
    max_delay_ms: int = Field(default=300_000, ge=0, le=86_400_000)
    jitter: Jitter = Jitter.FULL
    non_retryable: tuple[str, ...] = ()


class Position(Frozen):
    x: float = 0.0
    y: float = 0.0


class Node(Frozen):
    """A box in the graph. `config` holds the parameters of its type, camelCase as on the wire."""

    id: NodeId
    type: str = Field(min_length=1, max_length=100)
    name: str = Field(default="", max_length=200)
    position: Position = Position()
    config: dict[str, Any] = Field(default_factory=dict)
    disabled: bool = False
    timeout_seconds: float | None = Field(default=None, gt=0, le=86_400)
    retry: Retry = Retry()
    on_error: OnError = OnError.FAIL
    on_interrupted: OnInterrupted = OnInterrupted.RETRY
    labels: tuple[Label, ...] = ()


class Edge(Frozen):
    """A connection. Its id is derived from its four fields; an id sent by a file or client is accepted and replaced."""

    source: NodeId
    source_handle: Handle = "out"
    target: NodeId
    target_handle: Handle = "in"

    @model_validator(mode="before")
    @classmethod
    def _drop_sent_id(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if k != "id"} if isinstance(data, dict) else data

    @computed_field  # type: ignore[prop-decorator]  # mypy does not support decorators on properties
    @property
    def id(self) -> str:
        parts = (self.source, self.source_handle, self.target, self.target_handle)
        return "e_" + hashlib.sha256(",".join(parts).encode()).hexdigest()[:16]


class WorkflowSettings(Frozen):
    """Settings of all runs of a version. A lower `priority` is claimed earlier."""

    timeout_seconds: float | None = Field(default=None, gt=0, le=365 * 86_400)
    max_concurrency: int | None = Field(default=None, ge=1, le=100_000)
    priority: int = Field(default=5, ge=0, le=9)
    labels: tuple[Label, ...] = ()
    error_workflow_id: str | None = None


class Definition(Frozen):
    """Nodes and edges, with the settings and the notes on the canvas."""

    nodes: tuple[Node, ...] = Field(default=(), max_length=MAX_NODES)
    edges: tuple[Edge, ...] = Field(default=(), max_length=MAX_EDGES)
    settings: WorkflowSettings = WorkflowSettings()
    notes: tuple[dict[str, Any], ...] = ()

    def node(self, node_id: str) -> Node | None:
        return next((node for node in self.nodes if node.id == node_id), None)
