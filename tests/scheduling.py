"""Workflows with schedules, deployed, and ways to let their time come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from melagent.domain.definition import Definition
from melagent.registry import Registry
from melagent.services import versions, workflows
from melagent.vault import Vault

if TYPE_CHECKING:
    from uuid import UUID

REGISTRY, VAULT = Registry.builtin(), Vault(())
HALF_A_MINUTE = timedelta(seconds=30)


def minutely() -> str:
    """Once a minute, and never while a test lasts: its next moment is half a minute away, whenever that test runs."""
    return f"{(datetime.now(UTC) + HALF_A_MINUTE).second} * * * * *"


def schedule(node_id: str = "clock", **config: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "schedule", "config": {"cron": minutely()} | config}


def timer(node_id: str = "clock", **config: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "timer", "config": {"every": 60, "unit": "seconds"} | config}


def definition(*nodes: dict[str, Any], **settings: Any) -> Definition:
    return Definition.model_validate({"nodes": nodes, "settings": settings})


async def new_workflow(pool: Any, name: str = "scheduled") -> UUID:
    return (await workflows.create(pool, name, "", Definition())).id


async def deploy(pool: Any, workflow_id: UUID, *nodes: dict[str, Any], **settings: Any) -> Any:
    """Deploy a new version of a workflow with these nodes."""
    made = await versions.create(
        pool, workflow_id, name="v", description="", definition=definition(*nodes, **settings), created_by="tests"
    )
    return (await versions.deploy(pool, REGISTRY, VAULT, workflow_id, made)).version


async def deployed(pool: Any, *nodes: dict[str, Any], **settings: Any) -> UUID:
    """The id of a new workflow with these nodes, deployed."""
    workflow_id = await new_workflow(pool)
    await deploy(pool, workflow_id, *nodes, **settings)
    return workflow_id


async def triggers(pool: Any) -> dict[str, Any]:
    """All rows of triggers by their node, or by their name when they have none."""
    rows = await pool.fetch("SELECT * FROM triggers")
    return {row["node_id"] or row["name"]: row for row in rows}


async def trigger(pool: Any) -> Any:
    """The only one."""
    (found,) = (await triggers(pool)).values()
    return found


async def let_pass(pool: Any, time: timedelta, *node_ids: str) -> None:
    """As if so much time had passed for schedules: all that they know lies so much further back."""
    await pool.execute(
        "UPDATE triggers SET since = since - $1::interval, planned_at = planned_at - $1::interval,"
        " next_fire_at = next_fire_at - $1::interval WHERE cardinality($2::text[]) = 0 OR node_id = ANY ($2)",
        time, list(node_ids),
    )  # fmt: skip


async def firings(pool: Any) -> list[tuple[UUID, Any]]:
    """The planned moments that have a run, with their triggers."""
    rows = await pool.fetch("SELECT trigger_id, scheduled_for FROM runs WHERE scheduled_for IS NOT NULL ORDER BY 1, 2")
    return [(row["trigger_id"], row["scheduled_for"]) for row in rows]
