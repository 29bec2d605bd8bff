"""Workflow files: YAML or JSON with `name` and `description` beside the fields of the definition."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from melagent.errors import BadRequest, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SUFFIXES = (".yaml", ".yml", ".json")
WIDTH = 120
MAX_DEPTH = 128
MAX_VALUES = 500_000
"""What a server takes. In YAML a few lines can stand for more values than there are atoms."""


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """What a file says. The definition is as written: the server checks it and names every problem."""

    name: str
    description: str
    definition: dict[str, Any]

    def text(self, *, as_json: bool = False) -> str:
        """A file that reads as this one, without what follows from the rest: defaults, and the ids of edges."""
        description = {"description": self.description} if self.description else {}
        content = {"name": self.name, **description, **_bare(self.definition)}
        if as_json:
            return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)

    def write(self, path: Path, *, as_json: bool = False) -> None:
        """Raises BadRequest when the file cannot be written."""
        try:
            path.write_text(self.text(as_json=as_json), encoding="utf-8")
        except OSError as error:
            raise BadRequest(f"{path} cannot be written: {error.strerror}.") from None


class _Loader(yaml.SafeLoader):
    """YAML with JSON's idea of a value: `yes`, `on` and `2026-01-31` are text."""


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what any reader of YAML, this one among them, would take for something else than text."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_ODD_BREAK = re.compile("[\r\x85\u2028\u2029]")
_BOOL = re.compile(r"^(true|false)$", re.IGNORECASE)

_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text of several lines stands as it is, where YAML can write it so; odd line breaks are written as escapes."""
    style = '"' if _ODD_BREAK.search(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def looks_like_file(text: str) -> bool:
    return text.endswith(SUFFIXES) or Path(text).exists()


def read(path: Path) -> WorkflowFile:
    """Read a file. Raises BadRequest when it cannot be read or is not an object."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
        _check_plain(content)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise BadRequest(f"{path} cannot be read.", [Problem(str(path), " ".join(str(error).split()))]) from None
    if not isinstance(content, dict):
        raise BadRequest(f"{path} is not a workflow.", [Problem(str(path), "expected an object with `nodes`")])
    return WorkflowFile(
        name=str(content.pop("name", path.stem)), description=str(content.pop("description", "")), definition=content
    )


def _check_plain(content: Any) -> None:
    """Raise ValueError or TypeError for what JSON cannot say, such as a cycle, or no server would take."""
    left, level = MAX_VALUES, [content]
    for _ in range(MAX_DEPTH):
        left -= len(level)
        if left < 0:
            raise ValueError(f"it has more than {MAX_VALUES:,} values")
        level = list(islice((part for value in level for part in _parts(value)), left + 1))
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the name {key!r} is not a text")
            key.encode()
        return value.values()
    if isinstance(value, str):
        value.encode()  # half a character cannot be
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number of JSON")
    if not isinstance(value, str | int | float | None):
        raise TypeError(f"a {type(value).__name__} is not a value of JSON")
    return ()


def _bare(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition without defaults, or as it is when it comes from a newer server and has fields unknown here."""
    from pydantic import ValidationError

    from melagent.domain.definition import Definition

    try:
        known = Definition.model_validate(definition)
    except ValidationError:
        return dict(definition)
    return known.model_dump(mode="json", exclude_defaults=True, exclude_computed_fields=True)
