"""How answers and errors look: tables and JSON on standard output, errors and progress on standard error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from melagent.errors import MelError


def show_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Aligned columns under their names; a null is shown as `-`."""
    lines = [[column.upper() for column in columns]]
    lines += [["-" if row.get(column) is None else str(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for cells in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def show_fields(value: Mapping[str, Any], names: Sequence[str]) -> None:
    """One `name: value` a line, nulls left out."""
    for name in names:
        if value.get(name) is not None:
            typer.echo(f"{name}: {value[name]}")


def show_progress(line: str, *, end: bool = True) -> None:
    """A line, or without its end a piece of one."""
    typer.echo(line, err=True, nl=end)


def show_error(error: MelError, *, as_json: bool) -> None:
    """One clear line and one for each detail; as JSON the error body of the API."""
    if as_json:
        details = [{"field": detail.field, "problem": detail.problem} for detail in error.details]
        body = {"error": error.code.value, "message": error.message, "details": details, "request_id": None}
        typer.echo(json.dumps(body, ensure_ascii=False), err=True)
        return
    typer.echo(f"error: {error.message}", err=True)
    for detail in error.details:
        typer.echo(f"  {detail.field}: {detail.problem}", err=True)
