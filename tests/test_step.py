"""One optimiser step: clipping, L2, what it reports."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from config import ModelSettings, TrainingSettings
from han import HAN
from network.contract import Documents, NetworkArguments
from training.step import StepTotals, balanced_class_weights, document_losses, entropy, train_step

DOCUMENTS = Documents(*(tf.constant(v, tf.int32) for v in ([3, 4, 5, 6, 3, 7, 8], [3, 1, 2, 1], [1, 3])))
LABELS = tf.constant([1, 0])


def step(**settings: float) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights before and after one step of plain gradient descent, and what the step reported."""
    model = HAN(NetworkArguments(9, 5, 2, ModelSettings(word_units=3, sentence_units=4, attention_dim=6), seed=4))
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


def test_l2_pulls_every_weight_but_biases_towards_zero_and_of_the_words_those_of_the_batch() -> None:
    _, before, without = step(max_grad_norm=0)
    _, _, with_l2 = step(max_grad_norm=0, l2=0.05)
    for name, value in before.items():
        pull = with_l2[name] - without[name]
        expected = 0 * value if name.endswith("bias") else -0.1 * value
        if name == "embeddings":
            expected[[0, 1, 2]] = 0  # not in the batch
        np.testing.assert_allclose(pull, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 2, 1], np.float32)])
def test_losses_with_smoothing_and_class_weights_are_kerass(smoothing: float, weights: np.ndarray | None) -> None:
    logits = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    labels = np.array([2, 0, 1, 1], np.int32)
    peer = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    expected = peer(np.eye(3, dtype=np.float32)[labels], logits).numpy()
    if weights is not None:
        expected = expected * weights[labels]
    np.testing.assert_allclose(document_losses(logits, labels, smoothing, weights), expected, rtol=1e-5)


def test_balanced_weights_are_scikit_learns_and_leave_out_a_class_without_documents() -> None:
    labels = np.array([0, 0, 0, 1, 3, 3])
    weights = balanced_class_weights(labels[labels != 3], 2)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(2), y=[0, 0, 0, 1]))
    assert weights[labels[labels != 3]].mean() == pytest.approx(1)
    assert balanced_class_weights(labels, 4).tolist() == [0.5, 1.5, 0, 0.75]


def test_entropy_is_that_of_numpy_with_zero_for_certainty() -> None:
    weights = np.array([0.25, 0.75, 1.0, 0.5, 0.5, 0.0], np.float32)
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75) + np.log(0.5)) / 3
    assert float(entropy(tf.constant(weights), tf.constant([2, 1, 3]))) == pytest.approx(expected, rel=1e-6)


def test_means_weigh_batches_by_their_documents() -> None:
    totals = StepTotals()
    totals.add(3, 30, {"loss": tf.constant(1.0)})
    totals.add(1, 50, {"loss": tf.constant(3.0)})
    totals.read()
    means = totals.means()
    assert means["loss"] == 1.5
    assert means["words_per_second"] == pytest.approx(20 * means["documents_per_second"])


def test_reports_that_are_read_together_are_those_read_one_by_one_to_the_bit() -> None:
    """TensorBoard's values do not depend on how often the device was asked."""
    generator = np.random.default_rng(8)
    reports = [{name: np.float32(generator.normal()) for name in ("loss", "accuracy")} for _ in range(7)]
    sizes = [64, 64, 64, 3, 64, 64, 17]
    expected = dict.fromkeys(reports[0], 0.0)
    for size, report in zip(sizes, reports, strict=True):
        for name, value in report.items():
            expected[name] += float(value) * size
    totals, read = StepTotals(), []
    for number, (size, report) in enumerate(zip(sizes, reports, strict=True)):
        totals.add(size, 10 * size, {name: tf.constant(value) for name, value in report.items()})
        if number in {3, 6}:
            read += totals.read()
    assert read == [{name: float(value) for name, value in report.items()} for report in reports]
    means = totals.means()
    assert {name: means[name] for name in expected} == {name: value / sum(sizes) for name, value in expected.items()}
    totals.add(1, 1, {"loss": tf.constant(1.0), "accuracy": tf.constant(1.0)})
    with pytest.raises(ValueError, match="not been read"):
        totals.means()
