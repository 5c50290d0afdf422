"""Attention beside its text: texts of the records, sentences that are known to decide, damaged files of them."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corpus.corpora import CSV_COLUMNS
from report.attention_check import deciding_sentences, evidence_score, overlaps, texts_by_id
from runtime.input_pipeline import Split
from tests.helpers import write_tiny_records
from utils import DataPaths, UserError, read_json, sha256_of_file, write_json

TEXT = "Word01 good. Bad word02!"


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


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """Records whose test documents all have the same text in the CSV."""
    judged = DataPaths("tiny", tmp_path_factory.mktemp("check"))
    splits = write_tiny_records(judged.records)
    with judged.csv.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "split", "label", "rating", "text"])
        rows.writerows([document.id, "test", "positive", 0, TEXT] for document in splits["test"])
    manifest = read_json(judged.manifest)
    write_json(judged.manifest, {**manifest, "csv": {"sha256": sha256_of_file(judged.csv)}})
    return judged


@pytest.fixture(scope="module")
def split(judged: DataPaths) -> Iterator[Split]:
    with contextlib.closing(Split(judged.records, "test")) as opened:
        yield opened


def test_a_sentence_decides_where_it_shares_a_character_with_the_evidence(judged: DataPaths, split: Split) -> None:
    rows = [
        {"id": "test/0001", "evidence": [[13, 17]]},
        {"id": "test/0002", "evidence": [[11, 14]]},  # the end of one sentence and the beginning of the next
        {"id": "test/0003", "evidence": []},
        {"id": "train/0000", "evidence": [[0, 1]]},
    ]
    judged.evidence.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert deciding_sentences(split, judged, judged.records)[:5] == [[], [False, True], [True, True], [], []]


@pytest.mark.parametrize(
    "line",
    ["3", "[]", '{"id": "test/0001"}', '{"id": 1, "evidence": []}', '{"id": "a", "evidence": [[1, 2, 3]]}', "{"],
)
def test_a_damaged_line_of_evidence_is_named(judged: DataPaths, split: Split, line: str) -> None:
    good = json.dumps({"id": "test/0001", "evidence": [[0, 4]]})
    judged.evidence.write_text(f"{good}\n{line}\n{good}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"evidence\.jsonl, line 2") as caught:
        deciding_sentences(split, judged, Path(judged.records))
    assert "\n" not in str(caught.value)
