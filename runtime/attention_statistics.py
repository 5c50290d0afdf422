"""Figures of attention over many documents: how evenly it is spread, and which words get the most of it.

Entropy is that of the weights within a sentence, or within a document: 0 where one word gets everything, log(n) where n
words get the same.

    N words   S sentences   B documents   C classes
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FEWEST_DOCUMENTS = 5  # that contain a word before it counts among the top words


def entropies(weights: ArrayLike, lengths: ArrayLike) -> Floats:
    """Entropy of attention in nats, of each segment.

    Args:
        weights: float [N], adding up to 1 within each segment.
        lengths: int [S], each at least 1; sums to N.

    Returns:
        float64 [S], from 0 to log(length).
    """
    values = np.asarray(weights, np.float64)
    terms = np.where(values > 0, -values * np.log(np.where(values > 0, values, 1)), 0)
    counts = np.asarray(lengths, np.int64)
    return np.asarray(np.add.reduceat(terms, np.cumsum(counts) - counts)) if len(counts) else np.zeros(0)


def evenness(weights: ArrayLike, lengths: ArrayLike) -> Floats:
    """Entropy as a share of the largest possible one, log(length): 1 where attention is uniform.

    Segments of one word are left out. Arguments as for :func:`entropies`; float64, one
    value for each segment of two or more.
    """
    counts = np.asarray(lengths, np.int64)
    several = counts > 1
    return np.asarray(entropies(weights, counts)[several] / np.log(counts[several]))


class MeanEntropy:
    """Mean entropy of attention over all sentences, and over all documents, added up batch by batch.

    Attributes:
        sums: float [4]: entropies of words, number of sentences, entropies of sentences, number of documents; those
            of several workers may be added.
    """

    def __init__(self) -> None:
        self.sums = np.zeros(4)

    def add(self, word_weights: ArrayLike, words: ArrayLike, sentence_weights: ArrayLike, sentences: ArrayLike) -> None:
        """Counts a batch: float [N] with int [S] words per sentence, float [S] with int [B] sentences per document."""
        for level, (weights, lengths) in enumerate(((word_weights, words), (sentence_weights, sentences))):
            of_segments = entropies(weights, lengths)
            self.sums[2 * level : 2 * level + 2] += (of_segments.sum(), len(of_segments))

    def means(self) -> dict[str, float]:
        """In nats, under the names that training gives them; empty where nothing was added."""
        names = ("word_attention_entropy", "sentence_attention_entropy")
        totals, counts = self.sums[0::2], self.sums[1::2]
        return dict(zip(names, (totals / counts).tolist(), strict=True)) if counts.all() else {}


@dataclass(frozen=True)
class TopWord:
    """A word that gets much attention.

    Attributes:
        word: As the vocabulary has it.
        weight: Mean importance in the documents that contain it, sqrt(sentence weight) x word weight.
        documents: Number of documents that contain it.
    """

    word: str
    weight: float
    documents: int


def top_words(
    words: Sequence[Sequence[str]],
    importances: Sequence[ArrayLike],
    classes: ArrayLike,
    class_count: int,
    most: int = 10,
    fewest_documents: int = FEWEST_DOCUMENTS,
) -> list[list[TopWord]]:
    """The words with the most attention, class by class.

    A word's importance in a document is the largest it has there; the mean is over the documents of the class that
    contain it. Words of fewer documents are left out: their means are unreliable.

    Args:
        words: [B] lists of words.
        importances: [B] vectors, as long as their list of words.
        classes: int [B], for example what the network predicts.
        class_count: C.
        most: Words for each class, at most.
        fewest_documents: Least number of documents of the class.

    Returns:
        [C] lists, the weightiest word first; of equals the more frequent one, then by spelling.
    """
    values_of: list[dict[str, list[float]]] = [{} for _ in range(class_count)]
    for tokens, values, number in zip(words, importances, np.asarray(classes).tolist(), strict=True):
        for word, value in largest_of_each(tokens, np.asarray(values, np.float64).tolist()):
            values_of[number].setdefault(word, []).append(value)
    tops = (
        [TopWord(word, float(np.mean(v)), len(v)) for word, v in of_class.items() if len(v) >= fewest_documents]
        for of_class in values_of
    )
    return [sorted(some, key=lambda top: (-top.weight, -top.documents, top.word))[:most] for some in tops]


def largest_of_each(words: Iterable[str], values: Iterable[float]) -> Iterable[tuple[str, float]]:
    """Each word once, with the largest of its values."""
    largest: dict[str, float] = {}
    for word, value in zip(words, values, strict=True):
        largest[word] = max(value, largest.get(word, value))
    return largest.items()
