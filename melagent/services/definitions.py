"""Definitions as they are stored: JSON text, written the same way everywhere, so that equal ones have equal text."""

from __future__ import annotations

import hashlib

from melagent.domain.definition import Definition


def encode(definition: Definition) -> bytes:
    """The JSON text of a definition, every field written out, the order of its objects' keys kept."""
    return definition.model_dump_json().encode()


def decode(text: bytes) -> Definition:
    """A definition that was stored: its shape was checked on the way in."""
    return Definition.model_validate_json(text)


def fingerprint(text: bytes) -> bytes:
    """The SHA-256 under which a stored definition is known."""
    return hashlib.sha256(text).digest()
