"""Distillation: a network learns from the unlabelled documents by what other networks, its teachers, think of them.

Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network", section 2, at temperature 1: the target
of an unlabelled document is the mean of the teachers' probabilities; where a text may have several labels, that of each
label's. The training documents keep their labels: the teachers have seen these, so that their judgement of them says
little.

    C classes   U unlabelled documents   T training documents
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import schema
from report.linear_models import sigmoid, softmax
from runtime.checkpoints import best_checkpoint, hash_of_weights, restore
from runtime.input_pipeline import Split
from runtime.networks import network_of
from runtime.run_folder import RunConfig, RunFolder
from runtime.scoring import score_split
from training.distillation import UNLABELLED
from utils import FORMAT_VERSION, UserError, atomic_write, log


class Header(TypedDict):
    """The JSON header of a file with a teacher's probabilities.

    Attributes:
        format_version: Of this project's files.
        teacher: Hash of the weights that gave them.
        sha256: Of the probabilities.
    """

    format_version: int
    teacher: str
    sha256: str


def training_targets(
    run: RunFolder,
    teachers: Sequence[RunFolder],
    config: RunConfig,
    records: Path,
    labels: NDArray[Any],
    max_words: int,
    device: str,
) -> NDArray[np.float32]:
    """What the documents of ``train+unlabelled`` are to be classified as: float32 [T + U, C].

    Rows add up to 1, but not where a text may have several labels.

    Args:
        run: The run that learns; keeps the probabilities of each teacher, which are computed once.
        teachers: In the order of its configuration.
        config: Of the run.
        records: Folder of the records.
        labels: int32 [T], of the training documents; where a text may have several, float32 [T, C], 0 or 1.
        max_words: Maximum number of words in a batch.
        device: ``"cpu"`` or ``"gpu"``.
    """
    if config.distillation is None:
        raise ValueError(f"{run.path} is no distillation")
    judged = [
        judgements(run, teacher, weights_sha256, records, max_words, device)
        for teacher, weights_sha256 in zip(teachers, config.distillation.weights_sha256, strict=True)
    ]
    known = labels if config.several_labels else np.eye(len(config.class_names), dtype=np.float32)[labels]
    return np.concatenate([known, np.mean(judged, axis=0, dtype=np.float32)])


def judgements(
    run: RunFolder, teacher: RunFolder, weights_sha256: str, records: Path, max_words: int, device: str
) -> NDArray[np.float32]:
    """One teacher's probabilities of the unlabelled documents, float32 [U, C]: read if they are there, else computed.

    Arguments as of :func:`training_targets`; ``weights_sha256`` is of the teacher's weights.
    """
    path = run.teachers / f"{weights_sha256[:16]}.safetensors"
    if path.exists():
        return read_judgements(path, weights_sha256)
    log.info("%s judges the unlabelled documents", teacher.path)
    checkpoint = best_checkpoint(teacher)
    if checkpoint.weights_sha256 != weights_sha256:
        raise UserError(f"{teacher.path} was trained again since this distillation began; start again with --restart")
    model = network_of(teacher, teacher.config(), padded=device == "gpu")
    restore(checkpoint, model)
    split = Split(records, UNLABELLED)
    logits, _ = score_split(model, split, max_words)
    split.close()
    probabilities = (sigmoid if teacher.config().several_labels else softmax)(logits).astype(np.float32)
    save_judgements(path, probabilities, weights_sha256)
    return probabilities


def save_judgements(path: Path, probabilities: NDArray[np.float32], weights_sha256: str) -> None:
    """Writes one teacher's probabilities, whole or not at all."""
    arrays = {"probabilities": probabilities}
    header: Header = {
        "format_version": FORMAT_VERSION,
        "teacher": weights_sha256,
        "sha256": hash_of_weights(arrays),
    }
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path, "wb") as file:
        file.write(save(arrays, metadata={"judgements": json.dumps(header)}))


def read_judgements(path: Path, weights_sha256: str) -> NDArray[np.float32]:
    """Reads one teacher's probabilities.

    Raises:
        UserError: The file is damaged, or another teacher's.
    """
    way_out = "delete it and run the same command again"
    try:
        with safe_open(path, framework="numpy") as file:
            probabilities: NDArray[np.float32] = file.get_tensor("probabilities")
            header = schema.checked(
                json.loads((file.metadata() or {}).get("judgements", "{}")), Header, str(path), way_out
            )
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); {way_out}") from error
    if header["teacher"] != weights_sha256 or header["sha256"] != hash_of_weights({"probabilities": probabilities}):
        raise UserError(f"{path} is damaged or another teacher's; {way_out}")
    return probabilities
