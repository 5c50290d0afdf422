"""Text to records by the local engine and by Ray on this machine, in turns: seconds, processor time, the same bytes.

    python benchmarks/engines.py --records data/imdb/records --rounds 2

Needs the packages of requirements-ray.txt, and Linux. Seconds are those of the whole command, with the start of Python
and of Ray; processor time is that of all its processes, those that Ray starts included, looked up four times a second.
On a machine with other work only processor time can be compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from measuring import ROOT, find_records, paths_of, print_table, record

from utils import LABELS_FILE, Parser, UserError, read_json, run_script

LOOK_SECONDS = 0.25
MARK = "RUN_OF_ENGINES"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="engines.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds (default: 2)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Runs both engines in turns and compares the medians."""
    csv_file = paths_of(arguments.records or find_records()).csv
    found: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
    manifests = []
    for _ in range(arguments.rounds):
        for engine, measured in found.items():
            manifest, seconds, processor = serialise(csv_file, engine)
            manifests.append(manifest)
            measured.append((seconds, processor))
            print(f"{engine}: {seconds:.1f} s, {processor:.1f} s of processor time", file=sys.stderr, flush=True)
    if any(manifest["files"] != manifests[0]["files"] for manifest in manifests):
        raise UserError("the engines wrote different bytes; run tests/test_ray.py")
    documents = sum(split["documents"] for split in manifests[0]["splits"].values())
    record("engines", {"documents": documents, "load": os.getloadavg()[2], "seconds_and_processor": found})
    medians = {name: list(map(statistics.median, zip(*pairs, strict=True))) for name, pairs in found.items()}
    rows = [
        [name, f"{seconds:.1f} s", f"{documents / seconds:,.0f}", f"{processor:.1f} s", f"{documents / processor:,.0f}"]
        for name, (seconds, processor) in medians.items()
    ]
    print_table(
        f"{documents:,} documents, medians of {arguments.rounds} rounds, start and end included",
        ["engine", "seconds", "documents/s", "processor time", "documents per second of it"],
        rows,
    )


def serialise(csv_file: Path, engine: str) -> tuple[dict[str, Any], float, float]:
    """The manifest of records made from a CSV file, seconds, and seconds of processor time of all processes."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / csv_file.stem
        place.mkdir()
        for file in (csv_file, csv_file.with_name(LABELS_FILE)):
            (place / file.name).symlink_to(file.resolve())
        flags = ["--data_dir", folder, "--embeddings", "random", "--engine", engine]
        command = [sys.executable, str(ROOT / "serialize_data.py"), csv_file.stem, *flags]
        started, used = time.perf_counter(), dict[int, float]()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, MARK: mark}) as process:
            while process.poll() is None:
                used |= processor_times(mark)
                time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise UserError(f"serialize_data.py --engine {engine} ended with {process.returncode}; run it by hand")
        return read_json(place / "records" / "manifest.json"), seconds, sum(used.values())


def processor_times(mark: str) -> dict[int, float]:
    """Seconds of processor time of each process that has inherited this mark, by its number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
                found[int(folder.name)] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
        except OSError:  # it has ended, or is another user's
            continue
    return found


if __name__ == "__main__":
    run_script(main, build_parser())
