"""From record shards to batches: which documents, in which order, read from disk as they are needed.

An index of a few bytes per document stays in memory (lengths, labels, the place of the record); the records themselves
are read when their batch is needed. So the order of an epoch can be a true random permutation, a pure function of
(seed, epoch), batches can be made of documents of similar length, and memory does not grow with the data.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from config import TrainingSettings, entry
from network.contract import Documents, JointBatch
from text.records import RecordReader, read_label_sets, starts_of

Item = TypeVar("Item")

# Documents are sorted by length inside windows of this many batches: wide enough that a batch is even, narrow enough
# that the epoch stays well mixed.
WINDOW_BATCHES = 50
# What --bucket_by can name: the lengths that documents are sorted by; np.lexsort's last key counts first.
BUCKETS: dict[str, tuple[str, ...]] = {
    "sentences": ("words", "sentences"),
    "words": ("sentences", "words"),
    "none": (),
}
# Maximum number of documents that are read to measure what --max_sentences and --max_words cut off.
SAMPLED_DOCUMENTS = 20_000


class LabelledBatch(NamedTuple):
    """Documents with their labels.

    Attributes:
        documents: The words.
        labels: int32 [B]; -1 for a document without one. Where a text may have several, float32 [B, C].
        numbers: int64 [B], position of each document in its split.
        marked: int32 [N], 1 for a word that is marked as evidence, else 0; empty from a split that knows of none.
        joint: What the documents are a part of, from :func:`part_of`; else ``None``.
    """

    documents: Documents
    labels: Any
    numbers: np.ndarray
    marked: Any = np.zeros(0, np.int32)
    joint: JointBatch | None = None


class JoinedReader:
    """Several splits read as one, in the order of their names."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.readers = [RecordReader(folder, name) for name in names]
        self.index = np.concatenate([reader.index for reader in self.readers])
        self.starts = starts_of(np.array([len(reader) for reader in self.readers]))

    def read_payloads(self, numbers: np.ndarray) -> list[bytes]:
        """Serialised records by their position in the joined split, in the given order."""
        payloads = [b""] * len(numbers)
        for reader, start in zip(self.readers, self.starts, strict=False):
            places = np.flatnonzero((numbers >= start) & (numbers < start + len(reader)))
            for place, payload in zip(places, reader.read_payloads(numbers[places] - start), strict=True):
                payloads[place] = payload
        return payloads

    def close(self) -> None:
        """Closes the shards."""
        for reader in self.readers:
            reader.close()


class Split:
    """One split of the records, read at random.

    Args:
        folder: The records folder.
        name: ``train``, ``valid`` or ``test``, or several joined by a plus: ``train+valid``.
        max_sentences: Read the first so many sentences of a document; 0 for all.
        max_words: Read the first so many words of a sentence; 0 for all.

    Attributes:
        marks: bool [words] of each document with marked words, by its position in the split; ``None`` where nobody
            asked for them.

    Raises:
        UserError: If the split's index is missing or damaged.
    """

    marks: Mapping[int, np.ndarray] | None = None

    def __init__(self, folder: Path, name: str, max_sentences: int = 0, max_words: int = 0) -> None:
        self.name, self.max_sentences, self.max_words = name, max_sentences, max_words
        names = name.split("+")
        self.reader = RecordReader(folder, name) if len(names) == 1 else JoinedReader(folder, names)
        self.index = self.reader.index
        self.label_sets = read_label_sets(folder)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 [documents], -1 for none; where a text may have several, float32 [documents, C], 1 for those it has."""
        labels = self.index["label"].astype(np.int32)
        return labels if self.label_sets is None else self.label_sets[np.maximum(labels, 0)].astype(np.float32)

    def __len__(self) -> int:
        return len(self.index)

    def read(self, numbers: np.ndarray) -> LabelledBatch:
        """Reads documents by their position in the split (int64 [B])."""
        documents = whole = Documents(*parse_records(tf.constant(self.reader.read_payloads(numbers))))
        if self.max_sentences or self.max_words:
            documents = first_of(whole, self.max_sentences, self.max_words)
        batch = LabelledBatch(documents, tf.constant(self.labels[numbers]), numbers)
        return batch if self.marks is None else batch._replace(marked=self.marked(whole, numbers, self.marks))

    def marked(self, whole: Documents, numbers: np.ndarray, marks: Mapping[int, np.ndarray]) -> Any:
        """:attr:`LabelledBatch.marked`, of the words that the limits leave.

        Args:
            whole: The documents without the limits.
            numbers: int64 [B], their positions.
            marks: See :attr:`marks`.
        """
        starts = starts_of(self.index["words"][numbers].astype(np.int64))
        flags = np.zeros(starts[-1], np.int32)
        for number, first in zip(numbers.tolist(), starts.tolist(), strict=False):
            if number in marks:
                flags[first : first + len(marks[number])] = marks[number]
        return first_of(whole._replace(token_ids=tf.constant(flags)), self.max_sentences, self.max_words).token_ids

    def cut_shares(self) -> tuple[float, float]:
        """Shares of the words that the limits cut off and of the documents they cut, from up to 20,000 documents."""
        numbers = np.unique(np.linspace(0, len(self) - 1, min(len(self), SAMPLED_DOCUMENTS)).astype(np.int64))
        kept = np.zeros(len(numbers), np.int64)
        for begin in range(0, len(numbers), 1000):
            _, lengths, sentences = (part.numpy() for part in self.read(numbers[begin : begin + 1000]).documents)
            kept[begin : begin + 1000] = np.diff(starts_of(lengths)[starts_of(sentences)])
        words = self.index["words"][numbers].astype(np.int64)
        return float(1 - kept.sum() / words.sum()), float((kept < words).mean())

    def close(self) -> None:
        """Closes the shards."""
        self.reader.close()

    def ids(self, numbers: np.ndarray) -> list[str]:
        """Names of documents by their position in the split."""
        payloads = self.reader.read_payloads(numbers)
        parsed = tf.io.parse_example(tf.constant(payloads), {"id": tf.io.FixedLenFeature([], tf.string)})
        return [name.decode() for name in parsed["id"].numpy()]


def part_of(batch: LabelledBatch, own: np.ndarray) -> LabelledBatch:
    """Some documents of a batch, which know their places in it. ``own``: int64 [B], positions of the documents."""
    tokens, lengths, counts = (vector.numpy() for vector in batch.documents)
    sentences = places_of(counts, own)
    words = places_of(lengths, sentences)
    documents = Documents(*(tf.constant(part) for part in (tokens[words], lengths[sentences], counts[own])))
    places = (tf.constant(place, tf.int32) for place in (words, sentences, own))
    marked = np.asarray(batch.marked)
    return LabelledBatch(
        documents,
        tf.constant(batch.labels.numpy()[own]),
        batch.numbers[own],
        tf.constant(marked[words]) if len(marked) else batch.marked,
        JointBatch(batch.documents, *places),
    )


def places_of(lengths: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """int64, the places of the elements of the chosen segments, which lie one after another with these lengths."""
    begin, kept = starts_of(lengths)[:-1][chosen], lengths[chosen]
    return np.arange(kept.sum()) + np.repeat(begin - starts_of(kept)[:-1], kept)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def parse_records(payloads: Any) -> Any:
    """Decodes serialized ``tf.train.Example`` records into the three vectors of :class:`Documents`.

    Args:
        payloads: string [B].
    """
    feature = tf.io.RaggedFeature(tf.int64)
    parsed = tf.io.parse_example(payloads, {"token_ids": feature, "words_per_sentence": feature})
    words, sentences = parsed["token_ids"], parsed["words_per_sentence"]
    vectors = words.flat_values, sentences.flat_values, sentences.row_lengths()
    return tuple(tf.cast(vector, tf.int32) for vector in vectors)


def first_of(documents: Documents, max_sentences: int, max_words: int) -> Documents:
    """The first sentences of each document and the first words of each sentence; a maximum of 0 keeps all."""
    tokens, lengths, sentences = (part.numpy() for part in documents)
    # The place of each sentence in its document, and of each word in its sentence.
    sentence = np.arange(len(lengths)) - np.repeat(starts_of(sentences)[:-1], sentences)
    word = np.arange(len(tokens)) - np.repeat(starts_of(lengths)[:-1], lengths)
    kept = np.minimum(lengths, max_words or len(tokens))
    kept[sentence >= (max_sentences or len(lengths))] = 0
    parts = (
        tokens[word < np.repeat(kept, lengths)],
        kept[kept > 0],
        np.minimum(sentences, max_sentences or len(lengths)),
    )
    return Documents(*(tf.constant(part, tf.int32) for part in parts))


# ---------------------------------------------------------------------------------------------------------------------
# Which documents make a batch


class Epochs:
    """The batches of every epoch of a run, and the step at which each epoch begins.

    Batches by number of words are not equally many in every epoch: they have to be counted.

    Args:
        index: Of the training split, see :func:`training_batches`.
        settings: Size of batches, bucketing, limits, seed, number of epochs.

    Attributes:
        starts: int64 [epochs + 1], optimiser steps before each epoch; the last is that of the whole run.
    """

    def __init__(self, index: np.ndarray, settings: TrainingSettings) -> None:
        self.index, self.settings = lengths_within(index, settings.max_sentences, settings.max_words), settings
        if settings.batch_words:
            steps = [len(self.batches(epoch)) for epoch in range(settings.num_epochs)]
        else:
            steps = [-(-len(index) // settings.batch_size)] * settings.num_epochs
        self.starts = starts_of(np.array(steps))

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The batches of one epoch, in order."""
        settings = self.settings
        return training_batches(
            self.index, settings.batch_size, settings.seed, epoch, settings.batch_words, settings.bucket_by
        )

    def steps(self, epoch: int) -> int:
        """Number of batches of an epoch."""
        return int(self.starts[epoch + 1] - self.starts[epoch])

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return int(self.starts[-1])

    def passed(self, step: int) -> float:
        """Epochs that have passed after ``step`` steps, the last one in part."""
        return float(np.interp(step, self.starts, np.arange(len(self.starts))))

    def step_after(self, epochs: float) -> int:
        """The step after which that many epochs have passed, at least 1: the reverse of :meth:`passed`."""
        return max(1, round(float(np.interp(epochs, np.arange(len(self.starts)), self.starts))))


def lengths_within(index: np.ndarray, max_sentences: int, max_words: int) -> np.ndarray:
    """The index with no more sentences and words per document than the limits allow; 0 is no limit.

    How many words a limit on the words of a sentence cuts off is known only by reading: the count is an upper bound.
    """
    if not max_sentences and not max_words:
        return index
    capped = np.array(index)
    if max_sentences:
        capped["sentences"] = np.minimum(index["sentences"], max_sentences)
    if max_words:
        capped["words"] = np.minimum(index["words"], capped["sentences"].astype(np.int64) * max_words)
    return capped


def training_batches(
    index: np.ndarray, batch_size: int, seed: int, epoch: int, batch_words: int = 0, bucket_by: str = "sentences"
) -> list[np.ndarray]:
    """Groups the documents of one epoch into batches of similar length, in random order.

    Every document is in exactly one batch. The result is a pure function of the arguments: a run that resumes in
    mid-epoch makes the same batches again and skips those it was trained on.

    Args:
        index: Structured [documents], with a field ``sentences`` and a field ``words``.
        batch_size: Documents in a batch; the last one takes what is left.
        seed: Of the run.
        epoch: Counted from 0.
        batch_words: Maximum number of words in a batch, in place of ``batch_size``; a longer document is alone.
        bucket_by: Group documents with similar numbers of ``sentences`` or ``words``; ``none``: at random.

    Returns:
        Arrays of int64 positions.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    shuffled = generator.permutation(len(index))
    documents = max(1, round(batch_words / index["words"].mean())) if batch_words else batch_size
    window = documents * WINDOW_BATCHES
    keys = entry(BUCKETS, bucket_by, "bucket_by")
    batches: list[np.ndarray] = []
    for begin in range(0, len(shuffled), window):
        numbers = shuffled[begin : begin + window]
        if keys:
            numbers = numbers[np.lexsort([index[key][numbers] for key in keys])]
        if batch_words:
            batches += np.split(numbers, cuts_by_words(index["words"][numbers], batch_words))
        else:
            batches += [numbers[i : i + batch_size] for i in range(0, len(numbers), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def cuts_by_words(words: np.ndarray, most: int) -> list[int]:
    """Where to split a list of documents into batches of at most ``most`` words, or of one longer document.

    Args:
        words: int [documents], words of each, in order.
        most: Words in a batch.
    """
    ends = np.cumsum(words, dtype=np.int64)
    cuts = [0]
    while cuts[-1] < len(words):
        before = ends[cuts[-1]] - words[cuts[-1]]
        cuts.append(max(int(np.searchsorted(ends, before + most, side="right")), cuts[-1] + 1))
    return cuts[1:-1]


def evaluation_batches(index: np.ndarray, max_words: int, max_documents: int = 1024) -> list[np.ndarray]:
    """Groups a split into batches of at most ``max_words`` words, which limits memory.

    A longer document makes a batch of its own. Documents of similar length are grouped.

    Args:
        index: Structured [documents], with fields ``words`` and ``sentences``.
        max_words: Maximum number of words in a batch.
        max_documents: Maximum number of documents in a batch.

    Returns:
        Arrays of int64 positions; every document is in exactly one.
    """
    order = np.lexsort((index["words"], index["sentences"]))
    batches: list[np.ndarray] = []
    begin, words = 0, 0
    for position, count in enumerate(index["words"][order].tolist()):
        if position > begin and (words + count > max_words or position - begin == max_documents):
            batches.append(order[begin:position])
            begin, words = position, 0
        words += count
    return batches + ([order[begin:]] if begin < len(order) else [])


# ---------------------------------------------------------------------------------------------------------------------
# Reading ahead


def read_ahead(read: Callable[[Any], Item], requests: Iterable[Any], depth: int = 4) -> Generator[Item, None, None]:
    """Yields ``read(request)`` for each request, in order, read by a thread up to ``depth`` items ahead.

    An error in the thread is raised here, after the items before it. Leaving the iteration early stops the thread.
    """
    items: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                items.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for request in requests:
                if stop.is_set():
                    return
                put((read(request), None))
            put((None, StopIteration()))
        except Exception as error:
            put((None, error))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()
