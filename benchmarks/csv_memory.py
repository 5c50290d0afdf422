"""High-water mark of memory of create_csv.py, and its time, at growing numbers of documents.

    python benchmarks/csv_memory.py --documents 1000000 2000000 4000000

The documents are a table of one's own with ids, labels and short texts of random words (seed 1); one text in twenty is
that of another document. What is reported is the largest process, as the system counts it.
"""

from __future__ import annotations

import argparse
import csv
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import ROOT, largest_child, print_table, record

from utils import Parser, run_script

WORDS = 20  # of a text
REPEATED = 0.05


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="csv_memory.py", description=__doc__)
    parser.add_argument(
        "--documents", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000], help="sizes to measure"
    )
    parser.add_argument("--script", type=Path, default=ROOT / "create_csv.py", help="that of another version")
    parser.add_argument("--stage", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Measures every size; the stage is watched by a process of its own, which is this script again."""
    if arguments.stage:
        watch(arguments.stage)
        return
    rows = []
    for documents in arguments.documents:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "reviews.csv"
            write_table(table, documents)
            stage = [str(arguments.script), str(table), "--data_dir", folder]
            command = [sys.executable, __file__, "--stage", *stage]
            shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        wall, processor, megabytes = map(float, shown)
        record("csv_memory", {"documents": documents, "seconds": wall, "processor": processor, "mb": megabytes})
        rows.append([f"{documents:,}", f"{megabytes:,.0f} MB", f"{1e6 * processor / documents:.1f}", f"{wall:,.0f} s"])
    print_table(
        "create_csv.py on a table of one's own",
        ["documents", "largest process", "microseconds of processor time a document", "seconds"],
        rows,
    )


def write_table(path: Path, documents: int) -> None:
    """Writes a table of so many documents."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "text"])
        writer.writerows(made_rows(documents))


def made_rows(documents: int) -> Iterator[tuple[str, str, str]]:
    """Rows of random words, of which one in twenty has the text of one before it."""
    chance = random.Random(1)
    words = [f"word{number}" for number in range(1_000)]
    kept = ["word1"]
    for number in range(documents):
        text = chance.choice(kept) if chance.random() < REPEATED else " ".join(chance.choices(words, k=WORDS))
        if len(kept) < 100_000:
            kept.append(text)
        yield f"r{number}", chance.choice(("bad", "good")), text


def watch(command: list[str]) -> None:
    """Runs a stage; prints its seconds, its processor time and the megabytes of its largest process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(time.perf_counter() - started, used.ru_utime + used.ru_stime, largest_child())


if __name__ == "__main__":
    run_script(main, build_parser())
