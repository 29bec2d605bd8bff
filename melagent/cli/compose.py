"""Builds the parts of a server process, starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import structlog

from melagent import __version__
from melagent.api.app import build_app, build_realtime_app
from melagent.api.context import Services
from melagent.broker.postgres import postgres_broker
from melagent.cli import key_file
from melagent.cli.compose_http import serve
from melagent.cli.garbage import calm_garbage_collection
from melagent.cli.listening import listen
from melagent.domain.requirement import capabilities
from melagent.engine.context import World
from melagent.engine.engine import Engine
from melagent.engine.metrics import REGISTRY
from melagent.maintenance.compactor import Compactor
from melagent.maintenance.errands import Errands
from melagent.maintenance.partitioner import Partitioner
from melagent.maintenance.poolkeeper import PoolKeeper
from melagent.maintenance.pruner import Pruner
from melagent.maintenance.registrar import Registrar
from melagent.maintenance.rekeyer import Rekeyer
from melagent.maintenance.rescuer import Rescuer
from melagent.maintenance.scheduler import Scheduler
from melagent.maintenance.sweeper import Sweeper
from melagent.maintenance.unparker import Unparker
from melagent.net import guarded_session
from melagent.registry import Registry
from melagent.schema import known_ids
from melagent.services import first_run
from melagent.services.oauth2 import OAuth, Renewals
from melagent.services.oidc import OidcConfig
from melagent.services.passwords import Hashing
from melagent.services.secrets import Secrets
from melagent.store.health import pool_numbers
from melagent.store.instances import Identity
from melagent.store.pool import MAY_PASS, Pool, PoolLimits, create_pool
from melagent.vault import Vault
from melagent.worker.database import DatabaseSource
from melagent.worker.worker import Worker, WorkerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import aiohttp

    from melagent.broker import Broker
    from melagent.loop import Loop
    from melagent.realtime.seats import SeatStore
    from melagent.settings import Security, Settings

Role = Literal["server", "api-server", "realtime"]

LEAVE_TAKING_SECONDS = 1.0
"""How long an instance that drains still takes requests, not ready and closing each connection with its answer: a load
balancer in front of it lets go of it meanwhile, instead of finding closed connections."""

SOCKETS_SHARE_OF_GRACE = 0.25
"""Of the grace time, within which the sockets of live editing are sent away, from the moment of the signal on."""

CALLERS_SHARE_OF_GRACE = 0.3
"""Of the grace time, how long callers who wait for a run may still get its answer; then they are told its id."""

WORKER_SHARE_OF_GRACE = 0.2
"""Of the grace time, what is left for running nodes after the requests have ended."""

log = structlog.get_logger()


class Server:
    """One process: API and loops, with the role `server` also a worker. Made by `open_server`."""

    def __init__(
        self, settings: Settings, services: Services, url: str, worker: Worker | None, registrar: Registrar
    ) -> None:
        self.url = url
        self.services = services
        self._worker = worker
        self._registrar = registrar
        self._grace = settings.engine.shutdown_grace_seconds
        self._leave_taking = min(LEAVE_TAKING_SECONDS, self._grace / 10) if worker is None else 0.0
        self._stack = AsyncExitStack()

    async def drain(self) -> None:
        """Turn not ready, let open requests and running nodes finish within the grace time, and let everything go."""
        log.info("draining")
        self.services.draining.set()
        self._registrar.loop.wake()
        if self._worker is not None:
            await self._worker.stop_claiming()
        self.services.engine.desk.dismiss()
        await asyncio.sleep(self._leave_taking)
        patience = self._grace * CALLERS_SHARE_OF_GRACE
        dismissal = asyncio.get_running_loop().call_later(patience, self.services.engine.dismiss_callers)
        await self._stack.aclose()
        dismissal.cancel()
        log.info("drained")


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the API and the embedded worker have one of between them."""

    vault: Vault
    renewals: Renewals


async def open_server(settings: Settings, dsn: str, role: Role) -> Server:
    """Start everything that the role asks for; requests are answered when this returns. Raises Unavailable."""
    if role == "realtime":
        return await _open_realtime(settings, dsn)
    async with AsyncExitStack() as stack:
        limits = _limits(settings)
        pool = await create_pool(dsn, limits)
        stack.push_async_callback(_close_pool, pool)
        log.info("Database connected", max_open=limits.max_open, max_idle=limits.max_idle)
        await _make_first_administrator(settings, pool)
        registry = Registry.installed()
        direct = settings.database.direct_url or dsn
        engine = await _open_engine(settings, pool, direct, registry, stack, role=role)
        tending_runs = (Rescuer(engine), Unparker(engine), Errands(engine, registry), Scheduler(engine, registry))
        kept = settings.retention
        keeping_house = (Partitioner(pool), Pruner(pool, direct, kept.runs_days), Compactor(pool, kept.edits_days))
        for part in (*tending_runs, *keeping_house, PoolKeeper(pool, limits)):
            _start(part.loop, stack)
        listening = listen(settings.server.host, settings.server.port)
        port = listening.getsockname()[1]
        read_keys = _keys(settings, role)
        vault = Vault(read_keys())
        shared = _Shared(vault, Renewals())
        worker = (
            await _open_worker(settings, engine, registry, port, stack, shared=shared) if role == "server" else None
        )
        services = _services(settings, pool, engine, registry, worker, shared=shared)
        registrar = await _open_registrar(services, role, worker, stack)
        await _open_rekeyer(Rekeyer(pool, vault, read_keys), stack)
        if worker is not None:  # it seals renewed tokens, so it begins after and ends before what agrees on the key
            worker.start()
            stack.push_async_callback(worker.drain)
        sweeper = Sweeper(pool, vault, deliveries_days=kept.deliveries_days, audit_days=kept.audit_days)
        _start(sweeper.loop, stack)  # it seals what an earlier version left, so by now it must be clear under which key
        await serve(settings, services, listening, stack, build_app)
        server = Server(settings, services, f"http://{_reachable(settings.server.host)}:{port}", worker, registrar)
        log.info("API server listening", url=server.url, role=role)
        server._stack = stack.pop_all()  # noqa: SLF001  # nothing failed: from now on the server owns what was opened
    calm_garbage_collection()
    return server


async def _open_realtime(settings: Settings, dsn: str) -> Server:
    """Start live editing alone: no worker, none of the loops that any instance may run."""
    async with AsyncExitStack() as stack:
        limits = _limits(settings)
        pool = await create_pool(dsn, limits)
        stack.push_async_callback(_close_pool, pool)
        registry = Registry.installed()
        direct = settings.database.direct_url or dsn
        engine = await _open_engine(settings, pool, direct, registry, stack, role="realtime")
        _start(PoolKeeper(pool, limits).loop, stack)
        listening = listen(settings.server.host, settings.server.port)
        services = _services(settings, pool, engine, registry, None, shared=_Shared(Vault(()), Renewals()))
        services = replace(services, opens_secrets=False)
        registrar = await _open_registrar(services, "realtime", None, stack)
        await serve(settings, services, listening, stack, build_realtime_app)
        port = listening.getsockname()[1]
        server = Server(settings, services, f"http://{_reachable(settings.server.host)}:{port}", None, registrar)
        log.info("Realtime server listening", url=server.url)
        server._stack = stack.pop_all()  # noqa: SLF001  # as in open_server
    calm_garbage_collection()
    return server


def _start(loop: Loop, stack: AsyncExitStack) -> None:
    loop.start()
    stack.push_async_callback(loop.stop)


async def _make_first_administrator(settings: Settings, pool: Pool) -> None:
    email, password = settings.security.admin_email, settings.security.admin_password
    if not (email and password):
        return
    try:
        if await first_run.from_settings(pool, Hashing(), email, password):
            log.info("first administrator made", email=email)
    except MAY_PASS as error:
        log.warning("first administrator not made; start again when there is a schema", error=str(error))


async def _open_engine(
    settings: Settings, pool: Pool, dsn: str, registry: Registry, stack: AsyncExitStack, *, role: Role
) -> Engine:
    broker = _broker(settings.redis.url, dsn)
    answering = [node_type.node.id for node_type in registry.all() if node_type.answers]
    engine = Engine(
        pool,
        broker,
        answering=answering,
        lease_seconds=settings.engine.lease_seconds,
        public_url=settings.server.public_url,
    )
    await broker.start()
    stack.push_async_callback(broker.stop)
    if role != "realtime":  # it starts no runs and waits for none
        await engine.open()
        stack.push_async_callback(engine.close)
    return engine


def _broker(redis_url: str | None, dsn: str) -> Broker:
    if redis_url is None:
        return postgres_broker(dsn)
    from melagent.broker.redis import redis_broker  # its library takes a tenth of the start

    return redis_broker(redis_url)


async def _open_worker(
    settings: Settings, engine: Engine, registry: Registry, port: int, stack: AsyncExitStack, *, shared: _Shared
) -> Worker:
    """The embedded worker. Its nodes may call the demo endpoint of this very process, which the examples use."""
    host = _reachable(settings.server.host)
    session = guarded_session((*settings.security.http_allow, f"{host}:{port}"))
    stack.push_async_callback(session.close)

    def http() -> aiohttp.ClientSession:
        return session

    world = World(
        clock=lambda: datetime.now(UTC), http=http, demo_url=f"http://{host}:{port}/demo", live=engine.live.publish
    )
    options = WorkerOptions(
        worker_id=f"embedded-{uuid4().hex[:8]}",
        concurrency=settings.worker.embedded_concurrency,
        lease_seconds=settings.engine.lease_seconds,
        heartbeat_seconds=settings.engine.heartbeat_seconds,
        grace_seconds=settings.engine.shutdown_grace_seconds * WORKER_SHARE_OF_GRACE,
        offered=capabilities((), registry.added),
    )
    oauth = OAuth(engine.pool, shared.vault, http, shared.renewals)
    secrets = Secrets(engine.pool, shared.vault, registry, oauth)
    source = DatabaseSource(engine, registry, options.worker_id, options.offered, secrets)
    worker = Worker(source, registry, world, options)
    engine.use_slots(worker)
    return worker


def _keys(settings: Settings, role: Role) -> Callable[[], Sequence[bytes]]:
    """Where the encryption keys come from: the settings, else for `server server` a file that may get one more."""
    given = settings.security.encryption_keys
    if given or role != "server":
        return lambda: given
    return partial(key_file.read_or_make, settings.data_dir)


async def _open_rekeyer(rekeyer: Rekeyer, stack: AsyncExitStack) -> None:
    """Settle which key to seal under before anybody asks for it, unless there is no schema yet."""
    try:
        await rekeyer.agree()
    except MAY_PASS as error:
        log.warning("encryption keys of other instances not read", error=str(error))
    _start(rekeyer.loop, stack)


async def _open_registrar(services: Services, role: Role, worker: Worker | None, stack: AsyncExitStack) -> Registrar:
    """Put this instance on the list, so that others know which keys it has, unless there is no schema yet."""
    identity = Identity(services.instance, role, services.version, socket.gethostname(), os.getpid())

    def load() -> dict[str, Any]:
        now = {
            **services.engine.load(),
            "connections": services.pool.get_size() + 1,
            "connections_in_use": pool_numbers(services.pool)["in_use"],
            "loop_lag_seconds": REGISTRY.get_sample_value("mel_loop_lag_seconds"),
            "rooms": int(REGISTRY.get_sample_value("mel_rooms") or 0),
            "peers": int(REGISTRY.get_sample_value("mel_peers") or 0),
        }
        return {**now, "worker": worker.load()} if worker is not None else now

    registrar = Registrar(services.pool, identity, load, services.draining.is_set, lambda: services.vault.announced)
    try:
        await registrar.one_pass()
    except MAY_PASS as error:
        log.warning("instance not put on the list", error=str(error))
    registrar.loop.start()
    stack.push_async_callback(registrar.leave)
    return registrar


def _services(
    settings: Settings, pool: Pool, engine: Engine, registry: Registry, worker: Worker | None, *, shared: _Shared
) -> Services:
    return Services(
        pool=pool,
        engine=engine,
        registry=registry,
        instance=f"{socket.gethostname()}-{uuid4().hex[:6]}",
        version=__version__,
        migrations=frozenset(known_ids()),
        demo=worker is not None,
        public_url=settings.server.public_url,
        allowed_origins=settings.server.allowed_origins,
        metrics_access=settings.server.metrics_access,
        trusted_proxies=tuple(map(ip_network, settings.server.trusted_proxies)),
        bootstrap_key=settings.security.bootstrap_api_key,
        worker_token=settings.server.worker_token,
        keepalive_seconds=settings.server.keepalive_seconds,
        heartbeat_seconds=settings.engine.heartbeat_seconds,
        vault=shared.vault,
        renewals=shared.renewals,
        http_allow=settings.security.http_allow,
        oidc=_oidc(settings.security),
        requests_per_second=settings.limits.requests_per_second,
        webhook_per_second=settings.limits.webhook_per_second,
        leases=lambda: worker.busy if worker is not None else 0,
        seats=_seats(settings.redis.url),
        farewell_seconds=settings.engine.shutdown_grace_seconds * SOCKETS_SHARE_OF_GRACE,
    )


def _seats(redis_url: str | None) -> SeatStore | None:
    if redis_url is None:
        return None
    from melagent.realtime.redis_seats import RedisSeats  # as its library above

    return RedisSeats(redis_url)


def _oidc(security: Security) -> OidcConfig | None:
    if security.oidc_issuer is None or security.oidc_client_id is None:
        return None
    return OidcConfig(
        security.oidc_issuer,
        security.oidc_client_id,
        security.oidc_client_secret,
        security.oidc_default_role,
        security.http_allow,
    )


def _limits(settings: Settings) -> PoolLimits:
    database = settings.database
    return PoolLimits(
        max_open=database.max_open_conns,
        max_idle=database.max_idle_conns,
        max_lifetime_seconds=database.conn_max_lifetime,
        max_idle_seconds=database.conn_max_idle_time,
        prepared_statements=database.prepared_statements,
    )


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104  # compared, not bound


async def _close_pool(pool: Pool) -> None:
    """Wait for connections in use, but not for ever: a database that is away must not hold up the end."""
    try:
        async with asyncio.timeout(10):
            await pool.close()
    except TimeoutError:
        pool.terminate()
