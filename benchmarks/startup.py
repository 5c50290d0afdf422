"""Seconds from typing to answering: ``--help`` of every script, and the first training step.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, find_records, print_table, record

from utils import Parser, run_script


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="startup.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each script (default: 5)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Starts every script in turns; median seconds."""
    scripts = [path for path in sorted(ROOT.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    seconds: dict[str, list[float]] = {path.name: [] for path in scripts}
    for _ in range(arguments.rounds):
        for path in scripts:
            started = time.perf_counter()
            subprocess.run([sys.executable, path, "--help"], check=True, stdout=subprocess.DEVNULL)
            seconds[path.name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    medians["han_trainer.py, first step"] = first_step(find_records())
    record("startup", medians)
    print_table("Start-up", ["", "seconds"], [[name, f"{value:.2f}"] for name, value in medians.items()])


def first_step(records: Path) -> float:
    """Seconds from the start of the trainer to the report of its first step; the trainer is stopped then."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, str(ROOT / "han_trainer.py"), "--dataset", records.parent.name]
        command += ["--data_dir", str(records.parent.parent), "--runs_dir", runs, "--log_summaries_every", "1"]
        started = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True) as trainer:
            for line in trainer.stdout or ():
                if " step     1 " in line:
                    took = time.perf_counter() - started
                    trainer.send_signal(signal.SIGTERM)
                    trainer.communicate()
                    return took
    raise RuntimeError(f"the trainer ended before its first step: {' '.join(command)}")


if __name__ == "__main__":
    run_script(main, build_parser())
