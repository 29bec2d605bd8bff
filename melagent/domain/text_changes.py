"""Changes of a text as CodeMirror's ChangeSet writes them in JSON.

A list of sections: a number keeps so many units of the text, `[deleted, ...lines]` puts lines, joined by line breaks,
in the place of so many. A unit is one of UTF-16, as in a browser: a character outside the basic plane has two.
"""

from __future__ import annotations

from typing import Any, Final

UNIT: Final = 2
"""Bytes."""

ENCODING: Final = "utf-16-le"


class ChangesError(ValueError):
    """The changes are none, or not of this text."""


def changed(text: str, changes: Any) -> tuple[str, list[Any]]:
    """The text after the changes, and the changes that lead back. Raises ChangesError."""
    if type(changes) is not list:
        raise ChangesError("Changes are a list of sections.")
    old, at = text.encode(ENCODING), 0
    parts: list[bytes] = []
    back: list[Any] = []
    for section in changes:
        kept, deleted, inserted = _section(section)
        end = at + UNIT * (kept + deleted)
        if end > len(old):
            break
        if inserted is None:
            parts.append(old[at:end])
            back.append(kept)
        else:
            new = "\n".join(inserted).encode(ENCODING)
            parts.append(new)
            back.append([len(new) // UNIT, *_lines(old[at:end])])
        at = end
    else:
        if at == len(old):
            return _text(b"".join(parts)), back
    raise ChangesError(f"The changes are not of this text, which has {len(old) // UNIT:,} units.")


def _section(section: Any) -> tuple[int, int, list[str] | None]:
    """How much a section keeps and deletes, and the lines that it inserts; null for one that keeps."""
    if type(section) is int and section >= 0:
        return section, 0, None
    if type(section) is list and section and type(section[0]) is int and section[0] >= 0:
        deleted, *lines = section
        if all(type(line) is str and "\n" not in line for line in lines):
            return 0, deleted, lines
    raise ChangesError("A section is a number, or a list of a number and lines of text without line breaks.")


def _lines(deleted: bytes) -> list[str]:
    """The lines of deleted text; none when nothing was deleted."""
    return _text(deleted).split("\n") if deleted else []


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode(ENCODING)
    except UnicodeDecodeError:
        raise ChangesError("A change cuts a character in two: half of a surrogate pair is left.") from None
