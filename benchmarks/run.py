"""Runs the benchmarks one after another, each in a process of its own: ``make bench``.

    python benchmarks/run.py                                   # what takes minutes; on IMDB if it is there, else sample
    python benchmarks/run.py --only network --quick
    python benchmarks/run.py --full --source aclImdb_v1.tar.gz # also millions of documents, and archive to 91%

Each prints a table and appends lines to ``benchmarks/results.jsonl``. Timings mean little while anything else runs.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from measuring import ROOT, find_records

from runtime.run_folder import RunFolder
from utils import Parser, run_script, usable_cores

NAMES = (
    "startup",
    "network",
    "padding",
    "workers",
    "reading",
    "text",
    "cluster",
    "engines",
    "csv",
    "memory",
    "predicting",
    "explanations",
    "accuracy",
)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="run.py", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="which ones (default: all)")
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--quick", action="store_true", help="one network, fewer rounds")
    parser.add_argument("--full", action="store_true", help="memory at millions of documents as well")
    parser.add_argument("--source", help="archive of IMDB: from it to 91%% on validation (default: left out)")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Runs what was asked for; returns the first exit code that is not 0."""
    possible = {
        "accuracy": arguments.source,
        "predicting": finished_runs(),
        "explanations": finished_runs(),
        "engines": find_spec("ray"),
        "workers": usable_cores() > 1 and sys.platform == "linux",
    }
    commands = commands_of(arguments)
    for name in arguments.only:
        if not possible.get(name, True):
            continue
        command = [sys.executable, str(ROOT / "benchmarks" / commands[name][0]), *commands[name][1:]]
        print(f"\n$ {shlex.join(['python', *(str(Path(c)) for c in command[1:])])}", flush=True)
        if code := subprocess.run(command, check=False).returncode:
            return code
    return 0


def commands_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Of each benchmark its script and the script's arguments."""
    records = arguments.records or find_records()
    network = ["--quick", "--rounds", "3", "--batches", "4"] if arguments.quick else []
    workers = ["--rounds", "1", "--steps", "30"] if arguments.quick else []
    sizes = ["2000"] if arguments.quick else ["25000", "100000", *(["1000000"] if arguments.full else [])]
    tables = ["20000", "40000"] if arguments.quick else ["1000000", *(["2000000", "4000000"] if arguments.full else [])]
    return {
        "startup": ["startup.py"],
        "network": ["training_speed.py", "--records", str(records), *network],
        "padding": ["padding.py", "--records", str(records), *(["--timed"] if arguments.quick else [])],
        "workers": ["workers.py", "--records", str(records), *workers],
        "reading": ["reading.py", "--records", str(records)],
        "text": ["text_speed.py", "--records", str(records)],
        "cluster": ["cluster_cost.py", "--records", str(records)],
        "engines": ["engines.py", "--records", str(records)],
        "csv": ["csv_memory.py", "--documents", *tables, *(["--engines", "local", "ray"] if find_spec("ray") else [])],
        "memory": ["memory.py", "--records", str(records), "--documents", *sizes],
        "predicting": ["predicting.py", *finished_runs()[:1]],
        "explanations": ["explanation_cost.py", *finished_runs()[:1]],
        "accuracy": ["accuracy.py", "--source", arguments.source or ""],
    }


def finished_runs() -> list[str]:
    """Of the two runs that the README makes those that are there; the first is what is timed."""
    return [name for name in ("imdb-han", "sample-han") if RunFolder(ROOT / "runs" / name).finished.exists()]


if __name__ == "__main__":
    run_script(main, build_parser())
