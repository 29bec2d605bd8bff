"""Secrets of runs: for a live lease, of the worker that holds it, when the definition names the connection."""

import pytest

from melagent.errors import Forbidden, NotFound
from melagent.registry import Registry
from melagent.services.connections import Connections
from melagent.services.oauth2 import OAuth
from melagent.services.secrets import Secrets
from melagent.store.ids import new_id
from melagent.vault import UnknownKey, Vault
from tests.builders import chain, expire, free_run, leased_run, stored

VAULT = Vault([bytes(range(32))])
REGISTRY = Registry.builtin()
FIELDS = {"token": "s3cret-token", "allowed_hosts": ["a.example"]}


async def connection(pool, name="c"):
    return (await Connections(pool, VAULT).create(new_id(), name, "bearer", FIELDS, "me")).id


def naming(connection_id, **fields):
    node = {"id": "call", "type": "http_request", "config": {"url": "https://x", "connection": str(connection_id)}}
    return chain(("start", "manual_trigger"), {**node, **fields})


@pytest.fixture
async def made(pool):
    """A connection, and the item of a run whose definition names it."""
    connection_id = await connection(pool)
    return connection_id, await leased_run(pool, "one", version_id=await stored(pool, naming(connection_id)))


def made_secrets(pool, vault):
    return Secrets(pool, vault, REGISTRY, OAuth(pool, vault, lambda: pytest.fail("nobody is called")))


@pytest.fixture
def secrets(pool):
    return made_secrets(pool, VAULT)


async def test_run_gets_what_its_definition_names(secrets, made):
    connection_id, item = made
    secret = await secrets.of_lease("one", item.run_id, item.lease, connection_id)
    assert secret.fields["token"] == "s3cret-token"
    assert secret.headers == {"Authorization": "Bearer s3cret-token"}
    assert secret.allows("https://a.example/x")
    assert "s3cret" not in repr(secret)


async def test_nobody_else_gets_it_and_nothing_else_is_got(secrets, made, pool):
    connection_id, item = made
    other = await connection(pool, "other")
    free = await free_run(pool, version_id=await stored(pool, naming(connection_id)))
    for asked in (
        ("two", item.run_id, item.lease, connection_id),
        ("one", item.run_id, new_id(), connection_id),
        ("one", new_id(), item.lease, connection_id),
        ("one", free.id, item.lease, connection_id),
        ("one", item.run_id, item.lease, other),
        ("one", item.run_id, item.lease, new_id()),
    ):
        with pytest.raises(Forbidden) as raised:
            await secrets.of_lease(*asked)
        assert "s3cret" not in raised.value.message


async def test_lease_that_has_expired_opens_nothing_although_no_rescuer_has_come_yet(secrets, made, pool):
    connection_id, item = made
    await expire(pool, item.run_id)
    with pytest.raises(Forbidden):
        await secrets.of_lease("one", item.run_id, item.lease, connection_id)


async def test_disabled_node_and_a_text_that_merely_looks_like_the_id_name_nothing(secrets, made, pool):
    connection_id, _ = made
    lookalike = {"id": "s", "type": "set", "config": {"fields": {"connection": str(connection_id)}}}
    for definition in (naming(connection_id, disabled=True), chain(("start", "manual_trigger"), lookalike)):
        item = await leased_run(pool, "one", version_id=await stored(pool, definition))
        with pytest.raises(Forbidden):
            await secrets.of_lease("one", item.run_id, item.lease, connection_id)


async def test_deleted_connection_is_not_found(secrets, made, pool):
    connection_id, item = made
    await Connections(pool, VAULT).delete(connection_id, force=False)
    with pytest.raises(NotFound):
        await secrets.of_lease("one", item.run_id, item.lease, connection_id)


async def test_change_of_a_secret_counts_at_once(secrets, made, pool):
    connection_id, item = made
    await secrets.of_lease("one", item.run_id, item.lease, connection_id)
    await Connections(pool, VAULT).update(connection_id, None, {"token": "another-token"})
    secret = await secrets.of_lease("one", item.run_id, item.lease, connection_id)
    assert secret.fields["token"] == "another-token"


async def test_instance_with_another_key_names_the_key_and_opens_nothing(made, pool):
    connection_id, item = made
    with pytest.raises(UnknownKey, match=VAULT.key_ids[0]):
        await made_secrets(pool, Vault([bytes(32)])).of_lease("one", item.run_id, item.lease, connection_id)
