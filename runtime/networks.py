"""Builds the network that a run's configuration describes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from runtime.run_folder import RunConfig


def weights_by_layer(model: Any) -> dict[str, int]:
    """How many numbers each layer holds, in the order of ``named_weights()``."""
    counts: dict[str, int] = {}
    for name, weight in model.named_weights().items():
        layer = name.split("/")[0]
        counts[layer] = counts.get(layer, 0) + math.prod(weight.shape)
    return counts


def build_model(config: RunConfig, embeddings: np.ndarray | None = None, padded: bool = False) -> Any:
    """Builds the network that a configuration describes; TensorFlow is imported here.

    What every network offers: ``model(documents, training, seed)`` -> logits float32 [B, C], ``named_weights()``,
    ``embeddings``, ``document_vectors(documents)`` and the ``classifier`` that makes logits of those vectors. One that
    attends, and only such a one, also has ``attend(documents, training, seed)`` -> :class:`han.Attended`.

    Args:
        config: Of the run.
        embeddings: float32 [V, E] to start from.
        padded: Use the padded (cuDNN) path: on a GPU.
    """
    from han import HAN
    from network.bilstm import BiLSTM
    from network.cnn import CNN

    training = config.training
    return {"han": HAN, "bilstm": BiLSTM, "cnn": CNN}[config.architecture](
        config.vocabulary_size,
        config.embedding_dim,
        len(config.class_names),
        config.model,
        dropout=1 - training.dropout_keep_proba,
        word_dropout=training.word_dropout,
        seed=training.seed,
        embeddings=embeddings,
        freeze_embeddings=training.freeze_embeddings,
        padded=padded,
        dtype="mixed_bfloat16" if training.mixed_precision else "float32",
    )
