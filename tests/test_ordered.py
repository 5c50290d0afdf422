"""Ordered classes against scikit-learn, and against the expected error of every possible choice."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from report.evaluation import evaluate, format_report
from report.ordered import measured, median_classes, quadratic_kappa
from tests.test_evaluation import example, named


def test_figures_in_steps_equal_scikit_learn() -> None:
    p, y = example(400, 5, skill=0.8)
    found = evaluate(p, y, named(5), ordinal=True).ordered
    assert found is not None
    median = [next(c for c in range(5) if row[: c + 1].sum() >= 0.5) for row in p.astype(np.float64)]
    for steps, predicted in ((found.likeliest, p.argmax(axis=1)), (found.median, np.array(median))):
        assert steps.accuracy == pytest.approx(metrics.accuracy_score(y, predicted))
        assert steps.error == pytest.approx(metrics.mean_absolute_error(y, predicted))
        assert steps.within_one == pytest.approx(sum(abs(a - b) <= 1 for a, b in zip(y, predicted, strict=True)) / 400)
        assert steps.kappa == pytest.approx(metrics.cohen_kappa_score(y, predicted, weights="quadratic"))
    assert found.likeliest != found.median


def test_no_class_has_a_smaller_expected_error_than_the_median() -> None:
    p, _ = example(300, 6, skill=0.5)
    expected = p.astype(np.float64) @ np.abs(np.arange(6)[:, np.newaxis] - np.arange(6))  # [document, predicted class]
    chosen = expected[np.arange(300), median_classes(p)]
    np.testing.assert_allclose(chosen, expected.min(axis=1), atol=1e-6)


def test_one_class_only_has_no_kappa_and_the_report_says_so() -> None:
    assert quadratic_kappa(np.array([2, 2]), np.array([2, 2]), 3) is None
    assert quadratic_kappa(np.array([0, 2]), np.array([2, 0]), 3) == pytest.approx(-1)
    result = evaluate([[0.1, 0.2, 0.7]], np.array([2]), named(3), ordinal=True)
    assert measured(np.array([[0.1, 0.2, 0.7]]), np.array([2])).likeliest.kappa is None
    lines = format_report(result).split("\n")
    row = next(line for line in lines if line.startswith("median class"))
    assert row.split() == ["median", "class", "100.00%", "0.000", "100.00%", "none"]
    assert max(map(len, lines)) <= 80


def test_classes_without_order_have_no_steps() -> None:
    result = evaluate(*example(50, 3), named(3))
    assert result.ordered is None and "ordered classes" not in format_report(result)
