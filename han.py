"""The Hierarchical Attention Network (Yang et al., NAACL 2016) on flat, unpadded batches.

Words are encoded in their sentence by a bidirectional recurrent layer and pooled by attention into a sentence vector;
sentences are encoded in their document and pooled the same way; a softmax classifies the document vector.

Axes: B documents, S sentences, N words, V vocabulary, E embedding, H units per direction, D = 2H, A attention,
C classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

import kernels
from config import ModelSettings
from recurrent import BidirectionalEncoder, compiled_operation, shaped

Tensor: TypeAlias = Any
UNKNOWN_ID = 1


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


class AttentionPooling(keras.layers.Layer):
    """Attention with a learnt context vector (Yang et al. 2016, eq. 5-7 for words, 8-10 for sentences).

        u = tanh(W h + b)      weight = softmax(u . context) within a segment      pooled = sum of weight * h

    The softmax takes each segment's own maximum and runs in float32 under any dtype policy. There is no mask: segments
    are exactly as long as their lengths say.

    Args:
        inputs: D, size of an element.
        attention_dim: A.
        seed: Of the initial weights (Glorot uniform kernel, zero bias, context uniform in +-sqrt(3/A)).
        compiled: Run through :mod:`kernels` (CPU) instead of TensorFlow's operations.
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
    """:func:`kernels.attention_forward` with its gradient; shapes as there. ``own``: kernel, bias and context."""

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
