"""The history of a draft: who changed what and when, and taking that back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from melagent.api.context import editor_of, services_of, uuid_in_path
from melagent.api.wire import Answer, Body, answer
from melagent.api.workflows import draft_answer
from melagent.services import history

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.store.rows import Edit

MAX_SEQ = 2**63 - 1
MAX_REVERTED = 1_000

Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]


class HistoryQuery(Body):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: int = Field(default=MAX_SEQ, ge=0, le=MAX_SEQ, description="`next_cursor` of the page before")


class RevertBody(Body):
    """Either the edits to take back, or the one after which the draft is to be as it was."""

    edits: list[Seq] | None = Field(default=None, min_length=1, max_length=MAX_REVERTED)
    to: Seq | None = None
    force: bool = Field(default=False, description="Overrule what others have built on it")

    @model_validator(mode="after")
    def _one_of_them(self) -> RevertBody:
        if (self.edits is None) == (self.to is None):
            raise ValueError("one of `edits` and `to` is needed")
        return self


class AuthorAnswer(Answer):
    id: str | None
    name: str


class EditAnswer(Answer):
    """An edit; its operations are described in docs/collaboration.md. `reverts` are edits that it took back."""

    seq: int
    by: AuthorAnswer
    client: str
    at: datetime
    ops: list[dict[str, Any]]
    reverts: list[int] | None


class HistoryAnswer(Answer):
    edits: list[EditAnswer]
    next_cursor: int | None


async def list_edits(request: web.Request, query: HistoryQuery) -> web.Response:
    """The edits of the draft, newest first. A page ends early after 4 MiB of operations."""
    pool, workflow_id = services_of(request).pool, uuid_in_path(request)
    page, more = await history.page(pool, workflow_id, query.cursor, query.limit)
    return answer({"edits": [_told(edit) for edit in page], "next_cursor": page[-1].seq if more else None})


async def revert(request: web.Request, body: RevertBody) -> web.Response:
    """Take edits back, or restore the draft as it was: an edit like any other, whoever made those.

    What others have built on it is a conflict that names their edits, unless `force` is set.
    """
    editor, workflow_id = editor_of(request), uuid_in_path(request)
    if body.edits is not None:
        draft = await history.revert(editor, workflow_id, body.edits, force=body.force)
    else:
        draft = await history.restore(editor, workflow_id, body.to or 0, force=body.force)
    return answer(await draft_answer(draft, services_of(request)))


def _told(edit: Edit) -> dict[str, Any]:
    return {
        "seq": edit.seq,
        "by": {"id": edit.by_id, "name": edit.by_name},
        "client": edit.client,
        "at": edit.at,
        "ops": edit.ops,
        "reverts": edit.reverts,
    }
