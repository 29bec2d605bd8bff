"""What a journal says about loops that have ended: nothing of them is left to do."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from melagent.domain.definition import Definition
from melagent.domain.loops import Regions
from melagent.domain.run import StepRecord, StepStatus
from melagent.engine.course import fold, opening

NOW = datetime(2026, 1, 1, tzinfo=UTC)

LOOP = Definition.model_validate(
    {
        "nodes": [
            {"id": "start", "type": "manual_trigger"},
            {"id": "each", "type": "for_each"},
            {"id": "a", "type": "noop"},
            {"id": "b", "type": "noop"},
            {"id": "slow", "type": "noop"},
            {"id": "both", "type": "merge"},
        ],
        "edges": [
            {"source": "start", "target": "each"},
            {"source": "start", "target": "slow"},
            {"source": "each", "source_handle": "item", "target": "a"},
            {"source": "a", "target": "b"},
            {"source": "each", "source_handle": "done", "target": "both"},
            {"source": "slow", "target": "both"},
        ],
    }
)


def journal(*lines, on_item_error="fail"):
    """Records from `key handle`, `key !` for a failure without a handle, and `key x` for a cancelled step."""
    opened = orjson.dumps(opening([1, 2], 2, on_item_error, distributed=False))
    return [record(line.split(), seq, opened) for seq, line in enumerate(lines, start=1)]


def record(parts, seq, opened):
    key, handle = parts[0], parts[1] if len(parts) > 1 else "out"
    status = {"!": StepStatus.FAILED, "x": StepStatus.CANCELLED}.get(handle, StepStatus.COMPLETED)
    node_id = key.split("[")[0].split("/")[0]
    handle = None if handle in "!x" or key.endswith("/items") else handle
    output = opened if key.endswith("/items") else b"1"
    return StepRecord(key, node_id, "x", status, 1, NOW, NOW, handle=handle, output=output, seq=seq)


def standing(steps):
    course, _ = fold(Regions.of(LOOP), "start", steps)
    over, failed = [loop.place.key for loop in course.over], [loop.place.key for loop, _ in course.failed]
    return sorted(place.key for place in course.ready), over, failed


ITEMS = ["start", "each/items", "a[0]", "b[0]", "a[1]"]


def test_a_loop_whose_items_have_all_ended_is_over_once():
    assert standing(journal(*ITEMS, "b[1]")) == (["slow"], ["each"], [])
    assert standing(journal(*ITEMS, "b[1]", "each done")) == (["slow"], [], [])


def test_a_loop_that_ended_makes_what_comes_after_it_ready_once_its_other_side_is_there():
    assert standing(journal(*ITEMS, "b[1]", "each done", "slow")) == (["both"], [], [])


@pytest.mark.parametrize("others", [(), ("b[1] x",)])
def test_a_loop_that_failed_and_was_saved_leaves_nothing_of_its_items(others):
    assert standing(journal(*ITEMS[:-1], "a[1] !")) == (["slow"], [], ["each"])
    assert standing(journal(*ITEMS[:-1], "a[1] !", *others, "each done")) == (["slow"], [], [])


def test_items_of_a_loop_that_goes_on_are_left_as_they_are():
    assert standing(journal(*ITEMS)) == (["b[1]", "slow"], [], [])
