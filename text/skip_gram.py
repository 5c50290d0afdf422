"""word2vec: word vectors trained on the corpus itself, skip-gram with negative sampling.

Skip-gram with negative sampling: Mikolov, Sutskever, Chen, Corrado and Dean, *Distributed Representations of Words and
Phrases and their Compositionality*, NIPS 2013. For each word and each neighbour within a window the product of their
vectors shall be large, for the word and a few words drawn at random small.

The usual programs take one pair after another: vector operations that wait for memory. Here a block of 32 consecutive
words shares its neighbours (its own words and a few on either side) and its random words, so that a block is three
products of small matrices, as Ji, Satish, Li and Dubey proposed (*Parallelizing Word2Vec in Shared and Distributed
Memory*, 2016). The expected gradient is the same, the time a fraction of gensim's. Four lanes of blocks are computed
from the same vectors, by as many threads as there are cores, and added in a fixed order: the result is the same to the
bit for any number of workers. (On another kind of processor the matrix products may round differently.)

Only frequent rows need care: a batch adds up thousands of gradients of ``the``, all taken at the same place, and such a
step could overshoot and diverge. So the sum of a row's gradients in a batch is scaled down as if it had come from at
most :data:`MOST_PAIRS` pairs.

Axes::

    M blocks   B rows, the words of a block   C columns, its neighbours and negatives   E embedding   V vocabulary
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from text.compiling import add_scaled, compiled, copy, sigmoid
from text.compiling import part as part_of_a_loop
from text.word_vectors import Floats, Ints, count_words, random_vectors, read_part
from utils import UserError, progress

COMPILED_WITH = "bb0ec945f2e1"  # of text/compiling.py, which says why
# The paper's settings for a corpus of this size, but for the subsampling of frequent words, where its stronger setting
# is the better one here and saves half of the work.
WINDOW = 5
NEGATIVES = 5
SUBSAMPLING = 1e-4
FIRST_RATE, LAST_RATE = 0.025, 0.0001

BLOCK_WORDS = 32
BLOCK_NEGATIVES = 22  # drawn once for a block ...
NEGATIVE_WEIGHT = np.float32(NEGATIVES / BLOCK_NEGATIVES)  # ... and weighted, so that they count as NEGATIVES per pair
LANES = 4
MOST_BLOCKS = LANES * 32
MOST_PAIRS = 256.0


def train_word2vec(
    parts: Sequence[Path], vocabulary_size: int, dim: int, epochs: int, seed: int, workers: int = 1
) -> tuple[Floats, NDArray[np.bool_]]:
    """Trains skip-gram vectors on a corpus.

    Args:
        parts: Files written by :func:`write_part`.
        vocabulary_size: V.
        dim: E.
        epochs: Passes over the corpus.
        seed: Of everything that is drawn at random.
        workers: Threads; they change the time and not a bit of the result.

    Returns:
        float32 [V, E], row by row the words of the vocabulary, and bool [V], which of them were trained. The others,
        ``<unk>`` among them, are small random numbers, and ``<pad>`` is zero.
    """
    counts = count_words(parts, vocabulary_size)
    vectors = random_vectors(vocabulary_size, dim, seed)
    seen = counts > 0
    if not seen.any():
        return vectors, seen
    generator = np.random.default_rng([seed, 0])
    model = SkipGram(
        inputs=(generator.random((vocabulary_size, dim), np.float32) - np.float32(0.5)) / np.float32(dim),
        outputs=np.zeros((vocabulary_size, dim), np.float32),
        draw=np.cumsum(counts**0.75) / np.sum(counts**0.75),
    )
    keep = kept_share(counts)
    with ThreadPoolExecutor(min(workers, LANES)) as threads, one_thread_per_product():
        for epoch in progress(range(epochs), epochs, "word2vec", "epoch"):
            order = np.random.default_rng([seed, 1, epoch]).permutation(len(parts))
            for place, number in enumerate(order.tolist()):
                done = (epoch + place / len(parts)) / epochs
                rate = max(LAST_RATE, FIRST_RATE * (1 - done))
                model.train_part(parts[number], keep, rate, (seed, 2, epoch, number), threads)
    if not np.isfinite(model.inputs).all():
        raise UserError("word2vec ran away (its vectors are not finite); run again with --embeddings random")
    vectors[seen] = model.inputs[seen]
    return vectors, seen


def kept_share(counts: NDArray[np.int64]) -> Floats:
    """The share of each word's occurrences that is kept, float32 [V]: the more frequent, the smaller.

    The formula of the authors' program, ``sqrt(t / f) + t / f`` for a word of frequency f. Where the vocabulary is so
    small that hardly a word is rarer than the usual t, t is the frequency of an average word.
    """
    frequency = np.maximum(counts, 1) / counts.sum()
    threshold = max(SUBSAMPLING, 1 / np.count_nonzero(counts))
    return np.minimum(1, np.sqrt(threshold / frequency) + threshold / frequency).astype(np.float32)


@contextlib.contextmanager
def one_thread_per_product() -> Iterator[None]:
    """Keeps the matrix products, which are small, from starting threads of their own."""
    import scipy.linalg.blas  # noqa: F401 - the BLAS that Numba calls
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


class Change(NamedTuple):
    """Vectors to be added to rows of a table; a row may come several times.

    Attributes:
        rows: int32 [M, R].
        vectors: float32 [M, R, E].
        pairs: float32 [M, R], from how many pairs each vector stems.
    """

    rows: Ints
    vectors: Floats
    pairs: Floats

    @classmethod
    def room(cls, rows: int, dim: int) -> Change:
        """Memory for the change of a batch."""
        shape = (MOST_BLOCKS, rows)
        return cls(np.empty(shape, np.int32), np.empty((*shape, dim), np.float32), np.empty(shape, np.float32))

    def of(self, blocks: slice) -> Change:
        """That of some blocks."""
        return Change(self.rows[blocks], self.vectors[blocks], self.pairs[blocks])


class Batch(NamedTuple):
    """What is computed from the same vectors: blocks of the text.

    Attributes:
        is_pair: bool [M, B + 2 W, B], which neighbours each word of a block has.
        inputs: What they add to :attr:`SkipGram.inputs`: a vector for each of their words.
        outputs: What they add to :attr:`SkipGram.outputs`: a vector for each neighbour and each negative.
    """

    is_pair: NDArray[np.bool_]
    inputs: Change
    outputs: Change

    @classmethod
    def room(cls, dim: int) -> Batch:
        """Memory for the largest batch."""
        around = BLOCK_WORDS + 2 * WINDOW
        return cls(
            np.empty((MOST_BLOCKS, around, BLOCK_WORDS), np.bool_),
            Change.room(BLOCK_WORDS, dim),
            Change.room(around + BLOCK_NEGATIVES, dim),
        )

    def of(self, blocks: slice) -> Batch:
        """Some of its blocks."""
        return Batch(self.is_pair[blocks], self.inputs.of(blocks), self.outputs.of(blocks))

    def lanes(self) -> list[Batch]:
        """What a thread computes at a time."""
        edges = np.linspace(0, len(self.is_pair), LANES + 1).round().astype(int).tolist()
        return [self.of(slice(begin, end)) for begin, end in itertools.pairwise(edges) if begin < end]


class SkipGram:
    """The two tables of vectors; :attr:`inputs` is what is wanted in the end.

    Args:
        inputs: float32 [V, E] of words in their place.
        outputs: float32 [V, E] of words as neighbours.
        draw: float64 [V], the cumulated probabilities by which negatives are drawn: counts to the power 3/4.
    """

    def __init__(self, inputs: Floats, outputs: Floats, draw: NDArray[np.float64]) -> None:
        self.inputs, self.outputs, self.draw = inputs, outputs, draw
        self.rooms = [Batch.room(inputs.shape[1]) for _ in range(2)]  # the next batch is drawn while one is computed

    def train_part(
        self, part: Path, keep: Floats, rate: float, seed: tuple[int, ...], threads: ThreadPoolExecutor
    ) -> None:
        """One pass over one part of the corpus, its blocks in random order."""
        generator = np.random.default_rng(seed)
        words, document = read_part(part)
        kept = generator.random(len(words), np.float32) < keep[words]
        blocks = Blocks.cut(words[kept], document[kept])
        order = generator.permutation(len(blocks))
        upcoming = (
            self.start_drawing(blocks, order[start : start + MOST_BLOCKS], (*seed, start), room, threads)
            for start, room in zip(range(0, len(order), MOST_BLOCKS), itertools.cycle(self.rooms), strict=False)
        )
        drawn = next(upcoming, None)
        while drawn:
            batch, drawing = drawn
            drawing.result()
            ascending = [threads.submit(self.ascend, lane, rate) for lane in batch.lanes()]
            drawn = next(upcoming, None)  # behind the ascent in the queue: no thread waits for the others
            wait_for(ascending)  # all lanes, before anything is added
            wait_for(self.start_adding(batch, threads))

    def start_drawing(
        self, blocks: Blocks, chosen: NDArray[np.int64], seed: tuple[int, ...], room: Batch, threads: ThreadPoolExecutor
    ) -> tuple[Batch, Future[None]]:
        """A batch, and the task that fills in what does not depend on the vectors."""
        batch = room.of(slice(len(chosen)))
        return batch, threads.submit(self.draw_batch, batch, blocks, chosen, seed)

    def draw_batch(self, batch: Batch, blocks: Blocks, chosen: NDArray[np.int64], seed: tuple[int, ...]) -> None:
        """The words, neighbours and negatives of some blocks."""
        generator = np.random.Generator(np.random.SFC64(seed))
        windows = generator.integers(1, WINDOW + 1, (len(chosen), BLOCK_WORDS), np.int8)
        around = chosen[:, None] * BLOCK_WORDS + np.arange(BLOCK_WORDS + 2 * WINDOW)
        drawn = np.searchsorted(self.draw, generator.random((len(chosen), BLOCK_NEGATIVES)), side="right")
        inputs, outputs = batch.inputs, batch.outputs
        outputs.rows[:, :-BLOCK_NEGATIVES] = blocks.words[around]
        outputs.rows[:, -BLOCK_NEGATIVES:] = np.minimum(drawn, len(self.draw) - 1)
        inputs.rows[:] = outputs.rows[:, WINDOW : WINDOW + BLOCK_WORDS]
        mark_pairs(blocks.document[around], windows, batch.is_pair, inputs.pairs, outputs.pairs)
        outputs.pairs[:, -BLOCK_NEGATIVES:] = inputs.pairs.sum(1, keepdims=True) * NEGATIVE_WEIGHT

    def ascend(self, lane: Batch, rate: float) -> None:
        """What a lane adds to the two tables."""
        ascent(
            self.inputs, self.outputs, lane.inputs.rows, lane.outputs.rows, lane.is_pair, lane.inputs.pairs,
            np.float32(rate), NEGATIVE_WEIGHT, lane.inputs.vectors, lane.outputs.vectors,
        )  # fmt: skip

    def start_adding(self, batch: Batch, threads: ThreadPoolExecutor) -> list[Future[None]]:
        """Tasks that add to the two tables what the lanes gave."""
        of_words = MOST_PAIRS / (1 + NEGATIVES)  # every pair of a word comes with NEGATIVES negatives
        return [
            threads.submit(add_rows, table, *change, most_pairs, LANES, task)
            for table, change, most_pairs in (
                (self.inputs, batch.inputs, of_words),
                (self.outputs, batch.outputs, MOST_PAIRS),
            )
            for task in range(LANES)
        ]


@compiled
def ascent(
    inputs: Floats,
    outputs: Floats,
    rows: Ints,
    columns: Ints,
    is_pair: NDArray[np.bool_],
    pairs: Floats,
    rate: np.float32,
    negative_weight: np.float32,
    to_rows: Floats,
    to_columns: Floats,
) -> None:
    """``rate`` times the gradient of the blocks' log-likelihood.

    For row i, column j, x_ij the product of their vectors, s the logistic function and n_i the row's number of pairs,
    the log-likelihood is the sum of log s(x_ij) over the pairs, plus ``negative_weight`` * n_i times the sum of
    log s(-x_ij) over the drawn columns.

    Args:
        inputs: float32 [V, E].
        outputs: float32 [V, E].
        rows: int32 [M, B], rows of ``inputs``.
        columns: int32 [M, C], rows of ``outputs``; the last ones, which ``is_pair`` lacks, are the drawn ones.
        is_pair: bool [M, neighbours, B].
        pairs: float32 [M, B], the number of pairs of each row.
        rate: Learning rate.
        negative_weight: Of a drawn column.
        to_rows: float32 [M, B, E], the result for the inputs.
        to_columns: float32 [M, C, E], the result for the outputs.
    """
    dim, neighbours = inputs.shape[1], is_pair.shape[1]
    left = np.empty((rows.shape[1], dim), inputs.dtype)
    right = np.empty((columns.shape[1], dim), inputs.dtype)
    slopes = np.empty((columns.shape[1], rows.shape[1]), inputs.dtype)
    for block in range(rows.shape[0]):
        gather(inputs, rows[block], left)
        gather(outputs, columns[block], right)
        np.dot(right, left.T, slopes)
        for column in range(slopes.shape[0]):
            if column < neighbours:
                slopes_of_neighbour(slopes[column], is_pair[block, column], rate)
            else:
                slopes_of_negative(slopes[column], pairs[block], rate * negative_weight)
        np.dot(slopes.T, right, to_rows[block])
        np.dot(slopes, left, to_columns[block])


@part_of_a_loop
def gather(table: Floats, rows: Ints, found: Floats) -> None:
    """Copies rows of a table."""
    for place in range(rows.shape[0]):
        copy(table[rows[place]], found[place])


@part_of_a_loop
def slopes_of_neighbour(products: Floats, is_pair: NDArray[np.bool_], rate: np.float32) -> None:
    """``rate`` times the derivative of log s(x) where there is a pair; in place."""
    for row in range(products.shape[0]):
        slope = rate * sigmoid(-products[row])
        products[row] = slope if is_pair[row] else np.float32(0)


@part_of_a_loop
def slopes_of_negative(products: Floats, pairs: Floats, rate: np.float32) -> None:
    """``rate`` times the derivative of log s(-x), for each pair of the row; in place."""
    for row in range(products.shape[0]):
        products[row] = -rate * sigmoid(products[row]) * pairs[row]


def wait_for(tasks: Sequence[Future[None]]) -> None:
    """Waits for all; the first error is raised here."""
    for task in tasks:
        task.result()


@compiled
def add_rows(
    table: Floats, rows: Ints, vectors: Floats, pairs: Floats, most_pairs: float, tasks: int, task: int
) -> None:
    """Adds vectors to a table, scaled down where those of a row stem from more than ``most_pairs`` pairs.

    Each task adds to rows of its own, in the order of the vectors: the result is the same for any number of threads.

    Args:
        table: float32 [V, E], changed in place.
        rows: As of :class:`Change`, like the two that follow.
        vectors: float32 [M, R, E].
        pairs: float32 [M, R].
        most_pairs: What a row takes in full.
        tasks: Into how many tasks the work is divided.
        task: Which of them this is: its rows leave this remainder.
    """
    total = np.zeros(table.shape[0])
    for block in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            if rows[block, place] % tasks == task:
                total[rows[block, place]] += pairs[block, place]
    for block in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[block, place]
            if row % tasks == task:
                factor = np.float32(min(1.0, most_pairs / max(total[row], 1.0)))
                add_scaled(vectors[block, place], factor, table[row])


@dataclass(frozen=True)
class Blocks:
    """A text cut into blocks of consecutive words, with room on both sides for the neighbours of the outer ones.

    Attributes:
        words: int32 [WINDOW + blocks * BLOCK_WORDS + WINDOW]; 0 where there is no word.
        document: int32 of the same shape; -1 on the left and -2 on the right where there is no word.
    """

    words: Ints
    document: Ints

    @classmethod
    def cut(cls, words: Ints, document: Ints) -> Blocks:
        """Blocks of a text; the last one is filled up."""
        missing = -len(words) % BLOCK_WORDS
        sides = (WINDOW, missing + WINDOW)
        return cls(np.pad(words, sides), np.pad(document, sides, constant_values=(-1, -2)))

    def __len__(self) -> int:
        return (len(self.words) - 2 * WINDOW) // BLOCK_WORDS


@compiled
def mark_pairs(
    document: Ints, windows: NDArray[np.int8], is_pair: NDArray[np.bool_], of_words: Floats, of_neighbours: Floats
) -> None:
    """Which words around and in a block are neighbours of which word of it: near, in its document, and not the word.

    Args:
        document: int32 [M, W + B + W] as of :class:`Blocks`.
        windows: int8 [M, B], how far each word looks to either side.
        is_pair: bool [M, W + B + W, B], the result.
        of_words: float32 [M, B], the number of pairs of each word.
        of_neighbours: float32 [M, W + B + W or more], likewise of each neighbour.
    """
    side = (is_pair.shape[1] - is_pair.shape[2]) // 2
    of_words[:] = 0
    of_neighbours[:] = 0
    is_pair[:] = False
    for block in range(is_pair.shape[0]):
        for row in range(is_pair.shape[2]):
            own, reach = document[block, side + row], windows[block, row]
            for column in range(side + row - reach, side + row + reach + 1):
                if column != side + row and own >= 0 and document[block, column] == own:
                    is_pair[block, column, row] = True
                    of_words[block, row] += 1
                    of_neighbours[block, column] += 1
