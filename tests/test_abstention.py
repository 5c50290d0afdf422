"""Answering only where a classifier is confident, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from report.abstention import THRESHOLDS, accuracy_by_coverage, answered


@pytest.fixture(scope="module")
def judged() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, C] with many equal confidences, and labels [N]."""
    generator = np.random.default_rng(5)
    p = generator.dirichlet([0.4, 0.4, 0.4], 300).round(2)
    return p / p.sum(axis=1, keepdims=True), generator.integers(0, 3, 300)


def test_what_is_answered_is_counted_document_by_document(judged: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = judged
    for row, threshold in zip(answered(p, y), THRESHOLDS, strict=True):
        kept = [n for n in range(len(y)) if max(p[n]) >= threshold]
        right = [n for n in kept if list(p[n]).index(max(p[n])) == y[n]]
        assert (row.confidence, row.documents, row.correct) == (threshold, len(kept), len(right))
        assert row.share == pytest.approx(len(kept) / len(y)) and row.accuracy == pytest.approx(len(right) / len(kept))
    [none] = answered(np.full((4, 2), 0.5), np.zeros(4, np.int64), [0.6])
    assert (none.documents, none.share, none.accuracy) == (0, 0.0, None)


def test_documents_of_one_confidence_are_answered_together(judged: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = judged
    shares, accuracies = accuracy_by_coverage(p, y)
    confidences = sorted(set(p.max(axis=1).tolist()), reverse=True)
    assert len(shares) == len(confidences) < len(y)
    for share, accuracy, confidence in zip(shares, accuracies, confidences, strict=True):
        [row] = answered(p, y, [confidence])
        assert (share, accuracy) == (pytest.approx(row.share), pytest.approx(row.accuracy))
    order = np.random.default_rng(0).permutation(len(y))
    for again, before in zip(accuracy_by_coverage(p[order], y[order]), (shares, accuracies), strict=True):
        np.testing.assert_allclose(again, before)
