"""A bidirectional LSTM over the words of a document, to compare the HAN with: no hierarchy, no attention.

Axes: B documents, N words, U distinct words of a batch, V vocabulary, E embedding, H units per direction, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
import tensorflow as tf

from network.contract import Attended, Documents, NetworkArguments
from network.layers import Dropout, add_embeddings, classifier, unattended, words_per_document
from network.recurrent import BidirectionalEncoder

Tensor: TypeAlias = Any


class BiLSTM(keras.Model):
    """A bidirectional LSTM over all words of a document; the last state of each direction is classified by a softmax.

    The left-to-right LSTM's last state is that of the last word, the right-to-left LSTM's that of the first word
    (Schuster and Paliwal 1997; Graves and Schmidhuber 2005). The weights are those of ``keras.layers``' ``Embedding``,
    ``Bidirectional(LSTM(H))`` and ``Dense(C)``. Where sentences end has no influence.

    Args:
        arguments: ``settings.word_units`` is H; ``dropout`` acts on word embeddings and on the document vector.
    """

    attends = False

    def __init__(self, arguments: NetworkArguments) -> None:
        super().__init__(dtype=arguments.dtype, name="bilstm")
        self.dropout, self.word_dropout = arguments.dropout, arguments.word_dropout
        units, seed = arguments.settings.word_units, arguments.seed
        self.embeddings = add_embeddings(self, arguments)
        self.encoder = BidirectionalEncoder(
            "lstm",
            units,
            arguments.embedding_dim,
            seed + 10,
            arguments.padded,
            name="encoder",
            dtype=arguments.dtype,
        )
        self.classifier = classifier(2 * units, arguments.classes, seed)
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Every weight by a stable name."""
        weights = {"embeddings": self.embeddings}
        for direction in (self.encoder.left_to_right, self.encoder.right_to_left):
            for weight in ("kernel", "recurrent_kernel", "bias"):
                weights[f"encoder/{direction.name}/{weight}"] = getattr(direction.cell, weight)
        return weights | {"classifier/kernel": self.classifier.kernel, "classifier/bias": self.classifier.bias}

    def call(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Tensor:
        """Logits, float32 [B, C]; see :class:`network.contract.Network`."""
        return self.attend(documents, training, seed).logits

    def attend(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Attended:
        """Logits and document vectors, without attention."""
        drop = Dropout(seed if training else None)
        vectors = self.last_states(documents, drop, keep=training)
        return unattended(self.classifier(drop(vectors, self.dropout, "document")), vectors)

    def document_vectors(self, documents: Documents) -> Tensor:
        """float32 [B, 2H], the last state of each direction."""
        return self.last_states(documents, Dropout(None))

    def last_states(self, documents: Documents, drop: Dropout, keep: bool = False) -> Tensor:
        """float32 [B, 2H]; ``keep`` as for :meth:`network.recurrent.BidirectionalEncoder.call`."""
        distinct, row = drop.distinct_words(documents.token_ids, self.word_dropout)
        table = drop(tf.gather(self.embeddings.value, distinct), self.dropout, "distinct word")  # [U, E]
        lengths = words_per_document(documents)
        states = self.encoder(table, lengths, row, keep=keep)  # [N, 2H]
        first, last = tf.cumsum(lengths, exclusive=True), tf.cumsum(lengths) - 1
        ahead, back = tf.split(states, 2, axis=1)
        return tf.cast(tf.concat([tf.gather(ahead, last), tf.gather(back, first)], axis=1), tf.float32)
