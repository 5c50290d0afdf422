"""A person's own data: a table (CSV, TSV, JSON, Parquet, Feather, Excel, Stata) or a folder with a folder per class.

:func:`understand` detects how a file is encoded, what separates its columns, which column is the text and which the
label. Where two columns could be meant, it raises an error that names the flag which decides; :func:`describe` lists
what it has detected. The result streams :class:`corpus.corpus_formats.Row` like any published data set.

It reads what spreadsheets and scripts write: a byte order mark, semicolons or tabs, Latin-1 and UTF-16, line breaks
within quotes, empty rows, a header that is repeated, labels such as ``1.0``. A row that cannot be used is skipped and
reported with its line.
"""

from __future__ import annotations

import heapq
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from config import CsvSettings
from corpus.corpora import Corpus, check_nothing, refuse_published_name
from corpus.corpus_formats import Row
from corpus.evidence import EVIDENCE_NAMES, spans_in
from corpus.headers import (
    ID_NAMES,
    LABEL_NAMES,
    MISSING,
    OTHER_NAMES,
    SAMPLE_RECORDS,
    SPLIT_NAMES,
    SPLIT_WORDS,
    TEXT_NAMES,
    comparable_name,
    is_number,
    words,
)
from corpus.parts import HASH_SHIFT, Parts, first_of_equal
from corpus.runners import ALONE, Runner
from corpus.several_labels import BETWEEN, NO_LABELS, LabelCells, detected_separator, looks_like_several, named_sets
from corpus.tables import (
    DELIMITERS,
    JSON_LINES,
    OTHER_CELLS,
    SHOWN,
    Record,
    Table,
    TableBlock,
    open_table,
    records,
    sub_folders,
    usable,
)
from utils import UserError, dataset_name

MOST_CLASSES = 200
SHOWN_CLASSES = 20
MOST_LABELS = 5_000  # different values after which a column is surely no label
NOT_TEXT = set(words("id ids date time title summary length count author user name url lang language"))
ID = np.dtype([("key", "<u8")])  # hash of an id
BYTES_OF_IDS = 1 << 19  # of their hashes, which are kept before they are compared
HIGHEST_HASH = 1 << 64
WHOLE = re.compile(r"([-+]?[0-9]{1,9})(?:[.,]0*)?")


@dataclass(frozen=True)
class Columns:
    """Places of the columns; None where there is none."""

    text: int
    label: int
    split: int | None = None
    id: int | None = None
    alternatives: tuple[int, ...] = ()  # columns that could be the label, too
    no_split: str = ""  # what keeps a column with such a name from being that of the splits
    evidence: int | None = None
    several: LabelCells | None = None  # where a text may have several labels


class Class(NamedTuple):
    """A class that labels belong to.

    Attributes:
        name: As ``labels.txt`` has it.
        rating: The label where labels are whole numbers, else the number of the class from 1 on.
    """

    name: str
    rating: int


@dataclass
class RowCounts:
    """What is counted when a source is read to its end.

    Attributes:
        rows: Records, the header left out.
        labels: Documents of each label as it is written, white space aside.
        splits: Documents of each split; ``""`` where there is no column for it.
        without_label: Documents that have no label.
        skipped: Rows that cannot be used, by the reason.
        lines: The first lines of each reason.
        ids_are_unique: Whether the column of ids can serve.
        marked: Documents that have evidence.
        without_evidence: Documents whose evidence marks no part of the text.
        other_evidence: The first lines of them.
    """

    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    without_label: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[int]] = field(default_factory=dict)
    ids_are_unique: bool = False
    marked: int = 0
    without_evidence: int = 0
    other_evidence: list[int] = field(default_factory=list)

    def add(self, other: RowCounts) -> None:
        """Adds what was counted of the rows that come after these."""
        self.rows += other.rows
        self.without_label += other.without_label
        self.marked += other.marked
        self.without_evidence += other.without_evidence
        for own, more in (
            (self.labels, other.labels),
            (self.splits, other.splits),
            (self.skipped, other.skipped),
        ):
            own.update(more)
        for problem, lines in other.lines.items():
            self.lines[problem] = [*self.lines.get(problem, []), *lines][:SHOWN]
        self.other_evidence = [*self.other_evidence, *other.other_evidence][:SHOWN]


@dataclass(frozen=True)
class Documents:
    """Reads the documents of a table, on any machine."""

    table: Table
    columns: Columns
    classes: dict[str, Class]

    def __call__(self, _: Path, block: TableBlock | None = None) -> Iterator[Row]:
        return read_rows(self.table, self.columns, self.classes, block)


def understand(
    path: Path,
    settings: CsvSettings,
    folder: Path = Path("data"),
    name: str | None = None,
    runner: Runner = ALONE,
) -> tuple[Corpus, list[str]]:
    """Turns a person's file or folder into a data set.

    Args:
        path: The file or folder.
        settings: What the flags say of it.
        folder: On a disk that may be written to, where hashes of millions of ids are compared.
        name: Of the data set; that of the file if it is not given.
        runner: Reads the whole source.

    Returns:
        The row of the table of data sets, and what was understood, a sentence per line.

    Raises:
        UserError: The source cannot be read, or it is not clear which column is which; names the flag that decides.
    """
    name = name or dataset_name(str(path))
    refuse_published_name(str(path), name)
    table = open_table(path, settings.encoding)
    sample = sample_of(table, settings, runner)
    if settings.label_columns and settings.multi_label:
        first, *_ = settings.label_columns.split(",")
        settings = replace(settings, label_column=first)
    columns = with_several_labels(table, find_columns(table, sample, settings), sample, settings)
    found = count_rows(table, columns, folder, runner)
    names, classes = name_sets(found, table) if columns.several else ((), name_classes(found, table, columns))
    identity = columns.id if found.ids_are_unique else None
    places = replace(columns, id=identity)
    ordered = {one.rating: one.name for one in sorted(set(classes.values()), key=lambda one: one.rating)}
    corpus = Corpus(
        name=name,
        title=str(path),
        citation="your own data",
        url=None,
        archive="",
        sha256="",
        documents=found.labels.total() + found.without_label,
        classes={True: ordered, False: ordered},
        read=Documents(table, places, classes),
        check=check_nothing,
        has_evidence=found.marked > 0,
        has_test=bool(found.splits["test"]),
        own=path,
        table=table,
        names=names,
    )
    return corpus, describe(table, places, found, classes)


# ---------------------------------------------------------------------------------------------------------------------
# Which column is which


def sample_of(table: Table, settings: CsvSettings, runner: Runner = ALONE) -> list[Record]:
    """Records by which the columns are detected: the first ones, and as many from the whole source where needed.

    They are needed where a column has one value or none in all of the first records: the source may be sorted by it. A
    folder names its columns itself.
    """
    first = list(itertools.islice(usable(table), SAMPLE_RECORDS))
    if settings.label_column or len(first) < SAMPLE_RECORDS or table.path.is_dir():
        return first
    columns = zip(*(record.fields for record in first), strict=True)
    if all(len({cell.strip().casefold() for cell in cells} - MISSING) > 1 for cells in columns):
        return first
    return first + random_records(table, SAMPLE_RECORDS, runner)


def random_records(table: Table, count: int, runner: Runner = ALONE) -> list[Record]:
    """So many records that can be read, the same ones in every call: those with the lowest hashes of their numbers."""
    drawn: list[tuple[int, Record]] = []
    calls = (
        (block, table, count, drawn[-1][0] if len(drawn) == count else HIGHEST_HASH) for block in runner.blocks(table)
    )
    for _, more in runner.each(lowest_records, calls):
        drawn = sorted([*drawn, *more])[:count]
    return [record for _, record in drawn]


def lowest_records(
    block: TableBlock | None, table: Table, count: int, below: int
) -> Iterator[list[tuple[int, Record]]]:
    """Of a block the records with the lowest hashes of their numbers; not those with ``below`` or a higher one."""
    hashed = ((int.from_bytes(hash_id(str(record.row))), record) for record in usable(table, block))
    yield heapq.nsmallest(count, (pair for pair in hashed if pair[0] < below))


@dataclass(frozen=True)
class Profile:
    """What the cells of a column hold, from a sample of the records.

    Attributes:
        place: Of the column, from 0.
        name: As in the header.
        filled: Cells that hold something.
        numbers: Share of numbers among them.
        distinct: Different values.
        characters: Mean length.
        example: One of them.
        splits: Whether every value is the name of a split.
        no_split: The first value that is not.
    """

    place: int
    name: str
    filled: int
    numbers: float
    distinct: int
    characters: float
    example: str
    splits: bool
    no_split: str

    @property
    def comparable(self) -> str:
        """The name as names are compared."""
        return comparable_name(self.name)

    @property
    def name_words(self) -> set[str]:
        return set(self.comparable.split("_"))

    @property
    def could_be_text(self) -> bool:
        return self.filled > 0 and self.numbers < 0.9 and not self.splits

    @property
    def could_be_label(self) -> bool:
        return 2 <= self.distinct <= min(MOST_CLASSES, max(self.filled // 2, 2)) and self.characters <= 60


def profile(name: str, place: int, cells: Iterable[str]) -> Profile:
    """The profile of one column from its cells."""
    filled = [cell.strip() for cell in cells if cell.strip().casefold() not in MISSING]
    count = len(filled)
    no_split = next((cell[:30] for cell in filled if cell.casefold() not in SPLIT_WORDS), "")
    return Profile(
        place,
        name,
        count,
        sum(map(is_number, filled)) / max(count, 1),
        len(set(filled)),
        sum(map(len, filled)) / max(count, 1),
        filled[0][:30] if filled else "",
        bool(filled) and not no_split,
        no_split,
    )


def find_columns(table: Table, sample: Sequence[Record], settings: CsvSettings) -> Columns:
    """Finds the columns: by the flags, else by their names, else by their cells.

    Raises:
        UserError: A column is not there, or it could be one of several.
    """
    if not sample:
        refuse_unreadable(table)
    cells = list(zip(*(record.fields for record in sample), strict=True))
    profiles = [profile(name, place, cells[place]) for place, name in enumerate(table.names)]
    text = named_column(table, "text_column", settings.text_column)
    label = named_column(table, "label_column", settings.label_column)
    split = find_split(table, profiles, named_column(table, "split_column", settings.split_column))
    free = [p for p in profiles if p.place not in {text, label, split}]
    if text is None:
        text = guess_text(table, free, profiles)
    refuse_text(table, profiles[text])
    free = [p for p in free if p.place != text]
    alternatives: tuple[int, ...] = ()
    if label is None:
        way_out = " or, for columns of 0 and 1, with --label_columns" if settings.multi_label else ""
        label, alternatives = guess_label(table, free, profiles, way_out)
    if len({text, label, split}) < 3:
        raise UserError(f"{table.path}: text, label and split must be different columns; see: {listing(profiles)}")
    identity = next((p.place for p in free if p.comparable in ID_NAMES and p.place != label), None)
    evidence = find_evidence([p for p in free if p.place not in {label, identity}], sample, text)
    no_split = "" if split is not None else foreign_split(free)
    return Columns(text, label, split, identity, alternatives, no_split, evidence)


def refuse_unreadable(table: Table) -> NoReturn:
    """Refuses a source of whose first records none can be read, with the reason."""
    problems = first_problems(table)
    refuse_other_cells(table, problems, problems.total())
    if table.path.is_dir():
        why = ", ".join(f"{count:,} {problem}" for problem, count in problems.items()) or "no files"
        raise UserError(f"{table.path} holds no text that can be read ({why}); save each document as a .txt file")
    raise UserError(f"{table.path} has no rows that can be read; it needs a header and a row per document")


def find_split(table: Table, profiles: Sequence[Profile], named: int | None) -> int | None:
    """The column that holds the splits: the one that the flag names, else one by its name; None if there is none."""
    if named is None:
        return next((p.place for p in profiles if p.splits and p.comparable in SPLIT_NAMES), None)
    if not profiles[named].splits:
        raise UserError(
            f"{table.path}: the split column {table.names[named]!r} holds values other than train, valid and test "
            f"(such as {profiles[named].no_split!r}); write those, or leave --split_column out to have splits made"
        )
    return named


def find_evidence(free: Iterable[Profile], sample: Sequence[Record], text: int) -> int | None:
    """The column that marks parts of the texts: one with such a name, where a cell does so; None if there is none."""
    for column in free:
        cells = ((record.fields[column.place], record.fields[text]) for record in sample)
        if column.comparable in EVIDENCE_NAMES and any(spans_in(*pair) for pair in cells):
            return column.place
    return None


def foreign_split(free: Iterable[Profile]) -> str:
    """A sentence about a column that has the name of a column of splits and is not used because of its values."""
    for column in free:
        if column.comparable in SPLIT_NAMES and column.no_split and not column.numbers:
            return (
                f"{column.name!r} is not used: it holds {column.no_split!r}, which is not train, valid or test; splits "
                "are made"
            )
    return ""


def named_column(table: Table, flag: str, value: str) -> int | None:
    """The place of the column that a flag names, by its name or its number from 1."""
    if not value:
        return None
    same = [place for place, name in enumerate(table.names) if name == value]
    same = same or [place for place, name in enumerate(table.names) if comparable_name(name) == comparable_name(value)]
    if len(same) > 1:
        numbers = " or ".join(str(place + 1) for place in same)
        raise UserError(f"{table.path} has {len(same)} columns called {value!r}; give its number: --{flag} {numbers}")
    if not same and value.isdecimal() and 1 <= int(value) <= len(table.names):
        return int(value) - 1
    if not same:
        raise UserError(f"--{flag} {value!r}: {table.path} has no such column; it has: {', '.join(table.names)[:300]}")
    return same[0]


def guess_text(table: Table, free: Sequence[Profile], profiles: Sequence[Profile]) -> int:
    """The column that holds the text: by name, else the one with by far the longest cells."""
    fit = [p for p in free if p.could_be_text]
    exact = [p for p in fit if p.comparable in TEXT_NAMES]
    tokens = [p for p in fit if p.name_words & set(TEXT_NAMES) and not p.name_words & NOT_TEXT]
    long = [p for p in fit if p.characters >= 20 and p.comparable not in LABEL_NAMES]
    varied = [p for p in fit if not p.could_be_label and p.comparable not in (*LABEL_NAMES, *ID_NAMES, *OTHER_NAMES)]
    for candidates in (exact, tokens, long, varied):
        ranked = sorted(candidates, key=lambda p: -p.characters)
        if len(ranked) > 1 and ranked[0].characters < 3 * ranked[1].characters:
            raise UserError(
                f"{table.path}: {quoted(ranked[:SHOWN])} could each be the text; say which: "
                f"--text_column {shown_name(ranked[0], table)}"
            )
        if ranked:
            return ranked[0].place
    numeric = [p for p in free if p.comparable in TEXT_NAMES]
    if numeric:
        refuse_text(table, numeric[0])
    raise UserError(f"{table.path}: no column looks like text; say which it is with --text_column: {listing(profiles)}")


def refuse_text(table: Table, column: Profile) -> None:
    """Refuses a text column that is empty or holds numbers."""
    if not column.filled:
        raise UserError(f"{table.path}: the text column {column.name!r} is empty; name another with --text_column")
    if column.numbers >= 0.9:
        raise UserError(
            f"{table.path}: the text column {column.name!r} holds numbers (such as {column.example}); "
            f"name the one with the text: --text_column, one of {', '.join(table.names)[:200]}"
        )


def guess_label(
    table: Table, free: Sequence[Profile], profiles: Sequence[Profile], way_out: str = ""
) -> tuple[int, tuple[int, ...]]:
    """The column of labels, by name, else the only one with few different values; and those it could also be.

    ``way_out``: what else can be typed where it is not clear.
    """
    by_name = sorted((p for p in free if p.comparable in LABEL_NAMES), key=lambda p: LABEL_NAMES.index(p.comparable))
    fit = [p for p in by_name if p.could_be_label] or [
        p for p in free if p.could_be_label and p.name_words & set(LABEL_NAMES)
    ]
    if fit:
        return fit[0].place, tuple(p.place for p in fit[1:])
    if by_name:
        return by_name[0].place, ()  # what is wrong with it is reported when the whole file has been read
    others = [p for p in free if p.could_be_label]
    if len(others) == 1:
        return others[0].place, ()
    problem = f"{quoted(others[:SHOWN])} could each be the label" if others else "no column looks like a label"
    raise UserError(f"{table.path}: {problem}; say which it is with --label_column{way_out}: {listing(profiles)}")


def quoted(columns: Iterable[Profile]) -> str:
    """Names of columns in a sentence."""
    return " and ".join(repr(column.name) for column in columns)


def shown_name(column: Profile, table: Table) -> str:
    """How to type a column after a flag: its name, or its number where another has the same name."""
    return shlex.quote(column.name) if table.names.count(column.name) == 1 else str(column.place + 1)


def listing(profiles: Sequence[Profile]) -> str:
    """The columns with an example of each."""
    shown = ", ".join(f"{p.name} ({p.example or 'empty'!s})" for p in profiles[:12])
    return shown + (", ..." if len(profiles) > 12 else "")


# ---------------------------------------------------------------------------------------------------------------------
# Reading the whole source once


def count_rows(table: Table, columns: Columns, folder: Path, runner: Runner) -> RowCounts:
    """Reads a source to its end and counts; keeps labels and hashes of ids (in ``folder``), no texts."""
    found = RowCounts()
    ids = Parts(folder, ID, HASH_SHIFT)
    calls = ((block, table, columns) for block in runner.blocks(table))
    for _, (counts, hashes) in runner.each(count_block, calls):
        found.add(counts)
        if len(found.labels) > MOST_LABELS:
            refuse_many(table, columns, found)
        ids.add(np.frombuffer(hashes, ID))
    found.labels = +found.labels
    kept = found.labels.total() + found.without_label
    refuse_other_cells(table, found.skipped, found.rows)
    if not kept:
        reasons = ", ".join(f"{count:,} rows: {problem}" for problem, count in found.skipped.items())
        raise UserError(f"{table.path}: no row can be used ({reasons}); {ask_columns(table, columns)}")
    unique = sum(len(first_of_equal(rows["key"])) for rows in ids)
    found.ids_are_unique = columns.id is not None and unique == kept
    return found


def count_block(block: TableBlock | None, table: Table, columns: Columns) -> Iterator[tuple[RowCounts, bytes]]:
    """What is counted in a block, and the hashes of its ids; some rows at a time."""
    found, hashes = RowCounts(), bytearray()
    for record in records(table, block):
        found.rows += 1
        problem, split, label = judge(record, columns)
        if problem:
            found.skipped[problem] += 1
            if found.skipped[problem] <= SHOWN:
                found.lines.setdefault(problem, []).append(record.line)
            continue
        found.splits[split] += 1
        found.labels[label] += bool(label)
        found.without_label += not label
        count_evidence(found, record, columns)
        if columns.id is not None:
            hashes += hash_id(record.fields[columns.id])
        if len(hashes) >= BYTES_OF_IDS or len(found.labels) > MOST_LABELS:
            yield found, bytes(hashes)
            found, hashes = RowCounts(), bytearray()
    yield found, bytes(hashes)


def count_evidence(found: RowCounts, record: Record, columns: Columns) -> None:
    """Counts a document that has evidence, or has some that cannot be read."""
    if columns.evidence is None:
        return
    spans = spans_in(record.fields[columns.evidence], record.fields[columns.text])
    if spans is None:
        found.without_evidence += 1
        if len(found.other_evidence) < SHOWN:
            found.other_evidence.append(record.line)
    else:
        found.marked += len(spans) > 0


def first_problems(table: Table) -> Counter[str]:
    """The problems of the first records."""
    return Counter(record.problem for record in itertools.islice(records(table), SAMPLE_RECORDS))


def refuse_other_cells(table: Table, problems: Counter[str], rows: int) -> None:
    """Refuses a table of which most rows do not fit: the others would be an arbitrary selection."""
    bad = problems[OTHER_CELLS]
    if table.dialect and bad > rows / 2:
        raise UserError(
            f"{table.path}: {bad:,} of {rows:,} rows have another number of cells than the first row, "
            f"{len(table.names)}; a text that holds a {DELIMITERS[table.dialect['delimiter']]} must be in quotation "
            "marks: save the table again from a spreadsheet"
        )


def hash_id(name: str) -> bytes:
    """8 bytes for one id; that of an empty one is always the same, so that ids with gaps do not count as unique."""
    return blake2b(name.strip().encode(errors="surrogatepass"), digest_size=8).digest()


def judge(record: Record, columns: Columns) -> tuple[str, str, str]:
    """(problem, split, label as it is written) of a record; the label is empty where there is none."""
    if record.problem:
        return record.problem, "", ""
    text = record.fields[columns.text]
    if not text or text.isspace() or text.strip().casefold() in MISSING:
        return "no text", "", ""
    try:
        label = label_of(record, columns)
    except ValueError as error:
        return f"labels that cannot be read ({error})"[:100], "", ""
    split = ""
    if columns.split is not None:
        word = record.fields[columns.split].strip()
        split = SPLIT_WORDS.get(word.casefold(), "")
        if not split:
            return "not train, valid, test or unlabelled in the column of the split", "", ""
    if split == "unlabelled":
        label = ""
    if split in ("valid", "test") and not label:
        return f"no label in the {split} split", "", ""
    return "", split or "train", label


def label_of(record: Record, columns: Columns) -> str:
    """The label of a record as it is written, of several labels a JSON list of them; empty where there is none.

    Raises:
        ValueError: Several labels that cannot be read.
    """
    if columns.several:
        return columns.several.read(record.fields)
    label = " ".join(record.fields[columns.label].split())
    return "" if label.casefold() in MISSING else label


def with_several_labels(table: Table, columns: Columns, sample: Sequence[Record], settings: CsvSettings) -> Columns:
    """The columns with those of several labels, where ``--multi_label`` asks for them.

    Raises:
        UserError: A flag that goes with ``--multi_label`` alone, or a column that is not there.
    """
    given = next((name for name in ("label_separator", "label_columns") if getattr(settings, name)), None)
    if not settings.multi_label:
        if given:
            raise UserError(f"--{given} goes with --multi_label; add it, or leave --{given} out")
        return columns
    places = [named_column(table, "label_columns", name.strip()) for name in settings.label_columns.split(",")]
    chosen = tuple(place for place in places if place is not None) or (columns.label,)
    if settings.label_columns and len(chosen) < 2:
        raise UserError(f"--label_columns {settings.label_columns!r} names fewer than two columns; use --label_column")
    if columns.text in chosen or columns.split in chosen:
        raise UserError(f"{table.path}: text, labels and split must be different columns; name others")
    separator = settings.label_separator or detected_separator(r.fields[chosen[0]] for r in sample)
    return replace(columns, several=LabelCells(chosen, tuple(table.names[place] for place in chosen), separator))


def ask_columns(table: Table, columns: Columns) -> str:
    """What to check when no row can be used."""
    return (
        f"the text was taken from {table.names[columns.text]!r} and the label from {table.names[columns.label]!r}; "
        "name others with --text_column and --label_column"
    )


def refuse_many(table: Table, columns: Columns, found: RowCounts) -> None:
    """Refuses a label column with too many different values."""
    number = f"more than {MOST_LABELS:,}" if len(found.labels) > MOST_LABELS else f"{len(found.labels):,}"
    raise UserError(
        f"{table.path}: the label column {table.names[columns.label]!r} has {number} different values, and "
        f"{MOST_CLASSES} is the most; name another with --label_column, one of {', '.join(table.names)[:200]}"
    )


def name_classes(found: RowCounts, table: Table, columns: Columns) -> dict[str, Class]:
    """The class of each label as it is written.

    Numbers are one class whether written ``1`` or ``1.0``, words whether written ``Good`` or ``good``. The rating is
    the label itself where all labels are whole numbers, else the number of the class from 1 on.

    Raises:
        UserError: There are too few classes or too many, or a class has a single document.
    """
    whole = {label: WHOLE.fullmatch(label) for label in found.labels}
    numbers = {label: int(match[1]) for label, match in whole.items() if match}
    if len(numbers) == len(whole):
        classes = {label: Class(str(number), number) for label, number in numbers.items()}
    else:
        classes = number_classes(found)
    check_classes(found, table, columns, classes)
    return classes


def name_sets(found: RowCounts, table: Table) -> tuple[tuple[str, ...], dict[str, Class]]:
    """The labels, and the combination of them for each label as it is written.

    Raises:
        UserError: There are fewer than two labels, or more than a network is made for.
    """
    names, sets = named_sets(found.labels)
    if not 2 <= len(names) <= MOST_CLASSES:
        raise UserError(
            f"{table.path} has {len(names):,} labels, and 2 to {MOST_CLASSES} are needed; name another --label_column, "
            "or the --label_separator between them"
        )
    if taken := next((name for name in names if BETWEEN in name or name.casefold() == NO_LABELS), ""):
        raise UserError(f"{table.path}: the label {taken[:50]!r} would read as several or none; rename it")
    numbers = {label: number for number, label in enumerate(sorted(set(sets.values())), start=1)}
    return tuple(names), {label: Class(of_csv, numbers[of_csv]) for label, of_csv in sets.items()}


def number_classes(found: RowCounts) -> dict[str, Class]:
    """Classes of labels that are not all whole numbers: each named by its most frequent spelling, and numbered."""
    usual: dict[str, str] = {}
    for label, _ in sorted(found.labels.items(), key=lambda item: (-item[1], item[0])):
        usual.setdefault(label.casefold(), label)
    numbers = all(map(is_number, usual.values()))
    ordered = sorted(usual.values(), key=lambda name: (as_number(name) if numbers else 0.0, name.casefold()))
    ratings = {name: number for number, name in enumerate(ordered, start=1)}
    return {label: Class(usual[label.casefold()], ratings[usual[label.casefold()]]) for label in found.labels}


def as_number(label: str) -> float:
    """A label such as ``4.5`` or ``4,5`` as a number."""
    return float(label.replace(",", "."))


def check_classes(found: RowCounts, table: Table, columns: Columns, classes: dict[str, Class]) -> None:
    """Refuses classes that no classifier can learn: too few, too many, or one with a single document."""
    counts = count_classes(found, classes)
    if len(counts) > MOST_CLASSES:
        refuse_many(table, columns, found)
    if len(counts) < 2:
        refuse_one_class(found, table, columns, classes)
    if single := [name for name, count in counts.items() if count < 2]:
        some = ", ".join(map(repr, single[:SHOWN])) + (", ..." if len(single) > SHOWN else "")
        have = "has one document" if len(single) == 1 else f"have one document each ({len(single)} classes)"
        raise UserError(
            f"{table.path}: {some} of the label column {table.names[columns.label]!r} {have}, and a class needs two at "
            "least; correct the label, add documents or delete the row (is it the right --label_column?)"
        )


def refuse_one_class(found: RowCounts, table: Table, columns: Columns, classes: dict[str, Class]) -> NoReturn:
    """Refuses a source with one class or none, and says which other column or folder could be meant."""
    seen = f"one class only ({next(iter(classes.values())).name})" if classes else "no label in any row"
    if found.without_label:
        seen += f" ({found.without_label:,} rows have an empty label, or nan, null or n/a, which count as empty)"
    if table.path.is_dir():
        inner = sub_folders(table.path)[0]
        meant = f" (is it {inner}?)" if sub_folders(inner) else ""
        raise UserError(
            f"{table.path} has {seen}, and two classes are needed; give the folder with a sub-folder per class{meant}"
        )
    raise UserError(
        f"{table.path}: the label column {table.names[columns.label]!r} has {seen}, and two classes are needed; name "
        f"another with --label_column, one of {', '.join(table.names)[:200]}"
    )


def count_classes(found: RowCounts, classes: dict[str, Class]) -> dict[str, int]:
    """Documents of each class, in the order of the ratings."""
    counts: Counter[Class] = Counter()
    for label, count in found.labels.items():
        counts[classes[label]] += count
    return {one.name: counts[one] for one in sorted(counts, key=lambda one: one.rating)}


# ---------------------------------------------------------------------------------------------------------------------
# The documents, and what was understood


def read_rows(
    table: Table, columns: Columns, classes: dict[str, Class], block: TableBlock | None = None
) -> Iterator[Row]:
    """Streams the documents; a row is called by its id or by the number that a spreadsheet gives it."""
    for record in records(table, block):
        problem, split, label = judge(record, columns)
        if problem:
            continue
        name = f"row/{record.row}" if columns.id is None else record.fields[columns.id].strip()
        rating = classes[label].rating if label else 0
        text = record.fields[columns.text].replace("\0", " ")
        spans = spans_in(record.fields[columns.evidence], text) if columns.evidence is not None else None
        yield Row(name, split if label else "unlabelled", rating, text, spans or ())


def describe(table: Table, columns: Columns, found: RowCounts, classes: dict[str, Class]) -> list[str]:
    """What was understood of a source, a sentence per line."""
    written = f", {table.encoding}" if table.encoding else ""
    return [
        f"{table.path}: {table.kind}{written}, {found.rows:,} rows",
        *table.remarks,
        *describe_columns(table, columns),
        *describe_rows(table, found),
        *([columns.several.in_words()] if columns.several else describe_classes(found, classes)),
        *([] if columns.several else hint_at_several(found.labels)),
    ]


def describe_columns(table: Table, columns: Columns) -> Iterator[str]:
    """Which column is which, and which ones are not used."""
    places = {"text": columns.text, "label": columns.label, "split": columns.split, "id": columns.id}
    places["evidence"] = columns.evidence
    places |= {f"label {place}": place for place in columns.several.places[1:]} if columns.several else {}
    taken = [f"{use} from {table.names[place]!r}" for use, place in places.items() if place is not None]
    unused = [name for place, name in enumerate(table.names) if place not in places.values()]
    yield ", ".join(taken) + (f"; not used: {', '.join(unused)[:200]}" if unused else "")
    if columns.alternatives:
        others = ", ".join(repr(table.names[place]) for place in columns.alternatives)
        yield f"the label could also be {others}: name it with --label_column if so"
    if columns.no_split:
        yield columns.no_split


def describe_rows(table: Table, found: RowCounts) -> Iterator[str]:
    """Which rows were skipped and why, and how many have no label."""
    unit = "file number" if table.path.is_dir() else "line" if table.dialect or table.kind == JSON_LINES else "row"
    for problem, count in found.skipped.items():
        where = ", ".join(map(str, found.lines[problem])) + (", ..." if count > SHOWN else "")
        yield f"skipped: {count:,} x {problem}; {unit} {where}"
    if total := found.skipped.total():
        yield f"skipped in all: {total:,} of {found.rows:,} rows ({total / found.rows:.1%})"
    if found.marked:
        yield f"{found.marked:,} rows have evidence: marked parts of their text"
    if other := found.without_evidence:
        where = ", ".join(map(str, found.other_evidence)) + (", ..." if other > SHOWN else "")
        yield f"no evidence is kept of {other:,} rows, where it marks no part of the text; {unit} {where}"
    if found.without_label:
        yield f"{found.without_label:,} rows have no label: kept as unlabelled text for the word vectors"


def hint_at_several(labels: Iterable[str]) -> Iterator[str]:
    """The flag for several labels, where the labels of a text look like combinations of fewer names."""
    if found := looks_like_several(labels):
        yield f"labels such as {found[:80]!r} are each a class: add --multi_label if they are several labels of a text"


def describe_classes(found: RowCounts, classes: dict[str, Class]) -> Iterator[str]:
    """The classes with their numbers of documents, and spellings that were taken for one class."""
    counts = count_classes(found, classes)
    shown = ", ".join(f"{name} ({count:,})" for name, count in itertools.islice(counts.items(), SHOWN_CLASSES))
    yield f"{len(counts)} classes: {shown}{', ...' if len(counts) > SHOWN_CLASSES else ''}"
    if len(classes) > len(counts):
        spelt = sorted(label for label, one in classes.items() if label != one.name)
        if spelt:
            yield f"spellings taken for the same class: {', '.join(map(repr, spelt[:SHOWN]))}"
