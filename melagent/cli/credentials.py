"""`cli.json`: where the command line finds the server of this machine's user, and the key for it.

`server server` writes it, so that a second shell just works. The key goes to the server it was written for and to no
other.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melagent.settings import Settings

DEFAULT_SERVER_URL = "http://127.0.0.1:8080"
FILE_NAME = "cli.json"


@dataclass(frozen=True, slots=True)
class Credentials:
    server_url: str
    api_key: str | None


def resolve(settings: Settings) -> Credentials:
    """The server and key to use: flag, then environment, then `cli.json`."""
    stored = read(settings.data_dir)
    server_url = settings.client.server_url or (stored.server_url if stored else DEFAULT_SERVER_URL)
    if settings.client.api_key is None and stored and stored.server_url == server_url:
        return stored
    return Credentials(server_url, settings.client.api_key)


def read(data_dir: Path) -> Credentials | None:
    """What `cli.json` says; null when there is none that can be used."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads((data_dir / FILE_NAME).read_text())
        return Credentials(str(content["server_url"]), str(content["api_key"]))
    return None


def write(data_dir: Path, credentials: Credentials) -> None:
    """Put `cli.json` in place as a whole, readable by its owner alone."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=data_dir, prefix=FILE_NAME)  # mode 0600 from the start
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(credentials), file)
    Path(temporary).replace(data_dir / FILE_NAME)


def new_key() -> str:
    """256 random bits; the prefix lets scanners for leaked secrets recognise it."""
    return f"mel_{secrets.token_urlsafe(32)}"
