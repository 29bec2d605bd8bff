"""The node types of this process: found, checked once, and described for the editor and for validation."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ValidationError

from melagent import nodes, sdk
from melagent.domain.definition import HANDLE_PATTERN
from melagent.errors import Problem, Unprocessable
from melagent.sandbox import expressions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.metadata import EntryPoint

    from pydantic_core import ErrorDetails

KINDS = frozenset({"action", "trigger", "model", "memory", "tool"})
_POSITION = re.compile(r"\[\d+\]")
_TYPE_ID = re.compile(r"[a-z][a-z0-9_]*")
_PLAIN_WORDS = {"missing": "this parameter is required", "extra_forbidden": "there is no such parameter"}
"""Faults of the parameter's name, which no template in its value excuses."""


class DeclarationError(Unprocessable):
    """A node type is declared wrongly or cannot be loaded; the message says which one and what is wrong."""


@dataclass(frozen=True, slots=True)
class NodeType:
    """A node type with all that follows from its declaration.

    `raw_fields` are the paths of parameters whose texts are no templates (`code`, `conditions[].expression`), and
    `expression_fields` those among them that are expressions. `connection_fields` are ids of connections, with
    the types that are fit.
    """

    node: sdk.Node[Any]
    params: type[sdk.Params]
    schema: dict[str, Any]
    parameters: tuple[dict[str, Any], ...]
    raw_fields: frozenset[str]
    expression_fields: frozenset[str]
    connection_fields: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, node: sdk.Node[Any]) -> NodeType:
        """Read and check the declaration. Raises DeclarationError."""
        if fault := next(_faults(node), None):
            raise DeclarationError(f"{type(node).__qualname__}: {fault}")
        schema = node.params.model_json_schema(by_alias=True)
        marked = list(_marked(node.params, ""))
        return cls(
            node=node,
            params=node.params,
            schema=schema,
            parameters=tuple(_form_fields(node.params, schema)),
            raw_fields=frozenset(
                path for path, mark in marked if mark in (sdk.Raw, sdk.Expression) or isinstance(mark, sdk.Connection)
            ),
            expression_fields=frozenset(path for path, mark in marked if mark is sdk.Expression),
            connection_fields={
                path: mark.credential_types for path, mark in marked if isinstance(mark, sdk.Connection)
            },
        )

    @property
    def id(self) -> str:
        return self.node.id

    @property
    def built_in(self) -> bool:
        """Whether every worker of this version has it."""
        return type(self.node).__module__.startswith(f"{nodes.__name__}.")

    @property
    def effects(self) -> bool:
        return self.node.effects

    @property
    def entry_point(self) -> bool:
        return self.node.entry_point

    @property
    def branching(self) -> bool:
        return self.node.branching

    @property
    def answers(self) -> bool:
        return self.node.answers

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.node.kinds)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.node.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.node.outputs)

    def describe(self) -> dict[str, Any]:
        """The type as `GET /api/node-types` shows it."""
        node = self.node
        return {
            "id": node.id,
            "name": node.name,
            "description": node.description,
            "category": node.category,
            "icon": node.icon,
            "kinds": list(node.kinds),
            "entry_point": node.entry_point,
            "branching": node.branching,
            "effects": node.effects,
            "answers": node.answers,
            "inputs": list(node.inputs),
            "outputs": list(node.outputs),
            "parameters": list(self.parameters),
            "schema": self.schema,
        }

    def handles(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """The output handles with this config; the declared ones when it is not valid, or not known before the run."""
        try:
            return tuple(self.node.handles(self.params.model_validate(config)))
        except ValidationError:
            return self.outputs

    def problems(self, config: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with a config, as far as it can be told before a run; fields are paths within the config."""
        found: dict[str, str] = {}
        for path, kind, text in _texts(config, "", ""):
            if kind in self.connection_fields and expressions.is_template(text):
                found[path] = "A connection is chosen when the workflow is made; it cannot be computed."
            elif (is_expression := kind in self.expression_fields) or self._is_template(kind, text):
                problem = expressions.check(text, expression=is_expression) if text else None
                if problem:
                    found[path] = problem
        try:
            self.params.model_validate(config)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                path = _path_of(fault, config)
                if path not in found and (fault["type"] in _PLAIN_WORDS or not self._is_open(path, fault["input"])):
                    found[path] = _PLAIN_WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        return [Problem(path, problem) for path, problem in found.items()]

    def references(self, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Each node that the config reads a step or input of, as (path, node id). Malformed texts are skipped."""
        for path, text, is_expression in self._evaluated(config):
            for node_id in sorted(expressions.references(text, expression=is_expression)):
                yield path, node_id

    def renamed(self, config: Mapping[str, Any], node_id: str, to: str) -> Iterator[tuple[list[str | int], str]]:
        """Each text of the config that names the steps of a node, as it is when that has another id, with its path."""
        for path, text in _texts_at(config, ()):
            kind = "".join("[]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
            if node_id in text and (kind in self.expression_fields or self._is_template(kind, text)):
                changed = expressions.renamed(text, node_id, to)
                if changed != text:
                    yield [*path], changed

    def connections(self, config: Mapping[str, Any]) -> Iterator[tuple[str, UUID, tuple[str, ...]]]:
        """Each connection that the config names, as (path, id, types that are fit). What is no id is skipped."""
        for path, kind, text in _texts(config, "", ""):
            if kind in self.connection_fields:
                try:
                    yield path, UUID(text), self.connection_fields[kind]
                except ValueError:
                    continue

    def variables(self, config: Mapping[str, Any]) -> frozenset[str] | None:
        """The keys of the variables that the config looks at; null when it may be any. Malformed texts are skipped."""
        found: frozenset[str] = frozenset()
        for _, text, is_expression in self._evaluated(config):
            keys = expressions.variables(text, expression=is_expression)
            if keys is None:
                return None
            found |= keys
        return found

    def _evaluated(self, config: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
        """Each sound text of the config that will be evaluated: its path, itself, and whether it is an expression."""
        for path, kind, text in _texts(config, "", ""):
            is_expression = kind in self.expression_fields
            is_evaluated = is_expression or self._is_template(kind, text)
            if text and is_evaluated and expressions.check(text, expression=is_expression) is None:
                yield path, text, is_expression

    def _is_open(self, path: str, value: Any) -> bool:
        """Whether a value at this path can only be known in a run. What is not evaluated is what it says."""
        kind = _POSITION.sub("[]", path)
        return any(self._is_template(kind, text) for _, kind, text in _texts(value, path, kind))

    def _is_template(self, kind: str, text: str) -> bool:
        return expressions.is_template(text) and not any(
            kind == raw or kind.startswith((raw + ".", raw + "[")) for raw in self.raw_fields
        )


@dataclass(frozen=True, slots=True)
class Extension:
    """An installed package that brings node types, which are named by their ids."""

    name: str
    version: str
    node_types: tuple[str, ...]


class Registry:
    """Node types by id. Immutable once made.

    `added` are the ids of the types that are not built in: only workers that have them can run them. `extensions` are
    the packages that brought types, ordered by name.
    """

    def __init__(self, node_types: Iterable[NodeType], extensions: Iterable[Extension] = ()) -> None:
        """Raises DeclarationError when two types have the same id."""
        self._types: dict[str, NodeType] = {}
        for node_type in sorted(node_types, key=lambda node_type: node_type.id):
            if other := self._types.get(node_type.id):
                names = f"{type(other.node).__qualname__} and {type(node_type.node).__qualname__}"
                raise DeclarationError(f"{names} have the same id {node_type.id!r}")
            self._types[node_type.id] = node_type
        self.added = tuple(type_id for type_id, node_type in self._types.items() if not node_type.built_in)
        self.extensions = tuple(extensions)

    @classmethod
    def installed(cls) -> Registry:
        """The built-in types, and those that installed packages name under the entry point `melagent.nodes`.

        Raises DeclarationError when one of them cannot be used: a server without it would refuse its workflows.
        """
        added = [(entry, _added(entry)) for entry in entry_points(group="melagent.nodes")]
        return cls([*cls.builtin().all(), *(node_type for _, node_type in added)], _extensions(added))

    @classmethod
    def builtin(cls) -> Registry:
        """The types that come with the project: every node class in a module of `melagent.nodes`."""
        modules = [module.name for module in pkgutil.iter_modules(nodes.__path__, nodes.__name__ + ".")]
        return cls(NodeType.of(node()) for name in modules for node in _node_classes(name))

    def get(self, type_id: str) -> NodeType | None:
        return self._types.get(type_id)

    def all(self) -> tuple[NodeType, ...]:
        """All types, ordered by id."""
        return tuple(self._types.values())


def _added(entry: EntryPoint) -> NodeType:
    """The type that an entry point names. Its module is foreign code, so anything may go wrong."""
    try:
        kind = entry.load()
        if not (inspect.isclass(kind) and issubclass(kind, sdk.Node)):
            raise TypeError("it is no class of nodes")
        return NodeType.of(kind())
    except DeclarationError:
        raise
    except Exception as error:
        package = f" of the package {entry.dist.name}" if entry.dist else ""
        fault = f"{type(error).__name__}: {error}"
        raise DeclarationError(f"The node {entry.name!r}{package} cannot be loaded ({entry.value}): {fault}") from error


def _extensions(added: Iterable[tuple[EntryPoint, NodeType]]) -> Iterator[Extension]:
    """The packages of these entry points, by name."""
    packages: dict[tuple[str, str], list[str]] = {}
    for entry, node_type in added:
        if entry.dist is not None:
            packages.setdefault((entry.dist.name, entry.dist.version), []).append(node_type.id)
    for (name, version), type_ids in sorted(packages.items()):
        yield Extension(name, version, tuple(sorted(type_ids)))


def _node_classes(module_name: str) -> Iterator[type[sdk.Node[Any]]]:
    module = importlib.import_module(module_name)
    for value in vars(module).values():
        is_node = inspect.isclass(value) and issubclass(value, sdk.Node) and not inspect.isabstract(value)
        if is_node and value.__module__ == module_name:
            yield value


def _faults(node: sdk.Node[Any]) -> Iterator[str]:
    for name in ("id", "name", "description", "category"):
        if not isinstance(getattr(node, name, None), str) or not getattr(node, name):
            yield f"`{name}` is missing"
    if not _TYPE_ID.fullmatch(node.id):
        yield f"id {node.id!r} must be lower-case words joined by _"
    if not node.kinds or not set(node.kinds) <= KINDS:
        yield f"kinds must be among {', '.join(sorted(KINDS))}"
    for handles in (node.inputs, node.outputs):
        if len(set(handles)) < len(handles):
            yield "handles must differ from each other"
        yield from (f"{handle!r} cannot be a handle" for handle in handles if not re.fullmatch(HANDLE_PATTERN, handle))
    if "error" in node.outputs:
        yield "the output `error` is every node's already"
    if node.entry_point and node.inputs:
        yield "an entry point has no inputs"
    if not node.timeout_seconds > 0:
        yield "timeout_seconds must be positive"


def _marked(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, object]]:
    """Path and mark of each field that carries annotations, also within models in lists and objects."""
    for name, field in model.model_fields.items():
        for spelling in {name, field.alias or name}:
            path = f"{prefix}.{spelling}" if prefix else spelling
            yield from ((path, mark) for mark in field.metadata)
            yield from _marked_within(field.annotation, path)


def _marked_within(annotation: Any, path: str) -> Iterator[tuple[str, object]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield from _marked(annotation, path)
    elif get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        yield from ((path, mark) for mark in marks)
        yield from _marked_within(inner, path)
    else:
        item_path = f"{path}[]" if get_origin(annotation) in (list, tuple) else path
        for argument in get_args(annotation):
            yield from _marked_within(argument, item_path)


def _form_fields(params: type[sdk.Params], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One flat entry per parameter, for the editor's form."""
    titles = {field.alias: field.title for field in params.model_fields.values()}
    required = schema.get("required", ())
    for name, prop in schema.get("properties", {}).items():
        variants = [variant for variant in prop.get("anyOf", [prop]) if variant.get("type") != "null"]
        only = variants[0] if len(variants) == 1 else {}
        marks = {**only, **prop}
        yield {
            "name": name,
            "label": titles[name] or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize(),
            "type": "enum" if "enum" in only else only.get("type", "any"),
            "required": name in required,
            "default": prop.get("default"),
            "description": prop.get("description", ""),
            "group": prop.get("x-group", "Settings"),
            "options": only.get("enum", []),
            "widget": marks.get("x-widget"),
            "credential_types": marks.get("x-credential", []),
            "visible_if": prop.get("x-visible-if"),
        }


def _texts(value: Any, path: str, kind: str) -> Iterator[tuple[str, str, str]]:
    """Every text in a config: its path, its path without positions, and itself."""
    if isinstance(value, str):
        yield path, kind, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}" if path else key, f"{kind}.{key}" if kind else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]", f"{kind}[]")


def _texts_at(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in a config, with the steps that lead to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts_at(item, (*path, step))


def _path_of(fault: ErrorDetails, config: Mapping[str, Any]) -> str:
    """The path of a fault within the config. Pydantic also names variants of a union, which lead nowhere there."""
    path, value = "", cast("Any", config)
    for part in fault["loc"]:
        if isinstance(part, int) and isinstance(value, list):
            path, value = f"{path}[{part}]", value[part]
        elif isinstance(value, dict) and (part in value or fault["type"] == "missing"):
            path, value = f"{path}.{part}" if path else str(part), value.get(part)
    return path
