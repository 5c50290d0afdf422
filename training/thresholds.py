"""The tester's thresholds of two classes: chosen on validation documents, reported on test documents."""

from __future__ import annotations

import contextlib
import shlex

import numpy as np
import tensorflow as tf

from report.thresholds import divided, threshold_report
from runtime.decisions import USUAL, best_threshold
from runtime.input_pipeline import Split
from runtime.scoring import score_split
from training.tester import Result, Tester
from utils import UserError, folder_flags


def wants_threshold(tester: Tester) -> bool:
    """Whether the flags ask for a threshold."""
    return tester.arguments.best_f1 or tester.arguments.cost is not None


def refuse_threshold(tester: Tester) -> None:
    """Refuses, before anything is scored, a threshold where there is none to choose.

    Raises:
        UserError: The run has more than two classes, no validation documents left, or is tested on these.
    """
    if not wants_threshold(tester):
        return
    flag = "--best_f1" if tester.arguments.best_f1 else "--cost"
    if tester.config.several_labels:
        raise UserError(
            f"{flag} is for two classes, and the texts of {tester.run.path} may have several labels; leave it out: "
            "each label has a threshold of its own, chosen on validation"
        )
    classes = len(tester.config.class_names)
    if classes != 2:
        raise UserError(f"{flag} is for two classes, and {tester.run.path} has {classes}; leave it out")
    if tester.split.name != "test":
        raise UserError(f"{flag} is chosen on validation documents and reported on the test split; use --run_type test")
    if tester.config.retraining:
        raise UserError(f"{tester.run.path} was also trained on the validation documents; leave {flag} out")


def report_threshold(tester: Tester, result: Result) -> None:
    """Chooses a threshold on validation and prints its figures on the test documents, if the flags ask for one."""
    if not wants_threshold(tester):
        return
    cost = tester.arguments.cost
    with contextlib.closing(Split(tester.data.records, "valid")) as valid:
        logits, labels = score_split(tester.model, valid, tester.arguments.evaluation_batch_words)
    chosen = best_threshold(second_class(tf.nn.softmax(logits).numpy()), labels.astype(np.int64), cost)
    test = second_class(result.probabilities), result.labels.astype(np.int64)
    rows = [divided(*test, threshold, cost or 0.0) for threshold in (USUAL, chosen)]
    criterion = "F1" if cost is None else f"cost: a miss costs {cost:g}, a false alarm 1"
    print("\n" + "\n".join(threshold_report(tester.config.class_names[1], criterion, len(labels), rows, cost)))
    flags = folder_flags(tester.arguments.data_dir, tester.run.path.parent)[-2:]
    run = shlex.join([tester.run.path.name, *(flags if "--runs_dir" in flags else [])])
    print(f"Next:    python predict.py {run} FILE --threshold {chosen:.6f}", flush=True)


def second_class(probabilities: np.ndarray) -> np.ndarray:
    """float64 [N], the probability of the second of two classes."""
    return np.asarray(probabilities[:, 1], np.float64)
