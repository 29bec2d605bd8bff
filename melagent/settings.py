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
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from melagent.errors import BadRequest, Problem
from melagent.setting_kinds import (
    DatabaseUrl,
    Env,
    Flag,
    HttpUrl,
    KeyList,
    LabelList,
    NetworkList,
    OriginList,
    RedisUrl,
    Seconds,
    Secret,
    TextList,
)
from melagent.setting_kinds import Group as _Group
from melagent.sign_in_settings import SignInSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DEFAULT_DATA_DIR = Path("~/.mel-agent")
CONFIG_FOLDERS = (Path(), DEFAULT_DATA_DIR, Path("/etc/mel-agent"))
CONFIG_NAMES = ("config.yaml", "config.yml", "config.json", "config.toml")
MASK = "•••"


class SettingsError(BadRequest):
    """Settings that cannot be used: a detail for each names the setting, where it came from and what is expected."""

    default_message = "The settings have problems."


class Server(_Group):
    port: Annotated[int, Env(("PORT", "MEL_SERVER_PORT")), Flag(("-p", "--port"))] = Field(
        default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one"
    )
    host: Annotated[str, Env(("MEL_SERVER_HOST",)), Flag(("--host",))] = Field(
        default="127.0.0.1", description="Address to listen on"
    )
    public_url: Annotated[HttpUrl | None, Env(("MEL_PUBLIC_URL",))] = Field(
        default=None, description="How others reach this server; derived from the request when not given"
    )
    allowed_origins: Annotated[OriginList, Env(("MEL_ALLOWED_ORIGINS",))] = Field(
        default=(), description="Origins besides our own whose pages may call, such as https://tools.example.com"
    )
    trusted_proxies: Annotated[NetworkList, Env(("MEL_TRUSTED_PROXIES",))] = Field(
        default=(), description="Addresses and networks whose X-Forwarded headers count"
    )
    metrics_access: Annotated[Literal["open", "token", "port"], Env(("MEL_METRICS_ACCESS",))] = Field(
        default="open", description="Whether `/metrics` needs an API key, or has a port of its own"
    )
    metrics_port: Annotated[int, Env(("MEL_METRICS_PORT",))] = Field(
        default=9090, ge=0, le=65535, description="Port of the metrics when they have one of their own"
    )
    keepalive_seconds: Annotated[float, Env(("MEL_KEEPALIVE_SECONDS",))] = Field(
        default=130.0,
        ge=1,
        le=86_400,
        description="Time after which a connection is closed on which no call came, or the head of a call not to its "
        "end; longer than a load balancer keeps idle connections",
    )
    worker_token: Annotated[str | None, Secret(), Env(("MEL_WORKER_TOKEN",))] = Field(
        default=None, repr=False, description="A token that workers may use, beside those of `server token create`"
    )


class Database(_Group):
    url: Annotated[DatabaseUrl | None, Env(("DATABASE_URL",)), Flag(("--database-url",))] = Field(
        default=None, repr=False, description="PostgreSQL to use; `server server` brings its own when not given"
    )
    direct_url: Annotated[DatabaseUrl | None, Env(("DATABASE_DIRECT_URL",))] = Field(
        default=None, repr=False, description="The same database past its pooler, for listener and migrations"
    )
    max_open_conns: Annotated[int, Env(("DB_MAX_OPEN_CONNS",))] = Field(
        default=25, ge=3, le=1000, description="Connections of this process at most, the listener's counted"
    )
    max_idle_conns: Annotated[int, Env(("DB_MAX_IDLE_CONNS",))] = Field(
        default=10, ge=1, le=1000, description="Connections that are kept though nobody uses them"
    )
    conn_max_lifetime: Annotated[Seconds, Env(("DB_CONN_MAX_LIFETIME",))] = Field(
        default=300.0, description="Age at which a connection is replaced"
    )
    conn_max_idle_time: Annotated[Seconds, Env(("DB_CONN_MAX_IDLE_TIME",))] = Field(
        default=120.0, description="Time after which an unused connection is closed"
    )
    prepared_statements: Annotated[Literal["auto", "on", "off"], Env(("DB_PREPARED_STATEMENTS",))] = Field(
        default="auto", description="Whether statements are prepared; auto notices a pooler that lends connections"
    )
    auto_migrate: Annotated[bool, Env(("MEL_AUTO_MIGRATE",))] = Field(
        default=False, description="Whether the schema is brought up to date at the start"
    )


class Redis(_Group):
    url: Annotated[RedisUrl | None, Env(("REDIS_URL",))] = Field(
        default=None,
        repr=False,
        description="Redis or Valkey for hints between instances; else PostgreSQL carries them",
    )


class Engine(_Group):
    lease_seconds: Annotated[Seconds, Env(("MEL_LEASE_SECONDS",))] = Field(
        default=15.0, description="How long a worker that fell silent keeps its runs"
    )
    heartbeat_seconds: Annotated[Seconds, Env(("MEL_HEARTBEAT_SECONDS",))] = Field(
        default=5.0, description="How often workers and instances report; less than the lease"
    )
    shutdown_grace_seconds: Annotated[Seconds, Env(("MEL_SHUTDOWN_GRACE_SECONDS",))] = Field(
        default=30.0, description="How long requests and nodes may take to end when the process is told to stop"
    )

    @field_validator("heartbeat_seconds")
    @classmethod
    def _within_the_lease(cls, value: float, info: ValidationInfo) -> float:
        lease = info.data.get("lease_seconds", float("inf"))
        if value >= lease:
            raise ValueError(f"expected less than engine.lease_seconds, which is {lease:g}")
        return value


class Worker(_Group):
    """Of `server worker`, but for `embedded_concurrency`, the places of the worker inside `server server`."""

    server: Annotated[HttpUrl, Env(("MEL_WORKER_SERVER", "MEL_SERVER_URL")), Flag(("-s", "--server"))] = Field(
        default="http://localhost:8080", description="Any API instance, or the load balancer before them"
    )
    token: Annotated[str | None, Secret(), Env(("MEL_WORKER_TOKEN",)), Flag(("-t", "--token"))] = Field(
        default=None, repr=False, description="Worker token; `server token create --kind worker` makes one"
    )
    id: Annotated[str | None, Env(("MEL_WORKER_ID",)), Flag(("--id",))] = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._:-]{1,200}$",
        description="Name that stays the same over restarts; `worker-` and eight hex digits when not given",
    )
    concurrency: Annotated[int, Env(("MEL_WORKER_CONCURRENCY",)), Flag(("-c", "--concurrency"))] = Field(
        default=5, ge=1, le=10_000, description="Runs at the same time"
    )
    labels: Annotated[LabelList, Env(("MEL_WORKER_LABELS",)), Flag(("--label",))] = Field(
        default=(), description="`key=value` each; runs that require them come only to such workers"
    )
    health_port: Annotated[int | None, Env(("MEL_WORKER_HEALTH_PORT",)), Flag(("--health-port",))] = Field(
        default=None, ge=0, le=65535, description="Where a worker serves `/health`, `/ready` and `/metrics`"
    )
    embedded_concurrency: Annotated[int, Env(("MEL_EMBEDDED_CONCURRENCY",))] = Field(
        default=100, ge=1, le=10_000, description="Runs at the same time in the worker inside `server server`"
    )


class Client(_Group):
    server_url: Annotated[HttpUrl | None, Env(("MEL_SERVER_URL",)), Flag(("--server",))] = Field(
        default=None, description="The server that commands talk to; that of `cli.json` when not given"
    )
    api_key: Annotated[str | None, Secret(), Env(("MEL_API_KEY",)), Flag(("--api-key",))] = Field(
        default=None, repr=False, description="API key of the commands; that of `cli.json` when not given"
    )


class Security(SignInSettings):
    encryption_keys: Annotated[KeyList, Env(("MEL_ENCRYPTION_KEYS",))] = Field(
        default=(),
        repr=False,
        description="Keys for stored secrets, the newest first; `server server` keeps one of its own when not given",
    )
    bootstrap_api_key: Annotated[str | None, Secret(), Env(("MEL_API_KEY",))] = Field(
        default=None, repr=False, description="On the server: an API key with the role admin, for scripts in containers"
    )
    http_allow: Annotated[TextList, Env(("MEL_HTTP_ALLOW",))] = Field(
        default=(),
        description="Private addresses, networks and hosts that nodes may call all the same; the metadata addresses of "
        "clouds only where an entry names just them",
    )


class Retention(_Group):
    """`runs_days` 0: for ever."""

    runs_days: Annotated[int, Env(("MEL_RETENTION_RUNS_DAYS",))] = Field(
        default=30, ge=0, le=36_500, description="Days that the history of runs is kept; 0 keeps it for ever"
    )
    deliveries_days: Annotated[int, Env(("MEL_RETENTION_DELIVERIES_DAYS",))] = Field(
        default=7, ge=1, le=36_500, description="Days that calls of webhooks are kept, of each webhook the newest 200"
    )
    edits_days: Annotated[int, Env(("MEL_RETENTION_EDITS_DAYS",))] = Field(
        default=90, ge=0, le=36_500, description="Days that the history of drafts is kept; 0 keeps it for ever"
    )
    audit_days: Annotated[int, Env(("MEL_RETENTION_AUDIT_DAYS",))] = Field(
        default=365, ge=0, le=36_500, description="Days that the audit log is kept; 0 keeps it for ever"
    )


class Limits(_Group):
    requests_per_second: Annotated[float | None, Env(("MEL_LIMIT_REQUESTS",))] = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Calls a second that each key, user and address may make at most, over all instances",
    )
    webhook_per_second: Annotated[float | None, Env(("MEL_LIMIT_WEBHOOK",))] = Field(
        default=None, gt=0, description="Calls a second that each webhook lets through at most, over all instances"
    )


class Log(_Group):
    level: Annotated[Literal["debug", "info", "warning", "error"], Env(("MEL_LOG_LEVEL",)), Flag(("--log-level",))] = (
        Field(default="info", description="From which level on log lines are written")
    )
    format: Annotated[Literal["auto", "text", "json"], Env(("MEL_LOG_FORMAT",)), Flag(("--log-format",))] = Field(
        default="auto", description="Form of log lines; auto is text on a terminal and JSON otherwise"
    )


class Settings(_Group):
    """All settings. `origins` maps `group.name` to `flag`, `environment NAME`, `file PATH` or `default`."""

    server: Server = Server()
    database: Database = Database()
    redis: Redis = Redis()
    engine: Engine = Engine()
    worker: Worker = Worker()
    client: Client = Client()
    security: Security = Security()
    retention: Retention = Retention()
    limits: Limits = Limits()
    log: Log = Log()
    data_dir: Annotated[Path, AfterValidator(Path.expanduser), Env(("MEL_DATA_DIR",)), Flag(("--data-dir",))] = Field(
        default=DEFAULT_DATA_DIR, description="Folder of `cli.json` and the embedded PostgreSQL"
    )
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
    known = dict(fields())
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
    for setting, field in fields():
        value: Any = settings
        for part in setting.split("."):
            value = getattr(value, part)
        if value and any(isinstance(mark, Secret) for mark in marks(field)):
            value = _masked(value) if isinstance(value, str) else MASK
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
    groups = {setting.partition(".")[0] for setting, _ in fields() if "." in setting}
    for key, value in content.items():
        if key in groups and isinstance(value, dict):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield str(key), value


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by its dotted name; `marks` has its Env, Flag and Secret."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, _Group):
            yield from ((f"{name}.{inner}", info) for inner, info in type(field.default).model_fields.items())
        elif _env_names(field):
            yield name, field


def marks(field: FieldInfo) -> list[Any]:
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
