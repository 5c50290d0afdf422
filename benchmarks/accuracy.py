"""From IMDB's archive to a model with 91% on validation, in seconds, by stage.

python benchmarks/accuracy.py --source aclImdb_v1.tar.gz
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time

from measuring import ROOT, print_table, record

from utils import Parser, UserError, run_script

ACCURACY = re.compile(r"validation loss \S+  accuracy (\S+)%")


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="accuracy.py", description=__doc__)
    parser.add_argument("--source", required=True, help="the archive")
    parser.add_argument("--target", type=float, default=91.0, help="accuracy in per cent (default: 91)")
    parser.add_argument("--evaluate_every", type=int, default=88, help="steps between validations (default: 88)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Runs the stages with their default settings; the trainer is stopped when it is there."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = ["--data_dir", folder]
        for script, flags in (
            ("download.py", ["imdb", "--source", arguments.source]),
            ("create_csv.py", ["imdb", "True"]),
            ("serialize_data.py", ["imdb"]),
        ):
            started = time.perf_counter()
            command = [sys.executable, str(ROOT / script), *flags, *place]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            seconds[script] = time.perf_counter() - started
        flags = [*place, "--runs_dir", folder, "--evaluate_every", str(arguments.evaluate_every), "--patience", "0"]
        seconds["han_trainer.py"], reached = train(flags, arguments.target)
    seconds["in all"] = sum(seconds.values())
    record("accuracy", {"target": arguments.target, "reached": reached, **seconds})
    rows = [[name, f"{value:.0f}"] for name, value in seconds.items()]
    print_table(f"Archive to {reached:.2f}% on validation, seconds", ["", "seconds"], rows)


def train(flags: list[str], target: float) -> tuple[float, float]:
    """Seconds until a validation reaches ``target`` per cent, and what it reached."""
    command = [sys.executable, str(ROOT / "han_trainer.py"), "--dataset", "imdb", *flags]
    started = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as trainer:
        for line in trainer.stderr or ():
            found = ACCURACY.search(line)
            if found and float(found[1]) >= target:
                took = time.perf_counter() - started
                trainer.send_signal(signal.SIGTERM)
                trainer.communicate()
                return took, float(found[1])
    raise UserError(f"no validation reached {target}%; try another --target")


if __name__ == "__main__":
    run_script(main, build_parser())
