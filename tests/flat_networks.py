"""The flat networks with large random weights, and keras.layers with the same weights, for the tests of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from config import ModelSettings
from network.contract import Documents, NetworkArguments

VOCABULARY, EMBEDDING, CLASSES, UNITS, FILTERS, WIDTHS = 31, 7, 3, 5, 6, (2, 3, 5)
SETTINGS = ModelSettings(word_units=UNITS, filter_widths="2,3,5", filters=FILTERS)
# A document of one word is shorter than every window; one holds the same words twice: windows that tie.
TEXTS = [[[3, 9, 4], [5]], [[8]], [[6, 1], [3, 9, 4], [29, 2, 2, 10], [13]], [[3, 9, 4, 7, 12], [3, 9, 4, 7, 12]]]


def batch(texts: list[list[list[int]]]) -> Documents:
    sentences = [sentence for text in texts for sentence in text]
    vectors = (
        [word for sentence in sentences for word in sentence],
        [len(sentence) for sentence in sentences],
        [len(text) for text in texts],
    )
    return Documents(*(tf.constant(vector, tf.int32) for vector in vectors))


def model(network: Any, settings: ModelSettings = SETTINGS, **arguments: object) -> Any:
    """A network with large random weights everywhere, biases too."""
    built = network(NetworkArguments(VOCABULARY, EMBEDDING, CLASSES, settings, seed=1, **arguments))  # type: ignore[arg-type]
    generator = np.random.default_rng(11)
    for weight in built.named_weights().values():
        weight.assign(generator.normal(size=weight.shape, scale=0.6))
    return built


def check_against_keras_layers(network: Any, stock: Callable[[dict[str, Any]], Any], padded: bool) -> None:
    """Compares values and gradients, one document at a time on the side of Keras: nothing can leak between them.

    Args:
        network: The class.
        stock: Makes of the weights by name: names of weights, the variables of ``keras.layers``, the features.
        padded: Which path of the network.
    """
    built = model(network, padded=padded)
    weights = built.named_weights()
    names, variables, features = stock(weights)
    table = tf.Variable(weights["embeddings"].value)
    kernel, bias = tf.Variable(weights["classifier/kernel"].value), tf.Variable(weights["classifier/bias"].value)
    upstream = tf.constant(np.random.default_rng(3).normal(size=(len(TEXTS), CLASSES)).astype(np.float32))

    with tf.GradientTape() as tape:
        logits = built(batch(TEXTS))
        loss = tf.reduce_sum(logits * upstream)
    ours = tape.gradient(loss, {name: weight.value for name, weight in weights.items()})
    with tf.GradientTape() as tape:
        words = [tf.gather(table, [[word for sentence in text for word in sentence]]) for text in TEXTS]
        expected = tf.concat([tf.matmul(features(document), kernel) + bias for document in words], axis=0)
        loss = tf.reduce_sum(expected * upstream)
    theirs = tape.gradient(loss, [table, kernel, bias, *(variable.value for variable in variables)])

    np.testing.assert_allclose(logits, expected, atol=1e-5)
    for name, gradient in zip(["embeddings", "classifier/kernel", "classifier/bias", *names], theirs, strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(ours[name]), tf.convert_to_tensor(gradient), atol=2e-5, err_msg=name
        )
    assert len(weights) == len(theirs) == len(built.trainable_variables)
