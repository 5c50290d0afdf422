"""Settings that suit a data set and the time one has; ``run_all.py`` chooses them, and flags of the user win.

No TensorFlow. How they were chosen is in ``docs/experiments.md`` and ``docs/data.md``.
"""

from __future__ import annotations

import math
from typing import Any

from config import TrainingSettings, to_json

# Below this many training documents the defaults, which were chosen on IMDB, take too few steps.
MANY_DOCUMENTS = 10_000
STEPS = 1_000
MOST_EPOCHS = 20
SMALL_NETWORK: dict[str, Any] = {"word_units": 50, "sentence_units": 50, "attention_dim": 100}
# The sample is small and its sentences short: more and smaller steps than the defaults, a smaller network. Word vectors
# start at random, because in a few thousand texts of one grammar word2vec puts opposites close together. With little
# dropout, the top sentence is more often one that decided.
SAMPLE: dict[str, Any] = {
    "embeddings": "random",
    "batch_size": 16,
    "num_epochs": 5,
    "learning_rate": 0.003,
    "dropout_keep_proba": 0.8,
    **SMALL_NETWORK,
}
SUITED = {"sample": SAMPLE}
# Where people marked why, attention learns from it; the evidence of the sample is there to check attention with.
EVIDENCE_WEIGHT = 0.5

# What --preset can name.
PRESETS = {
    "fast": "a first look: a small network, a third of the steps",
    "default": "suits the number of documents",
    "best": "for few labels and many unlabelled documents: learns from these as well, as three networks judge them",
}
FAST_WORD2VEC_EPOCHS = 2
TEACHERS = 3
# Of the network that learns from them; it sees more documents, all of them with little noise in their targets.
STUDENT: dict[str, Any] = {"num_epochs": 4}


def settings_for(documents: int) -> dict[str, Any]:
    """Settings for a training split of this many documents; none where the defaults suit.

    A batch is small enough that an epoch has some steps, epochs are as many as give about :data:`STEPS` steps, and the
    learning rate rises over the first tenth of them.
    """
    if documents >= MANY_DOCUMENTS:
        return {}
    batch_size = 16 if documents >= 300 else 8
    steps = math.ceil(documents / batch_size)
    epochs = min(max(math.ceil(STEPS / steps), 3), MOST_EPOCHS)
    return {
        **SMALL_NETWORK,
        "min_count": 2,
        "batch_size": batch_size,
        "num_epochs": epochs,
        "warmup_steps": max(epochs * steps // 10, 1),
        "patience": 0,  # the last steps, at low rates, are worth more than a pause of a noisy validation says
    }


def suited(dataset: str, documents: int, preset: str, marked: bool = False) -> dict[str, Any]:
    """Settings for a data set with this many training documents.

    Args:
        dataset: Its name: the sample has settings of its own.
        documents: In the training split.
        preset: One of :data:`PRESETS`; ``best`` is ``default`` here, and what it does more is more trainings.
        marked: Whether the network has attention that can learn from evidence, and the training documents have some.
    """
    settings = SUITED.get(dataset) or settings_for(documents)
    if marked and dataset not in SUITED:
        settings = {**settings, "evidence_weight": EVIDENCE_WEIGHT}
    if preset != "fast":
        return settings
    usual = to_json(TrainingSettings()) | settings
    faster: dict[str, Any] = {
        **SMALL_NETWORK,
        "num_epochs": math.ceil(usual["num_epochs"] / 3),
        "warmup_steps": max(usual["warmup_steps"] // 3, 1),
    }
    if settings.get("embeddings", "word2vec") == "word2vec":
        faster["word2vec_epochs"] = FAST_WORD2VEC_EPOCHS
    return {**settings, **faster}
