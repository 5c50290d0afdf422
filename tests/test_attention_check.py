"""Attention beside its text: the sentences that are known to decide, and damaged files of them."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from report.attention_check import deciding_sentences
from runtime.input_pipeline import Split
from tests.helpers import write_tiny_records
from utils import DataPaths, UserError

TEXT = "Word01 good. Bad word02!"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """Records whose test documents all have the same text in the CSV."""
    data = DataPaths("tiny", tmp_path_factory.mktemp("check"))
    splits = write_tiny_records(data.records)
    with data.csv.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "split", "label", "rating", "text"])
        rows.writerows([document.id, "test", "positive", 0, TEXT] for document in splits["test"])
    return data


@pytest.fixture(scope="module")
def split(data: DataPaths) -> Iterator[Split]:
    with contextlib.closing(Split(data.records, "test")) as opened:
        yield opened


def test_a_sentence_decides_where_it_shares_a_character_with_the_evidence(data: DataPaths, split: Split) -> None:
    rows = [
        {"id": "test/0001", "evidence": [[13, 17]]},
        {"id": "test/0002", "evidence": [[11, 14]]},  # the end of one sentence and the beginning of the next
        {"id": "test/0003", "evidence": []},
        {"id": "train/0000", "evidence": [[0, 1]]},
    ]
    data.evidence.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert deciding_sentences(split, data, data.records)[:5] == [[], [False, True], [True, True], [], []]


@pytest.mark.parametrize(
    "line",
    ["3", "[]", '{"id": "test/0001"}', '{"id": 1, "evidence": []}', '{"id": "a", "evidence": [[1, 2, 3]]}', "{"],
)
def test_a_damaged_line_of_evidence_is_named(data: DataPaths, split: Split, line: str) -> None:
    good = json.dumps({"id": "test/0001", "evidence": [[0, 4]]})
    data.evidence.write_text(f"{good}\n{line}\n{good}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"evidence\.jsonl, line 2") as caught:
        deciding_sentences(split, data, Path(data.records))
    assert "\n" not in str(caught.value)
