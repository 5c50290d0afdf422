"""Rows of numbers about documents, in parts that fit into memory however many documents there are.

What has to be sorted, counted or compared over a whole data set is a few bytes for each document: a hash, a number, a
code. Up to :data:`IN_MEMORY` rows are kept as they are. More are on the disk, cut by the upper bits of their keys: rows
with equal keys are in one part, and parts follow each other in the order of their keys. So that a kill leaves nothing
behind, the file has no name: the system deletes it with the process. Rows of one key are in memory together: a table
in which most texts are the same takes as much as if nothing were on the disk.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = 1 << 20  # rows
HASH_SHIFT = 56  # of a key that is a hash of 64 bits: 256 parts
NUMBER_SHIFT = 20  # of a key that counts: a million rows each


class Parts:
    """Rows that are added in any order and read in the order of their keys; of equal keys in the order of adding.

    Args:
        folder: On the disk that may be written to; it need not be there yet.
        kind: Of a row; a field ``key`` of it is uint64.
        shift: Bits of the key that may differ within a part.

    Attributes:
        count: Rows that were added.
    """

    def __init__(self, folder: Path, kind: np.dtype[np.void], shift: int) -> None:
        self.kind, self.shift, self.count = kind, shift, 0
        self._folder = folder
        self._waiting: list[NDArray[np.void]] = []
        self._waiting_rows = 0
        self._file: BinaryIO | None = None
        self._places: dict[int, list[tuple[int, int]]] = {}  # of each part: where rows begin in the file, how many
        self._end = 0

    def add(self, rows: NDArray[np.void]) -> None:
        """Adds rows of :attr:`kind`."""
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        self.count += len(rows)
        if self._waiting_rows > IN_MEMORY:
            self._spill()

    def __iter__(self) -> Iterator[NDArray[np.void]]:
        """The parts that have rows, each sorted."""
        if self._file is None:
            rows = in_order(np.concatenate([np.empty(0, self.kind), *self._waiting]))
            self._waiting = [rows]
            if len(rows):
                yield rows
            return
        self._spill()
        for part in sorted(self._places):
            yield self._read(self._file, part)

    def rewritten(self) -> Iterator[NDArray[np.void]]:
        """The same; what is changed in the rows of a part before the next is asked for is kept. Keys may not change."""
        if self._file is None:
            yield from self
            return
        self._spill()
        for part in sorted(self._places):
            rows = self._read(self._file, part)
            yield rows
            self._write(self._file, part, rows)

    def _spill(self) -> None:
        """Moves rows from memory to the disk."""
        if not self._waiting_rows:
            return
        rows = np.concatenate(self._waiting)
        parts = rows["key"] >> np.uint64(self.shift)
        order = np.argsort(parts, kind="stable")
        present, first = np.unique(parts[order], return_index=True)
        if self._file is None:
            self._file = nameless_file(self._folder)
            weakref.finalize(self, self._file.close)
        file = self._file
        self._put(file, self._end, rows[order])
        bounds = [*first.tolist(), len(rows)]
        for part, begin, end in zip(present.tolist(), bounds[:-1], bounds[1:], strict=True):
            self._places.setdefault(part, []).append((self._end + begin, end - begin))
        self._end += len(rows)
        self._waiting, self._waiting_rows = [], 0

    def _read(self, file: BinaryIO, part: int) -> NDArray[np.void]:
        """The sorted rows of a part."""
        pieces = []
        for begin, count in self._places[part]:
            file.seek(begin * self.kind.itemsize)
            pieces.append(np.frombuffer(file.read(count * self.kind.itemsize), self.kind))
        return in_order(np.concatenate(pieces))

    def _write(self, file: BinaryIO, part: int, rows: NDArray[np.void]) -> None:
        """Writes the rows of a part in the place of those that were there."""
        at = 0
        for begin, count in self._places[part]:
            self._put(file, begin, rows[at : at + count])
            at += count

    def _put(self, file: BinaryIO, begin: int, rows: NDArray[np.void]) -> None:
        """Writes rows to the file, ``begin`` rows after its start."""
        try:
            file.seek(begin * self.kind.itemsize)
            file.write(rows.tobytes())
            file.flush()
        except OSError as error:
            error.filename = error.filename or str(self._folder)  # the file itself has no name
            raise


def nameless_file(folder: Path) -> BinaryIO:
    """A file in a folder, or in the first one above it that is there, which goes with the process."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


def in_order(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Rows sorted by their keys; those of equal keys stay as they are."""
    keys = rows["key"]
    return rows if (keys[1:] >= keys[:-1]).all() else rows[np.argsort(keys, kind="stable")]


def first_of_equal(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """int64 [different keys], where each begins in sorted keys."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
