"""Trains and tests linear classifiers on the CSV file and the splits of the networks, to compare networks with.

    python linear_baselines.py imdb

The most frequent class, TF-IDF with logistic regression, and NB-SVM (Wang and Manning 2012) with one to three words in
a row. Settings are chosen on the validation split from a small grid; the chosen ones are trained again on train and
validation together; then the test split is read, once. Writes to runs/<dataset>-linear: results.jsonl with the fields
that han_tester.py writes, report-test.txt, predictions-<system>-test.csv.
"""

from __future__ import annotations

import installed  # noqa: F401

# isort: split
import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

import schema
from config import check_range
from corpus.corpora import (
    CsvRow,
    create_csv_command,
    has_several_labels,
    is_ordinal,
    read_csv,
    read_labels,
    require_csv,
)
from corpus.origins import refuse_unread_source
from corpus.several_labels import membership
from report.evaluation import Evaluation, evaluate, write_predictions
from report.linear_models import (
    SYSTEMS,
    Chosen,
    CountedDocuments,
    choose,
    described,
    gram_counter,
    gram_lengths,
    trained_again,
)
from report.ordered import Ordered
from report.several_labels import SeveralLabels, evaluate_several, report_of, write_several
from text.copies import data_set
from utils import (
    DataPaths,
    Parser,
    UserError,
    add_folder_flags,
    atomic_write,
    check_writable,
    dataset_name,
    folder_flags,
    human_size,
    log,
    parse_bool,
    progress,
    run_path,
    run_script,
    sha256_of_file,
    write_jsonl,
)

TEST_CHUNK = 5_000  # documents of the test split whose features are in memory at a time


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="linear_baselines.py", description=__doc__)
    parser.add_argument("dataset", help="name of the data set, for example imdb")
    parser.add_argument("--run", help="name of the folder of the results (default: <dataset>-linear)")
    add_folder_flags(parser)
    parser.add_argument(
        "--train_on_valid",
        type=parse_bool,
        metavar="True|False",
        help="train the chosen settings again on train and validation together (default: True; False where a text may "
        "have several labels, whose thresholds fit the model that they were chosen with)",
    )
    parser.add_argument(
        "--train_documents",
        type=int,
        default=0,
        metavar="N",
        help="train on N documents drawn at random, where memory is short; 0: all (default: 0)",
    )
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Counts, chooses on validation, trains, tests, reports."""
    check_range("train_documents", arguments.train_documents, 0)
    started = time.monotonic()
    typed, arguments.dataset = arguments.dataset, dataset_name(arguments.dataset)
    paths = data_set(arguments.dataset, arguments.data_dir, texts=True)
    require_csv(typed, paths)
    refuse_unread_source(typed, paths)
    run = run_path(arguments.runs_dir, arguments.run or f"{arguments.dataset}-linear", arguments.dataset)
    names = read_labels(paths)
    check_writable(run)
    counter = gram_counter()
    documents, is_valid = count_training(counter, paths, names, arguments.train_documents)
    log.info(
        "%s: %s training and %s validation documents, %d classes, %s features of up to three words",
        arguments.dataset,
        f"{int((~is_valid).sum()):,}",
        f"{int(is_valid.sum()):,}",
        len(names),
        f"{documents.counts.shape[1]:,}",
    )
    baselines = [choose(system, documents.only(~is_valid), documents.only(is_valid)) for system in SYSTEMS]
    if arguments.train_on_valid is None:
        arguments.train_on_valid = not has_several_labels(paths)
    if arguments.train_on_valid:
        baselines = [trained_again(baseline, documents) for baseline in baselines]
    ids, labels, probabilities = score_test(paths, names, counter.transform, baselines)
    csv_sha256 = sha256_of_file(paths.csv)
    ordinal = is_ordinal(paths, csv_sha256)
    results: list[Any] = []
    for baseline, values in zip(baselines, probabilities, strict=True):
        file = run / f"predictions-{baseline.system.slug}-test.csv"
        if baseline.thresholds is None:
            results.append(evaluate(values, labels, names, ordinal))
            write_predictions(file, ids, labels, values, names)
        else:
            results.append(evaluate_several(values, labels.astype(np.uint8), names, baseline.thresholds))
            write_several(file, ids, labels.astype(np.uint8), values, names, baseline.thresholds)
    if not has_several_labels(paths):
        draw(run, baselines[1:], results[1:], labels, probabilities[1:])
    facts = {"seconds": round(time.monotonic() - started), "peak_bytes": peak_memory()}
    rows = result_rows(arguments, run, csv_sha256, baselines, results, facts)
    write_jsonl(run / "results.jsonl", rows)
    report(run, arguments, baselines, results, rows)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def labelled(paths: DataPaths, names: Sequence[str], splits: tuple[str, ...]) -> Iterator[tuple[CsvRow, Any]]:
    """Streams the documents of some splits with the number of their class; of several labels a list of 0 and 1."""
    if has_several_labels(paths):
        rows = (row for row in read_csv(paths.csv) if row.split in splits)
        yield from ((row, membership([row.label], names)[0].tolist()) for row in rows)
        return
    numbers = {name: number for number, name in enumerate(names)}
    for row in read_csv(paths.csv):
        if row.split in splits:
            if row.label not in numbers:
                raise UserError(f"{paths.csv}: the label {row.label!r} of {row.id} is not in {paths.labels}")
            yield row, numbers[row.label]


def count_training(
    counter: Any, paths: DataPaths, names: Sequence[str], limit: int = 0
) -> tuple[CountedDocuments, NDArray[np.bool_]]:
    """Counts the features of the training and validation splits in one pass; texts are not kept.

    A feature that occurs in validation alone gets a column, but no model trained on ``train`` gives it a weight.

    Args:
        counter: From :func:`report.linear_models.gram_counter`; it learns the features.
        paths: Of the data set.
        names: [C] of the classes.
        limit: Number of training documents to draw; 0 for all.

    Returns:
        The documents, and bool [N]: which belong to validation.

    Raises:
        UserError: There is no validation document, or training has one class only.
    """
    drawn = drawn_documents(paths, names, limit) if limit else None
    labels: list[Any] = []
    is_valid: list[bool] = []

    def texts() -> Iterator[str]:
        for row, label in labelled(paths, names, ("train", "valid")):
            if row.split == "valid" or drawn is None or row.id in drawn:
                labels.append(label)
                is_valid.append(row.split == "valid")
                yield row.text

    counts = counter.fit_transform(progress(texts(), None, "counting words", "documents"))
    valid = np.array(is_valid, bool)
    documents = CountedDocuments(counts, np.array(labels), gram_lengths(counter.vocabulary_), len(names))
    if not valid.any():
        raise UserError(
            f"{paths.csv} has no validation documents; make some: {create_csv_command(paths)} --valid_share 0.1"
        )
    if not documents.several and len(np.unique(documents.labels[~valid])) < 2:
        raise UserError(f"training on {paths.csv} sees fewer than two classes; raise --train_documents")
    return documents, valid


def drawn_documents(paths: DataPaths, names: Sequence[str], count: int) -> set[str]:
    """Names of ``count`` training documents, always the same ones."""
    ids = [row.id for row, _ in labelled(paths, names, ("train",))]
    return set(np.random.default_rng(0).permutation(ids)[:count].tolist())


def score_test(
    paths: DataPaths, names: Sequence[str], transform: Callable[[Sequence[str]], Any], baselines: list[Chosen]
) -> tuple[list[str], NDArray[np.int64], list[NDArray[np.float64]]]:
    """Reads the test split once and scores it piece by piece.

    Returns:
        [N] names, int64 [N] labels, and float64 [N, C] probabilities of each baseline.
    """
    ids, labels = [], []
    parts: list[list[NDArray[np.float64]]] = [[] for _ in baselines]
    documents = labelled(paths, names, ("test",))
    while piece := list(islice(documents, TEST_CHUNK)):
        ids += [row.id for row, _ in piece]
        labels += [label for _, label in piece]
        counts = transform([row.text for row, _ in piece])
        for part, baseline in zip(parts, baselines, strict=True):
            part.append(baseline.probabilities(counts))
    if not ids:
        raise UserError(f"{paths.csv} has no test documents; write it again: {create_csv_command(paths)}")
    return ids, np.array(labels), [np.concatenate(part) for part in parts]


# ---------------------------------------------------------------------------------------------------------------------
# What is written and shown


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def result_rows(
    arguments: argparse.Namespace,
    run: Path,
    csv_sha256: str,
    baselines: list[Chosen],
    results: list[Evaluation],
    facts: dict[str, Any],
) -> list[dict[str, Any]]:
    """Lines of ``results.jsonl`` in the tester's form; what only a network has is ``None``."""
    from runtime.run_folder import origin

    made = origin()
    nothing = dict.fromkeys(("cell", "seed", "step", "weights_sha256", "evidence"))
    return [
        {
            "run": run.name,
            "dataset": arguments.dataset,
            "split": "test",
            "system": baseline.system.name,
            "architecture": "linear",
            **nothing,
            "settings": baseline.settings,
            "train_on_valid": arguments.train_on_valid,
            "train_documents": arguments.train_documents,
            # of several labels the share of decisions, which is not comparable with a network's share of documents
            "valid_accuracy": baseline.valid_accuracy if baseline.thresholds is None else None,
            **result.to_json(),
            "csv_sha256": csv_sha256,
            "all_systems": facts,
            "trained": made,
            "tested": made,
        }
        for baseline, result in zip(baselines, results, strict=True)
    ]


def draw(
    run: Path,
    baselines: list[Chosen],
    results: list[Evaluation],
    labels: NDArray[np.int64],
    probabilities: list[NDArray[np.float64]],
) -> None:
    """Draws what the tester draws, to ``plots/``."""
    from report.plots import evaluation_pictures

    for baseline, result, values in zip(baselines, results, probabilities, strict=True):
        for kind, picture in evaluation_pictures(result, labels, values, f"{baseline.system.name}, test").items():
            with atomic_write(run / "plots" / f"{kind}-{baseline.system.slug}-test.png", "wb") as file:
                file.write(picture)


def report(
    run: Path,
    arguments: argparse.Namespace,
    baselines: list[Chosen],
    results: list[Evaluation],
    rows: list[dict[str, Any]],
) -> None:
    """Prints the reports, then all systems side by side, tested networks among them, and keeps the text."""
    parts = [
        report_of(result, f"{described(baseline.system, baseline.settings)}: {arguments.dataset}, test")
        for baseline, result in zip(baselines[1:], results[1:], strict=True)
    ]
    networks = list(tested_networks(arguments.runs_dir, arguments.dataset, rows[0]["class_names"]))
    parts.append("\n".join(comparison([*rows, *networks])))
    text = "\n" + "\n\n\n".join(parts) + "\n"
    print(text, end="")
    with atomic_write(run / "report-test.txt") as file:
        file.write(text)
    facts = rows[0]["all_systems"]
    print(f"\nTook:    {facts['seconds']} s, at most {human_size(facts['peak_bytes'])} of memory, for all of them")
    pictures = "" if isinstance(results[0], SeveralLabels) else ", plots/*.png"
    print(f"Written: {run}/results.jsonl, report-test.txt, predictions-*-test.csv{pictures}")
    if not networks:
        flags = folder_flags(arguments.data_dir, arguments.runs_dir)
        print(f"Next:    python han_tester.py --dataset {' '.join([arguments.dataset, *flags])}", flush=True)


class TestedNetwork(TypedDict):
    """What is read of a line of another run's ``results.jsonl``."""

    dataset: str
    split: str
    architecture: str
    class_names: list[str]
    accuracy: float
    accuracy_interval: tuple[float, float]
    valid_accuracy: float | None
    mae: NotRequired[float | None]
    ordered: NotRequired[Ordered | None]
    title: NotRequired[str | None]
    micro_f1: NotRequired[float]
    macro_f1: NotRequired[float]


def tested_networks(runs_dir: Path, dataset: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The last test result of each other run on this data set with these classes."""
    for file in sorted(runs_dir.glob("*/results.jsonl")):
        rows = schema.read_jsonl(file, TestedNetwork)
        tested = [row for row in rows if (row["dataset"], row["split"]) == (dataset, "test")]
        if tested and "system" not in tested[-1] and tested[-1]["class_names"] == list(names):
            title = tested[-1].get("title") or tested[-1]["architecture"].upper()
            yield {**tested[-1], "system": f"{title} in {file.parent}"}


def comparison(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of a table, best system last."""
    width = max(len(row["system"]) for row in rows)
    yield f"{'system':<{width}}  validation     test  95% interval"
    for row in sorted(rows, key=lambda row: float(row["accuracy"])):
        low, high = row["accuracy_interval"]
        valid = row["valid_accuracy"]  # None of a network trained on validation, too
        error = f"  mean error {row['mae']:.3f} stars" if row.get("mae") is not None else ""
        if row.get("micro_f1") is not None:
            error = f"  micro F1 {row['micro_f1']:.4f}, macro F1 {row['macro_f1']:.4f}"
        if steps := row.get("ordered"):
            error = f"  mean error {steps['likeliest']['error']:.3f} steps, of medians {steps['median']['error']:.3f}"
        yield (
            f"{row['system']:<{width}}  {'-' if valid is None else f'{valid:.2%}':>10}  {row['accuracy']:7.2%}  "
            f"{low:.2%} to {high:.2%}{error}"
        )


if __name__ == "__main__":
    run_script(main, build_parser())
