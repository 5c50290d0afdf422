"""Runs a model over a whole split in batches of bounded size. Used by the trainer's validation and by the tester."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from network.layers import Documents
from runtime.attention_statistics import MeanEntropy
from runtime.input_pipeline import LabelledBatch, Split, evaluation_batches, read_ahead
from runtime.workers import ALONE, Alone

VECTOR = tf.TensorSpec([None], tf.int32)


class Inferred(NamedTuple):
    """What a network says of a batch of documents; empty, [0], is what it does not tell.

    Attributes:
        logits: float32 [B, C].
        probabilities: float32 [B, C].
        word_weights: float32 [N], adding up to 1 within each sentence; of a network with attention.
        sentence_weights: float32 [S], adding up to 1 within each document; likewise.
        vectors: float32 [B, D], what the last layer classifies.
    """

    logits: Any
    probabilities: Any
    word_weights: Any
    sentence_weights: Any
    vectors: Any


def inference(model: Any) -> Callable[[Documents], Inferred]:
    """The model's inference as one graph for batches of any size; made once per model.

    TensorFlow runs a traced graph from any number of threads at once.
    """
    if not hasattr(model, "_inference"):

        @tf.function(input_signature=[Documents(VECTOR, VECTOR, VECTOR)], autograph=False)
        def infer(documents: Documents) -> Any:
            words = sentences = vectors = tf.zeros([0])
            if hasattr(model, "attend"):
                logits, words, sentences, vectors = model.attend(documents)
            elif hasattr(model, "document_vectors"):
                vectors = model.document_vectors(documents)
                logits = model.classifier(vectors)
            else:
                logits = model(documents)
            return Inferred(logits, tf.nn.softmax(logits), words, sentences, vectors)

        model._inference = infer
    inferred: Callable[[Documents], Inferred] = model._inference
    return inferred


class Scored(NamedTuple):
    """One batch with what the model made of it.

    Attributes:
        batch: The documents.
        probabilities: float32 [B, C].
        word_weights: float32 [N]; ``None`` from a model that does not attend.
        sentence_weights: float32 [S]; ``None`` likewise.
    """

    batch: LabelledBatch
    probabilities: np.ndarray
    word_weights: np.ndarray | None = None
    sentence_weights: np.ndarray | None = None


def score_batch(model: Any, batch: LabelledBatch) -> Scored:
    """Scores the documents of one batch."""
    inferred = inference(model)(batch.documents)
    weights = (inferred.word_weights.numpy(), inferred.sentence_weights.numpy()) if hasattr(model, "attend") else ()
    return Scored(batch, inferred.probabilities.numpy(), *weights)


def score_batches(model: Any, split: Split, max_words: int, workers: Alone = ALONE) -> Iterator[Scored]:
    """Scores this worker's part of a split in batches of at most ``max_words`` words (one document at least).

    A process on its own scores each document once.
    """
    for batch in read_ahead(split.read, workers.part(evaluation_batches(split.index, max_words))):
        yield score_batch(model, batch)


def score_split(
    model: Any,
    split: Split,
    max_words: int,
    workers: Alone = ALONE,
    also: Callable[[Scored], None] = lambda scored: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float32 [documents, C] and labels int32 [documents], in the split's order, on every worker.

    Args:
        model: The network.
        split: At least one document.
        max_words: Most words in a batch.
        workers: Who shares the work.
        also: Gets each batch of this worker, for whatever else is measured on the way.
    """
    parts = []
    for scored in score_batches(model, split, max_words, workers):
        parts.append((scored.batch.numbers, scored.probabilities))
        also(scored)
    numbers, values = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    numbers = workers.concatenate(numbers.astype(np.int32)[:, np.newaxis])[:, 0]
    probabilities = np.zeros((len(split), values.shape[1]), np.float32)
    probabilities[numbers] = workers.concatenate(values)
    return probabilities, split.index["label"].astype(np.int32)


class Validation(NamedTuple):
    """What a network does on the validation split.

    Attributes:
        loss: Cross-entropy in nats, mean over the documents.
        accuracy: Share of documents that are classified right.
        class_accuracy: The same of each class; ``None`` for one without documents.
        entropy: Entropies of attention by name, as :meth:`MeanEntropy.means` gives them; empty without attention.
    """

    loss: float
    accuracy: float
    class_accuracy: list[float | None]
    entropy: dict[str, float]


def validate(model: Any, split: Split, max_words: int, classes: int, workers: Alone = ALONE) -> Validation:
    """Scores a split and measures it, the same on every worker.

    Args:
        model: The network.
        split: At least one document.
        max_words: Most words in a batch.
        classes: C.
        workers: Who shares the work.
    """
    entropy = MeanEntropy()
    probabilities, labels = score_split(model, split, max_words, workers, functools.partial(add_entropy, entropy))
    entropy.sums = workers.concatenate(entropy.sums[np.newaxis].astype(np.float32)).sum(axis=0)
    chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)
    right = probabilities.argmax(axis=1) == labels
    by_class = [right[labels == c] for c in range(classes)]
    class_accuracy = [float(of_class.mean()) if len(of_class) else None for of_class in by_class]
    return Validation(float(-np.log(chosen).mean()), float(right.mean()), class_accuracy, entropy.means())


def add_entropy(total: MeanEntropy, scored: Scored) -> None:
    """Counts a batch's attention, where the model has any."""
    if scored.word_weights is not None and scored.sentence_weights is not None:
        _, words, sentences = (vector.numpy() for vector in scored.batch.documents)
        total.add(scored.word_weights, words, scored.sentence_weights, sentences)


def document_vectors(model: Any, split: Split, numbers: np.ndarray, max_words: int) -> tuple[np.ndarray, np.ndarray]:
    """What a model makes of some documents before it decides.

    Args:
        model: With ``document_vectors(documents)``, float32 [B, D], and ``classifier``, which makes logits of them.
        split: Where the documents stand.
        numbers: int64 [N], their positions.
        max_words: Most words in a batch, where a document is not longer.

    Returns:
        float32 [N, D] vectors and float32 [N, C] probabilities, in the order of ``numbers``.
    """

    places = evaluation_batches(split.index[numbers], max_words)
    batches = read_ahead(split.read, (numbers[place] for place in places))
    inferred = (inference(model)(batch.documents) for batch in batches)
    parts = [(one.vectors.numpy(), one.probabilities.numpy()) for one in inferred]
    back = np.argsort(np.concatenate(places))
    vectors, probabilities = (np.concatenate(part)[back] for part in zip(*parts, strict=True))
    return vectors, probabilities
