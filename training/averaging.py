"""The mean of several tested runs: its report beside the figures of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from report.evaluation import Evaluation, evaluate, format_report
from report.run_table import AVERAGES_FILE
from runtime.run_folder import RunFolder, origin
from utils import append_jsonl

if TYPE_CHECKING:
    from training.tester import Result

WIDTH = 30  # of a run's name


def report_mean(runs: Sequence[RunFolder], results: Sequence[Result]) -> Evaluation:
    """Prints the figures of each run, and the report of the mean of their probabilities; notes it in a file.

    Args:
        runs: At least two, of the same classes.
        results: Of each on the same documents.

    Returns:
        What was measured of the mean, which is also a line of ``averages.jsonl`` beside the run folders.
    """
    probabilities = np.mean([result.probabilities for result in results], axis=0, dtype=np.float64)
    first = results[0]
    ordinal = isinstance(first.evaluation, Evaluation) and first.evaluation.ordered is not None
    mean = evaluate(probabilities, first.labels, first.evaluation.class_names, ordinal)
    heading = f"mean of {len(runs)} runs on {mean.documents:,} documents of the test split"
    print(f"\n{format_report(mean, heading, first.unknown_words, first.cut_words)}\n")
    rows = [*((run.path.name, result.evaluation) for run, result in zip(runs, results, strict=True)), ("mean", mean)]
    print(f"{'run':<{WIDTH}} accuracy    loss  calibration error")
    for name, measured in rows:
        print(f"{name:<{WIDTH}}  {measured.accuracy:7.2%}  {measured.loss:6.4f}  {measured.calibration_error:17.2%}")
    file = runs[0].path.parent / AVERAGES_FILE
    append_jsonl(file, mean_row(runs, results, mean))
    print(f"\nWritten: {file}", flush=True)
    return mean


def mean_row(runs: Sequence[RunFolder], results: Sequence[Result], mean: Evaluation) -> dict[str, Any]:
    """One line of ``averages.jsonl``."""
    return {
        "runs": [run.path.name for run in runs],
        "split": "test",
        "weights_sha256": [result.checkpoint.weights_sha256 for result in results],
        **mean.to_json(),
        "tested": origin(),
    }
