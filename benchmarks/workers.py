"""Workers on the cores of one machine, a core each, against one process on one core, in turns: documents/s.

    python benchmarks/workers.py --records data/imdb/records --workers 2

Each worker has as many documents of a batch as the single process: 64. Speed is that of training steps after the first
ones, in which loops are compiled. The share is what a worker reaches of the single process; the aim is 0.9. By the
clock it means little while anything else runs; by processor time it leaves out how long workers wait for each other.
It needs Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from measuring import MARK, ROOT, find_records, marked_processes, paths_of, print_table, record

from config import check_range
from runtime.run_folder import RunFolder
from utils import Parser, UserError, run_script

BATCH = 64
LINE_STEPS = 10  # between two lines of steps.jsonl
FIRST_LINES = 3  # that do not count
LOOK_SECONDS = 0.1
MOST_SECONDS = 600


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="workers.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--workers", type=int, default=2, help="workers, a core each (default: 2)")
    parser.add_argument("--steps", type=int, default=100, help="steps that count (default: 100)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds (default: 2)")
    return parser


class Speed(NamedTuple):
    """Documents that a training reads in a second.

    Attributes:
        by_clock: Of all workers together.
        by_processor: Of each worker, in a second of processor time of the busiest one.
    """

    by_clock: float
    by_processor: float


def main(arguments: argparse.Namespace) -> None:
    """Measures both in turns and prints the medians."""
    check_range("steps", arguments.steps, LINE_STEPS)
    cores = sorted(os.sched_getaffinity(0))
    if not 2 <= arguments.workers <= len(cores):
        raise UserError(f"--workers {arguments.workers} is not between 2 and the number of cores, {len(cores)}")
    records = arguments.records or find_records()
    measured: dict[int, list[Speed]] = {1: [], arguments.workers: []}
    for _ in range(arguments.rounds):
        for workers, speeds in measured.items():
            speeds.append(train(records, workers, cores[:workers], arguments.steps))
            clock, processor = speeds[-1]
            print(f"{workers}: {clock:,.0f} documents/s, {processor:,.0f} by processor time", file=sys.stderr)
    medians = {count: Speed(*map(statistics.median, zip(*speeds, strict=True))) for count, speeds in measured.items()}
    one, several = medians[1], medians[arguments.workers]
    shares = Speed(several.by_clock / one.by_clock / arguments.workers, several.by_processor / one.by_processor)
    by_count = {str(count): speed._asdict() for count, speed in medians.items()}
    record("workers", {"records": records.parent.name, "documents_per_second": by_count, "shares": shares._asdict()})
    rows = [
        [f"{count}, batch {count * BATCH}", f"{speed.by_clock:,.0f}", f"{speed.by_processor:,.0f}"]
        for count, speed in medians.items()
    ]
    rows.append(["share of one process, per worker", f"{shares.by_clock:.2f}", f"{shares.by_processor:.2f}"])
    print_table(
        f"Workers with a core each, documents/s, medians of {arguments.rounds} rounds",
        ["workers", "all, by the clock", "one, by processor time"],
        rows,
    )


def train(records: Path, workers: int, cores: list[int], steps: int) -> Speed:
    """A training on some cores, which is ended after ``steps`` steps that count.

    Raises:
        UserError: It ends by itself, or takes longer than ten minutes.
    """
    paths = paths_of(records)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, str(ROOT / "han_trainer.py"), "--run_type", "train", "--device", "cpu", "--ngrams", "off",
            "--dataset", paths.dataset, "--data_dir", str(paths.data_dir), "--runs_dir", folder, "--run", "timed",
            "--workers_per_machine", str(workers), "--batch_size", str(workers * BATCH), "--num_epochs", "100",
            "--evaluate_every", "1000000", "--checkpoint_every", "1000000", "--log_summaries_every", str(LINE_STEPS),
        ]  # fmt: skip
        mark = uuid.uuid4().hex
        on_cores = functools.partial(os.sched_setaffinity, 0, cores)
        with subprocess.Popen(
            command, stderr=subprocess.DEVNULL, env={**os.environ, MARK: mark}, preexec_fn=on_cores
        ) as training:
            try:
                lines = RunFolder(Path(folder) / "timed").steps
                began, used = wait_for_lines(lines, FIRST_LINES, training), processor_seconds(mark)
                ended = wait_for_lines(lines, FIRST_LINES + steps // LINE_STEPS, training)
                busiest = max(seconds - used.get(number, 0) for number, seconds in processor_seconds(mark).items())
            finally:
                training.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    training.wait(60)
                training.kill()  # one that does not end would hold up all benchmarks
    documents = steps // LINE_STEPS * LINE_STEPS * BATCH
    return Speed(workers * documents / (ended - began), documents / busiest)


def wait_for_lines(file: Path, count: int, training: subprocess.Popen[bytes]) -> float:
    """Waits until a file has so many lines; returns the time."""
    deadline = time.perf_counter() + MOST_SECONDS
    while not file.exists() or file.read_bytes().count(b"\n") < count:
        if training.poll() is not None or time.perf_counter() > deadline:
            raise UserError(f"the training wrote fewer than {count} lines to steps.jsonl; run it by hand")
        time.sleep(LOOK_SECONDS)
    return time.perf_counter()


def processor_seconds(mark: str) -> dict[int, float]:
    """Of each process of a training its seconds of processor time."""
    return {number: seconds for number, (seconds, _) in marked_processes(mark).items()}


if __name__ == "__main__":
    run_script(main, build_parser())
