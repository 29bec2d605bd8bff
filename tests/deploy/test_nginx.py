"""The nginx configurations as they stand in `deploy/nginx`, in front of servers that watch what reaches them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO

import aiohttp
import pytest
from aiohttp import web

from deploy.local.topology import free_port
from tests.builders import eventually
from tests.deploy.proxy_server import NGINX, configuration, nginx

MIB = 1024 * 1024
CONFIGURATIONS = ["nginx.conf", "round-robin.conf", "least-conn.conf", "realtime.conf"]
API = {"127.0.0.2", "127.0.0.3", "127.0.0.4"}
REALTIME = {"127.0.0.5", "127.0.0.6"}


class Names(asyncio.DatagramProtocol):
    """A name server that knows `api` and `realtime` as Docker's knows services: a name without addresses is none."""

    def __init__(self):
        self.addresses = []
        self.realtime = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        question = data[12 : data.index(b"\0", 12) + 5]
        addresses = self.realtime if question.startswith(b"\x08realtime") else self.addresses
        header = data[:2] + struct.pack(">5H", 0x8180 if addresses else 0x8183, 1, len(addresses), 0, 0)
        answers = [
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 600, 4) + socket.inet_aton(address) for address in addresses
        ]
        self.transport.sendto(header + question + b"".join(answers), addr)


@dataclass
class Instance:
    """Stands where an API instance would; remembers the requests that it did not answer."""

    address: str
    breaks: bool = False
    has_file: bool = False
    stops: bool = False
    broken: list = field(default_factory=list)
    seen_by_client: asyncio.Event = field(default_factory=asyncio.Event)
    runner: web.AppRunner | None = None

    async def who(self, request):
        await request.read()
        if self.breaks:
            self.broken.append(request.method)
            request.transport.abort()
        return web.Response(text=self.address)

    async def size(self, request):
        return web.Response(text=str(len(await request.read())))

    async def file(self, request):
        return web.Response(text=self.address, status=200 if self.has_file else 404)

    async def events(self, request):
        """One event, and the end only when the client has it: a proxy that buffers would wait for ever."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        async with asyncio.timeout(60):
            await self.seen_by_client.wait()
        return response

    async def socket(self, request):
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.send_str(await opened.receive_str())
        return opened

    async def live(self, request):
        """Live editing: who answers; an instance that stops lets nobody in."""
        if self.stops:
            return web.Response(status=503)
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.send_str(self.address)
        await opened.receive()
        return opened

    async def listen(self, port):
        app = web.Application(client_max_size=20 * MIB)
        app.router.add_route("*", "/who", self.who)
        app.router.add_get("/assets/a.js", self.file)
        app.router.add_get("/api/a.js", self.file)
        app.router.add_post("/size", self.size)
        app.router.add_get("/events", self.events)
        app.router.add_get("/socket", self.socket)
        app.router.add_get("/api/ws/workflows/{id}", self.live)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.address, port).start()

    async def stop(self):
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


@dataclass
class Proxy:
    instances: list
    realtime: list
    names: Names
    folder: object
    port: int
    session: aiohttp.ClientSession

    async def who(self, method="GET"):
        async with self.session.request(method, f"http://127.0.0.1:{self.port}/who", data=b"") as response:
            return await response.text() if response.status == 200 else response.status

    async def open(self):
        """A socket of live editing, and the address of the instance that it is on."""
        opened = await self.session.ws_connect(f"http://127.0.0.1:{self.port}/api/ws/workflows/1")
        return opened, await opened.receive_str()

    async def taking(self):
        """The instances on which sockets land, and how many."""
        opened = [await self.open() for _ in range(20)]
        for each, _ in opened:
            await each.close()
        return Counter(address for _, address in opened)

    async def answering(self):
        return {await self.who() for _ in range(40)}


@pytest.fixture
def configured():
    return "nginx.conf"


@pytest.fixture
async def proxy(configured, tmp_path):
    """The file named, in an nginx in front of three API instances that listen on one port of addresses of their own.

    Two realtime instances run, of which only `realtime.conf` knows before the name server does.
    """
    loop = asyncio.get_running_loop()
    instances = [Instance(address) for address in sorted(API)]
    realtime = [Instance(address) for address in sorted(REALTIME)]
    names_port, port, instance_port = free_port(), free_port(), free_port()
    changes = [
        ("resolver 127.0.0.11 ", f"resolver 127.0.0.1:{names_port} "),
        ("$api:8080", f"$api:{instance_port}"),
        ("$realtime:8090", f"$realtime:{instance_port}"),
        *((f"realtime-{number}:8090", f"127.0.0.{number + 4}:{instance_port}") for number in (1, 2)),
        *((f"api-{number}:8080", f"127.0.0.{number + 1}:{instance_port}") for number in (1, 2, 3)),
    ]
    async with AsyncExitStack() as stack:
        transport, names = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", names_port))
        stack.callback(transport.close)
        names.addresses = [instance.address for instance in instances]
        for instance in (*instances, *realtime):
            await instance.listen(instance_port)
            stack.push_async_callback(instance.stop)
        text = (NGINX / configured).read_text()
        path = configuration(text, tmp_path, listen=f"127.0.0.1:{port}", changes=changes)
        await stack.enter_async_context(nginx(path, port))
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)))
        yield Proxy(instances, realtime, names, tmp_path, port, session)


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_requests_go_to_all_instances_and_the_access_log_says_to_which(proxy):
    assert await proxy.answering() == API

    def logged():
        text = (proxy.folder / "access.log").read_text()
        return all(f"upstream={instance.address}:" in text for instance in proxy.instances)

    await eventually(logged)


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_a_post_that_reached_an_instance_is_never_repeated_and_a_get_is(proxy):
    for instance in proxy.instances[:2]:
        instance.breaks = True
    answers = [await proxy.who("POST") for _ in range(30)]
    posts = [method for instance in proxy.instances for method in instance.broken]
    assert 0 < answers.count(502) == posts.count("POST")
    assert set(answers) == {502, "127.0.0.4"}
    assert {await proxy.who("GET") for _ in range(30)} == {"127.0.0.4"}


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_a_post_that_could_not_be_delivered_goes_to_another_instance(proxy):
    await proxy.instances[0].stop()
    assert {await proxy.who("POST") for _ in range(30)} == {"127.0.0.3", "127.0.0.4"}


async def test_instances_that_come_and_go_are_noticed_while_nginx_runs(proxy):
    async def follows_the_names():
        return await proxy.answering() == set(proxy.names.addresses)

    await eventually(follows_the_names)
    for now in (["127.0.0.2"], ["127.0.0.3", "127.0.0.4"]):
        proxy.names.addresses = now
        await eventually(follows_the_names)


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_a_file_of_the_editor_comes_from_whichever_instance_has_it_and_nothing_else_is_asked_twice(proxy):
    async def answers(path):
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(status(path)) for _ in range(12)]
        return {task.result() for task in asked}

    async def status(path):
        async with proxy.session.get(f"http://127.0.0.1:{proxy.port}{path}") as response:
            return response.status

    proxy.instances[1].has_file = True
    assert await answers("/assets/a.js") == {200}
    assert await answers("/api/a.js") == {200, 404}
    proxy.instances[1].has_file = False
    assert await answers("/assets/a.js") == {404}


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_events_arrive_while_their_stream_is_open(proxy):
    async with proxy.session.get(f"http://127.0.0.1:{proxy.port}/events") as response:
        assert await response.content.readline() == b"data: 1\n"
        for instance in proxy.instances:
            instance.seen_by_client.set()


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_a_websocket_passes(proxy):
    async with proxy.session.ws_connect(f"http://127.0.0.1:{proxy.port}/socket") as opened:
        await opened.send_str("hello")
        assert await opened.receive_str() == "hello"


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_sockets_of_live_editing_are_spread_over_all_that_take_them(proxy, configured):
    assert set(await proxy.taking()) == (REALTIME if configured == "realtime.conf" else API)


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_a_socket_that_an_instance_does_not_take_any_more_goes_to_another_at_once(proxy, configured):
    for instance in (proxy.instances[0], proxy.realtime[0]):
        instance.stops = True
    taking = await proxy.taking()
    assert set(taking) == ({"127.0.0.6"} if configured == "realtime.conf" else {"127.0.0.3", "127.0.0.4"})


async def test_sockets_go_to_the_realtime_service_when_it_comes_and_back_when_it_goes(proxy):
    async def sockets_and_calls():
        return set(await proxy.taking()), await proxy.answering()

    async def are_apart():
        return await sockets_and_calls() == (REALTIME, API)

    async def are_together():
        return await sockets_and_calls() == (API, API)

    await eventually(are_together)
    proxy.names.realtime = sorted(REALTIME)
    await eventually(are_apart)
    for instance in proxy.realtime:
        await instance.stop()  # killed: the name is still known
    assert await sockets_and_calls() == (API, API)
    proxy.names.realtime = []
    await eventually(are_together)


@pytest.mark.parametrize("configured", ["realtime.conf"])
async def test_instances_known_by_name_take_sockets_when_no_realtime_instance_is_there(proxy):
    for instance in proxy.realtime:
        await instance.stop()
    assert set(await proxy.taking()) == API


@pytest.mark.parametrize("configured", ["least-conn.conf", "realtime.conf"])
async def test_the_instance_with_the_fewest_sockets_gets_the_next_ones(proxy):
    opened = [await proxy.open() for _ in range(12)]
    gone = opened[0][1]
    for each, address in opened:
        if address == gone:
            await each.close()
    left = sum(address != gone for _, address in opened)
    share = left // len({address for _, address in opened if address != gone})
    assert {address for _, address in [await proxy.open() for _ in range(share)]} == {gone}


@pytest.mark.parametrize("configured", CONFIGURATIONS)
async def test_what_the_api_takes_passes_and_much_more_does_not(proxy):
    async with proxy.session.post(f"http://127.0.0.1:{proxy.port}/size", data=BytesIO(bytes(11 * MIB))) as response:
        assert await response.text() == str(11 * MIB)
    async with proxy.session.post(f"http://127.0.0.1:{proxy.port}/size", data=BytesIO(bytes(13 * MIB))) as response:
        assert response.status == 413


def test_the_time_limits_are_longer_than_any_answer_of_the_api():
    text = (NGINX / "proxy.conf").read_text()
    assert "proxy_read_timeout 75s;" in text  # over 60 s of waiting for a run, 30 s for work, 15 s between events
