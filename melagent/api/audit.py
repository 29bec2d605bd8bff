"""The audit log, for administrators: to look at, and as a whole."""

from __future__ import annotations

import csv
import io
from contextlib import aclosing
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from aiohttp import web
from pydantic import AwareDatetime, Field

from melagent.api.context import STREAM, services_of
from melagent.api.wire import UNBUFFERED, Answer, Body, answer, encode, first_page
from melagent.services.audit import every, span
from melagent.store import audit
from melagent.store.audit import Wanted
from melagent.store.ids import LAST_ID
from melagent.store.rows import AuditRow

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = tuple(field.name for field in fields(AuditRow))
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the begin of a formula (OWASP, CSV injection)."""

MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


Exact = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class AuditFilter(Body):
    """`subject` is the id of anything that a call was about; `failed` is a status of 400 or above."""

    actor_id: Exact | None = None
    action: Exact | None = None
    subject: Exact | None = None
    address: Exact | None = None
    failed: bool | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.actor_id, self.action, self.subject, self.address, self.failed)


class AuditQuery(AuditFilter):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: UUID = LAST_ID


class ExportQuery(AuditFilter):
    format: Literal["ndjson", "csv"] = "ndjson"


class ActorAnswer(Answer):
    kind: str
    id: str | None
    name: str | None


class AuditRowAnswer(Answer):
    """`ids` are those of the path, and of what was `made`. `times`: so many refusals of one kind share the row."""

    id: UUID
    at: AwareDatetime
    actor: ActorAnswer
    action: str
    ids: dict[str, str]
    status: int
    address: str
    request_id: str
    times: int


class AuditAnswer(Answer):
    audit: list[AuditRowAnswer]
    next_cursor: UUID | None


async def list_audit(request: web.Request, query: AuditQuery) -> web.Response:
    """Who did what from where, newest first: calls that change something, sign-ins, and keys that were refused."""
    within = span(query.since, query.until)
    async with services_of(request).pool.acquire() as conn:
        rows = await audit.page(conn, query.wanted, min(query.cursor, within.end), within.first, query.limit + 1)
    page, next_cursor = first_page(rows, query.limit)
    return answer({"audit": [_shown(row) for row in page], "next_cursor": next_cursor})


async def export_audit(request: web.Request, query: ExportQuery) -> web.StreamResponse:
    """All rows that the filters leave, newest first, one a line: JSON, or CSV with a heading."""
    headers = {"Content-Disposition": f'attachment; filename="audit.{query.format}"', **UNBUFFERED}
    stream = web.StreamResponse(headers={"Content-Type": MEDIA_TYPES[query.format], **headers})
    await stream.prepare(request)
    request[STREAM] = stream
    write = _csv if query.format == "csv" else _ndjson
    if query.format == "csv":
        await stream.write(",".join(COLUMNS).encode() + b"\r\n")
    async with aclosing(every(services_of(request).pool, query.wanted, span(query.since, query.until))) as pages:
        async for rows in pages:
            await stream.write(write(rows))
    return stream


def _shown(row: AuditRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": row.at,
        "actor": {"kind": row.actor_kind, "id": row.actor_id, "name": row.actor_name},
        "action": row.action,
        "ids": row.ids,
        "status": row.status,
        "address": row.address,
        "request_id": row.request_id,
        "times": row.times,
    }


def _ndjson(rows: Sequence[AuditRow]) -> bytes:
    return b"".join(encode(_shown(row)) + b"\n" for row in rows)


def _csv(rows: Sequence[AuditRow]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(getattr(row, column)) for column in COLUMNS] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: names of keys and users are chosen by people."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode()
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(FORMULAS) else text
