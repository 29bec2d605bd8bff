"""The product as its users start it: `server server` with a data folder of its own, and its API."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiohttp

from benchmarks.processes import Server, free_port, serving
from melagent import embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from benchmarks.workloads import Workload


WAIT_SECONDS = 30
GIVE_UP_SECONDS = 600.0
POLL_SECONDS = 0.005
FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A workflow that is armed: its id, and where it is called."""

    workflow_id: UUID
    webhook_url: str


@dataclass(frozen=True, slots=True)
class Product:
    """A running server. `dsn` is its embedded PostgreSQL, for the floor and for the proofs."""

    server: Server
    dsn: str
    key: str

    async def deploy(self, workload: Workload) -> Deployed:
        """Deploy a workflow that begins with a webhook, all through the API."""
        workflow_id, webhooks = await self._deploy(workload.name, workload.definition)
        return Deployed(UUID(workflow_id), webhooks[0]["webhook_url"])

    async def workflow(self, name: str, definition: dict[str, Any]) -> str:
        """Create a workflow, make a version of it and deploy that; its id."""
        workflow_id, _ = await self._deploy(name, definition)
        return workflow_id

    async def _deploy(self, name: str, definition: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """The id of a new workflow that is deployed, and its webhooks."""
        async with self.api() as api:
            workflow = await _call(api, "POST", "/api/workflows", {"name": name, "definition": definition})
            versions = f"/api/workflows/{workflow['id']}/versions"
            version = await _call(api, "POST", versions, {"name": name})
            deployed = await _call(api, "POST", f"{versions}/{version['version_number']}/deploy", {})
        return str(workflow["id"]), deployed["new_webhooks"]

    async def run(self, api: aiohttp.ClientSession, workflow_id: str, given: Any) -> Any:
        """Start a workflow by hand and wait for its end; the run. Raises RuntimeError when it does not complete."""
        body = {"input": given, "wait_seconds": WAIT_SECONDS}
        return await self._completed(api, await _call(api, "POST", f"/api/workflows/{workflow_id}/execute", body), 0.1)

    async def replay(self, api: aiohttp.ClientSession, run_id: str, from_step: str) -> Any:
        """Replay a run from a step and wait for the end of the new one; that run. RuntimeError as for `run`."""
        run = await _call(api, "POST", f"/api/workflow-runs/{run_id}/replay", {"from_step": from_step})
        return await self._completed(api, run, POLL_SECONDS)

    async def _completed(self, api: aiohttp.ClientSession, run: Any, poll_seconds: float) -> Any:
        until = time.monotonic() + GIVE_UP_SECONDS
        while run["status"] not in FINAL and time.monotonic() < until:
            await asyncio.sleep(poll_seconds)
            run = await _call(api, "GET", f"/api/workflow-runs/{run['id']}")
        if run["status"] != "completed":
            raise RuntimeError(f"run {run['id']} is {run['status']}: {run.get('error')}")
        return run

    def api(self) -> aiohttp.ClientSession:
        """A session that is signed in; to be closed by whoever asks for it."""
        return aiohttp.ClientSession(self.server.url, headers={"Authorization": f"Bearer {self.key}"})

    async def effects_of(self, node_type: str) -> bool:
        """Whether a node type declares effects."""
        async with aiohttp.ClientSession(self.server.url) as api:
            return bool((await _call(api, "GET", f"/api/node-types/{node_type}"))["effects"])

    async def metric(self, name: str) -> float:
        """The value of one metric without labels, as `/metrics` shows it."""
        return (await metrics_of(self.server.url))[name]


async def metrics_of(url: str) -> dict[str, float]:
    """The metrics without labels that a server shows."""
    async with aiohttp.ClientSession(url) as api, api.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, value, *_ in map(str.split, lines) if name.isidentifier()}


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Product]:
    """`server server` with its data in `folder/data`, info logs in `folder/server.log`, and all else by default."""
    port, data = free_port(), folder / "data"
    arguments = ("-m", "melagent", "server", "--port", str(port), "--data-dir", str(data))
    async with serving(port, *arguments, log=folder / "server.log") as server, database(data) as dsn:
        key = json.loads((data / "cli.json").read_text())["api_key"]
        yield Product(server, dsn, key)


@asynccontextmanager
async def database(data: Path) -> AsyncIterator[str]:
    """The embedded PostgreSQL of a data folder, shared with the server that uses it, or started when there is none."""
    postgres = await asyncio.to_thread(embedded.start, data / "postgres")
    try:
        yield postgres.dsn
    finally:
        await asyncio.to_thread(postgres.stop)


async def _call(api: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    async with api.request(method, path, json=body) as answer:
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
        return await answer.json()
