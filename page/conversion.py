"""Excel workbooks and Parquet files as the CSV that they would be, row by row: memory stays small.

``corpus.frames`` reads such files as a whole, which a command may do with a person's own file. A server may not: a file
of a few kilobytes can stand for gigabytes.
"""

from __future__ import annotations

import contextlib
import csv
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from corpus.frames import READERS, as_text, damaged
from corpus.parquet import parquet_rows
from corpus.sources import DAMAGED
from utils import UserError, human_size

MOST_WORKBOOK = 500_000_000  # bytes of a workbook, unpacked: its table of strings is held in memory
SHOWN = 5  # names in a remark
LOOK_EVERY = 1 << 20  # characters between two looks whether there is room
ENDINGS = (".xlsx", ".xlsm", ".parquet")


def convert(packed: Path, plain: Path, most: int, check_space: Callable[[int], None]) -> list[str]:
    """Writes a file as CSV in UTF-8; the first row names the columns.

    Args:
        packed: The file, with one of :data:`ENDINGS`.
        plain: Where the CSV goes.
        most: Characters of the CSV at most.
        check_space: Called now and then with the characters so far; raises where there is no room.

    Returns:
        What a person should know about it.

    Raises:
        UserError: It is damaged, has no rows, or stands for more than ``most`` characters.
    """
    remarks: list[str] = []
    try:
        with plain.open("w", encoding="utf-8", newline="") as file, contextlib.ExitStack() as stack:
            rows = OPENERS[packed.suffix](packed, stack, remarks)
            write_rows(rows, file, lambda written: refuse_more(packed, written, most, check_space))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # each of the libraries that read such files has errors of its own
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, DAMAGED):
            raise  # of the disk
        raise UserError(damaged(packed, READERS[packed.suffix][0], error)) from error
    return remarks


def write_rows(rows: Iterable[Sequence[Any]], file: IO[str], look: Callable[[int], None]) -> None:
    """Writes rows of cells; rows without a cell are left out, all others are as long as the first."""
    writer = csv.writer(file)
    width, written, looked = 0, 0, 0
    for row in rows:
        cells = [as_text(cell) for cell in row]
        if any(cells):
            width = width or len(cells)
            writer.writerow([*cells, *[""] * (width - len(cells))])
        written += sum(map(len, cells)) + len(cells)
        if written - looked > LOOK_EVERY:
            looked = written
            look(written)
    look(written)


def refuse_more(packed: Path, written: int, most: int, check_space: Callable[[int], None]) -> None:
    """Raises :class:`UserError` where a file stands for too much."""
    if written > most:
        raise UserError(f"{packed} unpacks to more than {human_size(most)}; save it as CSV")
    check_space(written)


def rows_of_workbook(packed: Path, stack: contextlib.ExitStack, remarks: list[str]) -> Iterator[Sequence[Any]]:
    """The rows of the first sheet."""
    import openpyxl

    with zipfile.ZipFile(packed) as archive:
        if (size := sum(member.file_size for member in archive.infolist())) > MOST_WORKBOOK:
            raise UserError(f"{packed} unpacks to {human_size(size)}, too much for a workbook; save it as CSV")
    book = openpyxl.load_workbook(packed, read_only=True, data_only=True)
    stack.callback(book.close)
    sheet = book.worksheets[0]
    if len(book.sheetnames) > 1:
        remarks.append(f"Of {len(book.sheetnames)} sheets the first is read: {sheet.title!r}.")
    sheet.reset_dimensions()  # what the file claims may be wrong
    yield from sheet.iter_rows(values_only=True)


def rows_of_parquet(packed: Path, _: contextlib.ExitStack, remarks: list[str]) -> Iterator[Sequence[Any]]:
    """The names of the columns, then the rows."""
    nested: list[str] = []
    names, rows = parquet_rows(packed, packed, nested)
    if nested:
        remarks.append(f"Columns of lists are not read: {', '.join(map(repr, nested[:SHOWN]))}.")
    yield names
    yield from rows


OPENERS = {
    ".xlsx": rows_of_workbook,
    ".xlsm": rows_of_workbook,
    ".parquet": rows_of_parquet,
}
