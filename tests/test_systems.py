"""The table of data sets and systems: what is run, what it compares with, and that the documentation has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import systems  # noqa: E402

from utils import UserError, read_jsonl  # noqa: E402


def row(system: str, seed: int, accuracy: float) -> dict[str, Any]:
    return {
        "set": "books",
        "system": system,
        "seed": seed,
        "accuracy": accuracy,
        "loss": 0.25,
        "calibration_error": 0.0123,
        "minutes": 1.5,
    }


def test_a_line_compares_with_the_better_linear_classifier_of_the_same_seed() -> None:
    default, (logistic, nbsvm) = "HAN with n-grams (default)", systems.LINEAR
    rows = [row(default, 1, 0.9), row(default, 2, 0.8), row(logistic, 1, 0.85), row(nbsvm, 1, 0.87)]
    rows += [row(logistic, 2, 0.82), row(nbsvm, 2, 0.7)]
    lines = systems.table(rows).splitlines()
    assert lines[2] == f"| books | {default} | 85.00 ± 7.07 | +0.50 | 0.250 | 1.2% | 1.5 | 2 |"
    assert lines[4].startswith(f"| books | {nbsvm} | 78.50 ± 12.02 | -6.00 |") and len(lines) == 5


def test_sets_are_files_or_published_ones_with_an_archive() -> None:
    assert systems.parsed("a/reviews.csv") == ("reviews", "a/reviews.csv", [])
    assert systems.parsed("imdb:x.tar.gz") == ("imdb", "imdb", ["True", "--source", "x.tar.gz"])
    assert systems.parsed("imdb:x.tar.gz:ratings") == ("imdb, ratings", "imdb", ["False", "--source", "x.tar.gz"])
    with pytest.raises(UserError, match="is no data set; write NAME:ARCHIVE"):
        systems.parsed("imdb:x.tar.gz:stars")
    with pytest.raises(UserError, match=r"missing\.csv is not there; name a file"):
        systems.main(systems.build_parser().parse_args(["missing.csv"]))


def test_the_documentation_has_the_table_of_what_was_measured() -> None:
    page = systems.PAGE.read_text(encoding="utf-8")
    assert page == systems.with_table(page, read_jsonl(systems.RESULTS)) and "<!-- systems -->\n| data set" in page
