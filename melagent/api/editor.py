"""The built editor in memory: its page, and the files that the page loads, each in the encodings that the build made.

They are read once, so an instance goes on serving the version that it began with while the files are replaced.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED = re.compile(r"0(\.0*)?")
"""The quality of what is not taken."""
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
"""Whatever the machine's own table says."""
PACKED = (("br", ".br"), ("gzip", ".gz"))
"""Encodings that the build has made, the smaller one first, with the ending of such a file."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the encodings that there are; plain is `identity`."""

    media_type: str
    bodies: dict[str, bytes]

    def body_for(self, accepted: str) -> tuple[str, bytes]:
        """The smallest body that a browser takes which sent this `Accept-Encoding`, and its encoding."""
        taken = _accepted(accepted)
        encoding = next((each for each, _ in PACKED if each in taken and each in self.bodies), "identity")
        return encoding, self.bodies[encoding]


class BuiltEditor:
    """What the build has made; `page` is null where there was no build."""

    def __init__(self, folder: Path | None) -> None:
        self.page: str | None = None
        self.etag = ""
        self.assets: dict[str, Asset] = {}
        if folder is not None and (folder / "index.html").is_file():
            self.page = (folder / "index.html").read_text()
            self.etag = hashlib.sha256(self.page.encode()).hexdigest()[:16]
            self.assets = dict(_assets(folder / "assets"))


def built_folder() -> Path:
    """Where the build of the editor is put, in a checkout and in an installed package."""
    return Path(str(resources.files("melagent"))) / "web_dist"


def _assets(folder: Path) -> Iterable[tuple[str, Asset]]:
    endings = tuple(ending for _, ending in PACKED)
    for path in folder.iterdir():
        if path.suffix not in endings:
            packed = {name: path.with_name(path.name + ending) for name, ending in PACKED}
            bodies = {name: file.read_bytes() for name, file in packed.items() if file.is_file()}
            yield path.name, Asset(_media_type(path), {"identity": path.read_bytes(), **bodies})


def _media_type(path: Path) -> str:
    return TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _accepted(header: str) -> set[str]:
    """The encodings that an `Accept-Encoding` names and does not refuse."""
    entries = (entry.replace(" ", "").lower().partition(";q=") for entry in header.split(","))
    return {name for name, _, quality in entries if not REFUSED.fullmatch(quality)}
