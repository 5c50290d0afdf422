"""Ordered classes, such as stars: how many steps predictions are off, and two ways to choose the predicted class.

The class that is most probable is right most often; the median of a document's probabilities has the smallest expected
error in steps (the median minimises the mean absolute error). A step leads from a class to the next one, whatever their
names: from 4 to 7 stars, where there are no classes between them, is one step.

    N documents   C classes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """How near predicted classes are to the true ones.

    Attributes:
        accuracy: Share of documents whose predicted class is the true one.
        error: Mean number of steps between the two.
        within_one: Share of documents that are at most one step off.
        kappa: Cohen's kappa with quadratic weights (Cohen 1968): 1 where all are right, 0 for what chance gives with
            the same numbers of each class; ``None`` where all labels and predictions are one class.
    """

    accuracy: float
    error: float
    within_one: float
    kappa: float | None


@dataclass(frozen=True)
class Ordered:
    """Both ways to choose the predicted class.

    Attributes:
        likeliest: Of the most probable class.
        median: Of the median of the probabilities.
    """

    likeliest: Steps
    median: Steps


def measured(probabilities: Floats, labels: Ints) -> Ordered:
    """What both choices give.

    Args:
        probabilities: [N, C], each document's sum to 1; classes in their order.
        labels: [N].
    """
    classes = probabilities.shape[1]
    likeliest, median = probabilities.argmax(axis=1), median_classes(probabilities)
    return Ordered(steps(likeliest, labels, classes), steps(median, labels, classes))


def median_classes(probabilities: ArrayLike) -> Ints:
    """int64 [N], the first class at which the probabilities, [N, C] or [C], of it and all lower ones reach 1/2."""
    reached = np.cumsum(np.asarray(probabilities, np.float64), axis=-1) >= 0.5
    reached[..., -1] = True  # also where rounding keeps the sum below a half
    return np.asarray(reached.argmax(axis=-1), np.int64)


def steps(predicted: Ints, labels: Ints, classes: int) -> Steps:
    """How near predictions are.

    Args:
        predicted: [N], classes.
        labels: [N], classes.
        classes: C.
    """
    off = np.abs(predicted - labels)
    return Steps(
        float((off == 0).mean()),
        float(off.mean()),
        float((off <= 1).mean()),
        quadratic_kappa(predicted, labels, classes),
    )


def quadratic_kappa(predicted: Ints, labels: Ints, classes: int) -> float | None:
    """1 - mean squared steps / what they would be if predictions and labels were independent; ``None`` for 0 / 0."""
    shares = [np.bincount(of, minlength=classes) / len(labels) for of in (labels, predicted)]
    places = np.arange(classes)
    by_chance = shares[0] @ np.square(places[:, np.newaxis] - places) @ shares[1]
    return None if by_chance == 0 else float(1 - np.square(predicted - labels).mean() / by_chance)


def ordered_table(found: Ordered) -> list[str]:
    """Lines of the report, one for each way to choose."""
    lines = ["ordered classes   accuracy  error in steps  within one step  quadratic kappa"]
    for name, row in (("likeliest class", found.likeliest), ("median class", found.median)):
        kappa = "none" if row.kappa is None else f"{row.kappa:.4f}"
        lines.append(f"{name:<16}  {row.accuracy:8.2%}  {row.error:14.3f}  {row.within_one:15.2%}  {kappa:>15}")
    return lines
