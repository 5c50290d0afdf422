"""Where to divide two classes, if not at a probability of 0.5: by F1, or by what mistakes cost.

The threshold is one on the probability of the second class: a document of at least that probability is predicted as it.
It has to be chosen on validation documents, and its figures are those on other ones (Lipton et al. 2014 for F1; Elkan
2001 for costs, who shows that calibrated probabilities would need no search: 1 / (1 + cost)).

    N documents
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Divided:
    """What comes out at one threshold.

    Attributes:
        threshold: On the probability of the second class.
        accuracy: Share of documents that are predicted rightly.
        precision: Of the second class; 0 where none is predicted.
        recall: Of the second class; 0 where there is none.
        f1: Harmonic mean of the two; 0 where both are.
        cost: Per document: 1 for a document that is wrongly predicted as the second class, the given cost for one of
            the second class that is missed.
    """

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    cost: float


def divided(probabilities: NDArray[np.float64], labels: NDArray[np.int64], threshold: float, cost: float) -> Divided:
    """What comes out at a threshold.

    Args:
        probabilities: [N], of the second class.
        labels: [N], 0 or 1.
        threshold: On the probabilities.
        cost: Of a missed document of the second class; a false one costs 1.
    """
    said, true = probabilities >= threshold, labels == 1
    hits, alarms, misses = int((said & true).sum()), int((said & ~true).sum()), int((~said & true).sum())
    return Divided(
        threshold,
        float((said == true).mean()),
        hits / max(hits + alarms, 1),
        hits / max(hits + misses, 1),
        2 * hits / max(2 * hits + alarms + misses, 1),
        (alarms + cost * misses) / len(labels),
    )


def threshold_report(
    name: str, criterion: str, validation: int, rows: Sequence[Divided], cost: float | None
) -> list[str]:
    """Lines of the report: the figures at 0.5 and at the threshold that was chosen.

    Args:
        name: Of the second class.
        criterion: ``F1``, or what a miss costs, in words.
        validation: Number of documents on which it was chosen.
        rows: On the test documents.
        cost: Of a missed document of the second class; ``None`` leaves the column out.
    """
    last = "" if cost is None else "  cost per document"
    lines = [
        f"threshold on the probability of {name}, chosen on {validation:,} validation documents by {criterion}",
        f"threshold  accuracy  precision     recall         F1{last}",
    ]
    for row in rows:
        figures = f"{row.threshold:9.4f}  {row.accuracy:8.2%}  {row.precision:9.4f}  {row.recall:9.4f}  {row.f1:9.4f}"
        lines.append(figures + ("" if cost is None else f"  {row.cost:17.4f}"))
    return lines
