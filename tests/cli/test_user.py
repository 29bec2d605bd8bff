"""`server user`: people in the database, and passwords that are stored nowhere as they are."""

import asyncio
import io
import json
import subprocess
import sys

import asyncpg
import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from tests.cli.conftest import ROOT, environment

PASSWORD = "correct horse battery"


@pytest.fixture
def user(cli, database_url, monkeypatch):
    def call(*arguments, stdin=f"{PASSWORD}\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return cli("user", *arguments, "--database-url", database_url)

    return call


def stored(database_url, email):
    async def row():
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchrow("SELECT * FROM users WHERE email = $1", email)
        finally:
            await connection.close()

    return asyncio.run(row())


def test_a_user_is_added_listed_and_removed(user, database_url):
    assert user("add", " Ada@Example.com ", "--name", "Ada", "--role", "admin", "--password-stdin").code == 0
    (listed,) = json.loads(user("list", "--json").out)
    assert (listed["email"], listed["name"], listed["role"], listed["disabled_at"]) == (
        "ada@example.com", "Ada", "admin", None,
    )  # fmt: skip
    assert "ada@example.com" in user("list").out
    assert user("remove", "ADA@example.com").code == 0
    assert json.loads(user("list", "--json").out) == []
    assert user("remove", "ada@example.com").code == 4


def test_of_a_password_only_its_argon2id_hash_is_stored(user, database_url):
    user("add", "ada@example.com", "--password-stdin")
    row = stored(database_url, "ada@example.com")
    assert PASSWORD not in str([*row.values()])
    assert row["password_hash"].startswith("$argon2id$")
    assert PasswordHasher().verify(row["password_hash"], PASSWORD)


def test_a_new_password_takes_the_place_of_the_old_one(user, database_url):
    user("add", "ada@example.com", "--password-stdin")
    assert user("password", "Ada@example.com", "--password-stdin", stdin="another long one\r\n").code == 0
    row = stored(database_url, "ada@example.com")
    assert PasswordHasher().verify(row["password_hash"], "another long one")
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(row["password_hash"], PASSWORD)
    assert row["updated_at"] > row["created_at"]
    assert user("password", "nobody@example.com", "--password-stdin").code == 4


def test_a_password_that_is_made_up_is_the_only_thing_on_standard_output_and_never_seen_again(user, database_url):
    made = user("add", "ada@example.com", "--generate")
    password = made.out.strip()
    assert PasswordHasher().verify(stored(database_url, "ada@example.com")["password_hash"], password)
    assert password not in made.err + user("list").out + user("list", "--json").out
    again = json.loads(user("password", "ada@example.com", "--generate", "--json").out)["password"]
    assert PasswordHasher().verify(stored(database_url, "ada@example.com")["password_hash"], again)
    assert again != password


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(database_url, tmp_path):
    program = [sys.executable, "-m", "melagent", "user", "add", "ada@example.com", "--database-url", database_url]
    terminal = [sys.executable, "-c", f"import pty, sys; sys.exit(pty.spawn({program!r}) >> 8)"]
    shown = b""
    with subprocess.Popen(
        terminal, cwd=ROOT, env=environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        for question in (b"Password: ", b"confirmation: "):
            while not shown.endswith(question):
                read = process.stdout.read1()
                assert read, shown
                shown += read
            process.stdin.write(f"{PASSWORD}\n".encode())
            process.stdin.flush()
        shown += process.stdout.read()
    assert process.returncode == 0, shown
    assert PASSWORD.encode() not in shown
    assert PasswordHasher().verify(stored(database_url, "ada@example.com")["password_hash"], PASSWORD)


def test_an_email_has_one_user(user):
    assert user("add", "ada@example.com", "--password-stdin").code == 0
    again = user("add", "ADA@example.com", "--password-stdin", stdin="some other password\n")
    assert (again.code, "already" in again.err) == (1, True)
    assert len(json.loads(user("list", "--json").out)) == 1


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("add", "ada"), PASSWORD, "expected an address"),
        (("add", "a da@example.com"), PASSWORD, "expected an address"),
        (("add", "ada@\udce9"), PASSWORD, "expected an address"),
        (("add", "a" * 65 + "@example.com"), PASSWORD, "expected an address"),
        (("add", "ada@example.com", "--name", "a\nb"), PASSWORD, "expected one line"),
        (("add", "ada@example.com"), "short", "12 to 1,000 characters"),
        (("add", "ada@example.com"), "x" * 1001, "12 to 1,000 characters"),
        (("add", "ada@example.com"), "", "12 to 1,000 characters"),
        (("add", "ada@example.com", "--generate"), PASSWORD, "Choose one"),
        (("add", "ada@example.com", "--role", "king"), PASSWORD, "king"),
    ],
)
def test_misuse_is_told_and_makes_nobody(user, arguments, stdin, said):
    answer = user(*arguments, "--password-stdin", stdin=stdin)
    assert (answer.code, said in answer.err) == (2, True), answer.err
    assert json.loads(user("list", "--json").out) == []


def test_without_a_terminal_nobody_is_asked(user):
    answer = user("add", "ada@example.com")
    assert (answer.code, "--password-stdin" in answer.err) == (2, True)
