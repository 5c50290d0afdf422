"""What every network is made of: the batch it reads, the word vectors, dropout, the last layer.

Axes: B documents, S sentences, N words, V vocabulary, E embedding, D size of a document vector, C classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from data_processing import UNKNOWN_ID

Tensor: TypeAlias = Any


class Documents(NamedTuple):
    """A batch: three flat vectors, nothing padded.

    Attributes:
        token_ids: int32 [N], every word of the batch, document by document.
        words_per_sentence: int32 [S], each at least 1; sums to N.
        sentences_per_document: int32 [B], each at least 1; sums to S.
    """

    token_ids: Tensor
    words_per_sentence: Tensor
    sentences_per_document: Tensor


class Attended(NamedTuple):
    """What the network says and what it looked at.

    Attributes:
        logits: float32 [B, C].
        word_weights: float32 [N], adding up to 1 within each sentence. What a weight is depends on the pooling: see
            :class:`AttentionPooling`, :class:`MeanPooling`, :class:`MaxPooling`.
        sentence_weights: float32 [S], adding up to 1 within each document.
        document_vectors: float32 [B, D], what the last layer classifies.
    """

    logits: Tensor
    word_weights: Tensor
    sentence_weights: Tensor
    document_vectors: Tensor


def add_embeddings(
    model: Any, size: int, dim: int, seed: int, start: np.ndarray | None = None, frozen: bool = False
) -> Any:
    """Gives a model its word vectors, a weight float32 [size, dim].

    Args:
        model: A Keras model.
        size: V.
        dim: E.
        seed: Of the random values, uniform in +-0.05, where there is no ``start``.
        start: float32 [size, dim].
        frozen: Training leaves them alone: no gradient, no optimiser state.
    """
    initializer = (
        keras.initializers.RandomUniform(-0.05, 0.05, seed) if start is None else keras.initializers.Constant(start)
    )
    return model.add_weight((size, dim), initializer, trainable=not frozen, name="embeddings", autocast=False)


class Dropout:
    """Inverted dropout whose masks are a pure function of a seed; without a seed it changes nothing.

    Each use within a forward pass takes a stream of its own.
    """

    def __init__(self, seed: Tensor | None) -> None:
        self.seed = seed
        self.uses = 0

    def uniform(self, shape: Tensor) -> Tensor:
        """float32 in [0, 1), of the next stream."""
        if self.seed is None:
            raise ValueError("dropout needs a seed")
        self.uses += 1
        return tf.random.stateless_uniform(shape, tf.stack([self.seed[0] + self.uses * 1_000_003, self.seed[1]]))

    def __call__(self, values: Tensor, rate: float) -> Tensor:
        """Zeroes a share ``rate`` of ``values`` and scales up the rest."""
        if self.seed is None or not rate:
            return values
        kept = tf.cast(self.uniform(tf.shape(values)) >= rate, values.dtype)
        return values * kept / (1 - rate)

    def words(self, token_ids: Tensor, rate: float) -> Tensor:
        """Replaces a share ``rate`` of the words by ``<unk>``. ``token_ids``: int32 [N]."""
        if self.seed is None or not rate:
            return token_ids
        return tf.where(self.uniform(tf.shape(token_ids)) >= rate, token_ids, UNKNOWN_ID)


NO_DROPOUT = Dropout(None)  # changes nothing, and holds nothing that a call could change


def words_per_document(documents: Documents) -> Tensor:
    """int32 [B], how many words each document has."""
    counts = documents.sentences_per_document
    return tf.math.segment_sum(documents.words_per_sentence, tf.repeat(tf.range(tf.size(counts)), counts))


def classifier(inputs: int, classes: int, seed: int) -> Any:
    """The last layer of both networks, built: float32 [B, inputs] -> logits float32 [B, C]."""
    layer = keras.layers.Dense(
        classes, kernel_initializer=keras.initializers.GlorotUniform(seed + 50), dtype="float32", name="classifier"
    )
    layer.build((None, inputs))
    return layer
