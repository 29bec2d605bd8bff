"""The editor as every instance serves it: the page, its policy, its files, and what is said where there is no build."""

import re
from dataclasses import replace

import pytest

from melagent.api.editor import Asset
from melagent.api.pages import PATHS
from melagent.services.access import Role

PAGE = '<!doctype html><meta property="csp-nonce" nonce="__NONCE__"><script nonce="__NONCE__" src="/assets/a-1.js">'
SCRIPT = b"let answer = 42;" * 100


@pytest.fixture
def built(tmp_path):
    """A folder as the build makes it."""
    (tmp_path / "index.html").write_text(PAGE)
    assets = tmp_path / "assets"
    assets.mkdir()
    for name, body in {"a-1.js": SCRIPT, "a-1.js.gz": b"gzipped", "a-1.js.br": b"brotli", "i-2.woff2": b"font"}.items():
        (assets / name).write_bytes(body)
    return tmp_path


@pytest.fixture
async def browser(serve, services, built):
    """A browser of somebody who is not signed in."""
    async with serve(replace(services, web_folder=built), key=None) as client:
        yield client


def places():
    return [re.sub(r"{.*}", "some/where", path) for path in PATHS]


@pytest.mark.parametrize("path", places())
async def test_the_page_is_at_every_address_of_the_application(browser, path):
    answer = await browser.get(path)
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert "/assets/a-1.js" in await answer.text()


@pytest.mark.parametrize("path", ["/api/nothing", "/assets/nothing.js", "/webhooks/nothing", "/nothing", "/workflows/"])
async def test_no_other_address_answers_with_the_page(browser, path):
    answer = await browser.get(path)
    assert answer.status == 404
    assert (await answer.json())["error"] == "not_found"


async def test_the_policy_lets_nothing_run_but_our_files_and_styles_only_with_the_nonce_of_the_page(browser):
    nonces = set()
    for _ in range(2):
        answer = await browser.get("/")
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        (nonce,) = re.findall(r"'nonce-([\w-]{20,})'", policy["style-src"])
        assert set(re.findall(r'nonce="([^"]*)"', await answer.text())) == {nonce}
        nonces.add(nonce)
    assert len(nonces) == 2, "a nonce is used once"


async def test_a_page_that_has_not_changed_is_not_sent_again_and_keeps_the_policy_it_came_with(browser):
    first = await browser.get("/")
    again = await browser.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    assert "Content-Security-Policy" not in again.headers, "another nonce would not fit the page that the browser has"
    assert again.headers["Cache-Control"] == "private, no-cache"
    other = await browser.get("/", headers={"If-None-Match": '"another"'})
    assert other.status == 200


async def test_files_are_kept_for_good_and_sent_in_the_smallest_encoding_that_is_taken(browser):
    wanted = {"gzip, deflate, br": "br", "gzip, br;q=0": "gzip", "gzip;q=0.0": None, "identity": None, "GZIP": "gzip"}
    for accepted, encoding in wanted.items():
        async with browser.session.get(
            browser.make_url("/assets/a-1.js"), headers={"Accept-Encoding": accepted}, auto_decompress=False
        ) as answer:
            assert answer.headers.get("Content-Encoding") == encoding, accepted
            assert await answer.read() == {"br": b"brotli", "gzip": b"gzipped", None: SCRIPT}[encoding]
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert (answer.headers["Vary"], answer.content_type) == ("Accept-Encoding", "text/javascript")
    assert (await browser.get("/assets/i-2.woff2")).content_type == "font/woff2"


async def test_pages_and_files_answer_head(browser):
    for path in ("/", "/workflows/1", "/assets/a-1.js"):
        answer = await browser.head(path)
        assert (answer.status, await answer.read()) == (200, b""), path


async def test_no_file_beside_the_build_can_be_asked_for(browser, built):
    (built / "secret.txt").write_text("secret")
    for path in (
        "/assets/..%2Fsecret.txt",
        "/assets/..%2Findex.html",
        "/assets/%2e%2e%2fsecret.txt",
        "/assets/a-1.js.gz",
    ):
        assert (await browser.get(path)).status == 404, path


async def test_an_instance_goes_on_with_the_version_it_began_with(browser, built):
    (built / "assets" / "a-1.js").unlink()
    (built / "index.html").write_text("another version")
    assert "/assets/a-1.js" in await (await browser.get("/")).text()
    assert (await browser.get("/assets/a-1.js")).status == 200


async def test_without_a_build_a_page_says_how_to_make_one_and_setting_up_works(serve, services, tmp_path):
    async with serve(replace(services, web_folder=tmp_path / "nothing"), key=None) as client:
        answer = await client.get("/")
        assert answer.status == 503
        assert "make web" in await answer.text()
        answer = await client.get("/setup")
        assert answer.status == 200
        assert "/api/auth/setup" in await answer.text()
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert (await client.get("/health")).status == 200


async def test_the_ways_to_sign_in_are_told_to_anybody(browser, make_user):
    answer = await browser.get("/api/auth/methods")
    assert await answer.json() == {"oidc": False, "set_up": False}
    await make_user(role=Role.ADMIN)
    assert (await (await browser.get("/api/auth/methods")).json())["set_up"] is True
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_file_without_packed_forms_is_sent_as_it_is():
    assert Asset("text/plain", {"identity": b"x"}).body_for("br, gzip") == ("identity", b"x")
