"""Every SQL statement of the store is prepared against the migrated schema."""

import importlib
import pkgutil
import re

import asyncpg

import melagent.store

STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


def statements():
    """Every public constant of the store that is a statement, by `module.NAME`."""
    for found in pkgutil.iter_modules(melagent.store.__path__, "melagent.store."):
        for name, value in vars(importlib.import_module(found.name)).items():
            if name.isupper() and not name.startswith("_") and isinstance(value, str) and STATEMENT.match(value):
                yield f"{found.name.removeprefix('melagent.store.')}.{name}", value


def test_the_search_finds_the_statements():
    assert {"workflows.INSERT_WORKFLOW", "runs.FIND_RUN", "tokens.FIND_VALID_KEY"} <= dict(statements()).keys()


async def test_every_statement_fits_the_schema(pool):
    wrong = {}
    async with pool.acquire() as conn:
        for name, statement in statements():
            try:
                await conn.prepare(statement)
            except asyncpg.PostgresError as error:
                wrong[name] = str(error)
    assert wrong == {}
