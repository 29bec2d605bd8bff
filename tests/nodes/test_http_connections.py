"""http_request with a connection: the secret is carried to the hosts that it may go to, and to no other."""

from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from melagent.domain.origins import allowed_origin, origin_of
from melagent.domain.secrets import Secret
from melagent.net import guarded_session
from melagent.sdk import NodeError
from melagent.services.connections import checked
from melagent.services.credential_types import TYPES

ID = UUID(int=7)
SECRET = "s3cret/+ &ü"


@asynccontextmanager
async def host():
    """A server that remembers how it was called, and redirects to where the call says."""
    seen = []

    async def answer(request):
        seen.append((request.headers.get("Authorization"), request.headers.get("X-Key"), dict(request.query)))
        if "to" in request.query:
            raise web.HTTPTemporaryRedirect(request.query["to"])
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}", seen


@pytest.fixture
async def ours():
    async with host() as made:
        yield made


@pytest.fixture
async def theirs():
    async with host() as made:
        yield made


def opened(kind, **fields):
    """A connection as a run gets it."""
    kind = TYPES[kind]
    credential = checked(kind, fields)
    return Secret(
        ID, "mine", kind.id, credential.model_dump(), kind.hidden, credential.headers, credential.query,
        credential.origins,
    )  # fmt: skip  # in the order of the fields


@pytest.fixture
async def call(run_node, context):
    async with guarded_session(["127.0.0.1"]) as session:

        async def call(secret, url, **config):
            ctx = context(http=session, connections={ID: secret})
            return await run_node("http_request", {"url": url, "connection": str(ID), **config}, ctx)

        yield call


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("bearer", {"token": "tok"}, ("Bearer tok", None, {})),
        ("basic", {"username": "ada", "password": SECRET}, ("Basic YWRhOnMzY3JldC8rICbDvA==", None, {})),
        ("api_key", {"api_key": "tok", "name": "X-Key"}, (None, "tok", {})),
        ("api_key", {"api_key": SECRET, "name": "k", "placement": "query"}, (None, None, {"k": SECRET})),
    ],
    ids=["bearer", "basic", "header", "query"],
)
async def test_secret_is_carried_as_its_type_says(ours, call, kind, fields, expected):
    url, seen = ours
    await call(opened(kind, allowed_hosts=[url], **fields), f"{url}/x")
    assert seen == [expected]


async def test_parameters_of_the_call_stay_beside_the_secret(ours, call):
    url, seen = ours
    secret = opened("api_key", api_key="tok", name="k", placement="query", allowed_hosts=[url])
    await call(secret, f"{url}/x?a=1", query={"b": "2"})
    assert seen == [(None, None, {"a": "1", "b": "2", "k": "tok"})]


async def test_secret_takes_the_place_of_a_header_that_the_author_wrote(ours, call):
    url, seen = ours
    await call(opened("bearer", token="tok", allowed_hosts=[url]), url, headers={"authorization": "Bearer other"})
    assert seen == [("Bearer tok", None, {})]


async def test_call_to_another_host_is_not_made_at_all(ours, theirs, call):
    (url, _), (other, seen) = ours, theirs
    for kind, fields in (("bearer", {"token": "tok"}), ("basic", {"username": "a", "password": "tok"})):
        secret = opened(kind, allowed_hosts=[url], **fields)
        for elsewhere in (f"{other}/x", f"{other}/?{url}", f"{url}@{other.removeprefix('http://')}"):
            with pytest.raises(NodeError) as raised:
                await call(secret, elsewhere)
            assert (raised.value.code, raised.value.retryable) == ("host_not_allowed", False)
            assert "tok" not in raised.value.message
    assert seen == []


@pytest.mark.parametrize("placement", ["header", "query"])
async def test_redirect_to_another_host_is_followed_without_the_secret(ours, theirs, call, placement):
    (url, ours_seen), (other, seen) = ours, theirs
    secret = opened("api_key", api_key="tok", name="X-Key", placement=placement, allowed_hosts=[url])
    assert (await call(secret, url, query={"to": f"{other}/a"}))["status"] == 200
    assert "tok" in str(ours_seen)
    assert seen == [(None, None, {})]


async def test_redirect_within_the_allowed_hosts_carries_the_secret_and_one_back_does_too(ours, theirs, call):
    (url, ours_seen), (other, seen) = ours, theirs
    secret = opened("bearer", token="tok", allowed_hosts=[url])
    await call(secret, url, query={"to": f"{url}/b?to={other}/c?to={url}/d"})
    assert [authorization for authorization, *_ in ours_seen] == ["Bearer tok", "Bearer tok", "Bearer tok"]
    assert [authorization for authorization, *_ in seen] == [None]


async def test_secret_of_a_host_with_tls_does_not_go_there_in_the_clear(ours, call):
    url, seen = ours
    secure = url.replace("http://", "")
    with pytest.raises(NodeError) as raised:
        await call(opened("bearer", token="tok", allowed_hosts=[secure]), url)
    assert raised.value.code == "host_not_allowed"
    assert seen == []
    assert not allowed_origin(secure).covers(origin_of(url))


async def test_connection_that_was_deleted_fails_the_node(run_node, context):
    with pytest.raises(NodeError) as raised:
        await run_node("http_request", {"url": "https://a.example", "connection": str(ID)}, context())
    assert raised.value.code == "not_found"
