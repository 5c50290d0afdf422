"""Run every stage, from the archive to the test report. Each command is printed and can be run alone.

    python run_all.py sample                                    no network needed, about two minutes
    python run_all.py imdb True                                 two classes; False keeps the eight star ratings
    python run_all.py imdb True --source aclImdb_v1.tar.gz      with an archive you already have
    python run_all.py imdb True --until serialize_data          prepares the data only
    python run_all.py my_reviews.csv                            your own texts: a table, or a folder per class
    python run_all.py may/reviews.csv --name may                a second file of the same name
    python run_all.py new_reviews.csv --from_run imdb-han       go on with new texts: words and weights of a run

A finished stage whose inputs and settings are unchanged is skipped. A stage whose inputs changed runs again and says
which input changed. An interrupted training resumes. A training with other settings starts a new run, and the old run
is kept under another name.

Two tasks need han_trainer.py itself: --run_type lr_range finds learning rates before a training, --run_type retrain
trains once more after it, on the training and validation documents together.

Small data sets get settings that were chosen for their size. --preset fast is for a first look, --preset best takes
several trainings. All settings are printed with the commands; your own flags win.
"""

from __future__ import annotations

import installed  # noqa: F401

# isort: split
import argparse
import dataclasses
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import schema
from config import (
    MODELS,
    NETWORKS,
    NEW_WORDS,
    CsvSettings,
    ModelSettings,
    TesterOperation,
    TextSettings,
    TrainerOperation,
    TrainingSettings,
    add_flags,
    add_model_flag,
    add_ngrams_flag,
    embeddings_source,
    given_settings,
    has_setting,
    model_settings_from_flags,
)
from corpus.corpora import (
    FEW_TEST_DOCUMENTS,
    find_corpus,
    has_several_labels,
    own_source,
    refuse_published_name,
    sha256_of_source,
)
from corpus.evidence import marks_training
from corpus.origins import add_name_flag, name_flag, paths_of, refuse_other_source
from data_processing import MadeOfTexts, tokeniser_difference
from runtime.run_folder import RunFolder, find_run
from text.engine_choice import ENGINES, check_engine
from training.presets import PRESETS, STUDENT, TEACHERS, suited
from training.tracking import add_wandb_flags, check_installed, wandb_flags
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    exclusive_lock,
    folder_flags,
    log,
    parse_bool,
    remove_leftovers,
    run_flags,
    run_path,
    run_script,
    write_json,
)

STAGES = ("download", "create_csv", "serialize_data", "train", "test", "explain")
REPORTED = frozenset({"test", "explain"})  # values of --until with which the run is tested
OF_A_RUN = {"teacher", "train", "compare", "test", "explain"}  # stages that each run has for itself
# Validation documents by which a method of explanation is chosen: a minute at most on IMDB. Leave-one-out reads a text
# once per word, so that the work grows with the square of the words, which is limited.
EXAMINED_DOCUMENTS = 50
EXAMINED_WORK = 20_000_000
SHOWN_DOCUMENTS = 3
KILLED = {128 + number for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)}
INTERRUPTED = {128 + signal.SIGINT, 128 + signal.SIGTERM}


@dataclass(frozen=True)
class Stage:
    """One stage: what to type, what it reads and what it leaves.

    Attributes:
        name: One of :data:`STAGES`, or ``teacher`` or ``compare``.
        command: Script and arguments.
        inputs: Files whose change makes the stage run again.
        outputs: Files that exist when the stage is complete.
        options: Further arguments that change nothing about what comes out (device, number of processes).
        report: Text that is shown when the stage is skipped.
        outdated: What has changed in this program since the stage was run; the stage runs again because of it.
    """

    name: str
    command: list[str]
    inputs: list[Path]
    outputs: list[Path]
    options: list[str] = dataclasses.field(default_factory=list)
    report: Path | None = None
    outdated: list[str] = dataclasses.field(default_factory=list)


class Fingerprint(TypedDict):
    """What a stage is run with.

    Attributes:
        settings: Its command.
        inputs: SHA-256 of each input that exists, by its path.
    """

    settings: str
    inputs: dict[str, str]


class StageRecord(Fingerprint):
    """An entry of ``run_all.json``: what a stage was last run with, and whether it finished."""

    finished: bool


class SplitSize(TypedDict):
    """The number of documents of a split in ``csv_manifest.json``."""

    documents: int


class SplitsOfCsv(TypedDict):
    """What this script reads of ``csv_manifest.json``."""

    splits: dict[str, SplitSize]


class RecordsOfSplit(SplitSize):
    """The size of a split in the records' ``manifest.json``."""

    words: int


class SplitsOfRecords(TypedDict):
    """What this script reads of ``manifest.json``."""

    splits: dict[str, RecordsOfSplit]
    several_labels: NotRequired[bool]


def build_parser() -> Parser:
    """The command line; a setting of any stage can be given and is handed to that stage."""
    parser = Parser(prog="run_all.py", description=__doc__)
    parser.add_argument("dataset", help="name of the data set, for example imdb, or your own file or folder")
    parser.add_argument(
        "binary",
        nargs="?",
        type=parse_bool,
        metavar="True|False",
        help="two classes, or every rating a class (default: True, where the data set has both)",
    )
    add_name_flag(parser)
    parser.add_argument("--source", help="use this archive: a file, or another address than the publisher's")
    parser.add_argument("--sha256", help="hash that the archive must have")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="last stage to run (default: explain)")
    add_model_flag(parser, "network to train: han, or bilstm or cnn to compare it with")
    parser.add_argument(
        "--preset",
        default="default",
        choices=tuple(PRESETS),
        help="; ".join(f"{name}: {text}" for name, text in PRESETS.items()) + " (default: default)",
    )
    parser.add_argument("--run", help="name of the run folder (default: <dataset>-<model>)")
    parser.add_argument(
        "--from_run",
        metavar="RUN",
        help="go on with new data: begin with text processing, vocabulary and weights of this finished run; compare "
        "both runs on the test documents of both data sets",
    )
    parser.add_argument(
        "--new_words",
        nargs="?",
        const=NEW_WORDS[0],
        choices=NEW_WORDS,
        help="with --from_run: also learn words that it does not know; their vectors begin with that of unknown words "
        "(unk, the default) or with what word2vec learns from the new texts",
    )
    parser.add_argument("--new_classes", action="store_true", help="with --from_run: allow classes it does not know")
    add_ngrams_flag(parser)
    add_folder_flags(parser, writes=True)
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), help="where to compute (default: auto)")
    parser.add_argument(
        "--tf32", type=parse_bool, nargs="?", const=True, help="False: a GPU trains in float32, not in TF32"
    )
    add_wandb_flags(parser)
    parser.add_argument("--workers", type=int, help="processes of serialize_data (default: one per core)")
    parser.add_argument(
        "--engine", choices=ENGINES, help="where create_csv and serialize_data read texts (default: local)"
    )
    parser.add_argument("--ray_address", help="with --engine ray: auto, or HOST:PORT of a cluster")
    for settings_class in (CsvSettings, TextSettings, ModelSettings, TrainingSettings, TrainerOperation):
        add_flags(parser, settings_class, unset=True, leave_out=left_out(settings_class))
    return parser


def left_out(settings_class: type) -> frozenset[str]:
    """Settings that run_all does not offer: ``True|False`` has a place of its own, ``--seed`` is the trainer's."""
    return {CsvSettings: frozenset({"binary"}), TextSettings: frozenset({"seed"})}.get(settings_class, frozenset())


def main(arguments: argparse.Namespace) -> int:
    """Runs the stages; returns the exit code of the one that failed, or 0."""
    refuse_settings(arguments)
    paths = paths_of(arguments.dataset, arguments.name, arguments.data_dir)
    refuse_other_file(arguments, paths)
    if arguments.from_run:
        go_on_from(arguments, paths)
    elif asked := [name for name in ("new_words", "new_classes", "ngrams_from") if getattr(arguments, name)]:
        raise UserError(f"--{asked[0]} goes with --from_run RUN; add that, or leave it out")
    memory = paths.folder / "run_all.json"
    drop_damaged(memory)
    for stage in stages(arguments, paths):
        code = run_stage(stage, memory)
        if code:
            log.error("%s ended with exit code %d; %s", stage.name, code, advice(code))
            return code
        if stage.name == arguments.until:
            break
    if arguments.until in REPORTED:
        warn_of_few_documents(documents_of(paths, "test"))
        named = [run_path(arguments.runs_dir, arguments.run, paths.dataset, arguments.model).name]
        named += folder_flags(arguments.data_dir, arguments.runs_dir)
        print(f"\nNext:    python attention_viewer.py {shlex.join(named)}")
        print(f"         tensorboard --logdir {shlex.quote(str(arguments.runs_dir))} --host 127.0.0.1")
        if NETWORKS[arguments.model].attends and not has_several_labels(paths):
            print(f"         python han_tester.py {shlex.join(run_flags(arguments))} --show_documents 10")
    return 0


def documents_of(paths: DataPaths, split: str) -> int:
    """The number of documents of a split of the CSV file.

    Raises:
        UserError: ``csv_manifest.json`` is damaged or has no such split.
    """
    splits = schema.read_json(paths.csv_manifest, SplitsOfCsv)["splits"]
    if split not in splits:
        raise UserError(f"{paths.csv_manifest} has no split {split}; delete it and run the same command again")
    return splits[split]["documents"]


def warn_of_few_documents(count: int) -> None:
    """Prints below the report that a small test split, of this many documents, proves little."""
    if count < FEW_TEST_DOCUMENTS:
        print(
            f"\nNote:    {count} test documents are few. Read the accuracy together with its interval: a difference "
            "smaller\n         than the interval means nothing."
        )


def go_on_from(arguments: argparse.Namespace, paths: DataPaths) -> None:
    """Completes the flags for a training that begins with a run: its path, and its kind of network.

    Raises:
        UserError: There is no such run, it is of the same data, or a flag does not go with it.
    """
    first = find_run(arguments.from_run, arguments.runs_dir)
    config = first.config()
    if arguments.preset != "default":
        raise UserError(f"--preset {arguments.preset} does not go with --from_run; leave one of them out")
    if config.dataset == paths.dataset:
        raise UserError(
            f"{first.path} was trained on {paths.dataset}; name a file with new data; one of the same name needs --name"
        )
    arguments.from_run = str(first.path)
    if arguments.model == MODELS[0]:
        arguments.model = config.architecture


def refuse_other_file(arguments: argparse.Namespace, paths: DataPaths) -> None:
    """Refuses a person's file whose name is that of a published or of another file's data set, and ``--name`` for a
    published one.

    Raises:
        UserError: As said.
    """
    if own_file := own_source(arguments.dataset, paths):
        refuse_published_name(str(own_file), paths.dataset)
        refuse_other_source(str(own_file), paths)
    elif arguments.name:
        name = find_corpus(arguments.dataset, arguments.data_dir).name
        raise UserError(f"--name is for your own file or folder, and {name} is a published data set; leave it out")


def refuse_settings(arguments: argparse.Namespace) -> None:
    """Refuses at once what a later stage would refuse after the stages before it have done their work."""
    check_installed(arguments)
    check_engine(arguments.engine or ENGINES[0], arguments.ray_address or "")
    model_settings_from_flags(arguments)
    for settings_class in (CsvSettings, TextSettings, TrainingSettings, TrainerOperation):
        given_settings(settings_class, arguments)


def advice(code: int) -> str:
    """What to do when a stage has ended with ``code``; one that was killed could not say it itself."""
    if code in KILLED:
        return "it was killed, probably because memory ran out: lower --batch_size or --workers; finished work is kept"
    if code in INTERRUPTED:
        return "run the same command again to resume"
    return "correct the error and run the same command again; finished work is kept"


def stages(arguments: argparse.Namespace, paths: DataPaths) -> Iterator[Stage]:
    """Yields the stages in order, each when the one before has run: its inputs are there by then."""
    run = RunFolder(run_path(arguments.runs_dir, arguments.run, paths.dataset, arguments.model))
    own_file = own_source(arguments.dataset, paths)
    if own_file:
        refuse_source(arguments)
    else:
        yield download_stage(arguments, paths)
    yield csv_stage(arguments, paths, own_file)
    # The student of --preset best: flags of the user come before its own settings, and those for the size after them.
    student = argparse.Namespace(**{**STUDENT, **vars(arguments)})
    marked = learns_from_evidence(arguments, paths)  # reads files: once
    for own in (arguments, student):
        suit(own, paths, marked)
        own.dataset = paths.dataset
    yield records_stage(arguments, paths)
    if arguments.preset == "best":
        yield from distillation_stages(arguments, student, paths, run)
    else:
        task = ["--run_type", "train", *flag(arguments, "from_run"), *flag(arguments, "ngrams_from")]
        yield training_stage("train", task, arguments, run, [paths.manifest, *first_weights(arguments)])
    if arguments.from_run and arguments.until in REPORTED:
        yield compare_stage(arguments, run)
    yield test_stage(arguments, paths, run)
    if (count := examined_documents(paths)) > 1:
        yield explain_stage(arguments, paths, run, count)


def first_weights(arguments: argparse.Namespace) -> list[Path]:
    """The weights of ``--from_run``, or nothing."""
    return [RunFolder(Path(arguments.from_run)).best] if arguments.from_run else []


def csv_stage(arguments: argparse.Namespace, paths: DataPaths, own_file: Path | None) -> Stage:
    """The stage that writes the CSV file, from the archive of a published data set or from the user's own file."""
    source = own_file.resolve() if own_file else find_corpus(arguments.dataset, paths.data_dir).source_file(paths.raw)
    dataset = str(own_file) if own_file else arguments.dataset
    binary = [] if arguments.binary is None else [str(arguments.binary)]
    named = name_flag(dataset, paths) if own_file else []
    return Stage(
        "create_csv",
        ["create_csv.py", dataset, *binary, *named, *given(CsvSettings, arguments), *folder_flags(arguments.data_dir)],
        [source],
        [paths.csv, paths.labels, paths.csv_manifest],
        engine_flags(arguments) if own_file else [],
    )


def engine_flags(arguments: argparse.Namespace) -> list[str]:
    """The flags of the engine that reads texts; what it writes does not depend on it."""
    return [*flag(arguments, "engine"), *flag(arguments, "ray_address")]


def records_stage(arguments: argparse.Namespace, paths: DataPaths) -> Stage:
    """The stage that writes the records."""
    settings = [*given(TextSettings, arguments), *continuing_flags(arguments)]
    vectors = embeddings_source(getattr(arguments, "embeddings", "random"))[1]
    return Stage(
        "serialize_data",
        ["serialize_data.py", paths.dataset, *settings, *folder_flags(arguments.data_dir)],
        [paths.csv, paths.labels, *([Path(vectors)] if vectors else []), *first_weights(arguments)],
        [paths.manifest],
        [*flag(arguments, "workers"), *engine_flags(arguments)],
        outdated=outdated_records(paths),
    )


def compare_stage(arguments: argparse.Namespace, run: RunFolder) -> Stage:
    """The stage that compares the run with the one of ``--from_run``."""
    folders = folder_flags(arguments.data_dir, arguments.runs_dir)
    return Stage(
        "compare",
        ["compare_runs.py", str(arguments.from_run), str(run.path), *folders],
        [*first_weights(arguments), run.best],
        [run.path / "comparison.json"],
        flag(arguments, "device"),
    )


def test_stage(arguments: argparse.Namespace, paths: DataPaths, run: RunFolder) -> Stage:
    """The stage that tests the run on the test split."""
    shows = NETWORKS[arguments.model].attends and not getattr(arguments, "multi_label", False)
    shown = ["--show_documents", str(SHOWN_DOCUMENTS)] if shows else []
    order = [paths.csv_manifest] if getattr(arguments, "ordinal", False) else []  # the tester reads it there
    return Stage(
        "test",
        ["han_tester.py", "--run_type", "test", *run_flags(arguments), *shown],
        [paths.manifest, run.best, *order],
        [run.results],
        [*flag(arguments, "device"), *given(TesterOperation, arguments)],
        report=run.result_file("report", "test", "txt"),
    )


def explain_stage(arguments: argparse.Namespace, paths: DataPaths, run: RunFolder, count: int) -> Stage:
    """The stage that examines the explanations on so many validation documents."""
    named = [run.path.name, *folder_flags(arguments.data_dir, arguments.runs_dir)]
    return Stage(
        "explain",
        ["explain.py", *named, "--faithfulness", "--brief", "--documents", str(count)],
        [paths.manifest, run.best],
        [run.path / "faithfulness.json"],
        flag(arguments, "device"),
    )


def examined_documents(paths: DataPaths) -> int:
    """The number of validation documents that explanations are examined on; fewer where they are long, 0 for none."""
    if not paths.manifest.exists():
        return 0
    found = schema.read_json(paths.manifest, SplitsOfRecords)
    valid = found["splits"].get("valid")
    if valid is None or not valid["documents"] or found.get("several_labels"):
        return 0
    words = max(valid["words"] / valid["documents"], 1)
    return min(EXAMINED_DOCUMENTS, valid["documents"], int(EXAMINED_WORK / words**2))


def training_stage(
    name: str, task: list[str], arguments: argparse.Namespace, run: RunFolder, inputs: list[Path]
) -> Stage:
    """A training of the network that the flags describe.

    Args:
        name: Of the stage.
        task: ``--run_type`` and what goes with it.
        arguments: Flags; ``run`` among them names the folder of this training.
        run: That folder.
        inputs: What it learns from.
    """
    return Stage(
        name,
        [
            "han_trainer.py",
            *task,
            *run_flags(arguments),
            *given(ModelSettings, arguments),
            *given(TrainingSettings, arguments),
        ],
        inputs,
        [run.finished],
        [*where_to_train(arguments), *given(TrainerOperation, arguments), *wandb_flags(arguments)],
    )


def distillation_stages(
    arguments: argparse.Namespace, student: argparse.Namespace, paths: DataPaths, run: RunFolder
) -> Iterator[Stage]:
    """The stages of ``--preset best``: teachers that differ in their seed, and the network that learns from them.

    Args:
        arguments: Flags of the teachers.
        student: Flags of the network that learns from them.
        paths: Of the data set.
        run: Folder of the network that learns.

    Raises:
        UserError: The data set has no unlabelled documents.
    """
    if "unlabelled" not in schema.read_json(paths.csv_manifest, SplitsOfCsv)["splits"]:
        raise UserError(
            f"--preset best learns from unlabelled documents, and {paths.dataset} has none; leave out --preset"
        )
    first = getattr(arguments, "seed", 1)
    teachers = [run.path.with_name(f"{run.path.name}-teacher-{number}") for number in range(1, TEACHERS + 1)]
    for number, teacher in enumerate(teachers):
        own = argparse.Namespace(**{**vars(arguments), "run": teacher.name, "seed": first + number})
        yield training_stage("teacher", ["--run_type", "train"], own, RunFolder(teacher), [paths.manifest])
    task = ["--run_type", "distil", "--teachers", *(str(teacher) for teacher in teachers)]
    best = [RunFolder(teacher).best for teacher in teachers]
    yield training_stage("train", task, student, run, [paths.manifest, *best])


def refuse_source(arguments: argparse.Namespace) -> None:
    """``--source`` is the place of a published data set; a user's own file is named directly."""
    if arguments.source or arguments.sha256:
        raise UserError(f"{arguments.dataset} is your own file; leave out --source and --sha256")


def download_stage(arguments: argparse.Namespace, paths: DataPaths) -> Stage:
    """The stage that fetches a published data set; the built-in one has nothing to leave."""
    corpus = find_corpus(arguments.dataset, paths.data_dir)
    source = [item for name in ("source", "sha256") for item in flag(arguments, name)]
    local_source = [Path(arguments.source)] if arguments.source and Path(arguments.source).exists() else []
    command = ["download.py", arguments.dataset, *source, *folder_flags(arguments.data_dir)]
    return Stage("download", command, local_source, [corpus.source_file(paths.raw)] if corpus.url else [])


def outdated_records(paths: DataPaths) -> list[str]:
    """``["the tokeniser"]`` if the records were made with another one than this program's."""
    if not paths.manifest.exists():
        return []
    manifest = schema.read_json(paths.manifest, MadeOfTexts)
    return ["the tokeniser"] if tokeniser_difference(manifest.get("tokeniser")) else []


def learns_from_evidence(arguments: argparse.Namespace, paths: DataPaths) -> bool:
    """Whether the training documents have evidence, and the network attention that can learn from it from the start."""
    attends = arguments.model == "han" and getattr(arguments, "pooling", "attention") == "attention"
    return attends and not arguments.from_run and marks_training(paths)


def suit(arguments: argparse.Namespace, paths: DataPaths, marked: bool) -> None:
    """Chooses settings that suit the data set and the preset, where none were given.

    Args:
        arguments: Gets them.
        paths: Of the data set.
        marked: Whether attention can learn from evidence.
    """
    of_training = {field.name for field in dataclasses.fields(TrainingSettings)}
    for name, value in suited(paths.dataset, documents_of(paths, "train"), arguments.preset, marked).items():
        decided = bool(arguments.from_run) and name not in of_training  # by the run that is gone on from
        if not decided and not hasattr(arguments, name) and has_setting(arguments.model, name):
            setattr(arguments, name, value)


def continuing_flags(arguments: argparse.Namespace) -> list[str]:
    """The run whose text processing records have, and what may be added to it."""
    classes = ["--new_classes"] if arguments.new_classes else []
    return [*flag(arguments, "from_run"), *flag(arguments, "new_words"), *classes]


def given(settings_class: type, arguments: argparse.Namespace) -> list[str]:
    """The flags of one settings class that were given on the command line."""
    names = [field.name for field in dataclasses.fields(settings_class)]
    return [item for name in names if name not in left_out(settings_class) for item in flag(arguments, name)]


def where_to_train(arguments: argparse.Namespace) -> list[str]:
    """The flags of the trainer's device; what comes after it computes as it did."""
    return [*flag(arguments, "device"), *flag(arguments, "tf32")]


def flag(arguments: argparse.Namespace, name: str) -> list[str]:
    """``["--name", "value"]``, or nothing where the flag was not given."""
    value = getattr(arguments, name, None)
    return [] if value is None else [f"--{name}", str(value)]


# ---------------------------------------------------------------------------------------------------------------------
# One stage


def run_stage(stage: Stage, memory: Path) -> int:
    """Runs a stage unless it is done; returns its exit code.

    Args:
        stage: The stage.
        memory: JSON file that records what each stage was last run with.
    """
    command = [*stage.command, *stage.options]
    key = f"{stage.name} {stage.outputs[0].parent}" if stage.name in OF_A_RUN else stage.name
    before, now = remembered(memory).get(key), fingerprint(stage)
    complete = bool(stage.outputs) and all(path.exists() for path in stage.outputs)
    changes = what_changed(before, now) + (stage.outdated if complete else [])
    if complete and before and before["finished"] and not changes:
        print(f"# {stage.name}: skipped, inputs and settings are unchanged", flush=True)
        if stage.report and stage.report.exists():
            print(stage.report.read_text(encoding="utf-8"), end="", flush=True)
        return 0
    if before and changes:
        print(f"# {stage.name}: runs again because {', '.join(changes)} changed", flush=True)
        if stage.name in {"teacher", "train"}:
            command.append("--restart")
    remember(memory, key, {**now, "finished": False})
    print(f"$ {shlex.join(['python', *command])}", flush=True)
    code = run_command(command)
    if code == 0:
        remember(memory, key, {**now, "finished": True})
    elif before and code not in INTERRUPTED:
        remember(memory, key, before)  # the next call reports what changed, and keeps the old run, too
    return code


def fingerprint(stage: Stage) -> Fingerprint:
    """The settings and the hash of every input that exists."""
    return {
        "settings": shlex.join(stage.command),
        "inputs": {str(path): sha256_of_source(path) for path in stage.inputs if path.exists()},
    }


def what_changed(before: StageRecord | None, now: Fingerprint) -> list[str]:
    """Names of what differs between two fingerprints."""
    if before is None:
        return []
    old, new = before["inputs"], now["inputs"]
    changes = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return changes + (["the settings"] if before["settings"] != now["settings"] else [])


def drop_damaged(memory: Path) -> None:
    """Deletes a damaged record of earlier calls, which no later call could read either; a line says so."""
    try:
        remembered(memory)
    except UserError as error:
        log.warning("%s; it is deleted: every stage runs again", str(error).partition(";")[0])
        memory.unlink()


def remembered(memory: Path) -> dict[str, StageRecord]:
    """What earlier calls recorded, by stage.

    Raises:
        UserError: The record is damaged.
    """
    return schema.read_json(memory, dict[str, StageRecord]) if memory.exists() else {}


def remember(memory: Path, key: str, value: StageRecord) -> None:
    """Records what a stage was run with; several ``run_all.py`` may do so, for several runs on the same data."""
    with exclusive_lock(memory.with_name(".run_all.lock")):
        remove_leftovers(memory)
        write_json(memory, {**remembered(memory), key: value})


def run_command(command: list[str]) -> int:
    """Runs a script of this project as a process of its own, hands signals on to it, and returns its exit code."""
    script = Path(__file__).resolve().parent / command[0]  # also where run_all.py is a link
    process = subprocess.Popen([sys.executable, str(script), *command[1:]])
    # Ctrl-C reaches the stage from the terminal itself: here it must only not end the waiting.
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    run_script(main, build_parser())
