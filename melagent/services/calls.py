"""Runs that other runs start: a workflow that a node calls, or an item of a loop that any worker may run."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING
from uuid import UUID

from melagent.domain.run import Trigger
from melagent.domain.work import ChildCall, NewRun
from melagent.errors import Conflict, Forbidden, NotFound, Problem, Unprocessable
from melagent.services.definitions import decode
from melagent.services.entries import entry_of
from melagent.services.starts import facts_of
from melagent.store import versions, workflows

if TYPE_CHECKING:
    from melagent.domain.definition import Definition
    from melagent.registry import Registry
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Version

CALLED = "workflow_trigger"
ANYBODY = "*"
REMEMBERED = 200


class Calls:
    """Says what a call starts; nothing is started here. Definitions of versions never change and are remembered."""

    def __init__(self, pool: Pool, registry: Registry) -> None:
        self._pool = pool
        self._registry = registry
        self._definitions: OrderedDict[UUID, Definition] = OrderedDict()

    async def resolve(self, call: ChildCall) -> NewRun:
        """The run that a call would start. NotFound, Conflict (nothing deployed), Forbidden or Unprocessable."""
        async with self._pool.acquire() as conn:
            if call.scope is not None:
                return await self._item(conn, call, call.scope)
            return await self._workflow(conn, call)

    async def _item(self, conn: Connection, call: ChildCall, scope: str) -> NewRun:
        definition = await self._definition(conn, call.caller.version_id)
        loop = scope.split("[", maxsplit=1)[0]
        return NewRun(
            id=call.run_id,
            workflow_id=call.caller.workflow_id,
            version_id=call.caller.version_id,
            entry=loop,
            input=call.input,
            trigger=Trigger("for_each", None, loop),
            priority=definition.settings.priority,
            requires=call.caller.required,
            parent=call.parent,
            scope=scope,
        )

    async def _workflow(self, conn: Connection, call: ChildCall) -> NewRun:
        workflow_id = await self._called(conn, call.workflow or "")
        version = await self._version(conn, workflow_id, call.version)
        if version is None:
            which = "No version of it is deployed" if call.version is None else f"It has no version {call.version}"
            raise Conflict(f"The workflow {call.workflow!r} cannot be called. {which}.")
        definition = self._remember(version.id, decode(version.definition))
        entry = self._entry(definition)
        self._check_caller(definition, entry, call)
        return NewRun(
            id=call.run_id,
            workflow_id=workflow_id,
            version_id=version.id,
            entry=entry,
            input=call.input,
            trigger=Trigger("workflow", None, entry),
            parent=call.parent,
            **facts_of(definition, self._registry, workflow_id),
        )

    async def _version(self, conn: Connection, workflow_id: UUID, which: int | UUID | None) -> Version | None:
        if which is None:
            return await versions.find_current(conn, workflow_id)
        if isinstance(which, int):
            return await versions.find(conn, workflow_id, which)
        return await versions.find_by_id(conn, workflow_id, which)

    async def _called(self, conn: Connection, name: str) -> UUID:
        try:
            found = [UUID(name)] if await workflows.find(conn, UUID(name)) else []
        except ValueError:
            found = await workflows.named(conn, name)
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(f"There is no workflow {name!r}.")
        problem = Problem("workflow", f"{len(found)} workflows are named {name!r}; give its id.")
        raise Unprocessable("The workflow cannot be called.", [problem])

    def _entry(self, definition: Definition) -> str:
        """Where a call enters: at the workflow_trigger, else where a start by hand would."""
        called = [node.id for node in definition.nodes if node.type == CALLED and not node.disabled]
        return called[0] if len(called) == 1 else entry_of(definition, self._registry, None)

    def _check_caller(self, definition: Definition, entry: str, call: ChildCall) -> None:
        node = definition.node(entry)
        if node is None or node.type != CALLED:
            return
        allowed = [caller.lower() for caller in node.config.get("allowedCallers", [ANYBODY])]
        if ANYBODY not in allowed and str(call.caller.workflow_id) not in allowed:
            raise Forbidden(f"The workflow {call.workflow!r} does not allow this one to call it.")

    async def _definition(self, conn: Connection, version_id: UUID) -> Definition:
        if (known := self._definitions.get(version_id)) is not None:
            return known
        text = await versions.definition_of(conn, version_id)
        if text is None:
            raise NotFound(f"There is no version {version_id}.")
        return self._remember(version_id, decode(text))

    def _remember(self, version_id: UUID, definition: Definition) -> Definition:
        self._definitions[version_id] = definition
        if len(self._definitions) > REMEMBERED:
            self._definitions.popitem(last=False)
        return definition
