"""What people see of workflows at a glance: their last runs, and what starts them next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store import activity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.store.activity import RecentRun
    from melagent.store.pool import Pool

RUNS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Activity:
    """`runs` are the newest, newest first. `armed`: something starts the workflow by itself."""

    runs: list[RecentRun]
    armed: bool
    next_fire_at: datetime | None


async def of(pool: Pool, workflow_ids: Sequence[UUID]) -> dict[UUID, Activity]:
    """The activity of each of these workflows."""
    async with pool.acquire() as conn:
        recent = await activity.recent_runs(conn, workflow_ids, RUNS_SHOWN)
        firings = await activity.next_firings(conn, workflow_ids)
    return {
        workflow_id: Activity(
            [run for run in recent if run.workflow_id == workflow_id], workflow_id in firings, firings.get(workflow_id)
        )
        for workflow_id in workflow_ids
    }
