"""Tables of text in blocks of whole rows, which can be read independently of each other.

:func:`csv_blocks` cuts the CSV file of a data set, :func:`table_blocks` a table that somebody made. A line break is the
end of a row where an even number of quotation marks is before it. That is true of a file in which quotation marks are
where :mod:`csv` writes them: around whole cells, and doubled within them. :func:`rows_end` checks each of them. Where
one is elsewhere, which a file that somebody else made may have, the rest of the file is one block.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.corpora import CsvRow, csv_lines, rows_of_csv
from corpus.corpus_formats import MAX_TEXT_BYTES
from corpus.sources import is_compressed
from corpus.tables import JSON_LINES, Table, TableBlock
from utils import UserError

QUOTE, LINE_FEED, RETURN = b'"\n\r'


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
    header, line = header_of(path), 1
    for start, rows in whole_rows(path, size, see):
        length = path.stat().st_size - start if rows is None else len(rows)
        yield Block(start, length, line, header if start else ())
        line += (rows or b"").count(b"\n")


def table_blocks(table: Table, size: int) -> Iterator[TableBlock | None]:
    """Cuts a table that somebody made into blocks; ``None`` is the whole of it, where it cannot be cut.

    It cannot where it is compressed, where a byte of an encoding can mean a line break or another sign, where a
    backslash is before quotation marks, and where it is a folder, or a file that is read as a whole.

    Args:
        table: How it is to be read.
        size: Bytes of a block, about.
    """
    quoting = quoting_of(table)
    if quoting is None or is_compressed(table.path) or not has_bytes_of_its_own(table.encoding):
        yield None
        return
    file, line, row = os.path.abspath(table.path), 0, 0
    for start, rows in whole_rows(table.path, size, len, quoting):
        yield TableBlock(file, start, None if rows is None else len(rows), line, row)
        if rows is not None:
            lines, ends = count_ends(rows, bool(quoting))
            line, row = line + lines, row + ends


def quoting_of(table: Table) -> str | None:
    """What is between cells that may be in quotation marks; empty where these mean nothing; ``None``: neither."""
    if table.kind == JSON_LINES:
        return ""
    if table.dialect is None or table.dialect.keys() - {"delimiter", "quoting"}:
        return None
    return "" if "quoting" in table.dialect else str(table.dialect["delimiter"])


def has_bytes_of_its_own(encoding: str) -> bool:
    """Whether in an encoding the bytes of ASCII are always the signs of ASCII: UTF-8, and one byte per letter."""
    if codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}:
        return True
    every = bytes(range(256))
    with contextlib.suppress(UnicodeError):
        letters = every.decode(encoding, "replace")
        return len(letters) == len(every) and letters[:128] == every[:128].decode("ascii")
    return False


def count_ends(rows: bytes, quoted: bool) -> tuple[int, int]:
    """The lines of some whole rows, and the rows; a line may end with a line feed, a carriage return, or both."""
    values = np.frombuffer(rows, np.uint8)
    ends = np.flatnonzero(values == LINE_FEED)
    if b"\r" in rows:
        returns = np.flatnonzero(values == RETURN)
        alone = returns[values[np.minimum(returns + 1, len(values) - 1)] != LINE_FEED]
        ends = np.sort(np.concatenate([ends, alone]))
    if not quoted:
        return len(ends), len(ends)
    quotes = np.flatnonzero(values == QUOTE)
    return len(ends), int(np.count_nonzero(np.searchsorted(quotes, ends) % 2 == 0))


def whole_rows(
    path: Path, size: int, see: Callable[[bytes], object], delimiter: str = ","
) -> Iterator[tuple[int, bytes | None]]:
    """Blocks of whole rows: where each starts, and its bytes; ``None``: the rest of the file, which cannot be cut.

    Args:
        path: The file.
        size: Bytes of a block, about.
        see: Called with every byte of the file, piece by piece.
        delimiter: Between cells that may be in quotation marks; empty where a quotation mark is a sign like others.
    """
    start, rest = 0, b""
    with path.open("rb") as file:
        while piece := file.read(size):
            see(piece)
            rest += piece
            end = rows_end(rest, start == 0, delimiter) if delimiter else rest.rfind(b"\n") + 1
            if end < 0 or (not end and len(rest) > size + 2 * MAX_TEXT_BYTES):
                see_rest(file, see)
                yield start, None
                return
            if end:
                yield start, rest[:end]
                start += end
                rest = rest[end:]
        if rest or not start:
            yield start, rest


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


def rows_end(rows: bytes, is_first: bool, delimiter: str = ",") -> int:
    """Where the last whole row ends in some bytes that begin with a row.

    Args:
        rows: Of a CSV file.
        is_first: Whether they are the first of the file, which may have a byte order mark.
        delimiter: Between cells.

    Returns:
        The number of bytes; 0 if no row ends in them, -1 if there is a quotation mark where there should be none.
    """
    values = np.frombuffer(rows, np.uint8)
    quotes = np.flatnonzero(values == QUOTE)
    end = len(rows)
    while (end := rows.rfind(b"\n", 0, end)) >= 0:
        count = int(np.searchsorted(quotes, end))
        if count % 2 == 0:
            return end + 1 if well_placed(values, quotes[:count], is_first, ord(delimiter)) else -1
    return 0


def well_placed(values: NDArray[np.uint8], quotes: NDArray[np.int64], is_first: bool, delimiter: int) -> bool:
    """Whether every quotation mark opens or closes a cell, or is doubled within one; ``quotes``: their places.

    Then :mod:`csv` takes every second one for the end of what the one before it has begun. A mark within a cell that
    has none around it would be the first that is preceded by another sign than those that precede a cell.
    """
    opening, closing = quotes[::2], quotes[1::2]
    begin = len(BOM_UTF8) if is_first and values[:3].tobytes() == BOM_UTF8 else 0
    inner = opening[1:] if len(opening) and opening[0] == begin else opening
    before, after = (np.isin(np.arange(256), [delimiter, LINE_FEED, QUOTE, *more]) for more in ((), (RETURN,)))
    return bool(before[values[inner - 1]].all() and after[values[closing + 1]].all())


def unseen(path: Path, error: OSError) -> UserError:
    """The error of a machine that does not have the file."""
    return UserError(
        f"a machine of the Ray cluster cannot read {path} ({error.strerror}); put --data_dir into a folder that all "
        "machines share, at the same path"
    )
