"""Scores any number of texts as a stream, in memory that does not grow with their number.

Texts are cut into words by other processes while the network runs in this one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from corpus.text_rows import Row
from runtime.averaging import MeanPredictor
from text.process_pool import in_order, worker_pool
from text.text_reader import Reading, read_texts, unpack
from utils import usable_cores

if TYPE_CHECKING:
    from runtime.predictor import Predictor

    Reader: TypeAlias = Predictor | MeanPredictor

# Texts are sorted by length within windows. The first is small, so that the first predictions come soon.
FIRST_WINDOW, LARGEST_WINDOW = 64, 1024
WINDOW_CHARACTERS = 8_000_000
WINDOWS_ALONE = 4  # that this process reads by itself before it starts others
WINDOWS_AHEAD = 5  # that other processes read before they are scored
MOST_READERS = 4  # processes; each reads three times as many texts as two cores score
READERS_NICENESS = 19  # they work when a core is idle: the network waits for the slowest of its own threads
END_OTHERS = "end other programs and run the same command again"


class Scored(NamedTuple):
    """A row, what was read of its text and its probabilities, float32 [C]."""

    row: Row
    reading: Reading
    probabilities: Any


def score_rows(
    predictor: Reader, folder: Path, rows: Iterator[Row], interactive: bool
) -> Generator[Scored, None, None]:
    """Yields every row with its probabilities, in order.

    Beyond the first thousand, other processes cut the next texts into words while the network runs in this one: threads
    would wait for Python's lock. Until those processes have started, this one does both.

    Args:
        predictor: The network.
        folder: The run folder, from which those processes know the words.
        rows: What is read.
        interactive: Whether to score each line before the next one is read.
    """
    stream = windows(rows, 1 if interactive else LARGEST_WINDOW)
    for window in itertools.islice(stream, None if interactive else WINDOWS_ALONE):
        yield from score_window(predictor, window, read_here(predictor, window))
    if (next_window := next(stream, None)) is None:
        return
    get_ready = functools.partial(read_texts, folder, [""])
    with worker_pool(min(usable_cores(), MOST_READERS), get_ready, END_OTHERS, READERS_NICENESS) as pool:
        ready = pool.submit(get_ready)
        stream = itertools.chain([next_window], stream)
        while not ready.done() and (alone := next(stream, None)) is not None:
            yield from score_window(predictor, alone, read_here(predictor, alone))
        ahead, behind = itertools.tee(stream)
        texts = ([row.text for row in window] for window in ahead)
        read = in_order(pool, functools.partial(read_texts, folder), texts, WINDOWS_AHEAD)
        for window, packed in zip(behind, read, strict=True):
            yield from score_window(predictor, window, unpack(packed))


def read_here(predictor: Reader, window: Sequence[Row]) -> list[Reading]:
    """Cuts the texts of a window into words in this process."""
    return [predictor.read(row.text) for row in window]


def score_window(predictor: Reader, window: Sequence[Row], readings: Sequence[Reading]) -> Iterator[Scored]:
    """Yields the rows of a window with their probabilities."""
    probabilities = predictor.probabilities(reading.document for reading in readings)
    for row, reading, values in zip(window, readings, probabilities, strict=True):
        yield Scored(row, reading, values)


def windows(rows: Iterator[Row], largest: int) -> Iterator[list[Row]]:
    """Cuts a stream into lists that double in size up to ``largest`` rows or so many characters."""
    size = min(FIRST_WINDOW, largest)
    window: list[Row] = []
    characters = 0
    for row in rows:
        window.append(row)
        characters += len(row.text)
        if len(window) == size or characters > WINDOW_CHARACTERS:
            yield window
            window, characters, size = [], 0, min(2 * size, largest)
    if window:
        yield window
