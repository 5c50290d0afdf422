"""Where texts become records: the steps that an engine takes, and the engine of one machine.

``serialize_data.py`` decides what is done in which order and writes what is small. An engine decides where the work on
the texts runs and where what it gives waits between two steps. The functions that do the work are the same in all of
them, so that every engine writes the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from config import TextSettings
from corpus.corpora import SPLITS, read_csv
from data_processing import TextProcessor, Vocabulary
from text.first_reading import FirstReading, read_first
from text.process_pool import in_order
from text.punkt import SentenceSplitter, train_splitter
from text.spool import (
    Shard,
    SpooledChunk,
    chunks_of,
    count_generation,
    counts_in_files,
    final_batch,
    frequent_words,
    spool_chunk,
    translate_generation,
    write_shard,
)
from text.word_vectors import write_part
from utils import sha256_of_file


class WrittenShard(NamedTuple):
    """What is known of a shard when it is on disk.

    Attributes:
        rows: Of the index of the split.
        unknown: Its number of unknown words.
    """

    rows: NDArray[np.void]
    unknown: int


class Engine(Protocol):
    """The work on the texts of one data set; the methods are called in this order."""

    def first_reading(self, csv: Path, settings: TextSettings) -> tuple[FirstReading, str]:
        """Counts and the sample of the training texts; the SHA-256 of the file."""

    def train_splitter(self, texts: list[str]) -> SentenceSplitter:
        """A sentence splitter that has learnt from these texts."""

    def find_words(self, csv: Path, processor: TextProcessor, class_ids: dict[str, int]) -> Iterator[SpooledChunk]:
        """Cuts every text into words, once; yields a chunk after the other, in the order of their last documents."""

    def count_words(self, chunks: Sequence[SpooledChunk], least: int) -> tuple[list[tuple[str, int]], int]:
        """(word, count) of the words of the training split that occur ``least`` times, and how many words it has."""

    def number_words(self, chunks: Sequence[SpooledChunk], vocabulary: Vocabulary) -> None:
        """Fixes the ids of all words."""

    def write_shards(self, shards: Sequence[Shard], label_sets: NDArray[np.uint8] | None) -> list[WrittenShard]:
        """Writes the files of records."""

    def write_corpus(self, parts: Sequence[tuple[Path, list[SpooledChunk]]]) -> None:
        """Writes what word vectors are learnt from: files, each of the words of some chunks."""


class LocalEngine:
    """Processes of this machine, and files in a folder of its own between the steps (:mod:`text.spool`).

    Args:
        pool: The processes.
        workers: How many they are.
        spool: The folder, within that of the records.
    """

    def __init__(self, pool: ProcessPoolExecutor, workers: int, spool: Path) -> None:
        self._pool, self._workers, self._spool = pool, workers, spool

    def first_reading(self, csv: Path, settings: TextSettings) -> tuple[FirstReading, str]:
        """See :class:`Engine`; the file is hashed by a worker while this process reads it."""
        hashing = self._pool.submit(sha256_of_file, csv)
        return read_first(read_csv(csv), settings), hashing.result()

    def train_splitter(self, texts: list[str]) -> SentenceSplitter:
        """See :class:`Engine`; a worker has imported NLTK by now."""
        return self._pool.submit(train_splitter, texts).result()

    def find_words(self, csv: Path, processor: TextProcessor, class_ids: dict[str, int]) -> Iterator[SpooledChunk]:
        """See :class:`Engine`; the workers read the processor from the folder of the records."""
        task = functools.partial(spool_chunk, folder=self._spool)
        return in_order(self._pool, task, chunks_of(read_csv(csv), class_ids, SPLITS), 3 * self._workers)

    def count_words(self, chunks: Sequence[SpooledChunk], least: int) -> tuple[list[tuple[str, int]], int]:
        """See :class:`Engine`."""
        training = {generation: [] for generation in generations(chunks)}  # type: dict[str, list[SpooledChunk]]
        for chunk in chunks:
            if chunk.split == "train":
                training[chunk.generation].append(chunk)
        count = functools.partial(count_generation, folder=self._spool)
        return frequent_words(counts_in_files(list(self._pool.map(count, filter(None, training.values())))), least)

    def number_words(self, chunks: Sequence[SpooledChunk], vocabulary: Vocabulary) -> None:
        """See :class:`Engine`; the workers read the vocabulary from the folder of the records."""
        list(self._pool.map(functools.partial(translate_generation, folder=self._spool), generations(chunks)))

    def write_shards(self, shards: Sequence[Shard], label_sets: NDArray[np.uint8] | None) -> list[WrittenShard]:
        """See :class:`Engine`."""
        write = functools.partial(write_shard, folder=self._spool, label_sets=label_sets)
        return [WrittenShard(*written) for written in self._pool.map(write, shards)]

    def write_corpus(self, parts: Sequence[tuple[Path, list[SpooledChunk]]]) -> None:
        """See :class:`Engine`."""
        list(self._pool.map(functools.partial(write_corpus_part, folder=self._spool), parts))


def generations(chunks: Iterable[SpooledChunk]) -> list[str]:
    """The generations that some chunks belong to, each once."""
    return list(dict.fromkeys(chunk.generation for chunk in chunks))


def write_corpus_part(task: tuple[Path, list[SpooledChunk]], folder: Path) -> None:
    """In a worker: the words of some chunks as a part of the corpus."""
    path, chunks = task
    batches = [final_batch(folder, chunk) for chunk in chunks]
    words = np.concatenate([batch.token_ids for batch in batches])
    write_part(path, words, np.concatenate([batch.words_per_document for batch in batches]))
