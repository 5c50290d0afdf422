"""First word vectors: skip-gram with negative sampling, trained on the corpus itself; a published file; or random.

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

Layer 1 of the house: no TensorFlow.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils import UserError, progress

# The paper's settings for a corpus of this size, but for the subsampling of frequent words, where its stronger setting
# is the better one here and saves half of the work.
WINDOW = 5
NEGATIVES = 5
SUBSAMPLING = 1e-4
FIRST_RATE, LAST_RATE = 0.025, 0.0001
# Five passes are the authors'; a small text is read again until so many words have gone by.
FEWEST_EPOCHS, MOST_EPOCHS, WORDS_READ = 5, 100, 10_000_000

BLOCK_WORDS = 32
BLOCK_NEGATIVES = 22  # drawn once for a block ...
NEGATIVE_WEIGHT = np.float32(NEGATIVES / BLOCK_NEGATIVES)  # ... and weighted, so that they count as NEGATIVES per pair
LANE_BLOCKS = 32
LANES = 4
MOST_PAIRS = 256.0

RANDOM_RANGE = 0.05  # of the vectors of words that training never saw

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def random_vectors(words: int, dim: int, seed: int) -> Floats:
    """float32 [words, dim], uniform between -0.05 and 0.05; the first row, ``<pad>``, is zero."""
    vectors = np.random.default_rng(seed).uniform(-RANDOM_RANGE, RANDOM_RANGE, (words, dim)).astype(np.float32)
    vectors[0] = 0
    return vectors


# ---------------------------------------------------------------------------------------------------------------------
# A published file


def vector_size(path: Path) -> int:
    """Size of the vectors in a text file of GloVe or word2vec, from its first line.

    Raises:
        UserError: There is no such file, or it is another kind of file.
    """
    with lines_of(path) as lines:
        fields = next(lines, b"").split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        return int(fields[1])
    if len(fields) < 2 or not all(is_number(field) for field in fields[1:]):
        raise UserError(f"{path} is no text file of GloVe or word2vec: its first line is not a word and numbers")
    return len(fields) - 1


def look_up(path: Path, words: Sequence[str], dim: int, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Vectors from a text file of GloVe, or of word2vec with its header line; ``.gz`` too. The file streams by.

    Args:
        path: The file; each line is a word and ``dim`` numbers, with spaces between them.
        words: The vocabulary; the first two, ``<pad>`` and ``<unk>``, are not looked up.
        dim: E.
        seed: Of the vectors of words that are not in the file.

    Returns:
        float32 [V, E], row by row the words, and bool [V], which of them were found. Of a word that the file holds
        twice the first vector counts.

    Raises:
        UserError: There is no such file, or a line is damaged or cut short.
    """
    vectors, found = random_vectors(len(words), dim, seed), np.zeros(len(words), np.bool_)
    wanted = {word.encode(): number for number, word in enumerate(words) if number > 1}
    with lines_of(path) as lines:
        for number, line in enumerate(lines, start=1):
            line = line.rstrip()
            spaces = line.count(b" ")
            if number == 1 and spaces == 1 and dim > 1:
                continue  # word2vec's header
            if spaces < dim:
                raise UserError(f"{path}, line {number}: {dim} numbers are expected, and there are {max(spaces, 0)}")
            place = wanted.get(line[: line.index(b" ")])
            # More spaces than numbers: the word itself holds some, and none of ours does.
            if place is None or found[place] or spaces > dim:
                continue
            try:
                vectors[place] = [float(field) for field in line.split(b" ")[1:]]
            except ValueError as error:
                raise UserError(f"{path}, line {number} does not hold a word and {dim} numbers ({error})") from error
            found[place] = True
    if not np.isfinite(vectors).all():
        raise UserError(f"{path} holds numbers that are not finite; take another file")
    return vectors, found


@contextlib.contextmanager
def lines_of(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of a file, unpacked if it is one of gzip; trouble on the way is a :class:`UserError` that names it."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as lines:
            yield iter(lines)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; give its path: --embeddings glove:FILE") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged ({error}); download it again") from error


def is_number(field: bytes) -> bool:
    """Whether ``float`` can read it."""
    try:
        float(field)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------------
# The corpus: parts, of which one at a time is in memory


def write_part(path: Path, words: Ints, words_per_document: NDArray[np.integer]) -> None:
    """Writes a part of the corpus: word ids [words], document by document, and the length of each document.

    Ids 0 and 1, ``<pad>`` and ``<unk>``, are no word's neighbours and are left out.
    """
    known = words > 1
    document = np.repeat(np.arange(len(words_per_document), dtype=np.int32), words_per_document)
    np.savez(path, words=words[known], document=document[known])


def read_part(path: Path) -> tuple[Ints, Ints]:
    """int32 [words] word ids, and int32 [words] the number of the document of each."""
    with np.load(path, allow_pickle=False) as part:
        return part["words"], part["document"]


def count_words(parts: Sequence[Path], vocabulary_size: int) -> NDArray[np.int64]:
    """How often each word of the vocabulary occurs in the corpus: int64 [V]."""
    counts = np.zeros(vocabulary_size, np.int64)
    for part in parts:
        counts += np.bincount(read_part(part)[0], minlength=vocabulary_size)
    return counts


# ---------------------------------------------------------------------------------------------------------------------
# Training


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


def enough_epochs(words: int) -> int:
    """Passes over a corpus of ``words`` running words: 5, and more over a small one, until it has been read enough.

    Five passes over a few hundred documents leave the vectors where they began, and a network that starts from those
    stays below a linear classifier (figures in docs/data.md).
    """
    return min(max(FEWEST_EPOCHS, math.ceil(WORDS_READ / max(words, 1))), MOST_EPOCHS)


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
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@dataclass
class SkipGram:
    """The two tables of vectors; :attr:`inputs` is what is wanted in the end.

    Attributes:
        inputs: float32 [V, E] of words in their place.
        outputs: float32 [V, E] of words as neighbours.
        draw: float64 [V], the cumulated probabilities by which negatives are drawn: counts to the power 3/4.
    """

    inputs: Floats
    outputs: Floats
    draw: NDArray[np.float64]

    def train_part(
        self, part: Path, keep: Floats, rate: float, seed: tuple[int, ...], threads: ThreadPoolExecutor
    ) -> None:
        """One pass over one part of the corpus, its blocks in random order."""
        generator = np.random.default_rng(seed)
        words, document = read_part(part)
        kept = generator.random(len(words), np.float32) < keep[words]
        blocks = Blocks.cut(words[kept], document[kept])
        order = generator.permutation(len(blocks))
        for start in range(0, len(order), LANES * LANE_BLOCKS):
            lanes = np.array_split(order[start : start + LANES * LANE_BLOCKS], LANES)
            tasks = [
                threads.submit(self.changes, blocks, lane, rate, (*seed, start, number))
                for number, lane in enumerate(lanes)
                if len(lane)
            ]
            inputs, outputs = zip(*(task.result() for task in tasks), strict=True)  # all, before the first is added
            adding = threads.submit(add, self.inputs, inputs)
            add(self.outputs, outputs)
            adding.result()

    def changes(
        self, blocks: Blocks, chosen: NDArray[np.int64], rate: float, seed: tuple[int, ...]
    ) -> tuple[Change, Change]:
        """What a lane of blocks adds to the two tables."""
        generator = np.random.Generator(np.random.SFC64(seed))
        rows = blocks.rows(chosen)  # [M, B]
        windows = generator.integers(1, WINDOW + 1, (len(chosen), 1, BLOCK_WORDS), np.int8)
        neighbours, is_pair = blocks.neighbours(chosen, windows)  # [M, B + 2 W], [M, B + 2 W, B]
        drawn = np.searchsorted(self.draw, generator.random((len(chosen), BLOCK_NEGATIVES)), side="right")
        columns = np.concatenate([neighbours, np.minimum(drawn, len(self.draw) - 1).astype(np.int32)], axis=1)  # [M, C]
        pairs = is_pair.sum(1, dtype=np.float32)  # [M, B]
        row_vectors, column_vectors = ascent(self.inputs[rows], self.outputs[columns], is_pair, pairs, rate)
        negative_pairs = np.repeat(pairs.sum(1, keepdims=True) * NEGATIVE_WEIGHT, BLOCK_NEGATIVES, axis=1)
        column_pairs = np.concatenate([is_pair.sum(2, dtype=np.float32), negative_pairs], axis=1)
        return Change(rows, row_vectors, pairs * (1 + NEGATIVES)), Change(columns, column_vectors, column_pairs)


def ascent(
    inputs: Floats, outputs: Floats, is_pair: NDArray[np.bool_], pairs: Floats, rate: float
) -> tuple[Floats, Floats]:
    """``rate`` times the gradient of the blocks' log-likelihood.

    For row i, column j, x_ij the product of their vectors, s the logistic function and n_i the row's number of pairs,
    the log-likelihood is the sum of log s(x_ij) over the pairs, plus NEGATIVE_WEIGHT * n_i times the sum of
    log s(-x_ij) over the drawn columns.

    Args:
        inputs: float32 [M, B, E].
        outputs: float32 [M, C, E]; the last BLOCK_NEGATIVES columns are the drawn ones.
        is_pair: bool [M, C - BLOCK_NEGATIVES, B].
        pairs: float32 [M, B], the number of pairs of each row.
        rate: Learning rate.

    Returns:
        float32 [M, B, E] for the inputs and float32 [M, C, E] for the outputs.
    """
    # The smaller factor is the one to be rearranged for the product, hence columns before rows.
    slopes = outputs @ np.ascontiguousarray(inputs.transpose(0, 2, 1))  # [M, C, B], worked on in place from here
    np.negative(slopes, out=slopes)
    np.minimum(slopes, 80, out=slopes)  # exp must not overflow
    np.exp(slopes, out=slopes)
    slopes += 1
    np.divide(-rate, slopes, out=slopes)  # -rate * s(x)
    neighbours = slopes[:, :-BLOCK_NEGATIVES]
    neighbours += rate
    neighbours *= is_pair
    slopes[:, -BLOCK_NEGATIVES:] *= pairs[:, None, :] * NEGATIVE_WEIGHT
    return slopes.transpose(0, 2, 1) @ outputs, slopes @ inputs


class Change(NamedTuple):
    """Vectors to be added to rows of a table; a row may come several times.

    Attributes:
        rows: int32, any shape.
        vectors: float32, the same shape and [E].
        pairs: float32, the shape of ``rows``: from how many pairs each vector stems.
    """

    rows: Ints
    vectors: Floats
    pairs: Floats


def add(table: Floats, changes: Sequence[Change]) -> None:
    """Adds vectors to rows of a table [V, E], scaled down where those of a row stem from more than MOST_PAIRS pairs."""
    rows = np.concatenate([change.rows.reshape(-1) for change in changes])
    total = np.bincount(rows, np.concatenate([change.pairs.reshape(-1) for change in changes]), len(table))
    scale = np.minimum(1, MOST_PAIRS / np.maximum(total, 1)).astype(np.float32)
    for change in changes:
        add_rows(table, change.rows.reshape(-1), scale, change.vectors.reshape(-1, table.shape[1]))


def add_rows(table: Floats, rows: Ints, scale: Floats, vectors: Floats) -> None:
    """``table[rows[n]] += scale[rows[n]] * vectors[n]`` for each n in turn.

    It is the product of a sparse matrix with one entry per column, added in place. SciPy has the kernel but no public
    name for it; ``numpy.add.at`` takes 25 times as long, and is used where the kernel is not found.

    Args:
        table: float32 [V, E], changed in place.
        rows: int32 [N].
        scale: float32 [V].
        vectors: float32 [N, E].
    """
    try:
        from scipy.sparse._sparsetools import csc_matvecs
    except ImportError:
        np.add.at(table, rows, vectors * scale[rows, None])
        return
    count, dim = vectors.shape
    columns = np.arange(count + 1, dtype=np.int32)
    csc_matvecs(len(table), count, dim, columns, rows, scale[rows], vectors.reshape(-1), table.reshape(-1))


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

    def rows(self, chosen: NDArray[np.int64]) -> Ints:
        """The words of some blocks: int32 [M, B]."""
        return self.words[WINDOW + chosen[:, None] * BLOCK_WORDS + np.arange(BLOCK_WORDS)]

    def neighbours(self, chosen: NDArray[np.int64], windows: NDArray[np.int8]) -> tuple[Ints, NDArray[np.bool_]]:
        """The words around and in some blocks, and which of them are neighbours of which word of the block.

        Args:
            chosen: int64 [M] numbers of blocks.
            windows: int8 [M, 1, B], how far each word looks to either side.

        Returns:
            int32 [M, B + 2 W], and bool [M, B + 2 W, B]: near enough, in the same document, and not the word itself.
        """
        around = chosen[:, None] * BLOCK_WORDS + np.arange(BLOCK_WORDS + 2 * WINDOW)
        document = self.document[around]
        mine = document[:, None, WINDOW:-WINDOW]
        return self.words[around], (windows >= DISTANCES) & (document[:, :, None] == mine) & (mine >= 0)


# int8 [B + 2 W, B]: how far apart column and row are; a word is no neighbour of itself.
DISTANCES = np.abs(np.arange(-WINDOW, BLOCK_WORDS + WINDOW)[:, None] - np.arange(BLOCK_WORDS)).astype(np.int8)
DISTANCES[DISTANCES == 0] = 127
