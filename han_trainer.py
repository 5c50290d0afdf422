"""Train a Hierarchical Attention Network, or a network to compare it with, on serialised records.

    python han_trainer.py --run_type train
    nohup python3 han_trainer.py --run_type "train" >> train.out &
    python han_trainer.py --run_type train --model cnn
    python han_trainer.py --run_type lr_range       range test: suggests learning rates
    python han_trainer.py --run_type retrain        train again on train + validation, for as long as a run was best
    python han_trainer.py --run_type distil --teachers imdb-1 imdb-2     also learn from unlabelled documents, by what
                                                    finished runs think of them

A training that was killed resumes from its last checkpoint when the same command runs again. On a CPU it ends with the
same weights, bit for bit: the order of documents is a pure function of (seed, epoch), dropout of (seed, step).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from config import (
    ModelSettings,
    RangeTestSettings,
    TrainerOperation,
    TrainingSettings,
    add_flags,
    add_model_flag,
    add_ngrams_flag,
    model_settings_from_flags,
    settings_from_flags,
)
from corpus.origins import named_data_set
from runtime.devices import add_device_flag, explain_memory, start_tensorflow, trained_on
from runtime.launcher import is_launched, launch
from runtime.run_folder import RunConfig, RunFolder, find_run
from runtime.workers import SingleWorker, meet_workers
from text.copies import data_set
from text.records import verify_records
from training.continuing import begin_with, continued_config, continued_ngrams
from training.distillation import distillation_config
from training.preparation import (
    check_splits,
    check_vocabulary,
    is_finished,
    lock_refusal,
    may_resume,
    prepare_folder,
    run_config,
)
from training.retraining import retraining_config
from training.tracking import add_wandb_flags, check_installed
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    check_writable,
    exclusive_lock,
    run_path,
    run_script,
)

RUN_TYPES = ("train", "lr_range", "retrain", "distil")
LESS_MEMORY = (
    "lower --batch_size (in validation --evaluation_batch_words) or the size of the network, for example --word_units, "
    "and run the same command again"
)


def build_parser() -> Parser:
    """The command line; every setting of the model and of training is a flag."""
    parser = Parser(prog="han_trainer.py", description=__doc__)
    parser.add_argument("--dataset", default="imdb", help="name of the data set (default: imdb)")
    parser.add_argument("--run_type", default="train", choices=RUN_TYPES, help="what to do (default: train)")
    add_model_flag(parser, "network to train: han, or bilstm or cnn to compare it with")
    parser.add_argument("--run", help="name of the run folder (default: <dataset>-<model>)")
    parser.add_argument(
        "--teachers",
        nargs="+",
        metavar="RUN",
        default=[],
        help="distil: finished runs, folders or names in --runs_dir",
    )
    parser.add_argument(
        "--from_run",
        metavar="RUN",
        help="begin with the weights of this finished run, on records that serialize_data.py --from_run made",
    )
    add_ngrams_flag(parser)
    parser.add_argument(
        "--restart", action="store_true", help="start a new run; an existing one is kept under another name"
    )
    add_folder_flags(parser)
    parser.add_argument(
        "--embedding_dim",
        type=int,
        help="refuse records whose word vectors have another size (default: take the size of the records)",
    )
    add_device_flag(parser, training=True)
    add_wandb_flags(parser)
    add_flags(parser, ModelSettings, unset=True)
    add_flags(parser, TrainingSettings)
    add_flags(parser, RangeTestSettings)
    add_flags(parser, TrainerOperation)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Trains until the last epoch or early stopping; returns the exit code."""
    settings_from_flags(TrainerOperation, arguments)
    arguments.dataset = named_data_set(arguments.dataset, arguments.data_dir)
    if arguments.from_run and arguments.run_type != "train":
        raise UserError(f"--from_run goes with --run_type train, not with {arguments.run_type}; leave one out")
    check_installed(arguments)
    model_settings = model_settings_from_flags(arguments)
    training_settings = settings_from_flags(TrainingSettings, arguments)
    range_test = settings_from_flags(RangeTestSettings, arguments)
    texts = learns_from_evidence(arguments, training_settings)
    records = data_set(arguments.dataset, arguments.data_dir, texts).records
    manifest = verify_records(records)
    run = RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, arguments.model))
    config = run_config(arguments, model_settings, training_settings, records, manifest)
    if arguments.run_type == "lr_range":
        if arguments.workers_per_machine > 1:
            raise UserError("--workers_per_machine is for a training, not for --run_type lr_range; leave it out")
        return find_learning_rates(run, config, arguments, range_test)
    if arguments.run_type == "retrain":
        config = retraining_config(run, config)
        run = RunFolder(run.path.with_name(f"{run.path.name}-retrained"))
        arguments.run = run.path.name  # from here on a run like any other
    teachers = [find_run(name, arguments.runs_dir) for name in arguments.teachers]
    if bool(teachers) != (arguments.run_type == "distil"):
        raise UserError("--run_type distil and --teachers RUN [RUN ...] belong together; give both, or neither")
    if teachers:
        config = distillation_config(teachers, config, records)
    if arguments.from_run:
        given = [field.name for field in dataclasses.fields(ModelSettings) if hasattr(arguments, field.name)]
        first = find_run(arguments.from_run, arguments.runs_dir)
        config = continued_config(first, config, given, records, arguments.ngrams_from)
    elif arguments.ngrams_from:
        raise UserError("--ngrams_from goes with --from_run RUN; add that, or leave it out")
    check_splits(records, config)
    check_vocabulary(config)
    if arguments.workers_per_machine > 1 and not is_launched():
        return launch(arguments.workers_per_machine, arguments.device, run.worker_log)
    agreed = {**config.flat(), "evaluation_batch_words": arguments.evaluation_batch_words}
    with meet_workers(agreed, arguments.wait_for_workers) as workers:
        if workers.is_chief:
            return train_in_folder(run, config, records, arguments, workers, teachers)
        return train(run, config, records, arguments, workers, teachers)


def learns_from_evidence(arguments: argparse.Namespace, settings: TrainingSettings) -> bool:
    """Whether the texts are needed, to find the words that are marked: a retraining has the settings of its run."""
    if arguments.run_type != "retrain":
        return bool(settings.evidence_weight)
    run = RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, arguments.model))
    return run.exists() and bool(run.config().training.evidence_weight)


def train_in_folder(
    run: RunFolder,
    config: RunConfig,
    records: Path,
    arguments: argparse.Namespace,
    workers: SingleWorker,
    teachers: Sequence[RunFolder] = (),
) -> int:
    """Makes or checks the run folder, which only the chief uses, and trains; returns the exit code."""
    with exclusive_lock(run.lock, lock_refusal(run)):
        resume = may_resume(run, config, arguments.restart)
        if resume and is_finished(run, arguments):
            return 0
        return train(run, config, records, arguments, workers, teachers, resume)


def train(
    run: RunFolder,
    config: RunConfig,
    records: Path,
    arguments: argparse.Namespace,
    workers: SingleWorker,
    teachers: Sequence[RunFolder] = (),
    resume: bool = False,
) -> int:
    """Starts TensorFlow and trains; returns the exit code."""
    workers.start()
    memory = arguments.per_process_gpu_memory_fraction
    device = start_tensorflow(arguments.device, memory, workers.connect, tf32=arguments.tf32)
    from training.trainer import Trainer

    if workers.is_chief:
        prepare_folder(run, config, records, trained_on(device), arguments.restart, resume)
    first = find_run(arguments.from_run, arguments.runs_dir) if arguments.from_run else None
    has_ngrams = workers.is_chief and run.ngrams.exists()  # of a training that resumes
    ngrams = continued_ngrams(first, config, records) if first and not has_ngrams else None
    with explain_memory(LESS_MEMORY), workers.explain():
        trainer = Trainer(run, config, records, device, arguments, workers, teachers, ngrams)
        if first:
            begin_with(trainer, first)
        return trainer.train()


def find_learning_rates(
    run: RunFolder, config: RunConfig, arguments: argparse.Namespace, test: RangeTestSettings
) -> int:
    """Runs the learning-rate range test and prints its suggestion; returns the exit code."""
    check_writable(run.path.parent)
    device = start_tensorflow(arguments.device, arguments.per_process_gpu_memory_fraction, tf32=arguments.tf32)
    from training.lr_range import report, run_range_test

    with explain_memory(LESS_MEMORY):
        outcome = run_range_test(config, DataPaths(arguments.dataset, arguments.data_dir), device, test)
    report(outcome, config, test, run)
    return 0


if __name__ == "__main__":
    run_script(main, build_parser())
