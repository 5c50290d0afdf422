"""The Hierarchical Attention Network (Yang et al., NAACL 2016) on flat, unpadded batches.

Words are encoded in their sentence by a bidirectional recurrent layer and pooled by attention into a sentence vector;
sentences are encoded in their document and pooled the same way; a softmax classifies the document vector.

Axes: B documents, S sentences, N words, V vocabulary, E embedding, H units per direction, D = 2H, A attention,
C classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from config import ModelSettings
from network import kernels
from network.layers import Attended, Documents, Dropout, add_embeddings
from network.recurrent import BidirectionalEncoder, compiled_operation, shaped

Tensor: TypeAlias = Any


class AttentionPooling(keras.layers.Layer):
    """Attention with a learnt context vector (Yang et al. 2016, eq. 5-7 for words, 8-10 for sentences).

        u = tanh(W h + b)      weight = softmax(u . context) within a segment      pooled = sum of weight * h

    The softmax takes each segment's own maximum and runs in float32 under any dtype policy. There is no mask: segments
    are exactly as long as their lengths say.

    Args:
        inputs: D, size of an element.
        attention_dim: A.
        seed: Of the initial weights (Glorot uniform kernel, zero bias, context uniform in +-sqrt(3/A)).
        compiled: Run through :mod:`network.kernels` (CPU) instead of TensorFlow's operations.
    """

    def __init__(self, inputs: int, attention_dim: int, seed: int, compiled: bool = True, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.compiled = compiled
        self.kernel = self.add_weight((inputs, attention_dim), keras.initializers.GlorotUniform(seed), name="kernel")
        self.bias = self.add_weight((attention_dim,), "zeros", name="bias")
        limit = (3 / attention_dim) ** 0.5
        self.context = self.add_weight(
            (attention_dim,), keras.initializers.RandomUniform(-limit, limit, seed + 1), name="context"
        )
        self.built = True

    def call(self, elements: Tensor, lengths: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
        """Pools segments that lie one after another.

        Args:
            elements: float [N, D].
            lengths: int32 [R], elements of each segment, every one at least 1.
            keep: Keep what the gradient needs; without it a gradient costs a second forward pass.

        Returns:
            float [R, D], a vector per segment; float32 [N], the weight of each element.
        """
        if self.compiled:
            own = [tf.cast(weight.value, self.variable_dtype) for weight in (self.kernel, self.bias, self.context)]
            pooled, weights = compiled_attention(tf.cast(elements, self.variable_dtype), lengths, own, keep)
            return tf.cast(pooled, elements.dtype), tf.cast(weights, tf.float32)
        kernel, bias, context = (tf.cast(w, elements.dtype) for w in (self.kernel, self.bias, self.context))
        hidden = tf.tanh(tf.matmul(elements, kernel) + bias)  # [N, A]
        scores = tf.cast(tf.linalg.matvec(hidden, context), tf.float32)
        segment = tf.repeat(tf.range(tf.size(lengths)), lengths)
        weights = segment_softmax(scores, segment)
        # Summed in float32: hundreds of bfloat16 terms would lose a third of the sum.
        pooled = tf.math.segment_sum(tf.cast(elements, tf.float32) * weights[:, tf.newaxis], segment)
        return tf.cast(pooled, elements.dtype), weights


def compiled_attention(elements: Tensor, lengths: Tensor, own: list[Tensor], keep: bool) -> tuple[Tensor, Tensor]:
    """:func:`network.kernels.attention_forward` with its gradient.

    Shapes as there; ``own`` holds kernel, bias and context.
    """

    @tf.custom_gradient
    def differentiable(elements: Tensor, kernel: Tensor, bias: Tensor, context: Tensor) -> Any:
        inputs = [elements, lengths, kernel, bias, context]
        forward = partial(kernels.attention_forward, keep=keep)
        pooled, weights, hidden = compiled_operation(forward, inputs, 3)

        def gradient(to_pooled: Tensor, to_weights: Tensor) -> list[Tensor]:
            upstream = [to_pooled, to_weights, *inputs, weights, hidden]
            return shaped(
                compiled_operation(kernels.attention_gradient, upstream, 4), [elements, kernel, bias, context]
            )

        return (tf.ensure_shape(pooled, [None, kernel.shape[0]]), tf.ensure_shape(weights, [None])), gradient

    return differentiable(elements, *own)


class MeanPooling(keras.layers.Layer):
    """The mean of each segment: every element has the same weight (HN-AVE in Yang et al. 2016)."""

    def call(self, elements: Tensor, lengths: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
        """Pools segments; arguments and results as for :meth:`AttentionPooling.call`."""
        segment = tf.repeat(tf.range(tf.size(lengths)), lengths)
        weights = tf.gather(1 / tf.cast(lengths, tf.float32), segment)
        pooled = tf.math.segment_sum(tf.cast(elements, tf.float32) * weights[:, tf.newaxis], segment)
        return tf.cast(pooled, elements.dtype), weights


class MaxPooling(keras.layers.Layer):
    """The maximum of each unit over each segment (HN-MAX in Yang et al. 2016).

    An element's weight is the share of the units whose maximum it holds; a maximum that several hold is divided.
    """

    def call(self, elements: Tensor, lengths: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
        """Pools segments; arguments and results as for :meth:`AttentionPooling.call`."""
        segment = tf.repeat(tf.range(tf.size(lengths)), lengths)
        pooled = tf.math.segment_max(elements, segment)
        holds = tf.cast(tf.equal(elements, tf.gather(pooled, segment)), tf.float32)
        shares = holds / tf.gather(tf.math.segment_sum(holds, segment), segment)
        return pooled, tf.stop_gradient(tf.reduce_mean(shares, axis=1))


def pooling_layer(settings: ModelSettings, inputs: int, seed: int, compiled: bool, **arguments: Any) -> Any:
    """The layer that ``--pooling`` names; arguments as for :class:`AttentionPooling`."""
    if settings.pooling == "attention":
        return AttentionPooling(inputs, settings.attention_dim, seed, compiled, **arguments)
    return {"mean": MeanPooling, "max": MaxPooling}[settings.pooling](**arguments)


def segment_softmax(scores: Tensor, segment: Tensor) -> Tensor:
    """Softmax within each segment. ``scores``: float32 [N]; ``segment``: int32 [N], ascending. Returns float32 [N]."""
    highest = tf.stop_gradient(tf.math.segment_max(scores, segment))
    exponentials = tf.exp(scores - tf.gather(highest, segment))
    return exponentials / tf.gather(tf.math.segment_sum(exponentials, segment), segment)


class HAN(keras.Model):
    """Hierarchical Attention Network: ``logits = model(documents)``; ``model.attend(documents)`` also gives weights.

    A document's output depends on nothing but the document: not on its batch-mates, their lengths or their order.

    Args:
        vocabulary_size: V.
        embedding_dim: E.
        classes: C.
        settings: Cell, pooling, units and attention size.
        dropout: Share of values dropped on word embeddings, sentence vectors and the document vector in training.
        word_dropout: Share of words replaced by ``<unk>`` in training.
        seed: Of the initial weights.
        embeddings: float32 [V, E] to start from; small random values without it.
        freeze_embeddings: Leave the word vectors as they are.
        padded: Run the recurrent layers padded through ``keras.layers`` (for GPUs) instead of compiled.
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
        super().__init__(dtype=dtype, name="han")
        self.dropout, self.word_dropout = dropout, word_dropout
        self.embeddings = add_embeddings(self, vocabulary_size, embedding_dim, seed, embeddings, freeze_embeddings)
        words, sentences = 2 * settings.word_units, 2 * settings.sentence_units
        self.word_encoder = BidirectionalEncoder(
            settings.cell, settings.word_units, embedding_dim, seed + 10, padded, name="word_encoder", dtype=dtype
        )
        self.word_attention = pooling_layer(settings, words, seed + 20, not padded, name="word_attention", dtype=dtype)
        self.sentence_encoder = BidirectionalEncoder(
            settings.cell, settings.sentence_units, words, seed + 30, padded, name="sentence_encoder", dtype=dtype
        )
        self.sentence_attention = pooling_layer(
            settings, sentences, seed + 40, not padded, name="sentence_attention", dtype=dtype
        )
        self.classifier = keras.layers.Dense(
            classes, kernel_initializer=keras.initializers.GlorotUniform(seed + 50), dtype="float32", name="classifier"
        )
        self.classifier.build((None, sentences))
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Every weight by a stable name, for checkpoints and for whoever reads them with NumPy alone."""
        weights = {"embeddings": self.embeddings}
        for level, encoder, attention in (
            ("word", self.word_encoder, self.word_attention),
            ("sentence", self.sentence_encoder, self.sentence_attention),
        ):
            for direction in (encoder.left_to_right, encoder.right_to_left):
                for weight in ("kernel", "recurrent_kernel", "bias"):
                    weights[f"{level}_encoder/{direction.name}/{weight}"] = getattr(direction.cell, weight)
            for weight in attention.weights:  # mean and maximum have none
                weights[f"{level}_attention/{weight.name}"] = weight
        return weights | {"classifier/kernel": self.classifier.kernel, "classifier/bias": self.classifier.bias}

    def call(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Tensor:
        """Classifies a batch.

        Args:
            documents: The batch.
            training: Whether to apply dropout.
            seed: int32 [2], required in training: dropout is a pure function of it, so that a resumed run repeats it.

        Returns:
            float32 [B, C], logits.
        """
        return self.attend(documents, training, seed).logits

    def attend(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Attended:
        """Classifies a batch and tells what was attended to; arguments as for :meth:`call`."""
        drop = Dropout(seed if training else None)
        distinct, row = tf.unique(drop.words(documents.token_ids, self.word_dropout))
        # One mask per distinct word of the batch (Gal and Ghahramani 2016): each is projected once, however often used.
        table = drop(tf.gather(self.embeddings.value, distinct), self.dropout)  # [U, E]
        words = self.word_encoder(table, documents.words_per_sentence, row, keep=training)  # [N, D]
        sentences, word_weights = self.word_attention(words, documents.words_per_sentence, keep=training)  # [S, D]
        sentences = drop(sentences, self.dropout)
        encoded = self.sentence_encoder(sentences, documents.sentences_per_document, keep=training)
        pooled, sentence_weights = self.sentence_attention(
            encoded, documents.sentences_per_document, keep=training
        )  # [B, D]
        pooled = tf.cast(pooled, tf.float32)
        logits = self.classifier(drop(pooled, self.dropout))
        return Attended(logits, word_weights, sentence_weights, pooled)

    def document_vectors(self, documents: Documents) -> Tensor:
        """float32 [B, D], what ``classifier`` turns into logits."""
        return self.attend(documents).document_vectors
