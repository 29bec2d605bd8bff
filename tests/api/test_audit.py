"""The audit log: one row for each call that changes something, and nothing secret in it."""

import asyncio
import csv
import io
import json
import re
from dataclasses import replace
from ipaddress import ip_network

import pytest

from melagent.api.auditing import LEFT_OUT, is_audited
from melagent.api.context import AUDIT
from melagent.api.openapi import PARAMETER
from melagent.api.routes import DEMO_ROUTES, ROUTES
from melagent.maintenance.sweeper import Sweeper
from melagent.services import audit
from melagent.services.access import Keys, Role, create_key, create_worker_token
from melagent.services.audit import ANYBODY, Act, AuditLog
from melagent.store import tokens
from melagent.store.ids import new_id
from tests.api.conftest import ADMIN_KEY, PASSWORD

ROUTE = "/api/audit"
MUTATING = [route for route in (*ROUTES, *DEMO_ROUTES) if route.method != "GET"]


@pytest.fixture
def rows(client, pool):
    """What is in the log, oldest first, with the refusals that are still gathered."""

    async def rows():
        await client.server.app[AUDIT].one_pass()
        return [dict(row) for row in await pool.fetch("SELECT * FROM audit ORDER BY id")]

    return rows


def test_calls_that_change_something_are_left_out_on_purpose_only():
    out = {(route.method, route.path) for route in MUTATING if not is_audited(route)}
    by_role = {(route.method, route.path) for route in MUTATING if route.role is Role.WORKER}
    webhooks_and_demo = {(route.method, route.path) for route in MUTATING if route.method == "*"}
    assert out == LEFT_OUT | by_role | webhooks_and_demo
    assert {path for _, path in webhooks_and_demo if not path.startswith(("/webhooks/", "/demo/"))} == set()


async def test_each_call_that_changes_something_leaves_one_row(client, rows, pool):
    told = {}
    for number, route in enumerate(MUTATING):
        method = "POST" if route.method == "*" else route.method
        path = PARAMETER.sub(str(new_id()), route.path).replace("/slow/", "/slow/x")
        request_id = f"call-{number}"
        await client.request(method, path, json={}, headers={"X-Request-Id": request_id})
        told[request_id] = route
    by_request = {}
    for row in await rows():
        by_request.setdefault(row["request_id"], []).append(row)
    for request_id, route in told.items():
        found = by_request.get(request_id, [])
        if is_audited(route):
            assert len(found) == 1, route
            assert found[0]["action"] == f"{route.method} {route.path}"
        elif route.role is Role.WORKER:
            assert [row["status"] for row in found] == [401], "an API key is refused there"
        else:
            assert found == [], route


async def test_a_row_says_who_did_what_from_where(serve, services, open_browser, make_user, pool):
    await make_user()
    async with serve(replace(services, trusted_proxies=(ip_network("127.0.0.1"),)), key=None) as client:
        browser = await open_browser(client.server)
        await browser.log_in("ada@example.com")
        headers = {"X-Forwarded-For": "198.51.100.7", "X-Request-Id": "mine"}
        made = await browser.call("POST", "/api/workflows", json={"name": "secret name"}, headers=headers)
    row = await pool.fetchrow("SELECT * FROM audit WHERE request_id = 'mine'")
    assert (row["actor_kind"], row["actor_name"]) == ("user", "ada@example.com")
    assert row["actor_id"] == str(await pool.fetchval("SELECT id FROM users"))
    assert (row["action"], row["status"]) == ("POST /api/workflows", 201)
    assert (row["address"], row["times"]) == ("198.51.100.7", 1)
    assert json.loads(row["ids"]) == {"made": (await made.json())["id"]}
    assert "secret name" not in str([*row.values()])


async def test_keys_and_the_key_of_the_settings_are_told_apart(client, pool, keys):
    await client.post("/api/workflows", json={"name": "x"})
    await client.post("/api/workflows", json={"name": "x"}, headers={"Authorization": f"Bearer {keys[Role.EDITOR]}"})
    found = await pool.fetch("SELECT actor_kind, actor_id, actor_name FROM audit ORDER BY id")
    key_id = await pool.fetchval("SELECT id FROM tokens WHERE name = 'editor'")
    assert [tuple(row) for row in found] == [("settings", "bootstrap", "bootstrap"), ("key", str(key_id), "editor")]


async def test_what_failed_is_told_with_its_status(client, rows):
    missing = str(new_id())
    await client.delete(f"/api/workflows/{missing}")
    await client.post("/api/workflows", json={"nmae": "x"})
    assert [(row["status"], json.loads(row["ids"])) for row in await rows()] == [(404, {"id": missing}), (400, {})]


async def test_a_call_is_answered_when_its_row_is_there(client, pool):
    for number in range(5):
        await client.post("/api/workflows", json={"name": str(number)})
        assert await pool.fetchval("SELECT count(*) FROM audit") == number + 1


async def test_rows_of_concurrent_calls_share_a_write(pool, monkeypatch):
    written = []
    insert = audit.audit.insert

    async def counted(conn, rows):
        written.append(len(rows))
        await insert(conn, rows)

    monkeypatch.setattr(audit.audit, "insert", counted)
    log = AuditLog(pool)
    act = Act(ANYBODY, "POST /x", 200, "192.0.2.1", "r", {})
    await asyncio.gather(*(log.record(act) for _ in range(50)))
    assert sum(written) == 50
    assert len(written) <= 3


async def test_when_a_row_cannot_be_written_the_answer_stands_and_the_log_has_it(client, pool, capfd):
    await pool.execute("DROP TABLE audit")
    answer = await client.post("/api/workflows", json={"name": "x"}, headers={"X-Request-Id": "lost-row"})
    assert answer.status == 201
    line = next(line for line in "".join(capfd.readouterr()).splitlines() if "audit row not written" in line)
    assert "lost-row" in line
    assert "POST /api/workflows" in line
    await pool.execute("CREATE TABLE audit (LIKE tokens)")  # so that the application can end


async def test_signing_in_and_its_failures_are_told(client, rows, open_browser, make_user):
    made = await make_user()
    browser = await open_browser()
    for password in ("wrong horse battery", "wrong horse battery", PASSWORD):
        await browser.log_in("ada@example.com", password)
    await browser.log_in("nobody@example.com", "my password by mistake")
    await browser.call("POST", "/api/auth/logout")
    found = [(row["actor_kind"], row["actor_id"], row["action"], row["status"], row["times"]) for row in await rows()]
    ada = ("user", str(made.id))
    assert sorted(found, key=str) == sorted(
        [
            (*ada, "POST /api/auth/login", 200, 1),
            (*ada, "POST /api/auth/logout", 204, 1),
            (*ada, "POST /api/auth/login", 401, 2),
            ("anybody", None, "POST /api/auth/login", 401, 1),
        ],
        key=str,
    )


async def test_a_key_that_is_refused_is_told_also_when_it_only_reads(client, rows, pool, keys):
    token, key = await create_key(pool, "leaked", Role.ADMIN)
    await tokens.revoke(pool, token.id)
    for sent in (key, key, "mel_unknown"):
        await client.get("/api/workflows", headers={"Authorization": f"Bearer {sent}"})
    await client.get("/api/users", headers={"Authorization": f"Bearer {keys[Role.VIEWER]}"})
    worker, worker_key = await create_worker_token(pool, "old worker")
    await tokens.revoke(pool, worker.id)
    await client.post("/api/workers", headers={"Authorization": f"Bearer {worker_key}"})
    told = {(row["actor_kind"], row["actor_name"], row["action"], row["status"], row["times"]) for row in await rows()}
    assert told == {
        ("key", "leaked", "GET /api/workflows", 401, 2),
        ("anybody", None, "GET /api/workflows", 401, 1),
        ("key", "viewer", "GET /api/users", 403, 1),
        ("worker", "old worker", "POST /api/workers", 401, 1),
    }


async def test_a_refusal_is_one_also_when_nobody_can_say_whose_key_it_was(client, rows, monkeypatch):
    async def away(_keys, _key):
        raise ConnectionError

    monkeypatch.setattr(Keys, "owner", away)
    answer = await client.get("/api/workflows", headers={"Authorization": "Bearer wrong"})
    assert (answer.status, (await answer.json())["error"]) == (401, "unauthenticated")
    assert [row["actor_kind"] for row in await rows()] == ["anybody"]


async def test_who_sends_no_key_at_all_leaves_no_row(serve, services, pool):
    async with serve(services, key=None) as client:
        assert (await client.post("/api/workflows", json={"name": "x"})).status == 401
        await client.server.app[AUDIT].one_pass()
    assert await pool.fetchval("SELECT count(*) FROM audit") == 0


async def test_refusals_of_too_many_kinds_fill_no_memory(pool, monkeypatch):
    monkeypatch.setattr(audit, "MOST_KINDS", 10)
    log = AuditLog(pool)
    for number in range(100):
        log.refused(Act(ANYBODY, "POST /x", 401, f"192.0.2.{number}", "r", {}))
    await log.one_pass()
    assert await pool.fetchval("SELECT count(*) FROM audit") == 11
    assert await pool.fetchval("SELECT times FROM audit WHERE address = 'many'") == 90


async def test_refusals_that_cannot_be_written_now_are_written_later(pool):
    log = AuditLog(pool)
    act = Act(ANYBODY, "POST /x", 401, "192.0.2.1", "r", {})
    log.refused(act)
    await pool.execute("ALTER TABLE audit RENAME TO away")
    with pytest.raises(Exception, match="audit"):
        await log.one_pass()
    log.refused(act)
    await pool.execute("ALTER TABLE away RENAME TO audit")
    await log.close()
    assert await pool.fetchval("SELECT times FROM audit") == 2


async def test_no_secret_of_any_call_is_in_the_log(client, rows, pool, make_user, open_browser):
    await make_user("root@example.com", Role.ADMIN)
    made = await (await client.post("/api/tokens", json={"name": "ci"})).json()
    await client.post("/api/users", json={"email": "eve@example.com", "password": "a long secret password"})
    await client.post("/resume/a-secret-approval-token", json={})
    await client.post("/api/auth/setup", json={"token": "setup-secret", "email": "a@b.c", "password": "x" * 12})
    await client.put("/api/variables/global/rate", json={"value": "a secret value"})
    browser = await open_browser()
    await browser.log_in("root@example.com")
    said = str(await rows())
    assert "PUT /api/variables/{scope}/{key}" in said
    for secret in (
        made["token"], "a long secret password", "a-secret-approval-token", "setup-secret", "a secret value",
        ADMIN_KEY, PASSWORD, browser.cookie(), browser.csrf,
    ):  # fmt: skip
        assert secret not in said


async def test_strange_ids_and_addresses_are_stored_as_well(serve, services, pool):
    async with serve(replace(services, trusted_proxies=(ip_network("127.0.0.1"),))) as client:
        for path in ("%00", "%ff", "%ED%A0%80", "x" * 5000, "%F0%9F%98%80"):
            answer = await client.delete(f"/api/variables/global/{path}", headers={"X-Forwarded-For": "é" * 300})
            assert answer.status in (400, 404), path
        assert await pool.fetchval("SELECT count(*) FROM audit") == 5
        assert (await client.get(ROUTE)).status == 200
        assert (await client.get(f"{ROUTE}/export")).status == 200


@pytest.fixture
async def history(client, make_user, open_browser):
    """Five workflows that a user made, and one call of the administrator that failed."""
    await make_user()
    browser = await open_browser()
    await browser.log_in("ada@example.com")
    ids = []
    for number in range(5):
        made = await browser.call("POST", "/api/workflows", json={"name": str(number)})
        ids.append((await made.json())["id"])
    await client.delete(f"/api/workflows/{new_id()}")
    return ids


async def test_the_log_is_listed_newest_first_in_pages(client, history):
    seen, cursor = [], ""
    while cursor is not None:
        page = await (await client.get(f"{ROUTE}?limit=2{cursor and f'&cursor={cursor}'}")).json()
        seen += page["audit"]
        cursor = page["next_cursor"]
    assert [row["action"] for row in seen] == [
        "DELETE /api/workflows/{id}", *["POST /api/workflows"] * 5, "POST /api/auth/login",
    ]  # fmt: skip
    assert [row["ids"] for row in seen[1:6]] == [{"made": each} for each in reversed(history)]
    assert seen[1]["actor"] == {"kind": "user", "id": seen[1]["actor"]["id"], "name": "ada@example.com"}


async def test_rows_are_found_by_who_what_where_and_when(client, history):
    async def count(**wanted):
        body = await (await client.get(ROUTE, params={"limit": "100", **wanted})).json()
        return len(body["audit"])

    rows = (await (await client.get(f"{ROUTE}?limit=100")).json())["audit"]
    assert await count(actor_id="bootstrap") == 1
    assert await count(actor_id=rows[1]["actor"]["id"]) == 6
    assert await count(action="POST /api/workflows") == 5
    assert await count(subject=history[2]) == 1
    assert await count(failed="true") == 1
    assert await count(failed="false") == 6
    assert await count(address="127.0.0.1") == 7
    assert await count(address="192.0.2.1") == 0
    assert await count(since=rows[3]["at"], action="POST /api/workflows") == 3
    assert await count(until=rows[3]["at"], action="POST /api/workflows") == 2


async def test_the_log_is_exported_a_row_a_line(client, history, monkeypatch):
    monkeypatch.setattr(audit, "EXPORTED_AT_ONCE", 2)
    answer = await client.get(f"{ROUTE}/export?action=POST%20/api/workflows")
    assert answer.content_type == "application/x-ndjson"
    lines = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert [line["ids"]["made"] for line in lines] == history[::-1]
    listed = (await (await client.get(f"{ROUTE}?action=POST%20/api/workflows")).json())["audit"]
    assert lines == listed


async def test_an_exported_table_holds_no_formula(client, pool, keys):
    for name in ("=HYPERLINK(1)", "+1", "-1", "@x", 'quote", and comma'):
        _, key = await create_key(pool, name, Role.EDITOR)
        await client.post("/api/workflows", json={"name": "x"}, headers={"Authorization": f"Bearer {key}"})
    answer = await client.get(f"{ROUTE}/export?format=csv")
    assert answer.content_type == "text/csv"
    heading, *lines = csv.reader(io.StringIO(await answer.text()))
    names = [line[heading.index("actor_name")] for line in lines]
    assert names == ['quote", and comma', "'@x", "'-1", "'+1", "'=HYPERLINK(1)"]
    assert not [cell for line in lines for cell in line if re.match(r"[=+@-]", cell)]


async def test_old_rows_are_swept_and_kept_for_ever_with_zero(client, pool):
    await client.post("/api/workflows", json={"name": "x"})
    old = "00000000-0000-7000-8000-000000000000"
    await pool.execute("UPDATE audit SET id = $1", old)
    await client.post("/api/workflows", json={"name": "x"})
    await Sweeper(pool, audit_days=0).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM audit") == 2
    await Sweeper(pool, audit_days=365).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM audit") == 1
    assert await pool.fetchval("SELECT id::text FROM audit") != old
