"""From probabilities to labels: the thresholds of two classes or of several labels, and the labels that a text gets.

N documents   C classes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus.several_labels import BETWEEN, NO_LABELS

USUAL = 0.5  # threshold

Floats = NDArray[np.floating[Any]]


def best_threshold(probabilities: NDArray[np.float64], labels: NDArray[np.int64], cost: float | None = None) -> float:
    """The threshold with the lowest cost, or without a cost the highest F1; of equally good ones the nearest to 0.5.

    Every threshold that divides the documents in another way is tried: those halfway between two probabilities.

    Args:
        probabilities: [N], of the second class.
        labels: [N], 0 or 1.
        cost: Of a missed document of the second class; a false one costs 1.
    """
    order = np.argsort(-probabilities, kind="stable")
    p, hits = probabilities[order], np.append(0, np.cumsum(labels[order] == 1))  # with the first k predicted as class 2
    alarms, misses = np.arange(len(p) + 1) - hits, hits[-1] - hits
    goodness = 2 * hits / np.maximum(2 * hits + alarms + misses, 1) if cost is None else -(alarms + cost * misses)
    between = (np.append(1.0, p) + np.append(p, 0.0)) / 2
    possible = np.append(True, np.append(p[1:] != p[:-1], True))  # equal probabilities cannot be divided
    possible[0] = p[0] < 1
    best = possible & (goodness == goodness[possible].max())
    nearest = np.argmin(np.where(best, np.abs(between - USUAL), np.inf))
    return float(between[nearest])


def best_thresholds(probabilities: Floats, labels: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [C], for each class the threshold with the highest F1, which is to be chosen on validation documents.

    It is a half for a class that none of the documents has.

    Args:
        probabilities: [N, C].
        labels: [N, C], 0 or 1.
    """
    columns = zip(np.asarray(probabilities, np.float64).T, np.asarray(labels, np.int64).T, strict=True)
    return np.array([best_threshold(p, has) if has.any() else USUAL for p, has in columns], np.float32)


def mean_thresholds(thresholds: Sequence[Floats]) -> NDArray[np.float32]:
    """float32 [C], the thresholds of the mean of some networks: the mean of theirs, [C] each; it needs no documents."""
    return np.asarray(np.mean(thresholds, axis=0, dtype=np.float64), np.float32)


def chosen_names(chosen: NDArray[np.bool_], class_names: Sequence[str]) -> list[str]:
    """The names of the classes that are chosen, bool [C]."""
    return [name for name, one in zip(class_names, chosen.tolist(), strict=True) if one]


def in_words(names: Sequence[str]) -> str:
    """Several labels as they are shown: with signs between them, or ``no label``."""
    return BETWEEN.join(names) or NO_LABELS


def predicted_name(probabilities: Floats, class_names: Sequence[str], thresholds: Floats | None) -> str:
    """What is predicted of a text, as it is shown: the likeliest class, or all labels that reach their thresholds.

    Args:
        probabilities: [C].
        class_names: [C].
        thresholds: [C]; ``None`` where a text has one label.
    """
    if thresholds is None:
        return class_names[int(probabilities.argmax())]
    return in_words(chosen_names(probabilities >= thresholds, class_names))


def is_predicted(probabilities: Floats, target: int, thresholds: Floats | None) -> NDArray[np.bool_]:
    """bool [...], whether a class is predicted: the likeliest, or a label that reaches its threshold.

    Args:
        probabilities: [..., C].
        target: The class.
        thresholds: [C]; ``None`` where a text has one label.
    """
    if thresholds is None:
        return np.asarray(probabilities.argmax(axis=-1) == target)
    return np.asarray(probabilities[..., target] >= thresholds[target])


def is_known(label: str, class_names: Sequence[str], thresholds: Floats | None) -> bool:
    """Whether a run knows a label, or all of several labels, so that a prediction is right or wrong.

    Arguments as for :func:`predicted_name`; a label as it is shown.
    """
    if thresholds is None:
        return label in class_names
    return label == NO_LABELS or (bool(label) and set(label.split(BETWEEN)) <= set(class_names))


def margin(probabilities: Floats, thresholds: Floats | None) -> float:
    """How close a decision is: how far the two likeliest classes, or a label and its threshold, are apart at least.

    Arguments as for :func:`predicted_name`.
    """
    if thresholds is not None:
        return float(np.abs(probabilities - thresholds).min())
    *_, second, first = sorted([0.0, *probabilities.tolist()])
    return float(first - second)
