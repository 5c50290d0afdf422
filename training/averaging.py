"""The mean of several tested runs: its report beside the figures of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from report.evaluation import Evaluation, evaluate
from report.run_table import AVERAGES_FILE
from report.several_labels import SeveralLabels, evaluate_several, report_of
from runtime.decisions import mean_thresholds
from runtime.run_folder import RunFolder, origin
from utils import append_jsonl

if TYPE_CHECKING:
    from training.tester import Result

WIDTH = 30  # of a run's name


def report_mean(runs: Sequence[RunFolder], results: Sequence[Result]) -> Evaluation | SeveralLabels:
    """Prints the figures of each run, and the report of the mean of their probabilities; notes it in a file.

    Args:
        runs: At least two, of the same classes.
        results: Of each on the same documents.

    Returns:
        What was measured of the mean, which is also a line of ``averages.jsonl`` beside the run folders.
    """
    judged = [result.probabilities for result in results]
    probabilities = np.asarray(np.mean(judged, axis=0, dtype=np.float64))
    first = results[0]
    mean = measured_mean(probabilities, results)
    heading = f"mean of {len(runs)} runs on {mean.documents:,} documents of the test split"
    print(f"\n{report_of(mean, heading, first.unknown_words, first.cut_words)}\n")
    rows = [*((run.path.name, result.evaluation) for run, result in zip(runs, results, strict=True)), ("mean", mean)]
    several = isinstance(mean, SeveralLabels)
    print(f"{'run':<{WIDTH}} {'all right  micro F1' if several else 'accuracy'}    loss  calibration error")
    for name, measured in rows:
        f1 = f"  {measured.micro_f1:8.4f}" if isinstance(measured, SeveralLabels) else ""
        share = f"{measured.accuracy:{8 if several else 7}.2%}{f1}"
        print(f"{name:<{WIDTH}}  {share}  {measured.loss:6.4f}  {measured.calibration_error:17.2%}")
    file = runs[0].path.parent / AVERAGES_FILE
    append_jsonl(file, mean_row(runs, results, mean))
    print(f"\nWritten: {file}", flush=True)
    return mean


def measured_mean(probabilities: NDArray[np.float64], results: Sequence[Result]) -> Evaluation | SeveralLabels:
    """The metrics of the mean; where a text may have several labels, at the mean of the runs' thresholds.

    Args:
        probabilities: [documents, C].
        results: Of each run.
    """
    measured, labels = [result.evaluation for result in results], results[0].labels
    first = measured[0]
    if not isinstance(first, SeveralLabels):
        return evaluate(probabilities, labels, first.class_names, first.ordered is not None)
    known = [[label.threshold for label in one.per_class] for one in measured if isinstance(one, SeveralLabels)]
    thresholds = mean_thresholds([np.array(one, np.float32) for one in known])
    return evaluate_several(probabilities.astype(np.float32), labels.astype(np.uint8), first.class_names, thresholds)


def mean_row(runs: Sequence[RunFolder], results: Sequence[Result], mean: Evaluation | SeveralLabels) -> dict[str, Any]:
    """One line of ``averages.jsonl``."""
    return {
        "runs": [run.path.name for run in runs],
        "split": "test",
        "weights_sha256": [result.checkpoint.weights_sha256 for result in results],
        **mean.to_json(),
        "tested": origin(),
    }
