"""One optimiser step on one batch: loss, gradient, clipping, update; and the means of what the steps report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from config import TrainingSettings, entry
from network.contract import Documents, JointBatch, JointSeed, thresholds_of
from runtime.workers import SINGLE_WORKER, SingleWorker
from training.evidence import evidence_loss

# Reports that wait on the device at most: of a trainer whose summaries are far apart.
MOST_UNREAD = 500


@dataclass
class StepTotals:
    """Sums since the last log line, all weighted by documents.

    What a step reports stays on the device until :meth:`read` fetches the reports of all steps since the last time at
    once: a GPU does not wait for Python after each step. The sums are those of the reports one by one, to the bit.
    """

    documents: int = 0
    words: int = 0
    started: float = field(default_factory=time.perf_counter)
    sums: dict[str, float] = field(default_factory=dict)
    unread: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def add(self, documents: int, words: int, report: dict[str, Any]) -> None:
        """Notes a step: its documents, their words, and its report, scalars on the device."""
        self.documents += documents
        self.words += words
        self.unread.append((documents, report))

    def read(self) -> list[dict[str, float]]:
        """Fetches the reports of the steps since the last call, in order, and adds them up."""
        if not self.unread:
            return []
        documents, reports = zip(*self.unread, strict=True)
        values = iter(tf.stack([value for report in reports for value in report.values()]).numpy().tolist())
        self.unread = []
        fetched = [{name: next(values) for name in report} for report in reports]
        for weight, report in zip(documents, fetched, strict=True):
            for name, value in report.items():
                self.sums[name] = self.sums.get(name, 0.0) + value * weight
        return fetched

    def means(self) -> dict[str, float]:
        """Mean of each reported value and the rates per second; all reports have been read."""
        if self.unread:
            raise ValueError("there are reports that have not been read")
        seconds = max(time.perf_counter() - self.started, 1e-9)
        return {
            **{name: value / self.documents for name, value in self.sums.items()},
            "words_per_second": self.words / seconds,
            "documents_per_second": self.documents / seconds,
        }


def train_step(
    model: Any,
    optimizer: Any,
    documents: Any,
    labels: Any,
    seed: Any,
    settings: TrainingSettings,
    workers: SingleWorker = SINGLE_WORKER,
    share: Any = 1.0,
    class_weights: np.ndarray | None = None,
    marked: Any = None,
) -> Any:
    """One optimiser step on one batch: forward, backward, sum over the workers, L2, clipping, update.

    Args:
        model: The network.
        optimizer: A Keras optimiser, built.
        documents: The batch.
        labels: int32 [B]; or float32 [B, C], a probability of each class.
        seed: int32 [2], of dropout; or a :class:`network.contract.JointSeed`.
        settings: Clipping norm, L2, label smoothing and the weight of evidence.
        workers: The processes that train together, this one with its part of a joint batch.
        share: float32 scalar, the share of the joint batch that ``documents`` are.
        class_weights: float32 [C], the weight of a document of each class in the loss; where a text may have several
            labels [2, C], of documents without and with each; ``None`` for 1 each.
        marked: int32 [N], 1 for a word that is marked as evidence; looked at where evidence has a weight.

    Returns:
        Dictionary of float32 scalars: loss (as it is minimised, but without L2), accuracy, gradient_norm and, for a
        network with attention, the two attention entropies; with evidence, how far attention is from it.
    """
    report = {}
    with tf.GradientTape() as tape:
        attended = model.attend(documents, training=True, seed=seed)
        logits = attended.logits
        if thresholds_of(model) is not None:
            losses = losses_of_several(logits, labels, settings.label_smoothing, class_weights)
        else:
            losses = document_losses(logits, labels, settings.label_smoothing, class_weights)
        loss = tf.reduce_mean(losses)
        if settings.evidence_weight:
            report["evidence_loss"] = evidence_loss(attended, documents, marked)
            loss += settings.evidence_weight * report["evidence_loss"]
    variables = [variable.value for variable in model.trainable_variables]
    gradients = tape.gradient(loss, variables)
    right = rightly_classified(logits, labels, thresholds_of(model) is not None)
    report |= {"loss": loss, "accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}
    if model.attends:
        report["word_attention_entropy"] = entropy(attended.word_weights, documents.words_per_sentence)
        report["sentence_attention_entropy"] = entropy(attended.sentence_weights, documents.sentences_per_document)
    # From here on the gradient is the joint batch's: rows of a sparse one are those that any worker touched.
    gradients, report = workers.sum_gradients(gradients, report, share)
    return report | {"gradient_norm": update(model, optimizer, gradients, settings)}


def update(model: Any, optimizer: Any, gradients: Any, settings: TrainingSettings) -> Any:
    """Adds the gradient of L2, clips and updates the weights; returns the norm before clipping, float32 scalar."""
    if settings.l2:
        gradients = [
            gradient if weight.name == "bias" else with_l2(gradient, weight.value, settings.l2)
            for gradient, weight in zip(gradients, model.trainable_variables, strict=True)
        ]
    norm = tf.linalg.global_norm(gradients)
    if settings.max_grad_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, settings.max_grad_norm, use_norm=norm)
    optimizer.apply(gradients, model.trainable_variables)
    return norm


def rightly_classified(logits: Any, labels: Any, several: bool) -> Any:
    """bool [B]; where a text may have several labels, whether all classes are right at a probability of a half."""
    if several:
        return tf.reduce_all(tf.equal(logits >= 0, labels > 0.5), axis=1)
    wanted = labels if len(labels.shape) == 1 else tf.argmax(labels, axis=1, output_type=tf.int32)
    return tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), wanted)


def losses_of_several(logits: Any, labels: Any, smoothing: float = 0.0, class_weights: np.ndarray | None = None) -> Any:
    """Binary cross-entropy of each document in nats, mean over the classes, where a text may have several labels.

    Args:
        logits: float32 [B, C].
        labels: float32 [B, C], 0 or 1.
        smoothing: Share of a label that is spread evenly over yes and no.
        class_weights: float32 [2, C], of documents without and with each label.
    """
    wanted = (1 - smoothing) * labels + smoothing / 2
    losses = tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits)
    if class_weights is not None:
        losses *= class_weights[0] + (class_weights[1] - class_weights[0]) * labels
    return tf.reduce_mean(losses, axis=1)


def document_losses(logits: Any, labels: Any, smoothing: float = 0.0, class_weights: np.ndarray | None = None) -> Any:
    """Cross-entropy of each document in nats, with label smoothing and class weights if there are any: float32 [B].

        weight[label] * ((1 - smoothing) * -log p[label] + smoothing * mean over the classes of -log p)

    Szegedy et al. 2016, section 7, for the smoothing. Balanced weights have a mean of 1 over the training split, so the
    loss stays of the size it is without them.

    Args:
        logits: float32 [B, C].
        labels: int32 [B]; or float32 [B, C], a probability of each class, by which ``-log p`` is averaged.
        smoothing: Share of a label that is spread evenly over all classes.
        class_weights: float32 [C].
    """
    if len(labels.shape) == 1:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    else:
        losses = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    if smoothing:
        even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=1)
        losses = (1 - smoothing) * losses + smoothing * even
    if class_weights is None:
        return losses
    if len(labels.shape) == 1:
        return losses * tf.gather(class_weights, labels)
    return losses * tf.linalg.matvec(labels, class_weights)


def balanced_class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """The weight of a document of each class so that all classes count alike: documents / (classes * of this class).

    Where a text may have several labels, the two classes of each are the documents without it and with it.

    Args:
        labels: int [documents], or 0 and 1 [documents, C].
        classes: C.

    Returns:
        float32 [C], of several labels [2, C]; 0 for a class without documents.
    """
    if labels.ndim == 2:
        return np.stack([balanced_class_weights(column, 2) for column in labels.astype(np.int64).T], axis=1)
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts, len(labels) / (classes * np.maximum(counts, 1)), 0).astype(np.float32)


# What --class_weights can name.
CLASS_WEIGHTS: dict[str, Callable[[np.ndarray, int], np.ndarray | None]] = {
    "none": lambda labels, classes: None,
    "balanced": balanced_class_weights,
}


def chosen_class_weights(settings: TrainingSettings, labels: np.ndarray, classes: int) -> np.ndarray | None:
    """The class weights that ``--class_weights`` asks for: float32 [C], of several labels [2, C], or ``None`` for none.

    Args:
        settings: Of the training.
        labels: int [documents], or 0 and 1 [documents, C], of the training split.
        classes: C.
    """
    return entry(CLASS_WEIGHTS, settings.class_weights, "class weighting")(labels, classes)


def with_l2(gradient: Any, weight: Any, l2: float) -> Any:
    """The gradient of the loss plus ``l2`` times the weight's sum of squares; a sparse one keeps to its rows."""
    if isinstance(gradient, tf.IndexedSlices):
        pull = 2 * l2 * tf.gather(weight, gradient.indices)
        return tf.IndexedSlices(gradient.values + pull, gradient.indices, gradient.dense_shape)
    return gradient + 2 * l2 * weight


def entropy(weights: Any, lengths: Any) -> Any:
    """Mean entropy of attention in nats. ``weights``: float32 [N], adding up to 1 per segment of ``lengths``."""
    return -tf.reduce_sum(tf.math.xlogy(weights, weights)) / tf.cast(tf.size(lengths), tf.float32)


def compile_step(
    model: Any,
    optimizer: Any,
    settings: TrainingSettings,
    class_weights: np.ndarray | None = None,
    workers: SingleWorker = SINGLE_WORKER,
    soft: int = 0,
    joint: bool = False,
) -> Any:
    """:func:`train_step` as one graph ``(documents, labels, seed, share, marked)`` for batches of any size.

    Arguments as there, and ``soft``: 0 for labels int32 [B], else C for labels float32 [B, C]; ``joint``: whether the
    seed is a :class:`network.contract.JointSeed`.
    """
    vector = tf.TensorSpec([None], tf.int32)
    labels = tf.TensorSpec([None, soft], tf.float32) if soft else vector
    documents, share = Documents(vector, vector, vector), tf.TensorSpec([], tf.float32)
    seed: Any = tf.TensorSpec([2], tf.int32)
    if joint:
        seed = JointSeed(seed, JointBatch(documents, vector, vector, vector))
    signature = (documents, labels, seed, share, vector)

    @tf.function(input_signature=signature, autograph=False)
    def step(documents: Documents, labels: Any, seed: Any, share: Any, marked: Any) -> Any:
        return train_step(model, optimizer, documents, labels, seed, settings, workers, share, class_weights, marked)

    return step
