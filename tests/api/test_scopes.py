"""Keys that may do less than their role."""

import pytest

from melagent.api.openapi import PARAMETER
from melagent.api.routes import ROUTES
from melagent.api.scopes import EXECUTE_ROUTES, PERSONAL
from melagent.services.access import Role
from melagent.store.ids import new_id

RUNNABLE = {"nodes": [{"id": "start", "type": "manual_trigger"}], "edges": []}


@pytest.fixture
def caller(client):
    """Makes a key with these scopes; how to call with it."""

    async def caller(*scopes, role="admin"):
        made = await client.post("/api/tokens", json={"name": "ci", "role": role, "scopes": list(scopes)})
        assert made.status == 201, await made.text()
        headers = {"Authorization": f"Bearer {(await made.json())['token']}"}

        async def call(method, path, **given):
            return await client.request(method, path, headers=headers, **given)

        return call

    return caller


async def statuses(call, query=""):
    """What each route answers to a call about things that are not there."""
    found = {}
    for route in ROUTES:
        if route.role not in (Role.OPEN, Role.WORKER):
            path = PARAMETER.sub(str(new_id()), route.path)
            found[route.method, route.path] = (await call(route.method, path + query, json={})).status
    return found


async def test_a_key_for_executing_reaches_the_routes_of_its_table_and_no_other(caller):
    reached = {line for line, status in (await statuses(await caller("execute"))).items() if status != 403}
    assert reached == EXECUTE_ROUTES | PERSONAL


async def test_every_line_of_the_table_is_a_route():
    assert {*EXECUTE_ROUTES, *PERSONAL} <= {(route.method, route.path) for route in ROUTES}


async def test_a_key_bound_to_one_workflow_reaches_nothing_else(caller):
    call = await caller(f"workflow:{new_id()}")
    assert {line for line, status in (await statuses(call)).items() if status != 403} == PERSONAL


async def test_naming_its_workflow_in_the_query_opens_a_bound_key_the_lists_that_show_only_that(caller, deploy):
    mine, other = await deploy(RUNNABLE), await deploy(RUNNABLE, "other")
    call = await caller(f"workflow:{mine}")
    reached = {line for line, status in (await statuses(call, f"?workflow_id={mine}")).items() if status != 403}
    assert reached == PERSONAL | {("GET", "/api/workflow-runs"), ("GET", "/api/triggers")}
    both = f"?workflow_id={other}&workflow_id={mine}"
    assert (await call("GET", f"/api/triggers{both}")).status == 403


@pytest.mark.parametrize("line", ["/api/workflow-runs", "/api/triggers"])
async def test_a_list_for_a_bound_key_shows_nothing_of_another_workflow(caller, client, deploy, line):
    mine, other = await deploy(RUNNABLE), await deploy(RUNNABLE, "other")
    for workflow_id in (mine, other):
        await client.post(f"/api/workflows/{workflow_id}/execute", json={})
        body = {"name": "x", "type": "webhook", "workflow_id": workflow_id}
        assert (await client.post("/api/triggers", json=body)).status == 201
    call = await caller(f"workflow:{mine}")
    for query in (f"?workflow_id={mine}", f"?workflow_id={mine}&workflow_id={other}"):
        answer = await (await call("GET", line + query)).json()
        (listed,) = answer.get("runs") or answer["triggers"]
        assert listed["workflow_id"] == mine


async def test_a_trigger_by_its_id_is_out_of_reach_of_a_bound_key_whatever_it_asks_for(caller, client, deploy):
    mine = await deploy({"nodes": [{"id": "hook", "type": "webhook"}]})
    (trigger,) = (await (await client.get("/api/triggers")).json())["triggers"]
    call = await caller(f"workflow:{mine}")
    for path in (f"/api/triggers/{trigger['id']}", f"/api/triggers/{trigger['id']}/deliveries", "/api/users"):
        assert (await call("GET", f"{path}?workflow_id={mine}")).status == 403, path


async def test_a_scope_never_widens_the_role(caller):
    call = await caller("execute", role="viewer")
    assert (await call("GET", "/api/workflows")).status == 200
    assert (await call("POST", f"/api/workflows/{new_id()}/execute", json={})).status == 403


async def test_a_key_bound_to_a_workflow_does_all_its_role_may_with_that_and_its_runs(caller, deploy):
    mine, other = await deploy(RUNNABLE), await deploy(RUNNABLE, "other")
    call = await caller(f"workflow:{mine}", role="editor")
    assert (await call("GET", f"/api/workflows/{mine}/draft")).status == 200
    assert (await call("PUT", f"/api/workflows/{mine}", json={"name": "renamed"})).status == 200
    run = await (await call("POST", f"/api/workflows/{mine}/execute", json={})).json()
    assert (await call("GET", f"/api/workflow-runs/{run['id']}/steps")).status == 200
    assert (await call("GET", f"/api/workflow-runs?workflow_id={mine}")).status == 200
    elsewhere = ("", f"?workflow_id={other}", "?workflow_id=x", f"/{new_id()}")
    for path in (f"/api/workflows/{other}", "/api/workflows", *(f"/api/workflow-runs{end}" for end in elsewhere)):
        assert (await call("GET", path)).status == 403, path
    assert (await call("POST", f"/api/workflows/{other}/execute", json={})).status == 403
    assert (await call("POST", f"/api/workflow-runs?workflow_id={mine}", json={"definition": RUNNABLE})).status == 403


async def test_runs_of_another_workflow_and_of_none_are_out_of_reach(caller, client, deploy):
    mine, other = await deploy(RUNNABLE), await deploy(RUNNABLE, "other")
    theirs = await (await client.post(f"/api/workflows/{other}/execute", json={})).json()
    unlisted = await (await client.post("/api/workflow-runs", json={"definition": RUNNABLE})).json()
    call = await caller(f"workflow:{mine}")
    for run in (theirs, unlisted):
        assert (await call("GET", f"/api/workflow-runs/{run['id']}")).status == 403
        assert (await call("POST", f"/api/workflow-runs/{run['id']}/cancel")).status == 403


async def test_both_scopes_together_allow_what_both_allow(caller, deploy):
    mine = await deploy(RUNNABLE)
    call = await caller("execute", f"workflow:{mine}")
    assert (await call("POST", f"/api/workflows/{mine}/execute", json={})).status == 202
    assert (await call("PUT", f"/api/workflows/{mine}", json={"name": "x"})).status == 403
    assert (await call("GET", "/api/workflows")).status == 403


async def test_scopes_are_shown_with_the_key_and_to_its_holder(caller, client):
    workflow_id = str(new_id())
    call = await caller(f"workflow:{workflow_id.upper()}", "execute")
    scopes = ["execute", f"workflow:{workflow_id}"]
    assert (await (await client.get("/api/tokens")).json())["tokens"][0]["scopes"] == scopes
    assert (await (await call("GET", "/api/auth/me")).json())["scopes"] == scopes


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": ["read"]},
        {"scopes": ["workflow:"]},
        {"scopes": ["workflow:x"]},
        {"scopes": [""]},
        {"scopes": "execute"},
        {"scopes": ["execute"], "kind": "worker"},
    ],
)
async def test_what_is_no_scope_makes_no_key(client, pool, body):
    assert (await client.post("/api/tokens", json={"name": "x", **body})).status == 400
    assert await pool.fetchval("SELECT count(*) FROM tokens") == 0
