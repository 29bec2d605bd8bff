"""The OpenAPI 3.1 document, made from the same declarations that the routes are served by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from melagent.api.auth import CSRF_HEADER
from melagent.api.cookies import SESSION
from melagent.api.idempotency import HEADER, KEY_PATTERN
from melagent.api.wire import Answer, answer
from melagent.services.access import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from melagent.api.route import Route

ANY_METHODS = ("get", "post", "put", "patch", "delete")
SCHEMAS = "#/components/schemas/{model}"
PARAMETER = re.compile(r"{(\w+)(:[^{}]*)?}")

DOCUMENT = web.AppKey("openapi", dict[str, Any])


class ProblemDetail(Answer):
    field: str
    problem: str


class ErrorAnswer(Answer):
    """Every error has this form. `error` is a stable code, `request_id` finds the call in the log."""

    error: str
    message: str
    details: list[ProblemDetail]
    request_id: str


async def openapi_json(request: web.Request) -> web.Response:
    """The whole API as an OpenAPI 3.1 document."""
    return answer(request.app[DOCUMENT])


async def docs_page(_request: web.Request) -> web.Response:
    """The same document as a page to read."""
    page = resources.files(__package__).joinpath("docs.html").read_text()
    return web.Response(text=page, content_type="text/html")


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _documented(route.path)
        for method in ANY_METHODS if route.method == "*" else (route.method.lower(),):
            paths.setdefault(path, {})[method] = _operation(route, method, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "MEL Agent", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION},
                "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
            },
        },
    }


SECURITY: dict[Role, list[dict[str, list[str]]]] = {Role.OPEN: [], Role.WORKER: [{"bearer": []}]}
"""By role, where it is not any API key or session: a worker token is a bearer token only."""

Schemas = Mapping[Any, dict[str, Any]]
"""By `(model, "validation")` for bodies and `(model, "serialization")` for answers."""


def _schemas(routes: Iterable[Route]) -> tuple[Schemas, dict[str, Any]]:
    """The schema of each model as a body and as an answer, and what they refer to."""
    bodies = {route.body for route in routes if route.body}
    kinds = [route.answer[0] if isinstance(route.answer, list) else route.answer for route in routes]
    answers = {kind for kind in kinds if isinstance(kind, type)} | {ErrorAnswer}
    wanted: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in sorted(bodies, key=_name)]
    wanted += [(model, "serialization") for model in sorted(answers, key=_name)]
    schemas, definitions = models_json_schema(wanted, ref_template=SCHEMAS)
    return schemas, definitions["$defs"]


def _name(model: type) -> str:
    return model.__name__


def _documented(path: str) -> str:
    """A path as OpenAPI writes it, without the patterns of its parameters."""
    return PARAMETER.sub(r"{\1}", path)


def _operation(route: Route, method: str, schemas: Schemas) -> dict[str, Any]:
    summary = (route.handler.__doc__ or "").split("\n", 1)[0]
    operation: dict[str, Any] = {
        "operationId": f"{method} {_documented(route.path)}",
        "summary": summary,
        "tags": [route.handler.__module__.rsplit(".", 1)[-1]],
        "x-role": route.role.name.lower(),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, schemas),
        "security": SECURITY.get(route.role, [{"bearer": []}, {"api_key": []}, _session(method)]),
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": any(field.is_required() for field in route.body.model_fields.values()),
            "content": {"application/json": {"schema": schemas[route.body, "validation"]}},
        }
    return operation


def _session(method: str) -> dict[str, list[str]]:
    """The cookie, and with what changes something the header that goes with it."""
    return {"session": []} if method == "get" else {"session": [], "csrf": []}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name, _ in PARAMETER.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = TypeAdapter(route.query).json_schema(ref_template=SCHEMAS)
    definitions, required = schema.get("$defs", {}), schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _inlined(field, definitions)}
        for name, field in schema["properties"].items()
    ]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": KEY_PATTERN}
    return [{"name": HEADER, "in": "header", "required": False, "schema": schema}] if route.keyed else []


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with the enums it refers to written out."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return definitions[schema["$ref"].rsplit("/", 1)[-1]]
        return {name: _inlined(part, definitions) for name, part in schema.items()}
    return [_inlined(part, definitions) for part in schema] if isinstance(schema, list) else schema


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    error = {"description": "An error", "content": _json(schemas[ErrorAnswer, "serialization"])}
    succeeded: dict[str, Any] = {"description": "Done"}
    if isinstance(route.answer, str):
        succeeded["content"] = {route.answer: {}}
    elif route.answer is not None:
        succeeded["content"] = _json(_answer_schema(route.answer, schemas))
    return {str(status): succeeded for status in (route.status, *route.also)} | {"4XX": error, "5XX": error}


def _answer_schema(kind: Any, schemas: Schemas) -> dict[str, Any]:
    if isinstance(kind, list):
        return {"type": "array", "items": schemas[kind[0], "serialization"]}
    return schemas[kind, "serialization"]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
