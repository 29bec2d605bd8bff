"""Writes what was measured: a JSON record for the file, tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from benchmarks.outcome import Goal, Outcome


def record(name: str, outcome: Outcome) -> dict[str, Any]:
    """The part of the file that belongs to one benchmark."""
    return {
        "benchmark": name,
        "rows": outcome.rows,
        "goals": [_goal(goal) for goal in outcome.goals],
        "postgres": outcome.postgres,
        **outcome.details,
    }


def show(console: Console, name: str, outcome: Outcome) -> None:
    """The rows, and below them each goal with what was reached."""
    table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD)
    for column in outcome.rows[0]:
        table.add_column(column, justify="left" if column == "what" else "right", no_wrap=True)
    for row in outcome.rows:
        table.add_row(*_cells(row))
    console.print(table)
    for goal in outcome.goals:
        verdict = "[green]met   [/]" if goal.met else "[red]missed[/]"
        console.print(f"{verdict} {goal.name}: {goal.measured:g} ({goal.bound} {goal.limit:g})", highlight=False)
    console.print()


def _goal(goal: Goal) -> dict[str, Any]:
    return {"name": goal.name, "measured": goal.measured, goal.bound.replace(" ", "_"): goal.limit, "met": goal.met}


def _cells(row: dict[str, Any]) -> Iterator[str]:
    for value in row.values():
        if value is None:
            yield ""
        else:
            yield f"{value:,.0f}" if isinstance(value, float) and value >= 1000 else str(value)
