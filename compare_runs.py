#!/usr/bin/env python3
"""Compares two runs on the test documents of both their data sets.

    python compare_runs.py imdb-han new-han            for example after: python run_all.py new.csv --from_run imdb-han

NEW has the classes of OLD, in the same order, and perhaps more. A table says how accurate each is on the test documents
of each data set, how many documents only one of them classifies correctly, and how likely such a difference is by
chance (McNemar's exact test). Documents of classes that OLD does not know are left out of it; how many of them NEW
classifies correctly is a line of its own. Where a text may have several labels, a document is classified correctly if
all labels that OLD knows are, and micro F1 is of the same decisions. It is also in `comparison.json` of the second run.
"""

from __future__ import annotations

import installed  # noqa: F401

# isort: split
import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.corpora import CsvRow, has_several_labels, read_csv
from corpus.several_labels import decoded, membership
from report.evaluation import wilson_interval
from report.several_labels import f1_of
from runtime.devices import add_device_flag, explain_memory, start_for_runs
from runtime.run_folder import RunFolder, find_run, origin
from text.copies import data_set
from utils import DataPaths, Parser, UserError, add_folder_flags, check_writable, log, run_script, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPARISON_FILE = "comparison.json"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="compare_runs.py", description=__doc__)
    parser.add_argument("first", metavar="OLD", help="run folder, or its name in --runs_dir")
    parser.add_argument("second", metavar="NEW", help="another one; the comparison is written to its folder")
    add_folder_flags(parser)
    add_device_flag(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Compares and prints the table."""
    runs = [find_run(name, arguments.runs_dir) for name in (arguments.first, arguments.second)]
    refuse_other_classes(*runs)
    sets = test_sets(runs, arguments.data_dir)
    check_writable(runs[1].path)
    device = start_for_runs(runs, arguments.device, arguments.tf32)
    from runtime.predictor import Predictor

    with explain_memory("end other programs and run the same command again"):
        predictors = [Predictor.load(run, device) for run in runs]
        rows = [compared(data, runs, predictors) for data in sets]
    file = runs[1].path / COMPARISON_FILE
    names = [run.path.name for run in runs]
    weights = [predictor.weights_sha256 for predictor in predictors]
    write_json(file, {"runs": names, "weights_sha256": weights, "rows": rows, "compared": origin()})
    print("\n" + "\n".join(table(names, rows)))
    print(f"\nWritten: {file}", flush=True)


def refuse_other_classes(first: RunFolder, second: RunFolder) -> None:
    """Raises :class:`UserError` for one run named twice, or a second one that lacks classes of the first.

    So it does where only one of them is for several labels a text.
    """
    if first.path.resolve() == second.path.resolve():
        raise UserError(f"{first.path} is named twice; name two runs")
    if first.config().several_labels != second.config().several_labels:
        raise UserError(f"only one of {first.path} and {second.path} is for several labels a text; name two of a kind")
    old, new = first.config().class_names, second.config().class_names
    if new[: len(old)] != old:
        raise UserError(
            f"{first.path} has the classes {', '.join(old)[:100]}, and {second.path} has {', '.join(new)[:100]}; the "
            "second run needs those of the first, in the same order"
        )


def test_sets(runs: Sequence[RunFolder], data_dir: Path) -> list[DataPaths]:
    """The data sets of the runs, each once; one that is not there is left out with a warning.

    Raises:
        UserError: None of them is there.
    """
    every = [data_set(dataset, data_dir, texts=True) for dataset in dict.fromkeys(run.config().dataset for run in runs)]
    there = [data for data in every if data.csv.is_file()]
    for data in every:
        if data not in there:
            log.warning("%s is not there: nothing is compared on its test documents", data.csv)
    if not there:
        raise UserError(f"{every[0].csv} is not there; name the folder of the data sets with --data_dir")
    return there


def compared(data: DataPaths, runs: Sequence[RunFolder], predictors: Sequence[Any]) -> dict[str, Any]:
    """A row of the table: two networks on the test documents of one data set.

    Raises:
        UserError: The data set has no test documents, or a class that the second run does not know.
    """
    import numpy as np

    old, names = (predictor.class_names for predictor in predictors)
    rows = [row for row in read_csv(data.csv) if row.split == "test"]
    if not rows:
        raise UserError(f"{data.csv} has no test documents, so there is nothing to compare on")
    if predictors[0].thresholds is not None:
        return compared_labels(data, runs, predictors, rows)
    refuse_unknown((row.label for row in rows), names, data, runs[1])
    labels = np.array([names.index(row.label) for row in rows])
    log.info("%s: %s test documents", data.dataset, f"{len(rows):,}")
    first, second = (rightly(predictor, [row.text for row in rows], labels) for predictor in predictors)
    known = labels < len(old)
    return {
        **side_by_side(data, first[known], second[known]),
        "new_classes": list(names[len(old) :]),
        "documents_of_new_classes": int((~known).sum()),
        "correct_of_new_classes": int(second[~known].sum()),
    }


def refuse_unknown(labels: Iterable[str], names: Sequence[str], data: DataPaths, run: RunFolder) -> None:
    """Raises :class:`UserError` for a label of test documents that the run, with the classes ``names``, lacks."""
    if unknown := next((label for label in labels if label not in names), None):
        raise UserError(f"{data.csv} has the class {unknown[:50]!r}, which {run.path} does not know")


def side_by_side(data: DataPaths, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any]:
    """What two networks classify correctly, bool [documents] each, and how likely such a difference is by chance."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "dataset": data.dataset,
        "documents": len(first),
        "correct": [int(one.sum()) for one in (first, second)],
        "only_first": only_first,
        "only_second": only_second,
        "p_value": p_value(only_first, only_second),
    }


def compared_labels(
    data: DataPaths, runs: Sequence[RunFolder], predictors: Sequence[Any], rows: Sequence[CsvRow]
) -> dict[str, Any]:
    """:func:`compared` where a text may have several labels: on the labels that the first network knows.

    Raises:
        UserError: A document has a label that the second run does not know, or the file has one label a text.
    """
    old, names = (predictor.class_names for predictor in predictors)
    if not has_several_labels(data):
        raise UserError(f"{data.csv} has one label a text, and {runs[0].path} is for several; name another --data_dir")
    refuse_unknown((name for row in rows for name in decoded(row.label)), names, data, runs[1])
    true = membership([row.label for row in rows], names).astype(bool)
    log.info("%s: %s test documents", data.dataset, f"{len(rows):,}")
    texts, common = [row.text for row in rows], len(old)
    said = [predicted_labels(predictor, texts) for predictor in predictors]
    first, second = ((one[:, :common] == true[:, :common]).all(axis=1) for one in said)
    row = side_by_side(data, first, second)
    row["micro_f1"] = [micro_f1(one[:, :common], true[:, :common]) for one in said]
    if common < len(names):
        row["new_classes"] = list(names[common:])
        row["micro_f1_of_new_classes"] = micro_f1(said[1][:, common:], true[:, common:])
    return row


def predicted_labels(predictor: Any, texts: Sequence[str]) -> NDArray[np.bool_]:
    """bool [documents, C], the labels that a network predicts."""
    probabilities = predictor.probabilities(predictor.read(text).document for text in texts)
    said: NDArray[np.bool_] = probabilities >= predictor.thresholds
    return said


def micro_f1(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """F1 of all decisions together, [documents, C] each."""
    return float(f1_of((said & true).sum(), (said & ~true).sum(), (~said & true).sum()))


def rightly(predictor: Any, texts: Sequence[str], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [documents], which of them a network classifies correctly; of a class that it does not know, none."""
    probabilities = predictor.probabilities(predictor.read(text).document for text in texts)
    right: NDArray[np.bool_] = probabilities.argmax(axis=1) == labels
    return right


def p_value(only_first: int, only_second: int) -> float:
    """McNemar's exact test: how likely so unequal numbers are if both networks are equally good."""
    from scipy.stats import binomtest

    total = only_first + only_second
    return float(binomtest(only_first, total).pvalue) if total else 1.0


def table(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of the table, two for each data set."""
    width = max(map(len, names))
    for row in rows:
        if "micro_f1" in row:
            yield from label_lines(names, row, width)
            continue
        others = row["documents_of_new_classes"]
        which = f" of classes that {names[0]} knows" if others else ""
        yield f"test documents of {row['dataset']}{which}: {row['documents']:,}"
        for name, correct in zip(names, row["correct"], strict=True) if row["documents"] else ():
            low, high = wilson_interval(correct, row["documents"])
            yield f"  {name:<{width}}  {correct / row['documents']:7.2%}  95% interval {low:.2%} to {high:.2%}"
        if others:
            low, high = wilson_interval(row["correct_of_new_classes"], others)
            yield (
                f"  not compared: {others:,} of {', '.join(row['new_classes'])[:100]}, which {names[0]} does not know; "
                f"{names[1]}: {row['correct_of_new_classes'] / others:.2%} ({low:.2%} to {high:.2%})"
            )
        yield only_one(names, row)


def label_lines(names: Sequence[str], row: dict[str, Any], width: int) -> Iterator[str]:
    """The lines of a data set whose texts may have several labels. ``width``: of a run's name."""
    new = row.get("new_classes", [])
    which = f", labels that {names[0]} knows" if new else ""
    yield f"test documents of {row['dataset']}{which}: {row['documents']:,}"
    for name, correct, f1 in zip(names, row["correct"], row["micro_f1"], strict=True):
        low, high = wilson_interval(correct, row["documents"])
        share = f"{correct / row['documents']:7.2%}  95% interval {low:.2%} to {high:.2%}"
        yield f"  {name:<{width}}  all labels right {share}, micro F1 {f1:.4f}"
    if new:
        listed = ", ".join(new)[:100]
        yield (
            f"  not compared: {listed}, which {names[0]} does not know; {names[1]}: micro F1 "
            f"{row['micro_f1_of_new_classes']:.4f}"
        )
    yield only_one(names, row)


def only_one(names: Sequence[str], row: dict[str, Any]) -> str:
    """The line that says how many documents only one of two networks classifies correctly."""
    return (
        f"  correct in one only: {row['only_first']:,} {names[0]}, {row['only_second']:,} {names[1]} "
        f"(p = {row['p_value']:.2g})"
    )


if __name__ == "__main__":
    run_script(main, build_parser())
