"""Approval links: anybody who has one answers once, by a form or in JSON; nobody else learns anything."""

import asyncio
import base64
import io
import re
from uuid import UUID

import pytest

from melagent.broker.postgres import postgres_broker
from melagent.engine.engine import Engine
from melagent.maintenance.sweeper import Sweeper
from melagent.services.access import Role
from melagent.store.ids import new_id

FIELDS = [
    {"name": "ok", "label": "Approved?", "type": "boolean", "required": True},
    {"name": "amount", "type": "number"},
    {"name": "why", "label": "<b>Why</b>"},
    {"name": "team", "type": "choice", "options": ["red", "b&w"]},
]


def asking(**config):
    nodes = [
        {"id": "start", "type": "manual_trigger"},
        {"id": "ask", "type": "wait", "config": config},
        {"id": "show", "type": "transform", "config": {"expression": "input"}},
    ]
    return {"nodes": nodes, "edges": [{"source": "start", "target": "ask"}, {"source": "ask", "target": "show"}]}


@pytest.fixture
def start(client):
    async def start(definition, **body):
        answer = await client.post("/api/workflow-runs", json={"definition": definition, **body})
        assert answer.status < 300, await answer.text()
        return (await answer.json())["id"]

    return start


@pytest.fixture
def found(client, eventually):
    """A run once it has a status."""

    async def found(run_id, status):
        async def there():
            run = await (await client.get(f"/api/workflow-runs/{run_id}")).json()
            return run if run["status"] == status else None

        return await eventually(there)

    return found


@pytest.fixture
def waiting(start, found):
    """The id of a run that waits, and its link."""

    async def waiting(**config):
        run_id = await start(asking(**config))
        return run_id, (await found(run_id, "waiting"))["waiting_for"]["resume_url"]

    return waiting


@pytest.fixture
async def anybody(serve, services):
    """Somebody without an account."""
    async with serve(services, key=None) as client:
        yield client


@pytest.fixture
def link_of(engine):
    """The link of a run that was never asked for one."""

    async def link_of(run_id, signal="ask"):
        return (await engine.linker.of(UUID(str(run_id)))).url(signal)

    return link_of


def path_of(url):
    return url[url.index("/resume/") :]


async def test_the_page_is_a_form_that_needs_nothing_from_elsewhere(waiting, anybody, worker):
    _, url = await waiting(title="Pay <script>1</script>?", fields=FIELDS)
    async with anybody.get(path_of(url), headers={"Accept": "text/html"}) as answer:
        page, headers = await answer.text(), answer.headers
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert "<h1>Pay &lt;script&gt;1&lt;/script&gt;?</h1>" in page
    assert "&lt;b&gt;Why&lt;/b&gt;" in page
    assert 'value="b&amp;w"' in page
    assert re.findall(r'name="(\w+)"', page.split("<form")[1]) == ["ok", "amount", "why", "team"]
    assert not re.search(r"<script|src=|href=|http|url\(|style=", page)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert headers["Cache-Control"] == "no-store"


async def test_the_same_in_json_for_programs(waiting, anybody, worker, found):
    run_id, url = await waiting(title="Pay?", fields=FIELDS)
    async with anybody.get(path_of(url), headers={"Accept": "application/json"}) as answer:
        asked = await answer.json()
    assert (asked["title"], [field["name"] for field in asked["fields"]]) == ("Pay?", ["ok", "amount", "why", "team"])
    async with anybody.post(path_of(url), json={"ok": False, "amount": 1.5}) as answer:
        assert (answer.status, await answer.json()) == (200, {"accepted": True})
    assert (await found(run_id, "completed"))["output"] == {"ok": False, "amount": 1.5, "why": None, "team": None}


async def test_a_form_is_sent_as_values_of_its_types(waiting, anybody, worker, found):
    run_id, url = await waiting(fields=FIELDS)
    form = {"ok": "true", "amount": "12", "why": "näh & so", "team": "b&w"}
    async with anybody.post(path_of(url), data=form, headers={"Accept": "text/html"}) as answer:
        assert (answer.status, "Thank you" in await answer.text()) == (200, True)
    expected = {"ok": True, "amount": 12, "why": "näh & so", "team": "b&w"}
    assert (await found(run_id, "completed"))["output"] == expected


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"ok": ""}, "ok"),
        ({"ok": "perhaps"}, "ok"),
        ({"ok": "true", "amount": "many"}, "amount"),
        ({"ok": "true", "amount": "nan"}, "amount"),
        ({"ok": "true", "amount": "1e999"}, "amount"),
        ({"ok": "true", "team": "green"}, "team"),
        ({"ok": "true", "more": "x"}, "more"),
    ],
)
async def test_an_answer_that_does_not_fit_is_told_and_the_link_still_works(
    waiting, anybody, worker, found, *, given, field
):
    run_id, url = await waiting(fields=FIELDS)
    async with anybody.post(path_of(url), data={"why": "<i>", **given}) as answer:
        page = await answer.text()
    assert (answer.status, page.count('class="problem"')) == (400, 1)
    assert "&lt;i&gt;</textarea>" in page
    async with anybody.post(path_of(url), json=given) as answer:
        body = await answer.json()
    assert answer.status == 400
    assert field in [detail["field"] for detail in body["details"]]
    for data in (b"[]", b"1", b"{"):
        assert (await anybody.post(path_of(url), data=data)).status == 400
    assert (await anybody.post(path_of(url), json={"ok": True})).status == 200
    await found(run_id, "completed")


async def test_without_fields_any_value_may_be_sent(waiting, anybody, worker, found):
    for sent, output in (({"json": [1, None]}, [1, None]), ({"data": {}}, {}), ({"json": None}, None)):
        run_id, url = await waiting()
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if "data" in sent else {}
        assert (await anybody.post(path_of(url), headers=headers, **sent)).status == 200
        assert (await found(run_id, "completed"))["output"] == output


async def test_what_is_too_large_is_refused_and_loses_nothing(waiting, anybody, worker):
    _, url = await waiting()
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "application/json"}):
        answer = await anybody.post(path_of(url), data=io.BytesIO(b'"' + b"x" * 1024 * 1024 + b'"'), headers=headers)
        assert answer.status == 413
    many = b"&".join(b"a=1" for _ in range(1_001))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await anybody.post(path_of(url), data=many, headers=form)).status == 400
    assert (await anybody.post(path_of(url), data=b"a=%ff\xff", headers=form)).status == 400
    assert (await anybody.post(path_of(url), json={})).status == 200


async def test_a_link_works_once_and_of_many_at_once_one_wakes_the_run(waiting, anybody, worker, found, pool):
    run_id, url = await waiting()
    answers = await asyncio.gather(*(anybody.post(path_of(url), json=number) for number in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [410] * 19
    (taken,) = [number for number, answer in enumerate(answers) if answer.status == 200]
    assert (await found(run_id, "completed"))["output"] == taken
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0
    body = await (await anybody.get(path_of(url))).json()
    assert (body["error"], bool(body["message"])) == ("gone", True)


async def test_a_link_of_a_run_that_ended_or_was_deleted_is_gone(start, client, anybody, link_of):
    run_id = await start(asking())
    link = await link_of(run_id)
    assert (await anybody.get(link)).status == 200
    await client.post(f"/api/workflow-runs/{run_id}/cancel")
    for gone in (link, await link_of(new_id())):
        assert (await anybody.get(gone)).status == 410
        assert (await anybody.post(gone, json=1)).status == 410
        async with anybody.get(gone, headers={"Accept": "text/html"}) as answer:
            assert (answer.status, answer.content_type) == (410, "text/html")


async def test_a_link_may_be_used_before_its_run_comes_to_wait(start, anybody, link_of):
    run_id = await start(asking(title="Pay?", fields=FIELDS))
    link = await link_of(run_id)
    asked = await (await anybody.get(link, headers={"Accept": "application/json"})).json()
    assert (asked["title"], len(asked["fields"])) == ("Pay?", 4)
    assert (await anybody.post(link, json={})).status == 400
    assert (await anybody.post(link, json={"ok": True})).status == 200
    assert (await anybody.post(link, json={"ok": True})).status == 410


async def test_a_link_whose_wait_is_over_is_gone_although_the_run_goes_on(client, start, anybody, worker, found):
    definition = asking()
    definition["nodes"].append({"id": "nap", "type": "delay", "config": {"duration": "1h"}})
    definition["edges"].append({"source": "show", "target": "nap"})
    run_id = await start(definition)
    link = path_of((await found(run_id, "waiting"))["waiting_for"]["resume_url"])
    await client.post(f"/api/workflow-runs/{run_id}/signals/ask", json=1)
    await found(run_id, "sleeping")
    assert (await anybody.get(link)).status == 410


async def test_a_link_that_was_used_stays_used_as_long_as_its_run_goes_on(start, anybody, link_of, pool):
    run_id = await start(asking())
    link = await link_of(run_id)
    assert (await anybody.post(link, json=1)).status == 200
    await pool.execute("UPDATE run_keys SET expires_at = now() - interval '1 year'")
    await Sweeper(pool).one_pass()
    assert (await anybody.post(link, json=1)).status == 410
    await pool.execute("DELETE FROM work_items")
    await Sweeper(pool).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM run_keys") == 0


async def test_what_was_tampered_with_is_not_found(start, anybody, link_of):
    link = await link_of(await start(asking()))
    token = link.removeprefix("/resume/")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))

    def packed(content):
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    assert (await anybody.get(f"/resume/{packed(raw)}")).status == 200
    wrong = [packed(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]) for at in range(len(raw))]
    wrong += [
        packed(raw[:-1]),
        packed(raw + b"x"),
        packed(raw[:16]),
        packed(raw[:50]),
        token + "=",
        token + "A",
        token[:-1],
    ]
    wrong += [packed(new_id().bytes + raw[16:]), "x", "A" * 3000, "%FF", "a.b", "ä", token.lower()]
    for each in wrong:
        if each != token:
            answer = await anybody.get(f"/resume/{each}")
            assert answer.status == 404, each
            assert (await anybody.post(f"/resume/{each}", json=1)).status == 404, each


@pytest.mark.parametrize("shown", [b"1", b"[]", b'{"title": 1, "fields": {}}', b'{"fields": [{"name": "<"}]}'])
async def test_a_question_that_is_none_is_an_empty_form(waiting, anybody, worker, pool, *, shown):
    _, url = await waiting()
    output = b'{"signal": "ask", "shown": ' + shown + b"}"
    await pool.execute("UPDATE steps SET output = $1 WHERE step_key = 'ask'", output)
    async with anybody.get(path_of(url), headers={"Accept": "application/json"}) as answer:
        assert (answer.status, await answer.json()) == (200, {"title": "", "fields": []})


async def test_no_key_makes_a_difference_and_no_account_is_told_apart(waiting, client, anybody, keys, worker):
    _, url = await waiting()
    pages = []
    for via, key in ((anybody, None), (client, keys[Role.VIEWER])):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        pages.append(await (await via.get(path_of(url), headers=headers)).text())
    assert pages[0] == pages[1]


LINKS = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "link", "type": "transform", "config": {"expression": "run.resume_urls"}},
        {"id": "each", "type": "for_each", "config": {"items": "[1, 2]"}},
        {"id": "mail", "type": "transform", "config": {"expression": "run.resume_urls"}},
        {"id": "ask", "type": "wait"},
        {"id": "all", "type": "wait", "config": {"signal": "all.done"}},
        {"id": "odd", "type": "wait", "config": {"signal": "{{ input | length }}"}},
    ],
    "edges": [
        {"source": "start", "target": "link"}, {"source": "link", "target": "each"},
        {"source": "each", "source_handle": "item", "target": "mail"}, {"source": "mail", "target": "ask"},
        {"source": "each", "source_handle": "done", "target": "all"}, {"source": "all", "target": "odd"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("distributed", [False, True])
async def test_expressions_see_the_links_of_the_waits_that_they_lead_to(
    client, start, anybody, worker, *, found, eventually, distributed, pool
):
    definition = {**LINKS, "nodes": [{**node} for node in LINKS["nodes"]]}
    definition["nodes"][2]["config"] = {"items": "[1, 2]", "distributed": distributed}
    run_id = await start(definition)

    async def steps():
        ids = [run_id, *(str(row["id"]) for row in await pool.fetch("SELECT id FROM runs WHERE scope IS NOT NULL"))]
        pages = [await (await client.get(f"/api/workflow-runs/{each}/steps")).json() for each in ids]
        return {step["step_key"]: step for page in pages for step in page["steps"]}

    async def both_wait():
        there = await steps()
        waiting = [there.get(f"ask[{index}]", {}).get("status") for index in (0, 1)]
        return there if waiting == ["waiting", "waiting"] else None

    there = await eventually(both_wait)
    assert there["link"]["output"].keys() == {"all"}
    items = [there[f"mail[{index}]"]["output"] for index in (0, 1)]
    assert items[0].keys() == ({"ask"} if distributed else {"ask", "all"})
    assert items[0]["ask"] != items[1]["ask"]
    assert items[0]["ask"].startswith("/resume/")
    for item in items:
        assert (await anybody.post(item["ask"], json="fine")).status == 200
    waiting = await found(run_id, "waiting") if not distributed else None

    async def waits_for_all():
        run = await (await client.get(f"/api/workflow-runs/{run_id}")).json()
        return (run["waiting_for"] or {}).get("signal") == "all.done"

    await eventually(waits_for_all)
    assert (await anybody.post(there["link"]["output"]["all"], json=["x"])).status == 200

    async def waits_for_one():
        run = await (await client.get(f"/api/workflow-runs/{run_id}")).json()
        return (run["waiting_for"] or {}).get("signal") == "1"

    await eventually(waits_for_one)
    assert waiting is None or waiting["id"] == run_id


async def test_links_begin_with_the_public_address_when_there_is_one(pool, database_url):
    engine = Engine(pool, postgres_broker(database_url), public_url="https://mel.example.com/")
    other = Engine(pool, postgres_broker(database_url))
    links = [(await each.linker.of(run_id)).url("a") for run_id in [new_id()] for each in (engine, other)]
    assert links[0] == "https://mel.example.com" + links[1]
    assert await pool.fetchval("SELECT count(*) FROM server_keys") == 1
