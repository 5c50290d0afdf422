"""One optimiser step: clipping, L2, what it reports."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings, TrainingSettings
from han import HAN, Documents
from training import StepTotals, entropy, train_step

DOCUMENTS = Documents(*(tf.constant(v, tf.int32) for v in ([3, 4, 5, 6, 3, 7, 8], [3, 1, 2, 1], [1, 3])))
LABELS = tf.constant([1, 0])


def step(**settings: float) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights before and after one step of plain gradient descent, and what the step reported."""
    model = HAN(9, 5, 2, ModelSettings(word_units=3, sentence_units=4, attention_dim=6), seed=4)
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    before = {name: weight.numpy() for name, weight in model.named_weights().items()}
    seed = tf.constant([1, 2])
    report = train_step(model, optimizer, DOCUMENTS, LABELS, seed, TrainingSettings(**settings))  # type: ignore[arg-type]
    after = {name: weight.numpy() for name, weight in model.named_weights().items()}
    return {name: float(value) for name, value in report.items()}, before, after


def length(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(((before[name] - after[name]) ** 2).sum() for name in before)))


def test_the_reported_norm_is_that_of_the_step_without_clipping() -> None:
    report, before, after = step(max_grad_norm=0)
    assert report["gradient_norm"] == pytest.approx(length(before, after), rel=1e-4)
    assert report["loss"] == pytest.approx(np.log(2), abs=0.2)
    assert report["accuracy"] in {0.0, 0.5, 1.0}


def test_clipping_shortens_the_step_to_its_norm_and_keeps_its_direction() -> None:
    _, before, free = step(max_grad_norm=0)
    report, _, clipped = step(max_grad_norm=0.01)
    assert report["gradient_norm"] > 0.01
    assert length(before, clipped) == pytest.approx(0.01, rel=1e-3)
    share = 0.01 / length(before, free)
    for name, value in before.items():
        np.testing.assert_allclose(clipped[name] - value, share * (free[name] - value), atol=1e-6)


def test_l2_pulls_kernels_towards_zero_and_leaves_the_rest() -> None:
    _, before, without = step(max_grad_norm=0)
    _, _, with_l2 = step(max_grad_norm=0, l2=0.05)
    for name, value in before.items():
        pull = with_l2[name] - without[name]
        np.testing.assert_allclose(pull, -0.1 * value if "kernel" in name else 0 * value, atol=1e-5, err_msg=name)


def test_entropy_is_that_of_numpy_with_zero_for_certainty() -> None:
    weights = np.array([0.25, 0.75, 1.0, 0.5, 0.5, 0.0], np.float32)
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75) + np.log(0.5)) / 3
    assert float(entropy(tf.constant(weights), tf.constant([2, 1, 3]))) == pytest.approx(expected, rel=1e-6)


def test_means_weigh_batches_by_their_documents() -> None:
    totals = StepTotals()
    totals.add(3, 30, {"loss": 1.0})
    totals.add(1, 50, {"loss": 3.0})
    means = totals.means()
    assert means["loss"] == 1.5
    assert means["words_per_second"] == pytest.approx(20 * means["documents_per_second"])
