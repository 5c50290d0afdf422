"""The rows of a Parquet file as a stream, in memory that the file cannot make grow.

A file of a few kilobytes can stand for gigabytes: a value that is repeated a million times is stored once. So groups of
rows that are too large are refused, repeated values stay what they are, and rows become Python's values a few at a time
where they are long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from utils import UserError, human_size

MOST_GROUP = 1_000_000_000  # bytes of a row group, unpacked
ROWS_AT_ONCE, BYTES_AT_ONCE = 1_000, 64_000_000  # as Python's values


def parquet_rows(
    source: Any, name: object, left_out: list[str] | None = None
) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """The names of the columns, and the rows.

    Args:
        source: The path of the file, or the file, opened for reading bytes.
        name: What it is called in messages.
        left_out: Gets the names of the columns of lists and the like, which are left out then; without, all are read.

    Raises:
        UserError: It has a group of rows that is too large.
        Exception: Whatever pyarrow raises, also while the rows are read: it is damaged, or no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(source)
    nested = [column.name for column in schema if pa.types.is_nested(column.type)]
    names = [column.name for column in schema if left_out is None or column.name not in nested]
    if left_out is not None:
        left_out += nested
    return names, rows_of_columns(source, name, names)


def rows_of_columns(source: Any, name: object, names: list[str]) -> Iterator[Sequence[Any]]:
    """The rows, with the columns of these names."""
    import pyarrow.parquet as pq

    # As a dictionary a value that is repeated a million times takes its place once.
    with pq.ParquetFile(source) as file:
        metadata = file.metadata
    with pq.ParquetFile(source, read_dictionary=texts_in(metadata), metadata=metadata) as file:
        groups = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
        if (size := max(groups, default=0)) > MOST_GROUP:
            raise UserError(f"{name} has a group of rows of {human_size(size)}; save it with smaller ones, or as CSV")
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
            longest = max(map(longest_cell, batch.columns), default=1)
            step = min(max(BYTES_AT_ONCE // max(longest, 1), 1), ROWS_AT_ONCE)
            for first in range(0, batch.num_rows, step):
                part = batch.slice(first, step)
                yield from zip(*(column.to_pylist() for column in part.columns), strict=True)


def texts_in(metadata: Any) -> list[str]:
    """The paths of the columns whose values differ in length, those within lists included."""
    columns = (metadata.schema.column(number) for number in range(metadata.num_columns))
    return [
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.logical_type.type != "DECIMAL"
    ]


def longest_cell(column: Any) -> int:
    """Bytes of the longest cell of an Arrow array, about; numbers count as one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return max(pc.max(pc.binary_length(column.dictionary)).as_py() or 1, 1) if len(column.dictionary) else 1
    if pa.types.is_struct(kind):
        return sum(map(longest_cell, column.flatten()))
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * longest_cell(column.flatten())
    if pa.types.is_nested(kind):  # lists and maps
        most = int(np.diff(column.offsets.to_numpy()).max(initial=0))
        return most * (
            longest_cell(column.keys) + longest_cell(column.items)
            if pa.types.is_map(kind)
            else longest_cell(column.values)
        )
    return 1
