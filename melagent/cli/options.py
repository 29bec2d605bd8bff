"""Options that several commands share, and the settings that come of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from melagent.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON")]
Config = Annotated[Path | None, typer.Option("--config", help="Config file: YAML, JSON or TOML", show_default=False)]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Data directory, ~/.mel-agent by default")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="PostgreSQL to use")]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error")]
LogFormat = Annotated[str | None, typer.Option("--log-format", help="text or json")]
Port = Annotated[int | None, typer.Option("-p", "--port", help="Port to listen on, 8080 by default")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on")]
ServerUrl = Annotated[str | None, typer.Option("--server", help="The server to talk to")]
ApiKey = Annotated[str | None, typer.Option("--api-key", help="API key to use")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most")]


def json_argument(text: str, name: str) -> Any:
    """The value of an argument or option with this name: JSON, or `@` and the path of a JSON file."""
    import json

    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"expected JSON or @FILE: {error}", param_hint=name) from None


def seconds_of(text: str, name: str) -> float:
    """The length of time that an option with this name gives: `90d`, `12h`, `1h30m`."""
    from pydantic import TypeAdapter, ValidationError

    from melagent.errors import BadRequest
    from melagent.setting_kinds import Seconds

    try:
        return TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        raise BadRequest(f"{name} takes a duration such as 90d, 12h or 30m.") from None


class RoleName(StrEnum):
    """What the holder of a key or account may do; the names of `services.access.Role`."""

    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"


def settings_of(flags: dict[str, Any], config: Path | None = None, defaults: dict[str, Any] | None = None) -> Settings:
    """The settings that result from a command's flags. Raises SettingsError."""
    from melagent import settings

    return settings.load(flags, config=config, defaults=defaults)


def database_url(settings: Settings) -> str:
    """The database to work with. Raises SettingsError when none is given."""
    from melagent.errors import Problem
    from melagent.settings import SettingsError

    if settings.database.url is None:
        hint = "expected a PostgreSQL URL, by --database-url or DATABASE_URL; only `server server` brings its own"
        raise SettingsError(details=[Problem("database.url", f"default: {hint}")])
    return settings.database.url


def migration_url(settings: Settings) -> str:
    """The database for whoever needs a session of its own, as a migration does. Raises SettingsError as above."""
    return settings.database.direct_url or database_url(settings)
