"""`server user …`: make, list and remove people, straight in the database, so that there is a first administrator."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from melagent.cli.database import in_database
from melagent.cli.options import AsJson, Config, DatabaseUrl, DataDir, RoleName
from melagent.cli.show import show_json, show_progress, show_table

if TYPE_CHECKING:
    from melagent.store.pool import Connection
    from melagent.store.rows import User

app = typer.Typer(help="People and their passwords, straight in the database.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the user")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, instead of asking for it")
]
Generate = Annotated[
    bool, typer.Option("--generate", help="Make up a password; it is shown this once, on standard output")
]


@app.command()
def add(
    email: Email,
    *,
    name: Annotated[str, typer.Option("--name", help="Name to show; the email by default")] = "",
    role: Annotated[RoleName, typer.Option("--role", help="What the user may do")] = RoleName.EDITOR,
    password_stdin: PasswordStdin = False,
    generate: Generate = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a user, with a password that is asked for, read from standard input, or made up."""
    from melagent.services import users
    from melagent.services.access import Role
    from melagent.services.passwords import Hashing

    password = _password(from_stdin=password_stdin, generate=generate)

    async def make(conn: Connection) -> User:
        return await users.add(conn, email, name, Role[role.name], await Hashing().hashed(password))

    made = in_database(database_url, data_dir, config, make)
    if as_json:
        show_json({**_shown(made), **({"password": password} if generate else {})})
        return
    show_progress(f"{made.role} {made.email} ({made.id})")
    _show_generated(password if generate else None)


@app.command(name="list")
def list_(
    *, as_json: AsJson = False, database_url: DatabaseUrl = None, data_dir: DataDir = None, config: Config = None
) -> None:
    """List users, disabled ones included."""
    from melagent.store import users

    rows = [_shown(user) for user in in_database(database_url, data_dir, config, users.list_all)]
    columns = ("email", "name", "role", "created_at", "updated_at", "disabled_at")
    show_json(rows) if as_json else show_table(columns, rows)


@app.command()
def password(
    email: Email,
    *,
    password_stdin: PasswordStdin = False,
    generate: Generate = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Replace a user's password, and end the user's sessions."""
    from melagent.services import users
    from melagent.services.passwords import Hashing

    given = _password(from_stdin=password_stdin, generate=generate)

    async def replace(conn: Connection) -> None:
        await users.set_password(conn, email, await Hashing().hashed(given))

    in_database(database_url, data_dir, config, replace)
    if as_json:
        show_json({"email": email, **({"password": given} if generate else {})})
        return
    show_progress(f"{email} has a new password")
    _show_generated(given if generate else None)


@app.command()
def remove(
    email: Email,
    *,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Delete a user for good."""
    from melagent.services import users

    in_database(database_url, data_dir, config, lambda conn: users.remove_anybody(conn, email))
    show_json({"removed": email}) if as_json else show_progress(f"removed {email}")


def _password(*, from_stdin: bool, generate: bool) -> str:
    """The password to set. It is never an argument: other users of the machine can read those."""
    from melagent.errors import BadRequest
    from melagent.services.passwords import new_password

    if generate and from_stdin:
        raise BadRequest("Choose one of --password-stdin and --generate.")
    if generate:
        return new_password()
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise BadRequest("There is no terminal to ask for a password; use --password-stdin or --generate.")
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _show_generated(password: str | None) -> None:
    if password is not None:
        show_progress("its password, not shown again:")
        typer.echo(password)


def _shown(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "disabled_at": user.disabled_at,
    }
