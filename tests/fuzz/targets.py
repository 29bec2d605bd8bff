"""What is fuzzed: functions from bytes that return for whatever they are given, and tell whether they took it.

Each reads the bytes as somebody outside would have them read. A parser may refuse them with its own error; any other
error, and a broken promise, is a find. The first byte chooses where there is a choice.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp.test_utils import make_mocked_request
from pydantic import ValidationError
from yarl import URL

from melagent.api.approvals import _form
from melagent.api.call_input import call_input
from melagent.api.routes import ROUTES
from melagent.api.wire import checked_body, checked_message, encode, parse_json
from melagent.cli import workflow_file
from melagent.domain.definition import Definition
from melagent.domain.origins import allowed_origin, covered, origin_of
from melagent.errors import BadRequest, MelError, Problem
from melagent.net import METADATA, parse_allowed
from melagent.protocol.messages import Message
from melagent.registry import Registry
from melagent.sandbox import expressions
from melagent.services import definitions, oauth2
from melagent.services.problems import problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTENT_TYPES = (
    "application/json",
    "application/cloudevents+json; charset=latin-1",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "text/plain; charset=utf-16",
    "application/octet-stream",
    "",
    ";;=,\x80",
)
SCOPE = {
    "input": {"a": 1, "list": [1, "b", None, {"c": 2.5}], "text": "Grüße\n", "empty": {}},
    "steps": {"one": {"output": [True, False]}},
    "vars": {"workflow": {}, "global": {}, "run": {}},
    "run": {"id": "r"},
}


def chosen(data: bytes, choices: Any) -> tuple[Any, bytes]:
    """What the first byte chooses, and the rest."""
    options = list(choices)
    return options[data[0] % len(options) if data else 0], data[1:]


def as_text(data: bytes) -> str:
    """Text as it comes out of a JSON body: any characters, but whole ones."""
    return data.decode("utf-8", "replace")


def json_value(data: bytes) -> bool:
    """What is accepted can be written again, and is then read as the same."""
    try:
        value = parse_json(data)
    except MelError:
        return False
    again = parse_json(encode(value))
    assert encode(again) == encode(value)
    return True


def body(data: bytes) -> bool:
    model, rest = chosen(data, (route.body for route in ROUTES if route.body is not None))
    try:
        (checked_message if issubclass(model, Message) else checked_body)(model, rest)
    except MelError as error:
        encode(error.details)
        return False
    return True


def webhook_call(data: bytes) -> bool:
    """A call becomes the JSON text of an object."""
    content_type, rest = chosen(data, CONTENT_TYPES)
    try:
        text = call_input(_request(content_type), rest, "/")
    except MelError as error:
        encode(error.details)
        return False
    assert {"method", "path", "query", "headers"} <= orjson.loads(text).keys()
    return True


@cache
def _request(content_type: str) -> Any:
    return make_mocked_request(
        "POST", "/webhooks/x?a=1&a=2", headers={"Content-Type": content_type} if content_type else {}
    )


def approval_form(data: bytes) -> bool:
    try:
        given = _form(data)
    except MelError:
        return False
    assert all(isinstance(part, str) for pair in given.items() for part in pair)
    return True


def definition(data: bytes) -> bool:
    """A definition that is well formed is stored as it was, and all its problems can be told."""
    try:
        found = Definition.model_validate(parse_json(data))
    except (MelError, ValidationError):
        return False
    text = definitions.encode(found)
    assert definitions.encode(definitions.decode(text)) == text
    assert all(isinstance(problem, Problem) for problem in problems(found, _registry()))
    return True


@cache
def _registry() -> Registry:
    return Registry.builtin()


def workflow_yaml(data: bytes) -> bool:
    return _workflow_file(data, "x.yaml")


def workflow_json(data: bytes) -> bool:
    return _workflow_file(data, "x.json")


def _workflow_file(data: bytes, name: str) -> bool:
    """A file that is read can be sent to a server, and be written so that it reads the same."""
    path = _folder() / name
    path.write_bytes(data)
    try:
        found = workflow_file.read(path)
    except BadRequest:
        return False
    json.dumps({"name": found.name, "description": found.description, "definition": found.definition}, allow_nan=False)
    found.write(path, as_json=path.suffix == ".json")
    again = workflow_file.read(path)
    assert again.text() == found.text()
    return True


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="mel-fuzz-"))


def template(data: bytes) -> bool:
    return _expressions(as_text(data), expression=False)


def expression(data: bytes) -> bool:
    return _expressions(as_text(data), expression=True)


def _expressions(source: str, *, expression: bool) -> bool:
    """What has no fault in its syntax names what it needs, and ends in a value or in an error of its own."""
    fault = expressions.check(source, expression=expression)
    assert fault is None or fault
    try:
        expressions.references(source, expression=expression)
        expressions.variables(source, expression=expression)
        value = expressions.evaluate(source, SCOPE) if expression else expressions.fill(source, SCOPE)
    except expressions.ExpressionError:
        return False
    orjson.dumps(value)
    return True


def signature(data: bytes) -> bool:
    """No signature that was made up is genuine. One is taken when it was read and compared.

    The lines before an empty one are header values, in turn for each header that schemes read.
    """
    from melagent.domain import signatures

    schemes = (
        signatures.GitHub(),
        signatures.Stripe(),
        signatures.Slack(),
        signatures.StandardWebhooks(),
        *(
            signatures.Generic("X-Hub-Signature-256", algorithm, encoding, "v1=", time_header)
            for algorithm in ("sha1", "sha256", "sha512")
            for encoding in ("hex", "base64")
            for time_header in ("", "X-Slack-Request-Timestamp")
        ),
    )
    scheme, rest = chosen(data, schemes)
    head, _, sent = rest.partition(b"\n\n")
    values = head.split(b"\n")
    headers = {
        name: values[number % len(values)].decode("utf-8", "surrogateescape") for number, name in enumerate(SIGNED)
    }
    try:
        proof = scheme.prove("whsec_c2VjcmV0", headers, sent, NOW)
    except signatures.Unproven as error:
        return "does not fit" in str(error)
    raise AssertionError(f"{scheme} takes {headers} for a signature: {proof}")


SIGNED = (
    "X-Hub-Signature-256",
    "Stripe-Signature",
    "X-Slack-Signature",
    "X-Slack-Request-Timestamp",
    "webhook-signature",
    "webhook-timestamp",
    "webhook-id",
)
NOW = 1_700_000_000.0


def destination(data: bytes) -> bool:
    """Where a secret may go, and a URL that a node calls: two lines. It goes to no host but that, or one below it."""
    entry, _, url = as_text(data).partition("\n")
    try:
        allowed, called = allowed_origin(entry), origin_of(url)
    except ValueError:
        return False
    if covered(called, [allowed]):
        host = str(URL(url).raw_host).lower().rstrip(".")
        assert host == allowed.host or (allowed.host.startswith("*.") and host.endswith(allowed.host[1:]))
        assert (URL(url).scheme, URL(url).port) == (allowed.scheme, allowed.port)
    return True


def allow_entry(data: bytes) -> bool:
    """An entry of the allow list. It opens the metadata of a cloud only when it names nothing but these."""
    try:
        allowed = parse_allowed(as_text(data))
    except ValueError:
        return False
    for kept in METADATA:
        opened = allowed.matches(str(kept[0]), kept[0], allowed.port or 80)
        assert not opened or (allowed.network is not None and kept.supernet_of(allowed.network))
    return True


def token_answer(data: bytes) -> bool:
    """What a token endpoint answers. What is taken for a token can be sent in a header."""
    status, rest = chosen(data, (200, 201, 302, 400, 401, 429, 500, 503))
    try:
        tokens = oauth2._read(status, rest)
    except MelError:
        return False
    assert not set(tokens.access_token) & {*map(chr, range(32)), "\x7f"}
    assert isinstance(tokens.fresh, bool)
    return True


TARGETS: Mapping[str, Callable[[bytes], bool]] = {
    "json_value": json_value,
    "body": body,
    "webhook_call": webhook_call,
    "approval_form": approval_form,
    "definition": definition,
    "workflow_yaml": workflow_yaml,
    "workflow_json": workflow_json,
    "template": template,
    "expression": expression,
    "destination": destination,
    "allow_entry": allow_entry,
    "token_answer": token_answer,
} | ({"signature": signature} if importlib.util.find_spec("melagent.domain.signatures") else {})
