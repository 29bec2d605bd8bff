"""Packages with nodes as an installation leaves them, without installing anything."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def installed(project: Path, into: Path) -> list[Path]:
    """The folders for Python to search: one with the entry points of the project's pyproject.toml, and the project."""
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = into / f"{described['name'].replace('-', '_')}-{described['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {described['version']}\n"
    )
    lines = []
    for group, points in described["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return [into, project]
