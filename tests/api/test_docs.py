"""The examples of docs/api.md, security.md, approvals.md and webhooks.md run as they stand, in one shell."""

import asyncio
import os
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


async def told_by(page, client, services, folder, **variables):
    """The lines that the examples of a page print."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    script = "set -euo pipefail\n" + "\n".join(blocks)
    server = str(client.make_url("/")).rstrip("/")
    env = {"PATH": os.environ["PATH"], "MEL_SERVER_URL": server, "MEL_API_KEY": services.bootstrap_key}
    env |= variables
    shell = await asyncio.create_subprocess_exec("bash", "-c", script, stdout=-1, stderr=-1, env=env, cwd=folder)
    async with asyncio.timeout(60):
        out, complaints = await shell.communicate()
    assert (shell.returncode, complaints.decode()) == (0, "")
    return out.decode().splitlines()


async def test_the_examples_of_the_api_do_what_they_say(client, services, tmp_path):
    total, *rest = await told_by("api.md", client, services, tmp_path)
    assert total == "0"
    assert any('"nmae"' in line for line in rest)
    (told,) = [line for line in rest if line.startswith("one run: ")]
    first, again = told.split()[-2:]
    assert first == again
    assert f"{first} pending" in rest
    assert "[1,0,260]" in rest
    assert "42" in rest
    assert any('"line":1,"column":9' in line for line in rest)
    steered = rest.index("paused")
    assert rest[steered : steered + 3] == ["paused", "cancelled", "[true,2]"]


async def test_the_examples_of_security_do_what_they_say(client, services, tmp_path):
    *told, scopes, action, heading = await told_by("security.md", client, services, tmp_path)
    assert told == ["ada@example.com", "Made in a session"]
    assert re.fullmatch(r'\["execute","workflow:[0-9a-f-]{36}"\]', scopes)
    assert (action, heading.split(",")[:2]) == ("POST /api/tokens", ["id", "at"])


async def test_the_examples_of_approvals_do_what_they_say(client, services, worker, tmp_path):
    assert await told_by("approvals.md", client, services, tmp_path) == [
        '["Pay 250 €?","ok","why"]',
        '{"accepted":true}',
        '{"ok":true,"why":null}',
        '"approve"',
        '{"ok":false,"why":"too much"}',
    ]


async def test_the_examples_of_webhooks_do_what_they_say(client, services, secrets, worker, tmp_path):
    connection = "00000000-0000-0000-0000-000000000001"
    secrets[connection] = "correct horse battery staple"
    assert await told_by("webhooks.md", client, services, tmp_path, CONNECTION=connection) == [
        '["POST","/orders","shop",7]',
        "401",
        "202",
        "401",
        "two orders, two runs",
        '["refused",400]',
        '["accepted",202]',
        '{"order":7}',
        '{"captured":true}',
        "[null,9]",
    ]
