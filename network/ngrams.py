"""The n-gram lane: a linear classifier on runs of one to three words, beside a network.

A document's features are the n-grams of its words that are in a table, each with the value (1 + ln count) * idf, scaled
so that their squares add up to 1 (TF-IDF). The table holds a weight per class: that of a logistic regression times
naive Bayes' log-count ratio (S. Wang and C. Manning, "Baselines and Bigrams", ACL 2012). The lane's logits are a sum
over the n-grams of a document, so that what each word adds to them is exact.

An n-gram is known by a number made of the ids of its words; n-grams with an unknown word are not in the table. They
cross the borders of sentences, but not of documents. The loops are compiled (Numba) and run on the processor, beside a
GPU as well. :mod:`training.ngrams` fits the table.

    B documents   S sentences   N words   C classes   G n-grams in the table
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import NGRAM_WORD_BITS
from data_processing import UNKNOWN_ID
from network.contract import Attended, Documents, Network, thresholds_of
from network.kernels import compiled, empty, ranges, side_by_side
from text.records import starts_of
from utils import usable_cores

Tensor: TypeAlias = Any

LONGEST_NGRAM = 3


@dataclass(frozen=True, eq=False)
class NgramTable:
    """The n-grams that count, and how much.

    With an n-gram its first words are in the table, too: it cannot stand in more documents than they do.

    Attributes:
        keys: int64 [G], ascending, the numbers of the n-grams; see :func:`ngram_key`.
        idf: float32 [G], inverse document frequencies.
        weights: float32 [G, C].
        bias: float32 [C], the logits of a document without any of the n-grams.
    """

    keys: NDArray[np.int64]
    idf: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


def ngram_key(token_ids: tuple[int, ...]) -> int:
    """The number of an n-gram: its words' ids, the first in the highest bits. Word 0 is ``<pad>``, in no n-gram."""
    key = 0
    for token_id in token_ids:
        key = key << NGRAM_WORD_BITS | token_id
    return key


def words_of_key(key: int) -> tuple[int, ...]:
    """The ids of an n-gram's words: the reverse of :func:`ngram_key`."""
    mask = (1 << NGRAM_WORD_BITS) - 1
    ids = (key >> 2 * NGRAM_WORD_BITS & mask, key >> NGRAM_WORD_BITS & mask, key & mask)
    return tuple(token_id for token_id in ids if token_id)


# ---------------------------------------------------------------------------------------------------------------------
# Compiled loops


@compiled
def fill_keys(token_ids: Any, begin: int, end: int, keys: Any, places: Any) -> int:
    """Writes the keys of a document's n-grams and the place of each one's first word; returns how many there are.

    Args:
        token_ids: int32 [N], of all documents.
        begin: Place of the document's first word.
        end: Place behind its last.
        keys: int64, at least 3 * (end - begin) long; written.
        places: int64, as long; written.
    """
    count = 0
    for place in range(begin, end):
        key = np.int64(0)
        for other in range(place, min(place + LONGEST_NGRAM, end)):
            if token_ids[other] <= UNKNOWN_ID:
                break
            key = key << NGRAM_WORD_BITS | np.int64(token_ids[other])
            keys[count], places[count] = key, place
            count += 1
    return count


@compiled
def slot_of(key: Any, slots: Any) -> Any:
    """Where a search for a key begins in a hash table with ``slots`` slots, a power of two."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(slots - 1))


@compiled
def fill_slots(keys: Any, slots: Any) -> None:
    """Builds a hash table with open addressing: ``slots`` int32, -1 where empty, gets rows of ``keys`` int64 [G]."""
    for row in range(len(keys)):
        slot = slot_of(keys[row], len(slots))
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = row


def hash_table(keys: NDArray[np.int64]) -> NDArray[np.int32]:
    """The slots of a hash table of int64 [G] ``keys``, of which a quarter to a half are taken; see :func:`row_of`."""
    slots = np.full(1 << max(2 * len(keys), 1).bit_length(), -1, np.int32)
    fill_slots(keys, slots)
    return slots


@compiled
def row_of(key: Any, keys: Any, slots: Any) -> Any:
    """The row of a key in the table, -1 if it is not there."""
    slot = slot_of(key, len(slots))
    while slots[slot] >= 0:
        if keys[slots[slot]] == key:
            return slots[slot]
        slot = (slot + 1) & (len(slots) - 1)
    return -1


@compiled
def find_rows(token_ids: Any, begin: int, end: int, known: Any, slots: Any, rows: Any, counts: Any) -> int:
    """Counts the n-grams of a document that are in the table; returns how many different ones there are.

    An n-gram is searched only where its first words are in the table as well: see :class:`NgramTable`.

    Args:
        token_ids: int32 [N].
        begin: Place of the document's first word.
        end: Place behind its last.
        known: int64 [G], the keys of the table.
        slots: Of :func:`hash_table`.
        rows: int32, at least 3 * (end - begin) long; gets the rows of the n-grams, in order of their first occurrence.
        counts: int32 [G], all zero; gets how often each stands in the document.
    """
    found = 0
    for place in range(begin, end):
        key = np.int64(0)
        for other in range(place, min(place + LONGEST_NGRAM, end)):
            if token_ids[other] <= UNKNOWN_ID:
                break
            key = key << NGRAM_WORD_BITS | np.int64(token_ids[other])
            row = row_of(key, known, slots)
            if row < 0:
                break
            if counts[row] == 0:
                rows[found] = row
                found += 1
            counts[row] += 1
    return found


@compiled
def add_logits(token_ids: Any, starts: Any, first: int, last: int, table: Any, slots: Any, logits: Any) -> None:
    """Writes the logits of some documents.

    Args:
        token_ids: int32 [N].
        starts: int64 [B + 1], places of the documents' first words, and N.
        first: The first document.
        last: The one behind the last.
        table: The arrays of an :class:`NgramTable`.
        slots: Of :func:`hash_table`.
        logits: float32 [B, C]; rows ``first`` to ``last`` are written.
    """
    known, idf, weights, bias = table
    longest = 0
    for document in range(first, last):
        longest = max(longest, starts[document + 1] - starts[document])
    rows, counts = np.empty(LONGEST_NGRAM * longest, np.int32), np.zeros(len(known), np.int32)
    sums = np.zeros(weights.shape[1], np.float64)
    for document in range(first, last):
        sums[:] = 0.0
        squares = 0.0
        for number in range(find_rows(token_ids, starts[document], starts[document + 1], known, slots, rows, counts)):
            row = rows[number]
            value = (1.0 + math.log(counts[row])) * idf[row]
            counts[row] = 0
            squares += value * value
            for c in range(len(sums)):
                sums[c] += value * weights[row, c]
        scale = 1.0 / math.sqrt(squares) if squares > 0 else 0.0
        for c in range(len(sums)):
            logits[document, c] = bias[c] + scale * sums[c]


@compiled
def add_shares(token_ids: Any, begin: int, end: int, table: Any, slots: Any, shares: Any) -> None:
    """Adds what each word of one document brings to its logits.

    What an n-gram brings is divided evenly among the places where it stands, and there among its words.

    Args:
        token_ids: int32 [N].
        begin: Place of the document's first word.
        end: Place behind its last.
        table: The arrays of an :class:`NgramTable`.
        slots: Of :func:`hash_table`.
        shares: float64 [N, C], zero in the rows of this document; written.
    """
    known, idf, weights, _ = table
    keys, places = np.empty(LONGEST_NGRAM * (end - begin), np.int64), np.empty(LONGEST_NGRAM * (end - begin), np.int64)
    count = fill_keys(token_ids, begin, end, keys, places)
    order = np.argsort(keys[:count], kind="mergesort")
    squares = 0.0
    for normalising in (True, False):
        group = 0
        while group < count:
            key = keys[order[group]]
            after = group + 1
            while after < count and keys[order[after]] == key:
                after += 1
            row = row_of(key, known, slots)
            if row >= 0:
                value = (1.0 + math.log(after - group)) * idf[row]
                if normalising:
                    squares += value * value
                else:
                    length = 1 + (key >= 1 << NGRAM_WORD_BITS) + (key >= 1 << 2 * NGRAM_WORD_BITS)
                    factor = value / (math.sqrt(squares) * (after - group) * length)
                    for one in range(group, after):
                        for place in range(places[order[one]], places[order[one]] + length):
                            for c in range(weights.shape[1]):
                                shares[place, c] += factor * weights[row, c]
            group = after


# ---------------------------------------------------------------------------------------------------------------------
# The lane


class NgramLane:
    """A table at work.

    Args:
        table: Of the n-grams.
    """

    def __init__(self, table: NgramTable) -> None:
        self.table = table
        self.arrays = (table.keys, table.idf, table.weights, table.bias)
        if not has_first_words(table.keys):
            raise ValueError("the table has an n-gram without its first words")
        self.slots = hash_table(table.keys)

    @property
    def classes(self) -> int:
        """C."""
        return self.table.weights.shape[1]

    def logits(self, documents: Documents) -> Tensor:
        """float32 [B, C], as an operation of TensorFlow."""
        logits = tf.numpy_function(self.logits_of, list(documents), tf.float32, stateful=False)
        return tf.ensure_shape(logits, [None, self.classes])

    def logits_of(
        self,
        token_ids: NDArray[np.int32],
        words_per_sentence: NDArray[np.int32],
        sentences_per_document: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """float32 [B, C] of the documents of a batch, given as its three vectors."""
        starts = starts_of_documents(words_per_sentence, sentences_per_document)
        logits = empty((len(starts) - 1, self.classes), np.float32)
        parts = ranges(np.diff(starts), 4 * usable_cores())
        side_by_side(add_logits, [(token_ids, starts, *part, self.arrays, self.slots, logits) for part in parts])
        return logits

    def shares_of(
        self,
        token_ids: NDArray[np.int32],
        words_per_sentence: NDArray[np.int32],
        sentences_per_document: NDArray[np.int32],
    ) -> NDArray[np.float64]:
        """float64 [N, C], what each word adds to the logits; with the bias they add up to :meth:`logits_of`."""
        starts = starts_of_documents(words_per_sentence, sentences_per_document)
        shares = np.zeros((len(token_ids), self.classes))
        documents = itertools.pairwise(starts.tolist())
        tasks = [(token_ids, *document, self.arrays, self.slots, shares) for document in documents]
        side_by_side(add_shares, tasks)
        return shares

    def ngrams_of(self, token_ids: NDArray[np.int32]) -> FoundNgrams:
        """The n-grams of one document, int32 [N]; with the bias their shares add up to :meth:`logits_of`."""
        found, starts = (np.empty(LONGEST_NGRAM * len(token_ids), np.int64) for _ in range(2))
        total = fill_keys(token_ids, 0, len(token_ids), found, starts)
        keys, first, counts = np.unique(found[:total], return_index=True, return_counts=True)
        rows = np.searchsorted(self.table.keys, keys).clip(max=max(len(self.table.keys) - 1, 0))
        known = np.flatnonzero(self.table.keys[rows] == keys) if len(self.table.keys) else np.zeros(0, np.int64)
        keys, first, counts, rows = keys[known], first[known], counts[known], rows[known]
        values = (1 + np.log(counts)) * self.table.idf[rows]
        shares = values[:, np.newaxis] / (np.linalg.norm(values) or 1) * self.table.weights[rows].astype(np.float64)
        lengths = np.ones(len(keys), np.int64)
        for words in range(1, LONGEST_NGRAM):
            lengths += keys >= 1 << words * NGRAM_WORD_BITS
        return FoundNgrams(starts[first], lengths, counts, shares)


class FoundNgrams(NamedTuple):
    """The n-grams of one document that are in the table, each once.

    Attributes:
        places: int64 [K], the place of the first word where the n-gram first occurs.
        lengths: int64 [K], words of each.
        counts: int64 [K], how often each occurs.
        shares: float64 [K, C], what each adds to the logits of the lane.
    """

    places: NDArray[np.int64]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    shares: NDArray[np.float64]


def has_first_words(keys: NDArray[np.int64]) -> bool:
    """Whether the first words of every n-gram are in the table: see :class:`NgramTable`. ``keys``: int64 [G]."""
    first_words = keys[keys >> NGRAM_WORD_BITS > 0] >> NGRAM_WORD_BITS
    return bool((np.append(keys, -1)[np.searchsorted(keys, first_words)] == first_words).all())


def starts_of_documents(
    words_per_sentence: NDArray[np.int32], sentences_per_document: NDArray[np.int32]
) -> NDArray[np.int64]:
    """int64 [B + 1], the place of each document's first word, and N."""
    return starts_of(words_per_sentence)[starts_of(sentences_per_document)]


class NetworkWithNgrams:
    """A network and the n-gram lane as one; fulfils :class:`network.contract.Network`.

        logits = scale of the network * its logits + scale of the lane * its logits

    Training sees the network alone; the scales are fitted on validation (:func:`training.ngrams.fit_scales`), so that
    the lane decides where the network has learnt little, and counts less where it has learnt more.

    Args:
        network: The network.
        lane: Of the same classes.
    """

    def __init__(self, network: Network, lane: NgramLane) -> None:
        self.network, self.lane = network, lane
        self.scales = keras.Variable(np.ones(2, np.float32), trainable=False, name="scales")
        self.attends, self.embeddings, self.classifier = network.attends, network.embeddings, network.classifier
        self.trainable_variables = network.trainable_variables
        self.thresholds = thresholds_of(network)

    def __call__(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Tensor:
        """Logits, float32 [B, C]; in training those of the network alone."""
        return self.attend(documents, training, seed).logits

    def attend(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Attended:
        """Logits, attention and document vectors; in training the logits of the network alone."""
        attended = self.network.attend(documents, training, seed)
        if training:
            return attended
        return attended._replace(logits=self.combined(attended.logits, self.lane.logits(documents)))

    def combined(self, network: Tensor, lane: Tensor) -> Tensor:
        """The logits of both as one, float32 [B, C]; arguments likewise."""
        return self.scales.value[0] * network + self.scales.value[1] * lane

    def document_vectors(self, documents: Documents) -> Tensor:
        """float32 [B, D], of the network."""
        return self.network.document_vectors(documents)

    def named_weights(self) -> dict[str, Any]:
        """Every weight by a stable name; the table is not among them, it never changes."""
        return self.network.named_weights() | {"ngrams/scales": self.scales}


class Separated(NamedTuple):
    """A network and what is beside it: logits = scale * its logits + lane_scale * the lane's.

    Attributes:
        network: Without the lane.
        lane: ``None`` for a network without one.
        scale: Of the network's logits; 1 without a lane.
        lane_scale: Of the lane's logits; 0 without one.
    """

    network: Any
    lane: NgramLane | None
    scale: float
    lane_scale: float

    def bias(self) -> NDArray[np.float64]:
        """float64 [C], the part of the logits that is the same for every text."""
        bias = self.scale * np.asarray(self.network.classifier.bias, np.float64)
        return bias if self.lane is None else bias + self.lane_bias()

    def lane_bias(self) -> NDArray[np.float64]:
        """float64 [C], the part of :meth:`bias` that is the lane's."""
        if self.lane is None:
            return np.zeros(self.network.classifier.bias.shape)
        return self.lane_scale * self.lane.table.bias.astype(np.float64)

    def lane_shares(self, documents: Documents) -> NDArray[np.float64]:
        """float64 [N, C], what the lane adds to the logits for each word; zeros without a lane."""
        if self.lane is None:
            return np.zeros((len(documents.token_ids), *self.network.classifier.bias.shape))
        return self.lane_scale * self.lane.shares_of(*(vector.numpy() for vector in documents))


def separated(model: Any) -> Separated:
    """A network with or without the lane, in its parts."""
    if not isinstance(model, NetworkWithNgrams):
        return Separated(model, None, 1.0, 0.0)
    scale, lane_scale = np.asarray(model.scales, np.float64).tolist()
    return Separated(model.network, model.lane, scale, lane_scale)
