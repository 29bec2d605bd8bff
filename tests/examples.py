"""What the comment at the top of an example says: how to run it, what to do before, and its output."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def commands(path: Path) -> list[list[str]]:
    """The arguments of each command in the comment; the files that they name can be found from anywhere."""
    lines = re.findall(r"^#   \./server (.*)$", path.read_text(), re.MULTILINE)
    return [
        [str(ROOT / word) if word.startswith("examples/") else word for word in shlex.split(line)] for line in lines
    ]


def preparations(path: Path) -> list[list[str]]:
    """The commands that make and deploy what the example calls."""
    return [command for command in commands(path) if command[:2] in (["workflow", "import"], ["workflow", "deploy"])]


def runs(path: Path) -> list[list[str]]:
    """The commands that run the example, the plainest first."""
    return [command for command in commands(path) if command[:3] == ["workflow", "run", str(path)]]


def outputs(path: Path) -> list[Any]:
    """What the first of these runs prints, if the comment says it."""
    said = re.findall(r"^# Output: (.*)$", path.read_text(), re.MULTILINE)
    return [json.loads(text) for text in said]
