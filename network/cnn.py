"""A convolutional network (Kim, EMNLP 2014), to compare the HAN with: it looks for short phrases, has no hierarchy and
no attention.

Axes: B documents, N words, U distinct words of a batch, E embedding, K words in a window, W windows, F filters of one
width, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
import tensorflow as tf

from config import numbers_in
from network.contract import Attended, Documents, NetworkArguments
from network.layers import Dropout, add_embeddings, classifier, unattended, words_per_document

Tensor: TypeAlias = Any


class CNN(keras.Model):
    """Convolutions over the words, the largest answer of each filter, a softmax (Kim, EMNLP 2014, section 2).

        feature = max over windows of relu(filter . window + bias)

    A window of K words may reach over the ends of its document by up to K - 1 words, which count as zeros; so a
    document may be shorter than a window. The weights of a width are those of ``keras.layers.Conv1D(F, K)``.

    Kim's CNN-static is ``freeze_embeddings``, his CNN-non-static is the default.

    Args:
        arguments: ``settings.filter_widths`` are the K, ``settings.filters`` is F for each of them; ``dropout`` acts on
            the document's features, as in the paper, and not on words. Kernels start Glorot uniform, biases at zero.
    """

    attends = False

    def __init__(self, arguments: NetworkArguments) -> None:
        super().__init__(dtype=arguments.dtype, name="cnn")
        self.dropout, self.word_dropout = arguments.dropout, arguments.word_dropout
        self.embeddings = add_embeddings(self, arguments)
        widths, filters, seed = numbers_in(arguments.settings.filter_widths), arguments.settings.filters, arguments.seed
        self.convolutions = [
            Convolution(width, arguments.embedding_dim, filters, seed + 10 + width, name=f"convolution_{width}")
            for width in widths
        ]
        self.classifier = classifier(len(widths) * filters, arguments.classes, seed)
        self.built = True

    def named_weights(self) -> dict[str, Any]:
        """Every weight by a stable name."""
        weights = {"embeddings": self.embeddings}
        for layer in (*self.convolutions, self.classifier):
            weights |= {f"{layer.name}/kernel": layer.kernel, f"{layer.name}/bias": layer.bias}
        return weights

    def call(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Tensor:
        """Logits, float32 [B, C]; see :class:`network.contract.Network`."""
        return self.attend(documents, training, seed).logits

    def attend(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Attended:
        """Logits and document vectors, without attention."""
        drop = Dropout(seed if training else None)
        features = self.features(documents, drop)
        return unattended(self.classifier(drop(features, self.dropout, "document")), features)

    def document_vectors(self, documents: Documents) -> Tensor:
        """float32 [B, filters of all widths], the largest answer of each filter."""
        return self.features(documents, Dropout(None))

    def features(self, documents: Documents, drop: Dropout) -> Tensor:
        """float32 [B, filters of all widths]."""
        distinct, row = drop.distinct_words(documents.token_ids, self.word_dropout)
        table = tf.cast(tf.gather(self.embeddings.value, distinct), self.compute_dtype)  # [U, E]
        lengths = words_per_document(documents)
        return tf.concat([convolution(table, row, lengths) for convolution in self.convolutions], axis=1)


# ---------------------------------------------------------------------------------------------------------------------
# The layer


class Convolution(keras.layers.Layer):
    """Filters of one width over the words of documents, and the largest answer of each in each document.

    Convolution is linear, so a distinct word is multiplied once with the K slices of every filter, and the answer at a
    window is the sum of K rows of that product. The maximum lets the gradient through at one window per document and
    filter only: nothing else is computed on the way back (:func:`largest_answers`).

    Args:
        width: K, words in a window.
        inputs: E.
        filters: F.
        seed: Of the initial weights.
    """

    def __init__(self, width: int, inputs: int, filters: int, seed: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.width, self.filters = width, filters
        start = keras.initializers.GlorotUniform(seed)
        self.kernel = self.add_weight((width, inputs, filters), start, name="kernel", autocast=False)
        self.bias = self.add_weight((filters,), "zeros", name="bias", autocast=False)
        self.built = True

    def call(self, table: Tensor, row: Tensor, lengths: Tensor) -> Tensor:
        """The features of every document.

        Args:
            table: float [U, E], the distinct words.
            row: int32 [N], which row of ``table`` each word is.
            lengths: int32 [B], words of each document, at least 1.

        Returns:
            float32 [B, F].
        """
        kernel = tf.transpose(tf.cast(self.kernel.value, table.dtype), [1, 0, 2])  # [E, K, F]
        answers = tf.matmul(table, tf.reshape(kernel, [-1, self.width * self.filters]))
        answers = tf.reshape(tf.cast(answers, tf.float32), [-1, self.width, self.filters])  # [U, K, F]
        answers = tf.pad(answers, [[0, 1], [0, 0], [0, 0]])  # the last row is that of the border
        rows = with_borders(row, lengths, self.width - 1, tf.shape(table)[0])
        return tf.nn.relu(largest_answers(answers, rows, lengths + self.width - 1) + self.bias)


def with_borders(row: Tensor, lengths: Tensor, border: int, border_row: Tensor) -> Tensor:
    """Places documents one after another with ``border`` places before, between and behind them.

        documents a a a and b, border 2      - - a a a - - b - -

    A window of ``border + 1`` places never touches two documents, and every such window touches one.

    Args:
        row: int32 [N], document by document.
        lengths: int32 [B].
        border: Places in a border.
        border_row: int32 scalar, the value in the borders.

    Returns:
        int32 [N + (B + 1) border].
    """
    words, documents = tf.size(row), tf.size(lengths)
    place = tf.range(words) + border * tf.repeat(tf.range(1, documents + 1), lengths)
    return tf.tensor_scatter_nd_update(tf.fill([words + (documents + 1) * border], border_row), place[:, None], row)


def largest_answers(answers: Tensor, rows: Tensor, windows: Tensor) -> Tensor:
    """The largest answer of each filter in each document.

        answer of a window at place p = sum over k of answers[rows[p + k], k]

    The gradient belongs to the first window that has the maximum; windows that are equal word by word, the usual tie,
    would share it among the same words.

    Args:
        answers: float32 [U, K, F], what each distinct word contributes at each place of a window.
        rows: int32 [P], as :func:`with_borders` gives it.
        windows: int32 [B], windows of each document; they sum to W = P - K + 1.

    Returns:
        float32 [B, F].
    """
    _, width, filters = answers.shape
    document = tf.repeat(tf.range(tf.size(windows)), windows)  # [W]
    total = tf.size(document)

    @tf.custom_gradient
    def differentiable(answers: Tensor) -> Any:
        sums = tf.add_n([tf.gather(answers[:, k], rows[k : k + total]) for k in range(width)])  # [W, F]
        largest = tf.math.segment_max(sums, document)

        def gradient(upstream: Tensor) -> Tensor:
            at_maximum = tf.equal(sums, tf.gather(largest, document))
            # With NaN among the sums nothing equals the maximum; then any window will do, for the loss is NaN.
            place = tf.where(at_maximum, tf.range(total)[:, tf.newaxis], total - 1)
            first = tf.math.segment_min(place, document)  # [B, F]
            row = tf.gather(rows, first[:, tf.newaxis] + tf.range(width)[:, tf.newaxis])  # [B, K, F]
            cell = (row * width + tf.range(width)[:, tf.newaxis]) * filters + tf.range(filters)
            spread = tf.broadcast_to(upstream[:, tf.newaxis], tf.shape(cell))
            size = tf.size(answers)
            summed = tf.scatter_nd(tf.reshape(cell, [-1, 1]), tf.reshape(spread, [-1]), [size])
            return tf.reshape(summed, tf.shape(answers))

        return largest, gradient

    return differentiable(answers)
