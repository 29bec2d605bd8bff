"""When many have gone together, memory goes back to the system: once, and not while others are on their way out."""

from __future__ import annotations

import gc
import weakref

from melagent.realtime.ebb import GONE_TOGETHER, Ebb, give_back_memory


class Knot:
    def __init__(self):
        self.itself = self


def told(*counts):
    ebb = Ebb()
    return [ebb.told(count) for count in counts]


def test_many_that_are_gone_are_noticed_once():
    assert told(GONE_TOGETHER + 10, 10, 10, 10, 12) == [False, False, True, False, False]


def test_few_are_not():
    assert told(GONE_TOGETHER + 10, 11, 11, 11) == [False] * 4


def test_nobody_is_noticed_while_others_still_go():
    assert told(3 * GONE_TOGETHER, 2 * GONE_TOGETHER, GONE_TOGETHER, 0, 0) == [False] * 4 + [True]


def test_those_who_go_later_are_noticed_as_well():
    assert told(2 * GONE_TOGETHER, GONE_TOGETHER, GONE_TOGETHER, 0, 0) == [False, False, True, False, True]


def test_what_refers_to_itself_is_gone_afterwards():
    gc.disable()
    try:
        seen = weakref.ref(Knot())
        assert seen() is not None
        give_back_memory()
        assert seen() is None
    finally:
        gc.enable()
