"""A run as it goes on, on standard error, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from melagent.cli.show import show_progress
from melagent.errors import MelError

if TYPE_CHECKING:
    from melagent.cli.client import Api

MARKS = {"completed": "✓", "failed": "✗", "cancelled": "■", "sleeping": "…", "waiting": "…", "pending": "↻"}


class RunFailed(MelError):
    """The run ended, but not well."""


async def follow(api: Api, run_id: str) -> dict[str, Any]:
    """Tell the steps of a run until it ends; the ended run. Raises RunFailed when it failed or was cancelled."""
    progress = _Progress()
    async for event in api.events(run_id):
        if event.kind == "step":
            progress.line(_step(event.data))
        elif event.kind == "log":
            progress.line(f"  {event.data['step_key']} {event.data.get('level')}: {event.data.get('message')}")
        elif event.kind == "token":
            progress.piece(event.data["step_key"], event.data["offset"], event.data["text"])
        elif event.kind == "end":
            return ended(event.data)
    raise RunFailed(f"The events of run {run_id} broke off.")


class _Progress:
    """Lines, and between them the texts that steps show, each on a line of its own as long as no other cuts in."""

    def __init__(self) -> None:
        self._writing: str | None = None

    def line(self, text: str) -> None:
        if self._writing is not None:
            show_progress("")
        self._writing = None
        show_progress(text)

    def piece(self, step_key: str, offset: int, text: str) -> None:
        if self._writing is not None and (self._writing != step_key or offset == 0):
            show_progress("")
            self._writing = None
        begin = f"  {step_key}: " if self._writing is None else ""
        self._writing = step_key
        show_progress(begin + text, end=False)


def ended(run: dict[str, Any]) -> dict[str, Any]:
    """The run if it completed. Raises RunFailed otherwise."""
    if run["status"] == "completed":
        return run
    error = run.get("error") or {}
    raise RunFailed(f"Run {run['id']} {run['status']}{': ' if error else '.'}{error.get('message', '')}")


def _step(step: dict[str, Any]) -> str:
    line = f"{MARKS.get(step['status'], '·')} {step['step_key']} ({step['node_type']})"
    if step["finished_at"]:
        took = datetime.fromisoformat(step["finished_at"]) - datetime.fromisoformat(step["started_at"])
        line += f" {took.total_seconds():.3f} s"
    else:
        line += f" {step['status']}"
    if step["error"]:
        line += f": {step['error'].get('message')}"
    return line
