"""What every network is made of: word vectors, dropout, the last layer, and the number of words of each document.

Axes: B documents, S sentences, N words, V vocabulary, E embedding, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
import tensorflow as tf

from data_processing import UNKNOWN_ID
from network.contract import Attended, Documents, JointBatch, JointSeed, NetworkArguments

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

    Each use within a forward pass takes a random stream of its own. With a :class:`JointSeed` the masks of the joint
    batch are drawn and the rows of this worker's part are taken: several workers drop what one process drops.

    Args:
        seed: int32 [2], a :class:`JointSeed`, or ``None``.
    """

    def __init__(self, seed: Tensor | JointSeed | None) -> None:
        self.seed: Tensor | None = seed
        self.joint: JointBatch | None = None
        if isinstance(seed, JointSeed):
            self.seed, self.joint = seed
        self.uses = 0
        # Of the joint batch, by what a row is: how many there are, and the places of this worker's.
        self.places: dict[str, tuple[Tensor, Tensor]] = {}
        if self.joint is not None:
            _, words_per_sentence, sentences_per_document = self.joint.documents
            self.places["sentence"] = tf.size(words_per_sentence), self.joint.sentences
            self.places["document"] = tf.size(sentences_per_document), self.joint.parts

    def uniform(self, shape: Tensor) -> Tensor:
        """float32 in [0, 1), of the next stream."""
        if self.seed is None:
            raise ValueError("dropout needs a seed")
        self.uses += 1
        return tf.random.stateless_uniform(shape, tf.stack([self.seed[0] + self.uses * 1_000_003, self.seed[1]]))

    def __call__(self, values: Tensor, rate: float, row: str) -> Tensor:
        """Sets a share ``rate`` of ``values`` to zero and scales up the rest.

        Args:
            values: float [rows, columns].
            rate: In [0, 1).
            row: What a row of them is: ``distinct word``, ``sentence`` or ``document``.
        """
        if self.seed is None or not rate:
            return values
        shape = tf.shape(values)
        if self.joint is None:
            drawn = self.uniform(shape)
        else:
            count, places = self.places[row]
            drawn = tf.gather(self.uniform(tf.stack([count, shape[1]])), places)
        kept = tf.cast(drawn >= rate, values.dtype)
        return values * kept / (1 - rate)

    def distinct_words(self, token_ids: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """The distinct words that are left of ``token_ids``, int32 [N], after :meth:`words` with ``rate``.

        Returns:
            int32 [U], and int32 [N], which of them each word is.
        """
        if self.joint is None:
            return tuple(tf.unique(self.words(token_ids, rate)))
        every, row = tf.unique(self.words(self.joint.documents.token_ids, rate))
        places, row = tf.unique(tf.gather(row, self.joint.words))
        self.places["distinct word"] = tf.size(every), places
        return tf.gather(every, places), row

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
