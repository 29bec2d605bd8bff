"""Text that a running step shows: in pieces, in order, cleaned, and without a wait for anybody."""

import asyncio
import json
from uuid import UUID

from melagent.domain.secrets import Redactor
from melagent.engine.live import (
    A_SECOND,
    KEPT_LINES,
    MAX_LINE_BYTES,
    PIECE_CHARACTERS,
    Backlog,
    Flow,
    Live,
    LiveLine,
    Watcher,
)
from tests.engine.executing import virtual

RUN, OTHER = UUID(int=1), UUID(int=2)


def piece(place, text, step="a", attempt=1):
    return LiveLine(RUN, step, attempt, place, {"text": text}, "token")


def line(number, step="a"):
    return LiveLine(RUN, step, 1, number, {"message": f"line {number}"})


def told(lines):
    return [(line.step_key, line.number, line.line.get("text") or line.line["message"]) for line in lines]


class Wire:
    """A broker that brings what one instance publishes to the others, when it is told to."""

    def __init__(self):
        self.sent, self.callbacks = [], {}

    def subscribe(self, topic, callback):
        self.callbacks[topic] = callback

    def publish(self, topic, message):
        self.sent.append((topic, message))


def plain(text):
    return text, ""


@virtual
async def test_tokens_of_a_tenth_of_a_second_become_one_piece():
    pieces, begun = [], asyncio.get_running_loop().time()
    flow = Flow(lambda place, text: pieces.append((asyncio.get_running_loop().time() - begun, place, text)), plain)
    for token in "abcdefgh":
        flow.add(token)
        await asyncio.sleep(0.03)
    await asyncio.sleep(1)
    flow.add("i")
    flow.close()
    assert "".join(text for *_, text in pieces) == "abcdefghi"
    texts = [text for *_, text in pieces]
    assert [place for _, place, _ in pieces] == [len("".join(texts[:number])) for number in range(len(texts))]
    assert len(pieces) <= 4
    assert pieces[0][0] <= 0.11


@virtual
async def test_nothing_is_shown_after_the_end():
    pieces = []
    flow = Flow(lambda place, text: pieces.append(text), plain)
    flow.add("a")
    flow.close()
    await asyncio.sleep(1)
    assert pieces == ["a"]


@virtual
async def test_secret_that_comes_in_pieces_is_not_shown():
    secret = "sk-s3cret-s3cret"
    for size in range(1, len(secret) + 3):
        pieces = []
        flow = Flow(lambda place, text, pieces=pieces: pieces.append((place, text)), Redactor([secret]).flowing)
        text = f"It is {secret}, or sk-s3cret-, {secret}{secret}! sk-"
        for start in range(0, len(text), size):
            flow.add(text[start : start + size])
            await asyncio.sleep(0.2)
        flow.close()
        shown = "".join(text for _, text in pieces)
        assert shown == "It is •••, or sk-s3cret-, ••••••! sk-"
        assert [place for place, _ in pieces] == [len(shown[: shown.index(text, place)]) for place, text in pieces]


async def test_text_is_told_to_watchers_here_and_elsewhere_and_to_nobody_else():
    here_wire, there_wire = Wire(), Wire()
    here, there = Live(here_wire), Live(there_wire)
    with here.watch(RUN) as near, there.watch(RUN) as far, here.watch(OTHER) as stranger:
        here.publish(piece(0, "Hello "))
        here.publish(piece(6, "world"))
        for topic, message in here_wire.sent:
            there_wire.callbacks[topic](message)
        for watcher in (near, far):
            assert watcher.stirred.is_set()
            assert told(watcher.take()) == [("a", 0, "Hello world")]
            assert not watcher.stirred.is_set()
        assert told(stranger.take()) == []


async def test_piece_for_others_fits_whatever_it_holds():
    wire = Wire()
    text = ("\x00" * 700) + ("🙂" * 700) + ('"\\' * 700)
    Live(wire).publish(piece(3, text))
    assert "".join(json.loads(message)[-1] for _, message in wire.sent) == text
    assert max(len(message.encode()) for _, message in wire.sent) <= MAX_LINE_BYTES
    assert max(len(json.dumps([topic, message])) for topic, message in wire.sent) < 7_500
    places = [json.loads(message)[3] for _, message in wire.sent]
    assert places == [3 + 500 * number for number in range(len(places))]


async def test_only_so_much_is_passed_on_a_second_and_log_lines_have_their_own_share():
    wire = Wire()
    live = Live(wire)
    for number in range(2 * A_SECOND["token"]):
        live.publish(piece(number, "x"))
    live.publish(line(0))
    topics = [topic for topic, _ in wire.sent]
    assert A_SECOND["token"] <= topics.count("text") <= 2 * A_SECOND["token"]
    assert topics[-1] == "live"


def test_pieces_that_nobody_has_taken_grow_together():
    backlog = Backlog(100)
    for place in range(0, 3_000, 10):
        backlog.add(piece(place, "x" * 10))
        backlog.add(piece(place, "y" * 10, step="b"))
    taken = backlog.take()
    assert len(taken) == 2
    for place in range(3_000, 9_000, 10):
        backlog.add(piece(place, "x" * 10))
    assert max(len(found.line["text"]) for found in backlog.take()) <= PIECE_CHARACTERS
    assert "".join(found.line["text"] for found in taken if found.step_key == "b") == "y" * 3_000
    assert backlog.take() == []
    assert not backlog


def test_order_of_text_and_log_lines_of_a_step_is_kept():
    backlog = Backlog(100)
    for one in (piece(0, "a"), piece(1, "b"), line(0), piece(2, "c"), line(0, step="b"), piece(3, "d")):
        backlog.add(one)
    assert told(backlog.take()) == [("a", 0, "ab"), ("a", 0, "line 0"), ("a", 2, "cd"), ("b", 0, "line 0")]


def test_backlog_of_a_watcher_who_sleeps_is_bounded_and_the_oldest_go():
    backlog = Backlog(KEPT_LINES)
    for place in range(KEPT_LINES + 5):
        backlog.add(piece(2 * place, "x"))  # none follows another
    taken = backlog.take()
    assert len(taken) == KEPT_LINES
    assert taken[0].number == 10


async def test_text_is_told_in_order_and_may_begin_anew():
    watcher = Watcher()
    heard = []
    for one in (piece(0, "ab"), piece(4, "ef"), piece(2, "cd"), piece(6, "g"), piece(0, "again"), piece(5, "!")):
        watcher.hear(one)
        heard += told(watcher.take())
    assert heard == [("a", 0, "ab"), ("a", 4, "ef"), ("a", 6, "g"), ("a", 0, "again"), ("a", 5, "!")]


async def test_nothing_is_told_of_an_attempt_whose_record_was_told():
    watcher = Watcher()
    watcher.recorded("a", 1)
    watcher.hear(piece(0, "late"))
    watcher.hear(piece(0, "next try", attempt=2))
    assert told(watcher.take()) == [("a", 0, "next try")]
