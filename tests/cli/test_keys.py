"""`server keys`, beside a server that runs and by itself."""

import asyncio
import json
import subprocess
import sys
import time

import asyncpg
import pytest
import requests

from melagent.cli import credentials, key_file
from melagent.services.connections import Connections
from melagent.store.ids import new_id
from melagent.vault import Vault, key_id
from tests.cli.conftest import ROOT, environment

OLD, NEW = bytes(range(32)), bytes(range(50, 82))
FIELDS = {"token": "s3cret-token", "allowed_hosts": ["a.example"]}


@pytest.fixture
def stored(database_url):
    """Stores secrets under a key, without a server."""

    def stored(key, count=3):
        async def store():
            async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
                for _ in range(count):
                    await Connections(pool, Vault([key])).create(new_id(), str(new_id()), "bearer", FIELDS, "me")

        asyncio.run(store())

    return stored


@pytest.fixture
def keys(cli, monkeypatch, database_url):
    """Calls `server keys` with these keys in the environment."""

    def keys(command, *given):
        monkeypatch.setenv("MEL_ENCRYPTION_KEYS", ",".join(key.hex() for key in given))
        answer = cli("keys", command, "--json", "--database-url", database_url)
        assert not any(key.hex() in answer.out + answer.err for key in (OLD, NEW))
        return answer

    return keys


def lines(answer):
    assert answer.code == 0, answer.err
    return {line["key_id"]: line["secrets"] for line in json.loads(answer.out)["keys"]}


def test_status_counts_secrets_by_key(keys, stored):
    stored(OLD, 3)
    stored(NEW, 1)
    assert lines(keys("status", NEW)) == {key_id(NEW): 1, key_id(OLD): 3}
    assert lines(keys("status")) == {key_id(NEW): 1, key_id(OLD): 3}


def test_rotate_brings_everything_under_the_newest_key(keys, stored):
    stored(OLD)
    answer = keys("rotate", NEW, OLD)
    assert lines(answer) == {key_id(NEW): 3, key_id(OLD): 0}
    assert f"All 3 secrets are under the key {key_id(NEW)}." in answer.err
    assert lines(keys("rotate", NEW)) == {key_id(NEW): 3}


def test_rotate_without_the_old_key_fails_and_says_which_is_missing(keys, stored, monkeypatch):
    monkeypatch.setattr("melagent.cli.keys.WAIT_SECONDS", 0)
    stored(OLD)
    answer = keys("rotate", NEW)
    assert answer.code == 1
    assert f"3 under {key_id(OLD)}" in answer.err


def test_rotate_without_any_key_says_what_to_set(cli, database_url):
    answer = cli("keys", "rotate", "--database-url", database_url)
    assert answer.code != 0
    assert "MEL_ENCRYPTION_KEYS" in answer.err


def test_broken_key_is_wrong_use_and_not_shown(cli, monkeypatch, database_url):
    monkeypatch.setenv("MEL_ENCRYPTION_KEYS", "s3cret-nonsense")
    answer = cli("keys", "status", "--database-url", database_url)
    assert answer.code == 2
    assert "security.encryption_keys" in answer.err
    assert "s3cret" not in answer.err


@pytest.fixture
def own_server(database_url, tmp_path):
    """`server server` of this test alone, without keys in its environment; its data directory."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    log = (data_dir / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "melagent", "server", "--port", "0"],
        env=environment(data_dir, DATABASE_URL=database_url), stderr=log, cwd=ROOT,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while credentials.read(data_dir) is None:
        assert process.poll() is None, (data_dir / "log").read_text()
        assert time.monotonic() < deadline, "the server did not come up"
        time.sleep(0.02)
    yield data_dir
    process.terminate()
    assert process.wait(timeout=30) == 0
    log.close()


def test_rotation_beside_a_running_server_needs_no_restart(cli, own_server, database_url):
    """The server has made a key; the command adds one, the server notices, and everything moves under it."""
    (old,) = key_file.read(own_server)
    found = credentials.read(own_server)
    calls = requests.Session()
    calls.headers["X-API-Key"] = found.api_key
    body = {"name": "mine", "credential_type": "bearer", "config": FIELDS}
    made = calls.post(f"{found.server_url}/api/connections", json=body)
    assert made.status_code == 201
    answer = cli("keys", "rotate", "--json", "--database-url", database_url, "--data-dir", own_server)
    new, kept = key_file.read(own_server)
    assert kept == old
    assert lines(answer) == {key_id(new): 1, key_id(old): 0}
    changed = calls.put(f"{found.server_url}/api/connections/{made.json()['id']}", json={"config": {"token": "other"}})
    assert changed.status_code == 200
    assert calls.get(f"{found.server_url}/ready").json()["checks"]["encryption"] == {
        "status": "healthy",
        "key_id": key_id(new),
    }
    log = (own_server / "log").read_text()
    assert not any(secret in log for secret in (old.hex(), new.hex(), FIELDS["token"]))
