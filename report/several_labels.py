"""Metrics where a text may have several labels: each class is a yes or no of its own, with a threshold of its own.

N documents   C classes
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus.several_labels import BETWEEN
from report.evaluation import (
    Evaluation,
    binned_distance,
    format_report,
    head_of_report,
    rows_of_text,
    shortened_apart,
    wilson_interval,
)
from runtime.decisions import chosen_names
from runtime.losses import binary_cross_entropy
from utils import atomic_write

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

RANKS = (1, 3, 5)  # of precision at k


@dataclass(frozen=True)
class LabelScores:
    """How well one class was recognised.

    Attributes:
        name: Name of the class.
        precision: Share of the documents predicted to have it that have it; 0 where none was predicted.
        recall: Share of the documents that have it that were predicted to; 0 where there is none.
        f1: Harmonic mean of the two; 0 where both are.
        auc: Area under the ROC curve; ``None`` where all documents have it or none.
        average_precision: Area under the precision-recall curve; ``None`` where no document has it.
        threshold: Probability from which on it is predicted.
        support: Number of documents that have it.
    """

    name: str
    precision: float
    recall: float
    f1: float
    auc: float | None
    average_precision: float | None
    threshold: float
    support: int


@dataclass(frozen=True)
class SeveralLabels:
    """Everything measured on one set of documents.

    Attributes:
        class_names: [C] names.
        documents: N.
        accuracy: Share of documents of which every class is predicted rightly (subset accuracy).
        accuracy_interval: Its 95% Wilson interval.
        loss: Mean binary cross-entropy of document and class, in nats.
        calibration_error: Mean distance, over all decisions in 15 bins of probability, of the probability and the share
            of documents that have the class.
        micro_f1: F1 of all decisions of all classes together.
        macro_f1: Mean F1 of the classes.
        auc: Mean of the classes' areas; ``None`` where no class has one.
        average_precision: Mean of the classes' (mAP); ``None`` where no class has one.
        precision_at: For some k, the mean share of a document's k most probable classes that it has.
        per_class: [C] scores.
    """

    class_names: tuple[str, ...]
    documents: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    calibration_error: float
    micro_f1: float
    macro_f1: float
    auc: float | None
    average_precision: float | None
    precision_at: dict[str, float]
    per_class: tuple[LabelScores, ...]

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dump`` takes as it is."""
        return dataclasses.asdict(self)


def evaluate_several(
    probabilities: Floats, labels: Labels, class_names: Sequence[str], thresholds: Floats
) -> SeveralLabels:
    """Measures predictions against the truth.

    Args:
        probabilities: [N, C], each from 0 to 1.
        labels: [N, C], 0 or 1.
        class_names: [C].
        thresholds: [C].
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    p, true = np.asarray(probabilities, np.float64), np.asarray(labels, bool)
    said = p >= thresholds
    hits, alarms, misses = (some.sum(axis=0) for some in (said & true, said & ~true, ~said & true))
    f1 = f1_of(hits, alarms, misses)
    defined = [0 < count < len(true) for count in true.sum(axis=0)]
    auc = [float(roc_auc_score(true[:, c], p[:, c])) if some else None for c, some in enumerate(defined)]
    precision = [
        float(average_precision_score(true[:, c], p[:, c])) if true[:, c].any() else None for c in range(len(auc))
    ]
    right = int((said == true).all(axis=1).sum())
    return SeveralLabels(
        class_names=tuple(class_names),
        documents=len(true),
        accuracy=right / len(true),
        accuracy_interval=wilson_interval(right, len(true)),
        loss=binary_cross_entropy(p, true),
        calibration_error=decision_calibration_error(p, true),
        micro_f1=float(f1_of(hits.sum(), alarms.sum(), misses.sum())),
        macro_f1=float(f1.mean()),
        auc=mean_of_known(auc),
        average_precision=mean_of_known(precision),
        precision_at={str(k): precision_at(p, true, k) for k in RANKS if k < len(class_names)},
        per_class=tuple(
            LabelScores(
                name,
                float(hits[c] / max(hits[c] + alarms[c], 1)),
                float(hits[c] / max(hits[c] + misses[c], 1)),
                float(f1[c]),
                auc[c],
                precision[c],
                float(thresholds[c]),
                int(true[:, c].sum()),
            )
            for c, name in enumerate(class_names)
        ),
    )


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there; ``None`` without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def decision_calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """How far probabilities and shares lie apart, of all decisions; bins as in ``expected_calibration_error``."""
    return binned_distance(probabilities.ravel(), labels.ravel())


def f1_of(hits: Any, alarms: Any, misses: Any) -> Any:
    """2 hits / (2 hits + alarms + misses), 0 where nothing is true or predicted."""
    return 2 * hits / np.maximum(2 * hits + alarms + misses, 1)


def precision_at(probabilities: Floats, labels: NDArray[np.bool_], k: int) -> float:
    """The mean share of a document's ``k`` most probable classes that it has; of equals the first."""
    first = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(labels, first, axis=1).mean())


def format_several(
    found: SeveralLabels, heading: str, unknown_words: float | None = None, truncated_text: float | None = None
) -> str:
    """The report: plain text of at most 80 columns.

    Args:
        found: What was measured.
        heading: First line.
        unknown_words: Share of the words that are not in the vocabulary; left out where not known.
        truncated_text: Share of the words that were cut off; left out where not known.
    """
    low, high = found.accuracy_interval
    rows = [
        ("documents", f"{found.documents:,}", "each may have several labels, or none"),
        ("micro F1", f"{found.micro_f1:.4f}", "all decisions together"),
        ("macro F1", f"{found.macro_f1:.4f}", "mean of the classes"),
        ("all labels right", f"{found.accuracy:.2%}", f"95% interval {low:.2%} to {high:.2%}"),
        ("loss", f"{found.loss:.4f}", "nats per document and class"),
        ("average precision", figure(found.average_precision), "mean of the classes (mAP)"),
        ("AUC", figure(found.auc), "mean of the classes"),
        *((f"precision at {k}", f"{share:.2%}", "") for k, share in found.precision_at.items()),
        *rows_of_text(unknown_words, truncated_text),
    ]
    return "\n".join([*head_of_report(heading, rows), "", *label_table(found)])


def report_of(
    found: Evaluation | SeveralLabels,
    heading: str,
    unknown_words: float | None = None,
    truncated_text: float | None = None,
) -> str:
    """The report of texts with one label or with several; arguments as for :func:`format_several`."""
    if isinstance(found, SeveralLabels):
        return format_several(found, heading, unknown_words, truncated_text)
    return format_report(found, heading, unknown_words, truncated_text)


def figure(value: float | None) -> str:
    """A figure of four places; ``none`` where there is none."""
    return "none" if value is None else f"{value:.4f}"


def label_table(found: SeveralLabels) -> list[str]:
    """Lines of the table with a row per class."""
    width = min(max(len("class"), *map(len, found.class_names)), 22)
    lines = [f"{'class':<{width}}  precision  recall      F1  av.prec  threshold  documents"]
    names = shortened_apart([one.name for one in found.per_class], width)
    for name, one in zip(names, found.per_class, strict=True):
        lines.append(
            f"{name:<{width}}  {one.precision:9.4f}  {one.recall:6.4f}  {one.f1:6.4f}  "
            f"{figure(one.average_precision):>7}  {one.threshold:9.4f}  {one.support:9,}"
        )
    return lines


def write_several(
    path: Path,
    ids: Sequence[str],
    labels: Labels,
    probabilities: Floats,
    class_names: Sequence[str],
    thresholds: Floats,
) -> None:
    """Writes ``predictions-<split>.csv``: id, labels, predictions, and the probability of every class.

    Args:
        path: The file.
        ids: [N] names of the documents.
        labels: [N, C], 0 or 1.
        probabilities: [N, C].
        class_names: [C].
        thresholds: [C].
    """
    with atomic_write(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "prediction", *(f"probability_{name}" for name in class_names)])
        for name, true, row in zip(ids, np.asarray(labels, bool), probabilities, strict=True):
            cells = (BETWEEN.join(chosen_names(chosen, class_names)) for chosen in (true, row >= thresholds))
            writer.writerow([name, *cells, *(f"{value:.6f}" for value in row)])
