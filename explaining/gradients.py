"""Gradient x input on the word vectors of any network: the part of the explanations that needs TensorFlow.

It needs no more of a model than ``model(documents)`` and its table of word vectors, ``model.embeddings``.

    N words   B documents   E embedding   C classes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from network.contract import Documents
from runtime.documents import DocumentBorders, join
from runtime.predictor import Predictor, batches
from runtime.scoring import VECTOR
from text.text_reader import EncodedDocument

GRADIENT_WORDS = 15_000  # most words in a batch whose gradient is taken: several times the memory of a forward pass


def logits_from_vectors(model: Any, documents: Documents, vectors: Any) -> Any:
    """The logits of a batch whose words have the given vectors, one for each occurrence: float32 [B, C].

    The model needs no code for this: while it is called, the vectors replace the rows of its table behind those of
    ``<pad>`` and ``<unk>``, and the words are numbered one by one.

    Args:
        model: ``logits = model(documents)``; looks words up in ``model.embeddings``.
        documents: The batch; its token ids are not looked at.
        vectors: float32 [N, E].
    """
    special = 2
    table = tf.concat([model.embeddings.value[:special], vectors], axis=0)
    numbered = documents._replace(token_ids=tf.range(special, tf.shape(table)[0]))
    scope = keras.StatelessScope()
    scope.add_update((model.embeddings, table))
    with scope:
        return model(numbered)


def product_function(model: Any) -> Any:
    """The gradient of the log-odds with respect to each word's vector, times that vector, as one graph.

    Made once per model. Arguments: documents; float32 [B], with which the word vectors of each document are multiplied
    before they are read; int32 [B], the classes. Returns float32 [B], the log-odds, and float32 [N], the inner products
    of gradient and (unscaled) vector.
    """
    if not hasattr(model, "_product_function"):
        signature = [Documents(VECTOR, VECTOR, VECTOR), tf.TensorSpec([None], tf.float32), VECTOR]

        @tf.function(input_signature=signature, autograph=False)
        def products(documents: Documents, scales: Any, targets: Any) -> Any:
            vectors = tf.gather(model.embeddings.value, documents.token_ids)  # [N, E]
            of_words = tf.repeat(tf.repeat(scales, documents.sentences_per_document), documents.words_per_sentence)
            scaled = vectors * of_words[:, tf.newaxis]
            with tf.GradientTape() as tape:
                tape.watch(scaled)
                logits = tf.cast(logits_from_vectors(model, documents, scaled), tf.float32)  # [B, C]
                is_target = tf.one_hot(targets, tf.shape(logits)[1], on_value=True, off_value=False)
                others = tf.reduce_logsumexp(tf.where(is_target, logits.dtype.min, logits), axis=1)
                odds = tf.boolean_mask(logits, is_target) - others
            # A document's log-odds depend on its own words alone, so one gradient of all serves every document.
            gradient = dense(tape.gradient(odds, scaled), tf.shape(scaled)[0])
            return odds, tf.reduce_sum(gradient * vectors, axis=1)

        model._product_function = products
    return model._product_function


def dense(gradient: Any, rows: Any) -> Any:
    """A gradient as a plain tensor, whichever form TensorFlow chose for it."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
    return gradient


def gradient_products(
    predictor: Predictor, documents: Sequence[EncodedDocument], scales: Any, targets: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gradient times input, in batches.

    Args:
        predictor: The network.
        documents: [B]; one may occur several times.
        scales: float [B], factors on the word vectors of each document.
        targets: int [B].

    Returns:
        float64 [B], log-odds of the target, and B times float64 [N], a value per word.
    """
    products = product_function(predictor.model)
    scales, classes = np.asarray(scales, np.float32), np.asarray(targets, np.int32)
    odds, values = np.zeros(len(documents)), [np.zeros(0)] * len(documents)
    for numbers in batches(documents, GRADIENT_WORDS):
        chosen = [documents[number] for number in numbers]
        joined = join(chosen)
        some_odds, some = products(joined, tf.constant(scales[numbers]), tf.constant(classes[numbers]))
        odds[numbers] = some_odds.numpy()
        of_words = DocumentBorders(joined).cut_words(some.numpy().astype(np.float64))
        for number, words in zip(numbers, of_words, strict=True):
            values[number] = words
    return odds, values
