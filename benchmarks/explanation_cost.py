"""What an explanation costs: each method for one text at a time, against the prediction alone.

    python benchmarks/explanation_cost.py imdb-han

Test documents of about 230 words and of about 2,000 (the nearest ones, so that a data set of short texts has shorter
ones), each explained alone as the page does it: prediction and explanation together. All methods in turns; one that
the page does not offer for so long a text is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from explanation_tables import ALONE, COSTS
from measuring import interleaved, print_table, record

from runtime.devices import start_tensorflow
from runtime.run_folder import find_run
from utils import DataPaths, Parser, add_folder_flags, run_script

LENGTHS = {230: 12, 2_000: 4}  # words -> documents of about so many


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="explanation_cost.py", description=__doc__)
    parser.add_argument("run", help="run folder, or its name in --runs_dir")
    add_folder_flags(parser)
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Times every method on documents of each length."""
    run = find_run(arguments.run, arguments.runs_dir)
    config = run.config()
    task = f"{config.dataset}-{len(config.class_names)}"
    start_tensorflow("cpu")
    from explaining.explanations import METHODS, methods_of, score_and_explain
    from runtime.documents import parted
    from runtime.input_pipeline import Split
    from runtime.predictor import Predictor

    predictor = Predictor.load(run)
    methods = methods_of(predictor)
    rows = {name: [title] for name, title in [(ALONE, ALONE), *((name, METHODS[name].title) for name in methods)]}
    header = [""]
    with contextlib.closing(Split(DataPaths(config.dataset, arguments.data_dir).records, "test")) as split:
        words = np.asarray(split.index["words"])
        for wanted, count in LENGTHS.items():
            nearest = nearest_lengths(words, wanted, count)
            documents, mean = list(parted(split.read(nearest).documents)), round(float(words[nearest].mean()))
            offered = [name for name in methods if mean <= (METHODS[name].most_words or mean)]
            explain = {
                name: functools.partial(score_and_explain, predictor, targets=None, method=name) for name in offered
            }
            functions: dict[str, Callable[[list[Any]], Any]] = {ALONE: predictor.score, **explain}
            contenders = {name: functools.partial(each_alone, one, documents) for name, one in functions.items()}
            seconds = interleaved(contenders, arguments.rounds)
            milliseconds = {name: 1_000 * value / count for name, value in seconds.items()}
            found = {"words": mean, "documents": count, "milliseconds": milliseconds}
            record(COSTS, {"task": task, "title": config.title(), "run": run.path.name, "wanted": wanted, **found})
            header += [f"{mean:,} words", "/ prediction"]
            for name, row in rows.items():
                value = milliseconds.get(name)
                row += ["", ""] if value is None else [f"{value:,.1f}", f"{value / milliseconds[ALONE]:,.1f}"]
    print_table("Milliseconds for one text: prediction and explanation", header, list(rows.values()))


def nearest_lengths(words: np.ndarray, wanted: int, count: int) -> np.ndarray:
    """int64 [count], ascending: the places of the documents whose number of words is nearest to ``wanted``."""
    distances = np.abs(words.astype(np.int64) - wanted)  # as they are stored, without a sign, differences would wrap
    return np.sort(np.argsort(distances, kind="stable")[:count])


def each_alone(function: Callable[[list[Any]], Any], documents: Sequence[Any]) -> None:
    """Calls a function with lists of one document."""
    for document in documents:
        function([document])


if __name__ == "__main__":
    run_script(main, build_parser())
