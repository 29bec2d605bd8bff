"""The nginx of this machine under a configuration of `deploy/nginx`, moved to addresses and folders of a test."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

from tests.builders import eventually

ROOT = Path(__file__).parents[2]
NGINX = ROOT / "deploy/nginx"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def program(name):
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is not installed; .ci/packages does that on Debian and Ubuntu"
    return found


def configuration(text, folder, *, listen="127.0.0.1:8080", changes=()):
    """Write `text`, a whole configuration or a part for its http block, so that it needs nothing outside `folder`."""
    if "http {" not in text:
        text = f"events {{}}\nerror_log stderr warn;\nhttp {{\n{text}\n}}"
    for old, new in (
        ("http {", "http {\n" + "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in TEMPORARY)),
        ("listen 8080;", f"listen {listen};"),
        ("/var/log/nginx/", f"{folder}/"),
        ("/etc/nginx/mel-agent", str(NGINX)),
        ("pid /var/run/nginx.pid;", ""),
        *changes,
    ):
        text = text.replace(old, new)
    user = "user root;\n" if os.geteuid() == 0 else ""
    path = Path(folder) / "nginx.conf"
    path.write_text(f"{user}daemon off;\npid {folder}/nginx.pid;\n{text}")
    return path


@asynccontextmanager
async def nginx(path, port):
    """Nginx by this configuration, from when it accepts connections on the port until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        program("nginx"), "-p", str(path.parent), "-c", str(path), stderr=asyncio.subprocess.PIPE
    )

    async def accepts():
        assert process.returncode is None, (await process.stderr.read()).decode()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(accepts)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
