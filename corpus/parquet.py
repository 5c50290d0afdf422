"""The rows of a Parquet file as a stream, in memory that the file cannot make grow.

A file of a few kilobytes can stand for gigabytes: a value that is repeated a million times is stored once. So groups of
rows that are too large are refused, repeated values stay what they are, and where rows are long, few at a time are
decoded and become values of Python.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from utils import UserError, human_size

MOST_GROUP = 1_000_000_000  # bytes of a row group, unpacked
ROWS_AT_ONCE, BYTES_AT_ONCE = 1_000, 16_000_000  # as Python's values
ROOM = 1_024  # values of fixed length that Arrow makes room for, however few it reads
UNEVEN = 16  # so many times as long as the mean may rows of lists be, one after the other, at little cost
NUMBER_IN_FILE, VALUE = 8, 32  # bytes of a number as Arrow holds it, and of a value of Python beside its text, about
SHOWN = 5  # names in a message


def parquet_rows(
    source: Any, name: object, left_out: list[str] | None = None, group: int | None = None
) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """The names of the columns, and the rows.

    Args:
        source: The path of the file, or the file, opened for reading bytes.
        name: What it is called in messages.
        left_out: Gets the names of the columns of lists and the like, which are left out then; without, all are read.
        group: Number of the group of rows to read; ``None`` for all.

    Raises:
        UserError: It has a group of rows that is too large, or two columns of one name; some of it only while the rows
            are read.
        Exception: Whatever pyarrow raises, also while the rows are read: it is damaged, or no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(source)
    refuse_twins(name, [one for one, count in Counter(schema.names).items() if count > 1])
    nested = [column.name for column in schema if pa.types.is_nested(stored(column.type))]
    names = [column.name for column in schema if left_out is None or column.name not in nested]
    if left_out is not None:
        left_out += nested
    return names, rows_of_columns(source, name, names, group)


def groups_in(source: Any) -> int:
    """The number of groups of rows of a file, as it says itself."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(source).num_row_groups)


def refuse_twins(name: object, twins: list[str]) -> None:
    """Raises :class:`UserError` where there are columns that cannot be told apart by their names."""
    if twins:
        raise UserError(f"{name} has more than one column that is called {shown_names(twins)}; rename or drop one")


def shown_names(names: list[str]) -> str:
    """The first of some names, for a message."""
    return ", ".join(map(repr, names[:SHOWN])) + (" ..." if len(names) > SHOWN else "")


def rows_of_columns(source: Any, name: object, names: list[str], group: int | None) -> Iterator[Sequence[Any]]:
    """The rows of a group, or of all groups, with the columns of these names."""
    import pyarrow.parquet as pq

    # As a dictionary a value that is repeated a million times takes its place once.
    with pq.ParquetFile(source) as file:
        metadata = file.metadata
    with pq.ParquetFile(source, read_dictionary=texts_in(metadata), metadata=metadata) as file:
        groups = range(metadata.num_row_groups) if group is None else [group]
        sizes = [rows_to_decode(metadata, file.schema_arrow, number, name, names) for number in groups]
        for number, size in zip(groups, sizes, strict=True):
            for batch in file.iter_batches(size, row_groups=[number], columns=names):
                if batch.schema.names != names:  # "a.b", and the field "b" of "a", have one path in the file
                    raise UserError(f"{name} has columns whose names overlap ({shown_names(names)}); rename one")
                step = rows_within(sum(map(longest_cell, batch.columns)))
                for first in range(0, batch.num_rows, step):
                    part = batch.slice(first, step)
                    yield from zip(*(column.to_pylist() for column in part.columns), strict=True)


def rows_to_decode(metadata: Any, schema: Any, number: int, name: object, names: list[str]) -> int:
    """How many rows of a group to decode at once, from what the file says of itself.

    A list tells its length only when it is decoded. But a group says how many values it has in all, and the reader
    stops there: the mean is known, and the most that a row can have.

    Args:
        metadata: Of the file.
        schema: The Arrow schema of the file.
        number: Of the group.
        name: What the file is called in messages.
        names: Of the columns to read.

    Raises:
        UserError: The group is too large.
    """
    group = metadata.row_group(number)
    chosen = [schema.field(one).type for one in names]
    row = sum(map(fixed_size, chosen))
    values = room = 0  # bytes of all lists of the group, and of what Arrow makes room for
    for place in range(group.num_columns):
        leaf = metadata.schema.column(place)
        if not any(leaf.path == one or leaf.path.startswith(f"{one}.") for one in names):
            continue
        width = NUMBER_IN_FILE
        if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY":
            width = max(leaf.length, NUMBER_IN_FILE)
            room += width * min(group.column(place).num_values, ROOM)
        if leaf.max_repetition_level:
            values += width * group.column(place).num_values
        else:
            row += width
    if (size := max(group.total_byte_size, row, room + values)) > MOST_GROUP:
        raise UserError(f"{name} has a group of rows of {human_size(size)}; save it with smaller ones, or as CSV")
    lists = UNEVEN * values // max(group.num_rows, 1) if values > BYTES_AT_ONCE else 0
    return rows_within(row + lists)


def fixed_size(kind: Any) -> int:
    """Bytes that lists of a fixed length take in a row, also where they are missing."""
    import pyarrow as pa

    kind = stored(kind)
    if pa.types.is_struct(kind):
        return sum(fixed_size(field.type) for field in kind)
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * max(fixed_size(kind.value_type), fixed_width(kind.value_type))
    return 0


def fixed_width(kind: Any) -> int:
    """Bytes of a value, about; of a text, of its place in the dictionary."""
    import pyarrow as pa

    return max(int(kind.byte_width), NUMBER_IN_FILE) if pa.types.is_fixed_size_binary(kind) else NUMBER_IN_FILE


def rows_within(size: int) -> int:
    """How many rows of this size, in bytes, to hold at once."""
    return min(max(BYTES_AT_ONCE // max(size, 1), 1), ROWS_AT_ONCE)


def texts_in(metadata: Any) -> list[str]:
    """The paths of the columns whose values differ in length, those within lists included."""
    columns = (metadata.schema.column(number) for number in range(metadata.num_columns))
    return [
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.logical_type.type != "DECIMAL"
    ]


def stored(kind: Any) -> Any:
    """The Arrow type that values of a type are stored as: another one where it is an extension."""
    import pyarrow as pa

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def longest_cell(column: Any) -> int:
    """Bytes of the longest cell of an Arrow array as a value of Python, about."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return longest_cell(column.storage)
    if pa.types.is_dictionary(kind):
        return VALUE + int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
    if pa.types.is_fixed_size_binary(kind):
        return VALUE + int(kind.byte_width)
    if pa.types.is_struct(kind):
        return VALUE + sum(map(longest_cell, column.flatten()))
    if pa.types.is_fixed_size_list(kind):
        return VALUE + int(kind.list_size) * longest_cell(column.flatten())
    if pa.types.is_nested(kind):  # lists and maps
        most = int(np.diff(column.offsets.to_numpy()).max(initial=0))
        return VALUE + most * (
            longest_cell(column.keys) + longest_cell(column.items)
            if pa.types.is_map(kind)
            else longest_cell(column.values)
        )
    return VALUE
