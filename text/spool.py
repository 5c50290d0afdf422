"""Words and ids of chunks of documents on disk, between the reading of a CSV file and its records."""

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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.corpora import CsvRow
from data_processing import UNKNOWN_ID, TextProcessor, Vocabulary, word_pattern
from text.records import (
    NO_LABEL,
    RecordBatch,
    RecordWriter,
    starts_of,
)
from utils import SPLITTER_FILE, VOCABULARY_FILE

# A chunk is what a worker gets at a time: large enough that messages cost nothing, small enough to be many.
CHUNK_DOCUMENTS = 256
CHUNK_CHARACTERS = 1_000_000
DOCUMENTS_PER_SHARD = 6_000
# Different words as written that a worker remembers (about 150 bytes each) before it starts on an empty memory. Counts
# stay exact: each such generation is a sorted list on disk, and the lists are merged.
MOST_REMEMBERED_WORDS = 500_000


class Chunk(NamedTuple):
    """Some documents of one split, in their order."""

    split: str
    ids: list[str]
    labels: list[int]
    texts: list[str]


class SpooledChunk(NamedTuple):
    """Where a worker put a chunk's words, and what it counted on the way.

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
    """Gathers the documents of each split into chunks; where a chunk ends depends on the documents alone."""
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
    """Provisional ids of words as they are written; writings that differ in case share one. 0 is ``<unk>``."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 1
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


class Spool:
    """A worker's memory of words, and the two files it appends to: the words in the order of their numbers, and chunks.

    A chunk is written as int32 arrays one after another: provisional token ids, words per sentence, sentences per
    document, labels, bytes per document id; then the document ids.
    """

    def __init__(self, folder: Path, generation: str) -> None:
        self.generation = generation
        self.numbers = WordNumbers()
        self._words = (folder / f"{generation}.words").open("wb")
        self._chunks = (folder / f"{generation}.chunks").open("wb")

    def add(self, chunk: Chunk, processor: TextProcessor) -> SpooledChunk:
        """Finds the words of a chunk and appends them."""
        offset, number_of = self._chunks.tell(), self.numbers.__getitem__
        token_ids, words_per_sentence, sentences_per_document = array("i"), array("i"), array("i")  # 32 bits each
        cut_words, longest_words, empty, cut_documents = 0, 0, 0, 0
        for text in chunk.texts:
            sentences = processor.process(text)
            tokens = sentences.tokens
            words_before = len(token_ids)
            for sentence in tokens:
                token_ids.extend(map(number_of, sentence))
            words_per_sentence.extend(map(len, tokens) if tokens else (1,))
            if not tokens:
                token_ids.append(0)
                empty += 1
            sentences_per_document.append(len(tokens) or 1)
            longest_words = max(longest_words, len(token_ids) - words_before)
            if sentences.cut_words:
                cut_words += sentences.cut_words
                cut_documents += 1
        names = [name.encode() for name in chunk.ids]
        sizes = array("i", map(len, names))
        for values in (token_ids, words_per_sentence, sentences_per_document, array("i", chunk.labels), sizes):
            self._chunks.write(values)
        self._chunks.write(b"".join(names))
        self._words.write("".join(f"{word}\n" for word in self.numbers.new).encode())
        self.numbers.new.clear()
        self._chunks.flush()
        self._words.flush()
        return SpooledChunk(
            chunk.split,
            self.generation,
            offset,
            len(names),
            len(words_per_sentence),
            len(token_ids),
            cut_words,
            cut_documents,
            empty,
            longest_words,
            max(sentences_per_document),
        )

    def close(self) -> None:
        """Closes both files."""
        self._words.close()
        self._chunks.close()


_spool: Spool | None = None  # a worker's own; it lives as long as its memory of words has room


def spool_chunk(chunk: Chunk, folder: Path) -> SpooledChunk:
    """In a worker: the words of a chunk, into the worker's own spool."""
    global _spool
    if _spool is None:
        _spool = Spool(folder, f"{os.getpid()}-{time.monotonic_ns()}")
    spooled = _spool.add(chunk, load_processor(folder))
    if len(_spool.numbers) > MOST_REMEMBERED_WORDS:
        _spool.close()
        _spool = None
    return spooled


def get_ready() -> None:
    """In a worker: what the first task would otherwise wait for."""
    import nltk.tokenize.punkt  # noqa: F401

    word_pattern()


@functools.lru_cache(maxsize=1)
def load_processor(folder: Path) -> TextProcessor:
    """In a worker: the text processing that this run uses."""
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
# Step 3: vocabulary


def count_generation(chunks: Sequence[SpooledChunk], folder: Path) -> Path:
    """In a worker: how often each word of a generation occurs in these chunks, as a sorted file ``word<tab>count``."""
    generation = chunks[0].generation
    words = generation_words(folder, generation)
    counts = np.zeros(len(words) + 1, np.int64)
    for chunk in chunks:
        token_ids = read_spooled(folder, chunk).token_ids
        counts += np.bincount(token_ids, minlength=len(counts))
    path = folder / f"{generation}.counts"
    rows = sorted((word, count) for word, count in zip(words, counts[1:].tolist(), strict=True) if count)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{word}\t{count}\n" for word, count in rows)
    return path


def merged_counts(paths: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """(word, count) over all generations, in sorted order; one line of each file is in memory at a time."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open(encoding="utf-8", newline="\n")) for path in paths]
        rows = heapq.merge(*(map(parse_count, file) for file in files))
        for word, group in itertools.groupby(rows, lambda row: row[0]):
            yield word, sum(count for _, count in group)


def frequent_words(paths: Sequence[Path], min_count: int) -> tuple[list[tuple[str, int]], int]:
    """(word, count) of the words with at least ``min_count`` occurrences, and how many words there are in all."""
    frequent, different = [], 0
    for word, count in merged_counts(paths):
        different += 1
        if count >= min_count:
            frequent.append((word, count))
    return frequent, different


def parse_count(line: str) -> tuple[str, int]:
    """``word<tab>count``"""
    word, _, count = line.rpartition("\t")
    return word, int(count)


def translate_generation(generation: str, folder: Path) -> None:
    """In a worker: the table from a generation's provisional ids to the final ones."""
    vocabulary = Vocabulary.load(folder.parent / VOCABULARY_FILE)
    table = [UNKNOWN_ID, *vocabulary.ids(generation_words(folder, generation))]
    np.save(folder / f"{generation}.npy", np.array(table, np.int32))


# ---------------------------------------------------------------------------------------------------------------------
# Step 4: records


class Shard(NamedTuple):
    """A shard to be written."""

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


def write_shard(shard: Shard, folder: Path) -> tuple[NDArray[np.void], int]:
    """In a worker: writes a shard; returns its rows of the index and its number of unknown words."""
    unknown = 0
    with RecordWriter(folder.parent, shard.split, shard.number, shard.shards) as writer:
        for chunk in shard.chunks:
            batch = final_batch(folder, chunk)
            unknown += int(np.count_nonzero(batch.token_ids == UNKNOWN_ID))
            writer.write(batch)
    return writer.index, unknown


def final_batch(folder: Path, chunk: SpooledChunk) -> RecordBatch:
    """A chunk with the ids of ``vocab.txt``."""
    batch = read_spooled(folder, chunk)
    table = np.load(folder / f"{chunk.generation}.npy", mmap_mode="r")
    return dataclasses.replace(batch, token_ids=np.take(table, batch.token_ids))
