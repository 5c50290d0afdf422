"""Short texts with several labels, or none, each told by one word, and a run that has learnt them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

import create_csv
import han_tester
import han_trainer
import serialize_data

NAMES = ("cheap", "loud", "red")
WORDS = {"cheap": "bargain", "loud": "noisy", "red": "crimson"}
SHAPE = ["--word_units", "4", "--sentence_units", "3", "--attention_dim", "5", "--batch_size", "16"]


def main(module: Any, *words: object) -> None:
    module.main(module.build_parser().parse_args(list(map(str, words))))


def write_things(folder: Path) -> Path:
    """Data and a finished run of short texts, in which one word tells each label; every eighth has none."""
    generator = np.random.default_rng(8)
    with (folder / "things.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text", "labels", "split"])
        for number in range(160):
            own = [name for place, name in enumerate(NAMES) if number >> place & 1]
            words = [f"word{w}" for w in generator.integers(12, size=6)] + [WORDS[name] for name in own]
            split = ("train", "train", "train", "valid", "test")[number // 8 % 5]
            cell = ", ".join(own) if own else ","
            if number >= 152:
                split, cell = "unlabelled", ""
            table.writerow([f"d{number}", f"{' '.join(generator.permutation(words))}.", cell, split])
    where = ["--data_dir", folder / "data"]
    main(create_csv, folder / "things.csv", "--multi_label", *where)
    main(
        serialize_data, "things", "--min_count", 1, "--embedding_dim", 6, "--word2vec_epochs", 1, "--workers", 1, *where
    )
    runs = [*where, "--runs_dir", folder / "runs"]
    main(han_trainer, "--dataset", "things", *SHAPE, "--num_epochs", 2, "--warmup_steps", 2, "--device", "cpu", *runs)
    main(han_tester, "things-han", "--device", "cpu", *runs)
    return folder
