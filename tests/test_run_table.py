"""The table of runs and their results."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

import predictor
import results
from report.evaluation import evaluate
from report.run_table import COLUMNS, as_latex, as_text, run_rows
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from utils import UserError, append_jsonl, write_jsonl

# Three documents, of which two, one or all are right.
RIGHT = {1: [[0.6, 0.4], [0.3, 0.7], [0.8, 0.2]], 2: [[0.6, 0.4], [0.3, 0.7], [0.3, 0.7]], 3: [[0.6, 0.4]] * 3}


def figures(right: int) -> dict[str, Any]:
    labels = {1: [1, 0, 0], 2: [0, 1, 0], 3: [0, 0, 0]}[right]
    return evaluate(RIGHT[right], labels, ("a_b", "good")).to_json()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tested runs and one that is not, a linear classifier of another data set, and a mean."""
    folder = tmp_path_factory.mktemp("table")
    write_tiny_records(folder / "records")
    for name, right in (("tiny-a", 2), ("tiny-b", 1), ("tiny-c", 0)):
        run = write_tiny_run(folder / "runs" / name, folder / "records")
        told = {"dataset": "tiny", "title": "HAN-GRU", "seed": 1, "step": 7, "valid_accuracy": 0.75}
        write_jsonl(run.results, [{**told, "split": "test", **figures(right)}] if right else [])
    linear = {"dataset": "other", "system": "NB-SVM", "seed": None, "split": "test", "valid_accuracy": None}
    write_jsonl(folder / "runs" / "other-linear" / "results.jsonl", [{**linear, **figures(1)}])
    for right in (1, 3):
        append_jsonl(
            folder / "runs" / "averages.jsonl", {"runs": ["tiny-a", "tiny-b"], "split": "test", **figures(right)}
        )
    return folder / "runs"


def printed(runs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    results.main(results.build_parser().parse_args([*words, "--runs_dir", str(runs)]))
    return capsys.readouterr().out


def test_rows_are_sorted_by_data_set_and_accuracy(runs: Path) -> None:
    rows = run_rows(runs)
    assert [row["run"] for row in rows] == ["other-linear", "tiny-c", "tiny-b", "tiny-a", "tiny-a + tiny-b"]
    assert [row["accuracy"] for row in rows] == pytest.approx([1 / 3, None, 1 / 3, 2 / 3, 1])
    assert [row["network"] for row in rows] == ["NB-SVM", "HAN-GRU", "HAN-GRU", "HAN-GRU", "mean of 2"]
    assert [row["state"] for row in rows] == ["", "not tested", "", "", ""]
    assert rows[3]["accuracy_low"] < 2 / 3 < rows[3]["accuracy_high"] and rows[3]["valid_accuracy"] == 0.75
    assert run_rows(runs, ["tiny-a"], "valid")[0]["state"] == "not tested"
    RunFolder(runs / "tiny-c").finished.rename(runs / "kept.json")
    assert run_rows(runs, ["tiny-c"])[0]["state"] == "not finished"
    (runs / "kept.json").rename(RunFolder(runs / "tiny-c").finished)


def test_the_library_gives_the_same_table_as_csv(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = predictor.results(runs)
    table = list(csv.DictReader(io.StringIO(printed(runs, capsys, "--csv"))))
    assert list(frame.columns) == list(COLUMNS) == list(table[0])
    for row, (_, other) in zip(table, frame.iterrows(), strict=True):
        assert row["run"] == other["run"]
        assert (float(row["loss"]) if row["loss"] else None) == (None if other.isna()["loss"] else other["loss"])
    assert predictor.results(runs, ["tiny-b"]).shape == (1, len(COLUMNS))


def test_the_text_has_a_heading_per_data_set(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(runs, capsys).splitlines()
    assert " ".join(lines[0].split()) == "run network seed validation accuracy 95% interval AUC macro F1 loss"
    assert [line for line in lines if " " not in line.strip() and line] == ["other", "tiny"]
    assert "not tested" in next(line for line in lines if line.startswith("tiny-c"))
    assert "66.67%   20.77% to 93.85%" in next(line for line in lines if line.startswith("tiny-a  "))


def test_micro_f1_has_a_column_where_a_run_has_several_labels(runs: Path, tmp_path: Path) -> None:
    line = {"dataset": "things", "title": "HAN", "seed": 1, "split": "test", "valid_accuracy": None, **figures(2)}
    write_jsonl(tmp_path / "things-han" / "results.jsonl", [line | {"micro_f1": 0.87654}])
    write_jsonl(tmp_path / "other-han" / "results.jsonl", [line | {"dataset": "other"}])
    rows = run_rows(tmp_path)
    assert [row["micro_f1"] for row in rows] == [None, 0.87654]
    lines = list(as_text(rows))
    assert "AUC  micro F1  macro F1" in lines[0] and "  0.8765  " in lines[-1] and "micro F1" in list(as_latex(rows))[2]
    assert lines[2].split()[-3] == "-"
    assert "micro F1" not in "".join(as_text(run_rows(runs)))


def test_latex_escapes_what_it_would_read_as_a_command(runs: Path) -> None:
    row = run_rows(runs, ["tiny-a"])[0] | {"run": "a_b & c", "network": r"50% \x"}
    lines = list(as_latex([row]))
    assert lines[4].startswith(r"a\_b \& c & 50\% \textbackslash{}x & 1 & 75.00\% & 66.67\%")
    assert lines[4].count(" & ") == lines[2].count(" & ") == 8
    assert lines[0] == r"\begin{tabular}{llrrrrrrr}" and lines[-1] == r"\end{tabular}"
    assert len(list(as_text([row]))) == 3


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nothing"], "there is no run 'nothing' in .*tiny-a, tiny-b, tiny-c$"),
        (["tniy-b"], "did you mean tiny-b"),
        ([], "there are no runs in"),
    ],
)
def test_an_unknown_run_and_an_empty_folder_are_one_line(
    runs: Path, tmp_path: Path, words: list[str], problem: str
) -> None:
    folder = runs if words else tmp_path
    with pytest.raises(UserError, match=problem):
        results.main(results.build_parser().parse_args([*words, "--runs_dir", str(folder)]))


def test_a_damaged_line_is_named(runs: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine-han" / "results.jsonl", [{"split": "test", "accuracy": "high"}])
    with pytest.raises(UserError, match=r"results.jsonl, line 1 is damaged"):
        run_rows(tmp_path)
