"""Tables to CSV files to records by the local engine and by Ray on this machine, in turns: time, memory, same bytes.

    python benchmarks/engines.py --records data/imdb/records --rounds 2

``create_csv.py`` reads the CSV file of the data set as if it were a table of one's own, ``serialize_data.py`` as usual.
Needs the packages of requirements-ray.txt, and Linux. Seconds are those of the whole command, with the start of Python
and of Ray; processor time is that of all its processes, those that Ray starts included, looked up four times a second.
On a machine with other work only processor time can be compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import ROOT, Watched, find_records, paths_of, print_table, record, watch_processes

from utils import LABELS_FILE, Parser, UserError, read_json, run_script

STAGES = {"create_csv": "csv_sha256", "serialize_data": "files"}  # and what in its manifest is compared
ENGINES = ("local", "ray")


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="engines.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds (default: 2)")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES), help="(default: both)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Runs both engines in turns and compares the medians."""
    csv_file = paths_of(arguments.records or find_records()).csv
    for stage in arguments.stages:
        compare(stage, csv_file, arguments.rounds)


def compare(stage: str, csv_file: Path, rounds: int) -> None:
    """Runs a stage with both engines and prints what they need."""
    found: dict[str, list[Watched]] = {engine: [] for engine in ENGINES}
    manifests = []
    for _ in range(rounds):
        for engine, measured in found.items():
            manifest, used = run(stage, csv_file, engine)
            manifests.append(manifest)
            measured.append(used)
            print(f"{stage} {engine}: {used.seconds:.1f} s, {used.processor:.1f} s of processor time", file=sys.stderr)
    if any(manifest[STAGES[stage]] != manifests[0][STAGES[stage]] for manifest in manifests):
        raise UserError("the engines wrote different bytes; run tests/test_ray.py")
    documents = sum(split["documents"] for split in manifests[0]["splits"].values())
    record("engines", {"stage": stage, "documents": documents, "load": os.getloadavg()[2], "used": found})
    rows = []
    for engine, measured in found.items():
        seconds, processor, main, other = map(statistics.median, zip(*measured, strict=True))
        speeds = [
            f"{seconds:.1f} s",
            f"{documents / seconds:,.0f}",
            f"{processor:.1f} s",
            f"{documents / processor:,.0f}",
        ]
        rows.append([engine, *speeds, f"{main:,.0f} MB", f"{other:,.0f} MB"])
    print_table(
        f"{stage}.py, {documents:,} documents, medians of {rounds} rounds, start and end included",
        [
            "engine",
            "seconds",
            "documents/s",
            "processor time",
            "documents per second of it",
            "main process",
            "largest other",
        ],
        rows,
    )


def run(stage: str, csv_file: Path, engine: str) -> tuple[dict[str, Any], Watched]:
    """The manifest that a stage writes, and what it has used."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / f"{stage}.py")]
        flags = ["--data_dir", folder, "--engine", engine]
        if stage == "create_csv":
            table = Path(folder) / "reviews.csv"
            table.symlink_to(csv_file.resolve())
            used = watch_processes([*command, str(table), *flags])
            return read_json(Path(folder) / "reviews" / "csv_manifest.json"), used
        place = Path(folder) / csv_file.stem
        place.mkdir()
        for file in (csv_file, csv_file.with_name(LABELS_FILE)):
            (place / file.name).symlink_to(file.resolve())
        used = watch_processes([*command, csv_file.stem, *flags, "--embeddings", "random"])
        return read_json(place / "records" / "manifest.json"), used


if __name__ == "__main__":
    run_script(main, build_parser())
