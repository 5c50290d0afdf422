"""Texts to score, row by row, from a table or from lines: which column has them is found by its name or its content."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from corpus.corpus_formats import MAX_TEXT_BYTES
from corpus.headers import ID_NAMES, SAMPLE_RECORDS, TEXT_NAMES, comparable_name, header_place, knows
from corpus.own_data import guess_text, named_column, profile
from corpus.sources import open_source, plain_suffix
from corpus.tables import DELIMITERS, JSON_ENDINGS, SAMPLE_CHARACTERS, Record, Table, parse_head, records, usable
from utils import UserError, log

MOST_FIT = 0.9  # of the rows of a table have as many cells as its header


class Row(NamedTuple):
    """A text to score.

    Attributes:
        id: Its name in the column ``id``, or else ``row/17``; of a line of plain text, its number from 1 on.
        text: What the person wrote.
        size: Characters of its row.
        label: What a column of labels says; empty where there is none.
    """

    id: str
    text: str
    size: int
    label: str = ""


def warn(table: Table, record: Record) -> None:
    """Logs a row that cannot be read."""
    log.warning("%s, line %d: %s; no prediction", table.path, record.line, record.problem)


def has_one_column(path: Path, codec: str, errors: str) -> bool:
    """Whether a table has a single column, by its first lines; an empty one has none."""
    if plain_suffix(path) in JSON_ENDINGS:
        return False
    with open_source(path, codec, errors=errors, newline="") as file:
        head = file.read(SAMPLE_CHARACTERS)
        whole = not file.read(1)
    first, *_ = head.splitlines() or [""]
    if not first.strip() or set(first) & set(DELIMITERS):
        return False
    return not any(is_below_titles(parse_head(head, whole, {"delimiter": sign})) for sign in DELIMITERS)


def is_below_titles(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a title is above a row with the names of several columns, which nearly all rows below it have."""
    place = header_place(rows)
    width = len(rows[place]) if rows else 0
    below = [row for row in rows[place + 1 :] if any(row)]
    fit = sum(len(row) == width for row in below)
    return width > 1 and place > 0 and knows(rows[place]) and fit >= MOST_FIT * max(len(below), 1)


def text_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Yields the lines of a UTF-8 stream; other content is a :class:`UserError` that names the line."""
    number = 0
    while line := file.readline(MAX_TEXT_BYTES):
        number += 1
        if len(line) == MAX_TEXT_BYTES or b"\0" in line:
            raise UserError(f"{name}, line {number}: this is not text (zero bytes, or a line without an end)")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name}, line {number}: it is not UTF-8 ({error.reason})") from error


def line_rows(lines: Iterator[str]) -> Iterator[Row]:
    """One text per line, named by its number; an empty line is an empty text, so that output and input stay in step."""
    for number, line in enumerate(lines, start=1):
        yield Row(str(number), line.rstrip("\r\n"), len(line))


def column_rows(lines: Iterator[str], path: Path) -> Iterator[Row]:
    """The rows of a CSV file with one column, whose first line is its name."""
    csv.field_size_limit(MAX_TEXT_BYTES)
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        next(reader, None)
        line = reader.line_num + 1
        for number, fields in enumerate((fields for fields in reader if fields), start=1):
            yield Row(str(number), ",".join(fields), sum(map(len, fields)) + 1)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: {error}; close the quotation mark, or save it as .txt") from error


def table_rows(
    table: Table, text: int, named: int | None, label: int | None = None, report: Callable[[Table, Record], None] = warn
) -> Iterator[Row]:
    """The rows of a table; one that cannot be read is reported and gets an empty text, so that none is missing.

    Args:
        table: From :func:`corpus.tables.open_table`.
        text: Place of the text.
        named: Place of its name; without it a row is ``row/17``, which is what ``create_csv.py`` calls it.
        label: Place of its label.
        report: Called with each row that cannot be read.
    """
    readable = (record for record in records(table) if record.problem not in {"empty row", "the header again"})
    for record in readable:
        if record.problem:
            report(table, record)
            yield Row(f"row/{record.row}", "", 0)
        else:
            fields = record.fields
            name = f"row/{record.row}" if named is None else fields[named]
            size = sum(map(len, fields)) + len(fields)
            yield Row(name, fields[text], size, "" if label is None else fields[label].strip())


def find_columns(table: Table, text_column: str, id_column: str) -> tuple[int, int | None]:
    """The places of the text and of its name; a :class:`UserError` if it is unclear which column has the text.

    Without a flag it is the column that has a usual name, else the one that ``create_csv.py`` would take.
    """
    plain = [comparable_name(name) for name in table.names]
    named = named_column(table, "id_column", id_column)
    if named is None:
        named = next((plain.index(name) for name in ID_NAMES if name in plain), None)
    text = named_column(table, "text_column", text_column)
    if text is None:
        usual = [place for place, name in enumerate(plain) if name in TEXT_NAMES]
        text = usual[0] if len(usual) == 1 else guess_column(table)
    return text, named


def guess_column(table: Table) -> int:
    """The column that holds the text, by its content."""
    sample = [record.fields for record in itertools.islice(usable(table), SAMPLE_RECORDS)]
    profiles = [profile(name, place, [row[place] for row in sample]) for place, name in enumerate(table.names)]
    return guess_text(table, [column for column in profiles if not column.splits], profiles)
