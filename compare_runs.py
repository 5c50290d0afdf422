#!/usr/bin/env python3
"""Compares two runs on the test documents of both their data sets.

    python compare_runs.py imdb-han new-han            for example after: python run_all.py new.csv --from_run imdb-han

NEW has the classes of OLD, in the same order, and perhaps more. A table says how accurate each is on the test documents
of each data set, how many documents only one of them classifies correctly, and how likely such a difference is by
chance (McNemar's exact test). Documents of classes that OLD does not know are left out of it; how many of them NEW
classifies correctly is a line of its own. It is also in `comparison.json` of the second run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.corpora import read_csv
from report.evaluation import wilson_interval
from runtime.devices import add_device_flag, explain_memory, start_for_runs
from runtime.run_folder import RunFolder, find_run, origin, refuse_several_labels
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
    for run in runs:
        refuse_several_labels(run, "compare_runs.py")
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
    """Raises :class:`UserError` for one run named twice, or a second one that lacks classes of the first."""
    if first.path.resolve() == second.path.resolve():
        raise UserError(f"{first.path} is named twice; name two runs")
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
    if unknown := next((row.label for row in rows if row.label not in names), None):
        raise UserError(f"{data.csv} has the class {unknown[:50]!r}, which {runs[1].path} does not know")
    labels = np.array([names.index(row.label) for row in rows])
    log.info("%s: %s test documents", data.dataset, f"{len(rows):,}")
    first, second = (rightly(predictor, [row.text for row in rows], labels) for predictor in predictors)
    known = labels < len(old)
    return {
        "dataset": data.dataset,
        "documents": int(known.sum()),
        "correct": [int(one[known].sum()) for one in (first, second)],
        "only_first": int((first & ~second)[known].sum()),
        "only_second": int((second & ~first)[known].sum()),
        "p_value": p_value(int((first & ~second)[known].sum()), int((second & ~first)[known].sum())),
        "new_classes": list(names[len(old) :]),
        "documents_of_new_classes": int((~known).sum()),
        "correct_of_new_classes": int(second[~known].sum()),
    }


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
        yield (
            f"  correct in one only: {row['only_first']:,} {names[0]}, {row['only_second']:,} {names[1]} "
            f"(p = {row['p_value']:.2g})"
        )


if __name__ == "__main__":
    run_script(main, build_parser())
