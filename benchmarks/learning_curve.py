"""How many labels a system needs: accuracy over the number of labelled reviews, for every system, in one picture.

    python benchmarks/learning_curve.py data/imdb/imdb.csv curve        # 1. writes a file for each number of labels
    python benchmarks/systems.py curve/labels-*.csv --seeds 1           # 2. measures the systems on each (hours)
    python benchmarks/learning_curve.py --draw                          # 3. draws docs/learning_curve.png

Step 1 draws reviews from the training and validation splits, as many of each class as there are of the others; a
smaller set is part of every larger one. A tenth of the labels is for validation, the test split stays whole, and the
unlabelled reviews are left out: what a system reaches, it reaches from the labels alone.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import systems
from measuring import ROOT

from corpus.corpora import CsvRow, read_csv
from report.colours import COLOURS
from report.plots import GREY, entitle, legend, new_figure, plain, png
from utils import Parser, UserError, atomic_write, log, read_jsonl, run_script

SIZES = (100, 300, 1_000, 3_000, 10_000, 25_000)
VALID_SHARE = 0.1
PICTURE = ROOT / "docs" / "learning_curve.png"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="learning_curve.py", description=__doc__)
    parser.add_argument("csv", nargs="?", type=Path, help="CSV file that create_csv.py wrote")
    parser.add_argument("folder", nargs="?", type=Path, help="where to write the files, for example curve")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="numbers of labels (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the drawing (default: 1)")
    parser.add_argument("--draw", action="store_true", help="draw the picture of what was measured")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Writes the files, or draws the picture."""
    if arguments.draw:
        with atomic_write(PICTURE, "wb") as file:
            file.write(png(figure_of(read_jsonl(systems.RESULTS))))
        print(f"Written: {PICTURE}")
        return 0
    if arguments.csv is None or arguments.folder is None:
        raise UserError("name the CSV file and the folder to write to, or add --draw")
    rows = [row for row in read_csv(arguments.csv) if row.split != "unlabelled"]
    test = [row for row in rows if row.split == "test"]
    order = balanced_order([row for row in rows if row.split != "test"], arguments.seed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for size in arguments.sizes:
        if size > len(order):
            raise UserError(f"--sizes {size}: there are {len(order):,} labelled reviews; give smaller numbers")
        path = arguments.folder / f"{systems.CURVE}{size:05d}.csv"
        write_table(path, order[:size], test)
        log.info("%s: %s labels, %s test reviews", path, f"{size:,}", f"{len(test):,}")
    return 0


def balanced_order(rows: Sequence[CsvRow], seed: int) -> list[CsvRow]:
    """The rows in random order, the classes taking turns: any beginning of it is balanced."""
    shuffled = [rows[number] for number in np.random.default_rng(seed).permutation(len(rows))]
    labels = sorted({row.label for row in rows})
    queues = [[row for row in shuffled if row.label == label] for label in labels]
    return [row for turn in zip(*queues, strict=False) for row in turn]


def write_table(path: Path, labelled: Sequence[CsvRow], test: Sequence[CsvRow]) -> None:
    """Writes a table of one's own, with splits; the last tenth of the labels is for validation."""
    valid = max(round(len(labelled) * VALID_SHARE), 2)
    parts = (("train", labelled[:-valid]), ("valid", labelled[-valid:]), ("test", test))
    with atomic_write(path, newline="") as file:
        table = csv.writer(file)
        table.writerow(["split", "label", "text"])
        table.writerows([split, row.label, row.text] for split, rows in parts for row in rows)


def figure_of(rows: Sequence[dict[str, Any]]) -> Any:
    """A curve of test accuracy for each system, over the number of labels."""
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    measured = [row for row in rows if row["set"].startswith(systems.CURVE)]
    known = [name for name in systems.SYSTEMS if any(row["system"] == name for row in measured)]
    colours = dict(zip(systems.SYSTEMS, (GREY, *COLOURS), strict=False))
    for name in known:
        points: dict[int, list[float]] = {}
        for row in measured:
            if row["system"] == name:
                points.setdefault(int(row["set"].removeprefix(systems.CURVE)), []).append(100 * row["accuracy"])
        sizes = sorted(points)
        means = [float(np.mean(points[size])) for size in sizes]
        axes.plot(sizes, means, marker="o", markersize=4, color=colours[name], linewidth=1.6, label=name)
    plain(axes, xscale="log", xlabel="labelled reviews", ylabel="test accuracy in %")
    drawn = sorted({int(row["set"].removeprefix(systems.CURVE)) for row in measured})
    axes.set_xticks(drawn, [f"{size:,}" for size in drawn], minor=False)
    axes.minorticks_off()
    entitle(axes, "IMDB: how many labels a system needs (no other text read)")
    legend(axes, loc="lower right")
    return figure


if __name__ == "__main__":
    run_script(main, build_parser())
