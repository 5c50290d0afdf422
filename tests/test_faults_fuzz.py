"""Damaged and hostile input of four kinds: each is read, or refused in one line; nothing else happens, and none hangs.

    make test-faults                     10,000 inputs, a quarter of each kind
    make test-faults FUZZED=1000         fewer

Each input starts from a good one, which hypothesis damages: bytes of a table and of a records folder, values of a JSON
file, flags of a script. The same in every run.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import importlib
import io
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import config
import create_csv
import download
import linear_baselines
import run_all
import serialize_data
from corpus.corpora import find_corpus, own_source, read_csv, read_labels
from corpus.evidence import EvidenceRow
from data_processing import TextProcessor, Vocabulary
from explaining.faithfulness import faithfulness_file, read_findings
from runtime.run_folder import RunFolder
from schema import read_json, read_jsonl
from tests.helpers import write_tiny_records, write_tiny_run
from tests.test_house import SCRIPTS
from text.records import RecordReader, read_shard, verify_records
from training.log import HistoryRow, Step
from training.tester import LinearRow, ResultRow, SeenTexts
from utils import DataPaths, UserError, write_json, write_jsonl

EXAMPLES = int(os.environ.get("FUZZED", "10000")) // 4
SECONDS = 20  # an input that takes longer hangs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]
fuzzed = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@contextlib.contextmanager
def refused_or_read() -> Iterator[None]:
    """Lets a user's error of one line through, and nothing else; interrupts what takes too long."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(SECONDS)
    try:
        yield
    except UserError as error:
        assert str(error).strip() and "\n" not in str(error).strip(), error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def damaged(good: bytes, data: st.DataObject) -> bytes:
    """Bytes with up to four damages: some replaced, left out, doubled or put in, or the end cut off."""
    content = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4), "damages")):
        start = data.draw(st.integers(0, len(content)), "from")
        stop = min(start + data.draw(st.integers(0, 12), "bytes"), len(content))
        piece = data.draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), "piece")
        kind = data.draw(st.sampled_from(["replace", "double", "cut"]), "kind")
        if kind == "cut":
            del content[start:]
        else:
            content[start:stop] = content[start:stop] * 2 if kind == "double" else piece
    return bytes(content)


PIECES = (
    *(b'"', b'""', b",", b";", b"\t", b"|", b"\n", b"\r\n", b"\r", b"\\", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"{", b"}", b"[", b":", b"null", b"1e999", b"NaN", b"-1", b'{"text": 1}', b"text,label", b"\xe2\x80\xa8"),
)

# ---------------------------------------------------------------------------------------------------------------------
# Tables

WORDS = st.lists(st.sampled_from(["good", "bad", "film", "it's", "a, b", 'so "new"', "é", "中", "x\ny"]), max_size=9)


def table_bytes(rows: list[tuple[str, str]], kind: str, encoding: str) -> bytes:
    """A table of texts and labels as some program would write it."""
    file = io.StringIO(newline="")
    if kind == "jsonl":
        file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    else:
        csv.writer(file, delimiter="\t" if kind == "tsv" else ",").writerows([("text", "label"), *rows])
    return file.getvalue().encode(encoding, "replace")


@fuzzed
@given(st.data())
def test_tables(data: st.DataObject) -> None:
    """Of a table that is read, every row is a document or is counted as skipped."""
    texts = data.draw(st.lists(WORDS.map(" ".join), min_size=4, max_size=14), "texts")
    rows = [(f"{text} {number}", ("yes", "no")[number % 2]) for number, text in enumerate(texts)]
    kind = data.draw(st.sampled_from(["csv", "tsv", "jsonl"]), "kind")
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "cp1252"]), "encoding")
    content = damaged(table_bytes(rows, kind, encoding), data)
    with tempfile.TemporaryDirectory() as folder:
        table, paths = Path(folder) / f"table.{kind}", DataPaths("table", Path(folder) / "data")
        table.write_bytes(content)
        command = [str(table), "--data_dir", str(paths.data_dir), "--valid_share", "0.3"]
        with refused_or_read():
            create_csv.main(create_csv.build_parser().parse_args(command))
            manifest = json.loads(paths.csv_manifest.read_text(encoding="utf-8"))
            said = " | ".join(manifest["understood"])
            documents = sum(1 for _ in read_csv(paths.csv))
            counted = number_before(said, " rows")
            skipped = number_before(said.partition("skipped in all: ")[2], " of ")
            assert documents == counted - skipped - manifest["left_out"], (said, documents)
            if kind == "jsonl" and b"\0" not in content:
                assert counted >= len([line for line in content.split(b"\n") if line.strip(b" \t\r")]) - 1, said


def number_before(text: str, word: str) -> int:
    """The whole number that stands before a word, 0 where the text is empty."""
    before = text.partition(word)[0].split(" ")[-1].replace(",", "")
    return int(before) if before else 0


# ---------------------------------------------------------------------------------------------------------------------
# Records


@fuzzed
@given(st.data())
def test_records(records: Path, data: st.DataObject) -> None:
    """Every damage to a records folder is noticed by its manifest, and by the readers of shards in any case."""
    file = records / data.draw(st.sampled_from(sorted(path.name for path in records.iterdir())), "file")
    good = file.read_bytes()
    content = damaged(good, data)
    try:
        file.write_bytes(content)
        with refused_or_read():
            verify_records(records)
            assert content == good or file.name == "manifest.json"
        with refused_or_read():
            list(read_shard(records / "train-00000-of-00001.tfrecord"))
        with refused_or_read(), RecordReader(records, "train") as reader:
            assert len(reader.index) >= 0
        with refused_or_read():
            TextProcessor.load(records / "sentence_splitter.json")
        with refused_or_read():
            Vocabulary.load(records / "vocab.txt")
    finally:
        file.write_bytes(good)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("fuzzed") / "tiny" / "records"
    write_tiny_records(folder, 30)
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# JSON files

VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from([2**70, -1, "", "0"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
Place = list[Any]


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a JSON value, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, entry in inner for place in places(entry, (*above, key)))]


def changed(value: Any, place: tuple[Any, ...], data: st.DataObject) -> Any:
    """A JSON value in which the value at a place is another, or whose key is another, or is not there."""
    if not place:
        return data.draw(VALUES, "value")
    copy = json.loads(json.dumps(value))
    holder = functools.reduce(lambda inner, key: inner[key], place[:-1], copy)
    kind = data.draw(st.sampled_from(["replace", "replace", "delete", "rename"]), "kind")
    if kind == "replace":
        holder[place[-1]] = data.draw(VALUES, "value")
    else:
        old = holder.pop(place[-1])
        if kind == "rename" and isinstance(holder, dict):
            holder[data.draw(st.text(max_size=5), "key")] = old
    return copy


def json_cases(folder: Path) -> dict[Path, list[Callable[[], object]]]:
    """The JSON files of a data set and a finished run, each with the functions of this project that read it."""
    paths, run = DataPaths("tiny", folder), RunFolder(folder / "runs" / "tiny-han")
    write_tiny_records(paths.records, 30)
    write_tiny_run(run.path, paths.records)
    paths.labels.write_text("negative\npositive\n")
    split = {"documents": 20, "distinct_texts": 20, "classes": {"negative": 10, "positive": 10}}
    manifest = {"splits": {"train": split}, "labels": ["negative", "positive"], "csv_sha256": "0", "source": "a.csv"}
    write_json(paths.csv_manifest, manifest | {"seen_test_documents": ["a"], "settings": {"binary": True}})
    memory = paths.folder / "run_all.json"
    write_json(memory, {"create_csv": {"settings": "", "inputs": {"a": "b"}, "finished": True}})
    row = {"run": "tiny-han", "dataset": "tiny", "split": "test", "weights_sha256": "0", "accuracy": 0.5}
    row |= {"class_names": ["negative", "positive"], "csv_sha256": "0", "system": "x", "architecture": "han"}
    row |= {"accuracy_interval": [0.4, 0.6], "valid_accuracy": None}
    write_jsonl(run.results, [row, row])
    validated = {"step": 4, "epoch": 0.5, "valid_loss": 0.7, "valid_accuracy": 0.5, "valid_class_accuracy": [0.0, 1.0]}
    write_jsonl(run.history, [validated | {"learning_rate": 0.1, "momentum": 0.9, "best": True}])
    write_jsonl(run.steps, [{"step": 4, "loss": 0.7, "accuracy": 0.5, "learning_rate": 0.1, "momentum": 0.9}])
    write_jsonl(paths.evidence, [{"id": "a", "evidence": [[0, 3]]}])
    record = folder / "ag_news" / "raw" / "source.json"
    write_json(record, {"source": "https://a", "sha256": "0", "size": 3})
    record.with_name("ag_news_csv.tgz").write_bytes(b"abc")
    order = download.Order(find_corpus("ag_news"), record.parent, None, None, download.Patience())
    mean = {"mean": 0.2, "half_width": 0.1}
    figures = {"random": {"flips": mean}, "gradient": {"flips": mean}}
    faithful = faithfulness_file(run.path)
    measured = {"weights_sha256": "0", "split": "valid", "documents": 9, "step": 7, "flip_share": 0.2}
    write_json(faithful, {**measured, "best_method": "gradient", "words": figures, "sentences": figures})
    return {
        paths.manifest: [
            lambda: verify_records(paths.records),
            lambda: run_all.outdated_records(paths),
        ],
        paths.csv_manifest: [
            lambda: own_source("tiny", paths),
            lambda: serialize_data.check_labels(paths, read_labels(paths)),
            lambda: serialize_data.check_csv(paths, "0"),
            lambda: run_all.documents_of(paths, "train"),
            lambda: read_json(paths.csv_manifest, SeenTexts),
        ],
        memory: [lambda: run_all.remembered(memory), lambda: run_all.drop_damaged(memory)],
        run.config_file: [run.config, run.identity, run.check_files],
        run.finished: [run.check_files],
        run.results: [
            lambda: read_jsonl(run.results, ResultRow),
            lambda: read_jsonl(run.results, LinearRow),
            lambda: list(linear_baselines.tested_networks(run.path.parent, "tiny", ["negative", "positive"])),
        ],
        run.history: [lambda: read_jsonl(run.history, HistoryRow)],
        run.steps: [lambda: read_jsonl(run.steps, Step)],
        paths.evidence: [lambda: read_jsonl(paths.evidence, EvidenceRow)],
        record: [lambda: download.is_present(order)],
        faithful: [lambda: read_findings(faithful)],
        run.path / "sentence_splitter.json": [lambda: TextProcessor.load(run.path / "sentence_splitter.json")],
    }


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(json_cases(tmp_path_factory.mktemp("json")))


class Cases(dict[Path, list[Callable[[], object]]]):
    """Printed as one word in the report of a failure."""

    def __repr__(self) -> str:
        return "cases"


def test_the_files_that_are_damaged_are_read_before(cases: Cases) -> None:
    for path, readers in cases.items():
        for number, read in enumerate(readers):
            try:
                read()
            except UserError as error:
                pytest.fail(f"{path}, reader {number}: {error}")


@fuzzed
@given(st.data())
def test_json_files(cases: Cases, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(cases)), "file")
    good = path.read_bytes()
    lines = path.suffix == ".jsonl"
    value = [json.loads(line) for line in good.splitlines()] if lines else json.loads(good)
    changes = changed(value, data.draw(st.sampled_from(places(value)), "place"), data)
    if lines:
        rows = changes if isinstance(changes, list) else [changes]
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = json.dumps(changes)
    content = damaged(text.encode(), data) if data.draw(st.booleans(), "bytes damaged, too") else text.encode()
    for read in cases[path]:
        path.write_bytes(content)
        try:
            with refused_or_read():
                read()
        finally:
            path.write_bytes(good)


# ---------------------------------------------------------------------------------------------------------------------
# Flags

PLAIN = st.sampled_from(
    ["", "0", "-1", "1", "1e999", "nan", "inf", "1e-320", "99999999999999999999", "True", "x", "é\udc80", "a b", "../x"]
)


@fuzzed
@given(st.data())
def test_flags(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any flags of any script are accepted, or refused in one line with exit code 2; nothing is written by then."""
    script = data.draw(st.sampled_from(SCRIPTS), "script")
    parser = parser_of(script)
    names = sorted(name for action in parser._actions for name in action.option_strings if name not in {"-h", "--help"})
    words = data.draw(st.lists(st.one_of(PLAIN, st.sampled_from(names), st.text(max_size=6)), max_size=8), "words")
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), refused_or_read():
        try:
            arguments = parser.parse_args(words)
        except SystemExit as ended:
            assert ended.code == 2, said.getvalue()
            assert said.getvalue().count("\n") == 1 and "error: " in said.getvalue(), said.getvalue()
            return
        for settings_class in SETTINGS:
            if all(hasattr(arguments, field) for field in settings_class.__dataclass_fields__):
                config.settings_from_flags(settings_class, arguments)
        if script == "run_all":
            run_all.refuse_settings(arguments)
        if hasattr(arguments, "run") and hasattr(arguments, "dataset"):
            DataPaths(str(arguments.dataset))


SETTINGS = (
    config.CsvSettings,
    config.TextSettings,
    config.TrainingSettings,
    config.TrainerOperation,
    config.TesterOperation,
)


@functools.cache
def parser_of(script: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = importlib.import_module(script).build_parser()
    return parser
