"""Entropy against SciPy's, top words against a case worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy

from runtime.attention_statistics import MeanEntropy, TopWord, entropies, evenness, top_words

GENERATOR = np.random.default_rng(5)
LENGTHS = [3, 1, 7, 2]
SEGMENTS = [GENERATOR.dirichlet(np.full(length, 0.5)) for length in LENGTHS]


def test_entropies_are_scipys() -> None:
    found = entropies(np.concatenate(SEGMENTS).astype(np.float32), LENGTHS)
    np.testing.assert_allclose(found, [entropy(segment) for segment in SEGMENTS], rtol=1e-5, atol=1e-6)
    assert entropies([], []).tolist() == []


def test_evenness_runs_from_all_on_one_word_to_the_same_for_each() -> None:
    weights = [0, 1, 0, 1, 0.25, 0.25, 0.25, 0.25]
    np.testing.assert_allclose(evenness(weights, [3, 1, 4]), [0, 1])  # the segment of one word is left out


def test_mean_entropy_is_that_of_all_segments_however_they_were_batched() -> None:
    total, other = MeanEntropy(), np.array([0.5, 0.5])
    assert total.means() == {}
    total.add(np.concatenate(SEGMENTS[:3]), LENGTHS[:3], np.concatenate([[0.2, 0.3, 0.5]]), [3])
    total.add(np.concatenate([SEGMENTS[3], other]), [LENGTHS[3], 2], [0.4, 0.6], [2])
    means = total.means()
    assert means["word_attention_entropy"] == pytest.approx(np.mean([entropy(s) for s in [*SEGMENTS, other]]))
    assert means["sentence_attention_entropy"] == pytest.approx((entropy([0.2, 0.3, 0.5]) + entropy([0.4, 0.6])) / 2)


def test_mean_entropy_is_named_and_computed_as_in_training() -> None:
    from training.step import entropy as entropy_in_training

    total = MeanEntropy()
    total.add(np.concatenate(SEGMENTS), LENGTHS, [1.0], [1])
    trained = float(entropy_in_training(np.concatenate(SEGMENTS).astype(np.float32), LENGTHS))
    assert total.means()["word_attention_entropy"] == pytest.approx(trained, rel=1e-5)


def test_top_words_by_hand() -> None:
    """ "good" stands twice in the first document and counts there by its larger weight."""
    words = [["good", "film", "good"], ["good", "film"], ["bad", "film"], ["rare", "film"]]
    weights = [[0.9, 0.2, 0.1], [0.5, 0.4], [0.8, 0.1], [1.0, 0.3]]
    found = top_words(words, weights, [0, 0, 1, 1], 3, most=2, fewest_documents=2)
    assert [(top.word, top.documents) for top in found[0]] == [("good", 2), ("film", 2)]
    assert found[0][0].weight == pytest.approx(0.7) and found[0][1].weight == pytest.approx(0.3)
    assert [top.word for top in found[1]] == ["film"] and found[2] == []  # "bad" and "rare" stand in one document each
    assert top_words(words, weights, [0, 0, 1, 1], 2, most=1, fewest_documents=1)[1] == [TopWord("rare", 1.0, 1)]


def test_equals_are_ordered_by_frequency_and_then_by_spelling() -> None:
    found = top_words([["b", "a", "c"], ["c"]], [[0.5] * 3, [0.5]], [0, 0], 1, fewest_documents=1)
    assert [top.word for top in found[0]] == ["c", "a", "b"]


def test_nothing_is_uncertain_where_a_weight_is_zero() -> None:
    assert entropies([1.0, 0.0], [2]).tolist() == [0.0] and not math.isnan(float(entropies([1.0, 0.0], [2])[0]))
