"""The padded path by number of groups: how much padding is left, and its speed on a CPU.

    python benchmarks/padding.py --records data/imdb/records

The padding factor is the number of places of all rectangles over that of words: 1 is none. "Time" is what the rule by
which the groups are chosen gives (:func:`network.groups.borders`), over that of one group: no measurement.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import find_records, interleaved, print_table, record, vocabulary_size
from training_speed import documents_of_any_size, own_network

from config import ModelSettings, TrainingSettings
from runtime.devices import start_tensorflow
from utils import Parser, run_script

GROUPS = (1, 2, 3, 4, 6, 8)
BATCH_SIZES = (64, 256, 1024)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="padding.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all contenders (default: 5)")
    parser.add_argument("--batches", type=int, default=2, help="batches per round (default: 2)")
    parser.add_argument("--timed", nargs="*", type=int, default=[64, 256], help="batches to time (default: 64 256)")
    parser.add_argument("--groups", nargs="+", type=int, default=[1, 2, 4], help="to time (default: 1 2 4)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Prints what is left of padding, then the speeds."""
    records = arguments.records or find_records()
    start_tensorflow("cpu")
    from network.recurrent import STEP_ROWS

    rows = []
    for size in BATCH_SIZES:
        for step_rows in (0, *STEP_ROWS.values()):
            found = padding(batches_of(records, size, 20), step_rows)
            record("padding", {"batch_size": size, "step_rows": step_rows, "by_groups": found})
            cells = [f"{factor:.2f}, {seconds:.2f}" for factor, seconds in found.values()]
            rows.append([f"batch {size:,}, a step costs {step_rows} rows", *cells])
    print_table("Padding factor and time, by number of groups", ["", *map(str, GROUPS)], rows)
    speeds = []
    for size in arguments.timed:
        measured = speed(records, size, arguments)
        record("padded path", {"batch_size": size, "documents_per_second": measured})
        speeds += [[f"batch {size:,}, {name}", f"{value:,.0f}"] for name, value in measured.items()]
    print_table("Documents per second of processor time, GRU, 100 units", ["", "documents/s"], speeds)


def batches_of(records: Path, size: int, count: int) -> list[Any]:
    """Whole batches of the training split, in the order of a training's first epoch."""
    from runtime.input_pipeline import Split, training_batches

    split = Split(records, "train")
    numbers = training_batches(split.index, size, seed=1, epoch=0)
    return [split.read(one) for one in numbers if len(one) == size][:count]


def padding(batches: Sequence[Any], step_rows: float) -> dict[str, tuple[float, float]]:
    """By number of groups: the padding factor, and the time by the rule over that of one group; empty groups count."""
    from network.groups import rectangles

    found = dict[str, tuple[float, float]]()
    alone = 0.0
    for groups in GROUPS:
        places = seconds = words = 0.0
        for batch in batches:
            lengths = batch.documents.words_per_sentence
            shapes = rectangles(lengths, groups, step_rows).shapes.numpy().astype(np.int64)
            places += float(shapes.prod(axis=1).sum())
            seconds += float((shapes[:, 1] * (shapes[:, 0] + step_rows)).sum())
            words += float(lengths.numpy().sum())
        alone = alone or seconds
        found[str(groups)] = places / words, seconds / alone
    return found


def speed(records: Path, size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Documents per second of processor time, forward and in training, by number of groups."""
    batches, vocabulary = batches_of(records, size, arguments.batches), vocabulary_size(records)
    contenders = dict[str, Any]()
    for groups in arguments.groups:
        contenders |= own_contenders(vocabulary, groups, batches)
    seconds = interleaved(contenders, arguments.rounds, time.process_time)
    return {name: size * len(batches) / value for name, value in seconds.items()}


def own_contenders(vocabulary: int, groups: int, batches: list[Any]) -> dict[str, Any]:
    """The training step and inference of the padded HAN with so many groups of sentences."""
    import tensorflow as tf

    from training.optimizers import RowwiseAdam
    from training.step import compile_step

    settings = ModelSettings(word_units=100, sentence_units=100, attention_dim=200)
    model = own_network(vocabulary, settings, padded=True)
    model.word_encoder.groups = groups
    optimizer = RowwiseAdam(1e-3)
    optimizer.build(model.trainable_variables)
    step = compile_step(model, optimizer, TrainingSettings())
    infer = tf.function(lambda d: model(d), input_signature=[documents_of_any_size()], autograph=False)
    marked = np.zeros(0, np.int32)
    return {
        f"forward, {groups} groups": lambda: [infer(b.documents).numpy() for b in batches],
        f"training, {groups} groups": lambda: [
            float(step(b.documents, b.labels, [1, 2], 1.0, marked)["loss"]) for b in batches
        ],
    }


if __name__ == "__main__":
    run_script(main, build_parser())
