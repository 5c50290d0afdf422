"""Two networks without a hierarchy to hold the Hierarchical Attention Network against, on the same flat batches.

:class:`BiLSTM` reads the whole document as one sequence of words. :class:`CNN` (Kim 2014) looks for phrases of a few
words, wherever they stand. Both take the records, the batches and the training of ``han.py``, and like there nothing is
padded: a document's output depends on nothing but the document. Neither attends to anything, so neither has ``attend``.

Axes: B documents, N words, U distinct words of a batch, V vocabulary, E embedding, H units per direction, W windows,
K words in a window, F filters, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from config import ModelSettings
from network.layers import NO_DROPOUT, Documents, Dropout, add_embeddings, classifier, words_per_document
from network.recurrent import BidirectionalEncoder

Tensor: TypeAlias = Any


class BiLSTM(keras.Model):
    """A bidirectional LSTM over the words of a document; its two last states are classified by a softmax.

    The left-to-right LSTM's last state is that of the last word, the right-to-left LSTM's that of the first word
    (Schuster and Paliwal 1997; Graves and Schmidhuber 2005). The weights are those of ``keras.layers``' ``Embedding``,
    ``Bidirectional(LSTM(H))`` and ``Dense(C)``.

    Args:
        vocabulary_size: V.
        embedding_dim: E.
        classes: C.
        settings: ``word_units`` is H.
        dropout: Share of values dropped on word embeddings and on the document vector in training.
        word_dropout: Share of words replaced by ``<unk>`` in training.
        seed: Of the initial weights.
        embeddings: float32 [V, E] to start from; small random values without it.
        freeze_embeddings: Leave the word vectors as they are.
        padded: Run the recurrent layer padded through ``keras.layers`` (for GPUs) instead of compiled.
        dtype: ``"float32"`` or ``"mixed_bfloat16"``.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        classes: int,
        settings: ModelSettings,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        seed: int = 0,
        embeddings: np.ndarray | None = None,
        freeze_embeddings: bool = False,
        padded: bool = False,
        dtype: str = "float32",
    ) -> None:
        super().__init__(dtype=dtype, name="bilstm")
        self.dropout, self.word_dropout, self.units = dropout, word_dropout, settings.word_units
        self.embeddings = add_embeddings(self, vocabulary_size, embedding_dim, seed, embeddings, freeze_embeddings)
        self.encoder = BidirectionalEncoder(
            "lstm", self.units, embedding_dim, seed + 10, padded, name="encoder", dtype=dtype
        )
        self.classifier = classifier(2 * self.units, classes, seed)
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Every weight by a stable name, for checkpoints and for whoever reads them with NumPy alone."""
        weights = {"embeddings": self.embeddings}
        for direction in (self.encoder.left_to_right, self.encoder.right_to_left):
            for weight in ("kernel", "recurrent_kernel", "bias"):
                weights[f"encoder/{direction.name}/{weight}"] = getattr(direction.cell, weight)
        return weights | {"classifier/kernel": self.classifier.kernel, "classifier/bias": self.classifier.bias}

    def call(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Tensor:
        """Classifies a batch.

        Args:
            documents: The batch; where sentences end has no influence.
            training: Whether to apply dropout.
            seed: int32 [2], required in training: dropout is a pure function of it, so that a resumed run repeats it.

        Returns:
            float32 [B, C], logits.
        """
        drop = Dropout(seed) if training else NO_DROPOUT
        return self.classifier(drop(self.document_vectors(documents, drop), self.dropout))

    def document_vectors(self, documents: Documents, drop: Dropout = NO_DROPOUT) -> Tensor:
        """float32 [B, 2H], what ``classifier`` turns into logits: the last state of each direction."""
        distinct, row = tf.unique(drop.words(documents.token_ids, self.word_dropout))
        table = drop(tf.gather(self.embeddings.value, distinct), self.dropout)  # [U, E]
        lengths = words_per_document(documents)
        states = self.encoder(table, lengths, row, keep=drop is not NO_DROPOUT)  # [N, 2H]
        first, last = tf.cumsum(lengths, exclusive=True), tf.cumsum(lengths) - 1
        ahead, back = tf.split(states, 2, axis=1)
        return tf.cast(tf.concat([tf.gather(ahead, last), tf.gather(back, first)], axis=1), tf.float32)
