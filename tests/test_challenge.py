"""The challenge set is balanced and its halves are apart; its benchmark counts what it says it counts."""

from __future__ import annotations

import csv
import difflib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from challenge import (  # noqa: E402
    CHALLENGE,
    LABELS,
    Text,
    build_parser,
    main,
    order_of_labels,
    read_texts,
    scored,
    wrong_answers,
)

from runtime.predictor import Predictor  # noqa: E402
from runtime.run_folder import RunFolder  # noqa: E402
from tests.helpers import write_tiny_records, write_tiny_run  # noqa: E402
from utils import UserError, read_jsonl  # noqa: E402

KINDS = ("negation", "contrast", "quotation", "irony", "comparison", "mixed")
ROWS = read_jsonl(CHALLENGE)
HALVES = (ROWS[0::2], ROWS[1::2])  # odd and even lines, counted from 1
ALMOST_EQUAL = 0.5  # of the words in the same order; members of a pair reach it, other texts do not


def words(row: dict[str, Any]) -> list[str]:
    return re.findall(r"[a-z']+", row["text"].lower())


def likeness(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Twice the words that two texts have in the same order, over the words of both."""
    return difflib.SequenceMatcher(None, words(one), words(other), autojunk=False).ratio()


# ---------------------------------------------------------------------------------------------------------------------
# The set


def test_every_line_has_its_fields() -> None:
    assert len(ROWS) >= 160
    for kind in KINDS:
        chosen = [row for row in ROWS if row["class"] == kind]
        assert [row["id"] for row in chosen] == [f"{kind}-{number:02d}" for number in range(1, len(chosen) + 1)]
    for row in ROWS:
        assert list(row) == ["id", "class", "label", "text"] and row["class"] in KINDS and row["label"] in LABELS
        assert 5 <= len(row["text"].split()) <= 60 and row["text"] == row["text"].strip()


def test_ids_and_texts_are_unique() -> None:
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({" ".join(words(row)) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("half", [0, 1], ids=["odd", "even"])
def test_classes_and_labels_are_balanced_in_each_half(half: int) -> None:
    counts = Counter((row["class"], row["label"]) for row in HALVES[half])
    assert counts == {(kind, label): len(HALVES[half]) / 12 for kind in KINDS for label in LABELS}


def test_no_text_is_almost_one_of_the_other_half() -> None:
    for row in HALVES[0]:
        closest = max(HALVES[1], key=lambda other: likeness(row, other))
        assert likeness(row, closest) < ALMOST_EQUAL, f"{row['id']} is almost {closest['id']}"


@pytest.mark.parametrize("half", [0, 1], ids=["odd", "even"])
def test_half_of_the_texts_have_a_partner_of_the_other_label(half: int) -> None:
    rows = HALVES[half]
    paired = {
        row["id"]
        for row in rows
        for other in rows
        if row["label"] != other["label"] and row["class"] == other["class"] and likeness(row, other) >= ALMOST_EQUAL
    }
    assert len(paired) >= len(rows) / 2


@pytest.mark.parametrize("cue", ["but", "not", "no", "never", "still", "expected", "hoped", "than", "good", "great"])
def test_a_cue_stands_in_texts_of_both_labels(cue: str) -> None:
    with_cue = Counter(row["label"] for row in ROWS if cue in words(row))
    assert all(0.25 <= with_cue[label] / with_cue.total() <= 0.75 for label in LABELS), with_cue


# ---------------------------------------------------------------------------------------------------------------------
# The benchmark


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("challenge")
    write_tiny_records(folder / "records")
    return write_tiny_run(folder / "runs" / "tiny-han", folder / "records")


def answers_of(run: RunFolder, half: str) -> tuple[list[Text], np.ndarray]:
    """The texts, and the network's probabilities for each of them alone."""
    predictor = Predictor.load(run)
    texts = read_texts(half)
    alone = [predictor.score([predictor.read(text.text).document])[0].probabilities for text in texts]
    return texts, np.stack(alone)


def test_halves_are_the_odd_and_the_even_lines() -> None:
    lines = CHALLENGE.read_text(encoding="utf-8").splitlines()
    for half, rest in (("odd", 1), ("even", 0)):
        expected = [json.loads(line)["text"] for number, line in enumerate(lines, 1) if number % 2 == rest]
        assert [text.text for text in read_texts(half)] == expected
    assert build_parser().parse_args(["imdb-han"]).half == "even"


def test_scores_of_known_answers() -> None:
    texts = [Text(f"a-{n}", "a", n % 2, "x") for n in range(4)] + [Text("b-1", "b", 1, "y")]
    probabilities = np.array([[0.9, 0.1], [0.96, 0.04], [0.05, 0.95], [0.3, 0.7], [0.01, 0.99]])
    scores = scored(texts, probabilities)
    assert list(scores) == ["a", "b", "all"]
    assert [scores[name].right for name in scores] == [2, 1, 3]
    assert scores["a"].sure_and_wrong == 1  # 0.96 is above 95%, 0.95 is not
    assert scores["a"].confidence == pytest.approx((0.9 + 0.96 + 0.95 + 0.7) / 4)
    assert scores["all"].accuracy == pytest.approx(0.6) and scores["all"].texts == 5
    low, high = scores["all"].accuracy_interval
    assert (low, high) == pytest.approx((0.2307, 0.8824), abs=1e-4)  # Wilson, 3 of 5
    assert [line.split()[0] for line in wrong_answers(texts, probabilities)] == ["a-1", "a-2"]


@pytest.mark.parametrize("half", ["odd", "even"])
def test_a_run_is_scored_on_the_half_that_the_table_names(
    tiny_run: RunFolder, half: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--half", half, "--show", "--jsonl", str(tmp_path / "rows.jsonl")]
    main(build_parser().parse_args([str(tiny_run.path), *flags]))
    texts, probabilities = answers_of(tiny_run, half)
    wrong = [text.id for text, row in zip(texts, probabilities, strict=True) if row[1 - text.label] > row[text.label]]
    shown = capsys.readouterr().out
    assert f"tiny-han: {half} lines of challenge.jsonl" in shown and ("reported only" in shown) == (half == "even")
    assert re.findall(r"^(\w+-\d\d) ", shown, re.MULTILINE) == wrong
    [row] = read_jsonl(tmp_path / "rows.jsonl")
    assert row["benchmark"] == "challenge" and row["system"] == "tiny-han" and row["half"] == half
    assert list(row["scores"]) == [*KINDS, "all"]
    assert row["scores"]["all"]["right"] == len(texts) - len(wrong)
    assert row["scores"]["all"]["confidence"] == pytest.approx(float(probabilities.max(axis=1).mean()), abs=1e-6)


def test_nothing_is_written_without_a_file(tiny_run: RunFolder) -> None:
    before = (ROOT / "benchmarks" / "results.jsonl").read_bytes()
    main(build_parser().parse_args([str(tiny_run.path)]))
    assert (ROOT / "benchmarks" / "results.jsonl").read_bytes() == before


def test_linear_classifiers_learn_the_named_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained on the texts of a half itself, they are right on nearly all of it; class names stand in another order."""
    folder = tmp_path / "films"
    folder.mkdir()
    with (folder / "films.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "split", "label", "rating", "text"])
        for split in ("train", "valid"):
            table.writerows([f"{split}/{row['id']}", split, row["label"], 0, row["text"]] for row in HALVES[0])
    (folder / "labels.txt").write_text("positive\nnegative\n")
    flags = ["--linear", "films", "--data_dir", str(tmp_path), "--half", "odd"]
    main(build_parser().parse_args([*flags, "--jsonl", str(tmp_path / "rows.jsonl")]))
    rows = read_jsonl(tmp_path / "rows.jsonl")
    assert [row["system"].split(",")[0] for row in rows] == ["TF-IDF + logistic regression", "NB-SVM"]
    assert all(row["scores"]["all"]["accuracy"] > 0.9 for row in rows)
    assert capsys.readouterr().out.count("mean confidence") == 2


def test_the_order_of_class_names_is_followed() -> None:
    assert order_of_labels(["positive", "negative"], "a run") == [1, 0]
    assert order_of_labels(["negative", "positive"], "a run") == [0, 1]
    with pytest.raises(UserError, match="a run has the classes 1, 3, 5; the challenge set needs negative and positive"):
        order_of_labels(["1", "3", "5"], "a run")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to score"),
        (["no_such_run"], "no run 'no_such_run'"),
        (["--linear", "no_such_set"], "no_such_set"),
        (["x", "--half", "both"], "--half"),
        ([str(ROOT / "tests" / "fixtures" / "format1" / "runs" / "letters-han")], "needs negative and positive"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], message: str, tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "challenge.py"), *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert refused.returncode == 2 and message in refused.stderr, refused.stderr
    assert len(refused.stderr.splitlines()) == 1 and not refused.stdout
