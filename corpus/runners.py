"""Who reads a table: this process alone, from its beginning to its end, or tasks that read blocks of it.

The functions that read, and what is made of their results, are the same for both. So both write the same bytes: a
runner decides where a function runs, and gives what it yields in the order of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from corpus.tables import Table, TableBlock


class Runner(Protocol):
    """Runs functions that read.

    Attributes:
        divides: Whether work should be in many parts.
    """

    divides: bool

    def blocks(self, table: Table | None) -> Iterable[TableBlock | None]:
        """The blocks of a table, the same ones each time; ``None``: the whole of it."""

    def each(
        self, function: Callable[..., Iterator[Any]], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """What a function yields, for one call of it after the other.

        Args:
            function: Of a module; what it yields depends on its arguments and on files alone.
            calls: Its arguments, the first of which says what it reads; asked for when there is room for more work.

        Yields:
            The number of the call, and a value.
        """


class Alone:
    """This process, which reads every table as a whole."""

    divides = False

    def blocks(self, table: Table | None) -> list[TableBlock | None]:
        """See :class:`Runner`."""
        return [None]

    def each(
        self, function: Callable[..., Iterator[Any]], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """See :class:`Runner`."""
        for number, call in enumerate(calls):
            for value in function(*call):
                yield number, value


ALONE = Alone()


def is_open(block: TableBlock | None) -> bool:
    """Whether a block may have any size: the whole of a table, or the rest of one."""
    return block is None or block.size is None
