"""The engine of a cluster: the CSV file in blocks, each the task of some process on some machine.

Every machine reads blocks of the CSV file by itself, from a folder that all of them share. What a task gives stays on
the machine that ran it until another task asks for it; only what is small, and the finished shards, come to this
process, which alone writes files. A task depends on the file and on its arguments, and on nothing that is in a process
or on the disk of a machine: a task whose machine is lost runs again elsewhere and gives the same.

How the CSV file is cut into blocks does not change what is written. The documents of a split are in chunks as in
:mod:`text.spool`, so that shards and the corpus of the word vectors are those of any engine. :class:`Cluster` is all
that is asked of the software that runs the tasks.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from config import TextSettings
from corpus.corpora import SPLITS
from corpus.csv_blocks import Block, csv_blocks, read_block
from data_processing import UNKNOWN_ID, TextProcessor, Vocabulary
from text import spool as spool_module
from text.engines import WrittenShard
from text.first_reading import Drawn, FirstReading, Sample, count_rows
from text.punkt import SentenceSplitter, train_splitter
from text.records import NO_LABEL, RecordBatch, RecordWriter, starts_of
from text.spool import Shard, SpooledChunk, WordNumbers, WordsOfChunk, count_lines, final_ids, merged_counts
from text.word_vectors import write_part
from utils import shard_name

BLOCK_BYTES = 16 << 20  # some seconds of work: tasks cost little beside it, and little is lost with one
SMALLEST_BLOCK = 1 << 18
BLOCKS_PER_CORE = 4  # so that all cores have work to the end
TASKS_PER_CORE = 3  # submitted and not taken yet
MERGED_AT_ONCE = 16
CHUNKS_AT_ONCE = 24  # of the words that come to this machine: some 6,000 documents
# Columns of what is known of a document before it is in a chunk.
SPLIT, CHARACTERS, WORDS, SENTENCES, CUT_WORDS, IS_EMPTY = range(6)

Handle = Any  # of a value somewhere in the cluster
Task = TypeVar("Task")


class Cluster(Protocol):
    """Runs functions on its machines.

    Attributes:
        cores: How many tasks run at a time.
    """

    cores: int

    def put(self, value: Any) -> Handle:
        """Gives every machine a value."""

    def submit(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> list[Handle]:
        """Runs a function of a module somewhere; arguments that are handles are values when it runs.

        ``results``: how many values it returns.
        """

    def stream(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Handle]:
        """Runs a function that yields values one by one; a handle for each of them, as soon as it is there."""

    def get(self, handle: Handle) -> Any:
        """Waits for a value; an error of the function that gives it is raised here."""


# ---------------------------------------------------------------------------------------------------------------------
# Tasks


def read_first_of_block(
    csv: Path, block: Block, settings: TextSettings, least: int
) -> tuple[FirstReading, list[Drawn]]:
    """In a worker: counts of a block, and those of its training documents that a sample may take.

    ``least``: as in :class:`text.first_reading.Sample`.
    """
    sample = Sample(settings.splitter_documents, settings.seed, least)
    return count_rows(read_block(csv, block), sample), sample.drawn


def words_of_block(
    csv: Path, block: Block, processor: TextProcessor, class_ids: dict[str, int]
) -> tuple[NDArray[np.int32], list[str], str, *tuple[RecordBatch, ...]]:
    """In a worker: cuts the texts of a block into words.

    Returns:
        int32 [documents, 6], what is known of each document, in the order of the file (``SPLIT`` and the others); the
        words in the order of their provisional ids; those of the training split with their counts, as lines; and for
        each split its documents, with provisional ids.
    """
    numbers = WordNumbers()
    found = {split: WordsOfChunk() for split in SPLITS}
    ids: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    facts = []
    for row in read_block(csv, block):
        own = found[row.split]
        before = len(own.token_ids), len(own.words_per_sentence), own.cut_words, own.empty_documents
        own.add(processor.process(row.text), numbers.__getitem__)
        after = len(own.token_ids), len(own.words_per_sentence), own.cut_words, own.empty_documents
        changes = (new - old for new, old in zip(after, before, strict=True))
        facts.append((SPLITS.index(row.split), len(row.text), *changes))
        ids[row.split].append(row.id.encode())
        labels[row.split].append(class_ids[row.label] if row.label else NO_LABEL)
    counts = np.bincount(np.asarray(found["train"].token_ids, np.int32), minlength=numbers.count)[1:]
    lines = "".join(count_lines(numbers.new, counts))
    batches = (batch_of(ids[split], labels[split], found[split]) for split in SPLITS)
    return np.array(facts, np.int32).reshape(-1, 6), numbers.new, lines, *batches


def batch_of(ids: list[bytes], labels: list[int], found: WordsOfChunk) -> RecordBatch:
    """The documents of a split as arrays of their own."""
    return RecordBatch(
        ids,
        np.array(labels, np.int32),
        np.array(found.token_ids, np.int32),
        np.array(found.words_per_sentence, np.int32),
        np.array(found.sentences_per_document, np.int32),
    )


def merge_counts(*parts: str) -> str:
    """In a worker: sorted lines ``word<tab>count`` of several blocks as those of one."""
    counts = merged_counts(part.split("\n")[:-1] for part in parts)
    return "".join(f"{word}\t{count}\n" for word, count in counts)


def write_shard_of_blocks(
    shard: Shard, label_sets: NDArray[np.uint8] | None, cuts: Sequence[tuple[int, int]], *pieces: Any
) -> tuple[bytes, NDArray[np.void], int]:
    """In a worker: a shard from the documents of some blocks.

    Args:
        shard: Its name; it needs no chunks.
        label_sets: uint8 [combinations, C], where a text may have several labels.
        cuts: First document of each block's and the one after its last.
        *pieces: The documents of the blocks, then the words of the blocks as final ids (:func:`text.spool.final_ids`).

    Returns:
        The content of the file, its rows of the index, its number of unknown words.
    """
    unknown = 0
    with tempfile.TemporaryDirectory() as folder:
        with RecordWriter(Path(folder), shard.split, shard.number, shard.shards) as writer:
            for batch in final_batches(cuts, *pieces):
                unknown += int(np.count_nonzero(batch.token_ids == UNKNOWN_ID))
                writer.write(RecordBatch(**{**vars(batch), "label_sets": label_sets}))
        return writer.path.read_bytes(), writer.index, unknown


def words_of_documents(cuts: Sequence[tuple[int, int]], *pieces: Any) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """In a worker: the final ids of all words of some documents, and the words of each; as in the function above."""
    batches = list(final_batches(cuts, *pieces))
    words = np.concatenate([batch.token_ids for batch in batches])
    return words.astype(np.int32), np.concatenate([batch.words_per_document for batch in batches])


def final_batches(cuts: Sequence[tuple[int, int]], *pieces: Any) -> Iterator[RecordBatch]:
    """The documents of some blocks, from ``first`` on and before ``end``, with the ids of ``vocab.txt``."""
    for (first, end), batch, table in zip(cuts, pieces[: len(cuts)], pieces[len(cuts) :], strict=True):
        sentences = starts_of(batch.sentences_per_document)[[first, end]]
        words = starts_of(batch.words_per_sentence)[sentences]
        yield RecordBatch(
            batch.ids[first:end],
            batch.labels[first:end],
            np.take(table, batch.token_ids[words[0] : words[1]]),
            batch.words_per_sentence[sentences[0] : sentences[1]],
            batch.sentences_per_document[first:end],
        )


# ---------------------------------------------------------------------------------------------------------------------
# Documents to chunks


class ChunkCutter:
    """Puts the documents of each split into chunks as :func:`text.spool.chunks_of` does, by what is known of them."""

    def __init__(self) -> None:
        self._open = {split: np.empty((0, 7), np.int64) for split in SPLITS}  # the place in the file is the last column
        self._documents: Counter[str] = Counter()

    def add(self, facts: NDArray[np.int32]) -> list[SpooledChunk]:
        """Takes the next documents of the file; returns the chunks that they complete, in the order of that."""
        placed = np.concatenate([facts, np.arange(len(facts))[:, None]], axis=1)
        done: list[tuple[int, SpooledChunk]] = []
        for number, split in enumerate(SPLITS):
            own = np.concatenate([self._open[split], placed[facts[:, SPLIT] == number]])
            start = 0
            for end in chunk_ends(own[:, CHARACTERS]):
                done.append((int(own[end - 1, -1]), self._chunk(split, own[start:end])))
                start = end
            self._open[split] = own[start:]
        return [chunk for _, chunk in sorted(done, key=lambda item: item[0])]

    def rest(self) -> list[SpooledChunk]:
        """The chunks that are not full when the file ends."""
        return [self._chunk(split, facts) for split, facts in self._open.items() if len(facts)]

    def _chunk(self, split: str, facts: NDArray[np.int64]) -> SpooledChunk:
        """The chunk of these documents; its place is the number of the first of them in the split."""
        words, sentences, cut_words, empty = facts[:, [WORDS, SENTENCES, CUT_WORDS, IS_EMPTY]].T
        first = self._documents[split]
        self._documents[split] += len(facts)
        return SpooledChunk(
            split=split,
            generation="",
            offset=first,
            documents=len(facts),
            sentences=int(sentences.sum()),
            words=int(words.sum()),
            cut_words=int(cut_words.sum()),
            cut_documents=int(np.count_nonzero(cut_words)),
            empty_documents=int(empty.sum()),
            longest_words=int(words.max()),
            longest_sentences=int(sentences.max()),
        )


def chunk_ends(characters: NDArray[np.int64]) -> Iterator[int]:
    """Where full chunks end among documents of these lengths, in documents; those after the last end are not full."""
    total = np.cumsum(characters)
    start, before = 0, 0
    while True:
        by_length = int(np.searchsorted(total, before + spool_module.CHUNK_CHARACTERS)) + 1
        end = min(start + spool_module.CHUNK_DOCUMENTS, by_length)
        if end > len(total):
            return
        yield end
        start, before = end, int(total[end - 1])


# ---------------------------------------------------------------------------------------------------------------------
# The engine


class BlockEngine:
    """See :class:`text.engines.Engine`; the file is read in blocks by the tasks of a cluster.

    Args:
        cluster: Runs the tasks.
        folder: The new folder of the records.
        spool: Folder for files of this process.
    """

    def __init__(self, cluster: Cluster, folder: Path, spool: Path) -> None:
        self._cluster, self._folder, self._spool = cluster, folder, spool
        self._ready = [cluster.submit(spool_module.get_ready) for _ in range(cluster.cores)]  # while this process reads
        self._blocks: list[Block] = []
        self._words: list[Handle] = []  # of each block; as final ids when those are fixed
        self._counts: list[Handle] = []
        self._documents: dict[str, list[Handle]] = {split: [] for split in SPLITS}  # of each block
        self._starts: dict[str, list[int]] = {
            split: [0] for split in SPLITS
        }  # documents of the split before each block

    def first_reading(self, csv: Path, settings: TextSettings) -> tuple[FirstReading, str]:
        """See :class:`text.engines.Engine`; this process reads the file to hash it and to find the blocks."""
        csv = Path(os.path.abspath(csv))  # tasks run in other folders
        size = block_size(csv, self._cluster.cores)
        digest = hashlib.sha256()
        found, sample = FirstReading(), Sample(settings.splitter_documents, settings.seed)

        def tasks() -> Iterator[list[Handle]]:
            for block in csv_blocks(csv, size, digest.update):
                self._blocks.append(block)
                yield self._cluster.submit(read_first_of_block, csv, block, settings, sample.least, results=2)

        for counts, drawn in self._in_order(tasks()):
            found.add(self._cluster.get(counts))
            for item in self._cluster.get(drawn):
                sample.take(item)
        found.sample = sample.texts()
        return found, digest.hexdigest()

    def train_splitter(self, texts: list[str]) -> SentenceSplitter:
        """See :class:`text.engines.Engine`."""
        splitter: SentenceSplitter = self._cluster.get(*self._cluster.submit(train_splitter, self._cluster.put(texts)))
        return splitter

    def find_words(self, csv: Path, processor: TextProcessor, class_ids: dict[str, int]) -> Iterator[SpooledChunk]:
        """See :class:`text.engines.Engine`."""
        csv = Path(os.path.abspath(csv))
        given = self._cluster.put(processor), self._cluster.put(class_ids)
        results = 3 + len(SPLITS)
        tasks = (self._cluster.submit(words_of_block, csv, block, *given, results=results) for block in self._blocks)
        cutter = ChunkCutter()
        for facts, words, counts, *documents in self._in_order(tasks):
            known = self._cluster.get(facts)
            self._words.append(words)
            self._counts.append(counts)
            for number, (split, own) in enumerate(zip(SPLITS, documents, strict=True)):
                self._documents[split].append(own)
                self._starts[split].append(self._starts[split][-1] + int(np.count_nonzero(known[:, SPLIT] == number)))
            yield from cutter.add(known)
        yield from cutter.rest()

    def count_words(self, chunks: Sequence[SpooledChunk], least: int) -> tuple[list[tuple[str, int]], int]:
        """See :class:`text.engines.Engine`; counts are merged by tasks until this process can merge the rest."""
        counts, self._counts = self._counts, []
        while len(counts) > MERGED_AT_ONCE:
            groups = [counts[first : first + MERGED_AT_ONCE] for first in range(0, len(counts), MERGED_AT_ONCE)]
            counts = [handle for group in groups for handle in self._cluster.submit(merge_counts, *group)]
        lines = (self._cluster.get(part).split("\n")[:-1] for part in counts)
        return spool_module.frequent_words(merged_counts(lines), least)

    def number_words(self, chunks: Sequence[SpooledChunk], vocabulary: Vocabulary) -> None:
        """See :class:`text.engines.Engine`."""
        known = self._cluster.put(vocabulary)
        self._words = [handle for words in self._words for handle in self._cluster.submit(final_ids, words, known)]

    def write_shards(self, shards: Sequence[Shard], label_sets: NDArray[np.uint8] | None) -> list[WrittenShard]:
        """See :class:`text.engines.Engine`; the tasks return the files, which this process writes."""

        def tasks() -> Iterator[list[Handle]]:
            for shard in shards:
                pieces = self._pieces(shard.split, shard.chunks)
                named = shard._replace(chunks=[])
                yield self._cluster.submit(write_shard_of_blocks, named, label_sets, *pieces, results=3)

        written = []
        for shard, handles in zip(shards, self._in_order(tasks()), strict=True):
            content, index, unknown = map(self._cluster.get, handles)
            with (self._folder / shard_name(shard.split, shard.number, shard.shards)).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            written.append(WrittenShard(index, unknown))
        return written

    def write_corpus(self, parts: Sequence[tuple[Path, list[SpooledChunk]]]) -> None:
        """See :class:`text.engines.Engine`; the words come to this machine, which learns the vectors alone."""
        words, lengths = self._spool / "corpus.words", self._spool / "corpus.lengths"
        chunks = {split: chunks_in_order(parts, split) for split in SPLITS}
        place: dict[tuple[str, int], tuple[int, int]] = {}  # of a chunk: words and documents before it in the files
        before = 0, 0
        for chunk in (chunk for own in chunks.values() for chunk in own):
            place[chunk.split, chunk.offset] = before
            before = before[0] + chunk.words, before[1] + chunk.documents
        groups = [group for split, own in chunks.items() for group in in_groups(split, own)]
        tasks = (self._cluster.submit(words_of_documents, *self._pieces(*group), results=2) for group in groups)
        with words.open("wb") as words_file, lengths.open("wb") as lengths_file:
            for found, words_per_document in self._in_order(tasks):
                self._cluster.get(found).tofile(words_file)
                self._cluster.get(words_per_document).tofile(lengths_file)
        if not before[0]:
            return
        all_words, all_lengths = np.memmap(words, np.int32, "r"), np.memmap(lengths, np.int64, "r")
        for path, own in parts:
            starts = [(*place[chunk.split, chunk.offset], chunk) for chunk in own]
            text = np.concatenate([all_words[start : start + chunk.words] for start, _, chunk in starts])
            write_part(path, text, np.concatenate([all_lengths[n : n + chunk.documents] for _, n, chunk in starts]))

    def _pieces(self, split: str, chunks: Sequence[SpooledChunk]) -> tuple[Any, ...]:
        """Arguments for :func:`final_batches`: where the documents of chunks that follow each other are."""
        if not chunks:
            return ([],)
        starts = self._starts[split]
        first, end = chunks[0].offset, chunks[-1].offset + chunks[-1].documents
        blocks = range(bisect_right(starts, first) - 1, bisect_left(starts, end))
        cuts = [(max(first - starts[n], 0), min(end, starts[n + 1]) - starts[n]) for n in blocks]
        blocks_with_some = [n for n, (low, high) in zip(blocks, cuts, strict=True) if low < high]
        documents = [self._documents[split][n] for n in blocks_with_some]
        return [cut for cut in cuts if cut[0] < cut[1]], *documents, *(self._words[n] for n in blocks_with_some)

    def _in_order(self, tasks: Iterable[list[Handle]]) -> Iterator[list[Handle]]:
        """The same tasks, as :func:`few_at_a_time`."""
        return few_at_a_time(self._cluster, tasks)


def few_at_a_time(cluster: Cluster, tasks: Iterable[Task]) -> Iterator[Task]:
    """The same tasks; only a few are submitted before the first of them is asked for."""
    waiting: deque[Task] = deque()
    for task in tasks:
        waiting.append(task)
        if len(waiting) > TASKS_PER_CORE * cluster.cores:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def block_size(file: Path, cores: int) -> int:
    """Bytes of a block of a file that so many cores read."""
    return min(max(file.stat().st_size // (cores * BLOCKS_PER_CORE), SMALLEST_BLOCK), BLOCK_BYTES)


def chunks_in_order(parts: Iterable[tuple[Path, list[SpooledChunk]]], split: str) -> list[SpooledChunk]:
    """The chunks of a split that are in some parts of the corpus, in the order of its documents."""
    return sorted((chunk for _, own in parts for chunk in own if chunk.split == split), key=lambda chunk: chunk.offset)


def in_groups(split: str, chunks: Sequence[SpooledChunk]) -> Iterator[tuple[str, Sequence[SpooledChunk]]]:
    """The chunks of a split, some of them at a time."""
    yield from ((split, chunks[first : first + CHUNKS_AT_ONCE]) for first in range(0, len(chunks), CHUNKS_AT_ONCE))
