"""What is measured of each contender, one function for each. Rates are deliveries to others a second."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.realtime.dialects import ROOM
from benchmarks.realtime.proofs import prove
from benchmarks.realtime.swarms import swarms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.realtime.contenders import Contender
    from benchmarks.realtime.swarms import Swarms

STEPS = (4_500, 9_000, 13_500, 18_000, 22_500, 27_000, 31_500, 36_000, 40_500, 45_000, 54_000, 63_000, 72_000, 81_000,
         90_000, 99_000, 108_000, 126_000, 144_000, 162_000)  # fmt: skip
"""Deliveries a second that are tried one after the other, the same for all."""

P99_MS = 100.0
KEPT = 0.98
"""The swarm has to have kept its plan by this much, or the step says nothing about who was measured."""

BEGIN_BELOW = 3
"""Rounds after the first begin so many steps below what the round before reached."""

SETTLE_SECONDS = 5.0
GONE_SECONDS = 60.0
OPEN = ("rooms", "peers")
KILL_AFTER_SECONDS = 2.0
FOLLOW_SECONDS = 10.0
FOLLOW_RATE = 100.0
"""Updates a second of all together while an instance is killed."""


async def delivery(contender: Contender, sockets: int, deliveries: float, seconds: float) -> dict[str, Any]:
    """How long updates take, to peers of the same instance and of the other one, at a rate."""
    async with swarms(contender, sockets) as swarm:
        rooms = await contender.rooms(sockets // ROOM)
        connected = await swarm.connect(rooms, contender.addresses)
        figures = await _delivered(contender, swarm, deliveries, seconds)
        figures["connect_seconds"] = round(connected, 2)
        await swarm.ask(do="close")
        if not figures["missing"]:
            figures["proof"] = await prove(contender, rooms, figures["sent_in_all"])
        return figures


async def highest(contender: Contender, sockets: int, seconds: float, begin_at: int = 0) -> dict[str, Any]:
    """The last step at which everything was delivered, and 99 of 100 within 100 ms; `steps` are all that were tried."""
    tried: list[dict[str, Any]] = []
    async with swarms(contender, sockets) as swarm:
        rooms = await contender.rooms(sockets // ROOM)
        await swarm.connect(rooms, contender.addresses)
        reached = 0
        for wanted in STEPS[begin_at:]:
            figures = await _delivered(contender, swarm, wanted, seconds)
            tried.append(figures)
            if not passed(figures):
                break
            reached = wanted
            print(f"    {contender.name}: {wanted}/s, p99 {figures['all']['p99_ms']} ms", file=sys.stderr, flush=True)
        sent = tried[-1]["sent_in_all"]
        await swarm.ask(do="close")
        proof = None if tried[-1]["missing"] else await prove(contender, rooms, sent)
    return {"deliveries": reached, "steps": tried, "proof": proof}


async def _delivered(contender: Contender, swarm: Swarms, deliveries: float, seconds: float) -> dict[str, Any]:
    """The figures of a rate, with the share of a core that each instance took, and what ours counted."""
    cpu, counts = contender.cpu_seconds(), await contender.counts()
    figures = await swarm.deliver(deliveries / (ROOM - 1), seconds)
    took = figures["sent"] * (ROOM - 1) / max(1, figures["deliveries"])
    spent = [after - before for after, before in zip(contender.cpu_seconds(), cpu, strict=True)]
    figures["cpu_share"] = [round(each / took, 2) for each in spent]
    after = await contender.counts()
    return figures | {"counts": {name: round(after[name] - counts[name], 3) for name in after if name not in OPEN}}


def passed(figures: dict[str, Any]) -> bool:
    """Whether a step counts."""
    whole = not figures["missing"] and not figures["lost"] and not figures["faults"]
    kept = figures["deliveries"] >= KEPT * figures["wanted_deliveries"]
    return whole and kept and figures["all"].get("p99_ms", P99_MS + 1) <= P99_MS


def begin_at(reached: int) -> int:
    """Where a round begins after one that reached so much."""
    return max(0, STEPS.index(reached) - BEGIN_BELOW) if reached else 0


async def resting(contender: Contender, sockets: int, seconds: float) -> dict[str, Any]:
    """Memory of a connection on which nothing happens, through nginx; none of them may be lost."""
    async with swarms(contender, sockets) as swarm:
        rooms = await contender.rooms(sockets // ROOM)
        await _warmed_up(swarm, contender, rooms)
        before = contender.rss_bytes()
        connected = await swarm.connect(rooms, [contender.nginx])
        await asyncio.sleep(seconds)
        counted = await swarm.ask(do="count")
        is_open, after = sum(part["open"] for part in counted), contender.rss_bytes()
        await swarm.ask(do="close")
    return {
        "sockets": sockets,
        "seconds": seconds,
        "connect_seconds": round(connected, 2),
        "open": is_open,
        "lost": sum(part["lost"] for part in counted),
        "kib_per_connection": round((after - before) / sockets / 1024, 1),
    }


async def many(contender: Contender, sockets: int, seconds: float) -> dict[str, Any]:
    """Three times so many sockets on one instance: opened, left alone, closed. Memory after each time."""
    rooms, batches = await contender.rooms(sockets // ROOM), []
    begun = contender.rss_bytes()
    for _ in range(3):
        async with swarms(contender, sockets) as swarm:
            before = contender.rss_bytes()
            connected = await swarm.connect(rooms, contender.addresses[:1])
            await asyncio.sleep(seconds)
            counted = await swarm.ask(do="count")
            held = contender.rss_bytes()
            await swarm.ask(do="close")
        await _gone(contender)
        batches.append(
            {
                "connect_seconds": round(connected, 2),
                "open": sum(part["open"] for part in counted),
                "lost": sum(part["lost"] for part in counted),
                "kib_per_connection": round((held - before) / sockets / 1024, 1),
                "rss_mb_after": round(contender.rss_bytes() / 1e6, 1),
            }
        )
    growth = batches[2]["rss_mb_after"] / batches[0]["rss_mb_after"]
    return {"sockets": sockets, "rss_mb_before": round(begun / 1e6, 1), "batches": batches, "growth": round(growth, 4)}


async def killed(contender: Contender, sockets: int) -> dict[str, Any]:
    """How long after an instance was killed everybody is back, and has what was sent until then. Ends the contender."""
    async with swarms(contender, sockets) as swarm:
        rooms = await contender.rooms(sockets // ROOM)
        await swarm.connect(rooms, contender.addresses)
        await asyncio.sleep(SETTLE_SECONDS)
        rate = FOLLOW_RATE / len(swarm.processes)
        following = asyncio.create_task(
            swarm.ask(FOLLOW_SECONDS, do="follow", rate=rate, seconds=FOLLOW_SECONDS, addresses=contender.addresses)
        )
        await asyncio.sleep(KILL_AFTER_SECONDS)
        at_us = time.monotonic_ns() // 1000
        await contender.kill_second()
        parts = await following
        sent = sum(part["sent"] for part in parts)
        await swarm.ask(do="close")
    missing = sum(part["missing"] for part in parts)
    return {
        "sockets": sockets,
        "joined": sum(part["joined"] for part in parts),
        "returned": sum(part["returned"] for part in parts),
        "back_seconds": round((max(part["back_at"] for part in parts) - at_us) / 1e6, 3),
        "in_step_seconds": round((max(part["in_step_at"] for part in parts) - at_us) / 1e6, 3),
        "sent": sent,
        "missing": missing,
        "faults": [fault for part in parts for fault in part["faults"]][:5],
        "proof": await prove(contender, rooms, None) if contender.cluster else None,
    }


async def _warmed_up(swarm: Swarms, contender: Contender, rooms: Sequence[str]) -> None:
    """Open and close once, so that what comes with the first sockets is not counted."""
    await swarm.connect(rooms, [contender.nginx])
    await swarm.ask(do="close")
    await _gone(contender)


async def _gone(contender: Contender) -> None:
    """Wait until an instance has no peers and rooms any more, as far as it tells."""
    until = time.monotonic() + GONE_SECONDS
    while time.monotonic() < until and await _is_open(contender):  # noqa: ASYNC110  # it is another process
        await asyncio.sleep(1.0)
    await asyncio.sleep(SETTLE_SECONDS)


async def _is_open(contender: Contender) -> bool:
    counts = await contender.counts()
    return any(counts.get(of) for of in OPEN)
