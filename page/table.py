"""Scored documents on disk, which are sorted, filtered and read in pages: memory does not grow with their number.

A table is one SQLite file. One thread adds documents while others read.

    C classes
"""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpus.several_labels import BETWEEN
from page.questions import Refusal
from page.split_documents import UNSURE
from runtime.abandoning import Abandoned, stop_if_abandoned
from runtime.decisions import is_known, margin

SHOWS = ("all", "right", "wrong", "unsure")
SORTS = {  # what it is called, and its column
    "place": "number",
    "confidence": "confidence",
    "words": "words",
    "unknown": "unknown_share",
    "label": "label",
    "prediction": "prediction",
}
STEPS_BETWEEN_LOOKS = 100_000  # of SQLite, between two looks whether the client still waits: some milliseconds
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run a cell that begins like this
# Texts have a table of their own, so that sorting and counting do not read them.
SCHEMA = """
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, name TEXT, label TEXT, prediction TEXT, confidence REAL, margin REAL, is_right INTEGER,
    words INTEGER, unknown_words INTEGER, unknown_share REAL, probabilities BLOB
);
CREATE TABLE texts (number INTEGER PRIMARY KEY, text TEXT);
"""


class TableRow(NamedTuple):
    """A scored document.

    Attributes:
        number: Its place in the source, from 1.
        name: Its id.
        label: Its class; empty where it has none.
        prediction: The likeliest class, or several labels as they are shown; empty for a text without a word.
        probabilities: float32 [C].
        words: Number of words that were read.
        unknown_words: Those of them that are not in the vocabulary.
        text: The original.
    """

    number: int
    name: str
    label: str
    prediction: str
    probabilities: np.ndarray
    words: int
    unknown_words: int
    text: str

    @property
    def confidence(self) -> float:
        """Probability of the likeliest class."""
        return float(self.probabilities.max())

    @property
    def unknown_share(self) -> float:
        """Share of words that are not in the vocabulary."""
        return self.unknown_words / max(self.words, 1)

    def values(self, class_names: Sequence[str], thresholds: np.ndarray | None) -> tuple[Any, ...]:
        """The columns of the table of documents."""
        if not self.prediction:
            numbers: tuple[Any, ...] = (None, None, None)
        else:
            is_right = self.label == self.prediction if is_known(self.label, class_names, thresholds) else None
            numbers = (self.confidence, margin(self.probabilities, thresholds), is_right)
        kept = self.probabilities.astype("<f4").tobytes()
        first_ones = (self.number, self.name, self.label, self.prediction)
        return (*first_ones, *numbers, self.words, self.unknown_words, self.unknown_share, kept)


class Selection(NamedTuple):
    """Which documents of a table are shown, and in which order.

    Attributes:
        show: One of :data:`SHOWS`; unsure are those of which the second class is nearly as likely.
        label: Class that they have, or one of their several labels; empty for all.
        prediction: Class that was predicted, or one of several; empty for all.
        least_words: Of a document.
        most_words: Of a document; 0 for no limit.
        least_unknown: Percentage of words that are not in the vocabulary, at least.
        search: What the text or the id contains, upper and lower case alike; empty for all.
        sort: One of :data:`SORTS`.
        descending: Whether the largest come first.
    """

    show: str = "all"
    label: str = ""
    prediction: str = ""
    least_words: int = 0
    most_words: int = 0
    least_unknown: float = 0.0
    search: str = ""
    sort: str = "place"
    descending: bool = False

    def condition(self, several: bool = False) -> tuple[str, list[Any]]:
        """The part of a statement after WHERE, with its values. ``several``: whether texts may have several labels."""
        limits: list[tuple[bool, str, list[Any]]] = [
            (self.show == "right", "is_right = 1", []),
            (self.show == "wrong", "is_right = 0", []),
            (self.show == "unsure", "margin < ?", [UNSURE]),
            (bool(self.label), *has_name("label", self.label, several)),
            (bool(self.prediction), *has_name("prediction", self.prediction, several)),
            (self.least_words > 0, "words >= ?", [self.least_words]),
            (self.most_words > 0, "words <= ?", [self.most_words]),
            (self.least_unknown > 0, "unknown_share >= ?", [self.least_unknown / 100]),
            (
                bool(self.search),
                "(contains(name, ?) OR contains((SELECT text FROM texts WHERE texts.number = documents.number), ?))",
                [self.search.casefold()] * 2,
            ),
        ]
        chosen = [(text, values) for applies, text, values in limits if applies]
        text = " AND ".join(text for text, _ in chosen) or "1"
        return text, [value for _, values in chosen for value in values]

    def order(self) -> str:
        """The part of a statement after ORDER BY; documents that are equal keep their order."""
        column, direction = SORTS[self.sort], "DESC" if self.descending else "ASC"
        return f"{column} {direction} NULLS LAST" + ("" if column == "number" else ", number")


def has_name(column: str, name: str, several: bool) -> tuple[str, list[Any]]:
    """The condition that a column is a name, or one of its several names, with the values."""
    if not several:
        return f"{column} = ?", [name]
    return f"({column} = ? OR instr(? || {column} || ?, ?) > 0)", [name, BETWEEN, BETWEEN, f"{BETWEEN}{name}{BETWEEN}"]


class Figures(NamedTuple):
    """Numbers of documents in a table: all, those with a label that the run knows, and those predicted right."""

    documents: int
    labelled: int
    right: int


class DocumentTable:
    """A table. Each method may be called from any thread, but :meth:`adding` from one at a time.

    Args:
        file: Of the database.
        class_names: [C] of the run.
        thresholds: float32 [C], where a text may have several labels; else ``None``.
    """

    def __init__(self, file: Path, class_names: Sequence[str], thresholds: np.ndarray | None = None) -> None:
        self.file, self.class_names, self.thresholds = file, tuple(class_names), thresholds
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
            connection.executescript(SCHEMA)

    @contextlib.contextmanager
    def adding(self) -> Iterator[Writer]:
        """Opens the table for adding documents."""
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # the file does not outlive the server
            yield Writer(connection, self.class_names, self.thresholds)

    def figures(self) -> Figures:
        """Of all documents that are there so far."""
        with self._reading() as connection:
            row = connection.execute("SELECT count(*), count(is_right), coalesce(sum(is_right), 0) FROM documents")
            return Figures(*row.fetchone())

    def count(self, selection: Selection) -> int:
        """Number of documents that are selected."""
        condition, values = selection.condition(self.thresholds is not None)
        with self._reading() as connection:
            found: tuple[int] = connection.execute(
                f"SELECT count(*) FROM documents WHERE {condition}", values
            ).fetchone()
            return found[0]

    def rows(self, selection: Selection, first: int = 0, most: int = -1) -> Iterator[TableRow]:
        """Yields the documents that are selected, from the ``first`` on, counted from 0; ``most`` -1 gives all."""
        condition, values = selection.condition(self.thresholds is not None)
        chosen = f"SELECT number FROM documents WHERE {condition} ORDER BY {selection.order()} LIMIT ? OFFSET ?"
        with self._reading() as connection:
            for (number,) in connection.execute(chosen, [*values, most, first]):
                yield self._row(connection, "number = ?", number)

    def numbered(self, number: int) -> TableRow | None:
        """The document at a place, from 1."""
        with self._reading() as connection:
            return self._row_or_none(connection, "number = ?", number)

    def named(self, name: str) -> TableRow | None:
        """The first document with that id."""
        with self._reading() as connection:
            return self._row_or_none(connection, "name = ?", name)

    def csv(self, selection: Selection) -> Iterator[str]:
        """Yields the lines of a CSV file of the documents that are selected."""
        probabilities = [f"probability_{name}" for name in self.class_names]
        yield csv_line(["id", "label", "prediction", "confidence", *probabilities, "words", "unknown_words", "text"])
        for row in self.rows(selection):
            numbers = [""] * (1 + len(self.class_names))
            if row.prediction:
                numbers = [f"{value:.6f}" for value in (row.confidence, *row.probabilities.tolist())]
            yield csv_line([row.name, row.label, row.prediction, *numbers, row.words, row.unknown_words, row.text])

    def remove(self) -> None:
        """Deletes the files; who reads at the moment reads on."""
        for suffix in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        place = urllib.parse.quote(str(self.file.resolve()))
        try:
            # A download is read by one thread after the other.
            opened = sqlite3.connect(f"file:{place}?mode=ro", uri=True, check_same_thread=False)
            with contextlib.closing(opened) as connection:
                connection.create_function("contains", 2, contains, deterministic=True)
                connection.set_progress_handler(is_abandoned, STEPS_BETWEEN_LOOKS)
                yield connection
        except sqlite3.OperationalError as error:
            stop_if_abandoned()  # then it was interrupted for that
            if not self.file.exists():
                raise Refusal(404, "This table has been deleted.") from error
            raise

    def _row(self, connection: sqlite3.Connection, condition: str, value: int | str) -> TableRow:
        row = self._row_or_none(connection, condition, value)
        assert row is not None
        return row

    @staticmethod
    def _row_or_none(connection: sqlite3.Connection, condition: str, value: int | str) -> TableRow | None:
        found = connection.execute(
            "SELECT number, name, label, prediction, probabilities, words, unknown_words, text "
            f"FROM documents JOIN texts USING (number) WHERE {condition} LIMIT 1",
            [value],
        ).fetchone()
        if found is None:
            return None
        number, name, label, prediction, probabilities, words, unknown_words, text = found
        kept = np.frombuffer(probabilities, "<f4")
        return TableRow(number, name, label, prediction, kept, words, unknown_words, text)


class Writer(NamedTuple):
    """Adds documents to a table."""

    connection: sqlite3.Connection
    class_names: tuple[str, ...]
    thresholds: np.ndarray | None = None

    def add(self, rows: Iterable[TableRow]) -> None:
        """Adds some documents at once; readers see all of them or none."""
        kept = list(rows)
        values = [row.values(self.class_names, self.thresholds) for row in kept]
        self.connection.execute("BEGIN")
        self.connection.executemany(f"INSERT INTO documents VALUES ({', '.join('?' * 11)})", values)
        self.connection.executemany("INSERT INTO texts VALUES (?, ?)", [(row.number, row.text) for row in kept])
        self.connection.execute("COMMIT")


def contains(text: str, part: str) -> bool:
    """Whether ``part``, in the form that ``str.casefold`` gives, is in a text, upper and lower case alike."""
    return part in text.casefold()


def is_abandoned() -> bool:
    """Whether nobody waits for the work of this thread."""
    try:
        stop_if_abandoned()
    except Abandoned:
        return True
    return False


def csv_line(cells: Sequence[Any]) -> str:
    """A line of a CSV file whose cells no spreadsheet takes for formulas: those get an apostrophe first."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([harmless(cell) for cell in cells])
    return line.getvalue()


def harmless(cell: Any) -> Any:
    """A cell that a spreadsheet shows as it is."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA) else cell
