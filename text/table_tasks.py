"""A table that somebody made, read by the tasks of a cluster: the runner of ``create_csv.py --engine ray``.

A task reads a block of the table (:mod:`corpus.csv_blocks`). What it yields comes to the main process in the order of
the table, and only what is small is kept there. What cannot be cut into blocks the main process reads as a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from corpus.csv_blocks import table_blocks
from corpus.runners import is_open
from corpus.tables import Table, TableBlock
from text.block_engine import Cluster, Handle, block_size, few_at_a_time
from utils import UserError, log

VALUES_AT_ONCE = 64  # from a task to the main process


def lists_of(function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[list[Any]]:
    """In a worker: what a function yields, many values at once."""
    values = function(*arguments)
    while some := list(islice(values, VALUES_AT_ONCE)):
        yield some


def version_of(path: Path) -> tuple[int, int]:
    """Size and time of the last change of a file: rows that are added would be in its hash and in no block."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class TableTasks:
    """See :class:`corpus.runners.Runner`."""

    divides = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._table: Table | None = None
        self._version: tuple[int, int] = (0, 0)
        self._known: list[TableBlock | None] = []
        self._more: Iterator[TableBlock | None] = iter(())

    def blocks(self, table: Table | None) -> Iterator[TableBlock | None]:
        """See :class:`corpus.runners.Runner`; the first time the table is cut while its first blocks are read."""
        if table is None:
            yield None
            return
        version = version_of(table.path)
        if table != self._table:
            size = block_size(table.path, self._cluster.cores)
            self._table, self._version, self._known, self._more = table, version, [], table_blocks(table, size)
        elif version != self._version:
            raise UserError(f"{table.path} was changed while it was read; run the same command again")
        yield from self._known
        for block in self._more:
            self._known.append(block)
            if is_open(block):
                what = f"{table.path}, from line {block.line + 1:,} on," if block else str(table.path)
                log.info("%s cannot be cut into blocks: one process reads it", what)
            yield block

    def each(
        self, function: Callable[..., Iterator[Any]], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """See :class:`corpus.runners.Runner`."""
        own: list[tuple[Any, ...]] = []  # the last call, if this process is to answer it

        def tasks() -> Iterator[Iterator[Handle]]:
            for call in calls:
                if isinstance(call[0], TableBlock | None) and is_open(call[0]):
                    own.append(call)
                    return
                yield self._cluster.stream(lists_of, function, *call)

        number = -1
        for number, handles in enumerate(few_at_a_time(self._cluster, tasks())):
            for handle in handles:
                for value in self._cluster.get(handle):
                    yield number, value
        for call in own:
            for value in function(*call):
                yield number + 1, value
