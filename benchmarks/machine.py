"""Where and with what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from benchmarks.processes import ROOT
from melagent import __version__

LIBRARIES = ("aiohttp", "asyncpg", "minijinja", "orjson", "pydantic", "uvloop")

CHANGED = """
SELECT name, current_setting(name) AS value FROM pg_settings
 WHERE source = 'command line' AND name <> 'unix_socket_directories' ORDER BY name
"""
"""The embedded server gets its settings on the command line; its file holds only what initdb writes everywhere."""

MEASURED = ("melagent", "migrations", "benchmarks", "deploy", "pyproject.toml", ":!benchmarks/results")
"""Paths for git: what the figures depend on, without the figures."""

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    return {"melagent": __version__, "python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def commit() -> dict[str, Any]:
    """The commit that was measured, and whether files that are measured, or measure, differ from it.

    `code` names the content of the package alone: it is the same in every history that holds this content.
    """
    return {
        "id": _git("rev-parse", "--verify", "HEAD") or None,
        "code": _git("rev-parse", "--verify", "HEAD:melagent") or None,
        "changed": bool(_git("status", "--porcelain", "--", *MEASURED)),
    }


async def postgres(dsn: str) -> dict[str, Any]:
    """Version and changed settings of the server, and those that make an answer durable."""
    connection = await asyncpg.connect(dsn)
    try:
        return {
            "version": await connection.fetchval("SHOW server_version"),
            "durability": {name: await connection.fetchval(f"SHOW {name}") for name in DURABLE},
            "changed": {row["name"]: row["value"] for row in await connection.fetch(CHANGED)},
        }
    finally:
        await connection.close()


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
