"""The program as a user runs it, in processes of its own, and a counter that stands for the outside world."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import psutil
from aiohttp import web

from deploy.local.topology import free_port
from tests.builders import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]


class Program:
    """One `server server` on a data folder and port of its own; it can be killed and started again."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.log = folder / "server.log"
        self._settings = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MEL_", "DATABASE_"))},
            "PYTHONPATH": str(ROOT), "MEL_DATA_DIR": str(folder / "data"), **settings,
        }  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when `/ready` says so."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "melagent", "server", "--port", str(self.port),
                stdout=log, stderr=log, env=self._settings, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        await eventually(self.is_ready, seconds=60)

    async def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()[-5000:]
        return await self.readiness() == 200

    async def readiness(self) -> int | None:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/ready") as response:
                return response.status
        except aiohttp.ClientError:
            return None

    def terminate(self) -> None:
        """SIGTERM, as a container is told to stop."""
        assert self._process is not None
        self._process.terminate()

    async def exit_code(self, seconds: float = 60) -> int:
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), seconds)

    async def kill(self) -> None:
        """`kill -9` of the server process."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def kill_everything(self) -> None:
        """`kill -9` of the server process and of PostgreSQL with all its processes, at one moment."""
        assert self._process is not None
        victims = [psutil.Process(self._process.pid), *self._postgres()]
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                pass
        await self._process.wait()
        await asyncio.to_thread(psutil.wait_procs, victims[1:], 20)

    def _postgres(self) -> list[psutil.Process]:
        try:
            pid = int((self.folder / "data/postgres/data/postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(pid)
            return [postmaster, *postmaster.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    async def end(self) -> None:
        """Leave nothing running."""
        if self._process is not None and self._process.returncode is None:
            await self.kill_everything()
        for process in self._postgres():
            process.kill()

    async def cli(self, *arguments: str, seconds: float = 60) -> tuple[int, str, str]:
        """A command in a second shell: exit code, standard output, standard error."""
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "melagent", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=self._settings, cwd=ROOT,
        )  # fmt: skip
        output, errors = await asyncio.wait_for(command.communicate(), seconds)
        return command.returncode or 0, output.decode(), errors.decode()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the API with this user's key; the decoded answer of a success."""
        key = json.loads((self.folder / "data/cli.json").read_text())["api_key"]
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.url}{path}", json=body) as response,
        ):
            assert response.status < 300, await response.text()
            return await response.json()

    async def deploy(self, definition: dict[str, Any]) -> str:
        """Deploy a workflow; the address of its webhook."""
        made = await self.call("POST", "/api/workflows", {"name": "acceptance", "definition": definition})
        await self.call("POST", f"/api/workflows/{made['id']}/versions", {"name": "1"})
        deployed = await self.call("POST", f"/api/workflows/{made['id']}/versions/1/deploy")
        return str(deployed["new_webhooks"][0]["webhook_url"])

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A connection to the program's own PostgreSQL."""
        conn = await asyncpg.connect(f"postgresql://postgres@/postgres?host={self.folder / 'data/postgres'}")
        try:
            yield conn
        finally:
            await conn.close()

    async def nothing_live(self) -> bool:
        async with self.database() as conn:
            return not await conn.fetchval("SELECT (SELECT count(*) FROM work_items) + (SELECT count(*) FROM parked)")


@asynccontextmanager
async def program(**settings: str) -> AsyncIterator[Program]:
    """A running program in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mel-acc-"))
    made = Program(folder, settings)
    try:
        await made.start()
        yield made
    finally:
        await made.end()
        shutil.rmtree(folder, ignore_errors=True)


class Counter:
    """Numbers the calls it gets and remembers their keys and times; while closed it keeps callers waiting."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[str] = []
        self.times: list[float] = []
        self.open = asyncio.Event()
        self.open.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        self.times.append(time.time())
        number = len(self.keys)
        await self.open.wait()
        return web.json_response({"call": number})


@asynccontextmanager
async def counter() -> AsyncIterator[Counter]:
    made = Counter()
    app = web.Application()
    app.router.add_post("/", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield made
    finally:
        made.open.set()
        await runner.cleanup()


def allow(outside: Counter) -> str:
    """The setting that lets nodes call the counter."""
    return outside.url.removeprefix("http://").rstrip("/")


def calls(outside: Counter, *node_ids: str) -> list[dict[str, Any]]:
    """Nodes that call the counter."""
    config = {"url": outside.url, "method": "POST", "body": {}}
    return [{"id": node_id, "type": "http_request", "config": config} for node_id in node_ids]


def line_of(*nodes: dict[str, Any]) -> dict[str, Any]:
    """A definition of nodes one after the other."""
    ids = [node["id"] for node in nodes]
    edges = [{"source": source, "target": target} for source, target in itertools.pairwise(ids)]
    return {"nodes": list(nodes), "edges": edges}
