"""http_request against servers that mean harm: redirects to where it must not go, answers without measure or end.

Servers at 127.0.0.1 and 127.0.0.2 may be called, one at 127.0.0.3 may not.
"""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from melagent.net import guarded_session
from melagent.nodes.http_request import MAX_REDIRECTS, MAX_RESPONSE_BYTES
from melagent.sdk import NodeError

FRIEND, OTHER, INSIDE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
MOVED = (301, 302, 303, 307, 308)
KEYS = {"Authorization": "Bearer s3cret", "Cookie": "a=s3cret", "X-API-Key": "s3cret", "X-Custom": "s3cret"}


class Seen(list):
    """The calls that arrived, in their order, as `address path`; their headers and bodies."""

    def __init__(self):
        super().__init__()
        self.headers, self.bodies, self.methods = [], [], []


@pytest.fixture
async def http():
    async with guarded_session([FRIEND, OTHER]) as session:
        yield session


@pytest.fixture
async def port():
    return unused_port()


@pytest.fixture
async def seen(port):
    """Three servers; `?to=` in an address is where their answer sends the caller."""
    seen = Seen()

    async def answer(request):
        seen.append(f"{request.transport.get_extra_info('sockname')[0]} {request.path}")
        seen.headers.append({name.lower(): value for name, value in request.headers.items()})
        seen.bodies.append(await request.text())
        seen.methods.append(request.method)
        _, hops, left = request.path.rpartition("/hops/")
        if hops and int(left):
            return web.Response(status=302, headers={"Location": f"/hops/{int(left) - 1}"})
        if target := request.query.get("to"):
            return web.Response(status=int(request.query.get("status", 302)), headers={"Location": target})
        return web.Response(text="hello")

    servers = []
    for address in (FRIEND, OTHER, INSIDE):
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", answer)
        servers.append(TestServer(app, host=address, port=port))
        await servers[-1].start_server()
    yield seen
    for server in servers:
        await server.close()


@pytest.fixture
def call(run_node, http):
    async def call(url, **config):
        return await run_node("http_request", {"url": url, **config}, http=http)

    return call


@pytest.fixture
def failure(call):
    async def failure(url, **config) -> NodeError:
        with pytest.raises(NodeError) as caught:
            await call(url, **config)
        return caught.value

    return failure


def url_at(address, port, path="/", to=None, status=302):
    query = "" if to is None else f"?status={status}&to=" + "".join(f"%{byte:02X}" for byte in to.encode())
    return f"http://{address}:{port}{path}{query}"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("status", MOVED)
async def test_no_kind_of_redirect_leads_inside(failure, seen, port, status, method):
    error = await failure(url_at(FRIEND, port, "/a", url_at(INSIDE, port, "/secret"), status), method=method, body={})
    assert seen == [f"{FRIEND} /a"]
    assert (error.code, error.retryable) == ("http_error", False)
    assert "security.http_allow" in str(error)


async def test_the_last_of_several_redirects_is_checked_as_the_first(failure, seen, port):
    there = url_at(INSIDE, port, "/secret")
    for address in (FRIEND, OTHER, FRIEND, OTHER):
        there = url_at(address, port, "/hop", there, 307)
    await failure(there)
    assert seen == [f"{OTHER} /hop", f"{FRIEND} /hop", f"{OTHER} /hop", f"{FRIEND} /hop"]


@pytest.mark.parametrize(
    "target",
    [
        "//{inside}/secret",
        "https://{inside}/secret",
        "http://{friend}@{inside}/secret",
        "http://user:password@{inside}/secret",
        "HTTP://[::FFFF:127.0.0.3]:{port}/secret",
        "http://[::1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://127。0。0。3:{port}/",
        "http://127.3:{port}/",
        "http://2130706435:{port}/",
        "http://0177.0.0.3:{port}/",
        "http://169.254.169.254/latest/meta-data/iam",
        "http://[fd00:ec2::254]/latest/meta-data",
        "http://100.100.100.200/",
        "ftp://{friend}/",
        "file:///etc/passwd",
        "gopher://{friend}/_x",
        "data:text/plain,x",
        "ws://{inside}/",
        "tcp://{inside}/",
        "http://",
        "http:///secret",
        "http://[::1/",
        "http://[::1]@",
        "http://a b/",
    ],
)
async def test_no_target_of_a_redirect_leads_inside_or_elsewhere_than_http(failure, seen, port, target):
    target = target.format(friend=f"{FRIEND}:{port}", inside=f"{INSIDE}:{port}", port=port)
    error = await failure(url_at(FRIEND, port, "/a", target))
    assert seen == [f"{FRIEND} /a"]
    assert error.code == "http_error"


async def test_a_target_with_backslashes_is_a_path_whatever_browsers_make_of_it(call, seen, port):
    await call(url_at(FRIEND, port, "/a", f"\\\\{INSIDE}:{port}\\secret"))
    assert [call.partition(" ")[0] for call in seen] == [FRIEND] * 2


@pytest.mark.parametrize("status", MOVED)
async def test_keys_stay_with_the_server_that_was_called(call, seen, port, status):
    target = url_at(OTHER, port, "/b")
    headers = {**KEYS, "Accept": "text/plain", "Host": "friend.example"}
    await call(url_at(FRIEND, port, "/a", target, status), method="POST", headers=headers, body={"n": 1})
    assert seen == [f"{FRIEND} /a", f"{OTHER} /b"]
    assert {name: seen.headers[0][name.lower()] for name in KEYS} == KEYS
    assert "s3cret" not in str(seen.headers[1])
    assert (seen.headers[0]["host"], seen.headers[1]["host"]) == ("friend.example", f"{OTHER}:{port}")
    assert seen.headers[1]["accept"] == "text/plain"
    kept = status in (307, 308)
    assert (seen.methods[1], seen.bodies[1]) == (("POST", '{"n":1}') if kept else ("GET", ""))


async def test_keys_in_the_url_stay_with_the_server_that_was_called(call, seen, port):
    output = await call(url_at(f"me:s3cret@{FRIEND}", port, "/a", url_at(OTHER, port, "/b")))
    assert seen.headers[0]["authorization"].startswith("Basic ")
    assert "authorization" not in seen.headers[1]
    assert "s3cret" not in str(output)


async def test_keys_go_along_within_one_server(call, seen, port):
    await call(url_at(FRIEND, port, "/a", "/b"), headers=KEYS)
    assert {name: seen.headers[1][name.lower()] for name in KEYS} == KEYS


async def test_keys_do_not_go_to_another_port_of_the_same_host(call, seen, port):
    received = []

    async def answer(request):
        received.append(dict(request.headers))
        return web.Response()

    app = web.Application()
    app.router.add_get("/b", answer)
    async with TestServer(app, host=FRIEND) as other:
        await call(url_at(FRIEND, port, "/a", str(other.make_url("/b"))), headers=KEYS)
    assert len(received) == 1
    assert "s3cret" not in str(received)


@pytest.mark.parametrize(
    "url", ["ftp://me:s3cret@host/", "http://me:s3cret@[::1/", "http://me:s3cret@/", "http://me:s3cret@a..b/"]
)
async def test_an_error_shows_no_keys_of_the_url(failure, url):
    assert "s3cret" not in str(await failure(url))


async def test_ten_redirects_are_followed_and_an_eleventh_is_not(call, failure, seen, port):
    assert (await call(url_at(FRIEND, port, f"/hops/{MAX_REDIRECTS}")))["url"].endswith("/hops/0")
    error = await failure(url_at(FRIEND, port, f"/hops/{MAX_REDIRECTS + 1}"))
    assert (error.code, error.retryable) == ("http_error", False)
    assert "more than 10 times" in str(error)
    assert len(seen) == 2 * (MAX_REDIRECTS + 1)


async def test_length_and_form_of_the_body_are_not_for_the_author_to_say(call, seen, port):
    smuggled = "POST /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    headers = {"Content-Length": "0", "Connection": "keep-alive", "Upgrade": "h2c", "TE": "trailers"}
    await call(url_at(FRIEND, port, "/a"), method="POST", headers=headers, bodyType="raw", body=smuggled)
    await call(url_at(FRIEND, port, "/b"), headers={"Transfer-Encoding": "chunked"})
    assert seen == [f"{FRIEND} /a", f"{FRIEND} /b"]
    assert seen.bodies == [smuggled, ""]
    assert not {"upgrade", "te", "transfer-encoding"} & (seen.headers[0].keys() | seen.headers[1].keys())


@asynccontextmanager
async def raw_server(talk):
    """A server that says what `talk` writes, whatever it is asked."""

    async def connected(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            talking, caller_left = asyncio.ensure_future(talk(writer)), asyncio.ensure_future(reader.read())
            await asyncio.wait((talking, caller_left), return_when=asyncio.FIRST_COMPLETED)
            for task in (talking, caller_left):
                task.cancel()
            await asyncio.gather(talking, caller_left, return_exceptions=True)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, FRIEND, 0)
    try:
        yield f"http://{FRIEND}:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def says(*parts):
    async def talk(writer):
        for part in parts:
            writer.write(part)
            await writer.drain()

    return talk


def without_end(head, part, pause=0.0):
    async def talk(writer):
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return talk


HEAD = b"HTTP/1.1 200 OK\r\n"


def bomb(megabytes, wbits):
    """A packed body that unpacks to so many MiB of zeros: a block that stands for itself, again and again."""
    packer = zlib.compressobj(9, wbits=wbits)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * megabytes


PACKED = {
    "gzip": ("gzip", bomb(1024, 31)),
    "deflate": ("deflate", bomb(1024, 15)),
    "deflate without a head": ("deflate", bomb(1024, -15)),
    "gzip in many members": ("gzip", gzip.compress(bytes(1024 * 1024)) * 1000),
}


@pytest.mark.parametrize("name", PACKED)
async def test_a_body_that_unpacks_to_a_gibibyte_is_refused_as_soon_as_it_is_too_large(failure, name):
    encoding, body = PACKED[name]
    head = f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with raw_server(says(HEAD, head, body)) as url:
        tracemalloc.start()
        error = await failure(url)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (error.code, error.retryable) == ("too_large", False)
    assert f"{MAX_RESPONSE_BYTES:,}" in str(error)
    assert most < 4 * MAX_RESPONSE_BYTES


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_body_that_is_not_packed_as_it_says_is_a_clear_error(failure, encoding):
    head = f"Content-Encoding: {encoding}\r\nContent-Length: 8\r\n\r\n".encode()
    async with raw_server(says(HEAD, head, b"\xff" * 8)) as url:
        error = await failure(url)
    assert error.code == "http_error"
    assert encoding in str(error)


@pytest.mark.parametrize(
    "head", [b"\r\n", b"Content-Length: 999999999999999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_body_without_end_is_refused_at_the_limit(failure, head):
    part = bytes(65536) if b"chunked" not in head else b"10000\r\n" + bytes(65536) + b"\r\n"
    async with raw_server(without_end(HEAD + head, part)) as url:
        error = await failure(url)
    assert (error.code, error.retryable) == ("too_large", False)


DRIPS = {
    "a body": (HEAD + b"\r\n", b"x"),
    "a body of chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"x"),
    "a header": (HEAD + b"X-A: ", b"x"),
    "a status": (b"HTTP/1.1 200 ", b"O"),
    "nothing at all": (b"", b""),
    "beginnings of an answer": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.parametrize("name", DRIPS)
async def test_a_server_that_says_a_little_all_the_time_does_not_outlast_the_time_limit(failure, name):
    begun = time.monotonic()
    async with raw_server(without_end(*DRIPS[name], pause=0.01)) as url:
        error = await failure(url, timeout=0.3)
    assert (error.code, error.retryable) == ("timeout", True)
    assert time.monotonic() - begun < 10


async def test_the_time_limit_is_for_all_redirects_together(failure):
    async def slowly(writer):
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with raw_server(slowly) as url:
        assert (await failure(url, timeout=0.3)).code == "timeout"


HEADS = {
    "a large header": HEAD + b"X-A: " + b"x" * 20_000 + b"\r\n\r\n",
    "a header without end": HEAD + b"X-A: " + b"x" * 1_000_000,
    "a large name": HEAD + b"x" * 20_000 + b": a\r\n\r\n",
    "many headers": HEAD + b"X-A: x\r\n" * 1_000 + b"\r\n",
    "a large status line": b"HTTP/1.1 200 " + b"x" * 20_000 + b"\r\n\r\n",
    "a line that is no header": HEAD + b"nonsense\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a chunk that is no number": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n",
    "nul in a header": HEAD + b"X-A: \x00\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HEADS)
async def test_an_answer_that_is_not_http_or_too_much_of_it_is_a_clear_error(failure, name):
    async with raw_server(says(HEADS[name])) as url:
        error = await failure(url)
    assert error.code == "http_error"
    assert 10 < len(str(error)) < 1_000
    assert "url=" not in str(error)


@pytest.mark.parametrize(
    "charset",
    ["punycode", "idna", "undefined", "unicode_escape", "zlib_codec", "hex", "rot13", "mbcs", "../x", "x" * 900],
)
async def test_a_charset_that_is_none_of_the_web_is_read_as_utf_8_in_no_time(call, charset):
    body = b"a-" + b"0" * 1_000_000  # as punycode it takes minutes
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with raw_server(says(HEAD, head, body)) as url:
        begun = time.process_time()
        assert (await call(url))["body"] == body.decode()
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "charset", ["shift_jis", "windows-1251", "iso-8859-15", "gb18030", "euc-kr", "utf-16le", "koi8-r"]
)
async def test_a_charset_of_the_web_is_read_as_such(call, charset):
    text = {"shift_jis": "日本", "gb18030": "中文", "euc-kr": "한국", "iso-8859-15": "10 €"}.get(charset, "Привет")
    body = text.encode(charset)
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with raw_server(says(HEAD, head, body)) as url:
        assert (await call(url))["body"] == text


async def test_what_comes_with_a_redirect_is_not_read(call, seen, port):
    head = f"HTTP/1.1 302 Found\r\nLocation: {url_at(FRIEND, port, '/b')}\r\n\r\n".encode()
    async with raw_server(without_end(head, bytes(65536))) as url:
        assert (await call(url))["body"] == "hello"
    assert seen == [f"{FRIEND} /b"]


async def test_an_answer_that_wants_another_protocol_is_an_answer_without_body(call):
    head = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    async with raw_server(without_end(head, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 0.01)) as url:
        output = await call(url)
    assert (output["status"], output["body"]) == (101, "")


async def test_a_second_answer_is_not_taken_for_that_of_the_next_call(call):
    answers = iter([b"first", b"second"])

    async def twice(writer):
        body = next(answers)
        sent = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        writer.write(sent + HEAD + b"Content-Length: 6\r\n\r\nforged")
        await asyncio.Event().wait()  # until the caller leaves

    async with raw_server(twice) as url:
        assert [(await call(url))["body"] for _ in range(2)] == ["first", "second"]
