"""Metrics of a classifier, from its class probabilities and the true labels: numbers, a report to print.

No TensorFlow, so a report can be made wherever the probabilities are. scikit-learn (0.7 s) is imported where it is
used: a script that imports this module still answers ``--help`` at once. Everything is computed in
float64. A rate is a share between 0 and 1 everywhere but in the printed report.

    N documents   C classes
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from report.abstention import Answered, answered, answered_table
from report.ordered import Ordered, measured, ordered_table
from runtime.losses import negative_log_likelihood
from utils import atomic_write

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Z_95 = 1.959963984540054  # 97.5% quantile of the standard normal distribution
CALIBRATION_BINS = 15
SUM_TOLERANCE = 1e-3  # how far from 1 a document's probabilities may sum: room for float32 and for rounded CSV files

REPORT_WIDTH = 80
FEWEST_RATINGS = 3  # classes; two numbers are rather a yes and a no
MATRIX_CLASSES = 12  # a printed confusion matrix of more does not fit: the most confused pairs are printed instead
CONFUSED_PAIRS = 10


@dataclass(frozen=True)
class ClassScores:
    """How well one class was recognised.

    Attributes:
        name: Name of the class.
        precision: Share of the documents predicted as this class that are of it; 0 where none was predicted.
        recall: Share of the documents of this class that were predicted as it; 0 where there is none.
        f1: Harmonic mean of the two; 0 where both are.
        support: Number of documents of this class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one set of documents; plain Python values only.

    Attributes:
        class_names: [C] names, in the order of the label numbers.
        documents: Number of documents N.
        accuracy: Share of documents whose most probable class is the true one.
        accuracy_interval: 95% Wilson interval of the accuracy: (low, high).
        loss: Mean negative log-likelihood of the true class, in nats.
        auc: Area under the ROC curve; with more than two classes the mean of one class against the rest.
            ``None`` where some class has no document.
        macro_f1: Mean F1 of the classes that occur among labels or predictions.
        calibration_error: Expected calibration error of the top class, 15 bins.
        mae: Mean absolute error in stars of the *predicted class*, where the classes are ratings
            (:func:`star_ratings`); else ``None``.
        mae_expected: The same for the *expected star*, the mean of the stars weighted by their probabilities.
        per_class: [C] scores.
        confusion: [C true, C predicted] numbers of documents.
        answered: What is left where only confident predictions count, by threshold.
        ordered: Errors in steps, where the classes are ordered (``--ordinal``); else ``None``.
    """

    class_names: tuple[str, ...]
    documents: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    auc: float | None
    macro_f1: float
    calibration_error: float
    mae: float | None
    mae_expected: float | None
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    answered: tuple[Answered, ...]
    ordered: Ordered | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of numbers, strings, lists and ``None`` that ``json.dump`` takes as it is."""
        return dataclasses.asdict(self)


def evaluate(
    probabilities: ArrayLike, labels: ArrayLike, class_names: Sequence[str], ordinal: bool = False
) -> Evaluation:
    """Measures predictions against the truth.

    Where two classes are equally probable, the one with the lower number counts as predicted.

    Args:
        probabilities: float [N, C], each document's sum to 1.
        labels: int [N], from 0 to C - 1.
        class_names: [C] names.
        ordinal: Whether the classes are in an order, for example of stars.

    Raises:
        ValueError: Shapes that do not fit, no document, a label that is not a class, or probabilities that are
            not: NaN, negative, above 1, or with another sum than 1.
    """
    from sklearn.metrics import confusion_matrix

    p, y = checked(probabilities, labels, len(class_names))
    predicted = p.argmax(axis=1)
    correct = int((predicted == y).sum())
    per_class, macro_f1 = class_scores(y, predicted, class_names)
    stars = star_ratings(class_names)
    return Evaluation(
        class_names=tuple(class_names),
        documents=len(y),
        accuracy=correct / len(y),
        accuracy_interval=wilson_interval(correct, len(y)),
        loss=negative_log_likelihood(p, y),
        auc=area_under_curve(p, y),
        macro_f1=macro_f1,
        calibration_error=expected_calibration_error(p, y),
        mae=None if stars is None else float(np.abs(stars[predicted] - stars[y]).mean()),
        mae_expected=None if stars is None else float(np.abs(p @ stars - stars[y]).mean()),
        per_class=per_class,
        confusion=tuple(tuple(row) for row in confusion_matrix(y, predicted, labels=range(p.shape[1])).tolist()),
        answered=answered(p, y),
        ordered=measured(p, y) if ordinal else None,
    )


def checked(probabilities: ArrayLike, labels: ArrayLike, classes: int) -> tuple[Floats, Ints]:
    """Probabilities as float64 [N, C] and labels as int64 [N], or a ``ValueError`` that names the first bad document.

    The probabilities come back rescaled to sum to 1 exactly, which float32 leaves open by about 1e-7.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if classes < 2 or p.ndim != 2 or y.ndim != 1 or p.shape != (len(y), classes) or len(y) == 0:
        raise ValueError(
            f"probabilities {p.shape} and labels {y.shape} do not fit {classes} class names; expected "
            "[documents, classes] and [documents], one document and two classes at least"
        )
    if y.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, not {y.dtype}")
    if y.min() < 0 or y.max() >= classes:
        row = int(np.argmax((y < 0) | (y >= classes)))
        raise ValueError(f"document {row} has label {y[row]}, but the classes are 0 to {classes - 1}")
    good = (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= SUM_TOLERANCE)  # NaN compares as False
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"document {row} has {np.array2string(p[row], threshold=10)} for probabilities; expected "
            f"numbers from 0 to 1 with the sum 1 ({int((~good).sum())} such documents)"
        )
    return p / p.sum(axis=1, keepdims=True), y.astype(np.int64)


# ---------------------------------------------------------------------------------------------------------------------
# One metric each


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 1927): sensible at 0% and 100%, and with few documents.

    Args:
        successes: From 0 to ``trials``.
        trials: At least 1.
        z: Normal quantile; the default gives 95% coverage.

    Returns:
        (low, high), within 0 and 1.
    """
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    # At the ends the bound is exactly the end; rounding would leave 1e-17.
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == trials else centre + half)


def area_under_curve(probabilities: Floats, labels: Ints) -> float | None:
    """Area under the ROC curve: class 1 against 0, or the mean of each class against the rest (macro one-vs-rest).

    Returns:
        The area, or ``None`` where a class has no document: it is not defined then.
    """
    from sklearn.metrics import roc_auc_score

    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes:
        return None
    scored = [1] if classes == 2 else range(classes)
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in scored]))


def expected_calibration_error(probabilities: Floats, labels: Ints, bins: int = CALIBRATION_BINS) -> float:
    """How far confidence and accuracy lie apart (Guo et al., ICML 2017, equation 3).

    Documents fall into bins of equal width by the probability of their top class, bin m holding ((m-1)/M, m/M]; the
    result is the mean over documents of |accuracy - mean confidence| in their bin. The bias is upwards for few
    documents: a perfectly calibrated model on 100 documents scores a few percent.
    """
    return binned_distance(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins)


def binned_distance(confidence: Floats, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> float:
    """Mean over decisions of |share that is right - mean confidence| in the bin of each; both arguments are [N]."""
    bin_of = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    # |share - confidence| of a bin, times its share of the decisions, is |sum of differences| / N.
    return float(np.abs(np.bincount(bin_of, weights=right - confidence)).sum() / len(confidence))


def class_scores(labels: Ints, predicted: Ints, class_names: Sequence[str]) -> tuple[tuple[ClassScores, ...], float]:
    """Precision, recall, F1 and support of each class, and the mean F1 of the classes that occur at all.

    A class that occurs in neither labels nor predictions says nothing about the model: it scores 0 and is left out
    of the mean, as scikit-learn's ``f1_score`` leaves it out.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(class_names)), zero_division=0
    )
    scores = tuple(
        ClassScores(name, float(precision[c]), float(recall[c]), float(f1[c]), int(support[c]))
        for c, name in enumerate(class_names)
    )
    return scores, float(f1[np.union1d(labels, predicted)].mean())


def star_ratings(class_names: Sequence[str]) -> Floats | None:
    """[C] stars, where the classes are ratings, for example 1 to 4 and 7 to 10; else ``None``.

    Ratings are three or more different numbers of whole or half stars, from a half to 10. Years, or 0 and 1, are none.
    """
    try:
        stars = np.array([float(name) for name in class_names])
    except ValueError:
        return None
    in_halves = np.isin(stars, np.arange(1, 21) / 2).all()
    return stars if in_halves and len(np.unique(stars)) == len(stars) >= FEWEST_RATINGS else None


# ---------------------------------------------------------------------------------------------------------------------
# The report at the end of a run


def format_report(
    evaluation: Evaluation, heading: str = "", unknown_words: float | None = None, truncated_text: float | None = None
) -> str:
    """The report that is printed: plain text of at most 80 columns, the same on a terminal and under ``nohup``.

    Args:
        evaluation: What was measured.
        heading: First line, for example the run, the split and the checkpoint.
        unknown_words: Share of the words that are not in the vocabulary; left out where not known.
        truncated_text: Share of the words that were cut off; left out where not known.
    """
    lines = [
        *head_of_report(heading, [*summary_rows(evaluation), *rows_of_text(unknown_words, truncated_text)]),
        "",
        *class_table(evaluation),
        "",
        *abstention_table(evaluation),
        "",
        *([] if evaluation.ordered is None else [*ordered_table(evaluation.ordered), ""]),
        *(confusion_table(evaluation) or confused_pairs(evaluation)),
    ]
    return "\n".join(lines)


def head_of_report(heading: str, rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """The heading, underlined, and a line for each (name, value, remark)."""
    lines = [heading, "=" * min(len(heading), REPORT_WIDTH)] if heading else []
    return lines + [f"{name:<20} {value:>8}  {remark}".rstrip() for name, value, remark in rows]


def rows_of_text(unknown_words: float | None, truncated_text: float | None) -> list[tuple[str, str, str]]:
    """(name, value, remark) of what the network did not read; arguments as for :func:`format_report`."""
    shares = (
        ("unknown words", unknown_words, "not in the vocabulary"),
        ("truncated text", truncated_text, "of the words, cut off"),
    )
    return [(name, f"{share:.2%}", remark) for name, share, remark in shares if share is not None]


def summary_rows(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(name, value, remark) of each figure that holds for the whole set."""
    low, high = evaluation.accuracy_interval
    commonest = max(evaluation.per_class, key=lambda scores: scores.support)
    rows = [
        ("documents", f"{evaluation.documents:,}", ""),
        ("accuracy", f"{evaluation.accuracy:.2%}", f"95% interval {low:.2%} to {high:.2%}"),
        (
            "commonest class",
            f"{commonest.support / evaluation.documents:.2%}",
            f"accuracy of always saying {shortened(commonest.name, 20)}",
        ),
        ("loss", f"{evaluation.loss:.4f}", "nats per document"),
        ("AUC", "none", "a class has no document")
        if evaluation.auc is None
        else ("AUC", f"{evaluation.auc:.4f}", "" if len(evaluation.class_names) == 2 else "mean, one against the rest"),
        ("macro F1", f"{evaluation.macro_f1:.4f}", ""),
        ("calibration error", f"{evaluation.calibration_error:.2%}", f"expected, {CALIBRATION_BINS} bins"),
    ]
    if evaluation.mae is not None:
        rows.append(
            (
                "mean absolute error",
                f"{evaluation.mae:.3f}",
                f"stars, predicted class (expected star: {evaluation.mae_expected:.3f})",
            )
        )
    return rows


def abstention_table(evaluation: Evaluation) -> list[str]:
    """Lines of the table of what is left where only confident predictions count."""
    counts = ((row.correct, row.documents) for row in evaluation.answered)
    intervals = (wilson_interval(right, documents) if documents else None for right, documents in counts)
    return answered_table(evaluation.answered, intervals)


def shortened(name: str, width: int) -> str:
    """``name`` in at most ``width`` (2 or more) characters, a cut marked by two dots."""
    return name if len(name) <= width else name[: width - 2] + ".."


def shortened_apart(names: Sequence[str], width: int) -> list[str]:
    """Names in at most ``width`` (8 or more) characters that differ where the names do.

    They are cut at the end, or in the middle where several begin alike, or are numbered where that does not help.
    """
    for tail in (0, 2 * width // 3, width - 3):
        short = [name if len(name) <= width else cut_out(name, width, tail) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return [shortened(f"{number} {name}", width) for number, name in enumerate(names, start=1)]


def cut_out(name: str, width: int, tail: int) -> str:
    """A name that is too long, with two dots in the place of what is before its last ``tail`` characters."""
    return f"{name[: width - 2 - tail]}..{name[len(name) - tail :]}"


def class_table(evaluation: Evaluation) -> list[str]:
    """Lines of the table with a row per class."""
    width = min(max(len("class"), *map(len, evaluation.class_names)), 36)
    lines = [f"{'class':<{width}}  precision     recall         F1  documents"]
    names = shortened_apart([scores.name for scores in evaluation.per_class], width)
    return lines + [
        f"{name:<{width}}  {scores.precision:9.4f}  {scores.recall:9.4f}  {scores.f1:9.4f}  {scores.support:9,}"
        for name, scores in zip(names, evaluation.per_class, strict=True)
    ]


def confusion_table(evaluation: Evaluation) -> list[str]:
    """Lines of the confusion matrix; none where it has too many classes for 80 columns.

    Columns are headed by class names where those are short, else by the numbers before the rows' names.
    """
    names, classes = evaluation.class_names, len(evaluation.class_names)
    cell = max(len(str(count)) for row in evaluation.confusion for count in row)  # no thousands signs: columns are dear
    heads, rows = names, names
    if max(map(len, names)) > max(cell, 9) or classes * (max(cell, *map(len, names)) + 2) > REPORT_WIDTH - 9:
        heads = tuple(str(number) for number in range(1, classes + 1))
        rows = tuple(f"{number} {name}" for number, name in zip(heads, names, strict=True))
    column = max(cell, *map(len, heads)) + 2
    room = REPORT_WIDTH - classes * column
    if classes > MATRIX_CLASSES or room < 6:
        return []
    width = min(max(map(len, rows)), room)
    lines = [
        "confusion matrix: a row per true class, a column per predicted class",
        " " * width + "".join(f"{head:>{column}}" for head in heads),
    ]
    return lines + [
        f"{shortened(name, width):<{width}}" + "".join(f"{count:>{column}}" for count in row)
        for name, row in zip(rows, evaluation.confusion, strict=True)
    ]


def confused_pairs(evaluation: Evaluation, most: int = CONFUSED_PAIRS) -> list[str]:
    """Lines of the mistakes made most often: true class, predicted class, number, share of the true class."""
    counts = np.array(evaluation.confusion)
    np.fill_diagonal(counts, 0)
    true, predicted = np.unravel_index(np.argsort(-counts, axis=None, kind="stable")[:most], counts.shape)
    pairs = [(t, p) for t, p in zip(true, predicted, strict=True) if counts[t, p] > 0]
    if not pairs:
        return ["no mistakes"]
    names = shortened_apart(evaluation.class_names, 26)
    width = max(max(len(names[c]) for pair in pairs for c in pair), len("predicted as"))
    return [
        "most frequent mistakes",
        f"{'true class':<{width}}  {'predicted as':<{width}}  documents  of the class",
        *(
            f"{names[t]:<{width}}  {names[p]:<{width}}  {counts[t, p]:9,}  "
            f"{counts[t, p] / evaluation.per_class[t].support:12.2%}"
            for t, p in pairs
        ),
    ]


def write_predictions(
    path: Path, ids: Sequence[str], labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]
) -> None:
    """Writes ``predictions-<split>.csv``: id, label, prediction and the probability of every class.

    Args:
        path: The file.
        ids: [N] names of the documents.
        labels: int [N].
        probabilities: float [N, C].
        class_names: [C].
    """
    with atomic_write(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "prediction", *(f"probability_{name}" for name in class_names)])
        for name, label, row in zip(ids, np.asarray(labels), np.asarray(probabilities), strict=True):
            predicted = class_names[int(row.argmax())]
            writer.writerow([name, class_names[label], predicted, *(f"{value:.6f}" for value in row)])
