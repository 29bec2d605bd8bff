"""API keys and worker tokens over HTTP: made, shown once, listed, taken back."""

from datetime import UTC, datetime, timedelta

import pytest

from melagent.services.access import Keys
from melagent.store.ids import new_id

ROUTE = "/api/tokens"
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.fixture
def make(client):
    async def make(**body):
        answer = await client.post(ROUTE, json={"name": "ci", **body})
        assert answer.status == 201, await answer.text()
        return await answer.json()

    return make


async def test_a_key_is_made_and_opens_what_its_role_may(client, make):
    made = await make(role="viewer", expires_at=LATER)
    assert (made["kind"], made["role"], made["name"], made["labels"]) == ("api", "viewer", "ci", [])
    assert datetime.fromisoformat(made["expires_at"]) == datetime.fromisoformat(LATER)
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert (await client.get("/api/workflows", headers=headers)).status == 200
    assert (await client.post("/api/workflows", json={"name": "x"}, headers=headers)).status == 403


async def test_a_key_without_a_role_is_an_editors(make):
    assert (await make())["role"] == "editor"


async def test_a_worker_token_has_labels_and_no_role(make, pool):
    made = await make(kind="worker", labels=["region=eu", "a=b"])
    assert (made["role"], made["labels"]) == (None, ["a=b", "region=eu"])
    assert (await Keys(pool, None).worker(made["token"])).labels == {"a=b", "region=eu"}
    assert await Keys(pool, None).principal(made["token"]) is None


async def test_a_token_is_shown_once_and_no_proxy_keeps_it(client, make, pool):
    answer = await client.post(ROUTE, json={"name": "ci"}, headers={"Idempotency-Key": "k"})
    made = await answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    text = await (await client.get(ROUTE)).text()
    assert made["id"] in text
    assert made["token"] not in text
    assert await pool.fetchval("SELECT count(*) FROM run_keys") == 0


async def test_tokens_are_listed_newest_first_by_kind(client, make):
    ids = [(await make(kind=kind))["id"] for kind in ("api", "worker", "api")]
    body = await (await client.get(ROUTE)).json()
    assert [token["id"] for token in body["tokens"]] == ids[::-1]
    assert body["total"] == 3
    workers = await (await client.get(f"{ROUTE}?kind=worker")).json()
    assert ([token["id"] for token in workers["tokens"]], workers["total"]) == ([ids[1]], 1)


async def test_a_token_that_is_taken_back_opens_nothing_and_stays_listed(client, make):
    made = await make()
    assert (await client.delete(f"{ROUTE}/{made['id']}")).status == 204
    assert (await client.delete(f"{ROUTE}/{made['id']}")).status == 404
    (listed,) = (await (await client.get(ROUTE)).json())["tokens"]
    assert listed["revoked_at"].endswith("Z")
    answer = await client.get("/api/workflows", headers={"Authorization": f"Bearer {made['token']}"})
    assert answer.status == 401


async def test_a_token_that_is_not_there_is_not_found(client):
    for token_id in (new_id(), "bootstrap", "%00"):
        assert (await client.delete(f"{ROUTE}/{token_id}")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": " "},
        {"name": "x", "role": "owner"},
        {"name": "x", "kind": "worker", "role": "viewer"},
        {"name": "x", "labels": ["region=eu"]},
        {"name": "x", "kind": "worker", "labels": ["no label"]},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "2099-01-01T00:00:00"},
        {"name": "x", "expires_at": "9999-12-31T23:59:59-14:00"},
        {"name": "x", "expires_at": 4_000_000_000},
        {"name": "x", "token": "mine"},
    ],
)
async def test_what_makes_no_sense_is_refused(client, pool, body):
    assert (await client.post(ROUTE, json=body)).status == 400
    assert await pool.fetchval("SELECT count(*) FROM tokens") == 0
