"""Tables that pandas reads, JSON lists and compressed tables: the same documents as from a plain CSV file."""

from __future__ import annotations

import bz2
import csv
import gzip
import itertools
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import create_csv
from config import CsvSettings
from corpus.corpora import read_csv
from corpus.frames import as_text, read_frame
from corpus.own_data import understand
from corpus.sources import open_source, plain_suffix
from corpus.tables import open_table, records
from utils import DataPaths, UserError, dataset_name

TEXTS = [f'A "text" of many, number {number}:\nline two; größe \U0001f600' for number in range(40)]
TABLE = pd.DataFrame({"stars": [1, 5] * 20, "review": TEXTS})
MISSING_PLACES = (3, 17)

Write = Callable[[pd.DataFrame, Path], Any]


def json_list(table: pd.DataFrame, path: Path) -> None:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def packed(pack: Callable[[bytes], bytes]) -> Write:
    return lambda table, path: path.write_bytes(pack(table.to_csv(index=False).encode()))


def zipped(table: pd.DataFrame, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._mine.csv", b"\0")
        archive.writestr("mine.csv", table.to_csv(index=False))


WRITERS: dict[str, Write] = {
    "mine.parquet": lambda table, path: table.to_parquet(path),
    "mine.feather": lambda table, path: table.to_feather(path),
    "mine.xlsx": lambda table, path: table.to_excel(path, index=False),
    "mine.dta": lambda table, path: table.to_stata(path, write_index=False, version=118),
    "mine.json": json_list,
    "mine.csv.gz": packed(gzip.compress),
    "mine.csv.bz2": packed(bz2.compress),
    "mine.csv.xz": packed(lzma.compress),
    "mine.csv.zip": zipped,
}
every_format = pytest.mark.parametrize("name", WRITERS)


def converted(source: Path, folder: Path) -> list[tuple[str, ...]]:
    """Split, label and text of every row of the CSV file that is made of a source."""
    create_csv.main(create_csv.build_parser().parse_args([str(source), "--data_dir", str(folder)]))
    return [(row.split, row.label, row.text) for row in read_csv(DataPaths("mine", folder).csv)]


@every_format
def test_every_format_gives_the_documents_of_the_plain_table(tmp_path: Path, name: str) -> None:
    WRITERS[name](TABLE, tmp_path / name)
    TABLE.to_csv(tmp_path / "mine.csv", index=False)
    assert dataset_name(name) == "mine"
    expected = converted(tmp_path / "mine.csv", tmp_path / "plain")
    assert {text for _, _, text in expected} == set(TEXTS) and {label for _, label, _ in expected} == {"1", "5"}
    assert converted(tmp_path / name, tmp_path / "data") == expected


@every_format
def test_missing_texts_and_labels_are_counted(tmp_path: Path, name: str) -> None:
    table = TABLE.astype({"stars": "float64"})
    table.loc[list(MISSING_PLACES), "review"] = "" if name.endswith("dta") else None  # Stata has no missing text
    table.loc[5, "stars"] = np.nan
    WRITERS[name](table, tmp_path / name)
    corpus, found = understand(tmp_path / name, CsvSettings())
    report = "\n".join(found)
    assert "skipped: 2 x no text" in report and "1 rows have no label" in report
    assert "2 classes: 1 (20), 5 (17)" in report  # not 1.0, although a column with gaps holds fractions
    assert len(list(corpus.rows(tmp_path))) == 38


@every_format
def test_a_file_cut_short_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](TABLE, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError) as caught:
        list(records(open_table(path, "")))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.parquet", b"text,label\n", "is no Parquet file, or it is damaged"),
        ("a.xlsx", b"text,label\n", "is no Excel file, or it is damaged"),
        ("a.csv", b"PAR1" + bytes(99), "a Parquet file; give it the ending .parquet"),
        ("a.csv.gz", b"text,label\n", r"damaged, cut short, or no \.gz file"),
        ("a.zip", b"text,label\n", "is no zip file"),
        ("a.json", b"[]", "holds no rows"),
        ("a.json", b'[{"text": "a"}, 3]', "item 2 of the list is no object"),
        ("a.json", b'[{"text": "a"},', "is not JSON"),
    ],
)
def test_another_content_than_the_name_says_is_one_line(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=problem):
        open_table(tmp_path / name, "")


def test_a_table_without_rows_and_a_zip_file_with_two_tables_are_refused(tmp_path: Path) -> None:
    TABLE[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="holds no rows"):
        open_table(tmp_path / "empty.parquet", "")
    with pytest.raises(UserError, match="--encoding cp1252 is for text"):
        open_table(tmp_path / "empty.parquet", "cp1252")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "text,label\n")
        archive.writestr("b.csv", "text,label\n")
    with pytest.raises(UserError, match="holds 2 files, and one is expected"):
        open_table(tmp_path / "two.zip", "")


def test_rows_are_numbered_as_the_spreadsheet_does_and_other_sheets_are_remarked(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "book.xlsx") as book:
        pd.DataFrame({"text": ["one", "", "three"], "label": ["a", "", "b"]}).to_excel(
            book, sheet_name="in", index=False
        )
        TABLE.to_excel(book, sheet_name="other")
    table = open_table(tmp_path / "book.xlsx", "")
    assert table.remarks == ("of 2 sheets the first is read: 'in'",)
    assert [(one.row, one.problem) for one in records(table)] == [(2, ""), (3, "empty row"), (4, "")]


def workbook(path: Path, rows: list[list[Any]]) -> Path:
    pd.DataFrame(rows).to_excel(path, header=False, index=False)
    return path


BELOW: list[list[Any]] = [["review", "stars", "id"], ["a dull film", 1, "x"], ["", "", ""], ["a fine film", 5, "y"]]


@pytest.mark.parametrize(
    ("above", "remarked"),
    [
        ([], False),
        ([["", "", ""]], False),
        ([["Reviews of May", "", ""]], True),
        ([["Reviews of May", "", ""], ["", "", ""], ["as of today", "", ""]], True),
    ],
)
@pytest.mark.parametrize("margin", [0, 2])
def test_titles_above_the_header_of_a_workbook_and_a_margin_are_left_out(
    tmp_path: Path, above: list[list[Any]], remarked: bool, margin: int
) -> None:
    rows = [[None] * margin + [cell or None for cell in row] for row in [*above, *BELOW]]
    table = open_table(workbook(tmp_path / "a.xlsx", rows), "")
    assert table.names == ("review", "stars", "id")
    line = f"the columns are named in row {len(above) + 1}; the rows above it are not read"
    assert table.remarks == ((line,) if remarked else ())
    found = [(one.row, one.fields) for one in records(table)]
    row = len(above) + 2
    assert found == [(row, ["a dull film", "1", "x"]), (row + 1, []), (row + 2, ["a fine film", "5", "y"])]


def test_a_workbook_without_a_header_or_with_a_single_column(tmp_path: Path) -> None:
    rows = [[f"a film of the year {number}, good or bad, and long", number % 2] for number in range(12)]
    table = open_table(workbook(tmp_path / "a.xlsx", rows), "")
    assert table.names == ("column 1", "column 2") and "there is no header" in table.remarks[0]
    assert next(records(table)).row == 1 and len(list(records(table))) == 12
    table = open_table(workbook(tmp_path / "b.xlsx", [["Reviews of May"], [None], ["text"], ["one"], ["two"]]), "")
    assert table.names == ("text",) and [one.fields for one in records(table)] == [["one"], ["two"]]
    with pytest.raises(UserError, match="holds no rows"):
        open_table(workbook(tmp_path / "c.xlsx", [["review", "stars"]]), "")


@pytest.mark.parametrize(
    ("above", "header"),
    [
        (["a dull film of the year, and a long one", "a fine film of the year, and a short one"], False),
        (["a dull film of the year, and a long one", None, "a fine film of the year, and a short one"], False),
        (["Reviews of May, from the first to the last"], True),
        (["Reviews of May, from the first to the last", "written by the guests of a cinema", None], True),
    ],
)
def test_the_texts_of_a_single_column_are_no_titles(tmp_path: Path, above: list[str | None], header: bool) -> None:
    cells = [*above, "Comment", "one", "two"]
    table = open_table(workbook(tmp_path / "a.xlsx", [[cell] for cell in cells]), "")
    texts = [one.fields for one in records(table) if not one.problem]
    assert table.names == (("Comment",) if header else ("column 1",))
    assert texts == [[cell] for cell in (["one", "two"] if header else cells) if cell]


def test_a_header_that_comes_again_in_a_workbook_is_no_document(tmp_path: Path) -> None:
    table = open_table(workbook(tmp_path / "a.xlsx", [*BELOW, BELOW[0], ["a third", 1, "z"]]), "")
    assert [one.problem for one in records(table)] == ["", "empty row", "", "the header again", ""]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    TABLE.to_parquet(path)
    first = read_frame(path)
    assert read_frame(path) is first
    TABLE[:7].to_parquet(path)
    assert len(list(read_frame(path).rows())) == 7


def test_a_named_index_is_a_column(tmp_path: Path) -> None:
    TABLE.set_index("review").to_parquet(tmp_path / "mine.parquet")
    assert open_table(tmp_path / "mine.parquet", "").names == ("review", "stars")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (float("nan"), ""), (pd.NA, ""), (pd.NaT, ""), (3.0, "3"), (2.5, "2.5"), (True, "True"),
        ("3.0", "3.0"),
        (b"caf\xc3\xa9", "café"), (["a", 1], '["a", 1]'), (np.array([1, 2]), "[1, 2]"), ("\ud83d", "?"),
    ],
)  # fmt: skip
def test_a_cell_is_text_as_a_csv_file_would_hold_it(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_compressed_tables_are_streamed_with_every_detection(tmp_path: Path) -> None:
    """Delimiter and encoding are found as in a plain file, and the first rows come before the last are unpacked."""
    path = tmp_path / "Kunden.CSV.gz"
    rows = [("Kommentar", "Bewertung"), *((f"größe {number}; gut", number % 2) for number in range(30_000))]
    with gzip.open(path, "wt", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    assert plain_suffix(path) == ".csv"
    table = open_table(path, "")
    assert (table.encoding, table.names) == ("cp1252", ("Kommentar", "Bewertung"))
    stream = records(table)
    assert [one.fields for one in itertools.islice(stream, 2)] == [["größe 0; gut", "0"], ["größe 1; gut", "1"]]
    assert sum(1 for _ in stream) == 29_998
    with open_source(path, "cp1252") as file:
        assert file.readline() == "Kommentar;Bewertung\n"
