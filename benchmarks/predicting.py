"""Predictions for a file of texts, against the tester's loop over the same texts as records.

python benchmarks/predicting.py imdb-han

The tester's loop reads records and scores them; ``predict.py`` reads a table, cuts the texts into words, scores them
and writes a line for each; the page's table of documents keeps each on disk. In turns, from one process.
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
from corpus.text_rows import find_columns, table_rows
from predict import csv_writer
from runtime.devices import start_tensorflow
from runtime.run_folder import find_run
from runtime.streaming import score_rows
from utils import DataPaths, Parser, UserError, add_folder_flags, run_script


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
    from page.answers import ServedRun
    from page.scoring import Scoring
    from page.sources import SplitSource
    from page.table import DocumentTable
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

        served = ServedRun.load(run, data)

        def fill_table() -> None:
            table = DocumentTable(Path(folder) / "table.sqlite", predictor.class_names)
            scoring = Scoring(served, SplitSource(data, "test"), table)
            scoring.work(lambda *_: None)
            if scoring.state != "done":
                raise UserError(f"the table was not scored: {scoring.problem}")
            table.remove()

        contenders = {
            "tester": lambda: score_split(predictor.model, split, BATCH_WORDS),
            "predict.py": predict,
            "table of the page": fill_table,
        }
        rates = {name: len(split) / value for name, value in interleaved(contenders, arguments.rounds).items()}
    ratios = {f"{name} / tester": rate / rates["tester"] for name, rate in rates.items() if name != "tester"}
    record("predicting", {"run": run.path.name, "documents": len(split), **rates, **ratios})
    row = [run.path.name, *(f"{rate:,.0f}" for rate in rates.values()), *(f"{ratio:.2f}" for ratio in ratios.values())]
    print_table("Predictions, documents/s", ["", *rates, *ratios], [row])


def write_texts(source: Path, place: Path) -> Path:
    """The test texts of a data set's CSV, as a table of their own."""
    with place.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text"])
        table.writerows((row.id, row.text) for row in read_csv(source) if row.split == "test")
    return place


if __name__ == "__main__":
    run_script(main, build_parser())
