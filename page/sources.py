"""What a table of documents is made from: a split of a run's data set, or a file that somebody uploaded."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypedDict

from corpus.corpora import read_csv
from corpus.frames import is_json_list
from corpus.headers import LABEL_NAMES, comparable_name
from corpus.own_data import named_column
from corpus.sources import DAMAGED, is_compressed, open_source, plain_suffix
from corpus.tables import JSON_ENDINGS, Record, Table, bounded_lines, find_encoding
from corpus.tables import open_table as open_any_table
from corpus.text_rows import Row, column_rows, find_columns, has_one_column, line_rows, table_rows
from page import conversion
from page.questions import MOST_TEXT_BYTES
from report.shading import printable
from schema import read_json
from utils import DataPaths, UserError, human_size

SPLITS = ("test", "valid", "train")
ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", *conversion.ENDINGS)
PACKED_ENDINGS = (".gz", ".bz2", ".xz", ".zip")
PIECE_BYTES = 1 << 20
FREE_PACKING, MOST_PACKING = 100_000_000, 100  # bytes that a file may unpack to, plus so many times its own
MOST_NAME = 80  # characters of a file's name that are shown


class SplitFacts(TypedDict):
    """What is read here of a split in ``csv_manifest.json``."""

    documents: int


class Manifest(TypedDict):
    """What is read here of ``csv_manifest.json``."""

    splits: dict[str, SplitFacts]


class Source(Protocol):
    """Documents to score.

    Attributes:
        key: By which it is asked for.
        title: How it is shown.
        dataset: What its documents' links name.
        size: Sum of the sizes of all rows, from 0 on where that is not known.
        empty_counts: Whether a text without a word has a prediction, as it has for the tester.
        remarks: What a person should know about it; complete when all rows were read.
    """

    key: str
    title: str
    dataset: str
    size: int
    empty_counts: bool
    remarks: list[str]

    def rows(self) -> Iterator[Row]:
        """Yields the documents.

        Raises:
            UserError: They cannot be read.
        """


class SplitSource:
    """A split of a data set, as its CSV has it."""

    empty_counts = True

    def __init__(self, data: DataPaths, split: str) -> None:
        self.data, self.key, self.dataset = data, split, data.dataset
        self.title = f"{split} split of {data.dataset}"
        self.size = documents_in(data, split)
        self.remarks: list[str] = []

    def rows(self) -> Iterator[Row]:
        """Yields its documents; the size of each is 1."""
        found = 0
        for row in read_csv(self.data.csv):
            if row.split == self.key:
                found += 1
                yield Row(row.id, row.text, 1, row.label)
        if not found:
            raise UserError(f"{self.data.csv} has no document in its {self.key} split")


def documents_in(data: DataPaths, split: str) -> int:
    """Documents of a split by the data set's manifest; 0 where it is not known."""
    with contextlib.suppress(UserError, OSError, KeyError):
        return read_json(data.csv_manifest, Manifest)["splits"][split]["documents"]
    return 0


class UploadedFile:
    """A table that somebody uploaded.

    Args:
        key: Random, so that nobody else can guess it.
        folder: Its own, with the file in it.
        name: Of the file, as the person calls it. No path is made of it but its ending.
        text_column: Name or number; empty to find it.
        label_column: Name or number; empty to find it.
        check_space: Called now and then with bytes that are written next; raises where there is no room.
    """

    empty_counts = False

    def __init__(
        self,
        key: str,
        folder: Path,
        name: str,
        text_column: str,
        label_column: str,
        check_space: Callable[[int], None],
    ) -> None:
        self.key = self.dataset = key
        self.folder, self.title = folder, shown_name(name)
        self.file = folder / f"upload{ending_of(name)}"
        self.size = 0
        self.remarks: list[str] = []
        self._remarks_on_sheets: list[str] = []
        self._text_column, self._label_column, self._check_space = text_column, label_column, check_space

    def rows(self) -> Iterator[Row]:
        """Yields its rows; one that cannot be read has an empty text."""
        self.remarks = []
        try:
            self._unpack()
            self._convert()
            self.remarks += self._remarks_on_sheets
            self.size = self.file.stat().st_size
            problems: Counter[str] = Counter()
            row = None
            for row in self._rows_of_file(problems):
                if len(row.text) >= MOST_TEXT_BYTES:
                    problems[f"texts of {MOST_TEXT_BYTES:,} characters or more"] += 1
                    row = row._replace(text="")
                yield row
            if row is None:
                raise UserError(f"{self.title} has no row with a text")
            self.remarks += [f"{count:,} rows without a prediction: {reason}" for reason, count in problems.items()]
        except UserError as error:
            raise UserError(self._in_words(str(error))) from error
        except (csv.Error, RecursionError) as error:
            raise UserError(self._in_words(f"{self.title} cannot be read ({error})")) from error

    def _rows_of_file(self, problems: Counter[str]) -> Iterator[Row]:
        codec, errors, remarks = find_encoding(self.file, "")
        ending = self.file.suffix
        if ending in JSON_ENDINGS and is_json_list(self.file, codec, errors):
            raise UserError(
                f"{self.file} is one JSON list, which has no rows to read one by one; write an object a line"
            )
        lined = ending == ".txt"
        if lined or has_one_column(self.file, codec, errors):
            self.remarks += remarks
            with self.file.open(encoding=codec, errors=errors, newline="") as file:
                lines = bounded_lines(file, self.file)
                yield from line_rows(lines) if lined else column_rows(lines, self.file)
            return
        table = open_any_table(self.file, "")
        text, name = find_columns(table, self._text_column, "")
        label = label_place(table, self._label_column, text)
        self.remarks += [*table.remarks, f"The text is the column {table.names[text]!r}."]
        self.remarks += [] if label is None else [f"The label is the column {table.names[label]!r}."]

        def count(_: Table, record: Record) -> None:
            problems[record.problem] += 1

        yield from table_rows(table, text, name, label, count)

    def _unpack(self) -> None:
        """Replaces a compressed file by what is in it, as far as there is room."""
        packed = self.file
        if not is_compressed(packed):
            return
        most = FREE_PACKING + MOST_PACKING * packed.stat().st_size
        plain = self.folder / f"upload{plain_suffix(packed)}"
        try:
            with open_source(packed) as file, plain.open("wb") as target:
                written = 0
                while piece := file.read(PIECE_BYTES):
                    written += len(piece)
                    if written > most:
                        raise UserError(f"{packed} unpacks to more than {human_size(most)}; upload it unpacked")
                    self._check_space(written)
                    target.write(piece)
        except (*DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk
                raise
            raise UserError(f"{packed} is damaged or no {packed.suffix} file ({error}); save it again") from error
        packed.unlink()
        self.file = plain

    def _convert(self) -> None:
        """Replaces a file that is no text by a table that is."""
        whole = self.file
        if whole.suffix not in conversion.ENDINGS:
            return
        most = FREE_PACKING + MOST_PACKING * whole.stat().st_size
        plain = self.folder / "upload.csv"
        self._remarks_on_sheets = conversion.convert(whole, plain, most, self._check_space)
        whole.unlink()
        self.file = plain

    def _in_words(self, message: str) -> str:
        """A message for the page: with the person's name of the file, and without flags."""
        for file in self.folder.glob("upload*"):
            message = message.replace(str(file), self.title)
        message = message.replace(str(self.file), self.title)
        return re.sub(r"--(\w+)_column", r"the column of the \1", message)


def ending_of(name: str) -> str:
    """The ending of a file's name, with that before a compressed one's.

    Raises:
        UserError: It is none that is read here.
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    packed = suffixes[-1] if suffixes and suffixes[-1] in PACKED_ENDINGS else ""
    plain = next(iter(suffixes[-2:-1] if packed else suffixes[-1:]), "")
    if plain not in ENDINGS:
        raise UserError(
            f"{shown_name(name)} has none of the endings that are read here: {', '.join(ENDINGS)}, also followed by "
            f"{', '.join(PACKED_ENDINGS)}; save it as CSV"
        )
    return plain + packed


def shown_name(name: str) -> str:
    """A file's name without its folders, as the page shows it."""
    last = re.split(r"[/\\]", name)[-1]
    return printable(last[-MOST_NAME:]) or "the file"


def label_place(table: Table, wanted: str, text: int) -> int | None:
    """The column of labels: the one that is wanted, else the only one with a usual name; ``None`` without one."""
    named = named_column(table, "label_column", wanted)
    if named is not None:
        return named
    places = [place for place, name in enumerate(table.names) if comparable_name(name) in LABEL_NAMES]
    places = [place for place in places if place != text]
    ranked = sorted(places, key=lambda place: LABEL_NAMES.index(comparable_name(table.names[place])))
    return ranked[0] if ranked else None
