"""Runs a network over a whole split in batches of bounded size, for validation, for the tester and for pictures.

N words   S sentences   B documents   C classes   D size of a document vector
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from network.contract import Documents, Network, thresholds_of
from runtime.attention_statistics import MeanEntropy
from runtime.decisions import best_thresholds
from runtime.documents import DocumentBorders
from runtime.input_pipeline import LabelledBatch, Split, evaluation_batches, read_ahead
from runtime.losses import binary_cross_entropy, negative_log_likelihood
from runtime.workers import SINGLE_WORKER, SingleWorker

VECTOR = tf.TensorSpec([None], tf.int32)


class Inferred(NamedTuple):
    """The outputs of a network for a batch of documents.

    Attributes:
        logits: float32 [B, C].
        probabilities: float32 [B, C].
        word_weights: float32 [N], adding up to 1 within each sentence; empty, [0], from a network without attention.
        sentence_weights: float32 [S], adding up to 1 within each document; empty likewise.
        vectors: float32 [B, D], what the last layer classifies.
    """

    logits: Any
    probabilities: Any
    word_weights: Any
    sentence_weights: Any
    vectors: Any


def inference(model: Any) -> Callable[[Documents], Inferred]:
    """The inference of a :class:`network.contract.Network` as one graph for batches of any size; made once per model.

    TensorFlow runs a traced graph from any number of threads at once.
    """
    if not hasattr(model, "_inference"):

        @tf.function(input_signature=[Documents(VECTOR, VECTOR, VECTOR)], autograph=False)
        def infer(documents: Documents) -> Any:
            logits, words, sentences, vectors = model.attend(documents)
            return Inferred(logits, probabilities_of(model, logits), words, sentences, vectors)

        model._inference = infer
    inferred: Callable[[Documents], Inferred] = model._inference
    return inferred


def probabilities_of(model: Any, logits: Any) -> Any:
    """The probabilities that logits mean: by softmax, or by sigmoid where a text may have several labels."""
    return tf.nn.softmax(logits) if thresholds_of(model) is None else tf.sigmoid(logits)


class Scored(NamedTuple):
    """One batch with the outputs of the network.

    Attributes:
        batch: The documents.
        logits: float32 [B, C].
        probabilities: float32 [B, C].
        word_weights: float32 [N]; ``None`` from a network without attention.
        sentence_weights: float32 [S]; ``None`` likewise.
    """

    batch: LabelledBatch
    logits: np.ndarray
    probabilities: np.ndarray
    word_weights: np.ndarray | None = None
    sentence_weights: np.ndarray | None = None

    def weights_by_document(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Word weights, words per sentence and sentence weights of each document."""
        if self.word_weights is None or self.sentence_weights is None:
            raise ValueError("the network has no attention: there are no weights")
        borders = DocumentBorders(self.batch.documents)
        lengths = self.batch.documents.words_per_sentence.numpy()
        cut = borders.cut_words(self.word_weights), borders.cut_sentences(lengths)
        return list(zip(*cut, borders.cut_sentences(self.sentence_weights), strict=True))


def score_batch(model: Network, batch: LabelledBatch) -> Scored:
    """Scores the documents of one batch."""
    inferred = inference(model)(batch.documents)
    weights = (inferred.word_weights.numpy(), inferred.sentence_weights.numpy()) if model.attends else ()
    return Scored(batch, inferred.logits.numpy(), inferred.probabilities.numpy(), *weights)


def score_batches(
    model: Network, split: Split, max_words: int, workers: SingleWorker = SINGLE_WORKER
) -> Iterator[Scored]:
    """Scores this worker's part of a split in batches of at most ``max_words`` words (one document at least).

    A process on its own scores each document once.
    """
    for batch in read_ahead(split.read, workers.part(evaluation_batches(split.index, max_words))):
        yield score_batch(model, batch)


def score_split(
    model: Network,
    split: Split,
    max_words: int,
    workers: SingleWorker = SINGLE_WORKER,
    also: Callable[[Scored], None] = lambda scored: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 [documents, C] and labels as of :attr:`Split.labels`, in the split's order, on every worker.

    Args:
        model: The network.
        split: At least one document.
        max_words: Maximum number of words in a batch.
        workers: The processes that share the work.
        also: Called with each batch of this worker, for what else is measured.
    """
    parts = []
    for scored in score_batches(model, split, max_words, workers):
        parts.append((scored.batch.numbers, scored.logits))
        also(scored)
    numbers, values = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    numbers = workers.gather(numbers.astype(np.int32)[:, np.newaxis])[:, 0]
    logits = np.zeros((len(split), values.shape[1]), np.float32)
    logits[numbers] = workers.gather(values)
    return logits, split.labels


class Validation(NamedTuple):
    """The figures of a network on the validation split.

    Attributes:
        loss: Cross-entropy in nats, mean over the documents.
        accuracy: Share of documents that are classified correctly.
        class_accuracy: The same of each class; ``None`` for one without documents.
        entropy: Entropies of attention by name, as :meth:`MeanEntropy.means` gives them; empty without attention.
    """

    loss: float
    accuracy: float
    class_accuracy: list[float | None]
    entropy: dict[str, float]


def validate(
    model: Network,
    split: Split,
    max_words: int,
    classes: int,
    workers: SingleWorker = SINGLE_WORKER,
    adjust: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda logits, labels: logits,
) -> Validation:
    """Scores a split and measures it, the same on every worker.

    Args:
        model: The network.
        split: At least one document.
        max_words: Maximum number of words in a batch.
        classes: C.
        workers: The processes that share the work.
        adjust: Makes the logits that are measured, float32 [documents, C], of the network's and the labels.
    """
    entropy = MeanEntropy()
    logits, labels = score_split(model, split, max_words, workers, functools.partial(add_entropy, entropy))
    probabilities = probabilities_of(model, adjust(logits, labels)).numpy()
    entropy.sums = workers.gather(entropy.sums[np.newaxis].astype(np.float32)).sum(axis=0)
    if (thresholds := thresholds_of(model)) is not None:
        thresholds.assign(best_thresholds(probabilities, labels))
        return validation_of_several(probabilities, labels, thresholds.numpy(), entropy.means())
    loss = negative_log_likelihood(probabilities, labels)
    right = probabilities.argmax(axis=1) == labels
    by_class = [right[labels == c] for c in range(classes)]
    class_accuracy = [float(of_class.mean()) if len(of_class) else None for of_class in by_class]
    return Validation(loss, float(right.mean()), class_accuracy, entropy.means())


def validation_of_several(
    probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray, entropy: dict[str, float]
) -> Validation:
    """The figures where a text may have several labels; its accuracy is the share of texts with all of them right.

    Args:
        probabilities: float32 [documents, C].
        labels: float32 [documents, C], 0 or 1.
        thresholds: float32 [C].
        entropy: Of the attention.
    """
    right = (probabilities >= thresholds) == (labels == 1)
    accuracy = float(right.all(axis=1).mean())
    return Validation(binary_cross_entropy(probabilities, labels), accuracy, right.mean(axis=0).tolist(), entropy)


def add_entropy(total: MeanEntropy, scored: Scored) -> None:
    """Adds a batch's attention, where the network has any."""
    if scored.word_weights is not None and scored.sentence_weights is not None:
        _, words, sentences = (vector.numpy() for vector in scored.batch.documents)
        total.add(scored.word_weights, words, scored.sentence_weights, sentences)


def document_vectors(
    model: Network, split: Split, numbers: np.ndarray, max_words: int
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of some documents, and their probabilities.

    Args:
        model: The network.
        split: Of the documents.
        numbers: int64 [B], their positions in the split.
        max_words: Maximum number of words in a batch; a longer document makes a batch of its own.

    Returns:
        float32 [B, D] vectors and float32 [B, C] probabilities, in the order of ``numbers``.
    """
    places = evaluation_batches(split.index[numbers], max_words)
    batches = read_ahead(split.read, (numbers[place] for place in places))
    inferred = (inference(model)(batch.documents) for batch in batches)
    parts = [(one.vectors.numpy(), one.probabilities.numpy()) for one in inferred]
    back = np.argsort(np.concatenate(places))
    vectors, probabilities = (np.concatenate(part)[back] for part in zip(*parts, strict=True))
    return vectors, probabilities
