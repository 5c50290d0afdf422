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
import functools
import itertools
import json
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

from config import check_range
from corpus.corpus_formats import MAX_TEXT_BYTES
from corpus.frames import READERS
from corpus.own_data import guess_text, named_column, profile
from corpus.sources import is_compressed, open_source, plain_suffix
from corpus.tables import (
    ID_NAMES,
    JSON_ENDINGS,
    SAMPLE_RECORDS,
    TEXT_NAMES,
    Table,
    bounded_lines,
    comparable_name,
    find_encoding,
    open_table,
    records,
    usable,
)
from runtime.averaging import MeanPredictor, check_can_be_averaged
from runtime.devices import add_device_flag, explain_memory, start_tensorflow
from runtime.run_folder import RunFolder, find_run
from text.process_pool import in_order, worker_pool
from text.text_reader import Reading, read_texts, remarks_on, unpack
from utils import Parser, UserError, atomic_write, log, run_script, usable_cores

if TYPE_CHECKING:
    from runtime.predictor import Predictor

    Reader: TypeAlias = Predictor | MeanPredictor

# Texts are sorted by length within windows. The first is small, so that the first predictions come soon.
FIRST_WINDOW, LARGEST_WINDOW = 64, 1024
WINDOW_CHARACTERS = 8_000_000
WINDOWS_ALONE = 4  # that this process reads by itself before it starts others
WINDOWS_AHEAD = 5  # that other processes read before they are scored
MOST_READERS = 4  # processes; each reads three times as many texts as two cores score
READERS_NICENESS = 19  # they work when a core is idle: the network waits for the slowest of its own threads
END_OTHERS = "end other programs and run the same command again"


class Row(NamedTuple):
    """A text to score.

    Attributes:
        id: Its name in the column ``id``, or else ``row/17``; of a line of plain text, its number from 1 on.
        text: What the person wrote.
        size: Characters of its row.
    """

    id: str
    text: str
    size: int


class Scored(NamedTuple):
    """A row, what was read of its text and its probabilities, float32 [C]."""

    row: Row
    reading: Reading
    probabilities: Any


@dataclass(frozen=True)
class Rule:
    """How probabilities become a prediction.

    Attributes:
        abstain: Confidence below which there is none.
        threshold: Of two classes, the probability of the second from which on it is predicted; ``None``: the likeliest.
    """

    abstain: float = 0.0
    threshold: float | None = None

    def abstains(self, scored: Scored) -> bool:
        """Whether a text with words gets no prediction because the network is not confident enough."""
        return scored.reading.words > 0 and float(scored.probabilities.max()) < self.abstain

    def label(self, scored: Scored, class_names: Sequence[str]) -> str:
        """The class of a text with words; empty where the rule abstains."""
        values = scored.probabilities
        number = int(values.argmax() if self.threshold is None else values[1] >= self.threshold)
        return "" if self.abstains(scored) else class_names[number]


LIKELIEST = Rule()


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
    if arguments.output and arguments.output.exists():
        raise UserError(f"{arguments.output} already exists; name another --output, or delete it")
    with contextlib.ExitStack() as stack:
        rows = open_rows(arguments, stack)
        device = start_tensorflow(arguments.device)
        predictor = load(runs, device)
        if arguments.threshold is not None and len(predictor.class_names) != 2:
            raise UserError(f"--threshold is for two classes, and {runs[0].path} has {len(predictor.class_names)}")
        interactive = arguments.file == "-" and sys.stdin.isatty()
        rule = Rule(arguments.abstain, arguments.threshold)
        with explain_memory("give shorter texts, or end other programs"), writer(arguments, predictor, rule) as write:
            counts = Counts(rule)
            score_all(predictor, runs[0].path, rows, write, size_of(arguments.file), interactive, counts)
    return 0


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
# Scoring


def score_rows(
    predictor: Reader, folder: Path, rows: Iterator[Row], interactive: bool
) -> Generator[Scored, None, None]:
    """Yields every row with its probabilities, in order.

    Beyond the first thousand, other processes cut the next texts into words while the network runs in this one: threads
    would wait for Python's lock. Until those processes have started, this one does both.

    Args:
        predictor: The network.
        folder: The run folder, from which those processes know the words.
        rows: What is read.
        interactive: Whether to score each line before the next one is read.
    """
    stream = windows(rows, 1 if interactive else LARGEST_WINDOW)
    for window in itertools.islice(stream, None if interactive else WINDOWS_ALONE):
        yield from score_window(predictor, window, read_here(predictor, window))
    if (next_window := next(stream, None)) is None:
        return
    get_ready = functools.partial(read_texts, folder, [""])
    with worker_pool(min(usable_cores(), MOST_READERS), get_ready, END_OTHERS, READERS_NICENESS) as pool:
        ready = pool.submit(get_ready)
        stream = itertools.chain([next_window], stream)
        while not ready.done() and (alone := next(stream, None)) is not None:
            yield from score_window(predictor, alone, read_here(predictor, alone))
        ahead, behind = itertools.tee(stream)
        texts = ([row.text for row in window] for window in ahead)
        read = in_order(pool, functools.partial(read_texts, folder), texts, WINDOWS_AHEAD)
        for window, packed in zip(behind, read, strict=True):
            yield from score_window(predictor, window, unpack(packed))


def read_here(predictor: Reader, window: Sequence[Row]) -> list[Reading]:
    """Cuts the texts of a window into words in this process."""
    return [predictor.read(row.text) for row in window]


def score_window(predictor: Reader, window: Sequence[Row], readings: Sequence[Reading]) -> Iterator[Scored]:
    """Yields the rows of a window with their probabilities."""
    probabilities = predictor.probabilities(reading.document for reading in readings)
    for row, reading, values in zip(window, readings, probabilities, strict=True):
        yield Scored(row, reading, values)


def windows(rows: Iterator[Row], largest: int) -> Iterator[list[Row]]:
    """Cuts a stream into lists that double in size up to ``largest`` rows or so many characters."""
    size = min(FIRST_WINDOW, largest)
    window: list[Row] = []
    characters = 0
    for row in rows:
        window.append(row)
        characters += len(row.text)
        if len(window) == size or characters > WINDOW_CHARACTERS:
            yield window
            window, characters, size = [], 0, min(2 * size, largest)
    if window:
        yield window


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
    return table_rows(table, *find_columns(table, arguments.text_column, arguments.id_column)), table.remarks


def has_one_column(path: Path, codec: str, errors: str) -> bool:
    """Whether a table has a single column, by its first line; an empty one has none."""
    if plain_suffix(path) in JSON_ENDINGS:
        return False
    with open_source(path, codec, errors=errors) as file:
        first = file.readline(MAX_TEXT_BYTES)
    return bool(first.strip()) and not set(first) & set(",;\t|")


def size_of(name: str) -> int | None:
    """Bytes of the text in the input, where that is known."""
    path = Path(name)
    packed = name == "-" or is_compressed(path) or path.suffix.lower() in READERS
    return None if packed else path.stat().st_size


def text_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Yields the lines of a UTF-8 stream; other content is a :class:`UserError` that names the line."""
    number = 0
    while line := file.readline(MAX_TEXT_BYTES):
        number += 1
        if len(line) == MAX_TEXT_BYTES or b"\0" in line:
            raise UserError(f"{name}, line {number}: this is not text (zero bytes, or a line without an end)")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name}, line {number}: it is not UTF-8 ({error.reason})") from error


def line_rows(lines: Iterator[str]) -> Iterator[Row]:
    """One text per line, named by its number; an empty line is an empty text, so that output and input stay in step."""
    for number, line in enumerate(lines, start=1):
        yield Row(str(number), line.rstrip("\r\n"), len(line))


def column_rows(lines: Iterator[str], path: Path) -> Iterator[Row]:
    """The rows of a CSV file with one column, whose first line is its name."""
    csv.field_size_limit(MAX_TEXT_BYTES)
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        next(reader, None)
        line = reader.line_num + 1
        for number, fields in enumerate((fields for fields in reader if fields), start=1):
            yield Row(str(number), ",".join(fields), sum(map(len, fields)) + 1)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: {error}; close the quotation mark, or save it as .txt") from error


def table_rows(table: Table, text: int, named: int | None) -> Iterator[Row]:
    """The rows of a table; one that cannot be read is reported and gets an empty text, so that none is missing.

    Args:
        table: From :func:`corpus.tables.open_table`.
        text: Place of the text.
        named: Place of its name; without it a row is ``row/17``, which is what ``create_csv.py`` calls it.
    """
    readable = (record for record in records(table) if record.problem not in {"empty row", "the header again"})
    for record in readable:
        if record.problem:
            log.warning("%s, line %d: %s; no prediction", table.path, record.line, record.problem)
            yield Row(f"row/{record.row}", "", 0)
        else:
            name = f"row/{record.row}" if named is None else record.fields[named]
            yield Row(name, record.fields[text], sum(map(len, record.fields)) + len(record.fields))


def find_columns(table: Table, text_column: str, id_column: str) -> tuple[int, int | None]:
    """The places of the text and of its name; a :class:`UserError` if it is unclear which column has the text.

    Without a flag it is the column that has a usual name, else the one that ``create_csv.py`` would take.
    """
    plain = [comparable_name(name) for name in table.names]
    named = named_column(table, "id_column", id_column)
    if named is None:
        named = next((plain.index(name) for name in ID_NAMES if name in plain), None)
    text = named_column(table, "text_column", text_column)
    if text is None:
        usual = [place for place, name in enumerate(plain) if name in TEXT_NAMES]
        text = usual[0] if len(usual) == 1 else guess_column(table)
    return text, named


def guess_column(table: Table) -> int:
    """The column that holds the text, by its content."""
    sample = [record.fields for record in itertools.islice(usable(table), SAMPLE_RECORDS)]
    profiles = [profile(name, place, [row[place] for row in sample]) for place, name in enumerate(table.names)]
    return guess_text(table, [column for column in profiles if not column.splits], profiles)


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

    Where the rule can abstain, the last column is ``abstained``, yes or no.
    """
    class_names = predictor.class_names
    table = csv.writer(file, lineterminator="\n")
    probabilities = [f"probability_{name}" for name in class_names]
    last = ["abstained"] if rule.abstain else []
    table.writerow(["id", "prediction", *probabilities, "words", "unknown_words", "remarks", *last])

    def write(scored: Scored) -> None:
        answer = [""] * (1 + len(class_names))
        if scored.reading.words:
            answer = [rule.label(scored, class_names), *(f"{value:.6f}" for value in scored.probabilities)]
        remarks = "; ".join(remarks_on(scored.reading, predictor.short_text))
        last = [("no", "yes")[rule.abstains(scored)]] if rule.abstain else []
        table.writerow([scored.row.id, *answer, scored.reading.words, scored.reading.unknown_words, remarks, *last])

    return write


def jsonl_writer(file: IO[str], predictor: Reader, rule: Rule = LIKELIEST) -> Any:
    """Writes one JSON object per line; ``null`` for the prediction of a text without a word.

    Where the rule abstains, it is ``null``, too, and ``abstained`` is true.
    """
    class_names = predictor.class_names

    def write(scored: Scored) -> None:
        row: dict[str, Any] = {"id": scored.row.id, "prediction": None, "probabilities": None}
        if scored.reading.words:
            values = scored.probabilities
            row["prediction"] = rule.label(scored, class_names) or None
            row["probabilities"] = {name: round(float(p), 6) for name, p in zip(class_names, values, strict=True)}
        row |= {"words": scored.reading.words, "unknown_words": scored.reading.unknown_words}
        row["remarks"] = remarks_on(scored.reading, predictor.short_text)
        row |= {"abstained": rule.abstains(scored)} if rule.abstain else {}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


if __name__ == "__main__":
    run_script(main, build_parser())
