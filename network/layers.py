"""What every network is made of: word vectors, dropout, the last layer, and the number of words of each document.

Axes: B documents, S sentences, N words, V vocabulary, E embedding, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
import tensorflow as tf

from data_processing import UNKNOWN_ID
from network.contract import Attended, Documents, NetworkArguments

Tensor: TypeAlias = Any


def add_embeddings(model: Any, arguments: NetworkArguments) -> Any:
    """Gives a model its word vectors, a weight float32 [V, E]; frozen ones get no gradient and no optimiser state.

    Without initial word vectors they are random, uniform in +-0.05.
    """
    if arguments.embeddings is None:
        initializer = keras.initializers.RandomUniform(-0.05, 0.05, arguments.seed)
    else:
        initializer = keras.initializers.Constant(arguments.embeddings)
    shape, trainable = (arguments.vocabulary_size, arguments.embedding_dim), not arguments.freeze_embeddings
    return model.add_weight(shape, initializer, trainable=trainable, name="embeddings", autocast=False)


class Dropout:
    """Inverted dropout whose masks are a pure function of a seed; without a seed it changes nothing.

    Each use within a forward pass takes a random stream of its own.
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
        """Sets a share ``rate`` of ``values`` to zero and scales up the rest."""
        if self.seed is None or not rate:
            return values
        kept = tf.cast(self.uniform(tf.shape(values)) >= rate, values.dtype)
        return values * kept / (1 - rate)

    def words(self, token_ids: Tensor, rate: float) -> Tensor:
        """Replaces a share ``rate`` of the words by ``<unk>``. ``token_ids``: int32 [N]."""
        if self.seed is None or not rate:
            return token_ids
        return tf.where(self.uniform(tf.shape(token_ids)) >= rate, token_ids, UNKNOWN_ID)


def words_per_document(documents: Documents) -> Tensor:
    """int32 [B], the number of words of each document."""
    counts = documents.sentences_per_document
    return tf.math.segment_sum(documents.words_per_sentence, tf.repeat(tf.range(tf.size(counts)), counts))


def classifier(inputs: int, classes: int, seed: int) -> Any:
    """The last layer of every network, built: float32 [B, inputs] -> logits float32 [B, C]."""
    layer = keras.layers.Dense(
        classes, kernel_initializer=keras.initializers.GlorotUniform(seed + 50), dtype="float32", name="classifier"
    )
    layer.build((None, inputs))
    return layer


def unattended(logits: Tensor, document_vectors: Tensor) -> Attended:
    """The output of a network without attention."""
    return Attended(logits, tf.zeros([0]), tf.zeros([0]), document_vectors)
