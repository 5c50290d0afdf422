"""The regions of text that a CNN (``network/cnn.py``) decides by, computed from its weights with NumPy alone.

A filter answers a document with its largest answer at any window of K words, so the window that wins a filter owns the
filter's whole share of the score: the feature times its weights for the classes. The shares of all windows and the bias
of the last layer add up to the logits exactly.

    U words   E embedding   F filters of a width   W windows   C classes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
BORDER = -1  # a place before the first or behind the last word, which a window may reach over


@dataclass(frozen=True)
class Width:
    """The filters of one width.

    Attributes:
        kernel: float32 [K, E, F].
        bias: float32 [F].
        classes: float32 [F, C], their rows of the last layer's kernel, less the mean over the classes: what is added to
            all classes alike decides nothing.
    """

    kernel: Floats
    bias: Floats
    classes: Floats


@dataclass(frozen=True)
class Region:
    """Windows that read the same.

    Attributes:
        words: [K] ids; :data:`BORDER` beyond the ends of a document.
        share: float64 [C], what they add to each class's score, summed over documents.
        documents: In how many documents they won a filter.
    """

    words: tuple[int, ...]
    share: NDArray[np.float64]
    documents: int


def widths_of(weights: Mapping[str, Floats], sizes: Sequence[int]) -> list[Width]:
    """The filters of a checkpoint of ``network.cnn.CNN``.

    Args:
        weights: By name.
        sizes: The widths in the order of the settings, which is that of the last layer's rows.
    """
    last = weights["classifier/kernel"]
    last = last - last.mean(axis=1, keepdims=True)
    found, row = [], 0
    for size in sizes:
        kernel, bias = weights[f"convolution_{size}/kernel"], weights[f"convolution_{size}/bias"]
        found.append(Width(kernel, bias, last[row : row + len(bias)]))
        row += len(bias)
    return found


def shares_of_windows(words: Ints, embeddings: Floats, width: Width) -> dict[int, Floats]:
    """What each window that wins a filter adds to the scores of one document.

    Args:
        words: int [N], ids of the document.
        embeddings: float32 [U, E].
        width: The filters.

    Returns:
        Place of the window's first word (from 1 - K on: it may begin before the document) to float32 [C].
    """
    size = len(width.kernel)
    border = np.zeros((size - 1, embeddings.shape[1]), np.float32)
    vectors = np.concatenate([border, embeddings[words], border])
    windows = len(vectors) - size + 1
    answers = sum(vectors[k : k + windows] @ width.kernel[k] for k in range(size))  # [W, F]
    winner = np.argmax(answers, axis=0)  # of equals the first, as in the network
    features = np.maximum(np.max(answers, axis=0) + width.bias, 0)  # [F]
    shares = np.zeros((windows, width.classes.shape[1]), np.float32)
    np.add.at(shares, winner, features[:, np.newaxis] * width.classes)
    return {int(place) - size + 1: shares[place] for place in np.unique(winner[features > 0])}


def probabilities_of(words: Ints, embeddings: Floats, widths: Sequence[Width], bias: Floats) -> NDArray[np.float64]:
    """float64 [C], the network's probabilities: the shares of all windows and the bias add up to its logits.

    Args:
        words: int [N], ids of the document.
        embeddings: float32 [U, E].
        widths: All filters.
        bias: float32 [C], of the last layer.
    """
    logits = bias.astype(np.float64)
    for width in widths:
        for share in shares_of_windows(words, embeddings, width).values():
            logits = logits + share
    exponentials = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum())


def words_of_window(words: Ints, place: int, size: int) -> tuple[int, ...]:
    """The ids in a window, :data:`BORDER` where it reaches over an end."""
    return tuple(int(words[i]) if 0 <= i < len(words) else BORDER for i in range(place, place + size))


def strongest_regions(documents: Iterable[Ints], embeddings: Floats, width: Width) -> list[Region]:
    """The regions of many documents, each with what it adds to the scores over all of them."""
    shares: dict[tuple[int, ...], NDArray[np.float64]] = {}
    counts: dict[tuple[int, ...], int] = {}
    for words in documents:
        seen = set()
        for place, share in shares_of_windows(words, embeddings, width).items():
            region = words_of_window(words, place, len(width.kernel))
            shares[region] = shares.get(region, 0) + share.astype(np.float64)
            seen.add(region)
        for region in seen:
            counts[region] = counts.get(region, 0) + 1
    return [Region(words, share, counts[words]) for words, share in shares.items()]


def in_words(region: Region, vocabulary: Sequence[str]) -> str:
    """A region as text; a centred dot is a place beyond the ends of a document."""
    return " ".join("·" if word == BORDER else vocabulary[word] for word in region.words)
