"""Pages of other origins: which may call, and what tells the browser so."""

from dataclasses import replace

import pytest

TOOLS = "https://tools.example"


@pytest.fixture
async def shared(serve, services):
    """An instance whose settings allow one other origin."""
    changed = replace(services, allowed_origins=(TOOLS,), public_url="https://mel.example")
    async with serve(changed) as client:
        yield client


async def test_a_page_of_an_allowed_origin_may_read_answers(shared):
    answer = await shared.get("/api/workflows", headers={"Origin": TOOLS})
    assert answer.headers["Access-Control-Allow-Origin"] == TOOLS
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://tools.example", f"{TOOLS}.evil.example", "null"])
async def test_no_other_page_may(shared, origin):
    answer = await shared.get("/api/workflows", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_browser_of_an_allowed_page_is_told_what_it_may_call(shared):
    asked = {"Origin": TOOLS, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-csrf-token"}
    answer = await shared.options("/api/workflows", headers=asked)
    assert answer.status == 204
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    assert "X-CSRF-Token" in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Allow-Origin"] == TOOLS
    refused = await shared.options("/api/workflows", headers={**asked, "Origin": "https://evil.example"})
    assert refused.status == 405


async def test_without_the_setting_nobody_else_may_and_no_header_says_so(client):
    answer = await client.get("/api/workflows", headers={"Origin": TOOLS})
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Vary" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://mel.example"}, 401),
        ({"Origin": "https://MEL.example"}, 403),
        ({"Origin": TOOLS}, 401),
        ({"Origin": TOOLS, "Sec-Fetch-Site": "cross-site"}, 401),
        ({"Origin": "http://mel.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://inside:8080"}, 401),
        ({"Sec-Fetch-Site": "none"}, 401),
        ({}, 401),
    ],
)
async def test_our_own_pages_and_allowed_ones_may_sign_in(shared, headers, status):
    body = {"email": "ada@example.com", "password": "wrong horse battery"}
    assert (await shared.post("/api/auth/login", json=body, headers=headers)).status == status
