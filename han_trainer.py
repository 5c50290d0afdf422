"""Trains a Hierarchical Attention Network, or a network to compare it with, on serialised records.

    python han_trainer.py --run_type train
    nohup python3 han_trainer.py --run_type "train" >> train.out &
    python han_trainer.py --run_type train --model cnn
    python han_trainer.py --run_type lr_range       where learning begins and ends: suggests learning rates
    python han_trainer.py --run_type retrain        once more on train + validation, as long as a finished run was best

Killed at any instant, the same command goes on from the last checkpoint and, on a CPU, ends with the same weights, bit
for bit: the order of documents is a pure function of (seed, epoch), dropout of (seed, step).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from config import (
    ModelSettings,
    RangeTestSettings,
    TrainingSettings,
    add_flags,
    add_model_flag,
    check_range,
    model_settings_from_flags,
    settings_from_flags,
)
from runtime.workers import meet_workers
from training.tracking import add_wandb_flags, check_installed
from training.trainer import begin_or_go_on, check_splits, find_rates, help_chief, run_config
from utils import (
    DataPaths,
    Parser,
    dataset_name,
    run_path,
    run_script,
)

if TYPE_CHECKING:
    pass

RUN_TYPES = ("train", "lr_range", "retrain")


def build_parser() -> Parser:
    """The command line; every setting of the model and of training is a flag."""
    parser = Parser(prog="han_trainer.py", description=__doc__)
    parser.add_argument("--dataset", default="imdb", type=dataset_name, help="name of the data set (default: imdb)")
    parser.add_argument("--run_type", default="train", choices=RUN_TYPES, help="what to do (default: train)")
    add_model_flag(parser, "network to train: han, or bilstm or cnn to compare it with")
    parser.add_argument("--run", help="name of the run folder (default: <dataset>-<model>)")
    parser.add_argument("--restart", action="store_true", help="put an existing run aside and begin anew")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of the data sets (default: data)")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument(
        "--embedding_dim",
        type=int,
        help="size of a word vector, if it must be checked: it is that of the records (default: as serialised)",
    )
    parser.add_argument("--log_summaries_every", type=int, default=50, help="steps between summaries (default: 50)")
    parser.add_argument("--checkpoint_every", type=int, default=200, help="steps between checkpoints (default: 200)")
    parser.add_argument("--num_checkpoints", type=int, default=3, help="checkpoints to keep (default: 3)")
    parser.add_argument(
        "--evaluation_batch_words",
        type=int,
        default=40_000,
        help="most words in a validation batch: the ceiling of its memory (default: 40000)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "gpu"),
        help="auto takes a GPU where TensorFlow sees one (default: auto)",
    )
    parser.add_argument(
        "--per_process_gpu_memory_fraction",
        type=float,
        default=0.0,
        help="share of the GPU's memory to take at most; 0 grows as needed (default: 0)",
    )
    parser.add_argument(
        "--wait_for_workers",
        type=float,
        default=600.0,
        help="seconds to wait for the other machines that TF_CONFIG names (default: 600)",
    )
    add_wandb_flags(parser)
    add_flags(parser, ModelSettings, unset=True)
    add_flags(parser, TrainingSettings)
    add_flags(parser, RangeTestSettings)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Trains until the last epoch or early stopping; returns the exit code."""
    check_intervals(arguments)
    check_installed(arguments)
    model_settings = model_settings_from_flags(arguments)
    training_settings = settings_from_flags(TrainingSettings, arguments)
    range_test = settings_from_flags(RangeTestSettings, arguments)
    from runtime.run_folder import RunFolder
    from text.records import verify_records
    from training.retraining import retraining_config

    records = DataPaths(arguments.dataset, arguments.data_dir).records
    manifest = verify_records(records)
    run = RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, arguments.model))
    config = run_config(arguments, model_settings, training_settings, records, manifest)
    if arguments.run_type == "lr_range":
        return find_rates(run, config, records, arguments, range_test)
    if arguments.run_type == "retrain":
        config = retraining_config(run, config)
        run = RunFolder(run.path.with_name(f"{run.path.name}-retrained"))
        arguments.run = run.path.name  # from here on a run like any other
    check_splits(records, config)
    agreed = {**config.flat(), "evaluation_batch_words": arguments.evaluation_batch_words}
    with meet_workers(agreed, arguments.wait_for_workers) as workers:
        if workers.is_chief:
            return begin_or_go_on(run, config, records, arguments, workers)
        return help_chief(run, config, records, arguments, workers)


def check_intervals(arguments: argparse.Namespace) -> None:
    """Refuses counts that make no sense."""
    for name in ("log_summaries_every", "checkpoint_every", "num_checkpoints", "evaluation_batch_words"):
        check_range(name, getattr(arguments, name), 1)
    check_range("per_process_gpu_memory_fraction", arguments.per_process_gpu_memory_fraction, 0, 1)
    check_range("wait_for_workers", arguments.wait_for_workers, 1)


# ---------------------------------------------------------------------------------------------------------------------
# The whole run


if __name__ == "__main__":
    run_script(main, build_parser())
