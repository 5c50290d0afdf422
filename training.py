"""One optimiser step on one batch, what it reports, and the sums of what was reported."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from config import TrainingSettings
from distributed import ALONE, Alone


@dataclass
class StepTotals:
    """Sums since the last summary line, all weighted by documents."""

    documents: int = 0
    words: int = 0
    started: float = field(default_factory=time.perf_counter)
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, documents: int, words: int, report: dict[str, float]) -> None:
        self.documents += documents
        self.words += words
        for name, value in report.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * documents

    def means(self) -> dict[str, float]:
        """Mean of each reported value and the rates per second."""
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
    workers: Alone = ALONE,
    share: Any = 1.0,
) -> Any:
    """One optimiser step on one batch: forward, backward, sum over the workers, clipping, update.

    Args:
        model: ``model(documents, training, seed)`` -> logits, with ``trainable_variables``; ``attend`` if it attends.
        optimizer: A Keras optimiser, built.
        documents: The batch.
        labels: int32 [B].
        seed: int32 [2], of dropout.
        settings: Clipping norm and L2.
        workers: The processes that train together, this one with its part of a joint batch.
        share: float32 scalar, the share of the joint batch that ``documents`` are.

    Returns:
        Dictionary of float32 scalars: loss, accuracy, gradient_norm and, of a model that attends, the two attention
        entropies.
    """
    with tf.GradientTape() as tape:
        attended = model.attend(documents, training=True, seed=seed) if hasattr(model, "attend") else None
        logits = attended.logits if attended else model(documents, training=True, seed=seed)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        total = loss
        if settings.l2:
            matrices = [w for name, w in model.named_weights().items() if "kernel" in name]
            total += settings.l2 * tf.add_n([tf.reduce_sum(tf.square(w.value)) for w in matrices])
    variables = [variable.value for variable in model.trainable_variables]
    gradients = tape.gradient(total, variables)
    right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
    report = {"loss": loss, "accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}
    if attended:
        report["word_attention_entropy"] = entropy(attended.word_weights, documents.words_per_sentence)
        report["sentence_attention_entropy"] = entropy(attended.sentence_weights, documents.sentences_per_document)
    # From here on the gradient is the joint batch's: rows of a sparse one are those that any worker touched.
    gradients, report = workers.add_up(gradients, report, share)
    norm = tf.linalg.global_norm(gradients)
    if settings.max_grad_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, settings.max_grad_norm, use_norm=norm)
    optimizer.apply(gradients, model.trainable_variables)
    return report | {"gradient_norm": norm}


def entropy(weights: Any, lengths: Any) -> Any:
    """Mean entropy of attention in nats. ``weights``: float32 [N], adding up to 1 per segment of ``lengths``."""
    return -tf.reduce_sum(tf.math.xlogy(weights, weights)) / tf.cast(tf.size(lengths), tf.float32)
