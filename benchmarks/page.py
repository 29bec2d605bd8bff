"""`python -m benchmarks.page`: makes docs/benchmarks.md from the results in benchmarks/results."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson

from benchmarks.__main__ import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
REASONS = RESULTS / "in-the-way.toml"
"""Why goals are missed, by the beginning of their names; written by people, from profiles."""

NO_REASON = "not profiled yet."

HEAD = """# Benchmarks

The product as shipped: authentication, info logs to a file, metrics, `fsync` and `synchronous_commit` on; PostgreSQL,
server and load generator share the cores of one machine. The load generator checks a field of each answer; afterwards
SQL proves that every answer has one run, every run all its steps, and that nothing is left live. Each rate is the
median of several rounds, in turns with *the floor*: the product's own API and SQL statements with the engine taken out,
so that the ratio is what the engine costs. The floor for remote workers has remote workers too. Machines differ and
shared ones are noisy: trust ratios before rates.

Live editing is measured beside Hocuspocus with its Redis extension and python-socketio with its Redis manager: two
instances each, rooms of ten with peers on both, updates of 130 bytes, and the same lean sockets for all. Ours
authenticates, checks and stores each edit before it is shown; the others do none of that. *The floor* stores each
update and passes it on, with the product's own broker and sockets, and nothing else: what it reaches on a machine is
what there is to be had. Deliveries are those to others than the author. Every socket counts what it got against what
was sent; afterwards SQL proves that `seq` has no hole.

This page is made from the files in `benchmarks/results` by `python -m benchmarks.page`. To measure on a machine of
yours: `make bench` (three minutes) or `make measure` (twenty minutes, everything, and this page).
"""

REASONS_HEAD = """## What stands in the way

Each goal that is missed above, and what profiles (py-spy, `pg_stat_statements`, `EXPLAIN`) say about it. The texts are
kept in `benchmarks/results/in-the-way.toml`.
"""

TITLES = {
    "pure": "Webhook, three pure nodes, answer",
    "effectful": "Webhook, three nodes with effects, answer",
    "forty": "A run of forty light steps",
    "claim": "Claim latency, with an empty queue and with a million runs waiting",
    "growth": "Large runs, and a hundred thousand that sleep and as many that wait",
    "cost": "What loops, calls and replays cost",
    "start": "Start and memory",
    "remote": "Webhook, three pure nodes, answer, with one API process and two remote workers",
    "instances": "One instance and three behind nginx, with two remote workers, on the same cores",
    "crossing": "A webhook called at one instance, with its worker at another one",
    "realtime": "Live editing through two instances, beside others",
    "editor": "The editor in a browser, through two instances behind nginx",
    "soak": "Ten minutes at full rate",
}


def page() -> str:
    """The page for the results that are there."""
    paths = {title: RESULTS / f"{name}.json" for name, title in TITLES.items()}
    results = {title: orjson.loads(path.read_bytes()) for title, path in paths.items() if path.exists()}
    sections = [_section(title, result) for title, result in results.items()]
    missed = [goal["name"] for result in results.values() for goal in result["goals"] if not goal["met"]]
    return "\n".join([HEAD, *sections, in_the_way(missed, tomllib.loads(REASONS.read_text()))])


def in_the_way(missed: list[str], reasons: dict[str, str]) -> str:
    if not missed:
        return f"{REASONS_HEAD}\nNothing: all goals are met.\n"
    goals: dict[str, list[str]] = {}
    for name in missed:
        goals.setdefault(_reason(name, reasons), []).append(name)
    return "\n".join(
        [REASONS_HEAD, *(f"- **{'**, **'.join(names)}**: {reason}" for reason, names in goals.items()), ""]
    )


def _reason(name: str, reasons: dict[str, str]) -> str:
    """The text for the longest beginning of the name that has one, on one line."""
    known = [beginning for beginning in reasons if name.startswith(beginning)]
    return " ".join(reasons[max(known, key=len)].split()) if known else NO_REASON


def _section(title: str, result: dict[str, Any]) -> str:
    columns = list(result["rows"][0])
    lines = [f"## {title}", "", _row(columns), _row(["---"] * len(columns))]
    lines += [_row([row[column] for column in columns]) for row in result["rows"]]
    lines += ["", *(_goal(goal) for goal in result["goals"]), "", _source(result), ""]
    return "\n".join(lines)


def _row(cells: list[Any]) -> str:
    return f"| {' | '.join('' if cell is None else str(cell) for cell in cells)} |"


def _goal(goal: dict[str, Any]) -> str:
    bound = f"at least {goal['at_least']}" if "at_least" in goal else f"at most {goal['at_most']}"
    return f"- {'met' if goal['met'] else '**missed**'}: {goal['name']}: {goal['measured']:g} ({bound})"


def _source(result: dict[str, Any]) -> str:
    machine, commit, version = result["machine"], result["commit"], result["postgres"]["version"]
    where = f"{machine['cpu']}, {machine['cores']} cores, PostgreSQL {version}"
    code = f" (`melagent` {commit['code'][:10]})" if commit.get("code") else ""
    changed = " **with changes that are in no commit**" if commit["changed"] else ""
    return f"Measured {result['date'][:10]} at commit {(commit['id'] or 'unknown')[:10]}{code}{changed}: {where}."


if __name__ == "__main__":
    PAGE.write_text(page())
