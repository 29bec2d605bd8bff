"""The examples of docs/api.md run as they stand, one after the other, in one shell."""

import asyncio
import os
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


async def test_the_examples_do_what_they_say(client, services):
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    script = "set -euo pipefail\n" + "\n".join(blocks)
    server = str(client.make_url("/")).rstrip("/")
    env = {"PATH": os.environ["PATH"], "MEL_SERVER_URL": server, "MEL_API_KEY": services.bootstrap_key}
    shell = await asyncio.create_subprocess_exec("bash", "-c", script, stdout=-1, stderr=-1, env=env)
    async with asyncio.timeout(60):
        out, complaints = await shell.communicate()
    assert (shell.returncode, complaints.decode()) == (0, "")
    total, *rest = out.decode().splitlines()
    assert total == "0"
    assert any('"nmae"' in line for line in rest)
    (told,) = [line for line in rest if line.startswith("one run: ")]
    first, again = told.split()[-2:]
    assert first == again
    assert f"{first} pending" in rest
    assert "[1,0,260]" in rest
    assert rest[-2] == "42"
    assert '"line":1,"column":9' in rest[-1]
