"""Expressions of a draft, tried on real data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from melagent.api.context import services_of, uuid_in_path
from melagent.api.wire import Answer, Body, answer
from melagent.domain.definition import NodeId
from melagent.services import previews
from melagent.services.previews import Source

if TYPE_CHECKING:
    from aiohttp import web

MAX_TEXT = 100_000


class GivenData(Body):
    """Values for the names that expressions see. What is left out is not known to the expression."""

    input: Any = None
    inputs: dict[str, Any] | None = None
    steps: dict[str, Any] | None = None
    run: dict[str, Any] | None = None
    trigger: dict[str, Any] | None = None
    workflow: dict[str, Any] | None = None
    item: Any = None
    index: int | None = None


class PreviewBody(Body):
    """An expression, or a template: the text of a parameter. It sees what the node would see in the run, or `data`."""

    expression: str | None = Field(default=None, min_length=1, max_length=MAX_TEXT)
    template: str | None = Field(default=None, max_length=MAX_TEXT)
    node_id: NodeId | None = None
    run_id: UUID | None = Field(default=None, description="Of this workflow; without it the newest run is taken")
    data: GivenData | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.expression is None) == (self.template is None):
            raise ValueError("one of expression and template is needed")
        if self.data is not None and (self.run_id is not None or self.node_id is not None):
            raise ValueError("data takes the place of a run; give it without run_id and node_id")
        return self

    def source(self) -> Source:
        if self.expression is not None:
            return Source(self.expression, is_expression=True)
        return Source(self.template or "", is_expression=False)


class FaultAnswer(Answer):
    """Line and column are counted from 1; they are null where no place is known."""

    message: str
    line: int | None
    column: int | None


class PreviewAnswer(Answer):
    """The value, or else what is wrong. `run_id` is the run whose data was used; null when there was none."""

    value: Any
    error: FaultAnswer | None
    run_id: UUID | None


async def preview(request: web.Request, body: PreviewBody) -> web.Response:
    """Try an expression or template on what a run recorded around a node of the draft, or on the data given."""
    pool, workflow_id = services_of(request).pool, uuid_in_path(request)
    if body.data is not None:
        given = body.data.model_dump(exclude_unset=True)
        return answer(await previews.preview_on(pool, workflow_id, body.source(), given))
    return answer(await previews.preview(pool, workflow_id, body.source(), body.node_id, body.run_id))
