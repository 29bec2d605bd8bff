"""Connections as people make, see and change them: secrets go in and never come out.

What a secret is sent to belongs to it: whoever lets it be sent somewhere else has to give it anew. Otherwise a person
who may edit a connection, but has never known its secret, could have it sent to a host of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from melagent.domain.secrets import MASK, Secret
from melagent.errors import BadRequest, Conflict, Problem
from melagent.services.credential_types import TYPES, Credential, CredentialType
from melagent.services.workflows import found
from melagent.store import connections
from melagent.store.pool import transaction
from melagent.store.sealed import CONNECTION_SECRET

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from melagent.store.connections import StoredConnection, Use
    from melagent.store.pool import Connection, Pool
    from melagent.vault import Vault


def type_named(type_id: str) -> CredentialType:
    return found(TYPES.get(type_id), "credential type")


def checked(kind: CredentialType, fields: Mapping[str, Any]) -> Credential:
    """The fields as the model of their type. BadRequest names every field at fault, as `config.<field>`."""
    try:
        return kind.model.model_validate_json(orjson.dumps(fields), strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        problems = [Problem(_path(fault["loc"]), fault["msg"].removeprefix("Value error, ")) for fault in faults]
        raise BadRequest(details=problems) from None


def masked(stored: StoredConnection) -> dict[str, Any]:
    """The fields of a connection as they may be seen."""
    return {**orjson.loads(stored.config), **dict.fromkeys(stored.secret_fields, MASK)}


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections of an installation."""

    pool: Pool
    vault: Vault

    async def page(self, type_id: str | None, before: UUID, limit: int) -> tuple[list[StoredConnection], int]:
        """The newest connections older than `before`, and how many there are in all."""
        async with self.pool.acquire() as conn:
            return await connections.page(conn, type_id, before, limit), await connections.count(conn, type_id)

    async def get(self, connection_id: UUID) -> StoredConnection:
        async with self.pool.acquire() as conn:
            return found(await connections.find(conn, connection_id), "connection")

    async def create(
        self, connection_id: UUID, name: str, type_id: str, fields: Mapping[str, Any], created_by: str
    ) -> StoredConnection:
        """Make a connection; one that has this id already is answered as it is. NoKey without an encryption key."""
        kind = TYPES.get(type_id)
        if kind is None:
            raise BadRequest(details=[Problem("credential_type", f"It is one of {', '.join(sorted(TYPES))}.")])
        if masks := [name for name in kind.hidden if fields.get(name) == MASK]:
            raise BadRequest(
                details=[Problem(f"config.{name}", "This is no secret but the mask of one.") for name in masks]
            )
        credential = checked(kind, fields)
        config, secret = _parted(kind, credential)
        async with transaction(self.pool) as conn:
            await connections.insert(
                conn,
                connection_id,
                name=name,
                credential_type=kind.id,
                config=config,
                secret=self.vault.seal(orjson.dumps(secret), CONNECTION_SECRET.context(connection_id)),
                secret_fields=secret.keys(),
                created_by=created_by,
            )
            return found(await connections.find(conn, connection_id), "connection")

    async def update(self, connection_id: UUID, name: str | None, fields: Mapping[str, Any] | None) -> StoredConnection:
        """Change what is given: a field that is left out or masked stays, one that is null falls to its default.

        BadRequest when a secret that is not given anew would be sent to somewhere else than before.
        """
        async with transaction(self.pool) as conn:
            stored = found(await connections.lock(conn, connection_id), "connection")
            changed = replace(stored, name=name or stored.name)
            if fields is not None:
                changed = self._changed(changed, fields)
            await connections.update(
                conn,
                connection_id,
                name=changed.name,
                config=orjson.loads(changed.config),
                secret=changed.secret,
                secret_fields=changed.secret_fields,
                tokens=changed.tokens,
            )
            return found(await connections.find(conn, connection_id), "connection")

    async def uses(self, connection_id: UUID) -> list[Use]:
        """Where something deployed names the connection."""
        async with self.pool.acquire() as conn:
            found(await connections.find(conn, connection_id), "connection")
            return await connections.uses(conn, connection_id)

    async def delete(self, connection_id: UUID, *, force: bool) -> None:
        """Delete a connection. Conflict that says where, when something deployed names it and it is not `force`d."""
        async with transaction(self.pool) as conn:
            found(await connections.lock(conn, connection_id), "connection")
            if force:
                await connections.forget_uses_of(conn, connection_id)
            else:
                await _refuse_used(conn, connection_id)
            await connections.delete(conn, connection_id)

    def fields_of(self, stored: StoredConnection) -> dict[str, Any]:
        """All fields, the secret ones too. Raises UnknownKey, Tampered."""
        return {**orjson.loads(stored.config), **self._secret(stored)}

    def _secret(self, stored: StoredConnection) -> dict[str, Any]:
        return dict(orjson.loads(self.vault.open(stored.secret, CONNECTION_SECRET.context(stored.id))))

    def _changed(self, stored: StoredConnection, fields: Mapping[str, Any]) -> StoredConnection:
        kind = type_named(stored.credential_type)
        given = {name: value for name, value in fields.items() if name not in kind.hidden or value != MASK}
        kept_secrets = [name for name in stored.secret_fields if name not in given]
        old = orjson.loads(stored.config)
        secret = self._secret(stored) if kept_secrets else {}
        merged = {**old, **{name: secret[name] for name in kept_secrets}, **given}
        credential = checked(kind, {name: value for name, value in merged.items() if value is not None})
        bound_before = _bound_to(kind, old)
        goes_elsewhere = not credential.bound_to <= bound_before
        if goes_elsewhere and kept_secrets:
            where = ", ".join(sorted(credential.bound_to - bound_before))
            problem = f"Give this secret again: with this change it could be sent to {where}."
            raise BadRequest(details=[Problem(f"config.{name}", problem) for name in kept_secrets])
        config, secret = _parted(kind, credential)
        same_client = not given.keys() - {"allowed_hosts", "test_url"} or config == old
        return replace(
            stored,
            config=orjson.dumps(config),
            secret=self.vault.seal(orjson.dumps(secret), CONNECTION_SECRET.context(stored.id)),
            secret_fields=sorted(secret),
            tokens=stored.tokens if same_client and not goes_elsewhere else None,
        )


def opened(stored: StoredConnection, kind: CredentialType, credential: Credential) -> Secret:
    """A connection as those may use it who work with its secret."""
    return Secret(
        id=stored.id,
        name=stored.name,
        type=kind.id,
        fields=credential.model_dump(exclude_none=True),
        hidden=kind.hidden,
        headers=credential.headers,
        query=credential.query,
        origins=credential.origins,
    )


def _parted(kind: CredentialType, credential: Credential) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may be seen, and what may not."""
    fields = credential.model_dump(mode="json", exclude_none=True)
    shown = {name: value for name, value in fields.items() if name not in kind.hidden}
    return shown, {name: value for name, value in fields.items() if name in kind.hidden}


def _bound_to(kind: CredentialType, config: Mapping[str, Any]) -> frozenset[str]:
    """What a secret is sent to by a stored config; nothing when this program does not understand it."""
    try:
        return checked(kind, {**config, **dict.fromkeys(kind.hidden, "unknown")}).bound_to
    except BadRequest:
        return frozenset()


async def _refuse_used(conn: Connection, connection_id: UUID) -> None:
    uses = await connections.uses(conn, connection_id)
    if uses:
        problems = [
            Problem(f"workflows.{use.workflow_id}.{_part(use)}", f"Used in the workflow {use.workflow_name!r}.")
            for use in uses
        ]
        words = "Deployed versions or triggers use this connection; change those first, or pass force=true."
        raise Conflict(words, problems)


def _part(use: Use) -> str:
    return f"nodes.{use.node_id}" if use.trigger_id is None else f"triggers.{use.trigger_id}"


def _path(location: Collection[int | str]) -> str:
    return "config" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
