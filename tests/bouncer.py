"""PgBouncer in transaction mode before a PostgreSQL, as Debian packages it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.local.topology import free_port, required
from tests.builders import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = """
[databases]
{database} = {target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
"""


class Bouncer:
    """`url` leads through PgBouncer, with so many connections to the server. It can be killed and started again."""

    def __init__(self, folder: Path, dsn: str, connections: int) -> None:
        target = conninfo_to_dict(dsn)
        port, database = free_port(), target["dbname"]
        self.url = f"postgresql://{target['user']}@127.0.0.1:{port}/{database}"
        self.folder = folder
        folder.chmod(0o755)  # it may run as another user
        self._settings = folder / "pgbouncer.ini"
        self._log = folder / "pgbouncer.log"
        self._account = _account(str(target.get("host", "")))
        self._process: asyncio.subprocess.Process | None = None
        text = SETTINGS.format(database=database, target=make_conninfo(**target), port=port, connections=connections)
        self._settings.write_text(text)

    async def start(self) -> None:
        """Return when it answers. Raises ProgramMissing when it is not installed."""
        as_user = ["-u", self._account] if os.geteuid() == 0 else []
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                required("pgbouncer", "pgbouncer"), *as_user, str(self._settings), stderr=log
            )
        await eventually(self._answers)

    async def kill(self) -> None:
        """`kill -9`; nothing when it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self._log.read_text()[-3000:]
        try:
            connection = await asyncpg.connect(self.url, timeout=10)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


def _account(host: str) -> str:
    """Whom to run as, for PgBouncer refuses to be root: the owner of the server's socket."""
    return pwd.getpwuid(Path(host).stat().st_uid).pw_name if host.startswith("/") else "nobody"


@asynccontextmanager
async def bouncer(dsn: str, connections: int = 8) -> AsyncIterator[Bouncer]:
    """A running PgBouncer before this server; it ends and its folder is removed afterwards."""
    made = Bouncer(Path(tempfile.mkdtemp(prefix="mel-bouncer-")), dsn, connections)
    try:
        await made.start()
        yield made
    finally:
        await made.kill()
        shutil.rmtree(made.folder)
