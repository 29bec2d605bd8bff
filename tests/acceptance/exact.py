"""The proof after a load: the database and the outside world against what callers were answered."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from tests.builders import eventually, misplaced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.local.topology import Topology
    from tests.acceptance.load import Load
    from tests.acceptance.program import Counter

RUNS = """
SELECT r.id::text, r.status, r.input, r.attempt,
       ARRAY(SELECT s.step_key FROM steps s WHERE s.run_id = r.id AND s.status = 'completed' ORDER BY 1) AS recorded,
       ARRAY(SELECT node ->> 'id' FROM json_array_elements(v.definition -> 'nodes') AS node ORDER BY 1) AS expected
  FROM runs r JOIN versions v ON v.id = r.version_id
"""
"""Every node of these workflows runs, so their ids are the steps that must be there."""

CALLS = """
SELECT concat(run_id, ':', step_key) AS key, output FROM steps
 WHERE node_type = 'http_request' AND status = 'completed'
"""


@dataclass(frozen=True, slots=True)
class Exact:
    """How much was proved. `taken_over` runs had more than one lease; `repeated` calls were made once more."""

    runs: int
    taken_over: int
    steps: int
    calls: int
    repeated: int
    begun_before: int
    """Calls after the record, that somebody had begun before it and whom nobody could stop: see `check_exact`."""


async def nothing_live(cluster: Topology) -> bool:
    async with cluster.database() as conn:
        return not await conn.fetchval("SELECT (SELECT count(*) FROM work_items) + (SELECT count(*) FROM parked)")


async def check_exact(
    cluster: Topology,
    load: Load,
    outside: Counter | None = None,
    begun_before: Callable[[str, float], bool] = lambda _key, _at: False,
) -> Exact:
    """Each call has at most one run, each 2xx exactly one, which has completed with exactly the steps of its workflow.

    And no step was called again after the call that was recorded. A process that stood still between its decision to
    call and the call itself is the one exception that nobody can prevent: `begun_before` recognises such a call, by its
    key and time.
    """
    await eventually(lambda: nothing_live(cluster), seconds=120)
    async with cluster.database() as conn:
        runs = await conn.fetch(RUNS)
        unfinished = await conn.fetchval("SELECT count(*) FROM steps WHERE status <> 'completed'")
        recorded = {row["key"]: orjson.loads(row["output"])["body"]["call"] for row in await conn.fetch(CALLS)}
        assert await misplaced(conn) == []
    check_runs(load, runs)
    assert [run for run in runs if run["status"] != "completed" or run["recorded"] != run["expected"]] == []
    assert unfinished == 0
    late = calls_after_the_record(outside, recorded) if outside else []
    assert [call for call in late if not begun_before(*call)] == []
    return Exact(
        runs=len(runs),
        taken_over=sum(run["attempt"] > 1 for run in runs),
        steps=sum(len(run["recorded"]) for run in runs),
        calls=len(outside.keys) if outside else 0,
        repeated=len(outside.keys) - len(recorded) if outside else 0,
        begun_before=len(late),
    )


def check_runs(load: Load, runs: Sequence[Any]) -> None:
    """Runs are matched with calls by the number in their input."""
    by_number = defaultdict(list)
    for run in runs:
        by_number[orjson.loads(run["input"])["body"]["n"]].append(run["id"])
    assert load.wrong == []
    assert {n: found for n, found in by_number.items() if len(found) > 1 or not 0 < n <= load.sent} == {}
    assert [n for n in load.answered if n not in by_number] == []
    assert {n: run for n, run in load.accepted.items() if by_number[n] != [run]} == {}
    assert len(load.answered) == len(set(load.answered))


def calls_after_the_record(outside: Counter, recorded: dict[str, int]) -> list[tuple[str, float]]:
    """Keys and times of calls that came after the one whose answer is in the journal."""
    assert set(outside.keys) == set(recorded)
    numbered = zip(outside.keys, outside.times, range(1, len(outside.keys) + 1), strict=True)
    return [(key, at) for key, at, number in numbered if number > recorded[key]]
