"""The input pipeline alone, against what the model consumes in the same rounds.

python benchmarks/reading.py --records data/imdb/records
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measuring import find_records, interleaved, print_table, record, vocabulary_size
from training_speed import own_contenders

from config import ModelSettings
from runtime.devices import start_tensorflow
from utils import Parser, run_script


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="reading.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--batches", type=int, default=40, help="batches per round (default: 40)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Reads an epoch's first batches with and without training on them."""
    records = arguments.records or find_records()
    start_tensorflow("cpu")
    from runtime.input_pipeline import Split, read_ahead, training_batches

    vocabulary = vocabulary_size(records)
    split, settings, rows = Split(records, "train"), ModelSettings(word_units=50, sentence_units=50), []
    for batch_size in (64, 256):

        def deal(size: int = batch_size) -> list[Any]:
            return training_batches(split.index, size, seed=1, epoch=0)[: arguments.batches]

        batches = [split.read(numbers) for numbers in deal()]
        contenders = {
            "dealing and reading": lambda deal=deal: list(read_ahead(split.read, deal())),
            "training": own_contenders(vocabulary, settings, batches)["training"],
        }
        rates = {name: len(batches) / value for name, value in interleaved(contenders, arguments.rounds).items()}
        ratio = rates["dealing and reading"] / rates["training"]
        record("reading", {"records": records.parent.name, "batch_size": batch_size, **rates, "ratio": ratio})
        rows.append([f"batch {batch_size}", *(f"{rate:.1f}" for rate in rates.values()), f"{ratio:.1f}"])
    print_table("Input pipeline, batches/s", ["", "read alone", "trained (GRU 50)", "ratio"], rows)


if __name__ == "__main__":
    run_script(main, build_parser())
