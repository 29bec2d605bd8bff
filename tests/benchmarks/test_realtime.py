"""The swarm must notice what is lost, doubled or wrong: a benchmark that cannot fail measures nothing."""

import asyncio

import pytest
from aiohttp import web

from benchmarks.figures import quantile
from benchmarks.realtime import frames
from benchmarks.realtime.dialects import MARK, UPDATE_BYTES, Hocuspocus, Ours, Seat, SocketIo, mark
from benchmarks.realtime.measures import STEPS, begin_at, passed
from benchmarks.realtime.swarm import Swarm


@pytest.fixture
def hub(aiohttp_server):
    """A hub that speaks the wire of Socket.IO and hands updates to the others as often as a function says."""

    async def start(times=lambda _text: 1):
        rooms = {}

        async def connect(request):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str('0{"sid":"s"}')
            async for message in socket:
                await told(socket, message.data)
            return socket

        async def told(socket, text):
            if text == "40":
                await socket.send_str('40{"sid":"s"}')
            elif text.startswith("420"):
                rooms.setdefault(text, set()).add(socket)
                await socket.send_str("430[true]")
            elif text.startswith("42"):
                members = next(members for members in rooms.values() if socket in members)
                for other in members - {socket}:
                    for _ in range(times(text)):
                        await other.send_str(text)

        app = web.Application()
        app.router.add_get("/socket.io/", connect)
        server = await aiohttp_server(app)
        return f"127.0.0.1:{server.port}"

    return start


@pytest.fixture
async def swarm():
    swarm = Swarm("socketio", "")
    yield swarm
    await swarm.close()


async def delivered(swarm, address):
    await swarm.connect(0, ["one", "two"], [address])
    return await swarm.deliver(rate=200, seconds=0.2, warm=0.0)


async def test_everything_that_is_sent_is_counted_at_everybody_else(hub, swarm):
    figures = await delivered(swarm, await hub())
    assert figures["sent"] == 40
    assert figures["delivered"] == 40 * 9
    assert (figures["missing"], figures["wrong"], figures["faults"]) == (0, 0, [])
    assert sum(figures["same"].values()) + sum(figures["cross"].values()) == 40 * 9


async def test_an_update_that_is_lost_is_missing(hub, swarm, monkeypatch):
    monkeypatch.setattr("benchmarks.realtime.swarm.SETTLE_SECONDS", 0.1)
    first = []
    figures = await delivered(swarm, await hub(lambda text: 0 if text in first or not first.append(text) else 1))
    assert figures["missing"] > 0


async def test_an_update_that_comes_twice_is_wrong(hub, swarm):
    figures = await delivered(
        swarm, await hub(lambda text: 2 if MARK.search(text.encode())[1].startswith(b"0000001") else 1)
    )
    assert figures["wrong"] > 0


async def test_one_update_instead_of_another_is_wrong(hub, swarm):
    """The count is right then, the sum is not."""
    await swarm.connect(0, ["one"], [await hub()])
    await swarm.deliver(rate=50, seconds=0.2, warm=0.0)
    swarm._sockets[0].seat.sum += 1
    assert swarm._proved() == (0, 1)


async def test_a_socket_that_is_closed_is_lost(hub, swarm):
    await swarm.connect(0, ["one"], [await hub()])
    swarm._sockets[0]._transport.abort()
    await asyncio.wait_for(swarm._sockets[0].lost, 10)
    assert swarm.count() == {"open": 9, "lost": 1, "faults": []}


@pytest.mark.parametrize("dialect", [Ours("key"), SocketIo(), Hocuspocus()])
@pytest.mark.parametrize("number", [1, 2, 1000])
def test_updates_carry_one_mark_and_are_of_the_same_size(dialect, number):
    seat = Seat(7, "room", number=number)
    update = dialect.update(seat, mark(7, number, 1234567890123))
    assert MARK.findall(update) == [(b"%012d" % (number * 100_000 + 7), b"1234567890123")]
    assert UPDATE_BYTES <= len(update) <= UPDATE_BYTES + 40


@pytest.mark.parametrize("size", [5, 125, 126, 65_535])
def test_frames_are_found_again_and_halves_of_their_heads_are_not(size):
    frame = frames.sent(frames.TEXT, b"x" * size)
    unmasked = frame[:1] + bytes([frame[1] & 0x7F]) + frame[2:].replace(frames.NO_MASK, b"", 1)
    start, stop = frames.bounds(b"??" + unmasked, 2)
    assert (b"??" + unmasked)[start:stop] == b"x" * size
    assert frames.bounds(unmasked[:1], 0) is None


def test_a_step_counts_when_all_came_in_time():
    good = {"missing": 0, "lost": 0, "faults": [], "deliveries": 990, "wanted_deliveries": 1000, "all": {"p99_ms": 100}}
    assert passed(good)
    for change in (
        {"missing": 1},
        {"lost": 1},
        {"faults": ["x"]},
        {"deliveries": 970},
        {"all": {"p99_ms": 101}},
        {"all": {}},
    ):
        assert not passed(good | change)


def test_later_rounds_begin_below_what_was_reached():
    assert begin_at(0) == begin_at(STEPS[2]) == 0
    assert begin_at(STEPS[5]) == 2


def test_quantiles_of_counted_values():
    assert [quantile({10: 98, 20: 1, 30: 1}, share) for share in (0.5, 0.98, 0.99, 1.0)] == [10, 10, 20, 30]
