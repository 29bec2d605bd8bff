import re

import psycopg
import pytest

from melagent import migrate
from melagent.schema import known_ids

IDS = known_ids()


def relations(dsn):
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT c.relname, c.relkind, coalesce(string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod)"
            " || ' ' || a.attnotnull, ', ' ORDER BY a.attnum), '')"
            " FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '%yoyo%' GROUP BY 1, 2 ORDER BY 1"
        )
        functions = connection.execute(
            "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " ORDER BY 1"
        )
        return rows.fetchall(), functions.fetchall()


def test_rolling_everything_back_leaves_nothing_and_up_again_gives_the_same_schema(database_url):
    before = relations(database_url)
    assert migrate.down(database_url, len(IDS)) == tuple(reversed(IDS))
    assert relations(database_url) == ([], [])
    migrate.up(database_url)
    assert relations(database_url) == before


@pytest.mark.parametrize("steps", range(1, len(IDS)))
def test_each_rollback_is_the_exact_opposite_of_its_migration(database_url, steps):
    migrate.down(database_url, steps)
    after_down = relations(database_url)
    migrate.up(database_url)
    migrate.down(database_url, steps)
    assert relations(database_url) == after_down


@pytest.mark.parametrize("id", IDS)
def test_every_migration_is_numbered_explained_and_can_be_taken_back(id):
    assert re.fullmatch(r"\d{4}\.[a-z_]+", id)
    assert (migrate.folder() / f"{id}.sql").read_text().startswith("-- ")
    assert (migrate.folder() / f"{id}.rollback.sql").read_text().strip()
