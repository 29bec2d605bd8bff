"""What is on its way to a peer: bounded in bytes and in time, but for what it begins with."""

from __future__ import annotations

import pytest

from melagent.realtime.frames import Close, Closing
from melagent.realtime.outbox import FULL_SECONDS, MAX_BACKLOG_BYTES, STALLED_SECONDS, Outbox
from melagent.realtime.peer import BURST, PATIENCE_SECONDS, Pace

MIB = 1024 * 1024


class Wire:
    """A transport whose other end takes as much as it is told to."""

    def __init__(self):
        self.left = 0
        self.closing = False

    def write(self, data):
        self.left += len(data)

    def take(self, size):
        self.left = max(0, self.left - size)

    def get_write_buffer_size(self):
        return self.left

    def is_closing(self):
        return self.closing


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def outbox(wire):
    return Outbox(wire, 0.0)


def test_a_peer_that_reads_gets_any_amount(outbox, wire):
    for _ in range(50):
        assert outbox.write(b"x" * (MIB // 2))
        wire.take(MIB)
    assert outbox.backlog == 0


def test_how_much_comes_at_once_does_not_matter(outbox, wire):
    assert outbox.write(b"x" * 3 * MIB)
    assert not outbox.write(b"x")
    wire.take(2 * MIB + 1)
    assert outbox.write(b"x" * 3 * MIB)


def test_a_mebibyte_before_a_peer_for_five_seconds_is_too_much_even_if_it_takes_some(outbox, wire):
    outbox.write(b"x" * 3 * MIB)
    for second in range(int(FULL_SECONDS) + 1):
        assert not outbox.is_stalled(float(second))
        wire.take(1_000)
    assert outbox.is_stalled(FULL_SECONDS + 1.0)


def test_a_peer_that_has_taken_most_of_it_meanwhile_may_stay(outbox, wire):
    outbox.write(b"x" * 3 * MIB)
    for second in range(60):
        wire.take(MIB)
        assert not outbox.is_stalled(float(second))


def test_more_than_a_mebibyte_before_a_peer_is_too_much_and_is_not_sent(outbox, wire):
    assert outbox.write(b"x" * MAX_BACKLOG_BYTES)
    assert not outbox.write(b"x")
    assert wire.left == MAX_BACKLOG_BYTES
    wire.take(1)
    assert outbox.write(b"x")


def test_what_a_peer_begins_with_does_not_count(outbox, wire):
    outbox.write_first(b"x" * 10 * MIB)
    assert outbox.backlog == 0
    assert outbox.write(b"x" * MIB)
    assert not outbox.write(b"x")
    wire.take(9 * MIB)
    assert outbox.backlog == MIB
    wire.take(MIB + MIB // 2)  # the first load, and half of the rest
    assert outbox.backlog == MIB // 2
    assert outbox.write(b"x" * (MIB // 2))
    assert not outbox.write(b"x")


def test_a_peer_that_takes_nothing_for_ten_seconds_is_stalled(outbox, wire):
    outbox.write(b"x" * 1_000)
    assert not outbox.is_stalled(1.0)
    assert not outbox.is_stalled(STALLED_SECONDS)
    assert outbox.is_stalled(STALLED_SECONDS + 1.1)


def test_one_that_takes_a_little_now_and_then_is_not(outbox, wire):
    outbox.write(b"x" * 1_000)
    for second in range(60):
        if second % 9 == 0:
            wire.take(1)
        assert not outbox.is_stalled(float(second))


def test_one_to_whom_nothing_is_sent_is_not(outbox):
    assert not outbox.is_stalled(1_000.0)


def test_nothing_is_written_to_a_closing_transport_and_nobody_is_blamed(outbox, wire):
    wire.closing = True
    assert outbox.write(b"x" * 10 * MIB)
    outbox.write_first(b"x")
    assert wire.left == 0


def test_a_hundred_edits_at_once_and_fifty_a_second_are_read_without_a_pause():
    pace = Pace(0.0)
    assert [pace.spend(1.0, 0.0) for _ in range(int(BURST))] == [0.0] * int(BURST)
    pauses = [pace.spend(1.0, 0.02 * number) for number in range(1, 500)]
    assert max(pauses) < 1e-6


def test_faster_ones_are_read_slower_and_then_not_any_more():
    code, now = flood(Pace(0.0), patience=0.5)
    assert code == Close.TOO_FAST
    assert PATIENCE_SECONDS < now < PATIENCE_SECONDS + 5


def flood(pace, patience):
    """With which code, and when, a peer is closed that never stops, but waits for a part of the time it is told."""
    now = 0.0
    try:
        while now < 60:
            now += pace.spend(1.0, now) * patience
    except Closing as closing:
        return closing.code, now
    return None, now


def test_one_that_slows_down_may_stay():
    pace = Pace(0.0)
    for _ in range(10):
        for _ in range(120):
            pace.spend(1.0, 0.0)
    pause = pace.spend(1.0, 0.0)
    assert pause > 0
    assert pace.spend(1.0, pause + 5) == 0.0
    assert pace.spend(1.0, 100.0) == 0.0


def test_a_peer_that_waits_as_long_as_it_is_told_is_still_too_fast_when_it_never_stops():
    code, _ = flood(Pace(0.0), patience=1.0)
    assert code == Close.TOO_FAST
