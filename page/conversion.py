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
from corpus.sources import DAMAGED
from utils import UserError, human_size

MOST_WORKBOOK = 500_000_000  # bytes of a workbook, unpacked: its table of strings is held in memory
MOST_GROUP = 1_000_000_000  # bytes of a row group of a Parquet file, unpacked
ROWS_AT_ONCE, BYTES_AT_ONCE = 1_000, 64_000_000  # as Python's values
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


def rows_of_parquet(packed: Path, stack: contextlib.ExitStack, remarks: list[str]) -> Iterator[Sequence[Any]]:
    """The names of the columns, then the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(packed)
    nested = [column.name for column in schema if pa.types.is_nested(column.type)]
    flat = [column.name for column in schema if not pa.types.is_nested(column.type)]
    if nested:
        remarks.append(f"Columns of lists are not read: {', '.join(map(repr, nested[:SHOWN]))}.")
    # As a dictionary a value that is repeated a million times takes its place once.
    texts = [name for name in flat if is_of_bytes(schema.field(name).type)]
    file = stack.enter_context(pq.ParquetFile(packed, read_dictionary=texts))
    groups = [file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)]
    if (size := max(groups, default=0)) > MOST_GROUP:
        raise UserError(f"{packed} has a group of rows of {human_size(size)}; save it with smaller ones, or as CSV")
    yield flat
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=flat):
        longest = max((longest_value(column) for column in batch.columns), default=1)
        step = min(max(BYTES_AT_ONCE // longest, 1), ROWS_AT_ONCE)
        for first in range(0, batch.num_rows, step):
            part = batch.slice(first, step)
            yield from zip(*(column.to_pylist() for column in part.columns), strict=True)


def is_of_bytes(kind: Any) -> bool:
    """Whether the values of an Arrow type differ in length."""
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_binary(kind)


def longest_value(column: Any) -> int:
    """Bytes of the longest value of a column that was read as a dictionary; 1 for other columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type) or not len(column.dictionary):
        return 1
    return max(pc.max(pc.binary_length(column.dictionary)).as_py() or 1, 1)


OPENERS = {
    ".xlsx": rows_of_workbook,
    ".xlsm": rows_of_workbook,
    ".parquet": rows_of_parquet,
}
