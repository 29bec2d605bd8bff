"""Connections over HTTP: secrets go in and never come out."""

import asyncio
import json
from dataclasses import replace
from uuid import UUID

import pytest
from yarl import URL

from melagent.api.context import AUDIT
from melagent.domain.secrets import MASK
from melagent.services.credential_types import TYPES
from melagent.store.ids import new_id
from melagent.vault import Tampered, Vault
from tests.services.oauth_server import CLIENT, authorization_server
from tests.services.oauth_server import SECRET as CLIENT_SECRET

SECRET = "s3cret-token-of-the-tests"
BEARER = {"token": SECRET, "allowed_hosts": ["api.example.com"]}
VALID = {
    "api_key": {"api_key": SECRET, "allowed_hosts": ["a.example"]},
    "bearer": BEARER,
    "basic": {"username": "ada", "password": SECRET, "allowed_hosts": ["a.example"]},
    "oauth2": {
        "authorization_url": "https://a.example/authorize", "token_url": "https://a.example/token", "client_id": "me",
        "client_secret": SECRET, "allowed_hosts": ["a.example"],
    },
    "openai": {"api_key": SECRET},
    "anthropic": {"api_key": SECRET},
    "openai_compatible": {"api_key": SECRET, "base_url": "https://llm.example/v1"},
    "smtp": {"host": "mail.example", "username": "ada", "password": SECRET},
    "postgres": {"host": "db.example", "database": "d", "user": "u", "password": SECRET},
    "slack": {"bot_token": SECRET, "signing_secret": SECRET},
    "baserow_jwt": {"email": "a@b.example", "password": SECRET},
    "baserow_token": {"token": SECRET},
    "airtable": {"token": SECRET},
    "webhook_secret": {"secret": SECRET},
}  # fmt: skip  # one line a type


@pytest.fixture
def make(client):
    async def make(credential_type="bearer", config=None, name=None, status=201):
        body = {"name": name or str(new_id()), "credential_type": credential_type, "config": config or BEARER}
        answer = await client.post("/api/connections", json=body)
        assert answer.status == status, await answer.text()
        return await answer.json()

    return make


def caller(connection_id):
    """A workflow that calls with a connection."""
    node = {"id": "call", "type": "http_request", "config": {"url": "https://x.example", "connection": connection_id}}
    return {
        "nodes": [{"id": "start", "type": "manual_trigger"}, node],
        "edges": [{"source": "start", "target": "call"}],
    }


def test_there_is_an_example_of_every_type():
    assert VALID.keys() == TYPES.keys()


@pytest.mark.parametrize("credential_type", TYPES)
async def test_secret_of_every_type_is_stored_sealed_and_shown_masked(client, make, pool, vault, credential_type):
    made = await make(credential_type, VALID[credential_type], name=credential_type)
    kind = TYPES[credential_type]
    for answer in (
        made,
        await (await client.get(f"/api/connections/{made['id']}")).json(),
        (await (await client.get("/api/connections")).json())["connections"][0],
    ):
        assert SECRET not in str(answer)
        assert {name for name, value in answer["config"].items() if value == MASK} == kind.hidden
        assert answer["config"].items() >= {k: v for k, v in VALID[credential_type].items() if v != SECRET}.items()
    row = await pool.fetchrow("SELECT * FROM connections")
    assert SECRET not in str(dict(row))
    assert SECRET.encode() not in row["secret"]
    assert SECRET.encode() in vault.open(row["secret"], f"connections/{made['id']}/secret")
    with pytest.raises(Tampered):
        vault.open(row["secret"], f"connections/{new_id()}/secret")


async def test_put_keeps_what_is_not_sent_and_a_mask_changes_nothing(client, make, pool, vault):
    made = await make("basic", {"username": "ada", "password": SECRET, "allowed_hosts": ["a.example", "b.example"]})
    path = f"/api/connections/{made['id']}"

    async def put(body):
        answer = await client.put(path, json=body)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def password():
        blob = await pool.fetchval("SELECT secret FROM connections")
        return vault.open(blob, f"connections/{made['id']}/secret").decode()

    assert (await put({"name": "renamed"}))["config"] == made["config"]
    assert (await put({}))["name"] == "renamed"
    changed = await put({"config": {"username": "grace", "password": MASK}})
    assert changed["config"] == {**made["config"], "username": "grace"}
    assert SECRET in await password()
    assert (await put({"config": changed["config"]}))["config"] == changed["config"]
    await put({"config": {"password": "another-secret"}})
    assert "another-secret" in await password()
    assert SECRET not in await password()


async def test_null_takes_an_optional_field_away_even_a_secret_one(client, make):
    made = await make("slack", VALID["slack"])
    answer = await client.put(f"/api/connections/{made['id']}", json={"config": {"signing_secret": None}})
    assert "signing_secret" not in (await answer.json())["config"]
    refused = await client.put(f"/api/connections/{made['id']}", json={"config": {"bot_token": None}})
    assert refused.status == 400
    assert [detail["field"] for detail in (await refused.json())["details"]] == ["config.bot_token"]


@pytest.mark.parametrize(
    ("credential_type", "change"),
    [
        ("bearer", {"allowed_hosts": ["api.example.com", "evil.example"]}),
        ("bearer", {"allowed_hosts": ["http://api.example.com"]}),
        ("openai", {"base_url": "https://evil.example/v1"}),
        ("slack", {"base_url": "http://slack.com/api"}),
        ("smtp", {"host": "evil.example"}),
        ("smtp", {"security": "none"}),
        ("postgres", {"port": 5433}),
        ("oauth2", {"token_url": "https://evil.example/token"}),
    ],
)
async def test_secret_that_is_not_given_again_cannot_be_sent_somewhere_else(client, make, credential_type, change):
    made = await make(credential_type, VALID[credential_type])
    path, hidden = f"/api/connections/{made['id']}", TYPES[credential_type].hidden
    for sent in (change, {**made["config"], **change}):
        refused = await client.put(path, json={"config": sent})
        assert refused.status == 400, await refused.text()
        assert {detail["field"] for detail in (await refused.json())["details"]} == {
            f"config.{name}" for name in hidden
        }
    assert (await (await client.get(path)).json())["config"] == made["config"]
    again = dict.fromkeys(hidden, "given-again-by-its-owner")
    assert (await client.put(path, json={"config": {**change, **again}})).status == 200


async def test_fewer_hosts_need_no_secret(client, make):
    made = await make(config={"token": SECRET, "allowed_hosts": ["a.example", "b.example"]})
    answer = await client.put(f"/api/connections/{made['id']}", json={"config": {"allowed_hosts": ["b.example"]}})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"credential_type": "bearer", "config": {}}, ["config.token", "config.allowed_hosts"]),
        ({"credential_type": "bearer", "config": {**BEARER, "tokn": 1}}, ["config.tokn"]),
        ({"credential_type": "bearer", "config": {**BEARER, "token": 1}}, ["config.token"]),
        ({"credential_type": "bearer", "config": {**BEARER, "token": "a\r\nX: y"}}, ["config.token"]),
        ({"credential_type": "bearer", "config": {**BEARER, "token": MASK}}, ["config.token"]),
        ({"credential_type": "bearer", "config": {**BEARER, "allowed_hosts": ["*"]}}, ["config.allowed_hosts"]),
        ({"credential_type": "bearer", "config": {**BEARER, "allowed_hosts": []}}, ["config.allowed_hosts"]),
        ({"credential_type": "bearer", "config": {**BEARER, "test_url": "https://b.example"}}, ["config"]),
        ({"credential_type": "openai", "config": {"api_key": "x", "base_url": "https://u:p@h"}}, ["config.base_url"]),
        ({"credential_type": "telepathy", "config": {}}, ["credential_type"]),
        ({"config": {}}, ["credential_type"]),
    ],
)  # fmt: skip  # one line a case
async def test_every_problem_of_what_was_sent_is_named_and_its_value_is_not(client, body, fields):
    answer = await client.post("/api/connections", json={"name": "x", **body})
    told = await answer.json()
    assert answer.status == 400
    assert sorted(detail["field"] for detail in told["details"]) == sorted(fields)
    assert SECRET not in str(told)


async def test_name_is_taken_once(make):
    await make(name="mine")
    told = await make(name="mine", status=409)
    assert "name" in told["message"]


async def test_lists_come_in_pages_and_by_type(client, make):
    bearers = [await make(name=f"b{number}") for number in range(3)]
    await make("openai", VALID["openai"])
    first = await (await client.get("/api/connections?limit=2&credential_type=bearer")).json()
    assert [one["name"] for one in first["connections"]] == ["b2", "b1"]
    assert first["total"] == 3
    rest = await (await client.get(f"/api/credentials?credential_type=bearer&cursor={first['next_cursor']}")).json()
    assert rest["credentials"] == [
        {"id": bearers[0]["id"], "name": "b0", "credential_type": "bearer", "integration": "http"}
    ]
    assert rest["next_cursor"] is None
    assert (await (await client.get("/api/connections")).json())["total"] == 4


async def test_what_there_is_to_connect_to_is_listed(client):
    types = {kind["id"]: kind for kind in await (await client.get("/api/credential-types")).json()}
    assert types.keys() == TYPES.keys()
    assert types["basic"]["secret_fields"] == ["password"]
    schema = await (await client.get("/api/credential-types/basic/schema")).json()
    assert schema == types["basic"]["schema"]
    assert schema["properties"]["password"]["x-secret"]
    assert (await client.get("/api/credential-types/telepathy/schema")).status == 404
    integrations = await (await client.get("/api/integrations")).json()
    assert {kind for one in integrations for kind in one["credential_types"]} == TYPES.keys()


async def test_without_an_encryption_key_nothing_is_stored(serve, services):
    async with serve(replace(services, vault=Vault([]))) as client:
        body = {"name": "x", "credential_type": "bearer", "config": BEARER}
        answer = await client.post("/api/connections", json=body)
        assert answer.status == 503
        assert "MEL_ENCRYPTION_KEYS" in (await answer.json())["message"]
        ready = await (await client.get("/ready")).json()
        assert ready["checks"]["encryption"] == {"status": "off"}
        assert ready["status"] == "ready"


async def test_instance_with_the_wrong_key_says_so_and_is_not_ready(serve, services, make, client, vault):
    made = await make()
    assert (await (await client.get("/ready")).json())["checks"]["encryption"]["status"] == "healthy"
    for wrong in (Vault([bytes(32)]), Vault([])):
        async with serve(replace(services, vault=wrong)) as other:
            answer = await other.get("/ready")
            assert answer.status == 503
            check = (await answer.json())["checks"]["encryption"]
            assert (check["status"], check["unknown_keys"]) == ("unhealthy", {vault.key_ids[0]: 1})
            tried = await other.post(f"/api/connections/{made['id']}/test")
            assert tried.status == 503
            assert vault.key_ids[0] in (await tried.json())["message"]


async def test_lost_key_is_made_good_by_giving_the_secrets_again(serve, services, make):
    made = await make()
    async with serve(replace(services, vault=Vault([bytes(32)]))) as other:
        assert (await other.put(f"/api/connections/{made['id']}", json={"config": {"token": SECRET}})).status == 200
        assert (await other.get("/ready")).status == 200


async def test_deploy_refuses_a_connection_that_is_not_there_or_does_not_fit(client, make, make_workflow):
    mail = await make("smtp", VALID["smtp"])
    for wrong, words in (
        (str(new_id()), "There is no connection"),
        (mail["id"], "of the type smtp; here fits api_key"),
    ):
        workflow = await make_workflow(caller(wrong))
        draft = await (await client.get(f"/api/workflows/{workflow['id']}/draft")).json()
        await client.post(f"/api/workflows/{workflow['id']}/versions", json={"name": "v"})
        deployed = await client.post(f"/api/workflows/{workflow['id']}/versions/latest/deploy")
        started = await client.post("/api/workflow-runs", json={"name": "x", "definition": caller(wrong)})
        tried = await client.post(f"/api/workflows/{workflow['id']}/execute", json={"version": "draft"})
        for answer in (deployed, started, tried):
            assert answer.status == 422, await answer.text()
            (detail,) = (await answer.json())["details"]
            assert detail["field"] == "nodes.call.config.connection"
            assert words in detail["problem"]
        assert draft["problems"] == [detail]


async def test_connection_of_a_deployed_version_is_not_deleted_unawares(client, make, deploy):
    made = await make()
    workflow_id = await deploy(caller(made["id"]), name="billing")
    path = f"/api/connections/{made['id']}"
    refused = await client.delete(path)
    assert refused.status == 409
    assert (await refused.json())["details"] == [
        {"field": f"workflows.{workflow_id}.nodes.call", "problem": "Used in the workflow 'billing'."}
    ]
    use = {"workflow_id": workflow_id, "workflow_name": "billing", "node_id": "call", "trigger_id": None}
    assert (await (await client.get(f"{path}/uses")).json()) == {"uses": [use]}
    assert (await client.delete(f"{path}?force=true")).status == 204
    assert (await client.get(path)).status == 404
    assert (await client.get(f"{path}/uses")).status == 404


@pytest.mark.parametrize("by", ["another version", "deleting the workflow"])
async def test_connection_that_is_no_longer_used_can_be_deleted(client, make, deploy, definition, by):
    made = await make()
    workflow_id = await deploy(caller(made["id"]))
    if by == "another version":
        await client.post(f"/api/workflows/{workflow_id}/versions", json={"name": "b", "definition": definition})
        await client.post(f"/api/workflows/{workflow_id}/versions/latest/deploy")
    else:
        await client.delete(f"/api/workflows/{workflow_id}")
    assert (await client.delete(f"/api/connections/{made['id']}")).status == 204
    if by == "another version":  # the rollback now names what is gone
        assert (await client.post(f"/api/workflows/{workflow_id}/versions/1/deploy")).status == 422


def called(workflow_id, secret):
    """A webhook made by hand whose callers have to know a secret."""
    config = {"auth": "header", "secret": secret}
    return {"name": "orders", "type": "webhook", "workflow_id": workflow_id, "config": config}


@pytest.fixture
async def secret(make):
    return (await make("webhook_secret", VALID["webhook_secret"]))["id"]


@pytest.fixture
async def hook(client, deploy, secret):
    """A webhook made by hand that names `secret`, in a workflow that is deployed."""
    answer = await client.post("/api/triggers", json=called(await deploy(), secret))
    assert answer.status == 201, await answer.text()
    return await answer.json()


async def test_webhook_made_by_hand_is_refused_a_connection_that_is_not_there_or_does_not_fit(
    client, make, hook, secret, pool
):
    mail = (await make("smtp", VALID["smtp"]))["id"]
    before = await (await client.get(f"/api/triggers/{hook['id']}")).json()
    for wrong, words in ((str(new_id()), "There is no connection"), (mail, "of the type smtp; here fits webhook_se")):
        body = called(hook["workflow_id"], wrong)
        made = await client.post("/api/triggers", json=body)
        changed = await client.put(f"/api/triggers/{hook['id']}", json={"name": "x", "config": body["config"]})
        for answer in (made, changed):
            assert answer.status == 422, await answer.text()
            (detail,) = (await answer.json())["details"]
            assert detail["field"] == "config.secret"
            assert words in detail["problem"]
    assert await (await client.get(f"/api/triggers/{hook['id']}")).json() == before
    assert await pool.fetchval("SELECT count(*) FROM triggers WHERE node_id IS NULL") == 1


@pytest.mark.parametrize("meanwhile", ["nothing", "deploy", "pause"])
async def test_connection_of_a_webhook_made_by_hand_is_not_deleted_unawares(client, hook, secret, meanwhile):
    if meanwhile == "deploy":
        again = await client.post(f"/api/workflows/{hook['workflow_id']}/versions/latest/deploy")
        assert again.status == 200
    elif meanwhile == "pause":
        assert (await client.put(f"/api/triggers/{hook['id']}", json={"enabled": False})).status == 200
    path = f"/api/connections/{secret}"
    refused = await client.delete(path)
    assert refused.status == 409
    assert (await refused.json())["details"] == [
        {"field": f"workflows.{hook['workflow_id']}.triggers.{hook['id']}", "problem": "Used in the workflow 'orders'."}
    ]
    assert (await client.delete(f"{path}?force=true")).status == 204
    assert (await client.get(path)).status == 404


@pytest.mark.parametrize("by", ["another config", "another connection", "the trigger", "the workflow"])
async def test_connection_that_no_webhook_made_by_hand_uses_any_longer_can_be_deleted(client, make, hook, secret, by):
    path = f"/api/triggers/{hook['id']}"
    if by == "another config":
        await client.put(path, json={"config": {}})
    elif by == "another connection":
        other = (await make("webhook_secret", VALID["webhook_secret"]))["id"]
        await client.put(path, json={"config": called("", other)["config"]})
        assert (await client.delete(f"/api/connections/{other}")).status == 409
    elif by == "the trigger":
        await client.delete(path)
    else:
        await client.delete(f"/api/workflows/{hook['workflow_id']}")
    assert (await client.delete(f"/api/connections/{secret}")).status == 204


async def test_webhook_made_by_hand_and_deletion_at_the_same_moment_do_not_both_win(client, make, deploy, pool):
    workflow_id = await deploy()
    for _ in range(5):
        secret = (await make("webhook_secret", VALID["webhook_secret"]))["id"]
        making = client.post("/api/triggers", json=called(workflow_id, secret))
        made, deleted = await asyncio.gather(making, client.delete(f"/api/connections/{secret}"))
        there = await pool.fetchval("SELECT count(*) FROM connections WHERE id = $1", UUID(secret))
        assert (made.status, deleted.status, there) in {(201, 409, 1), (422, 204, 0), (409, 204, 0)}


async def test_deploy_and_deletion_at_the_same_moment_do_not_both_win(client, make, make_workflow, pool):
    for _ in range(5):
        made = await make()
        workflow_id = (await make_workflow(caller(made["id"])))["id"]
        await client.post(f"/api/workflows/{workflow_id}/versions", json={"name": "v"})
        deploying = client.post(f"/api/workflows/{workflow_id}/versions/latest/deploy")
        deployed, deleted = await asyncio.gather(deploying, client.delete(f"/api/connections/{made['id']}"))
        there = await pool.fetchval("SELECT count(*) FROM connections WHERE id = $1", UUID(made["id"]))
        assert (deployed.status, deleted.status, there) in {(200, 409, 1), (422, 204, 0), (409, 204, 0)}


async def test_repetition_makes_no_second_connection_and_leaves_no_hash_of_a_secret(client, pool):
    body = {"name": "x", "credential_type": "bearer", "config": BEARER}
    calls = [await client.post("/api/connections", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status for answer in calls] == [201, 409]
    assert await pool.fetchval("SELECT count(*) FROM connections") == 1
    assert await pool.fetchval("SELECT count(*) FROM run_keys") == 0


@pytest.fixture
async def server():
    async with authorization_server() as server:
        yield server


@pytest.fixture
def begin(client, make, server):
    """Begins a sign-in at a new connection: its id, and the path that the service sends a browser back to."""

    async def begin(call):
        config = {
            "authorization_url": f"{server.url}/authorize", "token_url": f"{server.url}/token", "client_id": CLIENT,
            "client_secret": CLIENT_SECRET, "allowed_hosts": [server.url],
        }  # fmt: skip  # as in the form
        connection_id = (await make("oauth2", config))["id"]
        begun = await call("POST", f"/api/connections/{connection_id}/authorize")
        assert begun.status == 200, await begun.text()
        url = (await begun.json())["authorization_url"]
        async with client.session.get(url, allow_redirects=False) as answer:
            return connection_id, f"/oauth2/callback?{URL(answer.headers['Location']).query_string}"

    return begin


async def test_sign_ins_begun_in_a_browser_are_finished_there_and_nowhere_else(begin, open_browser, make_user):
    await make_user()
    browser, another = await open_browser(), await open_browser()
    await browser.log_in("ada@example.com")
    _, stolen = await begin(browser.call)
    (cookie,) = [one for one in browser.client.session.cookie_jar if one.key == "mel_oauth"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", "600")
    refused = await another.client.get(stolen)
    assert refused.status == 400
    assert "another browser" in await refused.text()
    assert (await browser.client.get(stolen)).status == 400, "it is over"
    (_, first), (_, second) = await begin(browser.call), await begin(browser.call)  # in two tabs
    assert [(await browser.client.get(path)).status for path in (first, second)] == [200, 200]


async def test_sign_in_that_comes_back_is_in_the_audit_log_of_who_began_it(
    begin, open_browser, make_user, client, pool
):
    user = await make_user()
    browser = await open_browser()
    await browser.log_in("ada@example.com")
    one, there = await begin(browser.call)
    await browser.client.get(there)
    another, by_key = await begin(client.request)
    await browser.client.get(f"{by_key}&".replace("code=", "error="))
    await browser.client.get("/oauth2/callback?state=x&code=y")
    await client.server.app[AUDIT].one_pass()
    rows = await pool.fetch("SELECT * FROM audit WHERE action = 'GET /oauth2/callback' ORDER BY status, actor_kind")
    assert [(row["status"], row["actor_kind"], row["actor_id"], json.loads(row["ids"])) for row in rows] == [
        (200, "user", str(user.id), {"id": one}),
        (400, "anybody", None, {}),
        (400, "settings", "bootstrap", {"id": another}),
    ]
    assert rows[0]["actor_name"] == "ada@example.com"


async def test_sign_in_leads_back_to_a_page_and_to_a_connection_that_works(serve, services, keys):
    async with authorization_server() as server, serve(services) as client, serve(services, key=None) as browser:
        config = {
            "authorization_url": f"{server.url}/authorize", "token_url": f"{server.url}/token", "client_id": CLIENT,
            "client_secret": CLIENT_SECRET, "allowed_hosts": [server.url],
        }  # fmt: skip  # as in the form
        body = {"name": "<b>mine</b>", "credential_type": "oauth2", "config": config}
        made = await (await client.post("/api/connections", json=body)).json()
        assert made["authorized"] is False
        path = f"/api/connections/{made['id']}"
        assert (await client.post(f"{path}/test")).status == 409
        begun = await (await client.post(f"{path}/authorize")).json()
        assert begun["redirect_uri"].endswith("/oauth2/callback")
        async with browser.session.get(begun["authorization_url"], allow_redirects=False) as answer:
            back = URL(answer.headers["Location"])
        came_back = await browser.get(f"/oauth2/callback?{back.query_string}")  # at another instance, without a key
        page = await came_back.text()
        assert (came_back.status, came_back.content_type) == (200, "text/html")
        assert "&lt;b&gt;mine&lt;/b&gt;" in page
        assert (await browser.get(f"/oauth2/callback?{back.query_string}")).status == 400
        shown = await (await client.get(path)).json()
        assert (shown["authorized"], shown["config"]["client_secret"]) == (True, MASK)
        assert (await (await client.post(f"{path}/test")).json())["success"]
    for query in ("", "?state=", "?state=x&code=y", "?state=x&error=%3Cscript%3E", "?state=%00&code=%00"):
        async with serve(services, key=None) as browser:
            answer = await browser.get(f"/oauth2/callback{query}")
            assert answer.status == 400
            assert "<script>" not in await answer.text()
