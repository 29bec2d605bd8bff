"""Signing in with OpenID Connect, against a provider on loopback that speaks the real protocol."""

import asyncio
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp.test_utils import TestServer
from joserfc.jwk import ECKey

from melagent.api.app import build_app
from melagent.services import users
from melagent.services.access import Role
from melagent.services.oidc import OidcConfig
from tests.api.conftest import PASSWORD
from tests.provider import CLIENT_ID, CLIENT_SECRET, Person, Provider, rsa

LOGIN = "/api/auth/oidc/login"
CALLBACK = "/api/auth/oidc/callback"
ME = "/api/auth/me"


@pytest.fixture
async def provider():
    provider = Provider()
    provider.server = TestServer(provider.app(), host="127.0.0.1")
    await provider.server.start_server()
    yield provider
    await provider.server.close()


@pytest.fixture
def config(provider):
    return OidcConfig(provider.issuer, CLIENT_ID, CLIENT_SECRET)


@pytest.fixture
async def serving(services, config):
    """Starts an instance that knows the provider."""
    servers = []

    async def serving(**changed):
        server = TestServer(build_app(replace(services, oidc=replace(config, **changed))))
        await server.start_server()
        servers.append(server)
        return server

    yield serving
    for server in servers:
        await server.close()


@pytest.fixture
async def browser(open_browser, serving):
    return await open_browser(await serving())


async def sign_in(browser, query="?return_to=/"):
    """Go to the provider and come back; the last answer, before it leads on into the editor."""
    there = await browser.client.get(f"{LOGIN}{query}", allow_redirects=False)
    assert there.status == 303, await there.text()
    back = await browser.client.session.get(there.headers["Location"], allow_redirects=False)
    return await browser.client.session.get(back.headers["Location"], allow_redirects=False)


async def who(browser):
    answer = await browser.client.get(ME)
    return await answer.json() if answer.status == 200 else None


async def test_somebody_new_comes_in_as_a_viewer(browser, pool):
    assert (await (await browser.client.get("/api/auth/methods")).json())["oidc"] is True
    answer = await sign_in(browser)
    assert (answer.status, answer.headers["Location"]) == (303, "/"), await answer.text()
    me = await who(browser)
    assert (me["kind"], me["email"], me["name"], me["role"]) == ("user", "ada@example.com", "Ada", "viewer")
    assert await pool.fetchval("SELECT password_hash FROM users") is None
    assert (await browser.log_in("ada@example.com", "")).status == 401


async def test_who_comes_again_is_the_same_user_whatever_the_email_is_now(browser, provider, pool):
    await sign_in(browser)
    first = await who(browser)
    provider.person.email, provider.person.email_verified = "countess@example.com", False
    await sign_in(browser)
    assert (await who(browser))["id"] == first["id"]
    assert await pool.fetchval("SELECT count(*) FROM users") == 1


async def test_a_verified_email_leads_to_the_user_who_is_there_already(browser, make_user):
    made = await make_user(role=Role.ADMIN)
    await sign_in(browser)
    assert ((await who(browser))["id"], (await who(browser))["role"]) == (str(made.id), "admin")
    assert (await browser.log_in("ada@example.com")).status == 200, "the password works as before"


@pytest.mark.parametrize("verified", [False, None, "false", 1, "yes"])
async def test_an_email_that_is_not_verified_leads_to_nobody(browser, provider, make_user, verified):
    await make_user(role=Role.ADMIN)
    provider.person.email_verified = verified
    assert (await sign_in(browser)).status == 403
    assert await who(browser) is None


async def test_an_account_of_one_subject_is_not_given_to_another_with_the_same_email(browser, provider, open_browser):
    await sign_in(browser)
    provider.person = Person(sub="subject-2")
    assert (await sign_in(browser)).status == 403


@pytest.mark.parametrize("role", ["editor", "admin"])
async def test_the_setting_says_what_somebody_new_may_do(open_browser, serving, role):
    browser = await open_browser(await serving(default_role=role))
    await sign_in(browser)
    assert (await who(browser))["role"] == role


async def test_where_only_users_that_exist_may_come_in_nobody_is_made(open_browser, serving, make_user, provider, pool):
    browser = await open_browser(await serving(default_role="none"))
    assert (await sign_in(browser)).status == 403
    assert await pool.fetchval("SELECT count(*) FROM users") == 0
    await make_user()
    assert (await sign_in(browser)).status == 303


async def test_a_disabled_user_does_not_come_in(browser, make_user, pool):
    made = await make_user()
    await users.change(pool, made.id, users.Change(disabled=True))
    assert (await sign_in(browser)).status == 403


async def test_one_instance_finishes_what_another_began(open_browser, serving):
    first, second = await serving(), await serving()
    browser = await open_browser(first)
    there = await browser.client.get(LOGIN, allow_redirects=False)
    back = await browser.client.session.get(there.headers["Location"], allow_redirects=False)
    elsewhere = back.headers["Location"].replace(str(first.port), str(second.port))
    answer = await browser.client.session.get(elsewhere, allow_redirects=False)
    assert answer.status == 401, "the provider compares the address that it was told"
    there = await browser.client.get(LOGIN, allow_redirects=False)
    asked = parse_qs(urlsplit(there.headers["Location"]).query)
    host = {"Host": f"127.0.0.1:{first.port}"}
    back = await browser.client.session.get(there.headers["Location"], allow_redirects=False)
    elsewhere = back.headers["Location"].replace(str(first.port), str(second.port))
    answer = await browser.client.session.get(elsewhere, headers=host, allow_redirects=False)
    assert (answer.status, asked["code_challenge_method"]) == (303, ["S256"])


async def test_state_nonce_and_challenge_are_new_each_time_and_the_verifier_stays_here(browser):
    seen = []
    for _ in range(2):
        there = await browser.client.get(LOGIN, allow_redirects=False)
        asked = {name: value[0] for name, value in parse_qs(urlsplit(there.headers["Location"]).query).items()}
        assert "code_verifier" not in asked
        seen.append({asked["state"], asked["nonce"], asked["code_challenge"]})
    assert len(set.union(*seen)) == 6


async def test_an_answer_that_another_browser_asked_for_signs_nobody_in(browser, open_browser, serving):
    """An attacker who gives somebody else the address of his own sign-in."""
    there = await browser.client.get(LOGIN, allow_redirects=False)
    back = await browser.client.session.get(there.headers["Location"], allow_redirects=False)
    path = back.headers["Location"].partition(str(browser.client.port))[2]
    victim = await open_browser(browser.client.server)
    assert (await victim.client.get(path, allow_redirects=False)).status == 401
    await victim.client.get(LOGIN, allow_redirects=False)
    assert (await victim.client.get(path, allow_redirects=False)).status == 401
    assert await who(victim) is None


async def test_an_answer_with_another_state_is_not_even_taken_to_the_provider(browser, provider):
    there = await browser.client.get(LOGIN, allow_redirects=False)
    back = await browser.client.session.get(there.headers["Location"], allow_redirects=False)
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    for state in ("", "x", "ä"):
        answer = await browser.client.get(CALLBACK, params={"code": code, "state": state}, allow_redirects=False)
        assert answer.status == 401
    assert "/token" not in provider.requests


async def test_an_answer_works_once(browser):
    there = await browser.client.get(LOGIN, allow_redirects=False)
    back = await browser.client.session.get(there.headers["Location"], allow_redirects=False)
    answers = [await browser.client.session.get(back.headers["Location"], allow_redirects=False) for _ in range(2)]
    assert [answer.status for answer in answers] == [303, 401]


WRONG_CLAIMS = {
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "somebody else"},
    "no audience": {"aud": None},
    "made for another client": {"aud": [CLIENT_ID, "other"], "azp": "other"},
    "expired": {"exp": 1_700_000_000},
    "no expiry": {"exp": None},
    "from the future": {"iat": 4_000_000_000},
    "not yet": {"nbf": 4_000_000_000},
    "another nonce": {"nonce": "replayed"},
    "no nonce": {"nonce": None},
    "nobody": {"sub": None},
}


@pytest.mark.parametrize("claims", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS)
async def test_a_token_that_says_the_wrong_thing_is_refused(browser, provider, claims):
    provider.claims = claims
    answer = await sign_in(browser)
    assert (answer.status, await who(browser)) == (401, None)


async def test_a_token_for_several_audiences_is_good_when_it_was_made_for_us(browser, provider):
    provider.claims = {"aud": ["other", CLIENT_ID], "azp": CLIENT_ID}
    assert (await sign_in(browser)).status == 303


async def test_a_token_without_a_signature_is_refused(browser, provider):
    provider.algorithm = "none"
    assert (await sign_in(browser)).status == 401


async def test_a_token_signed_with_a_key_that_both_sides_know_is_refused(browser, provider):
    """The public key or the client's secret as an HMAC key: what is known to the client proves nothing."""
    provider.algorithm = "HS256"
    for text in (CLIENT_SECRET, provider.signing.as_pem(private=False).decode()):
        provider.hmac_key = text.encode()
        assert (await sign_in(browser)).status == 401


async def test_a_token_signed_by_somebody_else_is_refused(browser, provider):
    provider.published = [provider.signing]
    provider.signing = rsa("first")
    assert (await sign_in(browser)).status == 401


async def test_a_provider_changes_its_keys_without_a_break(browser, provider):
    await sign_in(browser)
    provider.rotate()
    assert (await sign_in(browser)).status == 303
    provider.rotate("second")  # another key under the same name
    assert (await sign_in(browser)).status == 303
    assert provider.requests.count("/jwks") == 3
    assert provider.requests.count("/.well-known/openid-configuration") == 1


async def test_keys_of_other_kinds_are_good_as_well(browser, provider):
    provider.signing, provider.algorithm = ECKey.generate_key("P-256", {"kid": "curve"}), "ES256"
    assert (await sign_in(browser)).status == 303


async def test_a_public_client_has_no_secret(open_browser, serving, provider):
    provider.secret = None
    browser = await open_browser(await serving(client_secret=None))
    assert (await sign_in(browser)).status == 303


async def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(browser, provider):
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await sign_in(browser)).status == 303


async def test_with_the_wrong_secret_nobody_comes_in(open_browser, serving):
    browser = await open_browser(await serving(client_secret="wrong"))
    assert (await sign_in(browser)).status == 401


async def test_what_the_token_leaves_out_is_asked_for(browser, provider):
    provider.told_by_userinfo = {"sub": "subject-1", "email": "ada@example.com", "email_verified": True}
    provider.person = Person(email=None, email_verified=None)
    await sign_in(browser)
    assert (await who(browser))["email"] == "ada@example.com"


async def test_what_is_told_about_somebody_else_means_nothing(browser, provider):
    provider.told_by_userinfo = {"sub": "subject-2", "email": "root@example.com", "email_verified": True}
    provider.person = Person(email=None, email_verified=None)
    assert (await sign_in(browser)).status == 403


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": "gopher://127.0.0.1/"},
    ],
)
async def test_a_provider_that_describes_itself_wrongly_is_not_believed(browser, provider, metadata):
    provider.metadata = metadata
    assert (await browser.client.get(LOGIN, allow_redirects=False)).status == 503


async def test_what_the_provider_names_must_be_public_or_its_own(browser, provider):
    """A private address that nobody allowed: the guard of outgoing calls holds here as well."""
    elsewhere = TestServer(provider.app(), host="127.0.0.1")
    await elsewhere.start_server()
    provider.metadata = {"token_endpoint": str(elsewhere.make_url("/token"))}
    assert (await sign_in(browser)).status == 503
    assert "/token" not in provider.requests
    await elsewhere.close()


async def test_a_provider_that_is_away_is_told_and_asked_again_the_next_time(open_browser, serving, provider):
    browser = await open_browser(await serving())
    provider.metadata = {"issuer": None}
    assert (await browser.client.get(LOGIN, allow_redirects=False)).status == 503
    provider.metadata = {}
    assert (await sign_in(browser)).status == 303


async def test_that_the_provider_refused_is_passed_on_without_its_words(browser):
    await browser.client.get(LOGIN, allow_redirects=False)
    answer = await browser.client.get(f"{CALLBACK}?error=access_denied<script>&error_description=x")
    assert answer.status == 401
    assert "<" not in await answer.text()


@pytest.mark.parametrize(
    ("sent", "gone_to"),
    [
        ("/workflows/1?tab=runs", "/workflows/1?tab=runs"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a b", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("", "/"),
    ],
)
async def test_afterwards_the_browser_goes_to_a_page_of_ours(browser, sent, gone_to):
    there = await browser.client.get(LOGIN, params={"return_to": sent}, allow_redirects=False)
    back = await browser.client.session.get(there.headers["Location"], allow_redirects=False)
    answer = await browser.client.session.get(back.headers["Location"], allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, gone_to)


async def test_two_tabs_that_come_back_at_once_make_one_user(open_browser, serving, pool):
    server = await serving()
    browsers = [await open_browser(server) for _ in range(4)]
    answers = await asyncio.gather(*(sign_in(browser) for browser in browsers))
    assert [answer.status for answer in answers] == [303] * 4
    assert await pool.fetchval("SELECT count(*) FROM users") == 1


async def test_without_a_provider_there_is_no_such_sign_in(client):
    for path in (LOGIN, f"{CALLBACK}?code=x&state=y"):
        assert (await client.get(path, allow_redirects=False)).status == 404


async def test_no_secret_is_in_any_answer_or_line_of_the_log(browser, provider, capfd, caplog):
    provider.claims = {"nonce": "replayed"}
    answer = await sign_in(browser)
    said = await answer.text() + caplog.text + "".join(capfd.readouterr())
    assert CLIENT_SECRET not in said
    assert "an-access-token" not in said
    assert PASSWORD not in said
