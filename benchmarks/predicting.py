"""Predictions for a file of texts, against the tester's loop over the same texts as records.

python benchmarks/predicting.py imdb-han

The tester's loop reads records and scores them; ``predict.py`` reads a table, cuts the texts into words, scores them
and writes a line for each. In turns, from one process.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import tempfile
from pathlib import Path

from measuring import interleaved, print_table, record

from corpus.corpora import read_csv
from corpus.tables import open_table
from predict import csv_writer, find_columns, score_rows, table_rows
from runtime.devices import start_tensorflow
from runtime.run_folder import find_run
from utils import DataPaths, Parser, add_folder_flags, run_script


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="predicting.py", description=__doc__)
    parser.add_argument("run", help="run folder, or its name in --runs_dir")
    add_folder_flags(parser)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Scores the test split both ways."""
    run = find_run(arguments.run, arguments.runs_dir)
    data = DataPaths(run.config().dataset, arguments.data_dir)
    start_tensorflow("cpu")
    from runtime.input_pipeline import Split
    from runtime.predictor import BATCH_WORDS, Predictor
    from runtime.scoring import score_split

    predictor, split = Predictor.load(run), Split(data.records, "test")
    with tempfile.TemporaryDirectory() as folder:
        texts = write_texts(data.csv, Path(folder) / "texts.csv")

        def predict() -> None:
            table = open_table(texts, "")
            rows = table_rows(table, *find_columns(table, "", ""))
            with (
                open(os.devnull, "w") as nowhere,
                contextlib.closing(score_rows(predictor, run.path, rows, False)) as all_,
            ):
                write = csv_writer(nowhere, predictor)
                for scored in all_:
                    write(scored)

        contenders = {"tester": lambda: score_split(predictor.model, split, BATCH_WORDS), "predict.py": predict}
        rates = {name: len(split) / value for name, value in interleaved(contenders, arguments.rounds).items()}
    ratio = rates["predict.py"] / rates["tester"]
    record("predicting", {"run": run.path.name, "documents": len(split), **rates, "ratio": ratio})
    row = [run.path.name, *(f"{rate:,.0f}" for rate in rates.values()), f"{ratio:.2f}"]
    print_table("Predictions, documents/s", ["", *rates, "ratio"], [row])


def write_texts(source: Path, place: Path) -> Path:
    """The test texts of a data set's CSV, as a table of their own."""
    with place.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text"])
        table.writerows((row.id, row.text) for row in read_csv(source) if row.split == "test")
    return place


if __name__ == "__main__":
    run_script(main, build_parser())
