"""The URL table as a whole: who may call what, and that the table says what the handlers take."""

import re
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from melagent.api.openapi import PARAMETER, document
from melagent.api.routes import DEMO_ROUTES, ROUTES
from melagent.services.access import Role, create_worker_token
from melagent.store.ids import new_id

ALL = (*ROUTES, *DEMO_ROUTES)

OPEN_PATHS = {
    "/health", "/ready", "/metrics", "/api/health", "/api/node-types", "/api/node-types/{id}", "/api/openapi.json",
    "/api/docs", "/webhooks/{token}", "/webhooks/{token}/{rest:.*}", "/demo/echo", "/demo/json", "/demo/status/{code}",
    "/demo/slow/{seconds}", "/demo/v1/chat/completions", "/resume/{token}", "/oauth2/callback", "/api/auth/login",
    "/api/auth/setup", "/api/auth/oidc/login", "/api/auth/oidc/callback", "/setup",
}  # fmt: skip


def test_only_the_routes_of_the_contract_are_open():
    assert {route.path for route in ALL if route.role is Role.OPEN} == OPEN_PATHS


OF_ONESELF = {"/api/auth/logout", "/api/auth/password", "/api/auth/ws-ticket"}


def test_whatever_is_not_a_get_needs_an_editor_unless_it_is_open_or_about_oneself():
    viewers = {route.path for route in ALL if route.method not in ("GET", "*") and route.role is Role.VIEWER}
    assert viewers == OF_ONESELF


NOT_KEYED = {
    "/api/workers",
    "/api/variables",
    "/api/tokens",
    "/api/connections",
    "/api/users",
    "/api/auth/setup",
    "/api/triggers/{id}/test",
}
"""Registering a worker begins a session, and a repetition is meant to begin another. Setting a variable may be repeated
as it is, like the PUT that does the same. A token is shown once: its answer must not be kept. Nor must a hash of a body
with a password or a secret, and an email has one user however often it is sent. A test address of a webhook is shown
once as well.
"""


def test_every_post_that_starts_or_creates_takes_an_idempotency_key_and_nothing_else_does():
    makes = {route.path for route in ALL if route.method == "POST" and route.status in (201, 202)}
    assert {route.path for route in ALL if route.keyed} == makes - NOT_KEYED
    assert not [route for route in ALL if route.keyed and (route.method != "POST" or route.role is Role.OPEN)]


def test_the_document_says_where_an_idempotency_key_is_taken():
    paths = document(ALL, "1")["paths"]
    for route in ALL:
        if route.method == "POST":
            parameters = paths[PARAMETER.sub(r"{\1}", route.path)]["post"]["parameters"]
            assert any(parameter["name"] == "Idempotency-Key" for parameter in parameters) == route.keyed, route.path


NOT_PAGED = {
    "/api/node-types", "/api/extensions", "/api/credential-types", "/api/integrations", "/api/cluster",
    "/api/workflows/{id}/draft", "/api/workflows/{id}/presence",
}  # fmt: skip
"""Catalogues that the program and installed packages make, pictures of the present (a room has at most 500 people), one
draft with its problems.
"""


def test_every_list_comes_in_pages_of_1_to_100():
    lists = [route for route in ALL if route.method == "GET" and holds_models(route.answer)]
    assert {route.path for route in lists} >= {"/api/workflows", "/api/workers", "/api/workflows/{id}/nodes"}
    for route in lists:
        if route.path not in NOT_PAGED:
            assert "next_cursor" in route.answer.model_fields, route.path
            assert "cursor" in route.query.model_fields, route.path
            assert route.query().limit == 20, route.path
            for wrong in (0, 101):
                with pytest.raises(ValidationError):
                    route.query(limit=wrong)


def holds_models(answer):
    """Whether an answer is a list of models, or has one."""
    if isinstance(answer, list):
        return True
    fields = answer.model_fields.values() if isinstance(answer, type) else ()
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for field in fields for kind in items(field))


def items(field):
    return get_args(field.annotation) if get_origin(field.annotation) is list else ()


def test_no_two_routes_have_the_same_method_and_path():
    lines = [(route.method, route.path) for route in ALL]
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize("route", ALL, ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_takes_what_its_route_declares(route):
    declared = {name: model.__name__ for name, model in (("query", route.query), ("body", route.body)) if model}
    taken = {name: kind for name, kind in route.handler.__annotations__.items() if name in ("query", "body")}
    assert taken == declared
    assert route.handler.__doc__


async def test_every_route_is_refused_to_every_role_below_its_own_and_to_no_other(serve, services, keys):
    async with serve(services, key=None) as client:
        for route in ALL:
            path = PARAMETER.sub(str(new_id()), route.path).replace("/slow/", "/slow/x")
            method = "POST" if route.method == "*" else route.method
            for role, key in keys.items():
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                answer = await client.request(method, path, headers=headers, json={})
                expected = refusal(role, route.role)
                assert (answer.status in (401, 403)) == bool(expected), (route.path, role, answer.status)
                assert expected in (None, answer.status), (route.path, role)


@pytest.fixture
async def signed_in(pool, open_browser, make_user):
    """A browser for each role, whose session does not end when it signs out."""
    browsers = {Role.OPEN: await open_browser()}
    for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN):
        await make_user(f"{role.name.lower()}@example.com", role)
        browsers[role] = await open_browser()
        assert (await browsers[role].log_in(f"{role.name.lower()}@example.com")).status == 200
    return browsers


ENDS_SESSIONS = {"/api/auth/logout", "/api/auth/login", "/api/auth/setup"}


def called(route):
    """A method and an address of a route."""
    path = PARAMETER.sub(str(new_id()), route.path).replace("/slow/", "/slow/x")
    return "POST" if route.method == "*" else route.method, path


async def test_every_route_is_refused_to_every_session_below_its_role_and_to_no_other(signed_in):
    for route in (each for each in ALL if each.path not in ENDS_SESSIONS):
        for role, browser in signed_in.items():
            method, path = called(route)
            answer = await browser.call(method, path, json={})
            expected = refusal(role, route.role)
            assert (answer.status in (401, 403)) == bool(expected), (route.path, role, answer.status)
            assert expected in (None, answer.status), (route.path, role)


async def test_no_call_that_changes_something_is_made_with_a_cookie_alone(signed_in):
    browser = signed_in[Role.ADMIN]
    other = signed_in[Role.EDITOR].csrf
    for route in ALL:
        if route.role in (Role.OPEN, Role.WORKER) or route.method == "GET":
            continue
        method, path = called(route)
        for token in (None, "", "x", "ä", other, browser.cookie()):
            sent = {"X-CSRF-Token": token} if token is not None else {}
            answer = await browser.call(method, path, csrf=False, headers=sent, json={})
            assert (answer.status, (await answer.json())["error"]) == (403, "forbidden"), (route.path, token)


FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_no_page_of_another_origin_calls_with_a_cookie_whatever_token_it_has(signed_in, headers):
    browser = signed_in[Role.ADMIN]
    for route in ALL:
        if route.role is Role.OPEN or route.role is Role.WORKER:
            continue
        method, path = called(route)
        answer = await browser.call(method, path, headers=headers, json={})
        assert answer.status == 403, route.path


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_no_page_of_another_origin_signs_anybody_in(signed_in, headers):
    browser = signed_in[Role.OPEN]
    answer = await browser.log_in("admin@example.com", **headers)
    assert (answer.status, answer.cookies.get("mel_session")) == (403, None)
    body = {"token": "x", "email": "a@example.com", "password": "correct horse battery"}
    assert (await browser.call("POST", "/api/auth/setup", json=body, headers=headers)).status == 403


async def test_a_key_needs_neither_token_nor_origin(serve, services, keys):
    async with serve(services, key=keys[Role.EDITOR]) as client:
        for headers in ({}, *FOREIGN):
            answer = await client.post("/api/workflows", json={"name": "x"}, headers=headers)
            assert answer.status == 201, headers


async def test_a_key_counts_before_a_cookie(signed_in, keys):
    headers = {"Authorization": f"Bearer {keys[Role.VIEWER]}"}
    answer = await signed_in[Role.ADMIN].call("POST", "/api/workflows", headers=headers, json={"name": "x"})
    assert answer.status == 403
    answer = await signed_in[Role.ADMIN].call("GET", "/api/workflows", headers={"X-API-Key": "wrong"})
    assert answer.status == 401


async def test_a_worker_token_opens_the_worker_routes_and_nothing_else(serve, services, pool):
    _, token = await create_worker_token(pool, "worker")
    async with serve(services, key=token) as client:
        for route in ALL:
            if route.role is not Role.OPEN:
                path = PARAMETER.sub(str(new_id()), route.path)
                answer = await client.request(route.method, path, json={})
                assert (answer.status == 401) == (route.role is not Role.WORKER), (route.path, answer.status)


def refusal(role, needed):
    if needed is Role.WORKER:
        return 401
    if needed is Role.OPEN or (role is not Role.OPEN and role >= needed):
        return None
    return 401 if role is Role.OPEN else 403


def test_every_route_is_in_the_openapi_document():
    described = document(ALL, "1")["paths"]
    for route in ALL:
        operations = described[PARAMETER.sub(r"{\1}", route.path)]
        assert route.method == "*" or route.method.lower() in operations


def test_operations_of_the_document_have_names_of_their_own():
    paths = document(ALL, "1")["paths"]
    names = [operation["operationId"] for calls in paths.values() for operation in calls.values()]
    assert len(set(names)) == len(names)


def test_every_reference_of_the_document_leads_somewhere():
    api = document(ALL, "1")
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', str(api).replace("'", '"')))
    assert references <= set(api["components"]["schemas"])
    assert references
