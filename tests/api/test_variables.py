"""Variables over HTTP: scopes that exist, names that an address can hold, values as they were sent."""

import pytest

from melagent.domain.variables import MAX_IN_SCOPE
from melagent.services.access import Role
from melagent.store.ids import new_id

ROUTE = "/api/variables"


@pytest.fixture
def put(client):
    async def put(scope, key, value):
        answer = await client.put(f"{ROUTE}/{scope}/{key}", json={"value": value})
        return answer.status, await answer.json()

    return put


async def listed(client, query=""):
    body = await (await client.get(f"{ROUTE}?{query}")).json()
    return [(each["scope"], each["key"], each["value"]) for each in body["variables"]], body


async def test_a_variable_is_made_read_changed_and_deleted(client, put):
    made = await client.post(ROUTE, json={"scope": "global", "key": "rate", "value": {"eur": 1.5, "nul": "\u0000"}})
    variable = await made.json()
    assert (made.status, variable["revision"], variable["value"]) == (201, 1, {"eur": 1.5, "nul": "\u0000"})
    assert variable["updated_at"].endswith("Z")
    assert await (await client.get(f"{ROUTE}/global/rate")).json() == variable
    again = await client.post(ROUTE, json={"scope": "global", "key": "rate", "value": None})
    assert (again.status, (await again.json())["revision"]) == (200, 2)
    assert await put("global", "rate", 7) == (200, {**variable, "value": 7, "revision": 3} | updated(await get(client)))
    assert (await client.delete(f"{ROUTE}/global/rate")).status == 204
    assert (await client.delete(f"{ROUTE}/global/rate")).status == 404
    assert (await client.get(f"{ROUTE}/global/rate")).status == 404


async def get(client):
    return await (await client.get(f"{ROUTE}/global/rate")).json()


def updated(variable):
    return {"updated_at": variable["updated_at"]}


async def test_put_makes_what_is_not_there(client, put):
    assert (await put("global", "a.b:c@d-e", [1]))[0] == 200
    assert (await listed(client))[0] == [("global", "a.b:c@d-e", [1])]


async def test_a_scope_that_does_not_exist_is_not_found(client, put, make_workflow):
    workflow = (await make_workflow())["id"]
    assert (await put(workflow, "k", 1))[0] == 200
    for scope in (str(new_id()), "nowhere", workflow.upper(), "%00", "global%0A"):
        assert (await put(scope, "k", 1))[0] == 404, scope
        assert (await client.get(f"{ROUTE}/{scope}/k")).status == 404, scope
        assert (await client.delete(f"{ROUTE}/{scope}/k")).status == 404, scope
    assert (await client.get(f"{ROUTE}?scope={new_id()}")).status == 404
    assert (await client.post(ROUTE, json={"scope": str(new_id()), "key": "k", "value": 1})).status == 404


async def test_what_cannot_be_a_name_is_told_and_makes_nothing(client, put):
    for key in ("-a", "a%20b", "a%2Fb", "%00", "x" * 201, "%C3%A4"):
        status, body = await put("global", key, 1)
        assert (status, body["details"][0]["field"]) == (400, "key"), key
        assert (await client.get(f"{ROUTE}/global/{key}")).status == 404, key
    fine = {"scope": "global", "key": "k", "value": 1}
    for body in (fine | {"scope": "x"}, fine | {"key": "a/b"}, {"scope": "global", "key": "k"}, fine | {"revision": 1}):
        assert (await client.post(ROUTE, json=body)).status == 400, body
    assert (await client.put(f"{ROUTE}/global/k", json={})).status == 400
    for query in ("scope=x", "cursor=x", "cursor=global/%00", "limit=0", "limit=101"):
        assert (await client.get(f"{ROUTE}?{query}")).status == 400, query
    assert (await listed(client))[0] == []


async def test_a_value_that_is_too_large_is_refused_and_the_old_one_stays(client, put):
    await put("global", "k", 1)
    status, body = await put("global", "k", "x" * 256 * 1024)
    assert (status, body["error"]) == (413, "too_large")
    assert (await listed(client))[0] == [("global", "k", 1)]


async def test_a_full_scope_is_a_conflict(pool, put):
    await pool.execute(
        "INSERT INTO variables SELECT 'global', 'v' || n, '1', 1 FROM generate_series(1, $1::int) n", MAX_IN_SCOPE
    )
    status, body = await put("global", "k", 1)
    assert (status, body["error"]) == (409, "conflict")
    assert (await put("global", "v1", 2))[0] == 200


async def test_variables_come_in_pages_and_by_scope(client, put, make_workflow):
    workflow = (await make_workflow())["id"]
    for scope in ("global", workflow):
        for key in ("c", "a", "b"):
            await put(scope, key, key)
    first, body = await listed(client, "limit=4")
    assert (body["total"], body["next_cursor"]) == (6, "global/a")
    rest, last = await listed(client, f"limit=4&cursor={body['next_cursor']}")
    assert [key for _, key, _ in first + rest] == ["a", "b", "c"] * 2
    assert last["next_cursor"] is None
    own, body = await listed(client, f"scope={workflow}")
    assert (body["total"], {scope for scope, _, _ in own}) == (3, {workflow})


async def test_a_viewer_reads_and_an_editor_writes(client, put, keys):
    await put("global", "k", 1)
    for role, writes in ((Role.VIEWER, 403), (Role.EDITOR, 200)):
        headers = {"Authorization": f"Bearer {keys[role]}"}
        assert (await client.get(f"{ROUTE}/global/k", headers=headers)).status == 200
        assert (await client.put(f"{ROUTE}/global/k", json={"value": 2}, headers=headers)).status == writes


async def test_the_variables_of_a_deleted_workflow_go_with_it(client, put, make_workflow, pool):
    workflow, other = (await make_workflow())["id"], (await make_workflow())["id"]
    for scope in ("global", workflow, other):
        await put(scope, "k", 1)
    assert (await client.delete(f"/api/workflows/{workflow}")).status == 204
    assert {scope for scope, _, _ in (await listed(client))[0]} == {"global", other}
    await pool.execute("INSERT INTO variables SELECT $1, 'late', '1', 1", workflow)  # by a run that was still under way
    assert (await put(workflow, "k", 1))[0] == 404
    assert (await client.delete(f"/api/workflows/{other}")).status == 204
    assert await pool.fetch("SELECT scope FROM variables") == [("global",)]
