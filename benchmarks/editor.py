"""The editor in a browser: how soon it is there, what a drag costs, and how soon a colleague sees an edit.

Debian's Chromium opens it through nginx, at two instances in turns. What is measured in the page itself is described in
web/browser/measure.mjs; the bars are those of a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import statistics
import sys
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks import machine
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import ROOT
from deploy.local.topology import topology

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.outcome import Options
    from deploy.local.topology import Topology

EMAIL, PASSWORD = "measures@example.com", "correct horse battery"
SECONDS = 170

FIRST_LOAD_KIB = 300
FIRST_DRAG_MS = 1_500
FRAME_MS, TASK_MS = 8, 50
SEEN_MS = 100
BARRED = ("one, all in view", "one, at full size")
"""The drags that have a bar; that of all nodes at once is measured beside them."""

COLUMNS = 25
ACROSS, DOWN = 300, 120
TYPES = ("set", "log", "if", "transform", "noop")


async def editor(folder: Path, options: Options) -> Outcome:
    """Of the starts, the median counts; of frames and edits, the 95th percentile."""
    await _web("--again")
    settings = {"MEL_ADMIN_EMAIL": EMAIL, "MEL_ADMIN_PASSWORD": PASSWORD}
    async with topology(apis=2, workers=0, redis=False, **settings) as cluster:
        measured = await _measured(cluster, folder / "measured.json", options.rounds)
        postgres = await machine.postgres(cluster.dsn)
    return Outcome(_rows(measured), _goals(measured), postgres, measured)


async def _measured(cluster: Topology, out: Path, rounds: int) -> dict[str, Any]:
    """What the browser has seen, and the size of what it loads first."""
    given = {
        "URL": cluster.url,
        "KEY": cluster.api_key,
        "EMAIL": EMAIL,
        "PASSWORD": PASSWORD,
        "HUNDRED": await _workflow(cluster, 100),
        "FIVE_HUNDRED": await _workflow(cluster, 500),
        "ROUNDS": str(rounds),
        "OUT": str(out),
    }
    await _web("run", "browser", "browser/measure.mjs", **given)
    return _seen(out)


def _seen(out: Path) -> dict[str, Any]:
    return {"first_load_kib": _first_load_kib(), **orjson.loads(out.read_bytes())}


async def _web(*arguments: str, **environment: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "web/build.py", *arguments, cwd=ROOT, env={**os.environ, **environment}
    )
    async with asyncio.timeout(SECONDS):
        if await process.wait():
            raise RuntimeError(f"web/build.py {' '.join(arguments)} failed")


async def _workflow(cluster: Topology, nodes: int) -> str:
    made = await cluster.call("POST", "/api/workflows", {"name": f"{nodes} nodes", "definition": _definition(nodes)})
    return str(made["id"])


def _definition(count: int) -> dict[str, Any]:
    """Rows of nodes of several types, each connected to the next."""
    nodes = [
        {
            "id": f"node_{number}",
            "type": TYPES[number % len(TYPES)],
            "name": f"Step number {number}",
            "position": {"x": number % COLUMNS * ACROSS, "y": number // COLUMNS * DOWN},
        }
        for number in range(count)
    ]
    edges = [
        {"source": f"node_{number}", "target": f"node_{number + 1}", "source_handle": _output(number)}
        for number in range(count - 1)
        if (number + 1) % COLUMNS
    ]
    return {"nodes": nodes, "edges": edges}


def _output(number: int) -> str:
    return "true" if TYPES[number % len(TYPES)] == "if" else "out"


def _first_load_kib() -> float:
    """What the page names as scripts, packed."""
    built = ROOT / "melagent" / "web_dist"
    names = re.findall(r'(?:src|href)="/assets/([^"]+\.js)"', (built / "index.html").read_text())
    return round(sum((built / "assets" / f"{name}.gz").stat().st_size for name in names) / 1024, 1)


def _rows(measured: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _row("first node of 100 can be dragged, ms", measured["starts"]),
        *(row for name, drag in measured["drags"].items() for row in _drag_rows(name, drag)),
        _row("edit on a colleague's screen, ms", measured["edits"]),
    ]


def _drag_rows(name: str, drag: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _row(f"drag of 500 nodes: {name}, ms a frame", drag["frames"]),
        _row(f"drag of 500 nodes: {name}, ms a frame by the clock", drag["elapsed"]),
    ]


def _row(what: str, values: Sequence[float]) -> dict[str, Any]:
    return {
        "what": what,
        "measured": len(values),
        "p50": round(statistics.median(values), 1),
        "p95": _p95(values),
        "max": round(max(values), 1),
    }


def _p95(values: Sequence[float]) -> float:
    """The smallest value that 95 % do not exceed."""
    return round(sorted(values)[math.ceil(0.95 * len(values)) - 1], 1)


def _goals(measured: dict[str, Any]) -> list[Goal]:
    first = round(statistics.median(measured["starts"]))
    return [
        Goal("editor: script before the canvas, KiB gzip", measured["first_load_kib"], "at most", FIRST_LOAD_KIB),
        Goal("editor: first node of 100 draggable after ms", first, "at most", FIRST_DRAG_MS),
        *(goal for name in BARRED for goal in _drag_goals(name, measured["drags"][name])),
        Goal("editor: edit on a colleague's screen, p95 ms", _p95(measured["edits"]), "at most", SEEN_MS),
    ]


def _drag_goals(name: str, drag: dict[str, Any]) -> list[Goal]:
    return [
        Goal(f"editor: drag of {name}: p95 ms a frame", _p95(drag["frames"]), "at most", FRAME_MS),
        Goal(f"editor: drag of {name}: longest task, ms", round(drag["longest"], 1), "at most", TASK_MS),
    ]
