"""Workflow files: YAML or JSON with `name` and `description` beside the fields of the definition."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from melagent.errors import BadRequest, Problem

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """What a file says. The definition is as written: the server checks it and names every problem."""

    name: str
    description: str
    definition: dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML with JSON's idea of a value: `yes`, `on` and `2026-01-31` are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.IGNORECASE), list("tTfF"))


def looks_like_file(text: str) -> bool:
    return text.endswith(SUFFIXES) or Path(text).exists()


def read(path: Path) -> WorkflowFile:
    """Read a file. Raises BadRequest when it cannot be read or is not an object."""
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadRequest(f"{path} cannot be read.", [Problem(str(path), " ".join(str(error).split()))]) from None
    if not isinstance(content, dict):
        raise BadRequest(f"{path} is not a workflow.", [Problem(str(path), "expected an object with `nodes`")])
    return WorkflowFile(
        name=str(content.pop("name", path.stem)), description=str(content.pop("description", "")), definition=content
    )
