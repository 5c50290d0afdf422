"""Metrics against formulas written a second time, published values, SciPy and scikit-learn."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from report import evaluation
from report.evaluation import (
    evaluate,
    expected_calibration_error,
    format_report,
    shortened_apart,
    star_ratings,
    wilson_interval,
)
from runtime.losses import SMALLEST_PROBABILITY

STARS = ["1", "2", "3", "4", "7", "8", "9", "10"]


def example(documents: int, classes: int, seed: int = 1, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [documents, classes] probabilities, int64 [documents] labels) of a classifier that is often right."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, documents)
    logits = random.normal(size=(documents, classes))
    logits[np.arange(documents), labels] += skill
    exponents = np.exp(logits)
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32), labels


def named(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


# ---------------------------------------------------------------------------------------------------------------------
# Metrics


@pytest.mark.parametrize(
    "successes, trials, low, high",
    [  # Newcombe, Statistics in Medicine 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_has_the_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize("successes, trials", [(0, 1), (1, 1), (3, 7), (22_961, 25_000), (25_000, 25_000)])
def test_wilson_interval_equals_scipy(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    low, high = wilson_interval(successes, trials)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1


def test_wilson_bounds_solve_the_equation_they_come_from() -> None:
    """At a bound the observed share lies exactly z standard errors away: |share - p| = z sqrt(p (1 - p) / n)."""
    for bound in wilson_interval(37, 80):
        assert abs(37 / 80 - bound) == pytest.approx(evaluation.Z_95 * math.sqrt(bound * (1 - bound) / 80), rel=1e-12)


def test_calibration_error_of_a_published_example() -> None:
    """The example of torchmetrics' documentation (multiclass, 3 bins, norm l1)."""
    p = np.array([[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]])
    assert expected_calibration_error(p, np.array([0, 1, 2, 0]), bins=3) == pytest.approx(0.2)


def test_calibration_error_equals_the_sum_over_bins() -> None:
    p, y = example(997, 4)
    p = p.astype(np.float64)
    total = 0.0
    for m in range(1, 16):  # Guo et al. 2017, equations 2 and 3: bin m holds ((m-1)/15, m/15]
        members = [n for n in range(len(y)) if (m - 1) / 15 < max(p[n]) <= m / 15]
        if members:
            accuracy = sum(int(np.argmax(p[n])) == y[n] for n in members) / len(members)
            confidence = sum(max(p[n]) for n in members) / len(members)
            total += len(members) / len(y) * abs(accuracy - confidence)
    assert expected_calibration_error(p, y) == pytest.approx(total, rel=1e-12)
    assert 0.01 < total < 0.5


def test_calibration_error_at_the_extremes() -> None:
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert expected_calibration_error(certain, np.array([0, 1])) == 0
    assert expected_calibration_error(certain, np.array([1, 0])) == 1
    edge = np.array([[0.5, 0.5], [0.1, 0.9]])  # 0.5 ends the first of two bins; 0.9 lies in the second
    assert expected_calibration_error(edge, np.array([0, 0]), bins=2) == pytest.approx((0.5 + 0.9) / 2)


def test_loss_is_the_mean_negative_log_likelihood_and_finite() -> None:
    p, y = example(311, 3)
    exact = p.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert evaluate(p, y, named(3)).loss == pytest.approx(metrics.log_loss(y, exact), rel=1e-12)
    wrong = evaluate(np.array([[1, 0], [0.5, 0.5]], np.float32), np.array([1, 1]), named(2)).loss
    assert wrong == pytest.approx((-math.log(SMALLEST_PROBABILITY) + math.log(2)) / 2)
    unlikely = np.array([[1, 1e-30]], np.float32)  # not clipped: float32 can hold it, so it is what the model said
    assert evaluate(unlikely, np.array([1]), named(2)).loss == pytest.approx(30 * math.log(10), rel=1e-6)


def test_area_under_curve_equals_scikit_learn() -> None:
    p, y = example(401, 2)
    assert evaluate(p, y, named(2)).auc == pytest.approx(metrics.roc_auc_score(y, p[:, 1]), abs=1e-9)
    p, y = example(401, 5)
    expected = metrics.roc_auc_score(y, p / p.sum(axis=1, keepdims=True), multi_class="ovr", average="macro")
    assert evaluate(p, y, named(5)).auc == pytest.approx(expected, abs=1e-6)


def test_area_under_curve_counts_ordered_pairs() -> None:
    positive = np.array([0.1, 0.4, 0.35, 0.8, 0.4])
    p = np.stack([1 - positive, positive], axis=1)
    # Pairs (positive, negative): 0.35 beats 0.1 only; 0.8 beats both; 0.4 beats 0.1 and ties with 0.4.
    assert evaluate(p, np.array([0, 0, 1, 1, 1]), named(2)).auc == pytest.approx((1 + 2 + 1.5) / 6)


@pytest.mark.parametrize("classes, present", [(2, [1]), (2, [0]), (4, [0, 2, 3]), (3, [1])])
def test_a_class_without_documents_is_no_error_and_gives_no_auc(classes: int, present: list[int]) -> None:
    p, y = example(60, classes)
    keep = np.isin(y, present)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate(p[keep], y[keep], named(classes))
    assert result.auc is None and result.documents == keep.sum()
    absent = min(set(range(classes)) - set(present))
    assert result.per_class[absent].support == 0 and result.per_class[absent].recall == 0
    assert "a class has no document" in format_report(result)


def test_scores_per_class_equal_scikit_learn() -> None:
    p, y = example(350, 4, skill=0.4)
    result = evaluate(p, y, named(4))
    predicted = p.argmax(axis=1)
    expected = metrics.classification_report(y, predicted, target_names=named(4), output_dict=True)
    for scores in result.per_class:
        row = expected[scores.name]
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(
            (row["precision"], row["recall"], row["f1-score"], row["support"])
        )
    assert result.macro_f1 == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    assert result.accuracy == pytest.approx(metrics.accuracy_score(y, predicted))
    assert np.array_equal(result.confusion, metrics.confusion_matrix(y, predicted))


def test_a_small_example_by_hand() -> None:
    p = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]]
    result = evaluate(p, np.array([0, 1, 1, 1, 0]), ["a", "b", "c"])
    assert result.confusion == ((1, 1, 0), (1, 2, 0), (0, 0, 0))  # [true][predicted]
    assert result.accuracy == pytest.approx(0.6)
    assert [scores.precision for scores in result.per_class] == pytest.approx([1 / 2, 2 / 3, 0])
    assert [scores.recall for scores in result.per_class] == pytest.approx([1 / 2, 2 / 3, 0])
    assert result.macro_f1 == pytest.approx((1 / 2 + 2 / 3) / 2)  # class c occurs nowhere
    assert result.loss == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.8, 0.3]).mean())


def test_error_in_stars_of_predicted_class_and_of_expected_star() -> None:
    p = np.zeros((3, 8))
    p[0, [0, 1]] = 0.6, 0.4  # predicted 1, expected 1.4
    p[1, [3, 4]] = 0.1, 0.9  # predicted 7, expected 6.7
    p[2, 7] = 1.0  # predicted 10
    result = evaluate(p, np.array([1, 3, 7]), STARS)  # truth: 2, 4 and 10 stars
    assert result.mae == pytest.approx((1 + 3 + 0) / 3)
    assert result.mae_expected == pytest.approx((0.6 + 2.7 + 0) / 3)
    assert "mean absolute error" in format_report(result)


@pytest.mark.parametrize(
    "names", [["negative", "positive"], ["1", "two"], ["1", "nan"], ["inf", "2"], ["0", "1"], ["1", "5"]]
)
def test_no_error_in_stars_where_classes_are_no_ratings(names: list[str]) -> None:
    result = evaluate([[0.4, 0.6]], np.array([1]), names)
    assert result.mae is None and result.mae_expected is None
    assert "mean absolute error" not in format_report(result)


@pytest.mark.parametrize(
    "names, ratings",
    [
        (["1", "2", "3"], True),
        (["0.5", "1", "4.5"], True),
        (["10", "9", "1"], True),
        (["2018", "2019", "2020"], False),
        (["0", "1", "2"], False),
        (["1", "2", "2.25"], False),
        (["1", "1.0", "2"], False),
        (["-1", "1", "2"], False),
    ],
)
def test_ratings_are_three_or_more_numbers_of_stars(names: list[str], ratings: bool) -> None:
    stars = star_ratings(names)
    assert (stars is not None) == ratings
    assert stars is None or stars.tolist() == [float(name) for name in names]


def test_result_survives_json() -> None:
    result = evaluate(*example(90, 8), STARS)
    stored = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert stored["accuracy"] == result.accuracy and stored["documents"] == 90
    assert stored["per_class"][7]["name"] == "10"
    assert sum(map(sum, stored["confusion"])) == 90
    assert list(stored["accuracy_interval"]) == list(result.accuracy_interval)


@pytest.mark.parametrize(
    "probabilities, labels, message",
    [
        ([[0.5, 0.5], [float("nan"), 0.5]], [0, 1], "document 1"),
        ([[0.5, 0.5], [float("inf"), 0.5]], [0, 1], "document 1"),
        ([[-0.1, 1.1]], [0], "document 0"),
        ([[2.0, 3.0]], [0], "document 0"),  # logits
        ([[0.5, 0.5]], [2], "label 2"),
        ([[0.5, 0.5]], [-1], "label -1"),
        ([[0.5, 0.5]], [0.0], "integers"),
        ([[0.5, 0.5]], [0, 1], "do not fit"),
        ([[0.2, 0.3, 0.5]], [0], "do not fit"),
        ([0.5, 0.5], [0, 1], "do not fit"),
        (np.zeros((0, 2)), np.zeros(0, int), "do not fit"),
    ],
)
def test_bad_input_is_named(probabilities: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(np.array(probabilities), np.array(labels), named(2))


# ---------------------------------------------------------------------------------------------------------------------
# Report


def test_report_of_two_classes_reads_as_shown_here() -> None:
    p = np.array([[0.9, 0.1]] * 40 + [[0.2, 0.8]] * 60)
    y = np.array([0] * 35 + [1] * 65)
    report = format_report(evaluate(p, y, ["negative", "positive"]), "a run, test split", 0.0231, 0.0004)
    assert report.split("\n") == [
        "a run, test split",
        "=================",
        "documents                 100",
        "accuracy               95.00%  95% interval 88.82% to 97.85%",
        "commonest class        65.00%  accuracy of always saying positive",
        "loss                   0.2859  nats per document",
        "AUC                    0.9615",
        "macro F1               0.9467",
        "calibration error      13.00%  expected, 15 bins",
        "unknown words           2.31%  not in the vocabulary",
        "truncated text          0.04%  of the words, cut off",
        "",
        "class     precision     recall         F1  documents",
        "negative     0.8750     1.0000     0.9333         35",
        "positive     1.0000     0.9231     0.9600         65",
        "",
        "confidence of at least  answered  accuracy  95% interval of the accuracy",
        "                  0.50   100.00%    95.00%  88.82% to 97.85%",
        "                  0.60   100.00%    95.00%  88.82% to 97.85%",
        "                  0.70   100.00%    95.00%  88.82% to 97.85%",
        "                  0.80   100.00%    95.00%  88.82% to 97.85%",
        "                  0.90    40.00%    87.50%  73.89% to 94.54%",
        "                  0.95     0.00%         -",
        "                  0.99     0.00%         -",
        "",
        "confusion matrix: a row per true class, a column per predicted class",
        "          negative  positive",
        "negative        35         0",
        "positive         5        60",
    ]


@pytest.mark.parametrize(
    "documents, names",
    [
        (25_000, STARS),
        (300, ["x" * 70, "y" * 90]),
        (500, named(12)),
        (100_000, [f"a long name {n}" for n in range(12)]),
        (900, named(13)),
        (2_000, [f"{'very ' * 20}{n}" for n in range(50)]),
    ],
)
def test_report_never_exceeds_80_columns(documents: int, names: list[str]) -> None:
    report = format_report(evaluate(*example(documents, len(names)), names), "heading", 0.5, 1.0)
    assert max(map(len, report.split("\n"))) <= 80
    assert ("confusion matrix" in report) == (len(names) <= 12)
    assert ("most frequent mistakes" in report) == (len(names) > 12)


def test_long_class_names_stand_in_the_rows_and_their_numbers_above_the_columns() -> None:
    names = ["Society & Culture", "Sports", "Politics & Government"]
    lines = format_report(evaluate(*example(60, 3), names)).split("\n")
    assert lines[-4].split() == ["1", "2", "3"]
    assert lines[-3].startswith("1 Society & Culture ") and lines[-1].startswith("3 Politics & Government ")


def test_most_frequent_mistakes_are_listed_with_their_share() -> None:
    classes = 20
    y = np.repeat(np.arange(classes), 10)
    predicted = y.copy()
    predicted[30:34], predicted[70] = 5, 6  # four of class 3 taken for 5, one of class 7 for 6
    report = format_report(evaluate(np.eye(classes)[predicted], y, named(classes)))
    assert [line.split() for line in report.split("\n")[-2:]] == [
        ["class", "3", "class", "5", "4", "40.00%"],
        ["class", "7", "class", "6", "1", "10.00%"],
    ]
    assert format_report(evaluate(np.eye(classes)[y], y, named(classes))).endswith("no mistakes")


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["short", "a name of more"], ["short", "a name o.."]),
        (["the same beginning, no", "the same beginning, yes"], ["th..ng, no", "th..g, yes"]),
        (["both begin and end x, as well", "both begin and end y, as well"], ["1 both b..", "2 both b.."]),
    ],
)
def test_names_that_are_cut_stay_apart(names: list[str], shown: list[str]) -> None:
    assert shortened_apart(names, 10) == shown
