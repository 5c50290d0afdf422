"""The run folder: everything about one training run, self-contained: it can be moved.

runs/imdb-han/
    device.json             what the trainer computes on
    config.json             settings, class names, versions, tokeniser, command line, what data it was made from
    vocab.txt  labels.txt  sentence_splitter.json        to process text as in training
    checkpoints/            step-00000400.safetensors: weights, optimiser, epoch, step; the last few
    ngrams.safetensors      with --ngrams on: the table of the n-gram lane
    teachers/               of a distillation: each teacher's probabilities of the unlabelled documents
    best.safetensors        weights of the best validation; after a retraining, which has none, the last
    history.jsonl           one line per validation
    steps.jsonl             loss, accuracy, learning rate, ... every few steps
    plots/                  figures of the training and of the tests
    finished.json           appears when training has ended, and why
    results.jsonl  predictions-test.csv  tensorboard/       written by trainer and tester
    wandb.json  wandb/      with --wandb: the run's id there, points not sent yet

"""

from __future__ import annotations

import argparse
import platform
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

import schema
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
from corpus.origins import named_data_set
from data_processing import Tokeniser, tokeniser, tokeniser_difference
from text.records import read_index
from utils import (
    FORMAT_VERSION,
    LABELS_FILE,
    SPLITTER_FILE,
    VOCABULARY_FILE,
    UserError,
    add_folder_flags,
    did_you_mean,
    is_locked,
    plain_name,
    read_json,
    run_path,
    sha256_of_file,
    sha256_of_json,
    write_json,
)

TEXT_FILES = (VOCABULARY_FILE, LABELS_FILE, SPLITTER_FILE)
START_AGAIN = "start a new run with han_trainer.py --restart"
STILL_TRAINING, STOPPED = "is still training", "did not finish training"


class Origin(TypedDict):
    """How a run was made; see :func:`origin`."""

    command: str


class ConfigFile(TypedDict):
    """``config.json``; runs of earlier versions have no ``files``, ``tokeniser`` and ``training_texts``."""

    format_version: int
    settings: dict[str, Any]
    origin: Origin
    tokeniser: NotRequired[Tokeniser]
    training_texts: NotRequired[TrainingTexts]
    files: NotRequired[dict[str, str]]


class TrainingTexts(TypedDict):
    """How long the training documents of a run are.

    Attributes:
        short: 99 of 100 of them have at least as many words.
    """

    short: int


class TrainedOn(TypedDict):
    """``device.json``: what the trainer computes on, by which testers and readers of the run choose theirs.

    Attributes:
        device: ``cpu`` or ``gpu``.
        card: Name of the GPU, empty for a CPU.
        tf32: Whether its products may round their inputs to TF32; false on a CPU.
    """

    device: str
    card: str
    tf32: bool


class FinishedFile(TypedDict):
    """``finished.json``, without the progress, which is for readers; runs of earlier versions have no ``files``."""

    files: NotRequired[dict[str, str]]


class SettingsOfConfig(TypedDict):
    """The ``settings`` of ``config.json``."""

    dataset: str
    architecture: str
    model: dict[str, Any]
    training: dict[str, Any]
    class_names: list[str]
    vocabulary_size: int
    embedding_dim: int
    records_sha256: str
    retraining: NotRequired[Retraining | None]
    distillation: NotRequired[Distillation | None]
    continuation: NotRequired[Continuation | None]
    evidence_sha256: NotRequired[str]
    several_labels: NotRequired[bool]


@dataclass(frozen=True)
class Retraining:
    """A second training, on training and validation documents together, for as long as was best in a first one.

    Attributes:
        run: Name of the first run.
        weights_sha256: Of its best weights.
        step: At which it had them.
        epochs: Passes over its training split until then, the last one perhaps in part.
        valid_accuracy: What they reached on validation.
        ngram_scales: Scales of the network and of the n-gram lane in it; ``None`` without n-grams.
        thresholds: Of each label in it, where a text may have several; else ``None``.
    """

    run: str
    weights_sha256: str
    step: int
    epochs: float
    valid_accuracy: float
    ngram_scales: list[float] | None = None
    thresholds: list[float] | None = None


@dataclass(frozen=True)
class Distillation:
    """A training that also learns from the unlabelled documents, by what finished runs think of them.

    Attributes:
        teachers: Names of the runs.
        weights_sha256: Of the best weights of each.
    """

    teachers: list[str]
    weights_sha256: list[str]


@dataclass(frozen=True)
class Continuation:
    """A training on other documents that begins with the weights of a finished run.

    Attributes:
        run: Name of that run.
        weights_sha256: Of its best weights.
        ngrams: Whose n-grams it has, one of :data:`config.NGRAMS_FROM`; empty without n-grams, and in runs of earlier
            versions.
    """

    run: str
    weights_sha256: str
    ngrams: str = ""


@dataclass(frozen=True)
class RunConfig:
    """The settings of a run: another value of any of these is another run.

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
        distillation: Whose judgements it learns from; ``None`` for a run that learns from labels alone.
        continuation: Whose weights it begins with; ``None`` for a run that begins at random.
        evidence_sha256: Of the marked evidence that it also learns from; empty for a run that does not.
        several_labels: Whether a text may have several labels, or none.
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
    distillation: Distillation | None = None
    continuation: Continuation | None = None
    evidence_sha256: str = ""
    several_labels: bool = False

    def to_json(self) -> dict[str, Any]:
        """A nested dictionary; of the model's settings those that this model has."""
        value = {**asdict(self), "model": model_settings_to_json(self.architecture, self.model)}
        # Runs of one label a text are identified as they were before there were these settings.
        if not self.several_labels:
            del value["several_labels"]
        if self.retraining and self.retraining.thresholds is None:
            del value["retraining"]["thresholds"]
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any], source: str) -> RunConfig:
        """Rebuilds the configuration; an unknown name is an error that names it and ``source``."""
        schema.checked(value, SettingsOfConfig, source, START_AGAIN)
        if unknown := value.keys() - {field.name for field in fields(cls)}:
            raise UserError(f"{source}: unknown setting {', '.join(sorted(unknown))}; {START_AGAIN}")
        if value["architecture"] not in MODELS:
            raise UserError(f"{source}: unknown model {value['architecture']!r}; known: {', '.join(MODELS)}")
        schema.checked(value["model"], ModelSettings, source, START_AGAIN)
        schema.checked(value["training"], TrainingSettings, source, START_AGAIN)
        return cls(
            **{
                **value,
                "model": from_json(ModelSettings, value["model"], source),
                "training": from_json(TrainingSettings, value["training"], source),
                "class_names": tuple(value["class_names"]),
                "retraining": Retraining(**value["retraining"]) if value.get("retraining") else None,
                "distillation": Distillation(**value["distillation"]) if value.get("distillation") else None,
                "continuation": Continuation(**value["continuation"]) if value.get("continuation") else None,
            }
        )

    def title(self) -> str:
        """What the field calls the network, for example ``HAN-GRU``, and what is special about its training."""
        frozen = ", frozen word vectors" if self.training.freeze_embeddings else ""
        retrained = ", trained on train and validation" if self.retraining else ""
        teachers = len(self.distillation.teachers) if self.distillation else 0
        distilled = f", distilled from {teachers} network{'s' * (teachers > 1)}" if teachers else ""
        continued = f", continued from {self.continuation.run}" if self.continuation else ""
        return model_title(self.architecture, self.model) + frozen + retrained + distilled + continued

    def flat(self) -> dict[str, Any]:
        """All settings side by side, for :func:`config.differences`."""
        value = self.to_json()
        return {**value, **value["model"], **to_json(self.training), "model": None, "training": None}


@dataclass
class Progress:
    """How far a run has come; with the weights and the optimiser's state, all that resuming needs.

    Attributes:
        epoch: Counted from 0.
        step: Optimiser steps taken.
        best_step: Step of the best validation so far; -1 before the first.
        best_loss: Its validation loss.
        best_accuracy: Its validation accuracy.
        validations_without_improvement: Validations since the best one.
    """

    epoch: int = 0
    step: int = 0
    best_step: int = -1
    best_loss: float = float("inf")
    best_accuracy: float = 0.0
    validations_without_improvement: int = 0

    @classmethod
    def from_json(cls, value: dict[str, Any], source: str) -> Progress:
        """Rebuilds it from the file ``source``; an earlier version called the last attribute ``fruitless``."""
        names = {"fruitless": "validations_without_improvement"}
        value = {names.get(name, name): number for name, number in value.items()}
        if unknown := value.keys() - {field.name for field in fields(cls)}:
            raise UserError(f"{source} is of another version: unknown progress {', '.join(sorted(unknown))}")
        schema.checked(value, cls, source)
        return cls(**value)


class RunFolder:
    """Paths and contents of one run.

    Args:
        path: The folder, for example ``runs/imdb-han``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.json"
        self.device_file = path / "device.json"
        self.history = path / "history.jsonl"
        self.steps = path / "steps.jsonl"
        self.plots = path / "plots"
        self.results = path / "results.jsonl"
        self.finished = path / "finished.json"
        self.lock = path.parent / f".{path.name}.lock"  # next to the folder, so that --restart does not move it
        self.checkpoints = path / "checkpoints"
        self.best = path / "best.safetensors"
        self.ngrams = path / "ngrams.safetensors"
        self.teachers = path / "teachers"
        self.tensorboard = path / "tensorboard"
        self.results_lock = path.parent / f".{path.name}.results.lock"

    def worker_log(self, number: int) -> Path:
        """Where a worker that has no terminal writes; next to the folder, which only the chief touches."""
        return self.path.with_name(f"{self.path.name}.worker-{number}.log")

    def exists(self) -> bool:
        """Whether a run has begun in this folder."""
        return self.config_file.exists()

    def create(self, config: RunConfig, records: Path) -> None:
        """Begins a run: copies the files of the text processing, then writes ``config.json``; with it the run exists.

        Raises:
            UserError: The folder has weights, which would not be those of this configuration.
        """
        if self.has_weights():
            raise UserError(
                f"{self.path} holds weights but no readable {self.config_file.name}; start again with --restart"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self.ngrams.unlink(missing_ok=True)  # of a start with other settings that saved no weights
        for name in TEXT_FILES:
            shutil.copyfile(records / name, self.path / name)
        write_json(
            self.config_file,
            {
                "format_version": FORMAT_VERSION,
                "settings": config.to_json(),
                "origin": origin(),
                "tokeniser": tokeniser(),
                "training_texts": training_texts(records),
                "files": {name: sha256_of_file(self.path / name) for name in TEXT_FILES},
            },
        )

    def finish(self, reason: str, progress: Progress) -> None:
        """Marks the run as finished, with the hashes of its best weights and its table of n-grams."""
        files = {path.name: sha256_of_file(path) for path in (self.best, self.ngrams) if path.exists()}
        write_json(self.finished, {"reason": reason, **asdict(progress), "files": files})

    def check_files(self) -> None:
        """Compares the files of the run with the hashes they were written with; runs of earlier versions have none.

        Raises:
            UserError: The run was made with another tokeniser, or a file is missing or was changed.
        """
        self.refuse_other_tokeniser()
        known = dict(self.read_config().get("files", {}))
        if self.finished.exists():
            known |= schema.read_json(self.finished, FinishedFile, "delete it and run the trainer again").get(
                "files", {}
            )
        for name, sha256 in known.items():
            path = self.path / name
            if not path.is_file() or sha256_of_file(path) != sha256:
                state = "was changed or damaged" if path.is_file() else "is missing"
                raise UserError(f"{path} {state} after it was written; put the original file back, or {START_AGAIN}")

    def refuse_other_tokeniser(self) -> None:
        """Raises :class:`UserError` if this program would cut texts into other words than the run was trained on."""
        config = self.read_config()
        if difference := tokeniser_difference(config.get("tokeniser")):
            dataset = shlex.quote(self.config().dataset)
            raise UserError(
                f"{self.path} was made with {difference}; make its records again and train it again: "
                f"python serialize_data.py {dataset} && {self.training_command()} --restart"
            )

    def record_device(self, device: TrainedOn) -> None:
        """Notes what the trainer computes on; a run that is resumed elsewhere is of the last device."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.device_file, device)

    def trained_on(self) -> TrainedOn:
        """What the trainer computes on; a run of an earlier version does not say, and counts as one of a CPU."""
        if not self.device_file.exists():
            return TrainedOn(device="cpu", card="", tf32=False)
        return schema.read_json(self.device_file, TrainedOn, "delete it: the run then counts as trained on a CPU")

    def result_file(self, kind: str, tested: str, ending: str) -> Path:
        """A report or predictions: ``report-test.txt``, ``predictions-valid.csv``.

        Args:
            kind: What the file holds.
            tested: The split, and the checkpoint if it is not the best one.
            ending: Of the name.
        """
        return self.path / f"{kind}-{tested}.{ending}"

    def has_weights(self) -> bool:
        """Whether the run has saved any weights."""
        return self.best.exists() or bool(self.checkpoint_files())

    def remove_leftovers(self) -> None:
        """Deletes the temporary files of writes that a kill interrupted; for the trainer that holds the lock."""
        for folder in (self.path, self.checkpoints):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    def config(self) -> RunConfig:
        """Reads ``config.json``.

        Raises:
            UserError: There is no run, or one of another format version.
        """
        return RunConfig.from_json(self.read_config()["settings"], str(self.config_file))

    def read_config(self) -> ConfigFile:
        """``config.json`` as it is; errors as for :meth:`config`."""
        if not self.exists():
            raise UserError(f"there is no run in {self.path}")
        try:
            value = read_json(self.config_file)
        except UserError as error:
            raise UserError(f"{self.config_file} is damaged; {START_AGAIN}") from error
        version = value.get("format_version", FORMAT_VERSION) if isinstance(value, dict) else FORMAT_VERSION
        if version != FORMAT_VERSION:
            raise UserError(
                f"{self.config_file} has format version {version}, this program reads {FORMAT_VERSION}; train a new "
                "run: python han_trainer.py --run NAME"
            )
        return schema.checked(value, ConfigFile, str(self.config_file), START_AGAIN)

    def short_text(self) -> int:
        """Words below which a text is shorter than 99 of 100 training documents; 0 where the run does not say."""
        return self.read_config().get("training_texts", {"short": 0})["short"]

    def identity(self) -> str:
        """SHA-256 of all settings in ``config.json``; a checkpoint carries it, so one of another run is recognised.

        Of the file and not of the settings in memory, which may include some that are newer than the run.
        """
        return sha256_of_json(self.read_config()["settings"])

    def refuse_other_settings(self, config: RunConfig) -> None:
        """Raises :class:`UserError` with the differences if the run was started with other settings."""
        old, new = self.config().flat(), config.flat()
        changed = ["the records were made again"] if old["records_sha256"] != new["records_sha256"] else []
        changed += differences(old | {"records_sha256": ""}, new | {"records_sha256": ""})
        if changed:
            raise UserError(
                f"the run in {self.path} was started with other settings ({'; '.join(changed)}); choose another "
                "--run NAME, or start again with --restart, which keeps the old run under another name"
            )

    def refuse_other_records(self, config: RunConfig, records: Path, manifest: dict[str, Any]) -> None:
        """Raises :class:`UserError` unless ``records``, described by ``manifest``, are those of the run."""
        way_out = "train again with --restart, or name the --data_dir of the run"
        for name in (VOCABULARY_FILE, LABELS_FILE):
            if (self.path / name).read_bytes() != (records / name).read_bytes():
                raise UserError(f"{self.path / name} differs from {records / name}; {way_out}")
        if sha256_of_json(manifest) != config.records_sha256:
            raise UserError(f"{self.path} was trained on other records than {records}; {way_out}")

    def put_aside(self) -> Path:
        """Renames the folder so that a new run can take its place; returns the new path."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        self.path.rename(aside)
        return aside

    def checkpoint_files(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(self.checkpoints.glob("step-*.safetensors"))

    def is_training(self) -> bool:
        """Whether a trainer is working on the run right now."""
        return is_locked(self.lock)

    def training_command(self) -> str:
        """What to type to begin or resume the training of the run; errors as for :meth:`config`."""
        return self.read_config()["origin"]["command"]

    def unfinished(self) -> str:
        """Why the run is not finished, :data:`STILL_TRAINING` or :data:`STOPPED`; empty if it is."""
        if self.finished.exists():
            return ""
        return STILL_TRAINING if self.is_training() else STOPPED

    def refuse_unfinished(self, otherwise: str = "") -> None:
        """Refuses a run that is not finished, for what needs the weights of a whole training.

        Args:
            otherwise: What the user can do apart from finishing the training.

        Raises:
            UserError: There is no such run, or its training has not ended.
        """
        state = self.unfinished()
        if not state:
            return
        way_out = f"; or {otherwise}" if otherwise else ""
        next_step = "wait for its end" if state == STILL_TRAINING else f"resume it: {self.training_command()}"
        raise UserError(f"{self.path} {state}; {next_step}{way_out}")


def training_texts(records: Path) -> TrainingTexts:
    """How long the training documents of a records folder are."""
    words = read_index(records, "train")["words"]
    return {"short": int(np.percentile(words, 1, method="lower"))}


def origin() -> dict[str, Any]:
    """How a run was made: command line, commit, versions, machine; for information, never compared."""
    from importlib.metadata import version

    packages = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "nltk", "scikit-learn", "gensim")
    words = [word for word in sys.argv[1:] if word != "--restart"]  # the command that resumes a run has none
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
    folder = Path(__file__).parent.parent
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
    """The run with this path, or with this name in ``runs_dir``.

    Raises:
        UserError: There is none; lists the runs in ``runs_dir``.
    """
    for path in (Path(named), runs_dir / named):
        if named and RunFolder(path).exists():
            return RunFolder(path)
    known = runs_in(runs_dir)
    there = f"{runs_dir} holds: {known}" if known else f"{runs_dir} holds none; train one with han_trainer.py"
    raise UserError(f"there is no run {named!r}; {there}{similar_run(Path(named).name, runs_dir)}")


def newest_run(runs_dir: Path) -> RunFolder:
    """The run in a folder whose best weights are the newest.

    Raises:
        UserError: There is none.
    """
    runs = [RunFolder(file.parent) for file in runs_dir.glob("*/config.json")]
    trained = [run for run in runs if run.best.exists()]
    if not trained:
        raise UserError(f"{runs_dir} holds no trained run; make one: python run_all.py sample")
    return max(trained, key=lambda run: run.best.stat().st_mtime)


def runs_in(runs_dir: Path) -> str:
    """The names of the runs in a folder, in a row; empty if there are none."""
    return ", ".join(names_of_runs(runs_dir))


def names_of_runs(runs_dir: Path) -> list[str]:
    """The names of the runs in a folder."""
    return sorted(file.parent.name for file in runs_dir.glob("*/config.json"))


def similar_run(name: str, runs_dir: Path) -> str:
    """``; did you mean imdb-han?`` where a run has a similar name; else empty."""
    return did_you_mean(name, names_of_runs(runs_dir))


OF_SEVERAL_LABELS = "use han_tester.py, predict.py, explain.py --text or attention_viewer.py"


def refuse_several_labels(run: RunFolder, what: str, way_out: str = OF_SEVERAL_LABELS) -> None:
    """Refuses a run whose texts may have several labels, for what is made for one.

    Args:
        run: The run; it may not exist.
        what: A flag or a script.
        way_out: What to do instead.

    Raises:
        UserError: It is such a run.
    """
    if run.exists() and run.config().several_labels:
        raise UserError(f"{what} is for one label a text, and the texts of {run.path} may have several; {way_out}")


def no_such_run(run: RunFolder, train: str) -> UserError:
    """The message about a missing run, with the command that trains it and the names of the other runs."""
    known = runs_in(run.path.parent)
    others = f"; {run.path.parent} holds: {known}{similar_run(run.path.name, run.path.parent)}" if known else ""
    return UserError(f"there is no run in {run.path}; train one: {train}{others}")


# ---------------------------------------------------------------------------------------------------------------------
# The flags that name a run


def add_run_flags(parser: argparse.ArgumentParser, model: bool = True, several: bool = False) -> None:
    """Adds RUN and the flags that name a run in its place, for a script that looks at one: see :func:`chosen_run`.

    Args:
        parser: Gets them.
        model: Whether the script serves every model; without, it has no ``--model``.
        several: Whether more than one RUN may be given: then ``named_runs`` is a list, and the script puts one of them,
            or ``None``, into ``named_run`` before it calls :func:`chosen_run`.
    """
    name, number = ("named_runs", "*") if several else ("named_run", "?")
    parser.add_argument(name, metavar="RUN", nargs=number, help="run folder, or its name in --runs_dir")
    parser.add_argument("--dataset", help="in place of RUN: name of the data set (default: imdb)")
    if model:
        parser.add_argument(
            "--model", choices=MODELS, help=f"in place of RUN: network of the run (default: {MODELS[0]})"
        )
    parser.add_argument("--run", help="in place of RUN: name of the run folder (default: <dataset>-<model>)")
    add_folder_flags(parser)


def chosen_run(arguments: argparse.Namespace, model: str = MODELS[0]) -> RunFolder:
    """The run that RUN names, or else ``--dataset``, ``--model`` and ``--run``; it may not exist.

    Completes ``arguments``, so that ``utils.run_flags`` names the same run.

    Args:
        arguments: Parsed flags of :func:`add_run_flags`.
        model: Its default.

    Raises:
        UserError: RUN and a flag that it replaces are both given, or ``--dataset`` is a file from which no data set was
            made.
    """
    given = [name for name in ("dataset", "model", "run") if getattr(arguments, name, None) is not None]
    if arguments.named_run is not None:
        if given:
            raise UserError(f"RUN ({arguments.named_run}) already names the run; leave out --{given[0]}")
        path = Path(arguments.named_run)
        if not RunFolder(path).exists() and path.name == arguments.named_run:
            path = arguments.runs_dir / plain_name("run", path.name)
        arguments.run, arguments.runs_dir = path.name, path.parent
        if RunFolder(path).exists():
            config = RunFolder(path).config()
            arguments.dataset, arguments.model = config.dataset, config.architecture
    arguments.dataset = named_data_set(arguments.dataset or "imdb", arguments.data_dir)
    arguments.model = getattr(arguments, "model", None) or model
    return RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, arguments.model))
