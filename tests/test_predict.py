"""Scoring files and standard input, as from the command line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import lzma
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import predict
from config import ModelSettings, TrainingSettings
from corpus.tables import Table, open_table
from corpus.text_rows import Row, find_columns, text_lines
from data_processing import load_text_processing
from runtime import streaming
from runtime.checkpoints import save_weights
from runtime.documents import join
from runtime.networks import build_model
from runtime.predictor import Predictor, unfinished
from runtime.run_folder import Progress, RunConfig, RunFolder, find_run
from runtime.streaming import score_rows
from tests.helpers import EMBEDDING_DIM, VOCABULARY, loaded_once, write_tiny_records
from text.process_pool import worker_pool
from utils import UserError, exclusive_lock, write_json

ROOT = Path(__file__).parent.parent
BINARY = np.random.default_rng(1).bytes(4096)
TEXTS = ["A good word01!", "", "bad word02. Quite bad, word03\nword04?", "qqq zzz", "<br />"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, beside the records that it might have been trained on."""
    folder = tmp_path_factory.mktemp("runs")
    records = folder.parent / "data" / "tiny" / "records"
    write_tiny_records(records)
    model = ModelSettings(word_units=3, sentence_units=3, attention_dim=3, ngrams="off")
    config = RunConfig(
        "tiny", "han", model, TrainingSettings(), ("negative", "positive"), len(VOCABULARY), EMBEDDING_DIM, "no hash"
    )
    run = RunFolder(folder / "tiny-han")
    run.create(config, records)
    network = build_model(config)
    generator = np.random.default_rng(4)
    for weight in network.named_weights().values():
        weight.assign(generator.normal(size=weight.shape))
    save_weights(run.best, network, Progress(step=7), run=run.identity())
    write_json(run.finished, {})
    return folder


@pytest.fixture(scope="module")
def predictor(runs: Path) -> Predictor:
    return Predictor.load(RunFolder(runs / "tiny-han"))


@pytest.fixture(scope="module", autouse=True)
def same_network(runs: Path, predictor: Predictor) -> Iterator[None]:
    with loaded_once(predictor, runs / "tiny-han"):
        yield


def write_csv(path: Path, texts: list[str], column: str = "text") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["Id", "stars", column])
        table.writerows([f"n{number}", 3, text] for number, text in enumerate(texts))
    return path


def run_predict(runs: Path, *words: object) -> None:
    predict.main(predict.build_parser().parse_args(["tiny-han", *map(str, words), "--runs_dir", str(runs)]))


@contextlib.contextmanager
def ready_pool(workers: int, get_ready: Callable[[], object], way_out: str, niceness: int) -> Iterator[Executor]:
    """Processes that have started."""
    with worker_pool(workers, get_ready, way_out, niceness) as pool:
        pool.submit(get_ready).result()
        yield pool


def test_processes_read_what_comes_when_they_have_started(
    runs: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the first windows is read here; of the rest at most what comes before a process answers."""
    monkeypatch.setattr(streaming, "FIRST_WINDOW", 1)
    monkeypatch.setattr(streaming, "WINDOWS_ALONE", 1)
    monkeypatch.setattr(streaming, "LARGEST_WINDOW", 1)
    monkeypatch.setattr(streaming, "worker_pool", ready_pool)
    here: list[int] = []

    def read_here(predictor: Predictor, window: list[Row]) -> list[Any]:
        here.extend(int(row.id) for row in window)
        return [predictor.read(row.text) for row in window]

    def rows() -> Iterator[Row]:
        for number in range(40):
            if number == 3:
                time.sleep(1)  # by then the process has answered
            yield Row(str(number), f"word0{number % 9} good", 0)

    monkeypatch.setattr(streaming, "read_here", read_here)
    scored = list(score_rows(predictor, runs / "tiny-han", rows(), interactive=False))
    assert [int(one.row.id) for one in scored] == list(range(40))
    assert here[:1] == [0] and max(here) < 4
    for one in scored:
        expected = predictor.score([predictor.read(one.row.text).document])[0].probabilities
        np.testing.assert_allclose(one.probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("windows_alone", [0, 4, 99])
def test_rows_come_out_in_order_with_the_networks_own_probabilities(
    runs: Path, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows_alone: int
) -> None:
    monkeypatch.setattr(streaming, "FIRST_WINDOW", 1)
    monkeypatch.setattr(streaming, "WINDOWS_ALONE", windows_alone)
    monkeypatch.setattr(streaming, "worker_pool", ready_pool)
    texts = [*TEXTS, *(f"word0{number % 9} " * (1 + number * 7 % 23) for number in range(30))]
    run_predict(runs, write_csv(tmp_path / "in.csv", texts), "--output", tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == [f"n{number}" for number in range(len(texts))]
    for row, text in zip(rows, texts, strict=True):
        sentences = predictor.reader.processor.process(text).words
        assert int(row["words"]) == sum(map(len, sentences))
        if not sentences:
            assert row["prediction"] == row["probability_negative"] == ""
            continue
        logits = predictor.model(join([predictor.read(text).document])).numpy()[0].astype(np.float64)
        expected = np.exp(logits) / np.exp(logits).sum()
        assert float(row["probability_positive"]) == pytest.approx(expected[1], abs=2e-6)
        assert row["prediction"] == ("negative", "positive")[int(expected.argmax())]
    assert (rows[3]["words"], rows[3]["unknown_words"]) == ("2", "2")
    assert [row["remarks"] for row in rows[:4]] == ["", "no word", "", "no known word"]


def test_json_lines_and_lines_of_text_keep_step(runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\ufeffgood good\n\nqqq\n", encoding="utf-8")
    with caplog.at_level("INFO", logger="han"):
        run_predict(runs, lines, "--output", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["unknown_words"] == 0 and sum(rows[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    nothing = {"id": "2", "prediction": None, "probabilities": None, "words": 0, "unknown_words": 0}
    assert rows[1] == nothing | {"remarks": ["no word"]}
    assert "1 text without a word: no prediction" in caplog.text
    assert "1 text without a word that the vocabulary knows" in caplog.text


def test_below_a_confidence_there_is_no_prediction(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [*TEXTS, *(f"word0{number} good" for number in range(9))]
    table = write_csv(tmp_path / "in.csv", texts)
    run_predict(runs, table, "--output", tmp_path / "all.csv")
    every = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    confidences = [max(float(row[f"probability_{name}"] or 0) for name in ("negative", "positive")) for row in every]
    threshold = sorted(confidences)[len(texts) // 2] - 1e-4
    with caplog.at_level("INFO", logger="han"):
        run_predict(runs, table, "--output", tmp_path / "some.csv", "--abstain", threshold)
        run_predict(runs, table, "--output", tmp_path / "some.jsonl", "--abstain", threshold)
    some = list(csv.DictReader((tmp_path / "some.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (tmp_path / "some.jsonl").read_text().splitlines()]
    left_out = 0
    for row, other, line, confidence in zip(every, some, lines, confidences, strict=True):
        abstains = row["prediction"] != "" and confidence < threshold
        left_out += abstains
        assert other == row | {"abstained": "yes" if abstains else "no"} | ({"prediction": ""} if abstains else {})
        assert line["abstained"] == abstains and line["prediction"] == (other["prediction"] or None)
    assert 2 < left_out < len(texts) - 2
    assert f"{left_out} texts of a confidence below {threshold:g}: no prediction" in caplog.text
    with pytest.raises(UserError, match=r"--abstain 1.5 is out of range; give a value from 0 to 1"):
        run_predict(runs, table, "--abstain", 1.5)


def test_two_classes_are_divided_at_a_threshold(runs: Path, predictor: Predictor, tmp_path: Path) -> None:
    texts = [f"word0{number} good bad" for number in range(9)]
    table = write_csv(tmp_path / "in.csv", texts)
    run_predict(runs, table, "--output", tmp_path / "all.csv")
    every = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    threshold = sorted(float(row["probability_positive"]) for row in every)[3]
    run_predict(runs, table, "--output", tmp_path / "other.csv", "--threshold", threshold - 1e-6)
    other = list(csv.DictReader((tmp_path / "other.csv").read_text().splitlines()))
    assert sum(row["prediction"] == "positive" for row in other) == 6
    assert all((row["prediction"] == "positive") == (float(row["probability_positive"]) >= threshold) for row in other)
    assert [row | {"prediction": ""} for row in other] == [row | {"prediction": ""} for row in every]
    with pytest.raises(UserError, match=r"--threshold -1.0 is out of range"):
        run_predict(runs, table, "--threshold", "-1")


def test_the_median_is_predicted_where_it_is_asked_for(runs: Path, tmp_path: Path) -> None:
    reading = SimpleNamespace(words=3)
    scored = streaming.Scored(Row("a", "text", 0), reading, np.array([0.4, 0.25, 0.35], np.float32))  # type: ignore[arg-type]
    assert predict.Rule().label(scored, "125") == "1"
    assert predict.Rule(median=True).label(scored, "125") == "2"
    with pytest.raises(
        UserError, match=r"--median is for three or more classes .* has negative, positive; leave it out"
    ):
        run_predict(runs, write_csv(tmp_path / "in.csv", ["good"]), "--median")
    with pytest.raises(UserError, match=r"--median and --threshold are two ways"):
        run_predict(runs, write_csv(tmp_path / "in.csv", ["good"]), "--median", "--threshold", 0.4)


@pytest.mark.parametrize("name", ["in.parquet", "in.xlsx", "in.csv.gz", "in.json", "lines.txt.xz"])
def test_other_formats_are_scored_like_a_csv_file(runs: Path, tmp_path: Path, name: str) -> None:
    texts = ["A good word01!", None, "bad word02. Quite bad"]
    table = pd.DataFrame({"id": ["a", "b", "c"], "text": texts})
    write: dict[str, Callable[[Path], Any]] = {
        "in.parquet": table.to_parquet,
        "in.xlsx": lambda path: table.to_excel(path, index=False),
        "in.csv.gz": lambda path: table.to_csv(path, index=False),
        "in.json": lambda path: table.to_json(path, orient="records"),
        "lines.txt.xz": lambda path: path.write_bytes(lzma.compress("\n".join(t or "" for t in texts).encode())),
    }
    write[name](tmp_path / name)
    run_predict(runs, write_csv(tmp_path / "plain.csv", [text or "" for text in texts]), "--output", tmp_path / "1.csv")
    run_predict(runs, tmp_path / name, "--output", tmp_path / "2.csv")
    plain, other = (list(csv.reader((tmp_path / file).read_text().splitlines())) for file in ("1.csv", "2.csv"))
    assert [row[1:] for row in other] == [row[1:] for row in plain] and len(plain) == 4
    assert [row[0] for row in other[1:]] == (["1", "2", "3"] if name.startswith("lines") else ["a", "b", "c"])


def test_the_column_of_the_text_is_found_or_named(tmp_path: Path) -> None:
    def columns(*names: str, text: str = "", id: str = "") -> tuple[int, int | None]:
        return find_columns(Table(tmp_path / "table.csv", "comma-separated", names), text, id)

    assert columns("Id", "Review") == (1, 0)
    assert columns("stars", "Review Text") == (1, None)
    assert columns("a", "b", "c", text="b", id="3") == (1, 2)
    with pytest.raises(UserError, match=r"'nope': .* has no such column; it has: a, b"):
        columns("a", "b", text="nope")


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        ("Urteil;Beschreibung", "gut;Der Stuhl ist gut gebaut worden", 1),  # by what stands in it
        ("text;review", "short;a long text that says what the person thought", 1),  # two usual names: the longer
        ("text;review", "the one is as long;as the other one is", "could each be the text"),
        ("a;b", "1;2", "no column looks like text; say which it is with --text_column: "),
    ],
)
def test_without_one_usual_name_the_text_is_where_create_csv_finds_it(
    tmp_path: Path, header: str, row: str, found: int | str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    table = open_table(path, "")
    if isinstance(found, int):
        assert find_columns(table, "", "") == (found, None)
    else:
        with pytest.raises(UserError, match=found):
            find_columns(table, "", "")


def test_texts_that_were_cut_are_reported(runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = load_text_processing(runs / "tiny-han")[0].max_sentences_per_document
    file = write_csv(tmp_path / "in.csv", ["A good word01. " * (limit + 1), "A good word01. " * limit])
    with caplog.at_level("INFO", logger="han"):
        run_predict(runs, file, "--output", tmp_path / "out.csv")
    assert "1 text with more sentences than the network reads: the end did not count" in caplog.text


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("semicolons.csv", "id;text\n7;gut, good\n8;bad\n".encode("cp1252"), [("7", "gut, good"), ("8", "bad")]),
        ("lines.jsonl", b'{"id": "x", "text": "good"}\n{"id": "y", "text": null}\n', [("x", "good"), ("y", "")]),
        ("one.csv", b'review\n"good, bad"\ngood\n', [("1", "good, bad"), ("2", "good")]),
        ("lines.txt", "caf\xe9\n\nbad, good\n".encode("latin-1"), [("1", "caf\xe9"), ("2", ""), ("3", "bad, good")]),
        ("short.csv", b"id,text\n1,good\n2\n3,bad\n", [("1", "good"), ("row/3", ""), ("3", "bad")]),
        ("titled.csv", b"Reviews of May\n\nid;text\n7;good\n8;bad\n", [("7", "good"), ("8", "bad")]),
        (
            "one_column.csv",
            b"Reviews of May\ngood, bad\nreview, bad, good\n",
            [("1", "good, bad"), ("2", "review, bad, good")],
        ),
        ("unnamed.csv", b"text,label\ngood,1\nbad,0\n", [("row/2", "good"), ("row/3", "bad")]),  # as create_csv.py
    ],
)
def test_tables_of_many_kinds(tmp_path: Path, name: str, content: bytes, expected: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_bytes(content)
    with contextlib.ExitStack() as stack:
        rows = predict.open_rows(predict.build_parser().parse_args(["run", str(tmp_path / name)]), stack)
        assert [(row.id, row.text) for row in rows] == expected


def test_the_header_of_a_workbook_may_be_below_a_title(tmp_path: Path) -> None:
    path = tmp_path / "in.xlsx"
    pd.DataFrame([["Reviews of May", None], [None, None], ["id", "text"], ["7", "good"], ["8", "bad"]]).to_excel(
        path, header=False, index=False
    )
    with contextlib.ExitStack() as stack:
        rows = predict.open_rows(predict.build_parser().parse_args(["run", str(path)]), stack)
        assert [(row.id, row.text) for row in rows] == [("7", "good"), ("8", "bad")]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("binary.csv", b"text\n" + BINARY, "not text"),
        ("binary.txt", BINARY, "not text"),
        ("empty.csv", b"", "is empty"),
        ("book.csv", b"PK\x03\x04", "Excel workbook"),
        ("quote.csv", b'id,text\n1,"never closed\n', "line 2: .*never closed"),
        ("quote1.csv", b'text\n"never closed\n', "line 2: .*close the quotation mark"),
        ("column.csv", b"a,b\n1,2\n1,3\n", "no column looks like text"),
    ],
)
def test_files_that_are_no_text_are_refused_by_name(
    runs: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(name)}.*{message}"):
        run_predict(runs, tmp_path / name, "--output", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_standard_input_that_is_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="standard input, line 2: this is not text"):
        list(text_lines(io.BytesIO(b"fine\n\x00\n"), "standard input"))
    with pytest.raises(UserError, match="line 1: it is not UTF-8"):
        list(text_lines(io.BytesIO(b"caf\xe9\n"), "standard input"))


def test_nothing_is_overwritten_and_missing_files_are_named(runs: Path, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "in.csv", ["good"])
    with pytest.raises(UserError, match="already exists"):
        run_predict(runs, table, "--output", table)
    with pytest.raises(UserError, match="no such file"):
        run_predict(runs, tmp_path / "gone.csv")


NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("name", [f"{NOT_UTF8}.txt", f"{NOT_UTF8}.csv"], ids=["txt", "csv"])
def test_names_that_are_not_utf8_are_read_written_and_reported(
    runs: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_text("text\ngood\nbad\n", encoding="utf-8")
    output = tmp_path / NOT_UTF8 / f"{NOT_UTF8}.jsonl"
    with caplog.at_level("INFO", logger="han"):
        run_predict(runs, tmp_path / name, "--output", output)
    assert len(output.read_text().splitlines()) == (3 if name.endswith("txt") else 2)
    assert NOT_UTF8 in caplog.text
    with pytest.raises(UserError, match=r"no such file"):
        run_predict(runs, tmp_path / NOT_UTF8 / name)
    run = Path(shutil.copytree(runs / "tiny-han", tmp_path / "runs" / NOT_UTF8))
    predict.main(
        predict.build_parser().parse_args([str(run), str(tmp_path / name), "--output", str(tmp_path / "again")])
    )
    assert (tmp_path / "again").is_file()
    with pytest.raises(UserError, match=f"no run 'gone'.*{NOT_UTF8}"):
        find_run("gone", run.parent)


@pytest.mark.slow
def test_streams_that_the_shell_closed_are_done_without(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("good\nbad\n", encoding="utf-8")
    script = f"{sys.executable} {ROOT / 'predict.py'} {runs / 'tiny-han'}"
    for command, code in (
        (f"{script} lines.txt --output scores.csv <&- >&- 2>&-", 0),
        (f"{script} gone.txt 2>&-", 2),
        (f"{script} lines.txt 2>&- > printed.csv", 0),
    ):
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=120)
        assert done.returncode == code, command
    written = (tmp_path / "scores.csv").read_text()
    assert written.count("\n") == 3 and written == (tmp_path / "printed.csv").read_text()


def test_runs_are_found_by_name_and_path_and_listed(runs: Path) -> None:
    assert find_run("tiny-han", runs).path == find_run(str(runs / "tiny-han"), Path("nowhere")).path
    with pytest.raises(UserError, match=r"no run 'other'; .* holds: tiny-han"):
        find_run("other", runs)
    with pytest.raises(UserError, match="holds none; train one"):
        find_run("other", runs / "nowhere")


def test_a_run_that_still_trains_says_so(runs: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "young")
    run.create(RunFolder(runs / "tiny-han").config(), runs.parent / "data" / "tiny" / "records")
    with pytest.raises(UserError, match="has no weights"):
        Predictor.load(run)
    with exclusive_lock(run.lock):
        assert "is still training" in str(unfinished(run))
        with pytest.raises(UserError, match="first validation is not done yet"):
            Predictor.load(run)
    assert "did not finish" in str(unfinished(run))
    assert unfinished(RunFolder(runs / "tiny-han")) is None


def test_a_closed_pipe_ends_the_scoring_of_standard_input(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is exit code 0 without a word: tests/test_utils.py."""
    end, beginning = os.pipe()
    os.close(end)
    lines = io.TextIOWrapper(io.BytesIO(b"good word01\n" * 20_000))
    monkeypatch.setattr(streaming, "worker_pool", ready_pool)
    with os.fdopen(beginning, "w") as output, monkeypatch.context() as patch, pytest.raises(BrokenPipeError):
        patch.setattr(sys, "stdin", lines)
        patch.setattr(sys, "stdout", output)
        run_predict(runs, "-")
    assert lines.buffer.tell() < len(lines.buffer.getvalue()) and not multiprocessing.active_children()


@pytest.mark.slow
def test_a_closed_pipe_and_standard_input(runs: Path) -> None:
    """The one process of its own: lines through a pipe, whose reader goes away."""
    command = [sys.executable, str(ROOT / "predict.py"), "tiny-han", "-", "--runs_dir", str(runs)]
    first_line = f"{' '.join(command)} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", first_line], input="good word01\n" * 20_000, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stdout.startswith("id,prediction") and "Traceback" not in done.stderr
