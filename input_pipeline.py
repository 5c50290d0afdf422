"""From record shards to batches: which documents, in which order, read from disk as they are needed.

An index of a few bytes per document stays in memory (lengths, labels, where the record lies); the records themselves
are read when their batch is due. So the order of an epoch can be a true random permutation, a pure function of (seed,
epoch), batches can be made of documents of similar length, and memory stays flat however many documents there are.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from han import Documents
from records import RecordReader

Item = TypeVar("Item")

# Documents are sorted by length inside windows of this many batches: wide enough that a batch is even, narrow enough
# that the epoch stays well mixed.
WINDOW_BATCHES = 50


class Batch(NamedTuple):
    """Documents with their labels.

    Attributes:
        documents: The words.
        labels: int32 [B]; -1 where there is none.
        numbers: int64 [B], position of each document in its split.
    """

    documents: Documents
    labels: Any
    numbers: np.ndarray


class Split:
    """One split of the records, read at random.

    Args:
        folder: The records folder.
        name: ``train``, ``valid`` or ``test``.

    Raises:
        UserError: If the split's index is missing or damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.reader = RecordReader(folder, name)
        self.index = self.reader.index

    def __len__(self) -> int:
        return len(self.index)

    def read(self, numbers: np.ndarray) -> Batch:
        """Reads documents by their position in the split (int64 [B])."""
        parsed = parse_records(tf.constant(self.reader.read_payloads(numbers)))
        return Batch(Documents(*parsed), tf.constant(self.index["label"][numbers], tf.int32), numbers)

    def close(self) -> None:
        """Closes the shards."""
        self.reader.close()

    def ids(self, numbers: np.ndarray) -> list[str]:
        """Names of documents by their position in the split."""
        payloads = self.reader.read_payloads(numbers)
        parsed = tf.io.parse_example(tf.constant(payloads), {"id": tf.io.FixedLenFeature([], tf.string)})
        return [name.decode() for name in parsed["id"].numpy()]


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


# ---------------------------------------------------------------------------------------------------------------------
# Which documents make a batch


def training_batches(index: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Deals one epoch into batches of documents with similar numbers of sentences, in random order.

    Every document stands in exactly one batch. The result is a pure function of the arguments: a run that resumes in
    mid-epoch makes the same batches again and skips those it has had.

    Args:
        index: Structured [documents], with a field ``sentences`` and a field ``words``.
        batch_size: Documents in a batch; the last one takes what is left.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        Arrays of int64 positions.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    shuffled = generator.permutation(len(index))
    window = batch_size * WINDOW_BATCHES
    batches: list[np.ndarray] = []
    for begin in range(0, len(shuffled), window):
        numbers = shuffled[begin : begin + window]
        # lexsort's last key counts first: by sentences, then by words.
        numbers = numbers[np.lexsort((index["words"][numbers], index["sentences"][numbers]))]
        batches += [numbers[i : i + batch_size] for i in range(0, len(numbers), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def evaluation_batches(index: np.ndarray, max_words: int, max_documents: int = 1024) -> list[np.ndarray]:
    """Deals a split into batches of at most ``max_words`` words, so that memory has a known ceiling.

    A document longer than that makes a batch of its own. Documents of similar length go together.

    Args:
        index: Structured [documents], with fields ``words`` and ``sentences``.
        max_words: Most words in a batch.
        max_documents: Most documents in a batch.

    Returns:
        Arrays of int64 positions; every document stands in exactly one.
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


def read_ahead(read: Callable[[Any], Item], requests: Iterable[Any], depth: int = 4) -> Iterator[Item]:
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
