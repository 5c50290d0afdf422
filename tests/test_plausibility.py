"""Scores against what a person marked: each measure by hand or against scikit-learn."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import explain as explain_command
from explaining import plausibility
from explaining.explanations import METHODS, Scores
from explaining.plausibility import (
    Agreement,
    Marked,
    affordable,
    agreement,
    average_precision,
    chosen_phrases,
    format_agreement,
    iou_f1,
    runs,
)
from report.attention_check import marked_words
from runtime.documents import parted
from runtime.input_pipeline import Split
from tests.helpers import CLUES, write_marked_texts, write_tiny_records, write_tiny_run
from text.text_reader import EncodedDocument
from utils import DataPaths, UserError


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    from sklearn.metrics import average_precision_score

    generator = np.random.default_rng(seed)
    right = generator.random(30) < 0.3
    right[0] = True
    scores = generator.integers(0, 8, 30) / 8.0  # with equal scores
    assert average_precision(right, scores) == pytest.approx(average_precision_score(right, scores))


def marked(words: list[int], lengths: list[int], limits: list[int] | None = None) -> Marked:
    document = EncodedDocument(np.arange(2, 2 + len(words), dtype=np.int32), np.array(lengths, np.int32))
    return Marked(document, np.array(words, bool), np.array(limits or [0] * len(words), bool))


def test_a_perfect_explanation_agrees_in_everything_and_its_opposite_in_nothing() -> None:
    one = marked([0, 1, 1, 0, 0, 0, 1, 0], [4, 4])
    values = np.where(one.words, 2.0, -1.0)
    perfect = agreement(one, Scores(values, np.array([2.0, -1.0]), True), 3 / 8)
    assert perfect == Agreement(1.0, 1.0, 1.0, 1.0)
    assert agreement(one, Scores(-values, np.array([-2.0, -1.0]), True), 3 / 8)[1:3] == (0.0, 0.0)
    unmarked = marked([1, 0, 0, 0], [2, 2])
    assert agreement(unmarked, Scores(np.ones(4), np.array([0.0, 1.0]), True), 0.25).top_sentence == 0.0


def test_token_f1_is_that_of_as_many_words_as_people_mark() -> None:
    one = marked([1, 1, 0, 0], [4])
    scores = Scores(np.array([4.0, 1, 3, 2]), np.array([10.0]), True)
    assert agreement(one, scores, 0.25).token_f1 == pytest.approx(2 * 1 / (1 + 2))
    assert agreement(one, scores, 0.5).token_f1 == pytest.approx(2 * 1 / (2 + 2))


def test_a_phrase_is_found_if_half_of_the_union_is_common() -> None:
    assert iou_f1([(0, 4)], [(0, 4)]) == 1.0
    assert iou_f1([(0, 4)], [(2, 4)]) == 1.0  # 2 of 4
    assert iou_f1([(0, 4)], [(2, 6)]) == 0.0  # 2 of 6
    assert iou_f1([(0, 4), (10, 12)], [(0, 3)]) == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert iou_f1([(0, 4)], []) == 0.0


def test_phrases_are_taken_by_strength_until_there_are_enough_words() -> None:
    one = marked([0] * 8, [8], [0, 0, 0, 1, 0, 0, 0, 0])
    scores = Scores(np.array([2.0, 2, -1, 9, 3, 0, -4, 1]), np.array([0.0]), True)
    assert chosen_phrases(one, scores, 1) == [(0, 2)]
    assert chosen_phrases(one, scores, 3) == [(0, 2), (4, 5)]
    assert (6, 7) not in chosen_phrases(one, scores, 8)  # it speaks against the class


@pytest.mark.parametrize("flags", list(itertools.product([0, 1], repeat=4)))
def test_runs_of_marked_words_are_all_of_them_and_do_not_touch(flags: tuple[int, ...]) -> None:
    found = runs(np.array(flags, bool))
    assert [n for first, end in found for n in range(first, end)] == np.flatnonzero(flags).tolist()
    assert all(end < first for (_, end), (first, _) in itertools.pairwise(found))


def test_the_table_has_a_line_for_each_method_and_no_cost_of_chance() -> None:
    row = {"auprc": 0.361, "token_f1": 0.2, "iou_f1": 0.1, "top_sentence": 0.75}
    methods = {"chance": row, "contribution": row | {"milliseconds": 12.3}}
    value = {"documents": 9, "words": 770.0, "marked_share": 0.32, "methods": methods}
    lines = format_agreement(value, "a run").splitlines()
    assert lines[0] == "a run" and lines[4].split() == ["by", "chance", "0.361", "0.200", "0.100", "75.0%"]
    assert lines[5].split()[-1] == "12.3" and "32.0% of the words" in lines[-2]
    methods["contribution"]["documents"] = 4
    assert (
        format_agreement(value, "a run").splitlines()[-1] == "contribution: on 4 of the 9 documents, drawn at random."
    )


def test_a_method_that_reads_a_document_often_explains_a_random_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [marked([1] * words, [words]) for words in (3, 3, 3, 5)]
    monkeypatch.setattr(plausibility, "MOST_PASSES", 12)
    parts = [affordable(some, "leave_one_out", seed) for seed in range(20)]  # 5 passes, and 7 of the last document
    assert {len(part) for part in parts} == {2} and len({tuple(sorted(part)) for part in parts}) > 3
    assert affordable(some, "attention", 1) == {0, 1, 2, 3}
    monkeypatch.setattr(plausibility, "MOST_PASSES", 1)
    assert len(affordable(some, "leave_one_out", 1)) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and its data set with a CSV file in which the word that decides each validation document is marked."""
    folder = tmp_path_factory.mktemp("plausible")
    data = DataPaths("tiny", folder / "data")
    write_marked_texts(data, write_tiny_records(data.records), "valid")
    write_tiny_run(folder / "runs" / "tiny-han", data.records, seed=6, ngrams=True)
    return folder


def run_command(folder: Path, *words: str) -> None:
    flags = ["--runs_dir", str(folder / "runs"), "--data_dir", str(folder / "data")]
    explain_command.main(explain_command.build_parser().parse_args(["tiny-han", "--plausibility", *words, *flags]))


def test_marked_words_are_found_in_the_records(folder: Path) -> None:
    data = DataPaths("tiny", folder / "data")
    with contextlib.closing(Split(data.records, "valid")) as split:
        numbers = np.arange(len(split))
        flags = marked_words(split, data, folder / "runs" / "tiny-han", numbers)
        documents = list(parted(split.read(numbers).documents))
    assert not len(flags[-1])  # the last one has no marks
    for one, marked in zip(documents[:-1], flags[:-1], strict=True):
        assert np.isin(one.token_ids[marked], CLUES).all() and marked.sum() == 1 and len(marked) == len(one.token_ids)


def test_the_command_compares_every_method_and_keeps_the_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(folder, "--documents", "12", "--json")
    value = json.loads(capsys.readouterr().out)
    assert value == json.loads((folder / "runs" / "tiny-han" / "plausibility-valid.json").read_text(encoding="utf-8"))
    assert value["documents"] == 12 and set(value["methods"]) == {"chance", *METHODS}
    assert all(row["milliseconds"] > 0 for name, row in value["methods"].items() if name != "chance")
    assert {row["documents"] for name, row in value["methods"].items() if name != "chance"} == {12}
    run_command(folder, "--documents", "3")
    assert "contribution, spread" in capsys.readouterr().out


def test_a_data_set_without_marks_is_refused_in_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match="marks nothing in the test split"):
        run_command(folder, "--split", "test")
    DataPaths("tiny", folder / "data").evidence.unlink()
    with pytest.raises(UserError, match="no marked evidence"):
        run_command(folder)
