"""Parsers of what comes from outside, given what nobody would send in good faith. `make prove` has minutes for each."""

from __future__ import annotations

import asyncio
import platform
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS, pieces
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
EXAMPLES = 300
SECONDS, LONG_SECONDS = 4, 120
GUIDED = {"webhook_call", "body", "signature"} & TARGETS.keys()
"""Open to the internet, so each run of the tests has a few seconds for them."""

WITH_ATHERIS = (sys.platform, platform.machine()) == ("linux", "x86_64") and sys.version_info < (3, 15)
"""Where it comes as a wheel, as `pyproject.toml` says. Elsewhere hypothesis alone looks for faults."""


@st.composite
def mutated(draw, target):
    """A seed after a few edits: bytes taken out, moved, and pieces of the language put in."""
    data = bytearray(draw(st.sampled_from(SEEDS[target])))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 0, 1, 2, 8, 64])))
        taken = bytes(data[start:end])
        data[start:end] = draw(st.one_of(st.sampled_from(pieces(target)), st.binary(max_size=4), st.just(taken * 2)))
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_is_too_strange_for_a_parser(target):
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(mutated(target), mutated(target), st.binary(max_size=200)))
    def fuzz(data):
        TARGETS[target](data)

    fuzz()


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_begins_with_is_taken(target):
    taken = [TARGETS[target](seed) for seed in SEEDS[target]]
    assert any(taken)


async def guided(target, seconds, folder):
    """Fuzz in a process of its own, for so many seconds; the number of inputs that were tried."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / str(number)).write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(piece)}"\n' for piece in pieces(target)))
    limits = ["-timeout=20", "-rss_limit_mb=3000", "-max_len=4096", f"-max_total_time={seconds}"]
    files = [f"-dict={words}", f"-artifact_prefix={folder}/", str(corpus)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fuzz.guided", target, *limits, *files,
        cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip  # what is run, then how
    _, errors = await asyncio.wait_for(process.communicate(), seconds + 300)
    said = errors.decode(errors="replace")
    finds = "".join(f"\n{found.name}: {found.read_bytes()!r}" for found in folder.glob("*-*"))
    assert process.returncode == 0, said[-5000:] + finds
    return int(re.findall(r"^Done (\d+) runs", said, re.MULTILINE)[-1])


def _escaped(piece):
    return "".join(f"\\x{byte:02x}" for byte in piece)


if WITH_ATHERIS:

    @pytest.mark.parametrize("target", sorted(GUIDED))
    async def test_guided_fuzzing_for_seconds_finds_nothing(target, tmp_path):
        assert await guided(target, SECONDS, tmp_path) > 100

    @pytest.mark.prove
    @pytest.mark.parametrize("target", TARGETS)
    async def test_guided_fuzzing_for_minutes_finds_nothing(target, tmp_path):
        assert await guided(target, LONG_SECONDS, tmp_path) > 1_000
