"""The fields of a node, and of a definition, that operations reach into, and which values they take."""

from __future__ import annotations

from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from melagent.domain.definition import Definition, Edge, Node
from melagent.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

NODE_FIELDS: Final = frozenset(Node.model_fields) - {"id", "type"}
"""What a node may be given after it was made."""

META_FIELDS: Final = frozenset({"settings", "notes"})

MAX_PROBLEMS = 20
MAX_NAME: Final = 200


class FieldError(ValueError):
    """A value does not fit its field."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.problem for problem in self.problems))


def field_of_node(field: str, value: Any) -> Any:
    """The value as a node keeps it in this field. Raises FieldError."""
    if field == "config" and type(value) is dict:
        return value
    if field == "position" and _is_place(value):
        return {"x": float(value["x"]), "y": float(value["y"])}
    if field == "name" and type(value) is str and len(value) <= MAX_NAME:
        return value
    return _kept(Node, field, value)


def field_of_definition(field: str, value: Any) -> Any:
    """The value as a definition keeps it in this field. Raises FieldError."""
    return _kept(Definition, field, value)


def whole_node(fields: dict[str, Any]) -> dict[str, Any]:
    """A node with all its fields. Raises FieldError."""
    return _whole(Node, fields)


def whole_edge(fields: dict[str, Any]) -> dict[str, Any]:
    """An edge with all its fields and its id. Raises FieldError."""
    return _whole(Edge, fields)


def whole_definition(fields: Any) -> dict[str, Any]:
    """A definition with all its fields. Raises FieldError."""
    return _whole(Definition, fields)


@cache
def default_of_node(field: str) -> Any:
    """What a node has in a field that it was not given. Nobody may change it."""
    return Node(id="any", type="any").model_dump(mode="json")[field]


def _is_place(value: Any) -> bool:
    return type(value) is dict and value.keys() == {"x", "y"} and all(map(_is_number, value.values()))


def _is_number(value: Any) -> bool:
    return type(value) in (float, int) and isfinite(value)


@cache
def _adapter(model: type[BaseModel], field: str) -> TypeAdapter[Any]:
    info = model.model_fields[field]
    return TypeAdapter(Annotated[info.annotation, info])  # type: ignore[arg-type]  # made at run time


def _kept(model: type[BaseModel], field: str, value: Any) -> Any:
    adapter = _adapter(model, field)
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json")
    except ValidationError as error:
        raise FieldError(_problems(error, field)) from None


def _whole(model: type[BaseModel], fields: Any) -> dict[str, Any]:
    try:
        return model.model_validate(fields).model_dump(mode="json")
    except ValidationError as error:
        raise FieldError(_problems(error)) from None


def _problems(error: ValidationError, *within: str) -> list[Problem]:
    faults = error.errors(include_url=False, include_input=False, include_context=False)[:MAX_PROBLEMS]
    return [Problem(_written((*within, *fault["loc"])), fault["msg"]) for fault in faults]


def _written(location: tuple[int | str, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")
