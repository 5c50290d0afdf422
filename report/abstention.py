"""Answering only where a classifier is confident: how many documents are answered then, and how many of them rightly.

The confidence is the probability of the predicted class. With a threshold t the classifier answers documents of a
confidence of at least t and abstains from the others (Chow 1970; El-Yaniv and Wiener, JMLR 2010).

    N documents   C classes
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Answered:
    """What is left at one threshold.

    Attributes:
        confidence: The threshold.
        documents: Number of documents answered.
        share: Their share of all.
        correct: How many of them are answered rightly.
    """

    confidence: float
    documents: int
    share: float
    correct: int

    @property
    def accuracy(self) -> float | None:
        """Share of the answered documents that are right; ``None`` where none is answered."""
        return self.correct / self.documents if self.documents else None


def answered(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], thresholds: Sequence[float] = THRESHOLDS
) -> tuple[Answered, ...]:
    """What is left at each threshold.

    Args:
        probabilities: [N, C].
        labels: [N].
        thresholds: From 0 to 1.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    kept = [(threshold, confidence >= threshold) for threshold in thresholds]
    return tuple(Answered(t, int(some.sum()), float(some.mean()), int(right[some].sum())) for t, some in kept)


def accuracy_by_coverage(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The accuracy on the most confident documents, for every share of them.

    Documents of the same confidence are answered together, so that their order does not matter.

    Returns:
        Shares answered and accuracies, each [K], K the number of different confidences; the shares rise to 1.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind="stable")
    last = np.append(np.diff(confidence[order]) != 0, True)  # of those with the same confidence
    count = np.arange(1, len(order) + 1)
    return (count / len(order))[last], (np.cumsum(right[order]) / count)[last]


def answered_table(rows: Sequence[Answered], interval: Iterator[tuple[float, float] | None]) -> list[str]:
    """Lines of the table with a row per threshold; ``interval``: that of each accuracy."""
    lines = ["confidence of at least  answered  accuracy  95% interval of the accuracy"]
    for row, bounds in zip(rows, interval, strict=True):
        figures = "-" if bounds is None else f"{row.accuracy:8.2%}  {bounds[0]:.2%} to {bounds[1]:.2%}"
        lines.append(f"{row.confidence:22.2f}  {row.share:8.2%}  {figures:>8}")
    return lines
