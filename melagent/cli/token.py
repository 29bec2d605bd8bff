"""`server token …`: make, list and revoke API keys and worker tokens, straight in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from melagent.cli.database import in_database
from melagent.cli.options import AsJson, Config, DatabaseUrl, DataDir, RoleName, seconds_of
from melagent.cli.show import show_json, show_progress, show_table

if TYPE_CHECKING:
    from melagent.services.access import Scopes
    from melagent.store.pool import Connection
    from melagent.store.rows import Token

app = typer.Typer(help="API keys and worker tokens, straight in the database.", no_args_is_help=True)


LISTS = ("labels", "scopes")


class Kind(StrEnum):
    API = "api"
    WORKER = "worker"


KindOption = Annotated[Kind, typer.Option("--kind", help="api: for people and scripts; worker: for `server worker`")]


@app.command()
def create(
    *,
    kind: KindOption = Kind.API,
    name: Annotated[str, typer.Option("--name", help="What it is for")] = "",
    role: Annotated[RoleName | None, typer.Option("--role", help="Of an API key; editor by default")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="key=value that its workers are bound to")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="Let an API key do less than its role: execute, or workflow:ID; may be repeated"),
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="After how long, for example 90d or 12h")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a token. It is shown this once, on standard output: TOKEN=$(server token create --kind worker)."""
    from melagent.services.access import Role, create_key, create_worker_token

    _refuse_misfits(kind, role, label or [], scope or [])
    scopes = _scopes(scope or [])
    expires_at = _moment(expires)

    async def make(conn: Connection) -> tuple[Token, str]:
        if kind is Kind.WORKER:
            return await create_worker_token(conn, name or "worker", _labels(label or []), expires_at)
        return await create_key(conn, name or "api", Role[(role or RoleName.EDITOR).name], expires_at, scopes)

    token, key = in_database(database_url, data_dir, config, make)
    if as_json:
        show_json({**_shown(token), "token": key})
        return
    show_progress(f"{token.kind} token {token.id} ({token.name}); it is not shown again:")
    typer.echo(key)


@app.command(name="list")
def list_(
    *,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only those of this kind")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List tokens, revoked and expired ones included; never the tokens themselves."""
    from melagent.store import tokens

    found = in_database(database_url, data_dir, config, lambda conn: tokens.list_all(conn, kind))
    rows = [_shown(token) for token in found]
    if as_json:
        show_json(rows)
    else:
        columns = (
            "id",
            "kind",
            "role",
            "name",
            "labels",
            "scopes",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        )
        show_table(columns, [{**row, **{name: ",".join(row[name]) or None for name in LISTS}} for row in rows])


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `token list` shows")],
    *,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Take a token back; every instance refuses it within seconds."""
    from uuid import UUID

    from melagent.errors import BadRequest, NotFound
    from melagent.store import tokens

    try:
        wanted = UUID(token_id)
    except ValueError:
        raise BadRequest(f"{token_id!r} is not the id of a token; `server token list` shows them.") from None
    if not in_database(database_url, data_dir, config, lambda conn: tokens.revoke(conn, wanted)):
        raise NotFound(f"There is no token {token_id} that is not revoked already.")
    show_json({"revoked": token_id}) if as_json else show_progress(f"revoked {token_id}")


def _refuse_misfits(kind: Kind, role: RoleName | None, labels: list[str], scopes: list[str]) -> None:
    from melagent.errors import BadRequest

    if kind is Kind.WORKER and role:
        raise BadRequest("A worker token has no role; leave out --role.")
    if kind is Kind.API and labels:
        raise BadRequest("Only a worker token is bound to labels; leave out --label, or say --kind worker.")
    if kind is Kind.WORKER and scopes:
        raise BadRequest("Only an API key has scopes; leave out --scope.")


def _scopes(texts: list[str]) -> Scopes:
    from melagent.errors import BadRequest
    from melagent.services.access import scopes_of

    try:
        return scopes_of(texts)
    except ValueError:
        raise BadRequest("A scope is execute, or workflow: and the id of a workflow.") from None


def _labels(texts: list[str]) -> list[str]:
    from pydantic import TypeAdapter, ValidationError

    from melagent.domain.definition import Label
    from melagent.errors import BadRequest

    try:
        return TypeAdapter(list[Label]).validate_python(texts)
    except ValidationError:
        raise BadRequest("A label is written key=value, for example --label region=eu.") from None


def _moment(text: str | None) -> datetime | None:
    from melagent.errors import BadRequest

    if text is None:
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=seconds_of(text, "--expires"))
    except OverflowError:
        raise BadRequest("--expires leads beyond the year 9999.") from None


def _shown(token: Token) -> dict[str, Any]:
    return {
        "id": str(token.id),
        "kind": token.kind,
        "role": token.role,
        "name": token.name,
        "labels": list(token.labels),
        "scopes": list(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "last_used_at": token.last_used_at,
    }
