"""The run folder: everything about one training run, self-contained and movable.

    runs/imdb-han/
        config.json             settings, class names, versions, command line, what data it was made from
        vocab.txt  labels.txt  sentence_splitter.json        to process text as in training
        checkpoints/            step-00000400.safetensors: weights, optimiser, epoch, step; the last few
        best.safetensors        weights of the best validation; after a retraining, which has none, the last
        history.jsonl           one line per validation
        steps.jsonl             loss, accuracy, learning rate, ... every few steps
        plots/                  pictures of the training and of the tests
        finished.json           appears when training has ended, and why
        results.jsonl  predictions-test.csv  tensorboard/       written by trainer and tester
        wandb.json  wandb/      with --wandb: the run's id there, what was not sent yet

A checkpoint is one safetensors file that appears whole or not at all (arrays and a JSON header: nothing is ever
unpickled), and carries the hash of its weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from config import (
    MODELS,
    ModelSettings,
    TrainingSettings,
    differences,
    from_json,
    model_settings_to_json,
    model_title,
    to_json,
)
from utils import (
    FORMAT_VERSION,
    UserError,
    atomic_write,
    is_locked,
    log,
    read_json,
    read_jsonl,
    sha256_of_json,
    write_json,
)

TEXT_FILES = ("vocab.txt", "labels.txt", "sentence_splitter.json")


@dataclass(frozen=True)
class Retraining:
    """A second training, on training and validation documents together, for as long as a first one found best.

    Attributes:
        run: Name of the first run.
        weights_sha256: Of its best weights.
        step: At which it had them.
        epochs: Passes over its training split until then, the last one perhaps in part.
        valid_accuracy: What they reached on validation.
    """

    run: str
    weights_sha256: str
    step: int
    epochs: float
    valid_accuracy: float


@dataclass(frozen=True)
class RunConfig:
    """What a run is: another value of any of these is another run.

    Attributes:
        dataset: Name of the data set.
        architecture: ``han``, ``bilstm`` or ``cnn``.
        model: Shape of the network.
        training: How it is trained.
        class_names: In order of the labels.
        vocabulary_size: V, with ``<pad>`` and ``<unk>``.
        embedding_dim: E.
        records_sha256: Of the manifest of the records it is trained on.
        retraining: For how long, if it is trained on validation as well; ``None`` for a run that validates.
    """

    dataset: str
    architecture: str
    model: ModelSettings
    training: TrainingSettings
    class_names: tuple[str, ...]
    vocabulary_size: int
    embedding_dim: int
    records_sha256: str
    retraining: Retraining | None = None

    def to_json(self) -> dict[str, Any]:
        """A nested dictionary; of the model's settings those that this model has."""
        return {**asdict(self), "model": model_settings_to_json(self.architecture, self.model)}

    @classmethod
    def from_json(cls, value: dict[str, Any], source: str) -> RunConfig:
        """Rebuilds the configuration; a name that does not belong is an error naming it and ``source``."""
        try:
            if value["architecture"] not in MODELS:
                raise UserError(f"{source}: unknown model {value['architecture']!r}; known: {', '.join(MODELS)}")
            return cls(
                **{
                    **value,
                    "model": from_json(ModelSettings, value["model"], source),
                    "training": from_json(TrainingSettings, value["training"], source),
                    "class_names": tuple(value["class_names"]),
                    "retraining": Retraining(**value["retraining"]) if value.get("retraining") else None,
                }
            )
        except (TypeError, KeyError) as error:
            raise UserError(f"{source} is not a run configuration of this version ({error})") from error

    def title(self) -> str:
        """What the field calls the network, for example ``HAN-GRU``, and what sets it apart."""
        frozen = ", frozen word vectors" if self.training.freeze_embeddings else ""
        retrained = ", trained on train and validation" if self.retraining else ""
        return model_title(self.architecture, self.model) + frozen + retrained

    def flat(self) -> dict[str, Any]:
        """All settings side by side, for :func:`config.differences`."""
        value = self.to_json()
        return {**value, **value["model"], **to_json(self.training), "model": None, "training": None}


@dataclass
class Progress:
    """Where a run stands; with the weights and the optimiser's state, all that resuming takes.

    Attributes:
        epoch: Counted from 0.
        step: Optimiser steps taken.
        best_step: Step of the best validation so far; -1 before the first.
        best_loss: Its validation loss.
        best_accuracy: Its validation accuracy.
        fruitless: Validations since the best one.
    """

    epoch: int = 0
    step: int = 0
    best_step: int = -1
    best_loss: float = float("inf")
    best_accuracy: float = 0.0
    fruitless: int = 0


class RunFolder:
    """Paths and contents of one run.

    Args:
        path: The folder, for example ``runs/imdb-han``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.json"
        self.history = path / "history.jsonl"
        self.steps = path / "steps.jsonl"
        self.plots = path / "plots"
        self.results = path / "results.jsonl"
        self.finished = path / "finished.json"
        self.lock = path.parent / f".{path.name}.lock"  # beside the folder, so that it survives --restart
        self.checkpoints = path / "checkpoints"
        self.best = path / "best.safetensors"
        self.tensorboard = path / "tensorboard"

        self.results_lock = path.parent / f".{path.name}.results.lock"

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.config_file.exists()

    def create(self, config: RunConfig, records: Path) -> None:
        """Begins a run: copies what text processing needs, then writes ``config.json``, whose presence means begun.

        Raises:
            UserError: There are weights here that such a configuration would be wrong about.
        """
        if self.has_weights():
            raise UserError(
                f"{self.path} holds weights but no readable {self.config_file.name}; begin anew with --restart"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        for name in TEXT_FILES:
            shutil.copyfile(records / name, self.path / name)
        write_json(
            self.config_file, {"format_version": FORMAT_VERSION, "settings": config.to_json(), "origin": origin()}
        )

    def has_weights(self) -> bool:
        """Whether anything was learnt here yet."""
        return self.best.exists() or bool(self.checkpoint_files())

    def remove_leftovers(self) -> None:
        """Deletes the temporary files of writes that a kill interrupted; for the trainer that holds the lock."""
        for folder in (self.path, self.checkpoints):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    def config(self) -> RunConfig:
        """Reads ``config.json``.

        Raises:
            UserError: No run here, or one of another format version.
        """
        if not self.exists():
            raise UserError(f"there is no run in {self.path}")
        try:
            value = dict(read_json(self.config_file))
        except (UserError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.config_file} is damaged; put the run aside with han_trainer.py --restart"
            ) from error
        if value.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{self.config_file} has format version {value.get('format_version')}, this program reads "
                f"{FORMAT_VERSION}; train a new run: python han_trainer.py --run NAME"
            )
        return RunConfig.from_json(value["settings"], str(self.config_file))

    def identity(self) -> str:
        """SHA-256 of all settings as they stand in ``config.json``: a checkpoint of another run is told apart by it.

        Of the file and not of the settings in memory, which may know some that are younger than the run.
        """
        return sha256_of_json(read_json(self.config_file)["settings"])

    def refuse_other_settings(self, config: RunConfig) -> None:
        """Raises :class:`UserError` with the differences if the run here was begun with other settings."""
        old, new = self.config().flat(), config.flat()
        changed = ["the records were made anew"] if old["records_sha256"] != new["records_sha256"] else []
        changed += differences(old | {"records_sha256": ""}, new | {"records_sha256": ""})
        if changed:
            raise UserError(
                f"the run in {self.path} was begun with other settings ({'; '.join(changed)}); "
                "choose another --run NAME, or put the old run aside with --restart"
            )

    def refuse_other_records(self, config: RunConfig, records: Path, manifest: dict[str, Any]) -> None:
        """Raises :class:`UserError` unless ``records``, described by ``manifest``, are what the run learnt from."""
        way_out = "train again with --restart, or name the run's own --data_dir"
        for name in ("vocab.txt", "labels.txt"):
            if (self.path / name).read_bytes() != (records / name).read_bytes():
                raise UserError(f"{name} of {self.path} is not that of {records}; {way_out}")
        if sha256_of_json(manifest) != config.records_sha256:
            raise UserError(f"{records} is not what {self.path} was trained on; {way_out}")

    def put_aside(self) -> Path:
        """Renames the folder so that a new run can begin in its place; returns where it went."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        self.path.rename(aside)
        return aside

    def checkpoint_files(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(self.checkpoints.glob("step-*.safetensors"))

    def is_training(self) -> bool:
        """Whether a trainer holds the run right now."""
        return is_locked(self.lock)


def origin() -> dict[str, Any]:
    """Where a run comes from: command line, commit, versions, machine; told to people, compared by nobody."""
    from importlib.metadata import version

    packages = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "nltk", "scikit-learn", "gensim")
    words = [word for word in sys.argv[1:] if word != "--restart"]  # the command that goes on with a run has none
    return {
        "command": shlex.join(["python", Path(sys.argv[0]).name, *words]),
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages if installed(name)},
    }


def installed(package: str) -> bool:
    """Whether a distribution is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def commit() -> str:
    """The commit of this program, with ``+`` if files were changed since; ``unknown`` outside a git checkout."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def find_run(named: str, runs_dir: Path) -> RunFolder:
    """The run that a person named by its path or by its name in ``runs_dir``.

    Raises:
        UserError: There is none; lists those there are.
    """
    for path in (Path(named), runs_dir / named):
        if named and RunFolder(path).exists():
            return RunFolder(path)
    known = runs_in(runs_dir)
    there = f"{runs_dir} holds: {known}" if known else f"{runs_dir} holds none; train one with han_trainer.py"
    raise UserError(f"there is no run {named!r}; {there}")


def runs_in(runs_dir: Path) -> str:
    """The names of the runs in a folder, in a row; empty if there are none."""
    return ", ".join(sorted(file.parent.name for file in runs_dir.glob("*/config.json")))


def no_such_run(run: RunFolder, train: str) -> UserError:
    """What to say of a run that is not there, with the command that trains it and the runs that there are."""
    known = runs_in(run.path.parent)
    others = f"; {run.path.parent} holds: {known}" if known else ""
    return UserError(f"there is no run in {run.path}; train one: {train}{others}")


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints


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


def retraining_config(first: RunFolder, asked: RunConfig) -> RunConfig:
    """The configuration of a retraining: that of a finished run, and the epochs after which it was best.

    Args:
        first: The finished run.
        asked: What flags and records ask for: a retraining leaves nothing to choose.

    Raises:
        UserError: The run is not finished, was made from other records, or a flag asks for another setting.
    """
    if not first.finished.exists():
        raise UserError(
            f"{first.path} is not a finished run; train it first, then retrain with --run {first.path.name}"
        )
    config = first.config()
    if config.retraining:
        raise UserError(f"{first.path} was trained on validation already; retrain {config.retraining.run}")
    if config.records_sha256 != asked.records_sha256:
        raise UserError(f"the records are not what {first.path} was trained on; train it again with --restart")
    for settings, wanted in ((config.model, asked.model), (config.training, asked.training)):
        for name, value in to_json(wanted).items():
            if value not in {getattr(settings, name), getattr(type(settings)(), name)}:
                raise UserError(
                    f"--{name} {value}: a retraining takes the settings of {first.path}, which has "
                    f"{getattr(settings, name)}; leave the flag out, or train another --run"
                )
    best = read_checkpoint(first.best)
    (row,) = (row for row in read_jsonl(first.history) if row["step"] == best.progress.step)
    chosen = Retraining(
        first.path.name, best.weights_sha256, best.progress.step, row["epoch"], best.progress.best_accuracy
    )
    return replace(config, retraining=chosen)


# ---------------------------------------------------------------------------------------------------------------------
# The model


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
    from baselines import CNN, BiLSTM
    from han import HAN

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
