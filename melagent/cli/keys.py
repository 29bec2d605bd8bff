"""`server keys …`: the encryption keys of stored secrets, straight in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from melagent.cli.database import in_database
from melagent.cli.options import AsJson, Config, DatabaseUrl, DataDir, settings_of
from melagent.cli.show import show_json, show_progress, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from melagent.services.keyring import KeyStatus
    from melagent.store.pool import Connection

app = typer.Typer(help="Encryption keys of stored secrets, straight in the database.", no_args_is_help=True)

WAIT_SECONDS = 120.0
"""Longer than an instance that died stays on the list, and than a running one takes to read its file of keys again."""


@app.command()
def rotate(
    *,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Bring all stored secrets under a new key, while everything runs.

    Keys of `server server` are kept in a file, which gets a new one. Where MEL_ENCRYPTION_KEYS has the keys, put a new
    one first and restart the instances, one after the other; this command then waits until all is re-encrypted.
    """
    from melagent.cli import key_file
    from melagent.services import keyring
    from melagent.vault import Vault

    settings = settings_of({"data_dir": data_dir}, config)
    given = settings.security.encryption_keys
    keys: Sequence[bytes] = given or (key_file.add(settings.data_dir) if key_file.read(settings.data_dir) else ())

    async def finish(conn: Connection) -> KeyStatus:
        return await keyring.rotate(conn, Vault(keys), WAIT_SECONDS, show_progress)

    _show(in_database(database_url, data_dir, config, finish), as_json=as_json)


@app.command()
def status(
    *,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Count stored secrets by key, and say which keys are here and at the running instances."""
    from melagent.services import keyring
    from melagent.vault import Vault

    keys = _keys(data_dir, config)
    found = in_database(database_url, data_dir, config, lambda conn: keyring.status(conn, Vault(keys)))
    _show(found, as_json=as_json)


def _keys(data_dir: Path | None, config: Path | None) -> Sequence[bytes]:
    from melagent.cli import key_file

    settings = settings_of({"data_dir": data_dir}, config)
    return settings.security.encryption_keys or key_file.read(settings.data_dir)


def _show(found: KeyStatus, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "key_id": key.key_id,
            "here": key.here,
            "instances": key.instances,
            "sealing": key.sealing,
            "secrets": key.secrets,
        }
        for key in found.keys
    ]
    if as_json:
        show_json({"instances": found.instances, "keys": rows})
    else:
        show_table(("key_id", "here", "instances", "sealing", "secrets"), rows)
        show_progress(f"{found.instances} instances with keys are running.")
