"""The Hierarchical Attention Network (Yang et al., NAACL 2016) on flat, unpadded batches.

Words are encoded in their sentence by a bidirectional recurrent layer and pooled by attention into a sentence vector;
sentences are encoded in their document and pooled the same way; a softmax classifies the document vector.

Axes: B documents, S sentences, N words, V vocabulary, E embedding, H units per direction, D = 2H, A attention,
C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from config import ModelSettings, entry
from network import kernels
from network.contract import Attended, Documents, NetworkArguments
from network.layers import Dropout, add_embeddings, classifier
from network.recurrent import GROUPS, BidirectionalEncoder, compiled_operation, shaped

Tensor: TypeAlias = Any


# ---------------------------------------------------------------------------------------------------------------------
# Poolings: from the states of a segment to one vector


class AttentionPooling(keras.layers.Layer):
    """Attention with a learnt context vector (Yang et al. 2016, eq. 5-7 for words, 8-10 for sentences).

        u = tanh(W h + b)      weight = softmax(u . context) within a segment      pooled = sum of weight * h

    The softmax takes each segment's own maximum and runs in float32 under any dtype policy. There is no mask: the
    lengths of the segments are exact.

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

    def parts(self, elements: Tensor, lengths: Tensor, pooled: Tensor, weights: Tensor) -> Tensor:
        """float32 [N, D], what a segment's vector receives from each element; arguments and results of :meth:`call`."""
        return weighted(elements, weights)


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

    def parts(self, elements: Tensor, lengths: Tensor, pooled: Tensor, weights: Tensor) -> Tensor:
        """float32 [N, D], what a segment's vector receives from each element; arguments and results of :meth:`call`."""
        return weighted(elements, weights)


def weighted(elements: Tensor, weights: Tensor) -> Tensor:
    """float32 [N, D], the elements times their weights, float32 [N]: the parts of a pooling that is a weighted sum."""
    return tf.cast(elements, tf.float32) * weights[:, tf.newaxis]


class MaxPooling(keras.layers.Layer):
    """The maximum of each unit over each segment (HN-MAX in Yang et al. 2016).

    An element's weight is the share of the units whose maximum it holds; elements that hold the same maximum divide it.
    """

    def call(self, elements: Tensor, lengths: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
        """Pools segments; arguments and results as for :meth:`AttentionPooling.call`."""
        segment = tf.repeat(tf.range(tf.size(lengths)), lengths)
        pooled = tf.math.segment_max(elements, segment)
        return pooled, tf.stop_gradient(tf.reduce_mean(self.shares(elements, pooled, segment), axis=1))

    def parts(self, elements: Tensor, lengths: Tensor, pooled: Tensor, weights: Tensor) -> Tensor:
        """float32 [N, D], what a segment's vector receives from each element; arguments and results of :meth:`call`.

        The value of a unit is given to the element that holds the maximum.
        """
        segment = tf.repeat(tf.range(tf.size(lengths)), lengths)
        shares = self.shares(elements, pooled, segment)
        return tf.cast(elements, tf.float32) * tf.stop_gradient(shares)

    def shares(self, elements: Tensor, pooled: Tensor, segment: Tensor) -> Tensor:
        """float32 [N, D], 1 where an element holds the maximum of a unit, less where several do, else 0.

        Args:
            elements: float [N, D].
            pooled: float [R, D], the maxima.
            segment: int32 [N].
        """
        holds = tf.cast(tf.equal(elements, tf.gather(pooled, segment)), tf.float32)
        return holds / tf.gather(tf.math.segment_sum(holds, segment), segment)


def segment_softmax(scores: Tensor, segment: Tensor) -> Tensor:
    """Softmax within each segment. ``scores``: float32 [N]; ``segment``: int32 [N], ascending. Returns float32 [N]."""
    highest = tf.stop_gradient(tf.math.segment_max(scores, segment))
    exponentials = tf.exp(scores - tf.gather(highest, segment))
    return exponentials / tf.gather(tf.math.segment_sum(exponentials, segment), segment)


# What --pooling can name, each as a function of the settings, D, seed and compiled (see :class:`AttentionPooling`).
POOLINGS: dict[str, Callable[..., keras.layers.Layer]] = {
    "attention": lambda settings, inputs, seed, compiled, **arguments: AttentionPooling(
        inputs, settings.attention_dim, seed, compiled, **arguments
    ),
    "mean": lambda settings, inputs, seed, compiled, **arguments: MeanPooling(**arguments),
    "max": lambda settings, inputs, seed, compiled, **arguments: MaxPooling(**arguments),
}


def pooling_layer(settings: ModelSettings, inputs: int, seed: int, compiled: bool, **arguments: Any) -> Any:
    """The layer that ``--pooling`` names; arguments as for :class:`AttentionPooling`."""
    return entry(POOLINGS, settings.pooling, "pooling")(settings, inputs, seed, compiled, **arguments)


# ---------------------------------------------------------------------------------------------------------------------
# The network


class HAN(keras.Model):
    """Hierarchical Attention Network; fulfils :class:`network.contract.Network`.

    Args:
        arguments: ``settings`` are cell, pooling, units and attention size; ``dropout`` acts on word embeddings,
            sentence vectors and the document vector.
    """

    attends = True

    def __init__(self, arguments: NetworkArguments) -> None:
        settings, seed = arguments.settings, arguments.seed
        padded, dtype = arguments.padded, arguments.dtype
        super().__init__(dtype=dtype, name="han")
        self.dropout, self.word_dropout = arguments.dropout, arguments.word_dropout
        self.embeddings = add_embeddings(self, arguments)
        words, sentences = 2 * settings.word_units, 2 * settings.sentence_units
        self.word_encoder = BidirectionalEncoder(
            settings.cell,
            settings.word_units,
            arguments.embedding_dim,
            seed + 10,
            padded,
            GROUPS,
            name="word_encoder",
            dtype=dtype,
        )
        self.word_attention = pooling_layer(settings, words, seed + 20, not padded, name="word_attention", dtype=dtype)
        self.sentence_encoder = BidirectionalEncoder(
            settings.cell, settings.sentence_units, words, seed + 30, padded, name="sentence_encoder", dtype=dtype
        )
        self.sentence_attention = pooling_layer(
            settings, sentences, seed + 40, not padded, name="sentence_attention", dtype=dtype
        )
        self.classifier = classifier(sentences, arguments.classes, seed)
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Every weight by a stable name."""
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
        """Logits, float32 [B, C]; see :class:`network.contract.Network`."""
        return self.attend(documents, training, seed).logits

    def attend(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Attended:
        """Logits, the attention of words and sentences, and document vectors; arguments as for :meth:`call`."""
        drop = Dropout(seed if training else None)
        distinct, row = drop.distinct_words(documents.token_ids, self.word_dropout)
        # One mask per distinct word of the batch (Gal and Ghahramani 2016): each is projected once, however often used.
        table = drop(tf.gather(self.embeddings.value, distinct), self.dropout, "distinct word")  # [U, E]
        words = self.word_encoder(table, documents.words_per_sentence, row, keep=training)  # [N, D]
        sentences, word_weights = self.word_attention(words, documents.words_per_sentence, keep=training)  # [S, D]
        sentences = drop(sentences, self.dropout, "sentence")
        encoded = self.sentence_encoder(sentences, documents.sentences_per_document, keep=training)
        pooled, sentence_weights = self.sentence_attention(
            encoded, documents.sentences_per_document, keep=training
        )  # [B, D]
        pooled = tf.cast(pooled, tf.float32)
        logits = self.classifier(drop(pooled, self.dropout, "document"))
        return Attended(logits, word_weights, sentence_weights, pooled)

    def document_vectors(self, documents: Documents) -> Tensor:
        """float32 [B, D], what :attr:`classifier` turns into logits."""
        return self.attend(documents).document_vectors

    def contributions(
        self, documents: Documents, slopes_of: Callable[[Tensor], Tensor]
    ) -> tuple[Attended, Tensor, Tensor]:
        """What :meth:`attend` gives, and what words and sentences add to a weighted sum of a document's logits.

        The logits are the classifier's bias and a sum over sentences, so that what a sentence adds is exact. What a
        sentence's vector receives from a word is carried there by the gradient at the sentence vectors.

        Args:
            documents: The batch; no dropout acts on it.
            slopes_of: From the logits, float32 [B, C], to their weights, likewise.

        Returns:
            The outputs of :meth:`attend`; float32 [N] of the words; float32 [S] of the sentences: with the weighted
            bias they add up to the weighted sum of the logits.
        """
        words_per_sentence, sentences_per_document = documents.words_per_sentence, documents.sentences_per_document
        sentence = tf.repeat(tf.range(tf.size(words_per_sentence)), words_per_sentence)  # [N]
        distinct, row = tf.unique(documents.token_ids)
        words = self.word_encoder(tf.gather(self.embeddings.value, distinct), words_per_sentence, row)
        vectors, word_weights = self.word_attention(words, words_per_sentence)  # [S, D]
        word_parts = self.word_attention.parts(words, words_per_sentence, vectors, word_weights)  # [N, D]
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            encoded = self.sentence_encoder(vectors, sentences_per_document, keep=True)
            pooled, sentence_weights = self.sentence_attention(encoded, sentences_per_document, keep=True)  # [B, D]
            parts = self.sentence_attention.parts(encoded, sentences_per_document, pooled, sentence_weights)
            document_vectors = tf.cast(pooled, tf.float32)
            logits = self.classifier(document_vectors)
            slopes = tf.stop_gradient(slopes_of(logits))
            directions = tf.matmul(slopes, self.classifier.kernel, transpose_b=True)  # [B, D]
            of_sentences = tf.reduce_sum(parts * tf.repeat(directions, sentences_per_document, axis=0), axis=1)
        gradient = tf.cast(tape.gradient(of_sentences, vectors), tf.float32)
        of_words = tf.reduce_sum(word_parts * tf.gather(gradient, sentence), axis=1)
        return Attended(logits, word_weights, sentence_weights, document_vectors), of_words, of_sentences
