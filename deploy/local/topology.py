"""A whole cluster as processes of this machine: API instances and workers behind nginx, with PostgreSQL and Redis.

The same topology as docker-compose.scale.yml, for machines without a container engine. Everything lives in one folder
and ends with `close`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import randbelow, token_hex
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg

from melagent import embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROOT = Path(__file__).parents[2]
NGINX = ROOT / "deploy/nginx"
START_SECONDS = 60.0
PORTS = range(10_000, 32_000)

NGINX_CONF = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 16384; }}
http {{
    include {nginx}/http.conf;
    access_log {folder}/access.log upstream;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream api_servers {{
{servers}
        keepalive 64;
    }}
    upstream socket_servers {{
{socket_servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        include {nginx}/proxy.conf;
        location / {{
            proxy_pass http://api_servers;
        }}
        location /api/ws/ {{
            proxy_next_upstream error timeout http_503;
            proxy_pass http://socket_servers;
        }}
    }}
}}
"""


class ProgramMissing(Exception):
    """A program that the cluster needs is not installed."""


@dataclass(slots=True)
class Member:
    """One process of the cluster; `port` is where an API instance listens, `settings` are those of it alone."""

    name: str
    command: list[str]
    port: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None


@dataclass(slots=True)
class Topology:
    """The cluster. `url` leads through nginx. `settings` are environment variables of every process."""

    folder: Path
    settings: dict[str, str]
    token: str = field(default_factory=lambda: f"mel_worker_{token_hex(16)}")
    api_key: str = field(default_factory=lambda: f"mel_{token_hex(16)}")
    members: dict[str, Member] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_port())  # noqa: PLW0108  # it stands below
    redis_port: int | None = None
    postgres: embedded.EmbeddedPostgres | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def dsn(self) -> str:
        assert self.postgres is not None
        return self.postgres.dsn

    def of_kind(self, kind: str) -> list[Member]:
        """The running members whose name begins so."""
        return [member for member in self.members.values() if member.name.startswith(kind) and member.running]

    async def open(self, *, apis: int, workers: int, redis: bool) -> None:
        """Bring up everything, and return when all instances are ready and all workers registered."""
        # Not in a thread: cancelling would leave the thread to start a server that nobody stops.
        self.postgres = embedded.start(self.folder / "postgres")
        await self.command("migrate")
        if redis:
            await self.start_redis()
        starting = [await self.start_api(f"api-{number}", wait=False) for number in range(1, apis + 1)]
        for member in starting:
            await self.until_ready(member)
        if apis:
            await self.start_nginx()
        for number in range(1, workers + 1):
            await self.start_worker(f"worker-{number}")
        if workers:
            await until(lambda: self._registered(workers), "the workers to register")

    async def close(self) -> None:
        """End every process that was started here, and remove the folder."""
        for member in self.members.values():
            if member.running:
                await self.kill(member.name)
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.stop)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start_redis(self) -> None:
        program = required("redis-server", "redis-server")
        self.redis_port = self.redis_port or free_port()
        options = ["--port", str(self.redis_port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        await self._start(Member("redis", [program, *options, "--dir", str(self.folder)]))

    async def start_api(self, name: str, *, wait: bool = True, **settings: str) -> Member:
        port = known.port if (known := self.members.get(name)) else free_port()
        member = await self._start(
            Member(name, program("api-server", "--host", "127.0.0.1", "--port", str(port)), port, settings)
        )
        if wait:
            await self.until_ready(member)
        return member

    async def start_realtime(self, name: str) -> Member:
        """Live editing alone: from the next reload on nginx sends sockets to these instances and no others."""
        port = free_port()
        command = program("realtime", "--host", "127.0.0.1", "--port", str(port))
        member = await self._start(Member(name, command, port))
        await self.until_ready(member)
        return member

    async def start_again(self, name: str) -> None:
        """Start an instance that has ended, as it was, and return when it is ready."""
        await self.until_ready(await self._start(self.members[name]))

    async def start_worker(self, name: str, *options: str) -> Member:
        return await self._start(Member(name, program("worker", "--server", self.url, "--id", name, *options)))

    async def start_nginx(self) -> None:
        self._write_nginx()
        member = Member(
            "nginx", [required("nginx", "nginx-light"), "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder)]
        )
        await self._start(member)
        await until(lambda: self._answers(self.url), "nginx to answer")

    async def reload_nginx(self) -> None:
        """Let nginx know which instances there are now."""
        self._write_nginx()
        self._signal("nginx", signal.SIGHUP)

    async def balance(self, instances: int) -> None:
        """Let nginx send requests to the first so many instances only."""
        self._write_nginx(instances)
        self._signal("nginx", signal.SIGHUP)
        await asyncio.sleep(0.5)

    async def restart_postgres(self) -> None:
        """Stop PostgreSQL as an operator does (fast), and start it again."""
        assert self.postgres is not None
        await asyncio.to_thread(self.postgres.stop)
        self.postgres = await asyncio.to_thread(embedded.start, self.folder / "postgres")

    async def kill(self, name: str) -> None:
        """`kill -9`."""
        member = self.members[name]
        if member.running and member.process is not None:
            os.killpg(member.process.pid, signal.SIGKILL)
            await member.process.wait()

    def freeze(self, name: str) -> None:
        """SIGSTOP: the process stands still where it is."""
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT; nothing when the process was killed meanwhile."""
        if self.members[name].running:
            self._signal(name, signal.SIGCONT)

    async def stop(self, name: str, seconds: float = 60) -> int:
        """SIGTERM, and the exit code."""
        self._signal(name, signal.SIGTERM)
        process = self.members[name].process
        assert process is not None
        return await asyncio.wait_for(process.wait(), seconds)

    async def until_ready(self, member: Member) -> None:
        await until(lambda: self._answers(f"http://127.0.0.1:{member.port}", member), f"{member.name} to be ready")

    async def command(self, *arguments: str) -> str:
        """Run the program once; what it printed."""
        process = await asyncio.create_subprocess_exec(
            *program(*arguments),
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise RuntimeError(
                f"server {' '.join(arguments)} ended with {process.returncode}: {errors.decode()[-2000:]}"
            )
        return output.decode()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the API through nginx; the decoded answer of a success."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.url}{path}", json=body) as response,
        ):
            if response.status >= 300:
                raise RuntimeError(f"{method} {path} answered {response.status}: {await response.text()}")
            return await response.json()

    async def deploy(self, definition: dict[str, Any]) -> str:
        """Deploy a workflow; the address of its webhook, through nginx."""
        made = await self.call("POST", "/api/workflows", {"name": "acceptance", "definition": definition})
        await self.call("POST", f"/api/workflows/{made['id']}/versions", {"name": "1"})
        deployed = await self.call("POST", f"/api/workflows/{made['id']}/versions/1/deploy")
        return f"{self.url}/webhooks/{deployed['new_webhooks'][0]['webhook_url'].rsplit('/', 1)[1]}"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        conn = await asyncpg.connect(self.dsn)
        try:
            yield conn
        finally:
            await conn.close()

    def logged(self, name: str) -> str:
        """What a process has logged."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    async def _start(self, member: Member) -> Member:
        with (self.folder / f"{member.name}.log").open("ab") as log:
            member.process = await asyncio.create_subprocess_exec(
                *member.command,
                stdout=log,
                stderr=log,
                env=self._environment() | member.settings,
                cwd=self.folder,
                start_new_session=True,
            )
        self.members[member.name] = member
        return member

    def _environment(self) -> dict[str, str]:
        ours = ("MEL_", "DATABASE_", "DB_", "REDIS_", "PORT")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        given = {
            "PYTHONPATH": str(ROOT),
            "MEL_DATA_DIR": str(self.folder / "data"),
            "MEL_WORKER_TOKEN": self.token,
            "MEL_API_KEY": self.api_key,
            "MEL_LOG_FORMAT": "json",
            "DATABASE_URL": self.dsn,
        }
        if self.redis_port is not None:
            given["REDIS_URL"] = f"redis://127.0.0.1:{self.redis_port}"
        return {**kept, **given, **self.settings}

    def _write_nginx(self, instances: int | None = None) -> None:
        ports = [member.port for member in self.of_kind("api-")[:instances] if member.port]
        sockets = [member.port for member in self.of_kind("realtime-") if member.port]
        (self.folder / "nginx.conf").write_text(nginx_conf(self.folder, self.port, ports, sockets))

    def _signal(self, name: str, number: int) -> None:
        process = self.members[name].process
        assert process is not None
        process.send_signal(number)

    async def _answers(self, url: str, member: Member | None = None) -> bool:
        if member is not None and not member.running:
            raise RuntimeError(f"{member.name} has ended:\n{self.logged(member.name)[-3000:]}")
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession() as session, session.get(f"{url}/ready") as response:
                return response.status == 200
        return False

    async def _registered(self, count: int) -> bool:
        workers = (await self.call("GET", "/api/workers"))["workers"]
        return bool(sum(worker["status"] == "active" for worker in workers) >= count)


@asynccontextmanager
async def topology(*, apis: int = 3, workers: int = 2, redis: bool = True, **settings: str) -> AsyncIterator[Topology]:
    """A running cluster in a folder that is removed afterwards."""
    made = Topology(Path(tempfile.mkdtemp(prefix="mel-cluster-")), settings)
    made.folder.chmod(0o755)  # PostgreSQL may run as another user
    try:
        await made.open(apis=apis, workers=workers, redis=redis)
        yield made
    finally:
        await made.close()


def nginx_conf(folder: Path, port: int, instances: Sequence[int], sockets: Sequence[int] = ()) -> str:
    """A configuration with deploy/nginx in it, for instances by their ports; `sockets` are for WebSockets alone."""
    return NGINX_CONF.format(
        folder=folder,
        nginx=NGINX,
        port=port,
        servers=_servers(instances),
        socket_servers=_servers(sockets or instances),
        user="user root;" if os.geteuid() == 0 else "",
    )


def _servers(ports: Sequence[int]) -> str:
    return "\n".join(f"        server 127.0.0.1:{port} max_fails=0;" for port in ports)


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "melagent", *arguments]


def required(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ProgramMissing(f"{name} is not installed; on Debian and Ubuntu: apt-get install {package}")
    return found


def free_port() -> int:
    """A port that nobody uses, from below those that systems give to outgoing connections: it is still free later."""
    while True:
        port = PORTS.start + randbelow(len(PORTS))
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def until(condition: Any, what: str, seconds: float = START_SECONDS) -> None:
    """Wait for a condition, a coroutine function. TimeoutError names what did not happen."""
    give_up_at = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > give_up_at:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(0.05)
