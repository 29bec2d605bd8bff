"""Every error code that the program can answer is answered here, and docs/api.md explains every one there is."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from melagent.api import patience, webhooks
from melagent.errors import HTTP_STATUS, Code
from melagent.services.access import Role, create_worker_token
from melagent.store.ids import new_id

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


@dataclass(frozen=True, slots=True)
class Calls:
    """One call for each code, by the name of the code."""

    client: Any
    pool: Any
    keys: Any
    make_workflow: Any
    deploy: Any
    engine: Any

    async def bad_request(self):
        return await self.client.post("/api/workflows", json={})

    async def unauthenticated(self):
        return await self.client.get("/api/workflows", headers={"Authorization": "Bearer wrong"})

    async def forbidden(self):
        headers = {"Authorization": f"Bearer {self.keys[Role.VIEWER]}"}
        return await self.client.post("/api/workflows", json={"name": "x"}, headers=headers)

    async def not_found(self):
        return await self.client.get(f"/api/workflows/{new_id()}")

    async def method_not_allowed(self):
        return await self.client.delete("/health")

    async def conflict(self):
        return await self.client.post(f"/api/workflows/{(await self.make_workflow())['id']}/execute")

    async def lease_lost(self):
        _, token = await create_worker_token(self.pool, "worker")
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.client.post("/api/workers", json={"id": "w"}, headers=headers)
        body = {"session": (await answer.json())["session"], "lease": str(uuid4()), "seq": 1}
        run_id = new_id()
        body |= {"run_id": str(run_id), "sent_at": "2026-01-01T00:00:00Z", "settle": {"status": "completed"}}
        return await self.client.post(f"/api/workers/w/complete-work/{run_id}", json=body, headers=headers)

    async def draft_behind(self):
        path = f"/api/workflows/{(await self.make_workflow())['id']}/layout"
        return await self.client.post(path, json={"min_revision": 99})

    async def too_slow(self):
        async def body():
            yield b'{"name": '
            await asyncio.Event().wait()

        return await self.client.post("/api/workflows", data=body())

    async def gone(self):
        definition = {"nodes": [{"id": "start", "type": "manual_trigger"}]}
        run = await (await self.client.post("/api/workflow-runs", json={"definition": definition})).json()
        await self.client.post(f"/api/workflow-runs/{run['id']}/cancel")
        links = await self.engine.linker.of(UUID(run["id"]))
        return await self.client.get(links.url("start"))

    async def too_large(self):
        return await self.client.post("/api/workflows", data=b"[" * 500_001)

    async def unprocessable(self):
        return await self.client.post("/api/workflow-runs", json={"definition": {"nodes": []}})

    async def internal(self):
        await self.pool.execute("ALTER TABLE workflows RENAME TO hidden")
        return await self.client.get("/api/workflows")

    async def unavailable(self):
        await self.pool.close()
        return await self.client.get("/api/workflows")

    async def timeout(self):
        return await self.client.post(await self.webhook({"mode": "sync"}))

    async def rate_limited(self):
        path = await self.webhook({"perSecond": 0.01})
        await self.client.post(path)
        return await self.client.post(path)

    async def webhook(self, config):
        await self.deploy({"nodes": [{"id": "hook", "type": "webhook", "config": config}]})
        body = await (await self.client.get("/api/triggers")).json()
        return "/webhooks/" + body["triggers"][0]["webhook_url"].rsplit("/", 1)[1]


@pytest.fixture
def calls(client, pool, keys, make_workflow, *, deploy, engine):
    return Calls(client, pool, keys, make_workflow, deploy, engine)


@pytest.mark.parametrize("code", list(Code))
async def test_a_code_is_answered_with_its_status_and_the_error_body(calls, code, monkeypatch):
    monkeypatch.setattr(webhooks, "WAIT_SECONDS", 0.01)  # no worker is here, so every caller waits as long
    monkeypatch.setattr(patience, "BODY_SECONDS", 0.01)  # all other bodies arrive with their head
    answer = await getattr(calls, code)()
    body = await answer.json()
    assert (body["error"], answer.status) == (code, HTTP_STATUS[code]), body
    assert {"message", "details", "request_id"} <= body.keys()
    assert body["message"]


def test_the_docs_explain_every_code_with_its_status():
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (.+?) \| (.+?) \|$", DOCS.read_text(), re.MULTILINE)
    assert {Code(code): int(status) for code, status, *_ in rows} == HTTP_STATUS
    assert len(rows) == len(HTTP_STATUS) == len(Code)
