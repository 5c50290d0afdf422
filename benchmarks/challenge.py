"""Scores short reviews with negation, contrast, quotation, irony, comparison and a mixed verdict (docs/challenge.md).

    python benchmarks/challenge.py imdb-han                     # the even lines of tests/challenge.jsonl
    python benchmarks/challenge.py imdb-han --linear imdb       # NB-SVM and logistic regression beside it
    python benchmarks/challenge.py imdb-han --half odd --show   # the odd lines, with the texts that it gets wrong

The odd lines are for development. The even lines are reported only: nothing may be chosen or changed by them. Runs and
data sets need the classes negative and positive.

    N texts
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import ROOT, print_table, record
from numpy.typing import NDArray

from corpus.corpora import read_labels, require_csv
from linear_baselines import count_training
from report.evaluation import wilson_interval
from report.linear_models import SYSTEMS, choose, gram_counter, trained_again
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    dataset_name,
    log,
    read_jsonl,
    run_script,
    sha256_of_file,
)

CHALLENGE = ROOT / "tests" / "challenge.jsonl"
LABELS = ("negative", "positive")
HALVES = {"odd": 0, "even": 1}  # position of a half's first line; lines are counted from 1, positions from 0
PURPOSE = {"odd": "for development", "even": "reported only"}
SURE = 0.95  # more than this confidence in a wrong answer is counted


class Text(NamedTuple):
    """A line of the set.

    Attributes:
        id: Its class and a number.
        kind: Its class, for example ``negation``.
        label: Number of the true class in :data:`LABELS`.
        text: The review.
    """

    id: str
    kind: str
    label: int
    text: str


class Answers(NamedTuple):
    """What a system says about the texts.

    Attributes:
        system: Its name.
        probabilities: float64 [N, 2], in the order of :data:`LABELS`.
        facts: What identifies the system, for the file of results.
    """

    system: str
    probabilities: NDArray[np.float64]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Score:
    """How well a system does on some texts.

    Attributes:
        texts: Number N of texts.
        right: How many of them it answers correctly.
        accuracy: Share of the right ones.
        accuracy_interval: Its 95% Wilson interval: (low, high).
        confidence: Mean probability of the predicted class.
        sure_and_wrong: Number of wrong answers with more confidence than :data:`SURE`.
    """

    texts: int
    right: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    confidence: float
    sure_and_wrong: int


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="challenge.py", description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders, or their names in --runs_dir")
    parser.add_argument(
        "--linear",
        type=dataset_name,
        metavar="DATASET",
        help="also train NB-SVM and logistic regression on this data set, as linear_baselines.py does",
    )
    add_folder_flags(parser)
    parser.add_argument("--half", choices=sorted(HALVES), default="even", help="which lines (default: even)")
    parser.add_argument("--show", action="store_true", help="print the texts answered wrongly")
    parser.add_argument("--jsonl", type=Path, metavar="FILE", help="append a line for each system to this file")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Scores the texts with every system, one table each."""
    if not arguments.runs and not arguments.linear:
        raise UserError("nothing to score; name a run, or a data set: python benchmarks/challenge.py --linear imdb")
    texts = read_texts(arguments.half)
    for answers in systems(arguments, [text.text for text in texts]):
        scores = scored(texts, answers.probabilities)
        title = f"{answers.system}: {arguments.half} lines of {CHALLENGE.name} ({PURPOSE[arguments.half]})"
        print_table(title, HEADER, table_rows(scores))
        if arguments.show:
            print("\n".join(["", *wrong_answers(texts, answers.probabilities)]))
        if arguments.jsonl:
            record("challenge", measured(arguments.half, answers, scores), arguments.jsonl)


def read_texts(half: str) -> list[Text]:
    """The odd or the even lines of the set."""
    rows = read_jsonl(CHALLENGE)[HALVES[half] :: 2]
    return [Text(row["id"], row["class"], LABELS.index(row["label"]), row["text"]) for row in rows]


# ---------------------------------------------------------------------------------------------------------------------
# Systems


def systems(arguments: argparse.Namespace, texts: Sequence[str]) -> Iterator[Answers]:
    """The answers of the runs, then of the linear classifiers; every name is checked before the first is scored."""
    linear = linear_answers(arguments.linear, arguments.data_dir) if arguments.linear else None
    if arguments.runs:
        yield from run_answers(arguments.runs, arguments.runs_dir, texts)
    if linear:
        yield from linear(texts)


def run_answers(names: Sequence[str], runs_dir: Path, texts: Sequence[str]) -> Iterator[Answers]:
    """The answers of trained networks."""
    from runtime.devices import start_tensorflow
    from runtime.run_folder import find_run

    runs = [find_run(name, runs_dir) for name in names]
    orders = [order_of_labels(run.config().class_names, str(run.path)) for run in runs]
    start_tensorflow("cpu")
    from runtime.predictor import Predictor, unfinished

    for run, order in zip(runs, orders, strict=True):
        if remark := unfinished(run):
            log.warning("%s", remark)
        predictor = Predictor.load(run)
        probabilities = predictor.probabilities(predictor.read(text).document for text in texts)
        facts = {"dataset": run.config().dataset, "weights_sha256": predictor.weights_sha256, "settings": None}
        yield Answers(run.path.name, probabilities.astype(np.float64)[:, order], facts)


def linear_answers(dataset: str, data_dir: Path) -> Callable[[Sequence[str]], Iterator[Answers]]:
    """A function that trains the linear classifiers on a data set and scores texts; checks the data set at once."""
    paths = DataPaths(dataset, data_dir)
    require_csv(dataset, paths)
    names = read_labels(paths)
    order = order_of_labels(names, str(paths.labels))

    def answers(texts: Sequence[str]) -> Iterator[Answers]:
        counter = gram_counter()
        documents, is_valid = count_training(counter, paths, names)
        counts = counter.transform(texts)
        for system in SYSTEMS[1:]:  # the first is the most frequent class
            chosen = trained_again(choose(system, documents.only(~is_valid), documents.only(is_valid)), documents)
            facts = {"dataset": dataset, "weights_sha256": None, "settings": chosen.settings}
            yield Answers(system.name, chosen.probabilities(counts)[:, order], facts)

    return answers


def order_of_labels(names: Sequence[str], source: str) -> list[int]:
    """Where :data:`LABELS` are among the class names of a run or a data set."""
    if sorted(names) != sorted(LABELS):
        raise UserError(
            f"{source} has the classes {', '.join(names)}; the challenge set needs {' and '.join(LABELS)}: "
            "name a run or a data set with these two"
        )
    return [list(names).index(label) for label in LABELS]


# ---------------------------------------------------------------------------------------------------------------------
# Scores

HEADER = ["class", "texts", "right", "accuracy", "95% interval", "mean confidence", f"wrong, above {SURE:.0%}"]


def scored(texts: Sequence[Text], probabilities: NDArray[np.float64]) -> dict[str, Score]:
    """The score on each class in the order of the set, then on ``all``."""
    kinds = [text.kind for text in texts]
    labels = np.array([text.label for text in texts])
    scores = {}
    for kind in dict.fromkeys(kinds):
        chosen = np.array(kinds) == kind
        scores[kind] = score(labels[chosen], probabilities[chosen])
    return {**scores, "all": score(labels, probabilities)}


def score(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Score:
    """The score on texts with these labels [N]."""
    right = probabilities.argmax(axis=1) == labels
    confidence = probabilities.max(axis=1)
    count, texts = int(right.sum()), len(labels)
    return Score(
        texts,
        count,
        count / texts,
        wilson_interval(count, texts),
        float(confidence.mean()),
        int((~right & (confidence > SURE)).sum()),
    )


def table_rows(scores: dict[str, Score]) -> list[list[str]]:
    """The cells below :data:`HEADER`."""
    return [
        [
            kind,
            str(result.texts),
            str(result.right),
            f"{result.accuracy:.1%}",
            "{:.1%} to {:.1%}".format(*result.accuracy_interval),
            f"{result.confidence:.1%}",
            str(result.sure_and_wrong),
        ]
        for kind, result in scores.items()
    ]


def wrong_answers(texts: Sequence[Text], probabilities: NDArray[np.float64]) -> Iterator[str]:
    """A line for each text answered wrongly: its id, the answer and its probability, the text."""
    for text, row in zip(texts, probabilities, strict=True):
        predicted = int(row.argmax())
        if predicted != text.label:
            yield f"{text.id:<13}  {LABELS[predicted]} {row[predicted]:6.1%}  {text.text}"


def measured(half: str, answers: Answers, scores: dict[str, Score]) -> dict[str, Any]:
    """What a line of results holds besides machine and commit."""
    return {
        "system": answers.system,
        "half": half,
        **answers.facts,
        "texts_sha256": sha256_of_file(CHALLENGE),
        "scores": {kind: dataclasses.asdict(result) for kind, result in scores.items()},
    }


if __name__ == "__main__":
    run_script(main, build_parser())
