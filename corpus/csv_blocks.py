"""The CSV file of a data set in blocks of whole rows, which can be read independently of each other.

A line break is the end of a row where an even number of quotation marks is before it. That is true of a file in which
quotation marks are where :mod:`csv` writes them: around whole cells, and doubled within them. :func:`rows_end` checks
each of them. Where one is elsewhere, which a file that somebody else made may have, the rest of the file is one block.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.corpora import CsvRow, csv_lines, rows_of_csv
from corpus.corpus_formats import MAX_TEXT_BYTES
from utils import UserError

QUOTE = ord('"')
BEFORE_CELL = np.isin(np.arange(256), list(b',\n"'))  # what may precede a quotation mark that opens
AFTER_CELL = np.isin(np.arange(256), list(b',\r\n"'))  # what may follow one that closes


class Block(NamedTuple):
    """Whole rows of a CSV file.

    Attributes:
        start: Of the first row in the file, in bytes.
        size: In bytes.
        line: Number of its first line in the file, from 1.
        header: Cells of the header; empty for the block that begins with it.
    """

    start: int
    size: int
    line: int
    header: tuple[str, ...]


def read_block(path: Path, block: Block) -> Iterator[CsvRow]:
    """Streams the documents of a block.

    Raises:
        UserError: As :func:`corpus.corpora.read_csv`; or the machine that runs this does not have the file.
    """
    try:
        opened = path.open("rb")
    except OSError as error:
        raise unseen(path, error) from error
    with opened as file:
        yield from rows_of_csv(path, csv_lines(file, block.start, block.size), block.header, block.line)


def csv_blocks(path: Path, size: int, see: Callable[[bytes], object]) -> Iterator[Block]:
    """Cuts a CSV file into blocks, in the order of its rows.

    Args:
        path: The file.
        size: Bytes of a block, about.
        see: Called with every byte of the file, piece by piece, for example to hash them.
    """
    header = header_of(path)
    start, line, rest = 0, 1, b""
    with path.open("rb") as file:
        while piece := file.read(size):
            see(piece)
            rest += piece
            end = rows_end(rest, start == 0)
            if end < 0 or (not end and len(rest) > size + 2 * MAX_TEXT_BYTES):
                see_rest(file, see)
                break
            if end:
                yield Block(start, end, line, header if start else ())
                line += rest.count(b"\n", 0, end)
                start += end
                rest = rest[end:]
        if rest or not start:
            yield Block(start, file.tell() - start, line, header if start else ())


def header_of(path: Path) -> tuple[str, ...]:
    """The cells of the first row; empty if it cannot be read, which the reader of the first block reports."""
    with path.open("rb") as file:
        try:
            return tuple(next(csv.reader(csv_lines(file), strict=True), ()))
        except (csv.Error, ValueError):
            return ()


def see_rest(file: IO[bytes], see: Callable[[bytes], object]) -> None:
    """Reads a file to its end."""
    while piece := file.read(1 << 20):
        see(piece)


def rows_end(rows: bytes, is_first: bool) -> int:
    """Where the last whole row ends in some bytes that begin with a row.

    Args:
        rows: Of a CSV file.
        is_first: Whether they are the first of the file, which may have a byte order mark.

    Returns:
        The number of bytes; 0 if no row ends in them, -1 if there is a quotation mark where there should be none.
    """
    values = np.frombuffer(rows, np.uint8)
    quotes = np.flatnonzero(values == QUOTE)
    end = len(rows)
    while (end := rows.rfind(b"\n", 0, end)) >= 0:
        count = int(np.searchsorted(quotes, end))
        if count % 2 == 0:
            return end + 1 if well_placed(values, quotes[:count], is_first) else -1
    return 0


def well_placed(values: NDArray[np.uint8], quotes: NDArray[np.int64], is_first: bool) -> bool:
    """Whether every quotation mark opens or closes a cell, or is doubled within one; ``quotes``: their places.

    Then :mod:`csv` takes every second one for the end of what the one before it has begun. A mark within a cell that
    has none around it would be the first that is preceded by another sign than those that precede a cell.
    """
    opening, closing = quotes[::2], quotes[1::2]
    begin = len(BOM_UTF8) if is_first and values[:3].tobytes() == BOM_UTF8 else 0
    inner = opening[1:] if len(opening) and opening[0] == begin else opening
    return bool(BEFORE_CELL[values[inner - 1]].all() and AFTER_CELL[values[closing + 1]].all())


def unseen(path: Path, error: OSError) -> UserError:
    """The error of a machine that does not have the file."""
    return UserError(
        f"a machine of the Ray cluster cannot read {path} ({error.strerror}); put --data_dir into a folder that all "
        "machines share, at the same path"
    )
