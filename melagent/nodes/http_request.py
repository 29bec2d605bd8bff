"""Calls a URL."""

from __future__ import annotations

import codecs
import re
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import aiohttp
import orjson

from melagent.sdk import Connection, Field, Json, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.client_middlewares import ClientHandlerType, ClientMiddlewareType
    from pydantic.config import JsonDict
    from yarl import URL

    from melagent.sdk import Secret

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""The engine's limit for one value; what a compressed response unpacks to counts."""

_CREDENTIALS = (
    "api_key", "bearer", "basic", "oauth2", "openai", "anthropic", "openai_compatible", "slack", "baserow_token",
    "airtable",
)  # fmt: skip  # in the order in which people look for them
MAX_REDIRECTS = 10

_FRAMING = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers that belong to the connection, which calls of other runs share: a wrong length would mix up their answers."""

_HARMLESS = frozenset(
    {
        "accept", "accept-charset", "accept-language", "cache-control", "content-language", "content-type",
        "idempotency-key", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "prefer", "range",
        "traceparent", "tracestate", "user-agent", "x-request-id",
    }
)  # fmt: skip
"""Headers that cannot hold a key. Only these go along with a redirect to another server."""

_USER_INFO = re.compile(r"//[^/@\s'\"]*@")

_CHARSET = re.compile(
    r"ascii|utf-(8|16|32)(-sig|-le|-be)?|iso8859-\d+|cp\d+|koi8-[rtu]|mac-[a-z]+|gb\w+|big5\w*|euc_\w+|shift_jis\w*"
    r"|iso2022_\w+|hz|tis-620"
)
"""Python's names of what the web writes text in. It knows others: punycode would take hours for a large answer."""

_BODILESS = ("GET", "HEAD")
_SAFE = ("GET", "HEAD", "OPTIONS")
_TRY_AGAIN = (408, 425, 429)
_ADVANCED: JsonDict = {"x-group": "Advanced"}


class HttpRequestParams(Params):
    url: str = Field(min_length=1, max_length=8_000, description="What to call, http or https")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = Field(
        default="GET", description="All but GET, HEAD and OPTIONS send an `Idempotency-Key`, the same on every attempt"
    )
    query: dict[str, Json] = Field(
        default_factory=dict,
        description="A list repeats the name, null leaves it out",
        json_schema_extra={"x-widget": "key-value"},
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Headers to send; but length and form of the body are set by the client, and a redirect to another "
        "server takes along only those that cannot hold a key",
        json_schema_extra={"x-widget": "key-value"},
    )
    connection: Annotated[UUID | None, Connection(*_CREDENTIALS)] = Field(
        default=None, description="Whose secret the call carries, to the hosts that the connection allows and no other"
    )
    body: Json = Field(default=None, description="Not sent with GET and HEAD")
    body_type: Literal["json", "form", "raw"] = Field(
        default="json", description="json takes a value, or text that is JSON already; form an object; raw a text"
    )
    response: Literal["auto", "json", "text"] = Field(default="auto", description="auto goes by the content type")
    timeout: float = Field(
        default=30, gt=0, le=300, description="Seconds for the whole call", json_schema_extra=_ADVANCED
    )
    follow_redirects: bool = Field(
        default=True, description="Go where the answer points, ten times at most", json_schema_extra=_ADVANCED
    )
    verify_ssl: bool = Field(
        default=True,
        alias="verifySSL",
        title="Verify SSL",
        description="Refuse a server whose certificate is not valid",
        json_schema_extra=_ADVANCED,
    )
    fail_on_status: bool = Field(
        default=True, description="Fail when the answer's status is 400 or more", json_schema_extra=_ADVANCED
    )


class HttpRequest(Node[HttpRequestParams]):
    id = "http_request"
    name = "HTTP request"
    description = "Calls a URL; the output is {status, headers, body, url, duration_ms}"
    category = "Integrations"
    icon = "globe"
    effects = True

    async def run(self, params: HttpRequestParams, ctx: NodeContext) -> Result:
        begun = time.perf_counter()
        arguments = _arguments(params, ctx)
        arguments["middlewares"] = [_keeping_to_one_server(arguments["headers"])]
        if params.connection is not None:
            arguments["middlewares"].append(_carrying(await ctx.connection(params.connection), params.url))
        try:
            async with ctx.http.request(params.method, params.url, **arguments) as response:
                body = _decode(await _read(response), response, params.response)
        except TimeoutError as error:
            raise NodeError(f"No answer within {params.timeout:g} s.", code="timeout") from error
        except IndexError as error:  # aio-libs/yarl#1822
            raise _refusal("Cannot call the URL: it has no host.") from error
        except (ValueError, aiohttp.ClientError) as error:
            raise _failure(error) from error
        output = {
            "status": response.status,
            "headers": {name.lower(): value for name, value in response.headers.items()},
            "body": body,
            "url": str(response.url),
            "duration_ms": round((time.perf_counter() - begun) * 1000),
        }
        if params.fail_on_status and response.status >= 400:
            raise _status_error(output)
        return output


def _arguments(params: HttpRequestParams, ctx: NodeContext) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in params.headers.items() if name.lower() not in _FRAMING}
    if params.method not in _SAFE:
        headers.setdefault("idempotency-key", ctx.idempotency_key)
    arguments: dict[str, Any] = {
        "params": _pairs(params.query),
        "headers": headers,
        "timeout": aiohttp.ClientTimeout(total=params.timeout),
        "allow_redirects": params.follow_redirects,
        "max_redirects": MAX_REDIRECTS + 1,  # aiohttp gives up at that many
        "ssl": params.verify_ssl,
    }
    if params.body is not None and params.method not in _BODILESS:
        arguments["data"] = _encode(params, headers)
    return arguments


def _carrying(secret: Secret, url: str) -> ClientMiddlewareType:
    """Gives the secret to each request that goes where it may go; a redirect to elsewhere is followed without it.

    Raises NodeError when the first one goes elsewhere.
    """
    if not secret.allows(url):
        message = f"The connection {secret.name!r} does not allow its secret to be sent to this host."
        raise NodeError(message, code="host_not_allowed", retryable=False)

    async def carry(request: aiohttp.ClientRequest, send: ClientHandlerType) -> aiohttp.ClientResponse:
        if secret.allows(str(request.url)):
            request.headers.update(secret.headers)
            request.url = request.url.update_query(secret.query)
        return await send(request)

    return carry


def _keeping_to_one_server(headers: Collection[str]) -> ClientMiddlewareType:
    """Takes away from each request what only the server may see that was called first.

    aiohttp does so for Authorization and Cookie; keys are sent in many other headers. `headers` names the author's.
    """
    first: URL | None = None

    async def keep(request: aiohttp.ClientRequest, send: ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal first
        first = first or request.url
        if not _same_server(first, request.url):
            for name in headers:
                if name not in _HARMLESS:
                    request.headers.popall(name, None)
            request.headers["host"] = request.url.host_port_subcomponent or ""
        return await send(request)

    return keep


def _same_server(first: URL, other: URL) -> bool:
    """Also when a server sends callers from its http to its https."""
    upgraded = (first.scheme, first.port, other.scheme, other.port) == ("http", 80, "https", 443)
    return first.host == other.host and (upgraded or first.origin() == other.origin())


def _failure(error: ValueError | aiohttp.ClientError) -> NodeError:
    """What went wrong, in words that show no key of the URL."""
    if isinstance(error, aiohttp.TooManyRedirects):
        return _refusal(f"The call was sent elsewhere more than {MAX_REDIRECTS} times.")
    if isinstance(error, (ValueError, aiohttp.NonHttpUrlClientError)):
        return _refusal(f"Cannot call the URL: {error}")
    # The guard says that a refused address stays refused. The text of an answer that cannot be read would be its URL.
    reason = error.message if isinstance(error, aiohttp.ClientResponseError) else error
    return _refusal(f"The call failed: {reason}", retryable=getattr(error, "retryable", True))


def _refusal(message: str, *, retryable: bool = False) -> NodeError:
    return NodeError(_USER_INFO.sub("//", message), code="http_error", retryable=retryable)


def _encode(params: HttpRequestParams, headers: dict[str, str]) -> bytes | aiohttp.FormData:
    """The body as it is sent; names its content type in the headers unless they do."""
    if params.body_type == "form":
        if not isinstance(params.body, dict):
            raise NodeError("A form body must be an object.", code="wrong_input", retryable=False)
        return aiohttp.FormData(_pairs(params.body))
    headers.setdefault(
        "content-type", "application/json" if params.body_type == "json" else "text/plain; charset=utf-8"
    )
    return params.body.encode() if isinstance(params.body, str) else orjson.dumps(params.body)


def _pairs(values: dict[str, Json]) -> list[tuple[str, str]]:
    """Names and texts for a query or form: a list repeats its name, null is left out."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    return [(name, _text(item)) for name, items in lists.items() for item in items if item is not None]


def _text(value: Json) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    received = bytearray()
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > MAX_RESPONSE_BYTES:
            raise NodeError(
                f"The response is larger than {MAX_RESPONSE_BYTES:,} bytes.", code="too_large", retryable=False
            )
    return bytes(received)


def _decode(received: bytes, response: aiohttp.ClientResponse, wanted: str) -> Json:
    if wanted == "json" or (wanted == "auto" and "json" in response.content_type):
        try:
            return orjson.loads(received) if received else None
        except orjson.JSONDecodeError as error:
            if wanted == "json":
                raise NodeError(f"The response is not JSON: {error}", code="not_json", retryable=False) from error
    return received.decode(_codec(response.charset or "utf-8"), errors="replace")


def _codec(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except LookupError:  # Python does not know it
        return "utf-8"
    return name if _CHARSET.fullmatch(name) else "utf-8"


def _status_error(output: dict[str, Json]) -> NodeError:
    status = output["status"]
    return NodeError(
        f"The server answered {status}.",
        code=f"http_{status}",
        retryable=status >= 500 or status in _TRY_AGAIN,
        details={**output, "body": _text(output["body"])[:1_000]},
    )
