"""Which migrations this version of the program brings. Apart from `migrate`, whose driver every start would load."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Where the migrations lie: within the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def known_ids() -> tuple[str, ...]:
    """The ids of all migrations that this version of the program brings, in order."""
    return tuple(sorted(path.stem for path in folder().glob("*.sql") if not path.stem.endswith(".rollback")))
