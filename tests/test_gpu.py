"""What only a GPU can show: the cuDNN path gives what the packed path gives. ``pytest -m gpu``; skipped without one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from han import HAN
from network.contract import Documents, NetworkArguments

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("mixed_bfloat16", 0.1)])
def test_cudnn_and_packed_paths_agree(cell: str, dtype: str, tolerance: float) -> None:
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU here")
    generator = np.random.default_rng(1)
    sentences = generator.integers(1, 9, 13)
    lengths = generator.integers(1, 30, sentences.sum())
    vectors = (generator.integers(0, 50, lengths.sum()), lengths, sentences)
    documents = Documents(*(tf.constant(vector, tf.int32) for vector in vectors))
    spec = tf.TensorSpec([None], tf.int32)
    results = []
    for device, padded in (("CPU", False), ("GPU", True)):
        with tf.device(device):
            model = HAN(
                NetworkArguments(50, 12, 3, ModelSettings(cell=cell, word_units=8), seed=3, padded=padded, dtype=dtype)
            )

            @tf.function(input_signature=[Documents(spec, spec, spec)], autograph=False)
            def forward_and_backward(documents: Documents, model: HAN = model) -> tuple[tf.Tensor, list[tf.Tensor]]:
                with tf.GradientTape() as tape:
                    logits = model(documents)
                    loss = tf.reduce_sum(tf.square(logits))
                found = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
                return logits, [tf.convert_to_tensor(gradient) for gradient in found]

            results.append(forward_and_backward(documents))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=tolerance)
    for packed, cudnn in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(packed, cudnn, atol=tolerance)
