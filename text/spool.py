"""Texts as word numbers on disk, between the reading of a CSV file and the writing of its records.

Final ids are known only when all texts of the training split are counted, and no text is split into words twice. So a
worker gives each word that is new to it the next *provisional id*, and appends the ids of its chunks to a *spool file*.
The words that got provisional ids, and the spool file that uses them, are one *generation*; a worker whose memory of
words is full begins the next one. When the vocabulary is fixed, a table per generation translates provisional ids into
final ones.

Files of a generation: ``<generation>.words`` (the words in the order of their ids), ``.chunks`` (the spool file),
``.counts`` (occurrences in the training split), ``.npy`` (the table). Functions marked "in a worker" run in a process
of :mod:`text.process_pool`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import heapq
import itertools
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.corpora import CsvRow
from data_processing import UNKNOWN_ID, Sentences, TextProcessor, Vocabulary, word_pattern
from text.punkt import import_punkt
from text.records import (
    NO_LABEL,
    RecordBatch,
    RecordWriter,
    starts_of,
)
from utils import SPLITTER_FILE, VOCABULARY_FILE

# A chunk is the task of a worker: so large that messages between processes cost little, so small that there are many.
CHUNK_DOCUMENTS = 256
CHUNK_CHARACTERS = 1_000_000
DOCUMENTS_PER_SHARD = 6_000
# Different words as written that a worker remembers (about 150 bytes each) before it begins the next generation. Counts
# stay exact: those of each generation are a sorted list on disk, and the lists are merged.
MOST_REMEMBERED_WORDS = 500_000
PROVISIONAL_UNKNOWN = 0  # the provisional id of <unk>, in every generation


# ---------------------------------------------------------------------------------------------------------------------
# Texts to words


class Chunk(NamedTuple):
    """Some documents of one split, in the order of the CSV file.

    Attributes:
        split: Name of the split.
        ids: Of the documents.
        labels: Class ids; ``NO_LABEL`` for an unlabelled document.
        texts: As the CSV file has them.
    """

    split: str
    ids: list[str]
    labels: list[int]
    texts: list[str]


class SpooledChunk(NamedTuple):
    """Where the words of a chunk are in a spool file, and what was counted while they were written.

    Attributes:
        split: Name of the split.
        generation: Name of the spool file and of its list of words.
        offset: Where in the spool file the chunk starts, in bytes.
        documents: Number of documents.
        sentences: Number of sentences.
        words: Number of words and signs, without those cut off.
        cut_words: Words in sentences beyond the limit.
        cut_documents: Documents that lost words.
        empty_documents: Documents without any word, each stored as one ``<unk>``.
        longest_words: Words of the longest document.
        longest_sentences: Sentences of the document that has most.
    """

    split: str
    generation: str
    offset: int
    documents: int
    sentences: int
    words: int
    cut_words: int
    cut_documents: int
    empty_documents: int
    longest_words: int
    longest_sentences: int


def chunks_of(rows: Iterable[CsvRow], class_ids: dict[str, int], splits: Iterable[str]) -> Iterator[Chunk]:
    """Collects the documents of each split into chunks; where a chunk ends depends on the documents alone."""
    open_chunks = {split: Chunk(split, [], [], []) for split in splits}
    characters: Counter[str] = Counter()
    for row in rows:
        if (chunk := open_chunks.get(row.split)) is None:
            continue
        chunk.ids.append(row.id)
        chunk.labels.append(class_ids[row.label] if row.label else NO_LABEL)
        chunk.texts.append(row.text)
        characters[row.split] += len(row.text)
        if len(chunk.ids) >= CHUNK_DOCUMENTS or characters[row.split] >= CHUNK_CHARACTERS:
            yield chunk
            open_chunks[row.split] = Chunk(row.split, [], [], [])
            characters[row.split] = 0
    yield from (chunk for chunk in open_chunks.values() if chunk.ids)


class WordNumbers(dict[str, int]):
    """Provisional ids, from 1, of words as they are written; words that differ in case alone share one.

    Attributes:
        count: The next id.
        new: Lower-cased words that got an id since the list was emptied, in the order of their ids.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = PROVISIONAL_UNKNOWN + 1
        self.new: list[str] = []

    def __missing__(self, token: str) -> int:
        word = token.lower()
        number = self.get(word)
        if number is None:
            number = self[word] = self.count
            self.count += 1
            self.new.append(word)
        self[token] = number
        return number


@dataclass
class WordsOfChunk:
    """The words of the documents of a chunk as flat arrays of 32 bits, and what is counted.

    Attributes:
        token_ids: Provisional ids, document by document.
        words_per_sentence: Document by document.
        sentences_per_document: One entry a document.
        cut_words: Words in sentences beyond the limit.
        cut_documents: Documents that lost words.
        empty_documents: Documents without any word, each stored as one ``<unk>``.
        longest_words: Words of the longest document.
    """

    token_ids: array[int] = field(default_factory=lambda: array("i"))
    words_per_sentence: array[int] = field(default_factory=lambda: array("i"))
    sentences_per_document: array[int] = field(default_factory=lambda: array("i"))
    cut_words: int = 0
    cut_documents: int = 0
    empty_documents: int = 0
    longest_words: int = 0

    def add(self, sentences: Sentences, number_of: Callable[[str], int]) -> None:
        """Appends a document."""
        tokens = sentences.tokens
        words_before = len(self.token_ids)
        for sentence in tokens:
            self.token_ids.extend(map(number_of, sentence))
        self.words_per_sentence.extend(map(len, tokens) if tokens else (1,))
        if not tokens:
            self.token_ids.append(PROVISIONAL_UNKNOWN)
            self.empty_documents += 1
        self.sentences_per_document.append(len(tokens) or 1)
        self.longest_words = max(self.longest_words, len(self.token_ids) - words_before)
        self.cut_words += sentences.cut_words
        self.cut_documents += sentences.cut_words > 0


class Spool:
    """The current generation of a worker: its memory of words and the two files that it appends to.

    A chunk is written as int32 arrays one after another: provisional token ids, words per sentence, sentences per
    document, labels, bytes per document id; then the document ids.
    """

    def __init__(self, folder: Path, generation: str) -> None:
        self.generation = generation
        self.numbers = WordNumbers()
        self._words = (folder / f"{generation}.words").open("wb")
        self._chunks = (folder / f"{generation}.chunks").open("wb")

    def add(self, chunk: Chunk, processor: TextProcessor) -> SpooledChunk:
        """Splits the texts of a chunk into words and appends them."""
        found, number_of = WordsOfChunk(), self.numbers.__getitem__
        for text in chunk.texts:
            found.add(processor.process(text), number_of)
        return SpooledChunk(
            chunk.split,
            self.generation,
            self._append(found, chunk),
            len(chunk.ids),
            len(found.words_per_sentence),
            len(found.token_ids),
            found.cut_words,
            found.cut_documents,
            found.empty_documents,
            found.longest_words,
            max(found.sentences_per_document),
        )

    def _append(self, found: WordsOfChunk, chunk: Chunk) -> int:
        """Writes a chunk and the words that are new; returns the place of the chunk in its file, in bytes."""
        offset = self._chunks.tell()
        names = [name.encode() for name in chunk.ids]
        labels, sizes = array("i", chunk.labels), array("i", map(len, names))
        for values in (found.token_ids, found.words_per_sentence, found.sentences_per_document, labels, sizes):
            self._chunks.write(values)
        self._chunks.write(b"".join(names))
        self._words.write("".join(f"{word}\n" for word in self.numbers.new).encode())
        self.numbers.new.clear()
        self._chunks.flush()
        self._words.flush()
        return offset

    def close(self) -> None:
        """Closes both files."""
        self._words.close()
        self._chunks.close()


_spool: Spool | None = None  # of this worker


def spool_chunk(chunk: Chunk, folder: Path) -> SpooledChunk:
    """In a worker: splits a chunk into words and appends them to the spool file of the worker's generation."""
    global _spool
    if _spool is None:
        _spool = Spool(folder, f"{os.getpid()}-{time.monotonic_ns()}")
    spooled = _spool.add(chunk, load_processor(folder))
    if len(_spool.numbers) > MOST_REMEMBERED_WORDS:
        _spool.close()
        _spool = None
    return spooled


def get_ready() -> None:
    """In a worker: imports and compiles what its first task would otherwise wait for."""
    import_punkt()
    word_pattern()


@functools.lru_cache(maxsize=1)
def load_processor(folder: Path) -> TextProcessor:
    """In a worker: the text processing of the records that are being made."""
    return TextProcessor.load(folder.parent / SPLITTER_FILE)


def read_spooled(folder: Path, chunk: SpooledChunk) -> RecordBatch:
    """Reads a chunk back; its token ids are the provisional ones of its generation."""
    with (folder / f"{chunk.generation}.chunks").open("rb") as file:
        file.seek(chunk.offset)
        counts = (chunk.words, chunk.sentences, chunk.documents, chunk.documents, chunk.documents)
        tokens, words, sentences, labels, sizes = (np.fromfile(file, np.int32, count) for count in counts)
        starts = starts_of(sizes)
        names = file.read(int(starts[-1]))
    ids = [names[start:end] for start, end in itertools.pairwise(starts.tolist())]
    return RecordBatch(ids, labels, tokens, words, sentences)


def generation_words(folder: Path, generation: str) -> list[str]:
    """The words of a generation in the order of their provisional ids; those start at 1."""
    return (folder / f"{generation}.words").read_bytes().decode().split("\n")[:-1]


# ---------------------------------------------------------------------------------------------------------------------
# Counts of words


def count_generation(chunks: Sequence[SpooledChunk], folder: Path) -> Path:
    """In a worker: how often each word of a generation occurs in these chunks, as a sorted file ``word<tab>count``."""
    generation = chunks[0].generation
    words = generation_words(folder, generation)
    counts = np.zeros(len(words) + 1, np.int64)
    for chunk in chunks:
        token_ids = read_spooled(folder, chunk).token_ids
        counts += np.bincount(token_ids, minlength=len(counts))
    path = folder / f"{generation}.counts"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(count_lines(words, counts[1:]))
    return path


def count_lines(words: Sequence[str], counts: NDArray[np.int64]) -> Iterator[str]:
    """Lines ``word<tab>count`` of the words that occur, in the order of the words."""
    rows = sorted((word, count) for word, count in zip(words, counts.tolist(), strict=True) if count)
    return (f"{word}\t{count}\n" for word, count in rows)


def counts_in_files(paths: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """(word, count) over all generations, in sorted order; one line of each file is in memory at a time."""
    with contextlib.ExitStack() as stack:
        yield from merged_counts(stack.enter_context(path.open(encoding="utf-8", newline="\n")) for path in paths)


def merged_counts(parts: Iterable[Iterable[str]]) -> Iterator[tuple[str, int]]:
    """(word, count) in sorted order, over the lines of several texts, each as :func:`count_lines` gives them."""
    rows = heapq.merge(*(map(parse_count, part) for part in parts))
    for word, group in itertools.groupby(rows, lambda row: row[0]):
        yield word, sum(count for _, count in group)


def frequent_words(counts: Iterable[tuple[str, int]], min_count: int) -> tuple[list[tuple[str, int]], int]:
    """(word, count) of the words with at least ``min_count`` occurrences, and how many words there are in all."""
    frequent, different = [], 0
    for word, count in counts:
        different += 1
        if count >= min_count:
            frequent.append((word, count))
    return frequent, different


def parse_count(line: str) -> tuple[str, int]:
    """The word and the count of a line ``word<tab>count``."""
    word, _, count = line.rpartition("\t")
    return word, int(count)


# ---------------------------------------------------------------------------------------------------------------------
# Words to records


def translate_generation(generation: str, folder: Path) -> None:
    """In a worker: the table from a generation's provisional ids to the final ones."""
    vocabulary = Vocabulary.load(folder.parent / VOCABULARY_FILE)
    np.save(folder / f"{generation}.npy", final_ids(generation_words(folder, generation), vocabulary))


def final_ids(words: Sequence[str], vocabulary: Vocabulary) -> NDArray[np.int32]:
    """The table from provisional ids to final ones: int32 [words + 1]; ``words`` in the order of their ids."""
    return np.array([UNKNOWN_ID, *vocabulary.ids(words)], np.int32)


class Shard(NamedTuple):
    """A file of records to be written: the ``number``-th of the ``shards`` files of a split."""

    split: str
    number: int
    shards: int
    chunks: list[SpooledChunk]


def shards_of(split: str, chunks: Sequence[SpooledChunk]) -> list[Shard]:
    """Divides the chunks of a split among shards of about equal size; it depends on the documents alone."""
    documents = sum(chunk.documents for chunk in chunks)
    count = max(1, round(documents / DOCUMENTS_PER_SHARD))
    shards = [Shard(split, number, count, []) for number in range(count)]
    before = 0
    for chunk in chunks:
        shards[before * count // documents].chunks.append(chunk)
        before += chunk.documents
    return shards


def write_shard(
    shard: Shard, folder: Path, label_sets: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.void], int]:
    """In a worker: writes a shard; returns its rows of the index and its number of unknown words.

    ``label_sets``: uint8 [combinations, C], where a text may have several labels.
    """
    unknown = 0
    with RecordWriter(folder.parent, shard.split, shard.number, shard.shards) as writer:
        for chunk in shard.chunks:
            batch = dataclasses.replace(final_batch(folder, chunk), label_sets=label_sets)
            unknown += int(np.count_nonzero(batch.token_ids == UNKNOWN_ID))
            writer.write(batch)
    return writer.index, unknown


def final_batch(folder: Path, chunk: SpooledChunk) -> RecordBatch:
    """A chunk with the ids of ``vocab.txt``."""
    batch = read_spooled(folder, chunk)
    table = np.load(folder / f"{chunk.generation}.npy", mmap_mode="r")
    return dataclasses.replace(batch, token_ids=np.take(table, batch.token_ids))
