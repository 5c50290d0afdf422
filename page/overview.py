"""How well a run does on the test split, counted from its predictions: accuracy, confusion matrix, reliability.

N documents   C classes   B bins of confidence
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from page.split_documents import LabelledDocument
from report.evaluation import wilson_interval

BINS = 10


class Bin(NamedTuple):
    """The documents that were predicted with about the same confidence.

    Attributes:
        low: Least confidence.
        high: From which on documents are in the next bin.
        documents: Number of them.
        confidence: Their mean.
        accuracy: Share that was predicted right.
    """

    low: float
    high: float
    documents: int
    confidence: float
    accuracy: float


class Overview(NamedTuple):
    """The figures of a run.

    Attributes:
        names: [C] classes, of the run first, then others that are labels.
        documents: N.
        accuracy: Share of them that was predicted right.
        interval: 95% Wilson interval of the accuracy.
        confusion: [C true, C predicted] numbers of documents.
        bins: Those that have documents, by rising confidence.
        calibration_error: Mean distance of confidence and accuracy in the bins, weighted by their documents.
    """

    names: list[str]
    documents: int
    accuracy: float
    interval: tuple[float, float]
    confusion: list[list[int]]
    bins: list[Bin]
    calibration_error: float


def overview_of(documents: Sequence[LabelledDocument], class_names: Sequence[str]) -> Overview:
    """Counts.

    Args:
        documents: [N] at least one, all with a prediction.
        class_names: Of the run.
    """
    others = (name for document in documents for name in (document.label, document.prediction))
    names = list(dict.fromkeys([*class_names, *others]))
    places = {name: place for place, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), np.int64)
    for document in documents:
        confusion[places[document.label], places[document.prediction]] += 1
    right = int(confusion.trace())
    bins = reliability(documents)
    error = sum(one.documents * abs(one.accuracy - one.confidence) for one in bins) / len(documents)
    interval = wilson_interval(right, len(documents))
    return Overview(names, len(documents), right / len(documents), interval, confusion.tolist(), bins, error)


def reliability(documents: Sequence[LabelledDocument]) -> list[Bin]:
    """The bins of confidence that have documents, of equal width."""
    confidence = np.array([document.confidence for document in documents])
    right = np.array([document.prediction == document.label for document in documents])
    numbers = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    found = []
    for number in np.unique(numbers).tolist():
        chosen = numbers == number
        mean, share = float(confidence[chosen].mean()), float(right[chosen].mean())
        found.append(Bin(number / BINS, (number + 1) / BINS, int(chosen.sum()), mean, share))
    return found
