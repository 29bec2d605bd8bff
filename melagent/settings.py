"""Settings: one frozen value, read once at start; the only reader of the environment and of config files.

A setting comes from its flag, else its environment variables in the order listed, else the config file, else its
default; `Settings.origins` says which. An empty environment variable counts as not given. Every problem of every source
is reported at once.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from melagent.domain.definition import Label
from melagent.errors import BadRequest, Problem

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DEFAULT_DATA_DIR = Path("~/.mel-agent")
CONFIG_FOLDERS = (Path(), DEFAULT_DATA_DIR, Path("/etc/mel-agent"))
CONFIG_NAMES = ("config.yaml", "config.yml", "config.json", "config.toml")
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MASK = "•••"


class SettingsError(BadRequest):
    """Settings that cannot be used: a detail for each names the setting, where it came from and what is expected."""

    default_message = "The settings have problems."


@dataclass(frozen=True, slots=True)
class Env:
    """Marks a setting with the environment variables that may give it, the first one set wins."""

    names: tuple[str, ...]


class Secret:
    """Marks a setting whose value is never shown."""


def _seconds(value: object) -> object:
    """A duration: a number of seconds, or text such as `90s`, `5m`, `1h30m`."""
    if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value.strip())
    if not parts or "".join(number + unit for number, unit in parts) != value.strip():
        raise ValueError("expected a duration such as 90s, 5m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _list(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for part in value:
        try:
            ip_network(part)
        except ValueError as error:
            raise ValueError(f"expected addresses and networks such as 10.0.0.0/8: {error}") from None
    return value


def _url_with(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        if urlsplit(value).scheme not in schemes:
            raise ValueError(f"expected a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value.rstrip("/")

    return AfterValidator(check)


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]
TextList = Annotated[tuple[str, ...], BeforeValidator(_list)]
NetworkList = Annotated[TextList, AfterValidator(_networks)]
LabelList = Annotated[tuple[Label, ...], BeforeValidator(_list)]
HttpUrl = Annotated[str, _url_with("http", "https")]
DatabaseUrl = Annotated[str, _url_with("postgresql", "postgres"), Secret()]
RedisUrl = Annotated[str, _url_with("redis", "rediss", "unix"), Secret()]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


class Server(_Group):
    """`metrics_port` is used with `metrics_access: port`. `trusted_proxies`: whose X-Forwarded headers count."""

    port: Annotated[int, Env(("PORT", "MEL_SERVER_PORT"))] = Field(default=8080, ge=0, le=65535)
    host: Annotated[str, Env(("MEL_SERVER_HOST",))] = "127.0.0.1"
    public_url: Annotated[HttpUrl | None, Env(("MEL_PUBLIC_URL",))] = None
    trusted_proxies: Annotated[NetworkList, Env(("MEL_TRUSTED_PROXIES",))] = ()
    metrics_access: Annotated[Literal["open", "token", "port"], Env(("MEL_METRICS_ACCESS",))] = "open"
    metrics_port: Annotated[int, Env(("MEL_METRICS_PORT",))] = Field(default=9090, ge=0, le=65535)
    worker_token: Annotated[str | None, Secret(), Env(("MEL_WORKER_TOKEN",))] = Field(default=None, repr=False)


class Database(_Group):
    """`url` null means the embedded PostgreSQL; `direct_url` null means `url`."""

    url: Annotated[DatabaseUrl | None, Env(("DATABASE_URL",))] = Field(default=None, repr=False)
    direct_url: Annotated[DatabaseUrl | None, Env(("DATABASE_DIRECT_URL",))] = Field(default=None, repr=False)
    max_open_conns: Annotated[int, Env(("DB_MAX_OPEN_CONNS",))] = Field(default=25, ge=3, le=1000)
    max_idle_conns: Annotated[int, Env(("DB_MAX_IDLE_CONNS",))] = Field(default=10, ge=1, le=1000)
    conn_max_lifetime: Annotated[Seconds, Env(("DB_CONN_MAX_LIFETIME",))] = 300.0
    conn_max_idle_time: Annotated[Seconds, Env(("DB_CONN_MAX_IDLE_TIME",))] = 120.0
    prepared_statements: Annotated[Literal["auto", "on", "off"], Env(("DB_PREPARED_STATEMENTS",))] = "auto"
    auto_migrate: Annotated[bool, Env(("MEL_AUTO_MIGRATE",))] = False


class Redis(_Group):
    """`url` null: PostgreSQL carries the hints between instances."""

    url: Annotated[RedisUrl | None, Env(("REDIS_URL",))] = Field(default=None, repr=False)


class Engine(_Group):
    lease_seconds: Annotated[Seconds, Env(("MEL_LEASE_SECONDS",))] = 15.0
    heartbeat_seconds: Annotated[Seconds, Env(("MEL_HEARTBEAT_SECONDS",))] = 5.0
    shutdown_grace_seconds: Annotated[Seconds, Env(("MEL_SHUTDOWN_GRACE_SECONDS",))] = 30.0

    @field_validator("heartbeat_seconds")
    @classmethod
    def _within_the_lease(cls, value: float, info: ValidationInfo) -> float:
        lease = info.data.get("lease_seconds", float("inf"))
        if value >= lease:
            raise ValueError(f"expected less than engine.lease_seconds, which is {lease:g}")
        return value


class Worker(_Group):
    """Of `server worker`, but for `embedded_concurrency`, the places of the worker inside `server server`."""

    server: Annotated[HttpUrl, Env(("MEL_WORKER_SERVER", "MEL_SERVER_URL"))] = "http://localhost:8080"
    token: Annotated[str | None, Secret(), Env(("MEL_WORKER_TOKEN",))] = Field(default=None, repr=False)
    id: Annotated[str | None, Env(("MEL_WORKER_ID",))] = Field(default=None, pattern=r"^[A-Za-z0-9._:-]{1,200}$")
    concurrency: Annotated[int, Env(("MEL_WORKER_CONCURRENCY",))] = Field(default=5, ge=1, le=10_000)
    labels: Annotated[LabelList, Env(("MEL_WORKER_LABELS",))] = ()
    health_port: Annotated[int | None, Env(("MEL_WORKER_HEALTH_PORT",))] = Field(default=None, ge=0, le=65535)
    embedded_concurrency: Annotated[int, Env(("MEL_EMBEDDED_CONCURRENCY",))] = Field(default=100, ge=1, le=10_000)


class Client(_Group):
    """What the command line talks to; null means what `cli.json` in the data directory says."""

    server_url: Annotated[HttpUrl | None, Env(("MEL_SERVER_URL",))] = None
    api_key: Annotated[str | None, Secret(), Env(("MEL_API_KEY",))] = Field(default=None, repr=False)


class Security(_Group):
    bootstrap_api_key: Annotated[str | None, Secret(), Env(("MEL_API_KEY",))] = Field(default=None, repr=False)
    http_allow: Annotated[TextList, Env(("MEL_HTTP_ALLOW",))] = ()


class Log(_Group):
    level: Annotated[Literal["debug", "info", "warning", "error"], Env(("MEL_LOG_LEVEL",))] = "info"
    format: Annotated[Literal["auto", "text", "json"], Env(("MEL_LOG_FORMAT",))] = "auto"


class Settings(_Group):
    """All settings. `origins` maps `group.name` to `flag`, `environment NAME`, `file PATH` or `default`."""

    server: Server = Server()
    database: Database = Database()
    redis: Redis = Redis()
    engine: Engine = Engine()
    worker: Worker = Worker()
    client: Client = Client()
    security: Security = Security()
    log: Log = Log()
    data_dir: Annotated[Path, AfterValidator(Path.expanduser), Env(("MEL_DATA_DIR",))] = DEFAULT_DATA_DIR
    origins: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of `server config`: a secret's value is masked already."""

    setting: str
    value: Any
    origin: str


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    config: Path | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Settings:
    """Read all sources. `flags` and `defaults` are by setting (`server.port`); a flag that is None was not given.

    `defaults` are those of the command, they count as defaults. Raises SettingsError.
    """
    path = config or _find_config()
    file, problems = _read_config(path) if path else ({}, [])
    known = dict(_fields())
    values: dict[str, Any] = dict(defaults or {})
    origins = dict.fromkeys(known, "default")
    for setting, value in file.items():
        if setting not in known:
            problems.append(Problem(setting, f"file {path}: there is no such setting"))
        elif value is not None:
            values[setting], origins[setting] = value, f"file {path}"
    for setting, field in known.items():
        for name in _env_names(field):
            if environ.get(name):
                values[setting], origins[setting] = environ[name], f"environment {name}"
                break
    for setting, value in (flags or {}).items():
        if value is not None:
            values[setting], origins[setting] = value, "flag"
    return _build(values, origins, problems)


def shown(settings: Settings) -> list[Shown]:
    """Every setting with its value and origin, secrets masked."""
    lines = []
    for setting, field in _fields():
        value: Any = settings
        for part in setting.split("."):
            value = getattr(value, part)
        if value is not None and any(isinstance(mark, Secret) for mark in _marks(field)):
            value = _masked(value)
        lines.append(Shown(setting, str(value) if isinstance(value, Path) else value, settings.origins[setting]))
    return lines


def _build(values: Mapping[str, Any], origins: Mapping[str, str], problems: list[Problem]) -> Settings:
    tree: dict[str, Any] = {}
    for setting, value in values.items():
        group, _, name = setting.rpartition(".")
        (tree.setdefault(group, {}) if group else tree)[name] = value
    try:
        settings = Settings(**tree, origins=origins)
    except ValidationError as error:
        raise SettingsError(details=[*problems, *_problems(error, origins)]) from None
    if problems:
        raise SettingsError(details=problems)
    return settings


def _problems(error: ValidationError, origins: Mapping[str, str]) -> Iterator[Problem]:
    for fault in error.errors(include_url=False, include_input=False):
        setting = ".".join(str(part) for part in fault["loc"][:2])
        setting = setting if setting in origins else str(fault["loc"][0])
        expectation = fault["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        yield Problem(setting, f"{origins.get(setting, 'default')}: {expectation}")


def _find_config() -> Path | None:
    candidates = (folder.expanduser() / name for folder in CONFIG_FOLDERS for name in CONFIG_NAMES)
    return next((path for path in candidates if path.is_file()), None)


def _read_config(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The settings of a file by their dotted names. A file that cannot be read is a problem too."""
    try:
        text = path.read_text()
        if path.suffix == ".json":
            content = json.loads(text)
        elif path.suffix == ".toml":
            content = tomllib.loads(text)
        else:
            content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        return {}, [Problem("--config", f"file {path}: {' '.join(str(error).split())}")]
    if not isinstance(content or {}, dict):
        return {}, [Problem("--config", f"file {path}: expected groups of settings")]
    return dict(_flatten(content or {})), []


def _flatten(content: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    groups = {setting.partition(".")[0] for setting, _ in _fields() if "." in setting}
    for key, value in content.items():
        if key in groups and isinstance(value, dict):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield str(key), value


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, _Group):
            yield from ((f"{name}.{inner}", info) for inner, info in type(field.default).model_fields.items())
        elif _env_names(field):
            yield name, field


def _marks(field: FieldInfo) -> list[Any]:
    """The marks of a field, those inside an optional type included."""
    inner = getattr(field.annotation, "__args__", ())
    return [*field.metadata, *(mark for part in inner for mark in getattr(part, "__metadata__", ()))]


def _env_names(field: FieldInfo) -> tuple[str, ...]:
    return next((mark.names for mark in field.metadata if isinstance(mark, Env)), ())


def _masked(value: str) -> str:
    """A secret as it may be shown: of a URL only the password is one."""
    parts = urlsplit(value)
    if not parts.scheme:
        return MASK
    netloc = re.sub(r":[^@]*@", f":{MASK}@", parts.netloc)
    return parts._replace(netloc=netloc, query=re.sub(r"(password=)[^&]*", rf"\1{MASK}", parts.query)).geturl()
