"""Health and readiness."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import structlog

from melagent.api.context import HUB, STARTED_AT, services_of
from melagent.api.wire import Answer, answer
from melagent.store.errors import UNREACHABLE
from melagent.store.health import applied_migrations, pool_numbers
from melagent.store.sealed import count_by_key

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.api.context import Services

CHECK_SECONDS = 2.0


class HealthAnswer(Answer):
    status: Literal["ok"]
    timestamp: datetime
    instance: str
    version: str
    debug: dict[str, Any] | None = None


class ReadyAnswer(Answer):
    status: Literal["ready", "not_ready"]
    timestamp: datetime
    checks: dict[str, dict[str, Any]]


async def health(request: web.Request) -> web.Response:
    """Whether this process is alive. Asks nothing outside of it."""
    services = services_of(request)
    body: dict[str, Any] = {
        "status": "ok",
        "timestamp": datetime.now(UTC),
        "instance": services.instance,
        "version": services.version,
    }
    if request.headers.get("X-Debug") == "true":
        uptime = time.monotonic() - request.app[STARTED_AT]
        body["debug"] = {
            "pid": os.getpid(),
            "uptime_seconds": uptime,
            "pool": pool_numbers(services.pool),
            "leases": services.leases(),
            **request.app[HUB].load(),
        }
    return answer(body)


async def ready(request: web.Request) -> web.Response:
    """Whether this process can serve: database, schema, keys, broker. 503 when it cannot, or while it drains."""
    services = services_of(request)
    database, migrations = await _database(services)
    schema_is_there = all(check["status"] == "healthy" for check in (database, migrations))
    encryption = await _encryption(services) if schema_is_there else {"status": "unknown"}
    broker = services.engine.broker
    checks = {
        "database": database,
        "migrations": migrations,
        "broker": {"kind": broker.kind, "status": broker.health},
        "encryption": encryption,
    }
    is_ready = not services.draining.is_set() and schema_is_there and encryption["status"] in ("healthy", "off")
    body = {"status": "ready" if is_ready else "not_ready", "timestamp": datetime.now(UTC), "checks": checks}
    if services.draining.is_set():
        body["reason"] = "draining"
    return answer(body, 200 if is_ready else 503)


async def _database(services: Services) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checks of database and schema, from one question. A newer schema is fine, an older one is not."""
    pool = pool_numbers(services.pool)
    started = time.perf_counter()
    try:
        async with services.pool.acquire(timeout=CHECK_SECONDS) as conn:
            applied = await applied_migrations(conn)
    except UNREACHABLE as error:
        structlog.get_logger("melagent.api").warning("database check failed", error=str(error))
        return {"status": "unhealthy", "pool": pool}, {"status": "unknown"}
    latency = round((time.perf_counter() - started) * 1000, 3)
    pending = sorted(services.migrations - applied)
    migrations = {"status": "healthy"} if not pending else {"status": "pending", "pending": pending}
    return {"status": "healthy", "latency_ms": latency, "pool": pool}, migrations


async def _encryption(services: Services) -> dict[str, Any]:
    """Whether all that is stored can be opened here. Without a key that is fine as long as nothing is stored."""
    if not services.opens_secrets:
        return {"status": "off"}
    try:
        async with services.pool.acquire(timeout=CHECK_SECONDS) as conn:
            stored = await count_by_key(conn)
    except UNREACHABLE as error:
        structlog.get_logger("melagent.api").warning("encryption check failed", error=str(error))
        return {"status": "unknown"}
    vault = services.vault
    if unknown := {key_id: count for key_id, count in stored.items() if key_id not in vault.key_ids}:
        problem = "MEL_ENCRYPTION_KEYS does not have these keys, under which secrets are stored."
        return {"status": "unhealthy", "problem": problem, "unknown_keys": unknown}
    return {"status": "healthy", "key_id": vault.sealing_id} if vault.available else {"status": "off"}
