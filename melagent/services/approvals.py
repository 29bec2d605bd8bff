"""Approval links: what the person who opens one is asked, and the signal that the answer is. Each works once.

A link may be used before its run comes to wait, as a signal may be sent before. Whoever has it needs no account: that
it was made by us, for this run and this signal, is all that is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter, ValidationError

from melagent.domain import links
from melagent.domain.loops import node_of
from melagent.engine.compiled import WAIT_TYPE, waits_of
from melagent.errors import BadRequest, Conflict, Gone, NotFound, Problem
from melagent.nodes.wait import FormField
from melagent.sandbox.expressions import is_template
from melagent.services.definitions import decode
from melagent.store import payloads, runs, steps, versions
from melagent.store.run_keys import LINK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.engine.engine import Engine
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import StoredRun, StoredStep

MAX_WAITS = 1_000
FIELDS = TypeAdapter(list[FormField])


@dataclass(frozen=True, slots=True)
class Question:
    """What a link asks for: the heading and the fields of the form, and the signal that the answer is sent as."""

    run_id: UUID
    signal: str
    title: str
    fields: tuple[FormField, ...]

    @property
    def key(self) -> str:
        return f"{self.run_id} {self.signal}"


@dataclass(frozen=True, slots=True)
class Approvals:
    """Opens links and takes answers. NotFound for a token that we never made, Gone when it can be used no more."""

    pool: Pool
    engine: Engine

    async def question(self, token: str) -> Question:
        claimed = links.read(token)
        if claimed is None or not (await self.engine.linker.of(claimed[0])).made(token, claimed[1]):
            raise NotFound("There is no such link.")
        run_id, signal = claimed
        async with self.pool.acquire() as conn:
            run = await runs.find(conn, run_id)
            if run is None or run.run.status.final:
                raise Gone("What this link was about has come to its end.")
            title, fields = await _shown(conn, run, signal)
        question = Question(run_id, signal, title, fields)
        if await self.engine.was_signalled(LINK, question.key):
            raise _answered()
        return question

    async def answer(self, question: Question, value: bytes) -> None:
        """Send the answer. Of several at once one is taken."""
        try:
            sent = await self.engine.signal_once(question.run_id, question.signal, value, scope=LINK, key=question.key)
        except (Conflict, NotFound):
            raise Gone("What this link was about has come to its end.") from None
        if not sent:
            raise _answered()


def checked(fields: Iterable[FormField], given: Mapping[str, Any]) -> dict[str, Any]:
    """The answer by the names of the fields; null for what was left empty. BadRequest names every field at fault."""
    known = {field.name: field for field in fields}
    answer = {name: None if given.get(name) == "" else given.get(name) for name in known}
    problems = [Problem(str(name), "There is no such field.") for name in given if name not in known]
    problems += [Problem(name, problem) for name, field in known.items() if (problem := _problem(field, answer[name]))]
    if problems:
        raise BadRequest("The answer does not fit the form.", problems)
    return answer


def _problem(field: FormField, value: Any) -> str | None:
    if value is None:
        return "This must be filled in." if field.required else None
    match field.type:
        case "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            fits = isinstance(value, bool)
        case "choice":
            return None if value in field.options else f"Choose one of: {', '.join(field.options)}."
        case _:
            fits = isinstance(value, str)
    return None if fits else f"This must be a {field.type}."


def _answered() -> Gone:
    return Gone("This link was used already; it works once.")


async def _shown(conn: Connection, run: StoredRun, signal: str) -> tuple[str, tuple[FormField, ...]]:
    """Heading and fields: those of the step that waits for the signal, else those that the definition has for it."""
    recorded = await steps.find(conn, run.run.id, [signal])
    for step in [*recorded.values(), *await steps.waiting(conn, run.run.id, MAX_WAITS)]:
        if not step.record.status.final and (state := await _state(conn, run.run.id, step)).get("signal") == signal:
            shown = state.get("shown")
            return _question(shown if isinstance(shown, dict) else {})
    if any(step.record.status.final for step in recorded.values()):
        raise _answered()
    return _foreseen(decode(await versions.definition_of(conn, run.run.version_id) or b"{}"), signal)


async def _state(conn: Connection, run_id: UUID, step: StoredStep) -> dict[str, Any]:
    """What a step that waits has recorded of its wait."""
    text = step.record.output
    if step.output_hash is not None:
        text = (await payloads.load(conn, run_id, [step.output_hash])).get(step.output_hash)
    state = orjson.loads(text or b"{}")
    return state if isinstance(state, dict) else {}


def _foreseen(definition: Definition, signal: str) -> tuple[str, tuple[FormField, ...]]:
    """Heading and fields before the run has come to wait; a heading that is computed is not known yet."""
    named = waits_of(definition)
    for node in definition.nodes:
        own = named.get(node.id)
        if node.type == WAIT_TYPE and (signal == own if own else node_of(signal) == node.id):
            title, fields = _question(node.config)
            return "" if is_template(title) else title, fields
    return "", ()


def _question(shown: Mapping[str, Any]) -> tuple[str, tuple[FormField, ...]]:
    """Heading and fields, in so far as they are of the form that a wait gives them: a worker has told them."""
    title = shown.get("title")
    try:
        fields = tuple(FIELDS.validate_python(shown.get("fields") or []))
    except ValidationError:
        fields = ()
    return title if isinstance(title, str) else "", fields
