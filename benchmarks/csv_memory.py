"""High-water mark of memory of create_csv.py, and its time, at growing numbers of documents.

    python benchmarks/csv_memory.py --documents 1000000 2000000 4000000 --engines local ray

The documents are a table of one's own with ids, labels and short texts of random words (seed 1); one text in twenty is
that of another document. Memory is what a process has of its own (``RssAnon``): libraries and what it shares with
others, such as Ray's object store, are not counted. Needs Linux, and for Ray the packages of requirements-ray.txt.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measuring import ROOT, print_table, record, watch_processes

from utils import Parser, UserError, run_script, sha256_of_file

WORDS = 20  # of a text
REPEATED = 0.05


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="csv_memory.py", description=__doc__)
    parser.add_argument(
        "--documents", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000], help="sizes to measure"
    )
    parser.add_argument("--script", type=Path, default=ROOT / "create_csv.py", help="that of another version")
    parser.add_argument("--engines", nargs="+", choices=("local", "ray"), default=["local"], help="(default: local)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Measures every size with every engine; the files have to be the same."""
    rows = []
    for documents in arguments.documents:
        hashes = set()
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "reviews.csv"
            write_table(table, documents)
            for engine in arguments.engines:
                command = [sys.executable, str(arguments.script), str(table), "--data_dir", folder]
                used = watch_processes([*command, *(["--engine", engine] if engine != "local" else [])])
                hashes.add(sha256_of_file(Path(folder) / "reviews" / "csv_manifest.json"))
                record(
                    "csv_memory", {"documents": documents, "engine": engine, "load": os.getloadavg()[2], "used": used}
                )
                each, speed = f"{1e6 * used.processor / documents:.1f}", f"{documents / used.seconds:,.0f}"
                memory = [f"{used.main:,.0f} MB", f"{used.other:,.0f} MB"]
                rows.append([f"{documents:,}", engine, *memory, each, f"{used.seconds:,.0f} s", speed])
        if len(hashes) > 1:
            raise UserError("the engines wrote different files; run tests/test_ray.py")
    print_table(
        "create_csv.py on a table of one's own",
        ["documents", "engine", "main process", "largest other", "us of processor time each", "seconds", "documents/s"],
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


if __name__ == "__main__":
    run_script(main, build_parser())
