"""`python -m benchmarks`: measures, prints tables, and writes `benchmarks/results/<name>.json`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import uvloop
from rich.console import Console

from benchmarks import machine
from benchmarks.claim import claim
from benchmarks.cost import cost
from benchmarks.crossing import crossing
from benchmarks.editor import editor
from benchmarks.growth import growth
from benchmarks.instances import instances
from benchmarks.outcome import Options
from benchmarks.realtime.benchmark import PARTS, realtime
from benchmarks.remote import remote
from benchmarks.report import record, show
from benchmarks.soak import soak
from benchmarks.start import start
from benchmarks.throughput import effectful, forty, pure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.outcome import Outcome

    Benchmark: TypeAlias = Callable[[Path, Options], Awaitable[Outcome]]

RESULTS = Path(__file__).parent / "results"
WIDTH = 160  # the tables need it, also when they go to a file

BENCHMARKS: dict[str, Benchmark] = {
    "pure": pure,
    "effectful": effectful,
    "forty": forty,
    "claim": claim,
    "growth": growth,
    "cost": cost,
    "soak": soak,
    "start": start,
    "remote": remote,
    "instances": instances,
    "crossing": crossing,
    "realtime": realtime,
    "editor": editor,
}
CONNECTIONS, SOCKETS = (1, 10, 50, 100), (100, 1_000)


def main() -> None:
    """Exits with 1 when a proof fails or an answer is wrong; a goal that is missed is a result, not an error."""
    given = _arguments()
    options = Options(
        given.seconds,
        tuple(given.connections or CONNECTIONS),
        given.queued,
        given.runs,
        given.minute,
        given.parked,
        given.children,
        sockets=tuple(given.connections or SOCKETS),
        many=given.many,
        parts=tuple(given.parts),
        rounds=given.rounds,
    )
    uvloop.run(_measure(given.names or list(BENCHMARKS), options, given.out))


async def _measure(names: list[str], options: Options, out: Path | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # whatever was started is stopped
    frame = {
        "commit": machine.commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "options": asdict(options),
    }
    records = []
    for name in names:
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="mel-bench-") as folder:
            outcome = await BENCHMARKS[name](Path(folder), options)
        show(Console(width=WIDTH), name, outcome)
        records.append(record(name, outcome))
        if out is None:
            _write(RESULTS / f"{name}.json", {**frame, **records[-1]})
    if out is not None:
        _write(out, {**frame, "benchmarks": records})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(BENCHMARKS)}; all of them by default")
    parser.add_argument("--seconds", type=float, help="length of one measurement, 5 by default; not of the soak")
    parser.add_argument("--connections", type=int, nargs="+", metavar="N", help="1 10 50 100; 100 1000 of `realtime`")
    parser.add_argument("--queued", type=int, default=1_000_000, help="length of the long queue for `claim`")
    parser.add_argument("--runs", type=int, default=100_000, help="of each worker while its memory is watched")
    parser.add_argument("--parked", type=int, default=100_000, help="sleeping runs, and waiting ones, for `growth`")
    parser.add_argument("--children", type=int, default=1_000, help="of one run, for `growth`; ten times as many items")
    parser.add_argument("--minute", type=float, default=60.0, metavar="SECONDS", help="length of a minute of the soak")
    parser.add_argument("--many", type=int, default=10_000, help="sockets on one instance, for `realtime`")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[], help="of `realtime`; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="of `realtime` and `editor`, of which the median counts")
    parser.add_argument("--out", type=Path, help="one file for all results, instead of benchmarks/results/<name>.json")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    return given


if __name__ == "__main__":
    main()
