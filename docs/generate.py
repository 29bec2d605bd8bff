"""Writes docs/reference/ from the code: `make docs`. A test fails when the pages are not what this makes.

Every page follows from declarations: commands from the program's own tree, settings from their marks and descriptions,
node types from the registry, with the file of the same id in examples/nodes/.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import typer.main

from melagent import settings
from melagent.cli import program, serve
from melagent.registry import Registry
from melagent.sdk import Node
from melagent.setting_kinds import Env, Flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

    from melagent.registry import NodeType

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
EXAMPLES = ROOT / "examples" / "nodes"
MADE = "<!-- Made by `make docs` from the code; changes here are lost. -->"
CATEGORIES = ("Triggers", "Control", "Data", "Integrations", "AI")
"""The order of the page; what else there is follows by name."""


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {"cli.md": _cli(), "settings.md": _settings(), "nodes.md": _nodes()}


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"docs/reference/{name}")


# Commands


def _cli() -> str:
    root = typer.main.get_command(program.app)
    lines = ["# Command line", MADE, inspect.cleandoc(CLI_RULES)]
    for name, command in _commands(root, "server"):
        lines += _command(name, command)
    return _page(lines)


CLI_RULES = """
Standard output is for answers, standard error for logs and progress. `--json` makes an answer one that scripts can
read; errors are then the error body of the API. Exit codes: 0 done, 1 failed, 2 used wrongly, 3 the server or database
could not be reached, 4 not found, 5 not allowed. The first SIGTERM or SIGINT drains, the second ends at once. Options
that stand for a [setting](settings.md) may also come from the environment or a config file.
"""


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _command(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield f"## {name}"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    yield inspect.cleandoc(command.help)
    records = [record for param in command.params if (record := param.get_help_record(context))]
    if records:
        yield _table(("Argument or option", "Meaning"), [(_code(spelling), text) for spelling, text in records])


# Settings


def _settings() -> str:
    schema = settings.Settings.model_json_schema()
    rows = [_setting(name, field, schema) for name, field in settings.fields()]
    columns = ("Setting", "Option", "Environment (the first one set)", "Default", "Value", "Meaning")
    return _page(["# Settings", MADE, inspect.cleandoc(SETTING_RULES), _table(columns, rows)])


def _setting(name: str, field: FieldInfo, schema: Mapping[str, Any]) -> tuple[str, ...]:
    marks, found = settings.marks(field), _setting_schema(schema, name)
    flags = [flag for mark in marks if isinstance(mark, Flag) for flag in mark.names]
    variables = [variable for mark in marks if isinstance(mark, Env) for variable in mark.names]
    default = _setting_default(name, found.get("default"), found)
    return _code(name), _codes(flags), _codes(variables), default, _kind(found, schema), field.description or ""


SETTING_RULES = """
A setting comes from its option, else from its environment variables, else from the config file, else it has its
default. The config file is the one that `--config` names, or the first of `./config.yaml`, `~/.mel-agent/config.yaml`
and `/etc/mel-agent/config.yaml` (also `.yml`, `.json` and `.toml`); it holds groups: `server: {port: 9000}` is
`server.port`. An environment variable that is empty counts as not given. Durations are seconds, or text such as `90s`,
`5m` or `1h30m`; lists are separated by commas. A value that cannot be read ends the start with exit code 2, and names
the setting and where it came from.

`server config --show-origin` shows what they are on this machine, and where each came from.
"""


def _setting_schema(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    group, _, field = name.rpartition(".")
    properties = schema["properties"]
    if group:
        properties = schema["$defs"][properties[group]["$ref"].rsplit("/", 1)[-1]]["properties"]
    found: Mapping[str, Any] = properties[field]
    return found


def _setting_default(name: str, default: Any, schema: Mapping[str, Any]) -> str:
    """The default, and those of commands that have one of their own."""
    texts = [] if default in (None, [], ()) else [_setting_value(default, schema)]
    for command, defaults in serve.DEFAULTS.items():
        if defaults.get(name, default) != default:
            texts.append(f"{_setting_value(defaults[name], schema)} in `{command}`")
    return "; ".join(texts)


def _setting_value(value: Any, schema: Mapping[str, Any]) -> str:
    """As it would stand in the environment."""
    if schema.get("format") == "duration":
        return _code(f"{value:g}s")
    return _code(value if isinstance(value, str) else _json(value))


# Node types


def _nodes() -> str:
    by_category: dict[str, list[NodeType]] = {name: [] for name in CATEGORIES}
    for node_type in Registry.builtin().all():
        by_category.setdefault(node_type.node.category, []).append(node_type)
    order = [*CATEGORIES, *sorted(by_category.keys() - set(CATEGORIES))]
    lines = ["# Node types", MADE, inspect.cleandoc(NODE_RULES)]
    for category in order:
        rows = [(f"[{_code(found.id)}](#{found.id})", found.node.description) for found in by_category[category]]
        lines += [f"**{category}**", _table(("Type", "What it does"), rows)]
    for category in order:
        for node_type in by_category[category]:
            lines += _node(node_type)
    return _page(lines)


NODE_RULES = """
What stands in a node's `config`. Every text takes `{{ expressions }}`, unless it is marked *raw*; what is marked
*expression* is one expression without braces. Parameters are checked at deploy and again in the run. Whatever its type,
a node may also have `name`, `disabled`, `timeout_seconds`, `retry`, `on_error`, `on_interrupted` and `labels`:
[workflows](../workflows.md) says what they do. With `on_error: branch` it has the output `error` besides its own. A
node that has effects may be noticed by the outside world, and more than once when it is tried again: see
[guarantees](../guarantees.md). [Building nodes](../building-nodes.md) says how to add types of your own.
"""


def _node(node_type: NodeType) -> Iterator[str]:
    node = node_type.node
    yield f"## {node.id}"
    yield f"**{node.name}.** {node.description}."
    if own := type(node).__dict__.get("__doc__"):
        yield inspect.cleandoc(own)
    yield _handles(node_type)
    rows = list(_parameters(node_type, node_type.schema, ""))
    yield _table(("Parameter", "Value", "Default", "Meaning"), rows) if rows else "It has no parameters."
    example = EXAMPLES / f"{node.id}.yaml"
    if example.exists():  # a test names the types without one
        yield f"```yaml\n{example.read_text(encoding='utf-8').rstrip()}\n```"


def _handles(node_type: NodeType) -> str:
    node = node_type.node
    inputs = f"Input: {_codes(node.inputs)}." if node.inputs else "It starts runs, and has no input."
    outputs = f"Outputs: {_codes(node.outputs)}" if node.outputs else "It has no output"
    depend = ", or as its parameters say" if type(node).handles is not Node.handles else ""
    effects = " It has effects." if node.effects else ""
    return f"{inputs} {outputs}{depend}.{effects}"


def _parameters(node_type: NodeType, schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """A row for each parameter, those of objects within lists and objects too."""
    required = schema.get("required", ())
    for name, found in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        default = "required" if name in required else _code(_json(_parameter_default(node_type, path, found)))
        meaning = found.get("description", "")
        if condition := found.get("x-visible-if"):
            meaning += f" (when {_code(condition)})"
        yield _code(path), _node_kind(node_type, path, found), default, meaning
        only = next((one for one in found.get("anyOf", ()) if one.get("type") != "null"), found)
        inner, step = (only["items"], "[].") if only.get("type") == "array" else (only, ".")
        if "$ref" in inner:
            yield from _parameters(node_type, _referred(inner, node_type.schema), path + step)


def _parameter_default(node_type: NodeType, path: str, schema: Mapping[str, Any]) -> Any:
    """The default, one that a function makes included."""
    for name, field in node_type.params.model_fields.items():
        if path == (field.alias or name):
            return field.get_default(call_default_factory=True)
    return schema.get("default")


def _node_kind(node_type: NodeType, path: str, schema: Mapping[str, Any]) -> str:
    if path in node_type.expression_fields:
        return "expression"
    return _kind(schema, node_type.schema) + (", *raw*" if path in node_type.raw_fields else "")


# Words for JSON Schema, and Markdown


def _kind(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """A JSON Schema in words, for example `whole number, 1 to 100`."""
    if "$ref" in schema:
        return _kind(_referred(schema, root), root)
    if variants := [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]:
        return " or ".join(_kind(one, root) for one in variants)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), root)}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {_kind(values, root)}" if isinstance(values, dict) and values else "object"
    return _plain_kind(schema)


def _plain_kind(schema: Mapping[str, Any]) -> str:
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    if "enum" in schema:
        return ", ".join(_code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return _code(str(schema["const"]))
    if schema.get("format") == "duration":
        return "duration"
    most = f", at most {schema['maxLength']:,} characters" if "maxLength" in schema else ""
    return words.get(schema.get("type", ""), "any value") + _range(schema) + most


def _range(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if least is None and most is None:
        return ""
    if most is None:
        return f", {least:,} or more" if "minimum" in schema else f", more than {least:,}"
    return f", at most {most:,}" if least is None else f", {least:,} to {most:,}"


def _referred(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    return found


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))


def _code(text: str) -> str:
    return f"`{text}`"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
