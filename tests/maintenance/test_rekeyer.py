"""Rotation of encryption keys: under use, with several instances, and after crashes."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from melagent.errors import Conflict
from melagent.maintenance.registrar import Registrar
from melagent.maintenance.rekeyer import Rekeyer
from melagent.services import keyring
from melagent.services.audit import Actor
from melagent.services.connections import Connections
from melagent.services.oauth2 import OAuth
from melagent.store import sealed
from melagent.store.ids import new_id
from melagent.store.instances import Identity
from melagent.store.pool import transaction
from melagent.vault import NoKey, UnknownKey, Vault, key_id

OLD, NEW, NEXT = bytes(range(32)), bytes(range(50, 82)), bytes(range(100, 132))
FIELDS = {"token": "s3cret-token", "allowed_hosts": ["a.example"]}


class Instance:
    """An instance as far as keys go: it says which it has, and looks after what is stored."""

    def __init__(self, pool, name, keys):
        self.pool, self.keys = pool, keys
        self.vault = Vault(keys)
        identity = Identity(name, "api-server", "1", "host", 1)
        self.registrar = Registrar(pool, identity, dict, lambda: False, lambda: self.vault.announced)
        self.rekeyer = Rekeyer(pool, self.vault, lambda: self.keys, self.registrar.loop.wake)
        self.connections = Connections(pool, self.vault)

    async def one_pass(self):
        await self.rekeyer.agree()
        await self.registrar.one_pass()
        await self.rekeyer.one_pass()

    async def add(self, name):
        return (await self.connections.create(new_id(), name, "bearer", FIELDS, "me")).id

    async def read(self, connection_id):
        return self.connections.fields_of(await self.connections.get(connection_id))


@pytest.fixture
def instance(pool):
    async def make(name, *keys):
        made = Instance(pool, name, keys)
        await made.one_pass()
        return made

    return make


async def counts(pool):
    async with pool.acquire() as conn:
        return await sealed.count_by_key(conn)


async def test_everything_comes_under_the_newest_key_and_stays_what_it_was(instance, pool):
    one = await instance("a", OLD)
    made = [await one.add(f"c{number}") for number in range(250)]
    before = await pool.fetch("SELECT id, updated_at, config::text FROM connections ORDER BY id")
    one.keys = (NEW, OLD)
    await one.one_pass()
    await one.one_pass()
    assert await counts(pool) == {key_id(NEW): 250}
    assert await pool.fetch("SELECT id, updated_at, config::text FROM connections ORDER BY id") == before
    one.keys = (NEW,)
    await one.one_pass()
    assert await one.read(made[0]) == await one.read(made[-1]) == FIELDS


async def test_every_sealed_column_is_rotated(instance, pool):
    one = await instance("a", OLD)
    made = await one.add("c")
    tokens = one.vault.seal(b"{}", sealed.CONNECTION_TOKENS.context(made))
    await pool.execute("UPDATE connections SET tokens = $1", tokens)
    assert await counts(pool) == {key_id(OLD): 2}
    one.keys = (NEW, OLD)
    await one.one_pass()
    await one.one_pass()
    assert await counts(pool) == {key_id(NEW): 2}
    blob = await pool.fetchval("SELECT tokens FROM connections")
    assert Vault([NEW]).open(blob, sealed.CONNECTION_TOKENS.context(made)) == b"{}"


async def begin_sign_in(one):
    fields = {
        "authorization_url": "https://a.example/authorize", "token_url": "https://a.example/token", "client_id": "me",
        "allowed_hosts": ["a.example"],
    }  # fmt: skip  # as in the form
    made = await one.connections.create(new_id(), "signing in", "oauth2", fields, "me")
    oauth = OAuth(one.pool, one.vault, lambda: pytest.fail("nobody is called"))
    await oauth.begin(made.id, "https://mel.example/oauth2/callback", Actor("key"), None)


async def test_sign_ins_under_way_are_counted_and_rotated(instance, pool):
    one = await instance("a", OLD)
    await begin_sign_in(one)
    assert await counts(pool) == {key_id(OLD): 2}
    one.keys = (NEW, OLD)
    await one.one_pass()
    await one.one_pass()
    assert await counts(pool) == {key_id(NEW): 2}
    row = await pool.fetchrow("SELECT id, verifier FROM oauth_states")
    assert len(Vault([NEW]).open(row["verifier"], sealed.OAUTH_VERIFIER.context(row["id"]))) == 64


async def test_sign_in_under_a_lost_key_holds_a_rotation_up_for_ten_minutes_only(instance, pool, monkeypatch):
    monkeypatch.setattr(keyring, "PAUSE_SECONDS", 0)
    one = await instance("a", OLD)
    await begin_sign_in(one)
    await pool.execute("DELETE FROM instances")
    await pool.execute("UPDATE connections SET secret = $1", Vault([NEW]).seal(b"{}", "any"))
    async with pool.acquire() as conn:
        with pytest.raises(Conflict, match=f"1 under {key_id(OLD)}"):
            await keyring.rotate(conn, Vault([NEW]), 0, lambda line: None)
        await pool.execute("UPDATE oauth_states SET created_at = now() - interval '601 seconds'")
        await keyring.rotate(conn, Vault([NEW]), 0, lambda line: None)
    assert await counts(pool) == {key_id(NEW): 1}


async def test_every_bytea_column_that_a_vault_fills_is_in_the_table(pool):
    """A column that is not listed would stay under its old key, unseen."""
    rows = await pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE data_type = 'bytea'"
        " AND table_schema = 'public' AND table_name IN ('connections')"
    )
    listed = {(one.table, one.column) for one in sealed.SEALED_COLUMNS}
    assert {tuple(row) for row in rows} <= listed


async def test_while_an_instance_lacks_the_new_key_nobody_seals_under_it(instance, pool):
    old = await instance("old", OLD)
    new = await instance("new", NEW, OLD)
    by_old, by_new = await old.add("by old"), await new.add("by new")
    for one in (old, new):
        await one.one_pass()
        assert await one.read(by_old) == await one.read(by_new) == FIELDS
    assert await counts(pool) == {key_id(OLD): 2}
    old.keys = (NEW, OLD)  # restarted with the new key
    for one in (old, new, old, new):
        await one.one_pass()
        assert await one.read(by_old) == await one.read(by_new) == FIELDS
    assert await counts(pool) == {key_id(NEW): 2}


async def test_instance_without_keys_does_not_hold_a_rotation_up(instance, pool):
    await instance("none")
    one = await instance("a", OLD)
    await one.add("c")
    one.keys = (NEW, OLD)
    await one.one_pass()
    await one.one_pass()
    assert await counts(pool) == {key_id(NEW): 1}


async def test_rows_in_use_are_passed_over_and_taken_later(instance, pool):
    one = await instance("a", OLD)
    used, free = await one.add("used"), await one.add("free")
    one.keys = (NEW, OLD)
    await one.rekeyer.agree()
    await one.registrar.one_pass()
    async with transaction(pool) as conn:
        await conn.fetchrow("SELECT FROM connections WHERE id = $1 FOR UPDATE", used)
        await one.rekeyer.one_pass()
        assert await counts(pool) == {key_id(NEW): 1, key_id(OLD): 1}
    await one.rekeyer.one_pass()
    assert await counts(pool) == {key_id(NEW): 2}
    assert await one.read(free) == FIELDS


async def test_damaged_secret_holds_nothing_else_up(instance, pool):
    one = await instance("a", OLD)
    for number in range(150):
        await one.add(f"c{number}")
    await pool.execute(
        "UPDATE connections SET secret = set_byte(secret, 30, get_byte(secret, 30) # 1)"
        " WHERE id IN (SELECT id FROM connections ORDER BY id LIMIT 120)"
    )
    one.keys = (NEW, OLD)
    await one.one_pass()
    await one.one_pass()
    assert await counts(pool) == {key_id(NEW): 30, key_id(OLD): 120}


async def test_pass_that_dies_half_way_is_finished_by_the_next_one(instance, pool, monkeypatch):
    one, other = await instance("a", OLD), await instance("b", OLD)
    for number in range(250):
        await one.add(f"c{number}")
    one.keys = other.keys = (NEW, OLD)
    for each in (one, other):
        await each.rekeyer.agree()
        await each.registrar.one_pass()
    taken = []

    async def die(conn, column, row_id, blob, put=sealed.put):
        taken.append(row_id)
        if len(taken) == 150:
            raise ConnectionError("killed")
        await put(conn, column, row_id, blob)

    with monkeypatch.context() as patched:
        patched.setattr(sealed, "put", die)
        with pytest.raises(ConnectionError):
            await one.rekeyer.one_pass()
    assert await counts(pool) == {key_id(NEW): 100, key_id(OLD): 150}
    await other.rekeyer.one_pass()
    assert await counts(pool) == {key_id(NEW): 250}


@asynccontextmanager
async def using(instances, made):
    """Reads and writes through all instances, until the block ends; how often."""
    times, done = [0], asyncio.Event()

    async def use(one):
        while not done.is_set():
            for connection_id in made:
                assert await one.read(connection_id) == FIELDS
                await one.connections.update(connection_id, None, {"token": FIELDS["token"]})
            times[0] += 1

    async with asyncio.TaskGroup() as tasks:
        for one in instances:
            tasks.create_task(use(one))
        yield times
        done.set()


async def test_two_rotations_while_two_instances_use_the_secrets_fail_nobody(instance, pool):
    one, other = await instance("a", OLD), await instance("b", OLD)
    made = [await one.add(f"c{number}") for number in range(5)]
    async with asyncio.timeout(60), using((one, other), made) as times:
        for keys in ((NEW, OLD), (NEXT, NEW)):
            for each in (one, other):  # one after the other, each gets the new key
                each.keys = keys
                await each.one_pass()
            while set(await counts(pool)) != {key_id(keys[0])}:
                for each in (one, other):
                    await each.one_pass()
            reached = times[0] + 4
            while times[0] < reached:  # goes on with the new key
                await one.one_pass()
    assert await counts(pool) == {key_id(NEXT): 5}
    for each in (one, other):
        each.keys = (NEXT,)
        await each.one_pass()
        assert await each.read(made[0]) == FIELDS


async def test_command_waits_for_the_instances_and_says_for_what(instance, pool, monkeypatch):
    monkeypatch.setattr(keyring, "PAUSE_SECONDS", 0)
    one = await instance("a", OLD)
    await one.add("c")
    told = []

    async with pool.acquire() as conn:
        with pytest.raises(Conflict, match=f"1 running instances do not have the key {key_id(NEW)} yet"):
            await keyring.rotate(conn, Vault([NEW, OLD]), 0, told.append)
        assert await counts(pool) == {key_id(OLD): 1}
        one.keys = (NEW, OLD)
        await one.rekeyer.agree()
        await one.registrar.one_pass()
        with pytest.raises(Conflict, match=f"1 running instances have not taken up the key {key_id(NEW)} yet"):
            await keyring.rotate(conn, Vault([NEW, OLD]), 0, told.append)  # it would still seal under the old one
        await one.rekeyer.agree()
        await one.registrar.one_pass()
        found = await keyring.rotate(conn, Vault([NEW, OLD]), 60, told.append)
    assert told[-1] == f"All 1 secrets are under the key {key_id(NEW)}."
    assert [(key.key_id, key.here, key.instances, key.secrets) for key in found.keys] == [
        (key_id(NEW), True, 1, 1),
        (key_id(OLD), True, 1, 0),
    ]


async def test_command_says_which_secrets_no_key_here_opens(instance, pool, monkeypatch):
    monkeypatch.setattr(keyring, "PAUSE_SECONDS", 0)
    one = await instance("a", OLD)
    await one.add("c")
    await pool.execute("DELETE FROM instances")
    async with pool.acquire() as conn:
        with pytest.raises(Conflict, match=f"1 under {key_id(OLD)}. That key is not here"):
            await keyring.rotate(conn, Vault([NEW]), 0, lambda line: None)
        with pytest.raises(NoKey):
            await keyring.rotate(conn, Vault([]), 0, lambda line: None)
    with pytest.raises(UnknownKey):
        await Instance(pool, "x", (NEW,)).read(await pool.fetchval("SELECT id FROM connections"))
