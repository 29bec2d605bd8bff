from melagent.store.ids import new_id


async def test_a_workflow_comes_back_as_it_was_made(client, make_workflow):
    made = await make_workflow(name="  orders  ")
    assert made["name"] == "orders"
    assert made["current_version"] is None
    assert made["has_changes"] is True
    assert made["created_at"].endswith("Z")
    assert [node["id"] for node in made["definition"]["nodes"]] == ["start", "hook", "done"]
    assert await (await client.get(f"/api/workflows/{made['id']}")).json() == made


async def test_defaults_and_edge_ids_are_written_out(make_workflow, definition):
    definition["edges"][0]["id"] = "sent-by-a-client"
    made = (await make_workflow(definition))["definition"]
    assert made["nodes"][2]["retry"]["max_attempts"] == 3
    assert made["edges"][0]["source_handle"] == "out"
    assert made["edges"][0]["id"].startswith("e_")


async def test_workflows_are_listed_newest_first_in_pages(client, make_workflow):
    made = [(await make_workflow(name=f"w{number}"))["id"] for number in range(3)]
    first = await (await client.get("/api/workflows?limit=2")).json()
    second = await (await client.get(f"/api/workflows?limit=2&cursor={first['next_cursor']}")).json()
    assert {workflow["id"] for workflow in (*first["workflows"], *second["workflows"])} == set(made)
    assert (first["total"], second["next_cursor"]) == (3, None)


async def test_an_empty_list_is_a_list(client):
    body = await (await client.get("/api/workflows")).json()
    assert body == {"workflows": [], "activity": {}, "total": 0, "next_cursor": None}


async def test_a_search_finds_names_and_descriptions_whatever_their_case(client, make_workflow):
    made = await make_workflow(name="Nightly Orders")
    await client.put(f"/api/workflows/{made['id']}", json={"name": "Nightly Orders", "description": "100% of them"})
    await make_workflow(name="Sales")

    async def found(search):
        body = await (await client.get("/api/workflows", params={"search": search, "limit": 1})).json()
        return [each["name"] for each in body["workflows"]], body["total"]

    assert await found("orders") == (["Nightly Orders"], 1)
    assert await found(" 100% OF ") == (["Nightly Orders"], 1)
    assert await found("%") == (["Nightly Orders"], 1), "a sign of SQL is a sign like others"
    assert await found("nothing") == ([], 0)
    assert await found("") == (["Sales"], 2)
    assert (await client.get("/api/workflows", params={"search": "x" * 201})).status == 400


async def test_a_list_tells_the_last_runs_and_the_next_firing_when_asked(client, deploy, worker):
    hooked = await deploy()
    clocked = await deploy({"nodes": [{"id": "at", "type": "schedule", "config": {"cron": "0 3 * * *"}}], "edges": []})
    runs = []
    for _ in range(13):
        answer = await client.post(f"/api/workflows/{hooked}/execute", json={"wait_seconds": 10, "entry": "start"})
        runs.append((await answer.json())["id"])
    body = await (await client.get("/api/workflows?activity=true")).json()
    seen = body["activity"][hooked]
    assert [run["id"] for run in seen["runs"]] == runs[:0:-1], "the last twelve, newest first"
    assert seen["runs"][0]["status"] == "completed"
    assert seen["runs"][0]["finished_at"] >= seen["runs"][0]["started_at"] >= seen["runs"][0]["created_at"]
    assert (seen["armed"], seen["next_fire_at"]) == (True, None)
    assert body["activity"][clocked]["runs"] == []
    assert body["activity"][clocked]["next_fire_at"].endswith("T03:00:00Z")
    assert (await (await client.get("/api/workflows")).json())["activity"] == {}


async def test_a_change_keeps_what_is_left_out(client, make_workflow):
    made = await make_workflow()
    path = f"/api/workflows/{made['id']}"
    await client.put(path, json={"name": "orders", "description": "all of them"})
    changed = await (await client.put(path, json={"name": "sales"})).json()
    assert (changed["name"], changed["description"]) == ("sales", "all of them")
    assert changed["definition"] == made["definition"]


async def test_a_changed_definition_is_a_new_revision_of_the_draft(client, make_workflow):
    made = await make_workflow()
    await client.put(f"/api/workflows/{made['id']}", json={"name": "orders", "definition": {"nodes": []}})
    draft = await (await client.get(f"/api/workflows/{made['id']}/draft")).json()
    assert (draft["revision"], draft["definition"]["nodes"]) == (2, [])


async def test_names_are_checked(client):
    for name in ("", "   ", "\u3000", "x" * 201, "nul \u0000", None, 5):
        assert (await client.post("/api/workflows", json={"name": name})).status == 400, name


async def test_what_is_not_there_is_not_found(client):
    for name in (str(new_id()), "not-an-id", "%00", "{0}", str(new_id()).replace("-", "")):
        for path in ("", "/draft", "/versions", "/versions/1", "/versions/latest"):
            assert (await client.get(f"/api/workflows/{name}{path}")).status == 404, (name, path)
    missing = f"/api/workflows/{new_id()}"
    assert (await client.put(missing, json={"name": "x"})).status == 404
    assert (await client.delete(missing)).status == 404
    assert (await client.post(f"{missing}/versions", json={"name": "x"})).status == 404
    assert (await client.post(f"{missing}/versions/1/deploy")).status == 404
    assert (await client.post(f"{missing}/execute", json={})).status == 404


async def test_a_deleted_workflow_is_gone_and_its_webhook_with_it(client, deploy):
    workflow_id = await deploy()
    url = (await (await client.get("/api/triggers")).json())["triggers"][0]["webhook_url"]
    path = "/webhooks/" + url.rsplit("/", 1)[1]
    assert (await client.post(path)).status == 202
    assert (await client.delete(f"/api/workflows/{workflow_id}?cancel_runs=true")).status == 204
    assert (await client.get(f"/api/workflows/{workflow_id}")).status == 404
    assert (await client.post(path)).status == 404
    assert (await (await client.get("/api/triggers")).json())["triggers"] == []


async def test_a_workflow_with_runs_in_flight_is_not_deleted_unless_they_are_to_be_cancelled(client, deploy):
    workflow_id = await deploy()
    run = await (await client.post(f"/api/workflows/{workflow_id}/execute", json={})).json()
    refused = await client.delete(f"/api/workflows/{workflow_id}")
    assert (refused.status, (await refused.json())["error"]) == (409, "conflict")
    assert (await client.delete(f"/api/workflows/{workflow_id}?cancel_runs=true")).status == 204
    kept = await (await client.get(f"/api/workflow-runs/{run['id']}")).json()
    assert kept["status"] == "cancelled"


async def test_a_draft_is_replaced_by_whoever_saw_the_latest_revision(client, make_workflow):
    path = f"/api/workflows/{(await make_workflow())['id']}/draft"
    first = await client.put(path, json={"definition": {"nodes": []}, "revision": 1})
    assert (first.status, (await first.json())["revision"]) == (200, 2)
    stale = await client.put(path, json={"definition": {"nodes": []}, "revision": 1})
    assert (stale.status, (await stale.json())["error"]) == (409, "conflict")


async def test_a_draft_may_be_wrong_and_says_how(client, make_workflow):
    made = await make_workflow({"nodes": [{"id": "a", "type": "teleport"}]})
    draft = await (await client.get(f"/api/workflows/{made['id']}/draft")).json()
    assert {problem["field"] for problem in draft["problems"]} == {"nodes.a.type", "nodes"}


async def test_a_nul_inside_a_definition_comes_back_unchanged(client, make_workflow, definition):
    definition["nodes"][2] |= {"type": "log", "config": {"message": "a\u0000b"}}
    made = await make_workflow(definition)
    read = await (await client.get(f"/api/workflows/{made['id']}")).json()
    assert read["definition"]["nodes"][2]["config"]["message"] == "a\u0000b"
    draft = await (await client.get(f"/api/workflows/{made['id']}/draft")).json()
    assert draft["definition"] == read["definition"]
