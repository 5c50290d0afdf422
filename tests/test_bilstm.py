"""The BiLSTM against keras.layers with the same weights."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from network.bilstm import BiLSTM
from tests.flat_networks import EMBEDDING, UNITS, check_against_keras_layers


def stock_bilstm(weights: dict[str, Any]) -> Any:
    layer = keras.layers.Bidirectional(keras.layers.LSTM(UNITS))
    layer.build((None, None, EMBEDDING))
    names = [f"encoder/{way}/{kind}" for way in ("left_to_right", "right_to_left")
             for kind in ("kernel", "recurrent_kernel", "bias")]  # fmt: skip
    for variable, name in zip(layer.trainable_variables, names, strict=True):
        variable.assign(weights[name])
    return names, layer.trainable_variables, layer


@pytest.mark.parametrize("padded", [False, True])
def test_values_and_gradients_are_those_of_keras_layers(padded: bool) -> None:
    check_against_keras_layers(BiLSTM, stock_bilstm, padded)
