"""What the benchmarks share: interleaved rounds, medians, one table, one line in ``benchmarks/results.jsonl``.

Machines are noisy, and noisier at some minutes than at others. So everything that is compared is measured in one
process, in turns, and reported as a ratio of medians; seconds are for orientation.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from utils import DataPaths

RESULTS = ROOT / "benchmarks" / "results.jsonl"
LOOK_SECONDS = 0.25
MARK = "RUN_OF_BENCHMARK"


def find_records() -> Path:
    """Records to measure on: those of IMDB if they are there, else those of ``sample``."""
    from utils import DataPaths, UserError

    for name in ("imdb", "sample"):
        paths = DataPaths(name, ROOT / "data")
        if paths.manifest.exists():
            return paths.records
    raise UserError("no records to measure on; make some: python run_all.py sample --until serialize_data")


def paths_of(records: Path) -> DataPaths:
    """The paths of the data set whose records are in this folder."""
    from utils import DataPaths

    folder = records.resolve().parent
    return DataPaths(folder.name, folder.parent)


def vocabulary_size(records: Path) -> int:
    """The number of words in the vocabulary of records."""
    from data_processing import Vocabulary
    from utils import VOCABULARY_FILE

    return len(Vocabulary.load(records / VOCABULARY_FILE).words)


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Runs every contender once per round, in turns, after one round that does not count; median seconds of each.

    ``clock`` can be ``time.process_time``: seconds of processor time, which other work on the cores hardly changes.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            started = clock()
            run()
            if number:
                seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """An aligned table on standard output."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}")
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def record(benchmark: str, measured: Mapping[str, Any], file: Path = RESULTS) -> None:
    """Appends a line with machine, versions and commit to a JSON-lines file."""
    from runtime.run_folder import origin
    from utils import append_jsonl

    machine = {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()}
    append_jsonl(file, {"benchmark": benchmark, **measured, "machine": machine, "origin": origin()})


def largest_child() -> float:
    """Megabytes of the largest process that this one has started and that has ended."""
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return kilobytes / 1024


class Watched(NamedTuple):
    """What a command and all processes that it started have used.

    Attributes:
        seconds: By the clock.
        processor: Seconds of processor time.
        main: Megabytes of memory of its own that the first process had at most: no libraries, nothing shared.
        other: The same of the largest of the other processes.
    """

    seconds: float
    processor: float
    main: float
    other: float


def watch_processes(command: list[str]) -> Watched:
    """Runs a command and looks at its processes four times a second, also at those that it has left to others (Linux).

    Raises:
        UserError: It fails.
    """
    from utils import UserError

    mark = uuid.uuid4().hex
    times, memory = dict[int, float](), dict[int, float]()
    started = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, MARK: mark}) as process:
        while process.poll() is None:
            for number, (seconds, megabytes) in marked_processes(mark).items():
                times[number] = seconds
                memory[number] = max(megabytes, memory.get(number, 0))
            time.sleep(LOOK_SECONDS)
    wall = time.perf_counter() - started
    if process.returncode:
        raise UserError(f"{' '.join(command[1:])} ended with {process.returncode}; run it by hand")
    other = max((megabytes for number, megabytes in memory.items() if number != process.pid), default=0)
    return Watched(wall, sum(times.values()), memory[process.pid], other)


def marked_processes(mark: str) -> dict[int, tuple[float, float]]:
    """Of each process that has inherited this mark: seconds of processor time, megabytes of memory of its own."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                seconds = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
                [own] = re.findall(r"RssAnon:\s+(\d+) kB", (folder / "status").read_text())
                found[int(folder.name)] = sum(map(int, seconds)) / os.sysconf("SC_CLK_TCK"), int(own) / 1024
        except (OSError, ValueError):  # it has ended, or is another user's
            continue
    return found


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
