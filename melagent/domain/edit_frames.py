"""The frames that tell of edits, written once for everybody who gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from melagent.domain.draft_state import Author, Refused


def edit_frame(*, seq: int, by: Author, client: str, client_edit_id: int, at: datetime, ops: bytes) -> bytes:
    """A committed edit, with its operations as JSON text."""
    frame = {
        "type": "edit",
        "seq": seq,
        "by": by.as_json(),
        "client": client,
        "id": client_edit_id,
        "at": at,
        "ops": orjson.Fragment(ops),
    }
    return orjson.dumps(frame, option=orjson.OPT_UTC_Z)


def refused_frame(client_edit_id: int, refused: Refused, seq: int) -> bytes:
    """What the author of a refused edit is told; `seq` is where the draft was then."""
    frame: dict[str, Any] = {
        "type": "refused",
        "id": client_edit_id,
        "seq": seq,
        "error": refused.error,
        "message": refused.message,
        "details": details_of(refused),
    }
    if refused.gone is not None:
        frame["gone"] = refused.gone.as_json()
    return orjson.dumps(frame)


def details_of(refused: Refused) -> Sequence[dict[str, str]]:
    return [{"field": detail.field, "problem": detail.problem} for detail in refused.details]
