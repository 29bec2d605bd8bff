"""Every list, walked with its cursors while others write: what was there all along is seen exactly once."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from melagent.api.routes import ROUTES
from melagent.domain.definition import Definition
from melagent.domain.run import StepStatus
from melagent.domain.seats import Seat
from melagent.store import audit, seats, users, workers
from melagent.store.ids import new_id
from melagent.store.rows import AuditRow
from melagent.store.workers import WorkerRow
from tests.builders import entry, eventually, leased_run, step, stored

START = {"nodes": [{"id": "start", "type": "manual_trigger"}], "edges": []}
BRANCHES = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "check", "type": "if", "config": {"conditions": [{"expression": "true"}]}},
        *({"id": f"no{number}", "type": "noop"} for number in range(7)),
    ],
    "edges": [
        {"source": "start", "target": "check"},
        *({"source": "check", "source_handle": "false", "target": f"no{number}"} for number in range(7)),
    ],
}
WIDE = {
    "nodes": [{"id": "start", "type": "manual_trigger"}, *({"id": f"s{n}", "type": "noop"} for n in range(1, 120))],
    "edges": [{"source": "start", "target": f"s{n}"} for n in range(1, 120)],
}
MANY = 7

KEEP_DELIVERY = """
INSERT INTO deliveries (id, trigger_id, request, body, body_size, outcome, status)
VALUES ($1, $2, '{"method": "POST", "path": "/", "query": {}, "headers": {}}', '{}', 2, 'refused', 429)
"""


class Lists:
    """For each list: how to make an entry (its key in the list), and how to change things around it."""

    def __init__(self, client, pool, engine, deploy):
        self.client, self.pool, self.engine, self.deploy = client, pool, engine, deploy
        self.workflow = self.grant = self.hook = None
        self.seq = 0

    async def post(self, path, **body):
        answer = await self.client.post(path, json=body)
        assert answer.status in (201, 202), await answer.text()
        return await answer.json()

    async def open(self):
        self.workflow = f"/api/workflows/{await self.deploy(START)}"
        self.hook = await self.triggers()
        self.grant = await leased_run(self.pool, version_id=await stored(self.pool, Definition.model_validate(WIDE)))
        await self.engine.recorder.submit(entry(self.grant, 1, step("start", 1)))

    async def workflows(self):
        made = await self.post("/api/workflows", name="w")
        await self.client.put(f"/api/workflows/{made['id']}", json={"name": "renamed"})
        return made["id"]

    async def versions(self):
        return (await self.post(f"{self.workflow}/versions", name="v"))["id"]

    async def nodes(self):
        return (await self.post(f"{self.workflow}/nodes", id=f"n{new_id()}", type="noop"))["id"]

    async def edits(self):
        await self.nodes()
        return (await (await self.client.get(f"{self.workflow}/draft")).json())["revision"]

    async def sockets(self):
        """A seat on another instance, which is there all the time."""
        seat = Seat(new_id(), f"p{new_id()}", "owner", "elsewhere", "ada", "Ada", "#3b5bdb")
        async with self.pool.acquire() as conn:
            if not await seats.touch_hub(conn, "elsewhere"):
                await seats.insert_hub(conn, "elsewhere")
            await seats.put(conn, "elsewhere", [seat])
        return seat.peer

    async def edges(self):
        return (await self.post(f"{self.workflow}/edges", source="start", target=await self.nodes()))["id"]

    async def runs(self):
        made = await self.post("/api/workflow-runs", definition=START)
        await self.client.post(f"/api/workflow-runs/{made['id']}/cancel")
        return made["id"]

    async def steps(self):
        self.seq += 1
        place = self.seq + 1
        await self.engine.recorder.submit(entry(self.grant, place, step(f"s{self.seq}", place)))
        return f"s{self.seq}"

    async def triggers(self):
        hook = {"nodes": [{"id": "hook", "type": "webhook"}]}
        workflow_id = await self.deploy(hook)
        return str(await self.pool.fetchval("SELECT id FROM triggers WHERE workflow_id = $1", workflow_id))

    async def tokens(self):
        made = (await self.post("/api/tokens", name="t"))["id"]
        await self.client.delete(f"/api/tokens/{made}")
        return made

    async def deliveries(self):
        delivery_id = new_id()
        await self.pool.execute(KEEP_DELIVERY, delivery_id, self.hook)
        return str(delivery_id)

    async def connections(self):
        config = {"secret": "a secret of mine"}
        made = await self.post("/api/connections", name=f"c{new_id()}", credential_type="webhook_secret", config=config)
        return made["id"]

    credentials = connections

    async def users(self):
        made = await users.insert(self.pool, new_id(), email=f"{new_id()}@example.com", name="ada", role="viewer")
        return str(made.id)

    async def audit(self):
        row = AuditRow(new_id(), datetime.now(UTC), "key", "k", "k", "POST /x", b"{}", 200, "127.0.0.1", "r", 1)
        await audit.insert(self.pool, [row])
        return str(row.id)

    async def variables(self):
        return (await self.post("/api/variables", scope="global", key=f"k{new_id()}", value=1))["key"]

    async def workers(self):
        name = f"w{new_id()}"
        await workers.register(self.pool, WorkerRow(name, new_id(), "t", name, "1", [], [], 1, "i"))
        return name


PATHS = {
    "/api/workflows": ("workflows", "id"),
    "/api/workflows/{id}/versions": ("versions", "id"),
    "/api/workflows/{id}/nodes": ("nodes", "id"),
    "/api/workflows/{id}/edges": ("edges", "id"),
    "/api/workflows/{id}/draft/history": ("edits", "seq"),
    "/api/workflow-runs": ("runs", "id"),
    "/api/workflow-runs/{id}/steps": ("steps", "step_key"),
    "/api/triggers": ("triggers", "id"),
    "/api/tokens": ("tokens", "id"),
    "/api/triggers/{id}/deliveries": ("deliveries", "id"),
    "/api/connections": ("connections", "id"),
    "/api/credentials": ("credentials", "id"),
    "/api/users": ("users", "id"),
    "/api/audit": ("audit", "id"),
    "/api/variables": ("variables", "key"),
    "/api/workers": ("workers", "id"),
    "/api/realtime/connections": ("connections", "peer"),
}
"""Each list: what it holds, and the field that tells its entries apart."""

MAKERS = {"/api/realtime/connections": "sockets"}
"""How an entry is made, where that has not the name of the list."""


@pytest.fixture
async def lists(client, pool, engine, deploy):
    lists = Lists(client, pool, engine, deploy)
    await lists.open()
    return lists


def test_every_list_is_walked_here():
    assert {route.path for route in ROUTES if route.query and "cursor" in route.query.model_fields} == PATHS.keys()


@asynccontextmanager
async def writing(write):
    """Somebody makes entries all the time, a hundred at most."""
    written = []

    async def go_on():
        while len(written) < 100:
            made = await write()
            written.append(made)

    task = asyncio.create_task(go_on())
    yield written
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def pages(client, path, name, limit):
    """The pages of a list from its beginning to its end."""
    query = {"limit": str(limit)}
    while True:
        answer = await client.get(path, params=query)
        assert answer.status == 200, await answer.text()
        body = await answer.json()
        assert len(body[name]) <= limit
        yield body[name]
        if body["next_cursor"] is None:
            return
        query["cursor"] = str(body["next_cursor"])


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_that_was_there_all_along_is_missed_or_seen_twice(client, lists, path):
    name, key = PATHS[path]
    make = getattr(lists, MAKERS.get(path, name))
    there = [await make() for _ in range(MANY)]
    ids = {"/api/workflow-runs": lists.grant.run_id, "/api/triggers": lists.hook}.get(path.partition("/{id}")[0])
    url = path.replace("/api/workflows/{id}", lists.workflow).replace("{id}", str(ids))
    seen = []
    async with writing(make) as written:
        async for page in pages(client, url, name, limit=2):
            seen += [part[key] for part in page]
            count = len(written)
            await eventually(lambda before=count: len(written) > before or len(written) == 100)
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


async def test_a_list_that_fits_on_one_page_has_no_cursor(client, lists):
    await lists.workflows()
    body = await (await client.get("/api/workflows?limit=3")).json()
    assert (len(body["workflows"]), body["next_cursor"]) == (3, None)


async def test_skipped_steps_come_in_pages_too_each_once(client, pool, engine):
    version_id = await stored(pool, Definition.model_validate(BRANCHES))
    grant = await leased_run(pool, version_id=version_id)
    steps = [step("start", 1), replace(step("check", 2), handle="true")]
    await engine.recorder.submit(entry(grant, 1, *steps))
    for limit in (1, 2, 3, 9, 100):
        seen = []
        async for page in pages(client, f"/api/workflow-runs/{grant.run_id}/steps", "steps", limit):
            seen += [part["step_key"] for part in page]
        assert seen == ["start", "check", *(f"no{number}" for number in range(7))], limit


async def test_a_step_that_is_recorded_again_meanwhile_comes_again_with_its_end(client, pool, engine):
    grant = await leased_run(pool, version_id=await stored(pool, Definition.model_validate(WIDE)))
    asleep = replace(step("s1", 2), status=StepStatus.SLEEPING, finished_at=None, output=None, handle=None)
    await engine.recorder.submit(entry(grant, 1, step("start", 1), asleep, step("s2", 3)))
    seen = []
    async for page in pages(client, f"/api/workflow-runs/{grant.run_id}/steps", "steps", 1):
        seen += [(part["step_key"], part["status"]) for part in page]
        if seen[-1][0] == "s1" and len(seen) == 2:
            await engine.recorder.submit(entry(grant, 2, step("s1", 4)))
    assert seen == [("start", "completed"), ("s1", "sleeping"), ("s2", "completed"), ("s1", "completed")]
