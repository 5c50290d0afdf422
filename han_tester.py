"""Test a trained network: on validation while a trainer is running, or on the test split when training has finished.

    python han_tester.py imdb-han                                    the best checkpoint on the test split
    python han_tester.py imdb-1 imdb-2 imdb-3                        several runs, and their mean as one classifier
    nohup python3 han_tester.py --run_type "val" >> val.out &        follows a trainer: tests each checkpoint once
    python han_tester.py --run_type test --model cnn

RUN is a run folder or its name in `runs/`; without it, --dataset, --model and --run name the run, as for the trainer.
Only trained weights are tested: a checkpoint carries the hash of its weights and belongs to one run; both are checked.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from config import TesterOperation, add_flags, check_range, settings_from_flags
from runtime.averaging import check_can_be_averaged
from runtime.devices import add_device_flag, explain_memory, start_for_runs
from runtime.run_folder import add_run_flags, chosen_run
from training.waiting import (
    SPLIT_OF_RUN_TYPE,
    chosen_checkpoint,
    follow_checkpoints,
    refuse_missing_checkpoint,
    seconds_to_wait,
    wait_for_run,
)
from utils import Parser, UserError, check_writable, log, run_script, trainer_command


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="han_tester.py", description=__doc__)
    add_run_flags(parser, several=True)
    parser.add_argument(
        "--run_type",
        default="test",
        choices=tuple(SPLIT_OF_RUN_TYPE),
        help="val: test each checkpoint of a running trainer on the validation split; test: test the best checkpoint "
        "on the test split when training has finished (default: test)",
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="test this checkpoint now, whether or not training has finished"
    )
    parser.add_argument(
        "--show_documents",
        type=int,
        default=0,
        metavar="N",
        help="print N clear examples with their words and sentences shaded by attention (default: 0)",
    )
    criterion = parser.add_mutually_exclusive_group()
    criterion.add_argument(
        "--best_f1",
        action="store_true",
        help="two classes: also report the threshold with the highest F1 of the second class on validation documents",
    )
    criterion.add_argument(
        "--cost",
        type=float,
        metavar="RATIO",
        help="two classes: also report the threshold that costs least on validation documents, where a missed document "
        "of the second class costs RATIO times a false one",
    )
    parser.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="how long to wait while no trainer is working on the run, then end with exit code 2 (default: 30 s for a "
        "run to begin; with --run_type test 10 s, and not at all for RUN or without records; without limit for the "
        "next checkpoint)",
    )
    add_device_flag(parser)
    add_flags(parser, TesterOperation)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Tests one checkpoint, or each as it is written; returns the exit code."""
    settings_from_flags(TesterOperation, arguments)
    check_range("show_documents", arguments.show_documents, 0)
    check_range("wait", arguments.wait, 0)
    check_range("cost", arguments.cost, 0.001, 1000)
    if len(arguments.named_runs) > 1:
        return test_several(arguments)
    arguments.named_run = next(iter(arguments.named_runs), None)
    run = chosen_run(arguments)
    wait_for_run(run, trainer_command(arguments), seconds_to_wait(arguments))
    refuse_missing_checkpoint(run, arguments.checkpoint)
    check_writable(run.plots)
    device = start_for_runs([run], arguments.device, arguments.tf32)
    from training.tester import Tester
    from training.thresholds import refuse_threshold, report_threshold

    with explain_memory("lower --evaluation_batch_words and run the same command again"):
        tester = Tester(run, SPLIT_OF_RUN_TYPE[arguments.run_type], device, arguments)
        with contextlib.closing(tester.split):
            refuse_threshold(tester)
            if arguments.checkpoint or arguments.run_type == "test":
                result = tester.evaluate(chosen_checkpoint(run, arguments.checkpoint))
                tester.report(result)
                report_threshold(tester, result)
                return 0
            for checkpoint in follow_checkpoints(run, arguments.wait):
                if not tester.has_result(checkpoint):
                    tester.log_line(tester.evaluate(checkpoint))
    log.info("training of %s has finished and every checkpoint is tested", run.path)
    return 0


def test_several(arguments: argparse.Namespace) -> int:
    """Tests finished runs and the mean of their probabilities; returns the exit code."""
    thresholds = arguments.best_f1 or arguments.cost is not None
    if arguments.run_type != "test" or arguments.checkpoint or arguments.show_documents or thresholds:
        raise UserError(
            "several runs are tested as they are on the test split; leave out --run_type, --checkpoint, "
            "--show_documents, --best_f1 and --cost, or name one RUN"
        )
    runs = [chosen_run(argparse.Namespace(**vars(arguments), named_run=name)) for name in arguments.named_runs]
    check_can_be_averaged(runs)
    device = start_for_runs(runs, arguments.device, arguments.tf32)
    from training.averaging import report_mean
    from training.tester import Tester

    results = []
    with explain_memory("lower --evaluation_batch_words and run the same command again"):
        for run in runs:
            tester = Tester(run, SPLIT_OF_RUN_TYPE["test"], device, arguments)
            with contextlib.closing(tester.split):
                results.append(tester.evaluate(chosen_checkpoint(run, None)))
                tester.log_line(results[-1])
    report_mean(runs, results)
    return 0


if __name__ == "__main__":
    run_script(main, build_parser())
