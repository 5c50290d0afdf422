"""Tests a trained network: beside a running trainer on validation, or once, at the end, on the test split.

    nohup python3 han_tester.py --run_type "val" >> val.out &        follows the trainer's checkpoints, each once
    python han_tester.py --run_type test                             the best checkpoint, when training has ended

The weights it tests are the trained ones: their hash is checked against the one the trainer saved them with.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from config import add_model_flag, check_range
from runtime.devices import add_device_flag, explain_memory, start_tensorflow
from training.tester import SPLIT_OF_RUN_TYPE, WAIT_FOR_RUN_SECONDS, Tester, chosen_checkpoint, wait_for_run
from utils import (
    Parser,
    check_writable,
    dataset_name,
    log,
    run_path,
    run_script,
    trainer_command,
)

if TYPE_CHECKING:
    pass


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="han_tester.py", description=__doc__)
    parser.add_argument("--dataset", default="imdb", type=dataset_name, help="name of the data set (default: imdb)")
    parser.add_argument(
        "--run_type",
        default="test",
        choices=tuple(SPLIT_OF_RUN_TYPE),
        help="val follows a trainer on the validation split; test evaluates the best checkpoint on the "
        "test split when training has ended (default: test)",
    )
    add_model_flag(parser, "which model's run, unless --run names it")
    parser.add_argument("--run", help="name of the run folder (default: <dataset>-<model>)")
    parser.add_argument(
        "--checkpoint", type=Path, help="evaluate this checkpoint now, whether or not training has ended"
    )
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of the data sets (default: data)")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument(
        "--show_documents",
        type=int,
        default=0,
        metavar="N",
        help="show the N most telling documents with their words and sentences shaded (default: 0)",
    )
    parser.add_argument(
        "--evaluation_batch_words",
        type=int,
        default=40_000,
        help="most words in a batch: the ceiling of its memory (default: 40000)",
    )
    add_device_flag(parser)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Evaluates one checkpoint, or each as it comes; returns the exit code."""
    for name, least in (("evaluation_batch_words", 1), ("show_documents", 0)):
        check_range(name, getattr(arguments, name), least)
    from runtime.checkpoints import follow_checkpoints
    from runtime.run_folder import RunFolder

    run = RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, arguments.model))
    wait_for_run(run, trainer_command(arguments), WAIT_FOR_RUN_SECONDS[arguments.run_type])
    check_writable(run.plots)
    device = start_tensorflow(arguments.device)
    with explain_memory("lower --evaluation_batch_words and run the same command again"):
        tester = Tester(run, SPLIT_OF_RUN_TYPE[arguments.run_type], device, arguments)
        with contextlib.closing(tester.split):
            if arguments.checkpoint or arguments.run_type == "test":
                tester.report(tester.evaluate(chosen_checkpoint(run, arguments.checkpoint)))
                return 0
            for checkpoint in follow_checkpoints(run):
                if not tester.has_result(checkpoint):
                    tester.tell(tester.evaluate(checkpoint))
    log.info("training of %s has ended and every checkpoint is evaluated", run.path)
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# The tester


if __name__ == "__main__":
    run_script(main, build_parser())
