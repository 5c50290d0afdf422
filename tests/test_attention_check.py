"""Texts that stand beside attention are those that the records were made from."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from corpus.corpora import CSV_COLUMNS
from report.attention_check import evidence_score, overlaps, texts_by_id
from tests.helpers import write_tiny_records
from utils import DataPaths, UserError, read_json, sha256_of_file, write_json


@pytest.fixture
def data(tmp_path: Path) -> DataPaths:
    """Records whose manifest names the CSV file beside them."""
    paths = DataPaths("tiny", tmp_path)
    write_tiny_records(paths.records)
    with paths.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                CSV_COLUMNS,
                ("a", "test", "bad", 1, "One."),
                ("b", "test", "good", 2, "Two."),
                ("c", "test", "bad", 1, "3."),
            ]
        )
    manifest = read_json(paths.manifest)
    write_json(paths.manifest, {**manifest, "csv": {"sha256": sha256_of_file(paths.csv)}})
    return paths


def test_texts_are_those_asked_for(data: DataPaths) -> None:
    assert texts_by_id(data, {"a", "c"}) == {"a": "One.", "c": "3."}


@pytest.mark.parametrize("change", ["text", "missing"])
def test_texts_of_another_csv_file_are_refused(data: DataPaths, change: str) -> None:
    if change == "missing":
        data.csv.unlink()
    else:
        data.csv.write_text(data.csv.read_text().replace("One.", "Won."))
    with pytest.raises(UserError, match=r"tiny.csv is missing or is not .*; run: python serialize_data.py tiny"):
        texts_by_id(data, {"a"})


def test_evidence_score_counts_the_documents_with_evidence() -> None:
    deciding = [[True, False], [False, True, False, False], [], [False, False]]
    assert evidence_score(np.array([0, 0, 0, 1]), deciding) == {"precision": 0.5, "chance": 0.375, "documents": 2}
    assert evidence_score(np.array([0]), [[False]]) is None


def test_overlaps() -> None:
    assert overlaps((2, 5), [(0, 1), (4, 9)]) and not overlaps((2, 5), [(0, 2), (5, 9)])
