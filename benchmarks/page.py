"""`python -m benchmarks.page`: makes docs/benchmarks.md from the results in benchmarks/results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from benchmarks.__main__ import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

The product as shipped: authentication, info logs to a file, metrics, `fsync` and `synchronous_commit` on; PostgreSQL,
server and load generator share the cores of one machine. The load generator checks a field of each answer; afterwards
SQL proves that every answer has one run, every run all its steps, and that nothing is left live. Each rate is the
median of three rounds, in turns with *the floor*: the product's own API and SQL statements with the engine taken out,
so that the ratio is what the engine costs. Machines differ and shared ones are noisy: trust ratios before rates.

This page is made from the files in `benchmarks/results` by `python -m benchmarks.page`. To measure on a machine of
yours: `make bench` (three minutes) or `python -m benchmarks` (half an hour).
"""

TITLES = {
    "pure": "Webhook, three pure nodes, answer",
    "effectful": "Webhook, three nodes with effects, answer",
    "forty": "A run of forty light steps",
    "claim": "Claim latency, with an empty queue and with a million runs waiting",
    "start": "Start and memory",
    "remote": "Webhook, three pure nodes, answer, with one API process and two remote workers",
    "instances": "One instance and three behind nginx, with two remote workers, on the same cores",
    "soak": "Ten minutes at full rate",
}


def page() -> str:
    """The page for the results that are there."""
    parts = [HEAD]
    for name, title in TITLES.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            parts.append(_section(title, orjson.loads(path.read_bytes())))
    return "\n".join(parts)


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
    machine, commit, version = result["machine"], result["commit"]["id"][:10], result["postgres"]["version"]
    where = f"{machine['cpu']}, {machine['cores']} cores, PostgreSQL {version}"
    return f"Measured {result['date'][:10]} at {commit}: {where}."


if __name__ == "__main__":
    PAGE.write_text(page())
