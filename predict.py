#!/usr/bin/env python3
"""Scores any number of texts with a trained network and writes a prediction for each, in their order.

    python predict.py imdb-han reviews.csv > predictions.csv              the text in the column `text`
    python predict.py imdb-han reviews.tsv --text_column body --output predictions.jsonl
    grep -v '^#' lines.txt | python predict.py runs/imdb-han -            one text per line
    python predict.py imdb-1 imdb-2 imdb-3 reviews.csv                    the mean of several networks
    python predict.py imdb-han reviews.csv --abstain 0.9                  no prediction where it is not confident

Texts are read, cut into words and scored as a stream: memory does not grow with their number. RUN is a run folder or
its name in `runs/`. A text without a word gets no prediction.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from config import check_range
from corpus.frames import READERS
from corpus.headers import is_number
from corpus.several_labels import BETWEEN
from corpus.sources import is_compressed, open_source, plain_suffix
from corpus.tables import bounded_lines, find_encoding, open_table
from corpus.text_rows import Row, column_rows, find_columns, has_one_column, line_rows, table_rows, text_lines
from report.evaluation import FEWEST_RATINGS
from report.ordered import median_classes
from runtime.averaging import MeanPredictor, check_can_be_averaged
from runtime.decisions import chosen_names
from runtime.devices import add_device_flag, explain_memory, start_for_runs
from runtime.run_folder import RunFolder, find_run, refuse_several_labels
from runtime.streaming import Scored, score_rows
from text.text_reader import remarks_on
from utils import Parser, UserError, atomic_write, log, run_script

if TYPE_CHECKING:
    import numpy as np

    from runtime.streaming import Reader


@dataclass(frozen=True)
class Rule:
    """How probabilities become a prediction.

    Attributes:
        abstain: Confidence below which there is none.
        threshold: Of two classes, the probability of the second from which on it is predicted; ``None``: the likeliest.
        median: Whether the median of ordered classes is predicted in place of the likeliest.
        thresholds: Where a text may have several labels, the probability of each from which on it is predicted.
    """

    abstain: float = 0.0
    threshold: float | None = None
    median: bool = False
    thresholds: np.ndarray | None = None

    def abstains(self, scored: Scored) -> bool:
        """Whether a text with words gets no prediction because the network is not confident enough."""
        return scored.reading.words > 0 and float(scored.probabilities.max()) < self.abstain

    def label(self, scored: Scored, class_names: Sequence[str]) -> str:
        """The class of a text with words; empty where the rule abstains."""
        values = scored.probabilities
        return "" if self.abstains(scored) else class_names[self.number(values)]

    def labels(self, scored: Scored, class_names: Sequence[str]) -> list[str]:
        """The labels of a text with words, where it may have several."""
        return chosen_names(scored.probabilities >= self.thresholds, class_names)

    def number(self, values: np.ndarray) -> int:
        """The class that is predicted of probabilities [C]."""
        if self.median:
            return int(median_classes(values))
        return int(values.argmax() if self.threshold is None else values[1] >= self.threshold)


LIKELIEST = Rule()
# Flags that texts with several labels do not have, and what these have in their place.
OF_ONE_LABEL = {
    "abstain": "leave it out: the output has the probability of each label, by which unsure ones can be left out",
    "threshold": "leave it out: each label has a threshold of its own, chosen on validation",
    "median": "leave it out: labels are in no order",
}


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="predict.py", description=__doc__)
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run folder, or its name in --runs_dir; of several the mean is taken"
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="table (CSV, TSV, JSON lines, also .gz, .bz2, .xz, .zip; Parquet, Feather, Excel, Stata, a JSON list); "
        "FILE.txt or - (standard input): one text per line",
    )
    parser.add_argument("--text_column", default="", help="name or number of the text's column (default: by its name)")
    parser.add_argument(
        "--id_column", default="", help="column that names the texts (default: id, or else row/2 and so on)"
    )
    parser.add_argument("--encoding", default="", help="of the file, for example cp1251 (default: detected)")
    parser.add_argument("--output", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--format", choices=("csv", "jsonl"), help="default: as --output ends, else csv")
    parser.add_argument(
        "--abstain",
        type=float,
        default=0.0,
        metavar="CONFIDENCE",
        help="give no prediction where the probability of the likeliest class is lower; the column abstained says so "
        "(default: 0: always predict)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="PROBABILITY",
        help="two classes: predict the second from this probability on, for example one that han_tester.py --best_f1 "
        "or --cost has chosen (default: the likeliest class)",
    )
    parser.add_argument(
        "--median",
        action="store_true",
        help="ordered classes, as stars are: predict the median of the probabilities, whose expected error in steps is "
        "the smallest (default: the likeliest class)",
    )
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    add_device_flag(parser)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Scores everything; returns the exit code."""
    check_range("abstain", arguments.abstain, 0, 1)
    check_range("threshold", arguments.threshold, 0, 1)
    runs = [find_run(name, arguments.runs_dir) for name in arguments.runs]
    if len(runs) > 1:
        check_can_be_averaged(runs)
    for flag, way_out in OF_ONE_LABEL.items():
        if getattr(arguments, flag):
            refuse_several_labels(runs[0], f"--{flag}", way_out)
    if arguments.output and arguments.output.exists():
        raise UserError(f"{arguments.output} already exists; name another --output, or delete it")
    with contextlib.ExitStack() as stack:
        rows = open_rows(arguments, stack)
        device = start_for_runs(runs, arguments.device, arguments.tf32)
        predictor = load(runs, device)
        if arguments.threshold is not None and len(predictor.class_names) != 2:
            raise UserError(f"--threshold is for two classes, and {runs[0].path} has {len(predictor.class_names)}")
        if arguments.median:
            refuse_median(predictor.class_names, runs[0], arguments.threshold)
        interactive = arguments.file == "-" and sys.stdin.isatty()
        rule = Rule(arguments.abstain, arguments.threshold, arguments.median, predictor.thresholds)
        with explain_memory("give shorter texts, or end other programs"), writer(arguments, predictor, rule) as write:
            counts = Counts(rule)
            score_all(predictor, runs[0].path, rows, write, size_of(arguments.file), interactive, counts)
    return 0


def refuse_median(class_names: Sequence[str], run: RunFolder, threshold: float | None) -> None:
    """Refuses the median of classes that are in no order, and beside a threshold.

    Raises:
        UserError: As said.
    """
    if threshold is not None:
        raise UserError("--median and --threshold are two ways to choose the class; leave one of them out")
    if len(class_names) < FEWEST_RATINGS or not all(map(is_number, class_names)):
        raise UserError(
            f"--median is for three or more classes that are numbers, and {run.path} has "
            f"{', '.join(class_names)[:200]}; leave it out"
        )


def load(runs: Sequence[RunFolder], device: str) -> Reader:
    """The network of a run, or several as one; warns of a run that is not finished."""
    from runtime.predictor import Predictor, unfinished

    predictors = [Predictor.load(run, device) for run in runs]
    for run, predictor in zip(runs, predictors, strict=True):
        if remark := unfinished(run):
            log.warning("%s (step %d)", remark, predictor.step)
    return MeanPredictor(predictors) if len(runs) > 1 else predictors[0]


def score_all(
    predictor: Reader,
    folder: Path,
    rows: Iterator[Row],
    write: Any,
    size: int | None,
    interactive: bool,
    counts: Counts,
) -> None:
    """Scores ``rows`` and passes each to ``write``, with a progress bar over the bytes of the input (``size``)."""
    from tqdm import tqdm

    started = time.monotonic()
    bar = tqdm(total=size, unit="B", unit_scale=True, disable=interactive or not sys.stderr.isatty(), leave=False)
    with bar, contextlib.closing(score_rows(predictor, folder, rows, interactive)) as scored_rows:
        for scored in scored_rows:
            write(scored)
            counts.add(scored)
            bar.update(scored.row.size)
    counts.report(time.monotonic() - started)


@dataclass
class Counts:
    """How many texts were scored, and how many of them not as a person might expect.

    Attributes:
        rule: How probabilities become a prediction.
    """

    rule: Rule = LIKELIEST
    abstained: int = 0
    texts: int = 0
    wordless: int = 0
    unknown: int = 0
    cut: int = 0

    def add(self, scored: Scored) -> None:
        """Counts one text."""
        reading = scored.reading
        self.abstained += self.rule.abstains(scored)
        self.texts += 1
        self.wordless += not reading.words
        self.unknown += 0 < reading.words == reading.unknown_words
        self.cut += reading.cut_words > 0

    def report(self, seconds: float) -> None:
        """Logs the counts and the speed."""
        speed = f"{self.texts / max(seconds, 1e-9):,.0f}"
        log.info("%s texts in %.1f s, %s a second", f"{self.texts:,}", seconds, speed)
        for count, remark in (
            (self.wordless, "without a word: no prediction"),
            (self.unknown, "without a word that the vocabulary knows: the prediction means nothing"),
            (self.cut, "with more sentences than the network reads: the end did not count"),
            (self.abstained, f"of a confidence below {self.rule.abstain:g}: no prediction"),
        ):
            if count:
                log.warning("%s %s", counted(count), remark)


def counted(texts: int) -> str:
    """``1 text``, ``2 texts``."""
    return f"{texts:,} text{'' if texts == 1 else 's'}"


# ---------------------------------------------------------------------------------------------------------------------
# What is read


def open_rows(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> Iterator[Row]:
    """The texts of what the person named; a table is opened here, so that mistakes come at once.

    Raises:
        UserError: No such file, no text, no such column.
    """
    if arguments.file == "-":
        return line_rows(text_lines(sys.stdin.buffer, "standard input"))
    path = Path(arguments.file)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; name a table, a .txt file with one text per line, or - for standard input"
        )
    rows, remarks = (
        table_and_remarks(path, arguments) if path.suffix.lower() in READERS else text_rows(path, arguments, stack)
    )
    for remark in remarks:
        log.info("%s: %s", path, remark)
    return rows


def text_rows(
    path: Path, arguments: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[Iterator[Row], Sequence[str]]:
    """The texts of a file that is text, compressed or not, and what a person should know about it."""
    codec, errors, remarks = find_encoding(path, arguments.encoding)
    lined = plain_suffix(path) == ".txt"
    if not lined and not has_one_column(path, codec, errors):
        return table_and_remarks(path, arguments)
    file = stack.enter_context(open_source(path, codec, errors=errors, newline=""))
    lines = bounded_lines(file, path)
    return line_rows(lines) if lined else column_rows(lines, path), remarks


def table_and_remarks(path: Path, arguments: argparse.Namespace) -> tuple[Iterator[Row], Sequence[str]]:
    """The texts of a table, and what a person should know about it."""
    table = open_table(path, arguments.encoding)
    text, name = find_columns(table, arguments.text_column, arguments.id_column)
    log.info("text from %r%s", table.names[text], "" if name is None else f", id from {table.names[name]!r}")
    return table_rows(table, text, name), table.remarks


def size_of(name: str) -> int | None:
    """Bytes of the text in the input, where that is known."""
    path = Path(name)
    packed = name == "-" or is_compressed(path) or path.suffix.lower() in READERS
    return None if packed else path.stat().st_size


# ---------------------------------------------------------------------------------------------------------------------
# What is written


@contextlib.contextmanager
def writer(arguments: argparse.Namespace, predictor: Reader, rule: Rule) -> Iterator[Any]:
    """A function that writes one scored text, to standard output or to a file that appears when all is done."""
    ending = arguments.output.suffix if arguments.output else ""
    form = arguments.format or ("jsonl" if ending in {".jsonl", ".json"} else "csv")
    make = {"csv": csv_writer, "jsonl": jsonl_writer}[form]
    if arguments.output:
        with atomic_write(arguments.output, newline="") as file:
            yield make(file, predictor, rule)
        log.info("written: %s", arguments.output)
    else:
        yield make(sys.stdout, predictor, rule)
        sys.stdout.flush()  # here, where a closed pipe is still caught


def csv_writer(file: IO[str], predictor: Reader, rule: Rule = LIKELIEST) -> Any:
    """Writes ``id,prediction,probability_...,words,unknown_words,remarks``; the remarks are separated by semicolons.

    Where the rule can abstain, the last column is ``abstained``, yes or no. Of several labels the prediction has all,
    with `` | `` between them, and is empty where the text has none.
    """
    class_names = predictor.class_names
    table = csv.writer(file, lineterminator="\n")
    probabilities = [f"probability_{name}" for name in class_names]
    last = ["abstained"] if rule.abstain else []
    table.writerow(["id", "prediction", *probabilities, "words", "unknown_words", "remarks", *last])

    def write(scored: Scored) -> None:
        answer = [""] * (1 + len(class_names))
        if scored.reading.words:
            several = rule.thresholds is not None
            said = BETWEEN.join(rule.labels(scored, class_names)) if several else rule.label(scored, class_names)
            answer = [said, *(f"{value:.6f}" for value in scored.probabilities)]
        remarks = "; ".join(remarks_on(scored.reading, predictor.short_text))
        last = [("no", "yes")[rule.abstains(scored)]] if rule.abstain else []
        table.writerow([scored.row.id, *answer, scored.reading.words, scored.reading.unknown_words, remarks, *last])

    return write


def jsonl_writer(file: IO[str], predictor: Reader, rule: Rule = LIKELIEST) -> Any:
    """Writes one JSON object per line; ``null`` for the prediction of a text without a word.

    Where the rule abstains, it is ``null``, too, and ``abstained`` is true. Of several labels it is a list.
    """
    class_names = predictor.class_names

    def write(scored: Scored) -> None:
        row: dict[str, Any] = {"id": scored.row.id, "prediction": None, "probabilities": None}
        if scored.reading.words:
            values = scored.probabilities
            if rule.thresholds is not None:
                row["prediction"] = rule.labels(scored, class_names)
            else:
                row["prediction"] = rule.label(scored, class_names) or None
            row["probabilities"] = {name: round(float(p), 6) for name, p in zip(class_names, values, strict=True)}
        row |= {"words": scored.reading.words, "unknown_words": scored.reading.unknown_words}
        row["remarks"] = remarks_on(scored.reading, predictor.short_text)
        row |= {"abstained": rule.abstains(scored)} if rule.abstain else {}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


if __name__ == "__main__":
    run_script(main, build_parser())
