"""Gradient x input on the word vectors of any network: the part of the explanations that needs TensorFlow.

It needs no more of a model than ``model(documents)``, its table of word vectors ``model.embeddings`` and its last layer
``model.classifier``. What a word brings to the n-gram lane beside a network counts as a part of its input.

    N words   B documents   E embedding   C classes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from explaining.log_odds import mean_slopes
from network.contract import Documents, thresholds_of
from network.ngrams import separated
from runtime.abandoning import between_batches
from runtime.documents import DocumentBorders, join
from runtime.predictor import Predictor, Verdict, batches
from runtime.scoring import VECTOR, Inferred, probabilities_of
from text.text_reader import EncodedDocument

GRADIENT_WORDS = 15_000  # most words in a batch whose gradient is taken: several times the memory of a forward pass


def logits_from_vectors(model: Any, documents: Documents, vectors: Any) -> Any:
    """The logits of a batch whose words have the given vectors, one for each occurrence: float32 [B, C].

    The model needs no code for this: while it is called, the vectors replace the rows of its table behind those of
    ``<pad>`` and ``<unk>``, and the words are numbered one by one.

    Args:
        model: ``logits = model(documents)``; looks words up in ``model.embeddings``. Not one with the n-gram lane,
            which knows words by their ids.
        documents: The batch; its token ids are not looked at.
        vectors: float32 [N, E].
    """
    special = 2
    table = tf.concat([model.embeddings.value[:special], vectors], axis=0)
    numbered = documents._replace(token_ids=tf.range(special, tf.shape(table)[0]))
    scope = keras.StatelessScope()
    scope.add_update((model.embeddings, table))
    with scope:
        return model(numbered)


def product_function(model: Any) -> Any:
    """The gradient of the log-odds with respect to each word's input, times that input, as one graph.

    A word's input is its vector and what it brings to the n-gram lane, if there is one. Made once per model. Arguments:
    documents; float32 [B], with which the inputs of each document are multiplied before they are read; int32 [B], the
    classes; float32 [N, C], what each word brings to the lane's logits; float32 [C], the lane's logits without any
    n-gram; a float32, the scale of the network's logits. Returns float32 [B], the log-odds, and float32 [N], the inner
    products of gradient and (unscaled) input.
    """
    if not hasattr(model, "_product_function"):
        network, several = separated(model).network, thresholds_of(model) is not None
        number = tf.TensorSpec([], tf.float32)
        matrix, vector = (tf.TensorSpec([None] * rank, tf.float32) for rank in (2, 1))
        signature = [Documents(VECTOR, VECTOR, VECTOR), vector, VECTOR, matrix, vector, number]

        @tf.function(input_signature=signature, autograph=False)
        def products(documents: Documents, scales: Any, targets: Any, lane: Any, lane_bias: Any, scale: Any) -> Any:
            vectors = tf.gather(network.embeddings.value, documents.token_ids)  # [N, E]
            document = tf.repeat(tf.range(tf.size(scales)), documents.sentences_per_document)
            document = tf.repeat(document, documents.words_per_sentence)  # [N]
            of_words = tf.gather(scales, document)[:, tf.newaxis]
            scaled, scaled_lane = vectors * of_words, lane * of_words
            with tf.GradientTape() as tape:
                tape.watch([scaled, scaled_lane])
                logits = scale * tf.cast(logits_from_vectors(network, documents, scaled), tf.float32)  # [B, C]
                logits += lane_bias + tf.math.segment_sum(scaled_lane, document)
                is_target = tf.one_hot(targets, tf.shape(logits)[1], on_value=True, off_value=False)
                odds = tf.boolean_mask(logits, is_target)
                if not several:
                    odds -= tf.reduce_logsumexp(tf.where(is_target, logits.dtype.min, logits), axis=1)
            # A document's log-odds depend on its own words alone, so one gradient of all serves every document.
            gradient, lane_gradient = tape.gradient(odds, [scaled, scaled_lane])
            products = tf.reduce_sum(dense(gradient, tf.shape(scaled)[0]) * vectors, axis=1)
            return odds, products + tf.reduce_sum(lane_gradient * lane, axis=1)

        model._product_function = products
    return model._product_function


def dense(gradient: Any, rows: Any) -> Any:
    """A gradient as a plain tensor, whichever form TensorFlow chose for it."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
    return gradient


def gradient_products(
    predictor: Predictor, documents: Sequence[EncodedDocument], scales: Any, targets: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gradient times input, in batches.

    Args:
        predictor: The network.
        documents: [B]; one may occur several times.
        scales: float [B], factors on the word vectors of each document, and on what its words bring to the n-gram lane.
        targets: int [B].

    Returns:
        float64 [B], log-odds of the target, and B times float64 [N], a value per word.
    """
    products, parts = product_function(predictor.model), separated(predictor.model)
    beside = [tf.constant(value, tf.float32) for value in (parts.lane_bias(), parts.scale)]
    scales, classes = np.asarray(scales, np.float32), np.asarray(targets, np.int32)
    odds, values = np.zeros(len(documents)), [np.zeros(0)] * len(documents)
    for numbers in batches(documents, GRADIENT_WORDS):
        between_batches()
        chosen = [documents[number] for number in numbers]
        joined = join(chosen)
        lane = tf.constant(parts.lane_shares(joined), tf.float32)
        some_odds, some = products(joined, tf.constant(scales[numbers]), tf.constant(classes[numbers]), lane, *beside)
        odds[numbers] = some_odds.numpy()
        of_words = DocumentBorders(joined).cut_words(some.numpy().astype(np.float64))
        for number, words in zip(numbers, of_words, strict=True):
            values[number] = words
    return odds, values


# ---------------------------------------------------------------------------------------------------------------------
# What sentences and words add to the logits


def contribution_function(model: Any) -> Any:
    """Scores and explains a batch by one pass through a network with attention, as one graph made once per network.

    Arguments: documents; int32 [B], the class of each whose log-odds are explained, -1 for the predicted one; float64
    [C], the bias of the logits. Returns the outputs of the network (:class:`runtime.scoring.Inferred`), and without the
    lane float32 [N] of the words and float32 [S] of the sentences.
    """
    if not hasattr(model, "_contribution_function"):
        network, lane = (part := separated(model)).network, part.lane
        several = thresholds_of(model) is not None
        signature = [Documents(VECTOR, VECTOR, VECTOR), VECTOR, tf.TensorSpec([None], tf.float64)]

        @tf.function(input_signature=signature, autograph=False)
        def explained(documents: Documents, targets: Any, bias: Any) -> Any:
            of_lane = None if lane is None else lane.logits(documents)

            def combined(logits: Any) -> Any:
                return logits if lane is None else model.combined(logits, of_lane)

            def slopes_of(logits: Any) -> Any:
                scale = 1.0 if lane is None else model.scales.value[0]
                whole = combined(logits)
                if several:  # the log-odds are the logit of the class
                    return scale * tf.one_hot(predicted_or(targets, whole), logits.shape[1])
                if logits.shape[1] == 2:  # the log-odds are the difference of the logits
                    return scale * (2 * tf.one_hot(predicted_or(targets, whole), 2) - 1)
                found = tf.numpy_function(float32_slopes, [bias, whole, targets], tf.float32, stateful=False)
                return scale * tf.ensure_shape(found, logits.shape)

            attended, words, sentences = network.contributions(documents, slopes_of)
            logits = combined(attended.logits)
            return Inferred(logits, probabilities_of(model, logits), *attended[1:]), words, sentences

        model._contribution_function = explained
    return model._contribution_function


def predicted_or(targets: Any, logits: Any) -> Any:
    """int32 [B], the targets, and where they are -1 the likeliest classes."""
    return tf.where(targets < 0, tf.argmax(logits, axis=1, output_type=tf.int32), targets)


def float32_slopes(bias: np.ndarray, logits: np.ndarray, targets: np.ndarray, several: bool = False) -> np.ndarray:
    """:func:`explaining.log_odds.mean_slopes` in float32; a target of -1 is the predicted class."""
    chosen = np.where(targets < 0, logits.argmax(axis=1), targets)
    return mean_slopes(bias, logits, chosen, several).astype(np.float32)


def contributions(
    predictor: Predictor, documents: Sequence[EncodedDocument], targets: Sequence[int] | None = None
) -> list[tuple[Verdict, np.ndarray, np.ndarray]]:
    """The verdict on each document, and what its words and sentences add to the log-odds of a class, by one pass.

    Args:
        predictor: A network with attention, with or without the n-gram lane.
        documents: [B].
        targets: [B]; the predicted classes where not given.

    Returns:
        For each document its verdict, float64 [N] of its words and float64 [S] of its sentences; with the log-odds of
        the bias the sentences' add up to the log-odds.
    """
    parts, function = separated(predictor.model), contribution_function(predictor.model)
    classes = np.full(len(documents), -1) if targets is None else np.asarray(targets)
    bias = parts.bias()
    results: list[Any] = [None] * len(documents)
    for numbers in batches(documents):
        between_batches()
        joined = join([documents[number] for number in numbers])
        given = tf.constant(classes[numbers], tf.int32)
        inferred, words, sentences = function(joined, given, tf.constant(bias, tf.float64))
        borders, lengths = DocumentBorders(joined), joined.words_per_sentence.numpy()
        slopes = float32_slopes(bias, inferred.logits.numpy(), classes[numbers], predictor.thresholds is not None)
        of_words = np.repeat(np.repeat(slopes, joined.sentences_per_document, axis=0), lengths, axis=0)
        lane = (parts.lane_shares(joined) * of_words).sum(axis=1)
        of_sentences = sentences.numpy() + np.add.reduceat(lane, np.cumsum(lengths) - lengths)
        cut = borders.cut_words(words.numpy() + lane), borders.cut_sentences(of_sentences)
        for number, *one in zip(numbers, predictor.verdicts(joined, inferred), *cut, strict=True):
            results[number] = tuple(one)
    return results
