"""All that the author of a node imports.

A node is one short file: a `Params` model, a class with its declaration, one `run`::

    class GreetParams(Params):
        name: str = Field(default="world", description="Whom to greet")

    class Greet(Node[GreetParams]):
        id = "greet"
        name = "Greet"
        description = "Says hello"
        category = "Examples"

        async def run(self, params: GreetParams, ctx: NodeContext) -> Result:
            return {"text": f"hello {params.name}"}

What `run` returns is the output on the handle `out`; return `Success(output, handle)` to choose another handle, raise
`NodeError` to fail. Outputs are JSON values. Everything from outside (input, HTTP, time, randomness, log) comes through
the context, so a node has no state of its own and one instance serves all runs of a process at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    import aiohttp
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

__all__ = [
    "Call", "Connection", "Expression", "Field", "Finish", "ForEach", "Json", "LogLevel", "Node", "NodeContext",
    "NodeError", "Outcome", "Params", "Raw", "Received", "Result", "RunInfo", "Secret", "SetVariable", "Sleep",
    "Success", "VariableKey", "VariableScope", "Wait",
]  # fmt: skip  # names in their order

Json: TypeAlias = Any
"""A JSON value: null, bool, number, text, list, or object with text keys."""

LogLevel = Literal["debug", "info", "warn", "error"]


class Params(BaseModel):
    """Base of all parameter models: camelCase on the wire, unknown parameters refused, defaults applied.

    A number is taken where text is wanted, because `{{ input.id }}` alone keeps the type of its value.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, coerce_numbers_to_str=True
    )


class _NoTemplate:
    """Marks a parameter whose text is left as it is: no `{{ }}` is replaced in it before `run`."""


Raw = _NoTemplate()
"""Annotation for text that is never a template: `body: Annotated[str, Raw]`."""


class _IsExpression(_NoTemplate):
    """Marks a parameter that is one expression, evaluated by the node through `ctx.evaluate`; checked at deploy."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core_schema), "x-widget": "expression"}


Expression = _IsExpression()
"""Annotation for text that is one expression: `condition: Annotated[str, Expression]`."""


class Connection(_NoTemplate):
    """Annotation for the id of a connection, with the credential types it may have:
    `connection: Annotated[UUID, Connection("bearer", "basic")]`. `ctx.connection` opens it; checked at deploy.
    """

    def __init__(self, *credential_types: str) -> None:
        self.credential_types = credential_types

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core_schema), "x-credential": list(self.credential_types), "x-widget": "connection"}


class Outcome:
    """Base of what `run` may return besides a plain output."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Success(Outcome):
    """The node is done. `handle` names the output that is taken; edges from all other handles are dead."""

    output: Json = None
    handle: str = "out"


@dataclass(frozen=True, slots=True)
class Sleep(Outcome):
    """The node is done after so many seconds, or at a moment, with this output.

    From 5 seconds on no worker is held meanwhile.
    """

    seconds: float = 0.0
    output: Json = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finish(Outcome):
    """The whole run ends here: completed with `output`, or failed when `error` is set."""

    output: Json = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Wait(Outcome):
    """Wait for a signal, at most so many seconds; then `run` is called again, with what came in `ctx.received`.

    No worker is held meanwhile. A signal that was sent before is received at once. `shown` is what people see.
    """

    signal: str
    seconds: float | None = None
    shown: Json = None


@dataclass(frozen=True, slots=True)
class Call(Outcome):
    """Start a run of a workflow, given by its id or its name; `version` is a number or `current`.

    With `wait` the run is a child: `run` is called again with its end in `ctx.received`, or after so many seconds
    without. Otherwise the node is done, its output is `{"run_id": …}`.
    """

    workflow: str
    input: Json = None
    version: int | Literal["current"] = "current"
    wait: bool = True
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ForEach(Outcome):
    """Run what hangs on the handle `item` once for each item; only the node type `for_each` may return it.

    So many items are under way at once. An item that fails fails the node, or its result is `{"error": …}`
    (`continue`), or it is left out (`skip`). With `distributed` each item is a run of its own that any worker may take.
    """

    items: Sequence[Json]
    concurrency: int = 1
    on_item_error: Literal["fail", "continue", "skip"] = "fail"
    distributed: bool = False


VariableScope = Literal["run", "workflow", "global"]

VariableKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,199}$")]
"""Annotation for the name of a variable."""


@dataclass(frozen=True, slots=True)
class SetVariable(Outcome):
    """Change a variable: `set` it to `value`, `increment` it by `amount`, `compare_and_set` it if it is `expected`, or
    `delete` it.

    The very write that records the step changes it: once, or not at all. The output of the step is
    `{"key", "scope", "ok", "value", "revision"}`, the variable as it then is; `ok` is false when it was not as
    `expected`. A change that cannot be made fails the step. Scope `run` is for the node type `variable_set` only.
    """

    key: str
    value: Json = None
    scope: VariableScope = "workflow"
    operation: Literal["set", "increment", "compare_and_set", "delete"] = "set"
    expected: Json = None
    amount: float = 1


@dataclass(frozen=True, slots=True)
class Received:
    """What a node gets that waited: a signal's value, the output or the `error` of a child, or that time is up."""

    value: Json = None
    error: Mapping[str, Json] | None = None
    timed_out: bool = False


Result: TypeAlias = Outcome | Json
"""What `run` may return; anything that is not an outcome is the output on the handle `out`."""


class NodeError(Exception):
    """The node failed. `code` is a stable word that retry rules can name; retried unless `retryable` is false.

    Before `retry_after` seconds another try is in vain: the next one comes then at the earliest (at most an hour).
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "node_error",
        retryable: bool = True,
        details: Json | None = None,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable
        self.details = details
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a node may know of its run; expressions see it as `run`."""

    id: str
    workflow_id: str | None
    version_id: str
    demo_url: str | None


class Secret(Protocol):
    """A connection, opened. Do not pass on what is in it: not by an output, a log line, an error or a variable.

    What the node gives out all the same is cleaned of it.
    """

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str:
        """The credential type."""

    @property
    def fields(self) -> Mapping[str, Json]:
        """All fields, the secret ones too; for `oauth2` the `access_token` as well."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that carry the secret."""

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of an address that carry the secret."""

    def allows(self, url: str) -> bool:
        """Whether the secret may be sent to this http or https address. Ask for each redirect anew."""


class NodeContext(Protocol):
    """A node's window to the world, made for one attempt at one step."""

    @property
    def input(self) -> Json:
        """The one live input, a list of them in edge order when there are several, null when there is none."""

    @property
    def inputs(self) -> Mapping[str, Json]:
        """The live inputs by the id of the node they come from, in edge order."""

    @property
    def run(self) -> RunInfo: ...

    @property
    def trigger(self) -> Mapping[str, Json]:
        """What started the run: `{id, type, node_id}`."""

    @property
    def received(self) -> Received | None:
        """Set when `run` is called again after it had returned `Wait` or `Call`."""

    @property
    def step_key(self) -> str: ...

    @property
    def attempt(self) -> int:
        """1 for the first try."""

    @property
    def idempotency_key(self) -> str:
        """`run_id:step_key`, the same on every attempt: send it along with whatever has an effect."""

    @property
    def now(self) -> datetime:
        """The latest recorded time upstream, in UTC: the same however often the step is tried."""

    @property
    def random(self) -> random.Random:
        """Seeded by run and step: gives the same numbers however often the step is tried."""

    @property
    def http(self) -> aiohttp.ClientSession:
        """A guarded client: refuses private and metadata addresses that are not allow-listed, on every redirect."""

    async def connection(self, connection_id: UUID) -> Secret:
        """Open a connection that a parameter of this run's definition names (see `Connection`).

        Raises NodeError: `not_found` when it was deleted, `forbidden` when no parameter names it.
        """

    def evaluate(self, expression: str, extra: Mapping[str, Json] | None = None) -> Json:
        """The value of an expression over `input`, `inputs`, `steps`, `run`, `trigger`, `workflow`, `vars` and `extra`.

        In the body of a loop `item` and `index` are the item and its place; they are null outside. `vars` has the
        variables that the parameters name; others are to be had by `variables`.

        Raises NodeError (code `expression_error`, not retryable) with the position of the fault.
        """

    def render(self, template: str, extra: Mapping[str, Json] | None = None) -> str:
        """The text of a template over the same names as `evaluate`; same errors."""

    async def variables(
        self, scope: VariableScope | None = None, *, keys: Collection[str] | None = None, prefix: str = ""
    ) -> dict[str, Json]:
        """Variables by key, those of one scope or as the run sees them; all, those with these keys, or with a prefix.

        Raises NodeError, `too_large` for more than 16 MiB in all.
        """

    def log(self, level: LogLevel, message: str, **fields: Json) -> None:
        """Write to the step's log, which is recorded with the step, and to the process log."""

    def show(self, text: str) -> None:
        """Show those who watch the run the next piece of a text that is being made. It is kept nowhere."""


P = TypeVar("P", bound=Params)


class Node(ABC, Generic[P]):
    """A node type. The class attributes are its declaration, read once by the registry; `params` is found by itself.

    The output of an entry point must follow from its parameters and its input alone: it is not waited for to be
    recorded. `effects` says that the outside world can notice the node: its step is recorded before anything that
    follows, and it starts only when all before it is recorded. `answers` says that its output is the answer to a
    waiting caller, `{statusCode, headers, body}`, passed on as soon as the step is recorded, which is at once.
    `in_thread` says that `run` may compute for longer than some milliseconds: it is called in a thread. It must not
    await anything nor use `http` and `log` of its context, and must come to an end by itself, as a thread cannot be
    stopped: a time limit drops its result.
    """

    id: ClassVar[str]
    name: ClassVar[str]
    description: ClassVar[str]
    category: ClassVar[str]
    icon: ClassVar[str] = ""
    kinds: ClassVar[Sequence[str]] = ("action",)
    entry_point: ClassVar[bool] = False
    branching: ClassVar[bool] = False
    effects: ClassVar[bool] = False
    answers: ClassVar[bool] = False
    in_thread: ClassVar[bool] = False
    inputs: ClassVar[Sequence[str]] = ("in",)
    outputs: ClassVar[Sequence[str]] = ("out",)
    timeout_seconds: ClassVar[float] = 300.0
    params: ClassVar[type[Params]] = Params

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Params):
                    cls.params = argument

    def handles(self, params: P) -> Sequence[str]:  # noqa: ARG002  # for types whose handles depend on parameters
        """The output handles with these parameters. Must not depend on anything but the parameters."""
        return self.outputs

    @abstractmethod
    async def run(self, params: P, ctx: NodeContext) -> Result:
        """Do the work once. May be called again after a crash or a failure, with the same idempotency key."""
