"""Builds the network that a run's configuration describes."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from config import NETWORKS, entry
from network.contract import Network, NetworkArguments
from network.ngrams import NetworkWithNgrams, NgramLane
from runtime.ngram_tables import read_table
from runtime.run_folder import RunConfig, RunFolder


def weights_by_layer(model: Network) -> dict[str, int]:
    """How many numbers each layer holds, in the order of ``named_weights()``."""
    counts: dict[str, int] = {}
    for name, weight in model.named_weights().items():
        layer = name.split("/")[0]
        counts[layer] = counts.get(layer, 0) + math.prod(weight.shape)
    return counts


def build_model(config: RunConfig, embeddings: np.ndarray | None = None, padded: bool = False) -> Network:
    """Builds the network that a configuration describes, without the n-gram lane; TensorFlow is imported here.

    Args:
        config: Of the run.
        embeddings: float32 [V, E], initial word vectors.
        padded: Use the padded (cuDNN) path: on a GPU.
    """
    module, _, name = entry(NETWORKS, config.architecture, "model").source.partition(":")
    training = config.training
    network: Network = getattr(importlib.import_module(module), name)(
        NetworkArguments(
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
    )
    if config.several_labels:
        network.thresholds = several_thresholds(len(config.class_names))  # type: ignore[attr-defined]
    return network


def several_thresholds(classes: int) -> Any:
    """Thresholds before they are chosen, a half for each class."""
    import keras

    return keras.Variable(np.full(classes, 0.5, np.float32), trainable=False, name="thresholds")


def network_of(
    run: RunFolder, config: RunConfig, embeddings: np.ndarray | None = None, padded: bool = False
) -> Network:
    """Builds the network of a run with its n-gram lane, if it has one; the weights are restored by the caller.

    Args:
        run: The folder.
        config: Of the run.
        embeddings: float32 [V, E], initial word vectors.
        padded: Use the padded (cuDNN) path: on a GPU.

    Raises:
        UserError: The table of n-grams is missing or damaged.
    """
    network = build_model(config, embeddings, padded)
    return network if config.model.ngrams == "off" else NetworkWithNgrams(network, NgramLane(read_table(run)))
