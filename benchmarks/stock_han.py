"""A HAN made from ``keras.layers``, as most people would write it: the peer that this project is measured against.

Documents are padded to the batch's longest document and longest sentence; masks keep padding out of the results, not
out of the work.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from config import ModelSettings
from network.contract import Documents


class MaskedAttention(keras.layers.Layer):
    """Attention over the second axis of [rows, steps, D] with a mask [rows, steps]."""

    def __init__(self, attention_dim: int) -> None:
        super().__init__()
        self.supports_masking = True
        self.hidden = keras.layers.Dense(attention_dim, activation="tanh")
        self.score = keras.layers.Dense(1, use_bias=False)

    def call(self, states: Any, mask: Any) -> Any:
        scores = self.score(self.hidden(states))[..., 0]
        weights = tf.nn.softmax(tf.where(mask, scores, -1e9))
        return tf.einsum("rt,rtd->rd", weights, states)


class StockHAN(keras.Model):
    """Embedding, masked bidirectional recurrent layers, attention; input int32 [B, S, T], 0 is padding."""

    def __init__(self, vocabulary_size: int, embedding_dim: int, classes: int, settings: ModelSettings) -> None:
        super().__init__()
        layer = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[settings.cell]
        self.embedding = keras.layers.Embedding(vocabulary_size, embedding_dim)
        self.words = keras.layers.Bidirectional(layer(settings.word_units, return_sequences=True))
        self.word_attention = MaskedAttention(settings.attention_dim)
        self.sentences = keras.layers.Bidirectional(layer(settings.sentence_units, return_sequences=True))
        self.sentence_attention = MaskedAttention(settings.attention_dim)
        self.classifier = keras.layers.Dense(classes)
        self.width = 2 * settings.word_units

    def call(self, ids: Any) -> Any:
        shape = tf.shape(ids)
        flat = tf.reshape(ids, [shape[0] * shape[1], shape[2]])
        mask = flat > 0
        states = self.words(self.embedding(flat), mask=mask)
        vectors = tf.reshape(self.word_attention(states, mask), [shape[0], shape[1], self.width])
        sentence_mask = tf.reduce_any(ids > 0, axis=2)
        return self.classifier(self.sentence_attention(self.sentences(vectors, mask=sentence_mask), sentence_mask))


def padded(documents: Documents) -> np.ndarray:
    """The batch as int32 [B, S, T], padded with 0 to its longest document and sentence."""
    ids, lengths, sentences = (np.asarray(vector) for vector in documents)
    result = np.zeros((len(sentences), sentences.max(), lengths.max()), np.int32)
    document = np.repeat(np.arange(len(sentences)), sentences)
    place = np.arange(len(lengths)) - np.repeat(np.cumsum(sentences) - sentences, sentences)
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    word = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    result[document[sentence], place[sentence], word] = ids
    return result
