"""Checkpoints: weights, optimizer state and progress of a run, saved whole, verified when read.

A checkpoint is one safetensors file that appears whole or not at all (arrays and a JSON header: nothing is ever
unpickled), and carries the hash of its weights.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from config import (
    differences,
)
from runtime.run_folder import Progress, RunFolder
from utils import (
    FORMAT_VERSION,
    UserError,
    atomic_write,
    log,
)


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """The model's weights by name."""
    return {name: weight.numpy() for name, weight in model.named_weights().items()}


def hash_of_weights(weights: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and bytes, independent of order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].dtype} {weights[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(weights[name]).data)
    return digest.hexdigest()


def save_weights(path: Path, model: Any, progress: Progress, optimizer: Any = None, run: str = "") -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: ``….safetensors``.
        model: Has ``named_weights()``.
        progress: Stored in the header.
        optimizer: Keras optimiser whose variables go along, for a checkpoint that can be resumed.
        run: :meth:`RunFolder.identity` of the run that it belongs to.

    Raises:
        UserError: A weight is not finite: what is saved must be worth keeping.
    """
    weights = weights_of(model)
    if not all(np.isfinite(value).all() for value in weights.values()):
        raise UserError(
            "the weights are no longer finite and were not saved; begin anew with --restart and a lower "
            "--learning_rate; earlier checkpoints are kept"
        )
    arrays = {f"model/{name}": value for name, value in weights.items()}
    if optimizer is not None:
        arrays |= {f"optimizer/{i:03d}": np.asarray(v.numpy()) for i, v in enumerate(optimizer.variables)}
    header = {
        "format_version": FORMAT_VERSION,
        "weights_sha256": hash_of_weights(weights),
        "progress": asdict(progress),
        "run": run,
    }
    with atomic_write(path, "wb") as file:
        # One entry: safetensors writes several in a random order, and equal runs should leave equal files.
        file.write(save(arrays, metadata={"checkpoint": json.dumps(header)}))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read into memory and checked.

    Attributes:
        path: Where it came from.
        weights: By name.
        optimizer: The optimiser's variables in order; empty in ``best.safetensors``.
        progress: Where the run stood.
        weights_sha256: Hash of the weights, verified.
        run: Identity of the run that it belongs to.
    """

    path: Path
    weights: dict[str, np.ndarray]
    optimizer: list[np.ndarray]
    progress: Progress
    weights_sha256: str
    run: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint as arrays and checks its hash.

    Raises:
        UserError: It is not a checkpoint, of another version, or damaged.
        FileNotFoundError: It is gone (a trainer keeps only the last few).
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("checkpoint", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a checkpoint or is damaged ({error}); delete it and run the same command again"
        ) from error
    if header.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {header.get('format_version')}, this program reads "
            f"{FORMAT_VERSION}; train a new run: python han_trainer.py --run NAME"
        )
    weights = {name.removeprefix("model/"): value for name, value in arrays.items() if name.startswith("model/")}
    if hash_of_weights(weights) != header["weights_sha256"]:
        raise UserError(
            f"{path} is damaged: its weights do not have the hash they were saved with; delete it and run "
            "the same command again"
        )
    state = [arrays[name] for name in sorted(arrays) if name.startswith("optimizer/")]
    return Checkpoint(
        path, weights, state, Progress(**header["progress"]), header["weights_sha256"], header.get("run", "")
    )


def restore(checkpoint: Checkpoint, model: Any, optimizer: Any = None) -> Progress:
    """Puts a checkpoint's arrays into a model and, if given, its optimiser (already built).

    Raises:
        UserError: The shapes do not fit, for example those of another vocabulary.
    """
    variables = model.named_weights()
    shapes = {name: tuple(value.shape) for name, value in variables.items()}
    saved = {name: value.shape for name, value in checkpoint.weights.items()}
    if saved != shapes:
        raise UserError(
            f"{checkpoint.path} does not fit the model ({'; '.join(differences(saved, shapes))}); the run "
            "folder's vocab.txt or config.json is not the one it was trained with"
        )
    for name, variable in variables.items():
        variable.assign(checkpoint.weights[name])
    if hash_of_weights(weights_of(model)) != checkpoint.weights_sha256:
        raise UserError(f"the weights in memory are not those of {checkpoint.path}")
    if optimizer is not None:
        if len(optimizer.variables) != len(checkpoint.optimizer):
            raise UserError(f"{checkpoint.path} holds no optimiser state for this run; continue from another one")
        for variable, value in zip(optimizer.variables, checkpoint.optimizer, strict=True):
            variable.assign(value)
    return checkpoint.progress


def newest_checkpoint(run: RunFolder) -> Checkpoint | None:
    """The newest readable checkpoint; damaged ones are told and passed over. ``None`` where there is none."""
    for path in reversed(run.checkpoint_files()):
        try:
            return read_checkpoint(path)
        except UserError as error:
            log.warning("passing over a checkpoint: %s", error)
    return None


def follow_checkpoints(run: RunFolder, pause: float = 1.0) -> Iterator[Checkpoint]:
    """Yields each checkpoint of a run once, oldest first, as a trainer writes them; ends when training has ended.

    A checkpoint that the trainer deletes before it could be read is passed over.

    Args:
        run: The run; it may not have begun yet.
        pause: Seconds between looks.
    """
    seen = -1
    told = False
    while True:
        ended = run.finished.exists()  # looked at before the files, so that the last checkpoint is not missed
        for path in run.checkpoint_files():
            if (step := step_of(path)) > seen:
                seen, told = step, False
                try:
                    yield read_checkpoint(path)
                except FileNotFoundError:
                    continue
        if ended:
            return
        if not told and not run.is_training():
            told = True
            log.info(
                "waiting: no trainer is at work on %s; its next checkpoint will be evaluated when it comes", run.path
            )
        time.sleep(pause)


def step_of(checkpoint: Path) -> int:
    """``step-00000400.safetensors`` -> 400."""
    return int(checkpoint.stem.removeprefix("step-"))
