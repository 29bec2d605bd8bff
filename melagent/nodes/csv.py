"""Reads and writes CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Annotated, Literal, Self

import orjson
from pydantic import AfterValidator, field_validator, model_validator

from melagent.sdk import Expression, Field, Json, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from pydantic.config import JsonDict

MAX_CHARACTERS = 16 * 1024 * 1024
"""What may come out, column names counted in every row: a few characters must not become gigabytes."""

_PARSE: JsonDict = {"x-visible-if": "operation == 'parse'"}
_FORMAT: JsonDict = {"x-visible-if": "operation == 'format'"}


def _can_delimit(character: str) -> str:
    if character in "\r\n \x00":
        raise ValueError("a line break, a space and \\u0000 cannot be used here")
    return character


Character = Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_can_delimit)]


class CsvParams(Params):
    operation: Literal["parse", "format"] = Field(
        default="parse", description="parse makes rows of a text, format makes a text of rows"
    )
    data: Annotated[str, Expression] = Field(
        default="input", min_length=1, description="The text, or the list of rows: objects or lists"
    )
    delimiter: Character = Field(default=",", description="The character between cells")
    quote: Character = Field(default='"', description="The character around cells; written twice, it stands for itself")
    header: bool = Field(
        default=True, description="Whether the first row names the columns; rows are then objects, else lists"
    )
    ragged: Literal["error", "fill"] = Field(
        default="error",
        description=(
            "What to do about rows of different lengths: fail, or fill short ones with empty text and name what goes "
            "beyond the header `column 4` and so on"
        ),
        json_schema_extra=_PARSE,
    )
    columns: list[str] = Field(
        default_factory=list,
        description="Which fields to write, in this order; all that occur when empty",
        json_schema_extra=_FORMAT,
    )
    quoting: Literal["minimal", "all"] = Field(
        default="minimal", description="Which cells are written in quotes", json_schema_extra=_FORMAT
    )

    @model_validator(mode="after")
    def _characters_differ(self) -> Self:
        if self.delimiter == self.quote:
            raise ValueError("delimiter and quote are the same character")
        return self

    @field_validator("columns")
    @classmethod
    def _columns_differ(cls, columns: list[str]) -> list[str]:
        """Each field is written once: so a text cannot be much larger than its rows."""
        if len(set(columns)) < len(columns):
            raise ValueError("a column is named twice")
        return columns


class Csv(Node[CsvParams]):
    """Cells are text: `parse` makes no numbers of them. A cell may have 131,072 characters; blank lines are no rows.

    `format` ends each line with CR LF, writes null as an empty cell, and lists and objects as JSON.
    """

    id = "csv"
    name = "CSV"
    description = "Makes rows of a CSV text, or a CSV text of rows"
    category = "Data"
    icon = "table"
    in_thread = True

    async def run(self, params: CsvParams, ctx: NodeContext) -> Result:
        data = ctx.evaluate(params.data)
        if params.operation == "parse":
            if not isinstance(data, str):
                raise _wrong("`data` is not text.")
            return _parsed(data, params)
        if not isinstance(data, list):
            raise _wrong("`data` is not a list of rows.")
        return _formatted(data, params)


def _parsed(text: str, params: CsvParams) -> list[Json]:
    rows = _rows(text, params)
    if not rows:
        return []
    width = max(map(len, rows)) if params.ragged == "fill" else len(rows[0])
    names = _names(rows.pop(0), width) if params.header else []
    _check_size(text, rows, names, width)
    filled = [row + [""] * (width - len(row)) for row in rows]
    return [dict(zip(names, row, strict=True)) for row in filled] if params.header else list(filled)


def _rows(text: str, params: CsvParams) -> list[list[str]]:
    """The rows as they are; with `ragged: error` all of the first one's length."""
    lines = io.StringIO(text.removeprefix("\ufeff"), newline="")
    reader = csv.reader(lines, delimiter=params.delimiter, quotechar=params.quote, strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row and rows and len(row) != len(rows[0]) and params.ragged == "error":
                raise _wrong(f"Line {reader.line_num} has {len(row)} cells, the first row has {len(rows[0])}.")
            if row:
                rows.append(row)
    except csv.Error as error:
        raise _wrong(f"Line {reader.line_num} is not valid CSV: {error}.") from error
    return rows


def _names(header: list[str], width: int) -> list[str]:
    names = header + [f"column {number}" for number in range(len(header) + 1, width + 1)]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _wrong(f"Two columns have the name {name!r}; without `header` rows are lists.")
        seen.add(name)
    return names


def _check_size(text: str, rows: list[list[str]], names: list[str], width: int) -> None:
    """Each cell costs its quotes and comma besides its text, and the name of its column."""
    if len(text) + len(rows) * (sum(map(len, names)) + 3 * width) > MAX_CHARACTERS:
        raise _too_large(len(rows), width)


def _formatted(rows: list[Json], params: CsvParams) -> str:
    names = params.columns or list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    if len(rows) * len(names) > MAX_CHARACTERS:
        raise _too_large(len(rows), len(names))
    out = io.StringIO(newline="")
    quoting: Literal[0, 1] = csv.QUOTE_ALL if params.quoting == "all" else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=params.delimiter, quotechar=params.quote, quoting=quoting)
    if params.header and names:
        writer.writerow(names)
    for number, row in enumerate(rows):
        writer.writerow(_cells(row, names, number))
    return out.getvalue()


def _cells(row: Json, names: list[str], number: int) -> list[str]:
    if isinstance(row, dict):
        return [_text(row.get(name)) for name in names]
    if isinstance(row, list) and not names:
        return [_text(cell) for cell in row]
    raise _wrong(f"Row {number} is not {'an object, as others are' if names else 'a list or an object'}.")


def _text(value: Json) -> str:
    if value is None:
        return ""
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except TypeError as error:
        raise _wrong(f"A cell cannot be written as JSON: {error}") from error


def _too_large(rows: int, columns: int) -> NodeError:
    message = f"{rows:,} rows of {columns:,} columns are more than the {MAX_CHARACTERS:,} characters of a value."
    return NodeError(message, code="too_large", retryable=False)


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
