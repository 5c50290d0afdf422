"""Dropout, and the number of words of a document."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from network.layers import Dropout, words_per_document
from tests.flat_networks import TEXTS, batch


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    values = Dropout(tf.constant([3, 4]))(tf.ones([200, 200]), 0.3, "document").numpy()
    assert set(np.unique(values).round(4)) == {0, np.float32(1 / 0.7).round(4)}
    assert (values == 0).mean() == pytest.approx(0.3, abs=0.02)
    ids = Dropout(tf.constant([3, 4])).words(tf.fill([20000], 5), 0.2).numpy()
    assert set(ids) == {1, 5}
    assert (ids == 1).mean() == pytest.approx(0.2, abs=0.02)


def test_dropout_without_a_seed_changes_nothing_and_gives_no_random_numbers() -> None:
    values = tf.ones([3])
    assert Dropout(None)(values, 0.5, "document") is values and Dropout(None).words(values, 0.5) is values
    with pytest.raises(ValueError, match="needs a seed"):
        Dropout(None).uniform([3])


def test_words_per_document_sums_over_its_sentences() -> None:
    np.testing.assert_array_equal(words_per_document(batch(TEXTS)), [4, 1, 10, 10])
