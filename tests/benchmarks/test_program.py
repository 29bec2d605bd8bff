"""`python -m benchmarks` measures the real program; here so briefly that only its workings are tested."""

import asyncio
import json
import sys

from benchmarks.processes import ROOT, environment


async def benchmarks(*arguments):
    """Run the program; its exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", *arguments,
        cwd=ROOT, env=environment(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip  # what is run, then how
    _, errors = await asyncio.wait_for(process.communicate(), timeout=120)
    return process.returncode, errors.decode()


async def test_a_measurement_is_proved_and_written_with_where_it_was_made(tmp_path):
    out = tmp_path / "bench.json"
    code, errors = await benchmarks("effectful", "--seconds", "0.2", "--connections", "2", "--out", str(out))
    assert code == 0, errors
    content = json.loads(out.read_text())
    assert {"commit", "date", "machine", "versions"} <= content.keys()
    [effectful] = content["benchmarks"]
    assert effectful["rows"][0]["connections"] == 2
    assert effectful["postgres"]["durability"]["fsync"] == "on"
    assert effectful["proofs"]["product"]["runs"] == effectful["proofs"]["product"]["answers"] > 0
    assert effectful["writes_per_run"] == {"product": 3, "floor": 3}


async def test_an_unknown_benchmark_is_refused_with_the_known_ones():
    code, errors = await benchmarks("speed")
    assert code == 2
    assert "there is no benchmark speed; there are pure, effectful" in errors
