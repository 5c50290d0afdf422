#!/usr/bin/env python3
"""Lists the runs with their results and compares them.

    python results.py                                  every run in runs/, by data set, the best last
    python results.py imdb-han imdb-lstm --latex       two runs, as a LaTeX table
    python results.py --csv > results.csv              every figure

A run that was not tested is listed with its state. The results of `linear_baselines.py` and of several runs as one are
rows as well.
"""

from __future__ import annotations

import installed  # noqa: F401

# isort: split
import argparse
import csv
import sys
from pathlib import Path

from report.run_table import COLUMNS, as_latex, as_text, run_rows
from runtime.run_folder import runs_in, similar_run
from utils import Parser, UserError, run_script


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="results.py", description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="*", help="names of runs in --runs_dir (default: all)")
    parser.add_argument("--split", default="test", choices=("test", "valid"), help="tested on (default: test)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, with every figure in full")
    form.add_argument("--latex", action="store_true", help="print a LaTeX table (package booktabs)")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Prints the table."""
    rows = run_rows(arguments.runs_dir, arguments.runs, arguments.split)
    for name in arguments.runs or [None]:
        if not any(name in (None, row["run"]) for row in rows):
            known = runs_in(arguments.runs_dir) or "none; train one with han_trainer.py"
            asked = f"there is no run {name!r} in" if name else "there are no runs in"
            meant = similar_run(name or "", arguments.runs_dir)
            raise UserError(f"{asked} {arguments.runs_dir}; it holds: {known}{meant}")
    if arguments.csv:
        table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    else:
        print("\n".join((as_latex if arguments.latex else as_text)(rows)))
    sys.stdout.flush()  # here, where a closed pipe is still caught


if __name__ == "__main__":
    run_script(main, build_parser())
