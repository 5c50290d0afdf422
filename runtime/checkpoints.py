"""Checkpoints: weights, optimiser state and progress of a run, saved whole, verified when read.

A checkpoint is one safetensors file that appears whole or not at all (arrays and a JSON header: nothing is ever
unpickled), and carries the hash of its weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import schema
from config import differences
from network.contract import thresholds_of
from runtime.run_folder import Progress, RunFolder
from utils import (
    FORMAT_VERSION,
    UserError,
    atomic_write,
    log,
)


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """The model's weights by name."""
    return {name: weight.numpy() for name, weight in saved_weights(model).items()}


def saved_weights(model: Any) -> dict[str, Any]:
    """What a checkpoint holds of a network: its weights, and the thresholds where a text may have several labels."""
    thresholds = thresholds_of(model)
    return model.named_weights() | ({} if thresholds is None else {"thresholds": thresholds})


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
        model: The network.
        progress: Stored in the header.
        optimizer: Keras optimiser whose variables go along, for a checkpoint that can be resumed.
        run: :meth:`RunFolder.identity` of the run that it belongs to.

    Raises:
        UserError: A weight is not finite.
    """
    weights = weights_of(model)
    if not all(np.isfinite(value).all() for value in weights.values()):
        raise UserError(
            "the weights are no longer finite and were not saved; start again with --restart and a lower "
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
        progress: Of the run when it was saved.
        weights_sha256: Hash of the weights, verified.
        run: Identity of the run that it belongs to.
    """

    path: Path
    weights: dict[str, np.ndarray]
    optimizer: list[np.ndarray]
    progress: Progress
    weights_sha256: str
    run: str


class Header(TypedDict):
    """The JSON header of a checkpoint."""

    format_version: int
    weights_sha256: str
    progress: dict[str, float]
    run: NotRequired[str]


def header_of(file: Any, path: Path) -> Header:
    """The header of an open safetensors file.

    Raises:
        UserError: It has none, or one of another version.
    """
    try:
        header = json.loads((file.metadata() or {}).get("checkpoint", "{}"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run the same command again") from error
    version = header.get("format_version", "unknown") if isinstance(header, dict) else "unknown"
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}; train a new run: "
            "python han_trainer.py --run NAME"
        )
    return schema.checked(header, Header, str(path), "delete it and run the same command again")


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint as arrays and checks its hash.

    Raises:
        UserError: It is not a checkpoint, of another version, or damaged.
        FileNotFoundError: It is gone (a trainer keeps only the last few).
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = header_of(file, path)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a checkpoint or is damaged ({error}); delete it and run the same command again"
        ) from error
    weights = {name.removeprefix("model/"): value for name, value in arrays.items() if name.startswith("model/")}
    if hash_of_weights(weights) != header["weights_sha256"]:
        raise UserError(
            f"{path} is damaged: its weights do not have the hash they were saved with; delete it and run "
            "the same command again"
        )
    state = [arrays[name] for name in sorted(arrays) if name.startswith("optimizer/")]
    return Checkpoint(
        path,
        weights,
        state,
        Progress.from_json(header["progress"], str(path)),
        header["weights_sha256"],
        header.get("run", ""),
    )


def restore(checkpoint: Checkpoint, model: Any, optimizer: Any = None) -> Progress:
    """Puts a checkpoint's arrays into a model and, if given, its optimiser (already built).

    Raises:
        UserError: The shapes do not fit, for example those of another vocabulary.
    """
    variables = saved_weights(model)
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
            raise UserError(
                f"{checkpoint.path} holds no optimiser state for this run; delete it to resume from an earlier one"
            )
        for variable, value in zip(optimizer.variables, checkpoint.optimizer, strict=True):
            variable.assign(value)
    return checkpoint.progress


# ---------------------------------------------------------------------------------------------------------------------
# The checkpoints of one run


def run_checkpoint(run: RunFolder, path: Path) -> Checkpoint:
    """Reads a checkpoint of a run.

    Raises:
        UserError: It is damaged, or belongs to another run.
        FileNotFoundError: It is gone.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.run != run.identity():
        raise UserError(
            f"{path} belongs to another run than {run.path}; put the right file in its place, or name its run"
        )
    return checkpoint


def best_checkpoint(run: RunFolder) -> Checkpoint:
    """The weights of the best validation so far.

    Raises:
        UserError: There are none yet, or they are damaged or another run's.
    """
    if not run.best.exists():
        when = "its first validation is not done yet; try again later" if run.is_training() else "train it again"
        raise UserError(f"{run.path} has no weights: {when}")
    return run_checkpoint(run, run.best)


def newest_checkpoint(run: RunFolder) -> Checkpoint | None:
    """The newest usable checkpoint; damaged ones are reported and skipped. ``None`` where there is none."""
    for path in reversed(run.checkpoint_files()):
        try:
            return run_checkpoint(run, path)
        except UserError as error:
            log.warning("skipping a checkpoint: %s", error)
    return None


def step_of(checkpoint: Path) -> int:
    """``step-00000400.safetensors`` -> 400."""
    return int(checkpoint.stem.removeprefix("step-"))
