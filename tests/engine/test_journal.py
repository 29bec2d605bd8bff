"""What gathers between a run and its sink: each step once, as last recorded, with all that goes along with it."""

from __future__ import annotations

import pytest

from melagent.domain.run import StepStatus
from melagent.domain.work import Settle
from melagent.engine.journal import MAX_STEPS, Journal
from tests.builders import COMPLETED, new_run, step
from tests.engine.executing import Sink, item


@pytest.fixture
def sink():
    return Sink(seconds=0.0)


@pytest.fixture
def journal(sink):
    return Journal(item(), sink, on_lost=lambda: pytest.fail("nobody has lost the lease"))


async def test_a_later_record_of_a_step_takes_the_place_of_an_earlier_one_and_keeps_what_went_along_with_it(
    journal, sink
):
    started, later = new_run(), new_run()
    journal.record(step("a", status=StepStatus.PENDING, output=None), taken=7, starts=started)
    journal.record(step("b"))
    journal.record(step("a", output=b"2"), taken=9, starts=later)
    await journal.settle(COMPLETED)
    (entry,) = sink.entries
    assert [(each.step_key, each.seq, each.output) for each in entry.steps] == [("a", 3, b"2"), ("b", 2, b"1")]
    assert (entry.starts, entry.taken) == ((started, later), (7, 9))
    assert (journal.steps, journal.size) == (4, len(b'{"a":1}') + 2)


async def test_what_goes_along_with_a_step_is_written_with_it_and_with_no_other(journal, sink):
    journal.take(1)
    for number in range(MAX_STEPS + 1):
        journal.record(step(f"s{number}"), taken=2 if number == MAX_STEPS else None)
    await journal.settle(Settle(COMPLETED.status))
    assert [(len(entry.steps), entry.taken, entry.settle is None) for entry in sink.entries] == [
        (MAX_STEPS, (1,), True),
        (1, (2,), False),
    ]
