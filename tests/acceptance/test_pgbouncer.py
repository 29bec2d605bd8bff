"""The program behind PgBouncer in transaction mode, with the version that Debian has."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from deploy.local.topology import free_port, required, topology
from tests.acceptance.program import line_of
from tests.acceptance.test_cluster import ASYNC_HOOK, DOUBLE, END, SYNC_HOOK, Load, check_exact
from tests.builders import eventually


class Bouncer:
    """PgBouncer before a cluster's PostgreSQL; it can be killed and started again."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._file = folder / "pgbouncer.ini"
        self._process = None
        host = parse_qs(urlsplit(dsn).query)["host"][0]
        self._account = pwd.getpwuid(Path(host).stat().st_uid).pw_name  # whose PostgreSQL's socket it is
        (folder / "users.txt").write_text('"postgres" ""\n')
        self._file.write_text(
            f"[databases]\npostgres = host={host} dbname=postgres user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            f"auth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = 8\nmax_client_conn = 200\n"
            f"ignore_startup_parameters = extra_float_digits\n"
        )

    async def start(self) -> None:
        as_user = ["-u", self._account] if os.geteuid() == 0 else []
        self._process = await asyncio.create_subprocess_exec(
            required("pgbouncer", "pgbouncer"), "-q", *as_user, str(self._file), stderr=asyncio.subprocess.DEVNULL
        )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()


@asynccontextmanager
async def behind_bouncer(**settings):
    """A cluster of one instance and one worker whose instance reaches its database through PgBouncer."""
    async with topology(apis=0, workers=0, redis=False) as cluster:
        bouncer = Bouncer(cluster.folder, cluster.dsn)
        await bouncer.start()
        cluster.settings |= {"DATABASE_URL": bouncer.url, "DATABASE_DIRECT_URL": cluster.dsn, **settings}
        cluster.settings["MEL_WORKER_CONCURRENCY"] = "50"
        try:
            await cluster.start_api("api-1")
            await cluster.start_nginx()
            await cluster.start_worker("worker-1")
            yield cluster, bouncer
        finally:
            await bouncer.kill()


@pytest.mark.parametrize("prepared", ["auto", "off"])
async def test_the_program_lives_behind_a_transaction_pooler_and_survives_its_death(prepared):
    async with behind_bouncer(DB_PREPARED_STATEMENTS=prepared) as (cluster, bouncer):
        load = Load(cluster)
        sync = await cluster.deploy(line_of(SYNC_HOOK, DOUBLE, END))
        deferred = await cluster.deploy(line_of(ASYNC_HOOK, DOUBLE, END))
        load.begin(sync, 8, sync=True)
        load.begin(deferred, 4, sync=False)
        await eventually(lambda: load.answered > 200 and len(load.accepted) > 100)
        assert load.failed == []
        await bouncer.kill()
        await bouncer.start()
        answered = load.answered
        await eventually(lambda: load.answered > answered + 100)
        await load.end()
        await check_exact(cluster, load)


async def test_migrations_and_status_work_beside_the_pooler():
    async with behind_bouncer() as (cluster, _):
        assert "0004.workers" in await cluster.command("migrate", "status")
        async with aiohttp.ClientSession() as session, session.get(f"{cluster.url}/ready") as response:
            checks = (await response.json())["checks"]
        assert (checks["database"]["status"], checks["broker"]["status"]) == ("healthy", "healthy")
