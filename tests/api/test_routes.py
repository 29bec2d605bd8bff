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
    "/demo/slow/{seconds}", "/demo/v1/chat/completions", "/resume/{token}", "/oauth2/callback",
}  # fmt: skip


def test_only_the_routes_of_the_contract_are_open():
    assert {route.path for route in ALL if route.role is Role.OPEN} == OPEN_PATHS


def test_whatever_is_not_a_get_needs_an_editor_unless_it_is_open():
    assert not [route for route in ALL if route.method not in ("GET", "*") and route.role is Role.VIEWER]


NOT_KEYED = {"/api/workers", "/api/variables", "/api/tokens"}
"""Registering a worker begins a session, and a repetition is meant to begin another. Setting a variable may be repeated
as it is, like the PUT that does the same. A token is shown once: its answer must not be kept.
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
    "/api/workflows/{id}/draft",
}  # fmt: skip
"""Catalogues that the program and installed packages make, a picture of the present, one draft with its problems."""


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
