"""Properties of tables: rows written by another program come back, whatever the delimiter, the quoting and the text."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Literal

from hypothesis import assume, example, given
from hypothesis import strategies as st

from corpus.tables import DELIMITERS, Record, open_table, records
from utils import UserError

Row = tuple[str, str, str]
Quoting = Literal[0, 1, 2]

# The pieces are those that tables stumble over.
PIECES = (
    *('"', '""', "'", ",", ";", "\t", "|", "\n", "\r\n", "\r", "\\", '\\"', " ", ' "', "text", "label", "id"),
    *("-1", "é", "中", "\u2028", "\x85", "\x0b", "\x1c", "\ue000", "=1+1"),
)
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(CHARACTERS, max_size=8)), max_size=8).map("".join)
IDS = st.text(st.sampled_from("abc0123"), min_size=1, max_size=4)
ROWS = st.lists(st.tuples(IDS, TEXTS, st.sampled_from(["good", "bad", "so so", "-1", "ü"])), min_size=1, max_size=12)
HEADER = ("id", "text", "label")
QUOTING = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])


def read(content: bytes, name: str) -> list[Record]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        table = open_table(path, "")
        assert table.names == HEADER
        return list(records(table))


@given(
    ROWS, st.sampled_from(sorted(DELIMITERS)), QUOTING, st.sampled_from(["", "\ufeff"]), st.sampled_from(["csv", "tsv"])
)
@example([("0", '"', "good")], "\t", csv.QUOTE_ALL, "", "csv")
@example([("0", '\\"5', "good"), ("1", "a, b\n", "bad")], ",", csv.QUOTE_ALL, "", "csv")
def test_any_rows_come_back_from_a_table(
    rows: list[Row], delimiter: str, quoting: Quoting, mark: str, ending: str
) -> None:
    # Which of two delimiters is meant is guessed: a text may be full of one, and not of several.
    others = dict.fromkeys(map(ord, DELIMITERS.keys() - {delimiter}))
    rows = [(identity, text.translate(others), label) for identity, text, label in rows]
    # Without quoting these would be several rows, each with as many cells.
    assume(delimiter != "\t" or not any("\t" in text and "\n" in text for _, text, _ in rows))
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerows([HEADER, *rows])
    found = read((mark + file.getvalue()).encode(), f"table.{ending}")
    assert [(record.problem, *record.fields) for record in found] == [("", *row) for row in rows]


@given(ROWS, st.booleans())
def test_any_rows_come_back_from_json_lines(rows: list[Row], ascii_only: bool) -> None:
    lines = [json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=ascii_only) + "\n" for row in rows]
    found = read("".join(lines).encode(), "table.jsonl")
    assert [(record.problem, *record.fields) for record in found] == [("", *row) for row in rows]


@given(st.binary(max_size=300), st.sampled_from(["csv", "tsv", "jsonl"]))
def test_any_bytes_give_records_or_one_line(content: bytes, ending: str) -> None:
    """No other error, and every record is either read or has a reason."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table.{ending}"
        path.write_bytes(content)
        try:
            found = list(records(open_table(path, "")))
        except UserError as error:
            assert "\n" not in str(error)
            return
        assert all(bool(record.fields) != bool(record.problem) for record in found)
