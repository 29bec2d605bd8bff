"""`server node new`: a package for a node type of one's own, complete and ready to install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from melagent.cli.options import AsJson
from melagent.cli.show import show_json, show_progress

app = typer.Typer(help="Node types of your own.", no_args_is_help=True)

NAME_PATTERN = r"[a-z][a-z0-9]*([_-][a-z0-9]+)*"
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "{module}.py": "node.py",
    "tests/test_{id}.py": "test_node.py",
}
"""What is made, and the template for it."""


@app.callback()
def node() -> None:
    """Keeps `new` a command of a group, though it is the only one."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case words joined by _ or -; the id of the type")],
    *,
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to make it; ./NAME by default")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a package with a node, its test, and the entry point by which a server finds it."""
    words = _words(name)
    target = folder or Path(name)
    made = [str(path) for path in _write(target, words)]
    if as_json:
        show_json({"id": words["id"], "folder": str(target), "files": made})
        return
    for path in made:
        typer.echo(path)
    show_progress(f"install it beside the server: pip install -e {target}")


def _words(name: str) -> dict[str, str]:
    """What the templates call the node. Raises BadRequest when it cannot be an id, or is that of a built-in type."""
    import re

    from melagent.errors import BadRequest
    from melagent.registry import Registry

    if not re.fullmatch(NAME_PATTERN, name) or len(name) > 60:
        raise BadRequest(f"{name!r} cannot be a node's name; write lower-case words joined by _ or -.")
    id = name.replace("-", "_")
    if Registry.builtin().get(id):
        raise BadRequest(f"There is a built-in node type {id!r} already.")
    words = id.split("_")
    return {
        "id": id,
        "title": " ".join(words).capitalize(),
        "class": "".join(word.capitalize() for word in words) + "Node",
        "module": f"melagent_node_{id}",
        "distribution": f"melagent-node-{'-'.join(words)}",
    }


def _write(target: Path, words: dict[str, str]) -> list[Path]:
    """The files made. Raises Conflict when the folder has something in it: nothing is overwritten."""
    from importlib import resources
    from string import Template

    from melagent.errors import BadRequest, Conflict

    templates = resources.files("melagent.cli") / "new_node"
    made = []
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise Conflict(f"{target} is there already; choose another place with --folder.")
        for name, template in FILES.items():
            path = target / name.format(**words)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / f"{template}.template").read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(words), encoding="utf-8")
            made.append(path)
    except OSError as error:
        raise BadRequest(f"{target} cannot be written: {error.strerror}.") from None
    return made
