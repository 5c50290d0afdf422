"""First word vectors: random, or looked up in a published file; the corpus as :mod:`text.skip_gram` reads it.

Axes::

    E embedding   V vocabulary
"""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils import UserError

# Five passes are the authors'; a small text is read again until so many words have gone by.
FEWEST_EPOCHS, MOST_EPOCHS, WORDS_READ = 5, 100, 10_000_000

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


def enough_epochs(words: int) -> int:
    """Passes over a corpus of ``words`` running words: 5, and more over a small one, until it has been read enough.

    Five passes over a few hundred documents leave the vectors where they began, and a network that starts from those
    stays below a linear classifier (figures in docs/data.md).
    """
    return min(max(FEWEST_EPOCHS, math.ceil(WORDS_READ / max(words, 1))), MOST_EPOCHS)
