"""The package's build hook: builds the editor, so that wheel and sdist bring it along.

A build that is there already is taken as it is. An editable install leaves it to the launcher (or to `make web`).
MEL_SKIP_WEB=1 builds a package without the editor.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from types import ModuleType

EDITABLE = "editable"


class EditorHook(BuildHookInterface[Any]):
    """Known to hatchling by being the one hook in this file."""

    def dependencies(self) -> list[str]:
        """Node, where the machine has none that is new enough."""
        editor = self._editor()
        return [] if editor is None or editor.is_built() or editor.has_node() else [editor.NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        editor = self._editor()
        if editor is not None and version != EDITABLE and not editor.is_built():
            editor.build()

    def _editor(self) -> ModuleType | None:
        """`web/build.py`; null where there is nothing to build, as in an image whose editor was built before."""
        script = Path(self.root) / "web" / "build.py"
        if os.environ.get("MEL_SKIP_WEB") or not script.is_file():
            return None
        spec = importlib.util.spec_from_file_location("build_editor", script)
        if spec is None or spec.loader is None:
            return None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
