"""The CNN against keras.layers with the same weights, its borders, its size."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from network.cnn import CNN, with_borders
from network.contract import NetworkArguments
from runtime.networks import weights_by_layer
from tests.flat_networks import EMBEDDING, FILTERS, WIDTHS, check_against_keras_layers


def stock_cnn(weights: dict[str, Any]) -> Any:
    layers, names, variables = [], [], []
    for width in WIDTHS:
        layer = keras.layers.Conv1D(FILTERS, width, activation="relu")
        layer.build((None, None, EMBEDDING))
        for variable, kind in zip(layer.trainable_variables, ("kernel", "bias"), strict=True):
            names.append(f"convolution_{width}/{kind}")
            variable.assign(weights[names[-1]])
            variables.append(variable)
        layers.append(layer)

    def features(words: tf.Tensor) -> tf.Tensor:
        pooled = []
        for width, layer in zip(WIDTHS, layers, strict=True):
            padded = tf.pad(words, [[0, 0], [width - 1, width - 1], [0, 0]])
            pooled.append(keras.layers.GlobalMaxPooling1D()(layer(padded)))
        return tf.concat(pooled, axis=1)

    return names, variables, features


@pytest.mark.parametrize("padded", [False, True])
def test_values_and_gradients_are_those_of_keras_layers(padded: bool) -> None:
    check_against_keras_layers(CNN, stock_cnn, padded)


def test_borders_are_before_between_and_behind_documents() -> None:
    rows = with_borders(tf.constant([4, 5, 6, 7]), tf.constant([3, 1]), 2, tf.constant(9))
    np.testing.assert_array_equal(rows, [9, 9, 4, 5, 6, 9, 9, 7, 9, 9])


def test_sizes_of_the_cnn_are_those_of_kim() -> None:
    """Kim (2014), section 3.1: windows of 3, 4, 5 with 100 feature maps each."""
    assert weights_by_layer(CNN(NetworkArguments(6000, 100, 2, ModelSettings()))) == {
        "embeddings": 600_000,
        "convolution_3": 3 * 100 * 100 + 100,
        "convolution_4": 4 * 100 * 100 + 100,
        "convolution_5": 5 * 100 * 100 + 100,
        "classifier": 2 * 300 + 2,
    }
