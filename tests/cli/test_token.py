"""`server token`: made once, shown once, listed without secrets, taken back for good."""

import asyncio
import json

import pytest

from melagent.services.access import Keys
from melagent.store.pool import create_pool


@pytest.fixture
def token(cli, database_url):
    return lambda *arguments: cli("token", *arguments, "--database-url", database_url)


def who(database_url, key, kind="worker"):
    """Whose token this is, as an instance sees it."""

    async def ask():
        pool = await create_pool(database_url)
        try:
            keys = Keys(pool, None)
            return await (keys.worker(key) if kind == "worker" else keys.principal(key))
        finally:
            await pool.close()

    return asyncio.run(ask())


def test_a_worker_token_is_the_only_thing_on_standard_output_and_opens_the_worker_routes_alone(token, database_url):
    made = token("create", "--kind", "worker", "--name", "eu", "--label", "region=eu", "--label", "gpu=yes")
    key = made.out.strip()
    assert (made.code, key.startswith("mel_worker_"), "eu" in made.err) == (0, True, True)
    assert who(database_url, key).labels == {"region=eu", "gpu=yes"}
    assert who(database_url, key, "api") is None


def test_an_api_key_has_a_role_and_is_no_worker_token(token, database_url):
    key = token("create", "--role", "viewer").out.strip()
    assert who(database_url, key, "api").role.name == "VIEWER"
    assert who(database_url, key) is None


def test_an_api_key_may_do_less_than_its_role(token, database_url):
    workflow_id = "0192f3c4-0000-7000-8000-000000000001"
    key = token("create", "--scope", "execute", "--scope", f"workflow:{workflow_id}").out.strip()
    scopes = who(database_url, key, "api").scopes
    assert (scopes.execute, {*map(str, scopes.workflow_ids)}) == (True, {workflow_id})
    (listed,) = json.loads(token("list", "--json").out)
    assert listed["scopes"] == ["execute", f"workflow:{workflow_id}"]
    for wrong in (("--scope", "read"), ("--scope", "workflow:x"), ("--kind", "worker", "--scope", "execute")):
        assert token("create", *wrong).code == 2


def test_the_list_shows_everything_but_the_token(token):
    key = token("create", "--kind", "worker", "--expires", "90d").out.strip()
    token("create", "--kind", "api", "--name", "ci")
    listed = token("list", "--json")
    (worker,) = json.loads(token("list", "--kind", "worker", "--json").out)
    assert len(json.loads(listed.out)) == 2
    assert (worker["kind"], worker["role"], worker["labels"]) == ("worker", None, [])
    assert worker["expires_at"]
    assert key not in listed.out + token("list").out


def test_a_revoked_token_is_nobody(token, database_url):
    made = json.loads(token("create", "--kind", "worker", "--json").out)
    assert who(database_url, made["token"]).id == made["id"]
    assert token("revoke", made["id"]).code == 0
    assert who(database_url, made["token"]) is None
    assert token("revoke", made["id"]).code == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--kind", "worker", "--role", "admin"),
        ("create", "--label", "region=eu"),
        ("create", "--kind", "worker", "--label", "no-value"),
        ("create", "--expires", "soon"),
        ("create", "--expires", "99999999999999d"),
        ("revoke", "nonsense"),
    ],
)
def test_misuse_is_told_and_makes_nothing(token, arguments):
    answer = token(*arguments)
    assert (answer.code, bool(answer.err)) == (2, True)
    assert json.loads(token("list", "--json").out) == []


def test_a_database_that_is_away_or_empty_is_exit_code_3(cli, server_url):
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    assert cli("token", "list", "--database-url", away).code == 3
    empty = cli("token", "list", "--database-url", server_url)
    assert (empty.code, "migrate" in empty.err) == (3, True)
