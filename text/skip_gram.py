"""word2vec: word vectors trained on the corpus itself, skip-gram with negative sampling.

Skip-gram with negative sampling: Mikolov, Sutskever, Chen, Corrado and Dean, *Distributed Representations of Words and
Phrases and their Compositionality*, NIPS 2013. For each word and each neighbour within a window the product of their
vectors shall be large, for the word and a few words drawn at random small.

The usual programs take one pair after another: vector operations that wait for memory. Here a block of 32 consecutive
words shares its random words, and all of them meet in three products of matrices, as Ji, Satish, Li and Dubey proposed
(*Parallelizing Word2Vec in Shared and Distributed Memory*, 2016). Its neighbours are its own words and a few on either
side: their vectors are copied together once, and the pairs are taken one by one. The expected gradient is the same, the
time a fraction of gensim's. Four lanes of blocks are computed from the same vectors, by as many threads as there are
cores, and added in a fixed order: the result is the same to the bit for any number of workers. (On another kind of
processor the matrix products may round differently.)

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

from text.compiling import add_scaled, compiled, copy, inner_product, sigmoid
from text.compiling import part as part_of_a_loop
from text.word_vectors import Floats, Ints, count_words, random_vectors, read_part
from utils import UserError, progress

COMPILED_WITH = "0ee41c1e36c9"  # of text/compiling.py, which says why
# The paper's settings for a corpus of this size, but for the subsampling of frequent words, where its stronger setting
# is the better one here and saves half of the work.
WINDOW = 5
NEGATIVES = 5
SUBSAMPLING = 1e-4
FIRST_RATE, LAST_RATE = 0.025, 0.0001

BLOCK_WORDS = 32
AROUND = BLOCK_WORDS + 2 * WINDOW  # a block with its neighbours
BLOCK_NEGATIVES = 22  # drawn once for a block ...
NEGATIVE_WEIGHT = np.float32(NEGATIVES / BLOCK_NEGATIVES)  # ... and weighted, so that they count as NEGATIVES per pair
LANES = 4  # a power of two
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
        shares: float32 [M, R], how much of each vector is added.
        vectors: float32 [M, R, E].
    """

    rows: Ints
    shares: Floats
    vectors: Floats

    @classmethod
    def room(cls, rows: int, dim: int) -> Change:
        """Memory for the change of a batch."""
        shape = (MOST_BLOCKS, rows)
        return cls(np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty((*shape, dim), np.float32))

    def of(self, blocks: slice) -> Change:
        """That of some blocks."""
        return Change(self.rows[blocks], self.shares[blocks], self.vectors[blocks])

    def drawn_beside(self) -> Change:
        """Memory for another batch, which is drawn while this one is computed.

        They share the vectors: drawing does not touch them, and a batch is added before the next one is computed.
        """
        return Change(np.empty_like(self.rows), np.empty_like(self.shares), self.vectors)


class Batch(NamedTuple):
    """What is computed from the same vectors: blocks of the text.

    Attributes:
        reach: int8 [M, B, 2], how many neighbours each word of a block has before it and behind it.
        inputs: What they add to :attr:`SkipGram.inputs`: a vector for each of their words.
        outputs: What they add to :attr:`SkipGram.outputs`: a vector for each neighbour and each negative.
    """

    reach: NDArray[np.int8]
    inputs: Change
    outputs: Change

    @classmethod
    def room(cls, dim: int) -> Batch:
        """Memory for the largest batch."""
        return cls(
            np.empty((MOST_BLOCKS, BLOCK_WORDS, 2), np.int8),
            Change.room(BLOCK_WORDS, dim),
            Change.room(AROUND + BLOCK_NEGATIVES, dim),
        )

    def of(self, blocks: slice) -> Batch:
        """Some of its blocks."""
        return Batch(self.reach[blocks], self.inputs.of(blocks), self.outputs.of(blocks))

    def drawn_beside(self) -> Batch:
        """As of :class:`Change`."""
        return Batch(np.empty_like(self.reach), self.inputs.drawn_beside(), self.outputs.drawn_beside())

    def lanes(self) -> list[Batch]:
        """What a thread computes at a time."""
        edges = np.linspace(0, len(self.reach), LANES + 1).round().astype(int).tolist()
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
        self.guide = guide_to(draw)
        room = Batch.room(inputs.shape[1])
        self.rooms = [room, room.drawn_beside()]
        self.total = np.zeros(len(draw))  # for share_out; one batch is drawn at a time, so that nobody else uses it

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
            wait_for([threads.submit(self.add, batch, task) for task in range(LANES)])

    def start_drawing(
        self, blocks: Blocks, chosen: NDArray[np.int64], seed: tuple[int, ...], room: Batch, threads: ThreadPoolExecutor
    ) -> tuple[Batch, Future[None]]:
        """A batch, and the task that fills in what does not depend on the vectors."""
        batch = room.of(slice(len(chosen)))
        return batch, threads.submit(self.draw_batch, batch, blocks, chosen, seed)

    def draw_batch(self, batch: Batch, blocks: Blocks, chosen: NDArray[np.int64], seed: tuple[int, ...]) -> None:
        """The words, neighbours and negatives of some blocks, and how much of their gradients is added."""
        generator = np.random.Generator(np.random.SFC64(seed))
        windows = generator.integers(1, WINDOW + 1, (len(chosen), BLOCK_WORDS), np.int8)
        uniform = generator.random((len(chosen), BLOCK_NEGATIVES))
        inputs, outputs = batch.inputs, batch.outputs
        lay_out(blocks.words, blocks.document, chosen, windows, batch.reach, inputs.rows, outputs.rows)
        draw_negatives(uniform, self.draw, self.guide, outputs.rows)
        count_pairs(batch.reach, NEGATIVE_WEIGHT, inputs.shares, outputs.shares)
        of_words = MOST_PAIRS / (1 + NEGATIVES)  # every pair of a word comes with NEGATIVES negatives
        share_out(inputs.rows, inputs.shares, of_words, self.total)
        share_out(outputs.rows, outputs.shares, MOST_PAIRS, self.total)

    def ascend(self, lane: Batch, rate: float) -> None:
        """What a lane adds to the two tables."""
        ascent(
            self.inputs, self.outputs, lane.inputs.rows, lane.outputs.rows, lane.reach, np.float32(rate),
            NEGATIVE_WEIGHT, lane.inputs.vectors, lane.outputs.vectors,
        )  # fmt: skip

    def add(self, batch: Batch, task: int) -> None:
        """Adds what the lanes gave to every LANES-th row of the two tables."""
        add_rows(self.inputs, *batch.inputs, LANES, task)
        add_rows(self.outputs, *batch.outputs, LANES, task)


@compiled
def ascent(
    inputs: Floats,
    outputs: Floats,
    rows: Ints,
    columns: Ints,
    reach: NDArray[np.int8],
    rate: np.float32,
    negative_weight: np.float32,
    to_rows: Floats,
    to_columns: Floats,
) -> None:
    """``rate`` times the gradient of the blocks' log-likelihood.

    For row i, column j, x_ij the product of their vectors, s the logistic function and n_i the row's number of pairs,
    the log-likelihood is the sum of log s(x_ij) over the pairs, plus ``negative_weight`` * n_i times the sum of
    log s(-x_ij) over the drawn columns.

    All rows meet all drawn columns, in three products of matrices. Of the neighbours each row meets one in seven, which
    is faster pair by pair.

    Args:
        inputs: float32 [V, E].
        outputs: float32 [V, E].
        rows: int32 [M, B], rows of ``inputs``.
        columns: int32 [M, C], rows of ``outputs``: first W + B + W, of which number W + i stands where row i does; then
            the drawn ones.
        reach: int8 [M, B, 2], with how many of the columns before its place and behind it a row makes a pair.
        rate: Learning rate.
        negative_weight: Of a drawn column.
        to_rows: float32 [M, B, E], the result for the inputs.
        to_columns: float32 [M, C, E], the result for the outputs.
    """
    words, dim, around = rows.shape[1], inputs.shape[1], rows.shape[1] + 2 * WINDOW
    left = np.empty((words, dim), inputs.dtype)
    right = np.empty((columns.shape[1], dim), inputs.dtype)
    slopes = np.empty((columns.shape[1] - around, words), inputs.dtype)
    near = np.zeros((words, 2 * WINDOW + 1), inputs.dtype)
    for block in range(rows.shape[0]):
        gather(inputs, rows[block], left)
        gather(outputs, columns[block], right)
        negatives = right[around:]
        np.dot(negatives, left.T, slopes)
        for column in range(slopes.shape[0]):
            slopes_of_negative(slopes[column], reach[block], rate * negative_weight)
        np.dot(slopes.T, negatives, to_rows[block])
        np.dot(slopes, left, to_columns[block, around:])
        # Where there is no pair, `near` keeps what earlier blocks left. Nothing reads it.
        products_of_pairs(left, right, reach[block], near)
        slopes_of_pairs(near.reshape(-1), rate)
        add_pairs(left, right, reach[block], near, to_rows[block], to_columns[block, :around])


@part_of_a_loop
def gather(table: Floats, rows: Ints, found: Floats) -> None:
    """Copies rows of a table."""
    for place in range(rows.shape[0]):
        copy(table[rows[place]], found[place])


@part_of_a_loop
def slopes_of_negative(products: Floats, reach: NDArray[np.int8], rate: np.float32) -> None:
    """``rate`` times the derivative of log s(-x), for each pair of the row; in place."""
    for row in range(products.shape[0]):
        products[row] = -rate * sigmoid(products[row]) * np.float32(reach[row, 0] + reach[row, 1])


@part_of_a_loop
def products_of_pairs(left: Floats, right: Floats, reach: NDArray[np.int8], products: Floats) -> None:
    """The product of each row with its neighbour d places on, or back for d < 0, into column W + d."""
    for row in range(left.shape[0]):
        for place in range(WINDOW - reach[row, 0], WINDOW + reach[row, 1] + 1):
            if place != WINDOW:
                products[row, place] = inner_product(left[row], right[row + place])


@part_of_a_loop
def slopes_of_pairs(products: Floats, rate: np.float32) -> None:
    """``rate`` times the derivative of log s(x); in place."""
    for place in range(products.shape[0]):
        products[place] = rate * sigmoid(-products[place])


@part_of_a_loop
def add_pairs(
    left: Floats, right: Floats, reach: NDArray[np.int8], slopes: Floats, to_rows: Floats, to_columns: Floats
) -> None:
    """What the pairs add to the gradients of rows; those of columns begin with it."""
    for column in range(to_columns.shape[0]):
        for j in range(to_columns.shape[1]):
            to_columns[column, j] = 0
    for row in range(left.shape[0]):
        for place in range(WINDOW - reach[row, 0], WINDOW + reach[row, 1] + 1):
            if place != WINDOW:
                add_scaled(right[row + place], slopes[row, place], to_rows[row])
                add_scaled(left[row], slopes[row, place], to_columns[row + place])


def wait_for(tasks: Sequence[Future[None]]) -> None:
    """Waits for all; the first error is raised here."""
    for task in tasks:
        task.result()


@compiled
def add_rows(table: Floats, rows: Ints, shares: Floats, vectors: Floats, tasks: int, task: int) -> None:
    """Adds shares of vectors to a table.

    Each task adds to rows of its own, in the order of the vectors: the result is the same for any number of threads.

    Args:
        table: float32 [V, E], changed in place.
        rows: As of :class:`Change`, like the two that follow.
        shares: float32 [M, R].
        vectors: float32 [M, R, E].
        tasks: Into how many tasks the work is divided, a power of two.
        task: Which of them this is: its rows leave this remainder.
    """
    for block in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[block, place]
            if row & (tasks - 1) == task:
                add_scaled(vectors[block, place], shares[block, place], table[row])


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
def lay_out(
    words: Ints,
    document: Ints,
    chosen: NDArray[np.int64],
    windows: NDArray[np.int8],
    reach: NDArray[np.int8],
    rows: Ints,
    columns: Ints,
) -> None:
    """The words of blocks, those around them, and which of them are neighbours: near, in the same document.

    Args:
        words: As of :class:`Blocks`.
        document: Likewise.
        chosen: int64 [M], the blocks.
        windows: int8 [M, B], how far each word looks to either side.
        reach: int8 [M, B, 2], the result: how many neighbours each word has before it and behind it.
        rows: int32 [M, B], the result: the words of the blocks.
        columns: int32 [M, W + B + W or more], the result: these and those around them.
    """
    for block in range(rows.shape[0]):
        start = chosen[block] * rows.shape[1]
        for column in range(rows.shape[1] + 2 * WINDOW):
            columns[block, column] = words[start + column]
        for row in range(rows.shape[1]):
            place = start + WINDOW + row
            rows[block, row] = words[place]
            own, before, behind = document[place], 0, 0
            if own >= 0:
                while before < windows[block, row] and document[place - before - 1] == own:
                    before += 1
                while behind < windows[block, row] and document[place + behind + 1] == own:
                    behind += 1
            reach[block, row, 0], reach[block, row, 1] = before, behind


@compiled
def draw_negatives(uniform: NDArray[np.float64], draw: NDArray[np.float64], guide: Ints, columns: Ints) -> None:
    """For each number the first word whose cumulated probability is larger, into the last columns.

    Args:
        uniform: float64 [M, negatives], from 0 to 1.
        draw: As of :class:`SkipGram`.
        guide: As of :func:`guide_to`.
        columns: int32 [M, C].
    """
    first = columns.shape[1] - uniform.shape[1]
    for block in range(uniform.shape[0]):
        for number in range(uniform.shape[1]):
            word = guide[int(uniform[block, number] * len(guide))]
            while word < len(draw) - 1 and draw[word] <= uniform[block, number]:
                word += 1
            columns[block, first + number] = word


def guide_to(draw: NDArray[np.float64]) -> Ints:
    """Where to begin to look: for n equal parts of 0 to 1 the first word whose cumulated probability is larger.

    Chen and Asau, *On generating random variates from an empirical distribution*, 1974. n is a power of two, so that
    ``int(x * n)`` is exact, and not smaller than V, so that on average one step is enough.
    """
    parts = 1 << len(draw).bit_length()
    return np.minimum(np.searchsorted(draw, np.arange(parts) / parts, side="right"), len(draw) - 1).astype(np.int32)


@compiled
def count_pairs(reach: NDArray[np.int8], negative_weight: np.float32, of_rows: Floats, of_columns: Floats) -> None:
    """The number of pairs of rows and columns as of :func:`ascent`; drawn columns have ``negative_weight`` of all.

    Args:
        reach: int8 [M, B, 2].
        negative_weight: Of a drawn column.
        of_rows: float32 [M, B], the result.
        of_columns: float32 [M, C], the result.
    """
    around = of_rows.shape[1] + 2 * WINDOW
    for block in range(of_rows.shape[0]):
        pairs = 0
        of_columns[block, :around] = 0
        for row in range(of_rows.shape[1]):
            before, behind = reach[block, row, 0], reach[block, row, 1]
            of_rows[block, row] = before + behind
            pairs += before + behind
            for place in range(WINDOW - before, WINDOW + behind + 1):
                if place != WINDOW:
                    of_columns[block, row + place] += 1
        of_columns[block, around:] = np.float32(pairs) * negative_weight


@compiled
def share_out(rows: Ints, pairs: Floats, most_pairs: float, total: NDArray[np.float64]) -> None:
    """How much of each vector is added: less than 1 where those of its row stem from more than ``most_pairs`` pairs.

    Args:
        rows: int32 [M, R].
        pairs: float32 [M, R], from how many pairs each vector stems; replaced by the share.
        most_pairs: What a row takes in full.
        total: float64 [V], zero; zero again afterwards.
    """
    for block in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            total[rows[block, place]] += pairs[block, place]
    for block in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            pairs[block, place] = min(1.0, most_pairs / max(total[rows[block, place]], 1.0))
    for block in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            total[rows[block, place]] = 0
