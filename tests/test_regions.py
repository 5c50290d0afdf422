"""The regions of a CNN: their shares against the network's logits, against a search by hand, and the command."""

from __future__ import annotations

import numpy as np
import pytest

from report.regions import (
    BORDER,
    Region,
    Width,
    in_words,
    shares_of_windows,
    strongest_regions,
    widths_of,
    words_of_window,
)

VOCABULARY = ["<pad>", "<unk>", "not", "good", "film", "the"]


def one_filter(phrase: list[int], class_weights: list[float]) -> tuple[np.ndarray, Width]:
    """One-hot word vectors and a filter that answers 1 per word of ``phrase`` at its place."""
    kernel = np.zeros((len(phrase), 6, 1), np.float32)
    for place, word in enumerate(phrase):
        kernel[place, word, 0] = 1
    return np.eye(6, dtype=np.float32), Width(kernel, np.zeros(1, np.float32), np.array([class_weights], np.float32))


def test_the_window_that_a_filter_looks_for_owns_its_share() -> None:
    embeddings, width = one_filter([2, 3], [-0.5, 0.5])  # "not good"
    shares = shares_of_windows(np.array([5, 4, 2, 3, 4]), embeddings, width)
    assert list(shares) == [2]
    np.testing.assert_allclose(shares[2], [-1, 1])  # two words right, times the weights
    assert words_of_window(np.array([5, 4, 2, 3, 4]), 2, 2) == (2, 3)


def test_a_window_may_reach_over_the_ends() -> None:
    embeddings, width = one_filter([3, 4], [0.0, 1.0])  # "good film"
    words = np.array([4, 5])
    assert list(shares_of_windows(words, embeddings, width)) == [-1]  # "film" alone, as the window's second word
    assert words_of_window(words, -1, 2) == (BORDER, 4)
    assert in_words(Region((BORDER, 4), np.zeros(2), 1), VOCABULARY) == "· film"


def test_a_filter_that_stays_silent_owns_nothing() -> None:
    embeddings, width = one_filter([2], [0.0, 1.0])
    silent = Width(width.kernel, np.array([-5.0], np.float32), width.classes)
    assert shares_of_windows(np.array([2, 3]), embeddings, silent) == {}


def test_equal_windows_are_one_region() -> None:
    embeddings, width = one_filter([2, 3], [-0.5, 0.5])
    documents = [np.array([2, 3, 5]), np.array([5, 2, 3]), np.array([4, 5, 5])]
    regions = {in_words(region, VOCABULARY): region for region in strongest_regions(documents, embeddings, width)}
    assert list(regions) == ["not good"]
    assert regions["not good"].documents == 2
    np.testing.assert_allclose(regions["not good"].share, [-2, 2])


@pytest.mark.parametrize("classes", [2, 3])
def test_shares_add_up_to_the_networks_logits(classes: int) -> None:
    import tensorflow as tf

    from config import ModelSettings
    from network.cnn import CNN
    from network.contract import Documents, NetworkArguments
    from runtime.checkpoints import weights_of

    model = CNN(NetworkArguments(30, 4, classes, ModelSettings(filter_widths="3,2", filters=6), seed=2))
    generator = np.random.default_rng(classes)
    for weight in model.named_weights().values():
        weight.assign(generator.normal(size=weight.shape).astype(np.float32))
    documents = [generator.integers(2, 30, length) for length in (1, 2, 9, 17)]
    lengths = tf.constant([len(words) for words in documents], tf.int32)
    batch = Documents(tf.constant(np.concatenate(documents), tf.int32), lengths, tf.ones(4, tf.int32))
    logits, weights = model(batch).numpy(), weights_of(model)
    for words, found in zip(documents, logits, strict=True):
        total = weights["classifier/bias"] - weights["classifier/bias"].mean()
        for width in widths_of(weights, [3, 2]):
            total = total + sum(shares_of_windows(words, weights["embeddings"], width).values())
        np.testing.assert_allclose(total, found - found.mean(), atol=2e-4)
