"""High-water mark of memory of serialising and training, at growing numbers of documents.

    python benchmarks/memory.py --records data/imdb/records --documents 25000 100000 1000000

The documents are those of the data set, taken again and again under new names. What is reported is the largest process
of each stage, as the system counts it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, find_records, largest_child, print_table, record

from utils import LABELS_FILE, Parser, run_script

STEPS = 150


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="memory.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--documents", type=int, nargs="+", default=[25_000, 100_000], help="sizes to measure")
    parser.add_argument("--stage", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Measures every size; each stage is watched by a process of its own, which is this script again."""
    if arguments.stage:
        watch(arguments.stage)
        return
    source = (arguments.records or find_records()).parent
    rows = []
    for documents in arguments.documents:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / source.name
            resample(source, place, documents)
            serialise = staged("serialize_data.py", source.name, "--data_dir", folder, "--embeddings", "random")
            runs = str(Path(folder) / "runs")
            train = staged(
                "han_trainer.py", "--dataset", source.name, "--data_dir", folder, "--runs_dir", runs,
                "--evaluate_every", str(STEPS // 2), "--log_summaries_every", str(STEPS // 2),
            )  # fmt: skip
        measured = {"serialise_seconds": serialise[0], "serialise_mb": serialise[1], "train_mb": train[1]}
        record("memory", {"records": source.name, "documents": documents, **measured})
        rate = documents / serialise[0]
        rows.append([f"{documents:,}", f"{rate:,.0f}", f"{serialise[1]:,.0f} MB", f"{train[1]:,.0f} MB"])
    print_table(
        f"Memory of the largest process, {STEPS} training steps with two validations",
        ["documents", "serialised/s", "serialize_data.py", "han_trainer.py"],
        rows,
    )


def resample(source: Path, target: Path, documents: int) -> None:
    """Writes a CSV file of ``documents`` documents, those of ``source`` in turn."""
    target.mkdir()
    (target / LABELS_FILE).write_bytes((source / LABELS_FILE).read_bytes())
    csv.field_size_limit(10_000_000)
    with (
        (source / f"{source.name}.csv").open(encoding="utf-8", newline="") as given,
        (target / f"{source.name}.csv").open("w", encoding="utf-8", newline="") as made,
    ):
        header, *rows = csv.reader(given)
        writer = csv.writer(made, lineterminator="\n")
        writer.writerow(header)
        stride = max(len(rows) // documents, 1)  # a small sample still has every split
        for number, row in zip(range(documents), itertools.cycle(rows[::stride]), strict=False):
            writer.writerow([f"{row[0]}-{number}", *row[1:]])


def staged(script: str, *flags: str) -> tuple[float, float]:
    """Seconds, and megabytes of the largest process, of a stage."""
    command = [sys.executable, __file__, "--stage", str(ROOT / script), *flags]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(shown[-2]), float(shown[-1])


def watch(command: list[str]) -> None:
    """Runs a stage, a trainer no further than its second validation, and prints seconds and megabytes."""
    started, validations = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as stage:
        for line in stage.stderr or ():
            validations += "validation loss" in line
            if validations == 2:
                stage.send_signal(signal.SIGTERM)
                validations += 1
    if stage.returncode not in {0, 128 + signal.SIGTERM}:
        raise RuntimeError(f"{command[0]} ended with exit code {stage.returncode}")
    print(time.perf_counter() - started, largest_child())


if __name__ == "__main__":
    run_script(main, build_parser())
