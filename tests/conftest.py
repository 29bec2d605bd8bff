"""Every test that asks for `database_url` or `pool` gets a migrated database of its own, on a real PostgreSQL.

One server per session: the embedded one with fsync off, or the one at `TEST_DATABASE_URL` (a role that may create
databases). The schema is migrated once into a template, and a test's database is a copy of its files.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import asyncpg
import psycopg
import pytest
import structlog

from melagent import embedded, migrate

FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "autovacuum": "off",  # plans and the template stay as they are
}


def in_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\1/{name}", url)


MEMORY = Path("/dev/shm")
MEMORY_BYTES = 6 * 1024**3
"""A database is six hundred files; in memory they are made and removed in less than half of the time."""


def memory():
    """A file system in memory with room for some servers; null when there is none: then it is the usual place."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None


@pytest.fixture(scope="session")
def server_url():
    """A PostgreSQL server where databases may be made."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="mel-test-", dir=memory()))
    server = embedded.start(folder, settings={**embedded.SETTINGS, **FAST})
    yield server.dsn
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def admin(server_url):
    """A connection of the session, for making and dropping databases."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template(admin, server_url):
    """The name of a migrated database that nobody connects to."""
    name = f"mel_template_{uuid4().hex}"
    admin.execute(f"CREATE DATABASE {name}")
    migrate.up(in_database(server_url, name))
    yield name
    admin.execute(f"DROP DATABASE {name}")


@pytest.fixture
def empty_database_url(admin, server_url):
    """A database without any schema."""
    name = f"mel_empty_{uuid4().hex}"
    admin.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY")
    yield in_database(server_url, name)
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(admin, server_url, template):
    """A migrated database of this test alone."""
    name = f"mel_test_{uuid4().hex}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield in_database(server_url, name)
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def pool(database_url):
    """A pool on this test's database; a connection that was not given back fails the test."""
    async with asyncio.timeout(60):
        pool = await asyncpg.create_pool(database_url, min_size=1, max_size=10)
    yield pool
    async with asyncio.timeout(60):
        await pool.close()


def pytest_configure():
    """Tracebacks without the values of all variables: drawing these takes up to a second."""
    *processors, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors, renderer])


@pytest.fixture(autouse=True)
def logging_stays_as_it_was():
    """A test that configures logging, as a command does, takes its streams with it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def no_task_is_left_behind(request):
    """Fail a test whose tasks have not ended a minute after it. One that has none pays for no event loop."""
    if any(map(_is_async, [request.function, *_fixtures_of(request)])):
        request.getfixturevalue("tasks_end")


def _fixtures_of(request):
    definitions = request.node._fixtureinfo.name2fixturedefs
    return [definition.func for name, found in definitions.items() if name != "tasks_end" for definition in found]


def _is_async(function):
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


@pytest.fixture
async def tasks_end():
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, running = await asyncio.wait(left, timeout=60)
        for task in running:
            task.cancel()
        assert not running, f"tasks left behind: {running}"
