"""Brings the others here: from npm and PyPI, in the versions of `peers/`, once, into a cache folder."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson

from deploy.local.topology import required

GIVEN = Path(__file__).parent / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mel-agent-benchmarks"
ASKED = ("package.json", "requirements.txt")
INSTALL_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Peers:
    """Where the others are installed, and in which versions."""

    folder: Path
    versions: dict[str, str]

    def hocuspocus(self, port: int, redis_port: int) -> list[str]:
        node = self.folder / "node_modules/node/bin/node"
        return [str(node), str(self.folder / "hocuspocus.mjs"), str(port), str(redis_port)]

    def socketio(self, port: int, redis_port: int) -> list[str]:
        python = self.folder / "venv/bin/python"
        return [str(python), str(self.folder / "socketio_rooms.py"), str(port), str(redis_port)]


async def peers() -> Peers:
    """Install what is not there yet. Raises RuntimeError with what the installer said."""
    asked = repr([(GIVEN / name).read_bytes() for name in ASKED])
    folder = CACHE / hashlib.sha256(asked.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # somebody else may be installing
        for path in filter(Path.is_file, GIVEN.iterdir()):
            shutil.copy(path, folder)
        if not (folder / "installed").exists():
            await _install(folder)
            (folder / "installed").touch()
    return Peers(folder, await _versions(folder))


async def _install(folder: Path) -> None:
    await _run(required("npm", "npm"), "install", "--no-audit", "--no-fund", cwd=folder)
    await _run("node_modules/node/bin/node", "--version", cwd=folder)
    await _run(sys.executable, "-m", "venv", "--clear", "venv", cwd=folder)
    await _run("venv/bin/python", "-m", "pip", "install", "-q", "-r", "requirements.txt", cwd=folder)


async def _versions(folder: Path) -> dict[str, str]:
    lock = orjson.loads((folder / "package-lock.json").read_bytes())["packages"]
    named = orjson.loads((folder / "package.json").read_bytes())["dependencies"]
    frozen = await _run("venv/bin/python", "-m", "pip", "freeze", cwd=folder)
    listed = dict(line.split("==", 1) for line in frozen.splitlines() if "==" in line)
    asked = [line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()]
    redis = await _run(required("redis-server", "redis-server"), "--version", cwd=folder)
    return {
        **{name: lock[f"node_modules/{name}"]["version"] for name in named},
        **{name: listed[name] for name in asked},
        "redis-server": redis.split("v=", 1)[1].split()[0],
    }


async def _run(program: str, *arguments: str, cwd: Path) -> str:
    """Run an installer; what it printed."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(INSTALL_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{program} {' '.join(arguments)}: {output.decode(errors='replace')[-2000:]}")
    return output.decode()
