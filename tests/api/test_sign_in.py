"""Signing in with email and password: the session, its cookie, and the ways in which it ends."""

import asyncio
import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from aiohttp.test_utils import TestServer
from argon2 import PasswordHasher, extract_parameters

from melagent.api.app import build_app
from melagent.services import first_run, memory, sessions, users
from melagent.services.access import Role
from tests.api.conftest import PASSWORD

EMAIL = "ada@example.com"
ME = "/api/auth/me"
OTHER_PASSWORD = "another long password"


@pytest.fixture
def soon(monkeypatch):
    """Lets the two seconds pass for which a session is trusted."""
    shift = iter(range(1, 1000))

    def soon():
        passed = 2.1 * next(shift)
        monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed))

    assert sessions.TRUSTED_SECONDS <= 2
    return soon


@pytest.fixture
async def ada(open_browser, make_user):
    """The browser of an editor who is signed in."""
    await make_user()
    browser = await open_browser()
    assert (await browser.log_in(EMAIL)).status == 200
    return browser


async def test_whoever_signs_in_is_known_by_a_cookie(open_browser, make_user):
    made = await make_user()
    browser = await open_browser()
    answer = await browser.log_in(" ADA@Example.com ")
    body = await answer.json()
    assert (answer.status, body["kind"], body["id"], body["email"]) == (200, "user", str(made.id), EMAIL)
    assert answer.headers["Cache-Control"] == "no-store"
    me = await (await browser.call("GET", ME)).json()
    assert me == body
    left = datetime.fromisoformat(me["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6) < left <= timedelta(days=7)


async def test_the_cookie_is_for_this_host_and_not_for_scripts(ada):
    answer = await ada.log_in(EMAIL)
    lines = {line.split("=")[0]: line for line in answer.headers.getall("Set-Cookie")}
    assert lines.keys() == {"mel_session", "mel_device"}
    for line in lines.values():
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in line.split(";")}
        assert "Domain" not in line
        assert "Secure" not in line


@pytest.mark.parametrize("how", ["public_url", "proxy"])
async def test_over_https_the_cookie_is_secure_and_bound_to_the_host(serve, services, make_user, how):
    await make_user()
    changed = {"public_url": "https://mel.example"} if how == "public_url" else {
        "trusted_proxies": (ip_network("127.0.0.1"),)
    }  # fmt: skip
    async with serve(replace(services, **changed), key=None) as client:
        proxy = {"X-Forwarded-Proto": "https"}
        answer = await client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD}, headers=proxy)
        line = next(line for line in answer.headers.getall("Set-Cookie") if "mel_session" in line)
        assert line.startswith("__Host-mel_session=")
        assert "Secure" in line
        token = line.split(";")[0].split("=")[1]
        good = await client.get(ME, headers={**proxy, "Cookie": f"__Host-mel_session={token}"})
        assert good.status == 200
        planted = await client.get(ME, headers={**proxy, "Cookie": f"mel_session={token}"})
        assert planted.status == 401, "a cookie that another host of the domain could have set"


async def test_of_a_session_only_the_hash_is_stored(ada, pool):
    row = await pool.fetchrow("SELECT * FROM sessions")
    assert row["hash"] == hashlib.sha256(ada.cookie().encode()).digest()
    assert ada.cookie() not in str([*row.values()])


async def test_every_sign_in_begins_a_new_session_whatever_the_browser_sends(ada, open_browser):
    first = ada.cookie()
    await ada.log_in(EMAIL)
    assert ada.cookie() != first
    chosen = {"Cookie": "mel_session=chosen-by-somebody-else"}
    answer = await (await open_browser()).log_in(EMAIL, **chosen)
    assert answer.cookies["mel_session"].value != "chosen-by-somebody-else"
    for ended in (chosen, {"Cookie": f"mel_session={first}"}):
        stranger = await open_browser()
        assert (await stranger.client.get(ME, headers=ended)).status == 401


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, "wrong horse battery"),
        (EMAIL, ""),
        (EMAIL, "\x00"),
        (EMAIL, f"{PASSWORD}\x00"),
        ("nobody@example.com", PASSWORD),
        ("", PASSWORD),
        ("a\x00@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("openid@example.com", PASSWORD),
    ],
)
async def test_who_is_refused_does_not_learn_why(open_browser, make_user, pool, email, password):
    await make_user()
    off = await make_user("off@example.com")
    await users.change(pool, off.id, users.Change(disabled=True))
    await users.add(pool, "openid@example.com", "", Role.EDITOR, None)
    answer = await (await open_browser()).log_in(email, password)
    body = await answer.json()
    assert (answer.status, body["message"], body["details"]) == (401, "The email or the password is wrong.", [])
    assert "mel_session" not in answer.cookies


async def test_an_unknown_email_costs_the_same_work_as_a_wrong_password(open_browser, make_user, monkeypatch):
    await make_user()
    work = []
    verify = PasswordHasher.verify

    def noted(self, password_hash, password):
        work.append(extract_parameters(password_hash))
        return verify(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", noted)
    browser = await open_browser()
    for email in (EMAIL, "nobody@example.com"):
        assert (await browser.log_in(email, "wrong horse battery")).status == 401
    assert len(work) == 2
    assert work[0] == work[1]


async def test_signing_out_ends_the_session(ada):
    token = ada.cookie()
    answer = await ada.call("POST", "/api/auth/logout")
    assert answer.status == 204
    assert ada.cookie() is None
    assert (await ada.client.get(ME, headers={"Cookie": f"mel_session={token}"})).status == 401


async def test_a_session_is_good_on_every_instance_and_ends_on_every_instance(ada, services, open_browser, soon):
    async with TestServer(build_app(services)) as other:
        there = await open_browser(other)
        cookie = {"Cookie": f"mel_session={ada.cookie()}"}
        assert (await there.client.get(ME, headers=cookie)).status == 200
        await ada.call("POST", "/api/auth/logout")
        soon()
        assert (await there.client.get(ME, headers=cookie)).status == 401


ENDS = {
    "another password": {"password": OTHER_PASSWORD},
    "another role": {"role": "viewer"},
    "disabled": {"disabled": True},
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
async def test_all_sessions_of_a_user_end_when_that_changes(ada, client, make_user, soon, change):
    await make_user("root@example.com", Role.ADMIN)
    user_id = (await (await ada.call("GET", ME)).json())["id"]
    assert (await client.put(f"/api/users/{user_id}", json=change)).status == 200
    soon()
    assert (await ada.call("GET", ME)).status == 401
    if "disabled" in change:
        assert (await client.put(f"/api/users/{user_id}", json={"disabled": False})).status == 200
        soon()
        assert (await ada.call("GET", ME)).status == 401, "the old session stays ended"


async def test_sessions_end_with_their_user(ada, client, pool, soon):
    user_id = (await (await ada.call("GET", ME)).json())["id"]
    assert (await client.delete(f"/api/users/{user_id}")).status == 204
    soon()
    assert (await ada.call("GET", ME)).status == 401
    assert await pool.fetchval("SELECT count(*) FROM sessions") == 0


async def test_a_name_or_the_same_role_ends_no_session(ada, client, soon):
    user_id = (await (await ada.call("GET", ME)).json())["id"]
    await client.put(f"/api/users/{user_id}", json={"name": "Countess", "role": "editor", "disabled": False})
    soon()
    assert (await (await ada.call("GET", ME)).json())["name"] == "Countess"


async def test_a_session_that_begins_while_the_password_changes_does_not_outlive_it(pool, make_user):
    made = await make_user()
    from melagent.store import users as stored

    account = await stored.account(pool, EMAIL)
    await users.change(pool, made.id, users.Change(password_hash="x"))
    assert await sessions.Sessions(pool).begin(account) is None


async def test_a_session_ends_when_nobody_uses_it_and_when_its_time_is_over(ada, pool, soon):
    for column, moment in (("seen_at", "12 hours ago"), ("expires_at", "now")):
        await ada.log_in(EMAIL)
        ago = "now() - interval '12 hours'" if moment != "now" else "now()"
        await pool.execute(f"UPDATE sessions SET {column} = {ago}")
        soon()
        assert (await ada.call("GET", ME)).status == 401, column


async def test_use_keeps_a_session_alive_with_one_write_a_minute(ada, pool, soon):
    await pool.execute("UPDATE sessions SET seen_at = now() - interval '50 seconds'")
    before = await pool.fetchval("SELECT seen_at FROM sessions")
    soon()
    await ada.call("GET", ME)
    assert await pool.fetchval("SELECT seen_at FROM sessions") == before
    await pool.execute("UPDATE sessions SET seen_at = now() - interval '61 seconds'")
    soon()
    await ada.call("GET", ME)
    assert await pool.fetchval("SELECT now() - seen_at < interval '30 seconds' FROM sessions")


async def test_a_user_has_a_limited_number_of_sessions_and_the_oldest_ends(pool, make_user, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_OF_A_USER", 2)
    await make_user()
    from melagent.store import users as stored

    account = await stored.account(pool, EMAIL)
    held = sessions.Sessions(pool)
    tokens = [await held.begin(account) for _ in range(3)]
    assert [await held.find(token) is not None for token in tokens] == [False, True, True]


async def test_a_user_changes_the_password_with_the_old_one_and_other_sessions_end(ada, open_browser, soon):
    elsewhere = await open_browser()
    await elsewhere.log_in(EMAIL)
    wrong = {"old_password": "wrong horse battery", "new_password": OTHER_PASSWORD}
    answer = await ada.call("POST", "/api/auth/password", json=wrong)
    assert (answer.status, (await answer.json())["details"][0]["field"]) == (400, "old_password")
    short = {"old_password": PASSWORD, "new_password": "short"}
    answer = await ada.call("POST", "/api/auth/password", json=short)
    assert (answer.status, (await answer.json())["details"][0]["field"]) == (400, "new_password")
    before = ada.cookie()
    good = {"old_password": PASSWORD, "new_password": OTHER_PASSWORD}
    answer = await ada.call("POST", "/api/auth/password", json=good)
    assert answer.status == 200, await answer.text()
    assert ada.cookie() != before
    soon()
    assert (await ada.call("GET", ME)).status == 200
    assert (await elsewhere.call("GET", ME)).status == 401
    assert (await elsewhere.log_in(EMAIL)).status == 401
    assert (await elsewhere.log_in(EMAIL, OTHER_PASSWORD)).status == 200


async def test_guessing_the_old_password_ends_soon_and_keeps_nobody_else_out(ada, open_browser):
    body = {"old_password": "wrong horse battery", "new_password": OTHER_PASSWORD}
    answers = [(await ada.call("POST", "/api/auth/password", json=body)).status for _ in range(11)]
    assert answers == [400] * 10 + [429]
    assert (await (await open_browser()).log_in(EMAIL)).status == 200


async def test_a_key_has_no_password(client):
    answer = await client.post("/api/auth/password", json={"old_password": PASSWORD, "new_password": OTHER_PASSWORD})
    assert answer.status == 409


async def test_who_calls_with_a_key_is_told_so(client, keys):
    me = await (await client.get(ME)).json()
    assert (me["kind"], me["role"], me["csrf_token"], me["expires_at"]) == ("settings", "admin", None, None)
    me = await (await client.get(ME, headers={"Authorization": f"Bearer {keys[Role.VIEWER]}"})).json()
    assert (me["kind"], me["name"], me["role"], me["scopes"]) == ("key", "viewer", "viewer", [])


async def test_passwords_are_checked_beside_other_calls_and_not_too_many_at_once(open_browser, make_user, monkeypatch):
    await make_user()
    under_way = most = 0
    to_thread = asyncio.to_thread

    async def counted(work, *arguments):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await to_thread(work, *arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr("melagent.services.passwords.asyncio.to_thread", counted)
    browser = await open_browser()
    await asyncio.gather(*(browser.log_in(EMAIL, "wrong horse battery") for _ in range(8)))
    assert most == 2


async def test_when_too_many_wait_for_a_check_others_are_told_to_come_back(open_browser, make_user, monkeypatch):
    monkeypatch.setattr("melagent.services.passwords.WAITING", 2)
    await make_user()
    browser = await open_browser()
    answers = await asyncio.gather(*(browser.log_in(EMAIL, "wrong horse battery") for _ in range(8)))
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {401, 429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)


async def test_a_stream_ends_with_the_session_that_asked_for_it(ada, client, make_workflow, soon):
    made = await make_workflow(
        {
            "nodes": [
                {"id": "start", "type": "manual_trigger"},
                {"id": "nap", "type": "delay", "config": {"duration": "1h"}},
            ],
            "edges": [{"source": "start", "target": "nap"}],
        }
    )
    start = await client.post(f"/api/workflows/{made['id']}/execute", json={"version": "draft"})
    run = await start.json()
    async with ada.client.get(f"/api/workflow-runs/{run['id']}/events") as stream:
        assert (await stream.content.readline()).startswith(b"retry")
        await ada.call("POST", "/api/auth/logout")
        soon()
        async with asyncio.timeout(30):
            while await stream.content.readline():
                pass


async def test_the_form_of_the_set_up_link_makes_the_administrator(serve, services, open_browser, pool):
    async with serve(services, key=None) as client:
        page = await client.get("/setup")
        assert (page.status, page.content_type) == (200, "text/html")
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert 'fetch("/api/auth/setup"' in await page.text()
    browser = await open_browser()
    body = {"token": await first_run.link_token(pool), "email": "root@example.com", "name": "", "password": PASSWORD}
    answer = await browser.call("POST", "/api/auth/setup", json=body)
    assert (answer.status, (await answer.json())["role"]) == (201, "admin")
    assert (await browser.call("GET", ME)).status == 200, "and is signed in"
    assert (await browser.call("POST", "/api/auth/setup", json=body)).status == 410
