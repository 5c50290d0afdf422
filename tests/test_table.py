"""The table on disk against the same selections in plain Python; its CSV; documents that are added meanwhile."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from page.questions import Refusal
from page.table import DocumentTable, Selection, TableRow, harmless
from runtime.abandoning import Abandoned, stopping_when

CLASSES = ("bad", "good", "so so")


def some_rows(count: int = 300) -> list[TableRow]:
    generator = np.random.default_rng(3)
    rows = []
    for number in range(1, count + 1):
        values = generator.dirichlet([0.7] * 3).astype(np.float32)
        words = int(generator.integers(0, 40))
        label = str(generator.choice([*CLASSES, "", "unheard"]))
        prediction = CLASSES[int(values.argmax())] if words else ""
        text = " ".join(generator.choice(["Straße", "ÉTÉ", "100%", "a_b", "'quoted'", "\x00nil"], words))
        unknown = int(generator.integers(0, words + 1))
        rows.append(TableRow(number, f"id/{number % 7}", label, prediction, values, words, unknown, text))
    return rows


@pytest.fixture(scope="module")
def rows() -> list[TableRow]:
    return some_rows()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, rows: list[TableRow]) -> DocumentTable:
    table = DocumentTable(tmp_path_factory.mktemp("table") / "a ?#% table.sqlite", CLASSES)
    with table.adding() as writer:
        writer.add(rows[:100])
        writer.add(rows[100:])
    return table


def passes(row: TableRow, chosen: Selection) -> bool:
    known = bool(row.prediction) and row.label in CLASSES
    second = float(np.sort(row.probabilities)[-2])
    search = chosen.search.casefold()
    return all(
        [
            chosen.show != "right" or (known and row.label == row.prediction),
            chosen.show != "wrong" or (known and row.label != row.prediction),
            chosen.show != "unsure" or (bool(row.prediction) and row.confidence - second < 0.2),
            chosen.label in {"", row.label},
            chosen.prediction in {"", row.prediction},
            row.words >= chosen.least_words,
            not chosen.most_words or row.words <= chosen.most_words,
            100 * row.unknown_share >= chosen.least_unknown,
            search in row.text.casefold() or search in row.name.casefold(),
        ]
    )


SELECTIONS = [
    Selection(),
    *(Selection(show=show) for show in ("right", "wrong", "unsure")),
    Selection(label="bad", prediction="so so"),
    Selection(least_words=7, most_words=20, least_unknown=25),
    Selection(search="STRASSE"),
    Selection(search="été"),
    Selection(search="100%"),
    Selection(search="_"),
    Selection(search="' OR 1=1 --"),
    Selection(search="id/3", show="wrong"),
    Selection(label="x' OR '1'='1"),
]


@pytest.mark.parametrize("chosen", SELECTIONS, ids=str)
def test_what_is_selected_is_what_plain_python_selects(
    table: DocumentTable, rows: list[TableRow], chosen: Selection
) -> None:
    expected = [row.number for row in rows if passes(row, chosen)]
    assert [row.number for row in table.rows(chosen)] == expected and table.count(chosen) == len(expected)


@pytest.mark.parametrize("sort", ["place", "confidence", "words", "unknown", "label", "prediction"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_follow_each_other_in_any_order(
    table: DocumentTable, rows: list[TableRow], sort: str, descending: bool
) -> None:
    chosen = Selection(sort=sort, descending=descending)
    pages = [list(table.rows(chosen, first, 64)) for first in range(0, len(rows), 64)]
    found = [row for page in pages for row in page]
    assert sorted(row.number for row in found) == [row.number for row in rows]
    keys = {
        "place": lambda row: row.number,
        "confidence": lambda row: row.confidence,
        "words": lambda row: row.words,
        "unknown": lambda row: row.unknown_share,
        "label": lambda row: row.label,
        "prediction": lambda row: row.prediction,
    }
    without = [row for row in found if sort == "confidence" and not row.prediction]
    assert not without or found[-len(without) :] == without  # what has no value comes last
    values = [keys[sort](row) for row in found if row not in without]
    assert values == sorted(values, reverse=descending)


def test_a_row_comes_back_as_it_was_added(table: DocumentTable, rows: list[TableRow]) -> None:
    for row, found in zip(rows, table.rows(Selection()), strict=True):
        assert found._replace(probabilities=row.probabilities) == row
        np.testing.assert_array_equal(found.probabilities, row.probabilities)
    assert table.numbered(5) is not None and table.numbered(999) is None
    found_by_name = table.named("id/3")
    assert found_by_name is not None and found_by_name.number == 3


def test_figures_count_what_has_a_label_that_the_run_knows(table: DocumentTable, rows: list[TableRow]) -> None:
    labelled = [row for row in rows if row.prediction and row.label in CLASSES]
    right = sum(row.label == row.prediction for row in labelled)
    assert table.figures() == (len(rows), len(labelled), right)


def test_the_csv_file_has_all_that_is_selected(table: DocumentTable, rows: list[TableRow]) -> None:
    chosen = Selection(show="wrong", sort="words")
    [header, *lines] = csv.reader(io.StringIO("".join(table.csv(chosen)), newline=""))
    expected = list(table.rows(chosen))
    assert header[4:7] == [f"probability_{name}" for name in CLASSES] and len(lines) == len(expected) > 10
    for line, row in zip(lines, expected, strict=True):
        assert line[:3] == [row.name, row.label, row.prediction] and line[-1].lstrip("'") == row.text.lstrip("'")
        assert [float(value) for value in line[4:7]] == pytest.approx(row.probabilities, abs=1e-6)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '=HYPERLINK("x")'])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"
    assert harmless(f"a{cell}") == f"a{cell}" and harmless(-3) == -3 and harmless("") == ""


def test_one_reads_while_another_adds(tmp_path: Path) -> None:
    table = DocumentTable(tmp_path / "table.sqlite", CLASSES)
    rows = some_rows(60)
    with table.adding() as writer:
        writer.add(rows[:20])
        reading = table.rows(Selection())
        first = list(itertools.islice(reading, 5))
        writer.add(rows[20:])
        assert table.figures().documents == 60
        assert len(first) + len(list(reading)) == 20  # a reader sees the table as it was


def test_a_search_ends_when_nobody_waits_for_it(tmp_path: Path) -> None:
    table = DocumentTable(tmp_path / "table.sqlite", CLASSES)
    with table.adding() as writer:
        writer.add(row._replace(number=number) for number, row in enumerate(some_rows(300) * 40))
    with stopping_when(lambda: True), pytest.raises(Abandoned):
        table.count(Selection(search="nowhere"))


def test_a_table_that_was_deleted_is_a_refusal_and_who_reads_it_reads_on(tmp_path: Path) -> None:
    table = DocumentTable(tmp_path / "table.sqlite", CLASSES)
    with table.adding() as writer:
        writer.add(some_rows(60))
    reading = table.rows(Selection())
    next(reading)
    table.remove()
    assert len(list(reading)) == 59 and list(tmp_path.iterdir()) == []
    with pytest.raises(Refusal, match="deleted"):
        table.figures()
