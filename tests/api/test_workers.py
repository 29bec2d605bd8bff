"""The worker protocol as a plain HTTP client meets it; what is repeated, reordered or stale changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from melagent.api.context import WORKERS
from melagent.services.access import create_worker_token
from melagent.services.connections import Connections
from melagent.services.workers import TRUSTED_SECONDS
from melagent.store import tokens
from melagent.store.ids import new_id
from tests.builders import chain, free_run, new_run, place, stored

START = ("start", "manual_trigger")


class RemoteWorker:
    """One registered worker, call by call."""

    def __init__(self, client, worker_id):
        self.client = client
        self.id = worker_id
        self.session = None
        self.beats = 0

    async def call(self, method, path="", body=None, **options):
        url = f"/api/workers/{self.id}{path}"
        query = {"session": self.session, **options.pop("query", {})}
        sent = {"json": {"session": self.session, **body}} if body is not None else {"params": query}
        async with self.client.request(method, url, **sent, **options) as answer:
            data = await answer.json() if answer.content_type == "application/json" else await answer.read()
            return answer.status, data

    async def register(self, **fields):
        async with self.client.post("/api/workers", json={"id": self.id, "concurrency": 5, **fields}) as answer:
            body = await answer.json()
        self.session = body.get("session", self.session)
        return answer.status, body

    async def claim(self, wait=0.0, items=5):
        status, found = await self.call("POST", "/claim-work", {"max_items": items, "wait_seconds": wait})
        assert status == 200, found
        return found

    async def beat(self, items=(), seq=None, **fields):
        self.beats = self.beats + 1 if seq is None else self.beats
        leases = {item["run_id"]: item["lease"] for item in items}
        body = {"seq": self.beats if seq is None else seq, "leases": leases, **fields}
        return await self.call("PUT", "/heartbeat", body)

    async def journal(self, *entries, sent_at=None):
        now = (sent_at or datetime.now(UTC)).isoformat()
        return await self.call("POST", "/journal", {"sent_at": now, "entries": list(entries)})


def step(key="a", seq=1, **fields):
    now = datetime.now(UTC).isoformat()
    done = {"step_key": key, "node_id": key, "node_type": "noop", "status": "completed", "attempt": 1, "seq": seq,
            "started_at": now, "finished_at": now, "handle": "out", "output": {"text": '{"n":1}'}}  # fmt: skip
    return done | fields


def entry(item, seq=1, *steps, settle=None, **fields):
    return {
        "run_id": item["run_id"],
        "lease": item["lease"],
        "seq": seq,
        "steps": list(steps),
        "settle": settle,
    } | fields


COMPLETED = {"status": "completed", "output": {"text": '"done"'}}


@pytest.fixture
async def token(pool):
    return (await create_worker_token(pool, "tests"))[1]


@pytest.fixture
async def worker_client(serve, services, token):
    async with serve(services, key=token) as client:
        yield client


@pytest.fixture
async def remote(worker_client):
    worker = RemoteWorker(worker_client, "one")
    assert (await worker.register())[0] == 201
    return worker


@asynccontextmanager
async def nothing_changes(pool):
    """What the database holds is the same afterwards, but for the times at which workers were heard of."""
    before = await contents(pool)
    yield
    assert await contents(pool) == before


async def contents(pool):
    tables = ("runs", "work_items", "parked", "steps", "payloads")
    found = {table: sorted(map(tuple, await pool.fetch(f"SELECT * FROM {table}")), key=repr) for table in tables}
    return found | {"workers": await pool.fetch("SELECT id, session FROM workers ORDER BY id")}


async def test_a_worker_registers_claims_records_and_settles(remote, pool):
    run = await free_run(pool, input=b'{"a": 1}')
    (item,) = await remote.claim()
    assert (item["run_id"], item["type"], item["attempt"]) == (str(run.id), "run", 1)
    assert item["payload"]["input"]["text"] == '{"a": 1}'
    assert item["payload"]["journal_complete"]
    assert item["granted_after_ms"] >= 0
    assert await remote.journal(entry(item, 1, step())) == (200, {"rejected": [], "results": [], "items": []})
    assert (await remote.journal(entry(item, 2, settle=COMPLETED)))[1]["rejected"] == []
    assert await place(pool, run.id) == ("completed", "nowhere")
    assert await pool.fetchval("SELECT output FROM steps WHERE run_id = $1", run.id) == b'{"n":1}'


async def test_a_claim_waits_and_is_answered_when_a_run_starts_here(remote, engine):
    waiting = asyncio.create_task(remote.claim(wait=30))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await engine.start(run := new_run())
    assert [item["run_id"] for item in await asyncio.wait_for(waiting, 30)] == [str(run.id)]


async def test_an_error_in_a_claim_that_stays_open_ends_its_answer_and_gives_the_run_back(
    remote, token, pool, monkeypatch
):
    def broken(_item):
        raise RuntimeError("broken")

    monkeypatch.setattr("melagent.api.workers.item_message", broken)
    run = await free_run(pool)
    body = json.dumps({"session": remote.session, "wait_seconds": 20, "stream": True}).encode()
    reader, writer = await asyncio.open_connection(remote.client.host, remote.client.port)
    writer.write(b"POST /api/workers/one/claim-work HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
    writer.write(b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (token.encode(), len(body), body))
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n1\r\n\n\r\n0\r\n\r\n")  # the first line, and an end
    assert await place(pool, run.id) == ("pending", "free")


async def test_repeated_entries_are_answered_as_the_first_time_and_change_nothing(remote, pool):
    await free_run(pool)
    (item,) = await remote.claim()
    first, second = entry(item, 1, step()), entry(item, 2, step("b", 2), settle=COMPLETED)
    for sent in (first, second):
        assert (await remote.journal(sent))[1]["rejected"] == []
        async with nothing_changes(pool):
            assert (await remote.journal(sent))[1]["rejected"] == []
    async with nothing_changes(pool):
        (rejected,) = (await remote.journal(first))[1]["rejected"]
        assert rejected["error"] == "lease_lost"


async def test_an_entry_that_was_overtaken_changes_nothing(remote, pool):
    await free_run(pool)
    (item,) = await remote.claim()
    await remote.journal(entry(item, 2, step("b", 2)))
    async with nothing_changes(pool):
        await remote.journal(entry(item, 1, step("late", 1)))


async def test_one_bad_entry_harms_no_other(remote, pool):
    runs = [await free_run(pool) for _ in range(4)]
    good, nul, missing, command = await remote.claim()
    answer = await remote.journal(
        entry(good, 1, step(), settle=COMPLETED),
        entry(nul, 1, step("nul\x00")),
        entry(missing, 1, step(output={"hash": "0" * 64, "size": 5})),
        entry(command, 1, commands=[{"step_key": "no", "scope": "global", "key": "k", "operation": "delete"}]),
    )
    errors = {found["run_id"]: found["error"] for found in answer[1]["rejected"]}
    assert errors == {item["run_id"]: "invalid" for item in (nul, missing, command)}
    assert await place(pool, UUID(good["run_id"])) == ("completed", "nowhere")
    assert len(runs) == 4


def command(key="n", **fields):
    return {"step_key": "count", "scope": "global", "key": key, "operation": "increment", **fields}


async def test_commands_change_variables_once_and_their_result_is_in_the_journal(remote, pool):
    workflow = new_id()
    run = await free_run(pool, workflow_id=workflow)
    (item,) = await remote.claim()
    sent = entry(item, 1, step("count", 1, output=None), commands=[command(scope="workflow", amount=3)])
    for _ in range(2):
        assert await remote.journal(sent) == (200, {"rejected": [], "results": [], "items": []})
    _, page = await remote.call("GET", f"/journal/{run.id}", query={"after": 0, "limit": 1})
    assert page["steps"][0]["output"]["text"] == ('{"key":"n","scope":"workflow","ok":true,"value":3,"revision":1}')
    assert page["more"]
    assert [tuple(row) for row in await pool.fetch("SELECT scope, value FROM variables")] == [(str(workflow), b"3")]


async def test_a_worker_changes_no_variable_without_the_lease(remote, pool):
    await free_run(pool)
    (item,) = await remote.claim()
    stolen = entry(item, 1, step("count"), commands=[command()]) | {"lease": str(uuid4())}
    (rejected,) = (await remote.journal(stolen))[1]["rejected"]
    assert rejected["error"] == "lease_lost"
    assert await pool.fetchval("SELECT count(*) FROM variables") == 0


async def test_a_worker_cannot_name_another_workflow_s_variables(remote, pool):
    await free_run(pool, workflow_id=new_id())
    (item,) = await remote.claim()
    sent = entry(item, 1, step("count"), commands=[command(scope=str(new_id()))])
    assert (await remote.journal(sent))[0] == 400
    await free_run(pool)
    (item,) = await remote.claim()
    sent = entry(item, 1, step("count"), commands=[command(scope="workflow")])
    (rejected,) = (await remote.journal(sent))[1]["rejected"]
    assert (rejected["error"], "no workflow" in rejected["message"]) == ("invalid", True)
    assert await pool.fetchval("SELECT count(*) FROM variables") == 0


@pytest.mark.parametrize(
    ("steps", "commands"),
    [
        ([], [command()]),
        ([step("other")], [command()]),
        ([step("count", status="sleeping", finished_at=None, handle=None, due_in=1)], [command()]),
        ([step("count")], [command(), command("m")]),
        ([step("count")], [command(operation="set", value={"text": "no json"})]),
    ],
)
async def test_a_command_needs_a_completed_step_of_its_own_and_a_value_that_is_json(remote, pool, steps, commands):
    await free_run(pool)
    (item,) = await remote.claim()
    (rejected,) = (await remote.journal(entry(item, 1, *steps, commands=commands)))[1]["rejected"]
    assert rejected["error"] == "invalid"
    assert await pool.fetchval("SELECT count(*) FROM variables") == 0


async def test_a_worker_reads_the_variables_of_runs_that_it_holds_and_of_no_others(remote, pool):
    workflow, another = new_id(), new_id()
    await pool.execute(
        "INSERT INTO variables (scope, key, value, revision) VALUES ('global', 'a', '1', 1), ('global', 'b', '2', 1),"
        " ($1, 'a', '3', 1), ($2, 'a', '4', 1)", str(workflow), str(another),
    )  # fmt: skip  # the statement, then its values
    run = await free_run(pool, workflow_id=workflow)
    await remote.claim()

    async def read(**query):
        return await remote.call("GET", f"/variables/{run.id}", query=query)

    assert await read() == (200, {"variables": {"a": "3", "b": "2"}})
    assert await read(keys="a,c") == (200, {"variables": {"a": "3"}})
    assert await read(keys="") == (200, {"variables": {}})
    assert await read(keys="b", scope="workflow") == (200, {"variables": {}})
    assert await read(prefix="a", scope="global") == (200, {"variables": {"a": "1"}})
    assert (await read(prefix="\x00"))[0] == 400
    assert await read(keys="\x00,b") == (200, {"variables": {"b": "2"}})
    foreign = await free_run(pool, workflow_id=another)
    assert (await remote.call("GET", f"/variables/{foreign.id}"))[0] == 403


async def test_an_entry_with_the_same_step_twice_is_refused_and_holds_no_other_up(remote, pool):
    bad, good = await free_run(pool), await free_run(pool)
    items = {item["run_id"]: item for item in await remote.claim()}
    twice = entry(items[str(bad.id)], 1, step("a", 1), step("a", 2))
    async with asyncio.timeout(10):  # trying it again would take a whole lease
        status, answer = await remote.journal(twice, entry(items[str(good.id)], 1, step(), settle=COMPLETED))
    (rejected,) = answer["rejected"]
    assert (status, rejected["run_id"], rejected["error"]) == (200, str(bad.id), "invalid")
    assert "step_key" in rejected["message"]
    assert await place(pool, good.id) == ("completed", "nowhere")
    body = {"sent_at": datetime.now(UTC).isoformat(), **twice}
    assert (await remote.call("POST", f"/complete-work/{bad.id}", body))[0] == 400


NO_JSON = {"spliced": '"}, {"x":', "empty": "", "nothing a number can be": "NaN", "half a character": '"\\ud800"'}


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("where", ["step", "settle"])
async def test_a_value_that_is_not_json_is_refused_and_harms_no_other_entry(remote, pool, text, where):
    bad, good = await free_run(pool), await free_run(pool)
    items = {item["run_id"]: item for item in await remote.claim()}
    bad_item, value = items[str(bad.id)], {"text": text}
    steps = [step(output=value)] if where == "step" else []
    settle = {"status": "completed", "output": value} if where == "settle" else None
    refused = entry(bad_item, 1, *steps, settle=settle)
    _, answer = await remote.journal(refused, entry(items[str(good.id)], 1, step(), settle=COMPLETED))
    (rejected,) = answer["rejected"]
    assert (rejected["run_id"], rejected["error"]) == (str(bad.id), "invalid")
    assert "JSON" in rejected["message"]
    assert await place(pool, bad.id) == ("pending", "leased")
    assert await place(pool, good.id) == ("completed", "nowhere")


async def test_a_large_value_that_is_not_json_is_refused(remote, pool):
    value = b'"' + b"v" * 400_000  # the quote at its end is missing
    digest = hashlib.sha256(value).hexdigest()
    run = await free_run(pool)
    (item,) = await remote.claim()
    query = {"lease": item["lease"], "offset": "0", "total": str(len(value))}
    assert (await remote.call("PUT", f"/payloads/{run.id}/{digest}", query=query, data=value))[0] == 204
    for output in ({"hash": digest, "size": len(value)}, {"text": value.decode()}):
        (rejected,) = (await remote.journal(entry(item, 1, step(output=output))))[1]["rejected"]
        assert rejected["error"] == "invalid"
    assert await pool.fetchval("SELECT count(*) FROM steps") == 0


async def test_an_entry_with_more_values_than_a_run_may_have_is_refused_before_they_are_loaded(remote, pool):
    run = await free_run(pool)
    (item,) = await remote.claim()
    await pool.execute(
        "INSERT INTO payload_parts (run_id, hash, start, total, data)"
        " SELECT $1, sha256(value::text::bytea), 0, 16777216, convert_to(repeat('1', 16777216), 'UTF8')"
        " FROM generate_series(1, 6) AS value",
        run.id,
    )
    digests = [hashlib.sha256(str(value).encode()).hexdigest() for value in range(1, 7)]
    steps = [step(digest, seq, output={"hash": digest}) for seq, digest in enumerate(digests, 1)]
    (rejected,) = (await remote.journal(entry(item, 1, *steps)))[1]["rejected"]
    assert (rejected["error"], "together" in rejected["message"]) == ("invalid", True)


async def test_a_lease_that_passed_on_is_lost_in_every_call(remote, pool, engine):
    await free_run(pool)
    (item,) = await remote.claim()
    await engine.release_workers({"one": None})
    async with nothing_changes(pool):
        (rejected,) = (await remote.journal(entry(item, 1, step(), settle=COMPLETED)))[1]["rejected"]
        assert rejected["error"] == "lease_lost"
        assert (await remote.beat([item]))[1]["lost"] == [item["lease"]]
        body = {"sent_at": datetime.now(UTC).isoformat(), **entry(item, 1, step())}
        status, answer = await remote.call("POST", f"/complete-work/{item['run_id']}", body)
        assert (status, answer["error"]) == (409, "lease_lost")
        value = b"x" * 100
        query = {"lease": item["lease"], "offset": "0", "total": "100"}
        path = f"/payloads/{item['run_id']}/{hashlib.sha256(value).hexdigest()}"
        assert (await remote.call("PUT", path, query=query, data=value))[0] == 409


async def test_complete_work_records_one_entry_and_may_be_repeated(remote, pool):
    run = await free_run(pool)
    (item,) = await remote.claim()
    body = {"sent_at": datetime.now(UTC).isoformat(), **entry(item, 1, step(), settle=COMPLETED)}
    assert (await remote.call("POST", f"/complete-work/{new_id()}", body))[0] == 409
    assert (await remote.call("POST", f"/complete-work/{run.id}", body))[0] == 200
    async with nothing_changes(pool):
        assert (await remote.call("POST", f"/complete-work/{run.id}", body))[0] == 200
    assert await place(pool, run.id) == ("completed", "nowhere")


async def test_a_heartbeat_keeps_leases_and_tells_lost_and_cancelled_ones(remote, pool, engine):
    for _ in range(3):
        await free_run(pool)
    items = await remote.claim()
    await pool.execute("UPDATE work_items SET lease_expires_at = now() - interval '1 s'")
    await engine.cancel(UUID(items[0]["run_id"]))
    await pool.execute("UPDATE work_items SET lease = gen_random_uuid() WHERE run_id = $1", UUID(items[1]["run_id"]))
    status, answer = await remote.beat(items)
    assert (status, set(answer["lost"])) == (200, {items[0]["lease"], items[1]["lease"]})
    assert answer["cancelled"] == [items[0]["lease"]]
    left = "SELECT run_id FROM work_items WHERE lease_expires_at > now()"
    assert [str(row["run_id"]) for row in await pool.fetch(left)] == [items[2]["run_id"]]


async def test_a_lease_that_two_heartbeats_do_not_name_is_freed(remote, pool):
    runs = [await free_run(pool) for _ in range(2)]
    kept, let_go = await remote.claim()
    await remote.beat([kept])
    assert await place(pool, UUID(let_go["run_id"])) == ("pending", "leased")  # it may still be on its way
    await remote.beat([kept])
    assert await place(pool, UUID(let_go["run_id"])) == ("pending", "free")
    assert await place(pool, UUID(kept["run_id"])) == ("pending", "leased")
    assert len(runs) == 2


async def test_a_heartbeat_that_comes_late_changes_nothing(remote, pool):
    await free_run(pool)
    await remote.beat()
    await remote.beat()
    (item,) = await remote.claim()
    async with nothing_changes(pool):
        assert (await remote.beat([], seq=1))[0] == 409
    assert (await remote.beat([item]))[0] == 200


async def test_a_new_session_ends_the_old_one_and_frees_its_runs(remote, pool):
    run = await free_run(pool)
    (item,) = await remote.claim()
    restarted = RemoteWorker(remote.client, "one")
    await restarted.register()
    assert await place(pool, run.id) == ("pending", "free")
    async with nothing_changes(pool):
        for method, path, body in (
            ("POST", "/claim-work", {"max_items": 1}),
            ("PUT", "/heartbeat", {"seq": 9, "leases": {item["run_id"]: item["lease"]}}),
            ("POST", "/journal", {"sent_at": datetime.now(UTC).isoformat(), "entries": [entry(item, 1, step())]}),
            ("GET", f"/journal/{run.id}", None),
            ("DELETE", "", None),
        ):
            status, answer = await remote.call(method, path, body)
            assert (status, answer["error"]) == (409, "conflict"), path
    assert len(await restarted.claim()) == 1


async def test_a_registration_that_comes_again_changes_nothing(worker_client, pool):
    """It was on its way for long: an instance stood still with it, and the worker has registered elsewhere since."""
    worker, session = RemoteWorker(worker_client, "one"), str(uuid4())
    assert (await worker.register(session=session))[1]["session"] == session
    await free_run(pool)
    (item,) = await worker.claim()
    await worker.beat([item])
    async with nothing_changes(pool):
        assert (await worker.register(session=session))[1]["session"] == session
        assert (await worker.beat([item], seq=1))[0] == 409  # the order of heartbeats goes on as well
    assert (await worker.journal(entry(item, 1, step(), settle=COMPLETED)))[1]["rejected"] == []


async def test_a_registration_is_known_at_once_to_instances_that_remember_otherwise(remote, serve, services, token):
    async with serve(services, key=token) as other_instance:
        restarted, new = RemoteWorker(other_instance, "one"), RemoteWorker(other_instance, "two")
        restarted.session, new.session = remote.session, str(uuid4())
        assert (await restarted.call("POST", "/claim-work", {"max_items": 1}))[0] == 200
        assert (await new.call("POST", "/claim-work", {"max_items": 1}))[0] == 404
        for worker in (restarted, new):
            registered = RemoteWorker(remote.client, worker.id)
            assert (await registered.register())[0] == 201
            worker.session = registered.session
            assert (await worker.call("POST", "/claim-work", {"max_items": 1}))[0] == 200


async def test_a_session_that_is_heard_of_costs_no_statement_of_its_own(remote, worker_client, monkeypatch):
    workers = worker_client.app[WORKERS]
    assert await remote.claim() == []

    async def asked_for(worker_id):
        raise AssertionError(f"asked for {worker_id}")

    began = time.monotonic()
    later = 0.0
    monkeypatch.setattr(workers._known, "_load", asked_for)
    monkeypatch.setattr("melagent.services.memory.time.monotonic", lambda: began + later)
    for _ in range(3):
        await workers.one_pass()
        later += 0.9 * TRUSTED_SECONDS
        assert await remote.claim() == []


async def test_an_old_session_is_soon_noticed_by_an_instance_that_remembers_it(remote, serve, services, token):
    async with serve(services, key=token) as other_instance:
        old = RemoteWorker(other_instance, "one")
        old.session = remote.session
        assert await old.claim() == []
        await remote.register()
        assert await old.claim() == []
        await other_instance.app[WORKERS].one_pass()
        assert (await old.call("POST", "/claim-work", {"max_items": 1}))[0] == 409


async def test_an_unknown_worker_is_told_to_register(worker_client):
    stranger = RemoteWorker(worker_client, "stranger")
    stranger.session = str(uuid4())
    status, answer = await stranger.call("POST", "/claim-work", {"max_items": 1})
    assert (status, answer["details"][0]["field"]) == (404, "session")


async def test_the_id_of_a_living_worker_is_not_given_to_another_token(remote, serve, services, pool):
    _, other = await create_worker_token(pool, "other")
    async with serve(services, key=other) as client:
        thief = RemoteWorker(client, "one")
        assert (await thief.register())[0] == 409
        thief.session = remote.session
        assert (await thief.call("POST", "/claim-work", {"max_items": 1}))[0] == 404
        await pool.execute("UPDATE workers SET last_contact_at = now() - interval '2 min'")
        assert (await thief.register())[0] == 201


async def test_another_protocol_is_refused_and_unknown_fields_are_not(remote):
    assert (await remote.register(protocol=2))[0] == 409
    assert (await remote.register(protocol=1, brand_new_field={"x": 1}))[0] == 201


async def test_a_bound_token_allows_its_labels_only_and_its_workers_take_no_other_runs(serve, services, pool):
    _, token = await create_worker_token(pool, "eu", ["region=eu"])
    await free_run(pool)
    wanted = await free_run(pool, requires="region=eu")
    async with serve(services, key=token) as client:
        worker = RemoteWorker(client, "bound")
        assert (await worker.register(labels=["region=us"]))[0] == 403
        assert (await worker.register(labels=["region=eu"]))[0] == 201
        assert [item["run_id"] for item in await worker.claim(wait=2)] == [str(wanted.id)]


@pytest.fixture
def revoke(pool, remote, services, eventually):
    """Revokes the token of the worker, and waits until it is noticed, which takes no longer than a heartbeat."""

    async def refused():
        return (await remote.beat())[0] == 401

    async def revoke():
        (row,) = await tokens.list_all(pool, "worker")
        await tokens.revoke(pool, row.id)
        await eventually(refused, seconds=services.heartbeat_seconds)

    return revoke


async def test_a_revoked_token_is_refused_within_a_heartbeat(remote, revoke):
    await revoke()
    assert (await remote.call("POST", "/claim-work", {"max_items": 1}))[0] == 401


@pytest.mark.parametrize("stream", [True, False])
async def test_a_claim_that_is_open_while_its_token_is_revoked_brings_nothing(  # noqa: PLR0917  # fixtures
    remote, revoke, pool, stream, engine, eventually
):
    async def waits():
        return engine.desk.waiting

    body = {"session": remote.session, "max_items": 5, "wait_seconds": 20, "stream": stream}
    claiming = asyncio.create_task(remote.call("POST", "/claim-work", body))
    async with asyncio.timeout(30):
        await eventually(waits)
        await revoke()
        run = await free_run(pool)
        status, brought = await claiming
    assert (status, brought) == (200, b"\n") if stream else status == 401
    assert await place(pool, run.id) == ("pending", "free")


async def test_a_worker_sees_only_what_it_holds(remote, pool):
    version = await stored(pool, chain(START))
    run, other = await free_run(pool, version_id=version), await free_run(pool, requires="gpu=yes")
    assert (await remote.call("GET", f"/versions/{version}"))[0] == 403
    await remote.claim()
    status, definition = await remote.call("GET", f"/versions/{version}")
    assert (status, definition["nodes"][0]["id"]) == (200, "start")
    assert (await remote.call("GET", f"/journal/{run.id}"))[0] == 200
    for path in (f"/journal/{other.id}", f"/payloads/{other.id}/{'0' * 64}", f"/versions/{new_id()}"):
        assert (await remote.call("GET", path))[0] == 403


async def test_a_resumed_run_comes_with_its_journal_page_by_page(remote, pool, monkeypatch, engine):
    monkeypatch.setattr("melagent.api.workers.STEPS_A_PAGE", 2)
    large = '"' + "x" * 20_000 + '"'
    run = await free_run(pool)
    (item,) = await remote.claim()
    steps = [step(f"s{n}", n, output={"text": large if n == 2 else str(n)}) for n in range(1, 6)]
    await remote.journal(entry(item, 1, *steps))
    await remote.journal(entry(item, 2, settle={"status": "released"}))
    (again,) = await remote.claim(wait=5)
    assert (again["attempt"], again["payload"]["journal_complete"]) == (2, False)
    found, more, after = [], True, 0
    while more:
        page = (await remote.call("GET", f"/journal/{run.id}", query={"after": str(after)}))[1]
        found, more, after = found + page["steps"], page["more"], page["steps"][-1]["seq"]
    assert [found_step["step_key"] for found_step in found] == ["s1", "s2", "s3", "s4", "s5"]
    digest = hashlib.sha256(large.encode()).hexdigest()
    assert [found_step["output"].get("text") for found_step in found] == ["1", None, "3", "4", "5"]
    assert found[1]["output"]["hash"] == digest
    assert (await remote.call("GET", f"/payloads/{run.id}/{digest}"))[1] == large.encode()


async def test_a_large_value_comes_in_parts_and_is_kept_once_it_is_named(remote, pool):
    value = b'"' + b"v" * 1_200_000 + b'"'
    digest = hashlib.sha256(value).hexdigest()
    run = await free_run(pool)
    (item,) = await remote.claim()
    recording = entry(item, 1, step(output={"hash": digest, "size": len(value)}))
    parts = [(start, value[start : start + 512 * 1024]) for start in range(0, len(value), 512 * 1024)]
    for start, data in reversed(parts[1:]):
        query = {"lease": item["lease"], "offset": str(start), "total": str(len(value))}
        assert (await remote.call("PUT", f"/payloads/{run.id}/{digest}", query=query, data=data))[0] == 204
    assert (await remote.journal(recording))[1]["rejected"][0]["error"] == "invalid"
    query = {"lease": item["lease"], "offset": "0", "total": str(len(value))}
    assert (await remote.call("PUT", f"/payloads/{run.id}/{digest}", query=query, data=parts[0][1]))[0] == 204
    assert (await remote.journal(recording))[1]["rejected"] == []
    assert (await remote.call("GET", f"/payloads/{run.id}/{digest}"))[1] == value
    assert await pool.fetchval("SELECT count(*) FROM payload_parts") == 0
    async with nothing_changes(pool):
        assert (await remote.journal(recording))[1]["rejected"] == []


@pytest.mark.parametrize(("offset", "total", "size"), [(0, 17 * 2**20, 10), (0, 5, 10), (-1, 10, 5), (0, 10, 600_000)])
async def test_a_part_that_does_not_fit_is_refused(remote, pool, offset, total, size):
    run = await free_run(pool)
    (item,) = await remote.claim()
    query = {"lease": item["lease"], "offset": str(offset), "total": str(total)}
    status, _ = await remote.call("PUT", f"/payloads/{run.id}/{'a' * 64}", query=query, data=b"x" * size)
    assert status in (400, 413)
    assert await pool.fetchval("SELECT count(*) FROM payload_parts") == 0


async def test_unregistering_frees_what_the_worker_holds_and_may_be_repeated(remote, pool):
    run = await free_run(pool)
    await remote.claim()
    assert (await remote.call("DELETE"))[0] == 204
    assert await place(pool, run.id) == ("pending", "free")
    assert (await remote.call("DELETE"))[0] == 404


async def test_an_old_session_that_says_goodbye_frees_nothing_of_the_new_one(remote, serve, services, token, pool):
    async with serve(services, key=token) as other_instance:
        old = RemoteWorker(other_instance, "one")
        old.session = remote.session
        assert await old.claim() == []  # so that this instance remembers the session
        await remote.register()
        run = await free_run(pool)
        await remote.claim()
        async with nothing_changes(pool):
            assert (await old.call("DELETE"))[0] == 204
        assert await place(pool, run.id) == ("pending", "leased")


class HeldUp:
    """The first release of a worker's runs is held up until it is let go, as on an instance that is stopped there."""

    def __init__(self, engine, monkeypatch):
        self.reached, self.gate = asyncio.Event(), asyncio.Event()
        self._release = engine.release_workers
        monkeypatch.setattr(engine, "release_workers", self)

    async def __call__(self, *arguments):
        if not self.reached.is_set():
            self.reached.set()
            await self.gate.wait()
        return await self._release(*arguments)


async def test_a_registration_that_is_held_up_frees_nothing_of_the_session_after_it(remote, engine, pool, monkeypatch):
    old_run = await free_run(pool)
    await remote.claim()
    held_up = HeldUp(engine, monkeypatch)
    late = asyncio.create_task(RemoteWorker(remote.client, "one").register())
    await held_up.reached.wait()
    await remote.register()
    assert await place(pool, old_run.id) == ("pending", "free")
    (item,) = await remote.claim()
    async with nothing_changes(pool):
        held_up.gate.set()
        assert (await late)[0] == 201
    assert (await remote.beat([item]))[1]["lost"] == []


async def test_a_goodbye_that_is_held_up_frees_nothing_of_the_session_after_it(remote, engine, pool, monkeypatch):
    held_up = HeldUp(engine, monkeypatch)
    late = asyncio.create_task(remote.call("DELETE"))
    await held_up.reached.wait()
    restarted = RemoteWorker(remote.client, "one")
    await restarted.register()
    run = await free_run(pool)
    await restarted.claim()
    async with nothing_changes(pool):
        held_up.gate.set()
        assert (await late)[0] == 204
    assert await place(pool, run.id) == ("pending", "leased")


async def test_an_instance_that_drains_sends_workers_away(remote, services):
    waiting = asyncio.create_task(remote.claim(wait=30))
    await asyncio.sleep(0.1)
    services.draining.set()
    services.engine.desk.dismiss()
    assert await asyncio.wait_for(waiting, 30) == []
    assert (await remote.call("POST", "/claim-work", {"max_items": 1}))[0] == 503


async def test_the_times_of_steps_are_shifted_to_the_clock_of_the_instance(remote, pool):
    run = await free_run(pool)
    (item,) = await remote.claim()
    slow = datetime(2001, 1, 1, tzinfo=UTC)
    times = {"started_at": slow.isoformat(), "finished_at": slow.isoformat()}
    await remote.journal(entry(item, 1, step(**times)), sent_at=slow)
    shifted = await pool.fetchval(
        "SELECT abs(extract(epoch FROM now() - started_at)) FROM steps WHERE run_id = $1", run.id
    )
    assert shifted < 60


@pytest.mark.parametrize(
    ("sent_at", "started_at"),
    [("9999-12-31T23:59:59Z", "2026-01-01T00:00:00Z"), ("2001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")],
)
async def test_times_that_cannot_be_are_an_error_of_the_worker(remote, pool, sent_at, started_at):
    run = await free_run(pool)
    (item,) = await remote.claim()
    recording = entry(item, 1, step(started_at=started_at))
    body = {"sent_at": sent_at, **recording}
    assert (await remote.call("POST", f"/complete-work/{run.id}", body))[0] == 400
    status, answer = await remote.call("POST", "/journal", {"sent_at": sent_at, "entries": [recording]})
    assert (status, [found["error"] for found in answer["rejected"]]) == (200, ["invalid"])
    assert await pool.fetchval("SELECT count(*) FROM steps") == 0


async def test_a_sleep_without_a_time_is_refused(remote, pool):
    await free_run(pool)
    (item,) = await remote.claim()
    async with nothing_changes(pool):
        assert (await remote.journal(entry(item, 1, settle={"status": "sleeping"})))[0] == 400


async def test_log_lines_are_shown_to_those_who_watch_and_only_of_runs_that_the_worker_holds(remote, client, pool):
    version = await stored(pool, chain(START))
    run, other = await free_run(pool, version_id=version), await free_run(pool, version_id=version, requires="gpu=yes")
    (item,) = await remote.claim()
    line = {"level": "info", "message": "half way"}
    async with asyncio.timeout(60), client.get(f"/api/workflow-runs/{run.id}/events") as stream:
        async for text in stream.content:
            if text.startswith(b"event: run"):
                break
        for run_id in (run.id, other.id):
            event = {"run_id": str(run_id), "step_key": "a", "attempt": 1, "number": 0, "data": line}
            assert (await remote.call("POST", "/events", {"events": [event, event]}))[0] == 204
        recorded = step(logs=[line, {"level": "info", "message": "done"}])
        await remote.journal(entry(item, 1, recorded, settle=COMPLETED))
        told = [text.decode() for text in [text async for text in stream.content] if b"message" in text]
    assert [text.count("half way") for text in told if "half way" in text] == [1]
    assert any("done" in text for text in told)


async def test_the_list_shows_load_and_last_contact(remote, client, pool):
    await free_run(pool)
    await remote.claim()
    (shown,) = (await (await client.get("/api/workers")).json())["workers"]
    assert (shown["id"], shown["busy"], shown["concurrency"], shown["status"]) == ("one", 1, 5, "active")
    await pool.execute("UPDATE workers SET last_contact_at = now() - interval '5 min'")
    (shown,) = (await (await client.get("/api/workers")).json())["workers"]
    assert shown["status"] == "silent"


async def test_secret_is_for_a_live_lease_of_the_session_whose_definition_names_it(serve, services, token, pool):
    connections = Connections(pool, services.vault)
    fields = {"token": "s3cret-token", "allowed_hosts": ["a.example"]}
    named, other = [await connections.create(new_id(), name, "bearer", fields, "me") for name in ("named", "other")]
    call = {"id": "call", "type": "http_request", "config": {"url": "https://a.example", "connection": str(named.id)}}
    version_id = await stored(pool, chain(START, call))
    await free_run(pool, version_id=version_id)
    async with serve(services, key=token) as worker_client:
        await _ask_for_secrets(worker_client, str(named.id), str(other.id))


async def _ask_for_secrets(client, named, other):
    remote = RemoteWorker(client, "secretive")
    assert (await remote.register())[0] == 201
    (item,) = await remote.claim()
    asked = {"run_id": item["run_id"], "lease": item["lease"], "connection_id": named}

    status, secret = await remote.call("POST", "/secrets", asked)
    assert (status, secret["headers"]) == (200, {"Authorization": "Bearer s3cret-token"})
    assert (secret["hidden"], secret["origins"]) == (["token"], ["https://a.example:443"])

    stranger = RemoteWorker(client, "stranger")
    await stranger.register()
    refusals = [
        await remote.call("POST", "/secrets", {**asked, "connection_id": other}),
        await remote.call("POST", "/secrets", {**asked, "lease": str(uuid4())}),
        await stranger.call("POST", "/secrets", asked),
    ]
    session = remote.session
    await remote.register()  # the process was restarted: its leases are gone, and so is the old session
    refusals.append(await remote.call("POST", "/secrets", asked))
    assert [status for status, _ in refusals] == [403] * 4
    remote.session = session
    refusals.append(await remote.call("POST", "/secrets", asked))
    assert refusals[-1][0] == 409
    unauthenticated = await client.post(
        "/api/workers/secretive/secrets", json=asked, headers={"Authorization": "Bearer nothing"}
    )
    assert unauthenticated.status == 401
    assert "s3cret" not in str(refusals)
