"""Thresholds of two classes, against a search that tries them one by one, and against Elkan's theorem."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

import han_tester
from report.thresholds import divided, threshold_report
from runtime.decisions import best_threshold
from tests.helpers import write_tiny_records, write_tiny_run
from utils import UserError


def judged(documents: int, seed: int, decimals: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of the second class, and labels drawn by them."""
    generator = np.random.default_rng(seed)
    p = generator.beta(0.6, 1.4, documents).round(decimals)
    return p, (generator.random(documents) < p).astype(np.int64)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9, 1.1])
def test_figures_are_scikit_learns(threshold: float) -> None:
    p, y = judged(400, 1)
    row, said = divided(p, y, threshold, 5.0), (p >= threshold).astype(int)
    assert row.accuracy == pytest.approx(metrics.accuracy_score(y, said))
    assert row.precision == pytest.approx(metrics.precision_score(y, said, zero_division=0))
    assert row.recall == pytest.approx(metrics.recall_score(y, said))
    assert row.f1 == pytest.approx(metrics.f1_score(y, said))
    assert row.cost == pytest.approx(((said > y).sum() + 5 * (said < y).sum()) / 400)


@pytest.mark.parametrize("cost", [None, 0.2, 1.0, 7.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_threshold_is_better_than_the_one_chosen(seed: int, cost: float | None) -> None:
    p, y = judged(60, seed, decimals=1 + seed % 2)  # many equal probabilities
    every = [divided(p, y, threshold, cost or 0.0) for threshold in np.linspace(0, 1.01, 506)]
    chosen = divided(p, y, best_threshold(p, y, cost), cost or 0.0)
    if cost is None:
        assert chosen.f1 == pytest.approx(max(row.f1 for row in every))
    else:
        assert chosen.cost == pytest.approx(min(row.cost for row in every))


def test_calibrated_probabilities_are_divided_where_elkan_says() -> None:
    p, y = judged(200_000, 3)
    for cost in (0.5, 1.0, 4.0):
        assert best_threshold(p, y, cost) == pytest.approx(1 / (1 + cost), abs=0.03)


def test_where_every_threshold_is_as_good_the_usual_one_is_near() -> None:
    p, y = np.array([0.9, 0.8, 0.2, 0.1]), np.array([1, 1, 0, 0])
    assert best_threshold(p, y) == best_threshold(p, y, 3.0) == 0.5
    assert best_threshold(np.array([1.0, 1.0]), np.array([0, 1]), 1.0) == 0.5  # equal probabilities stay together


def test_the_report_has_a_line_per_threshold() -> None:
    p, y = judged(400, 1)
    rows = [divided(p, y, threshold, 5.0) for threshold in (0.5, 0.25)]
    lines = threshold_report("good", "F1", 2500, rows, None)
    assert lines[0] == "threshold on the probability of good, chosen on 2,500 validation documents by F1"
    assert [line.split()[0] for line in lines[2:]] == ["0.5000", "0.2500"]
    assert len(lines[1]) == len(lines[2]) and "cost" not in lines[1]
    assert threshold_report("good", "cost", 2500, rows, 5.0)[3].endswith(f"{rows[1].cost:.4f}")


# ---------------------------------------------------------------------------------------------------------------------
# The tester


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thresholds")
    write_tiny_records(path / "data" / "tiny" / "records")
    write_tiny_run(path / "runs" / "tiny-han", path / "data" / "tiny" / "records")
    return path


def run_tester(folder: Path, *flags: str) -> int:
    folders = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs"), "--device", "cpu"]
    return han_tester.main(han_tester.build_parser().parse_args(["tiny-han", *folders, *flags]))


def test_the_tester_reports_on_test_what_it_chose_on_validation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tester(folder, "--cost", "3") == 0
    printed = capsys.readouterr().out
    assert "chosen on 30 validation documents by cost: a miss costs 3, a false alarm 1" in printed
    with (folder / "runs" / "tiny-han" / "predictions-test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    p = np.array([float(row["probability_positive"]) for row in rows])
    y = np.array([row["label"] == "positive" for row in rows], np.int64)
    found = re.search(r"FILE --threshold (\S+)", printed)
    assert found and f"tiny-han --runs_dir {folder / 'runs'} FILE" in printed
    for threshold in (0.5, float(found[1])):
        row = divided(p, y, threshold, 3.0)
        assert f"{threshold:9.4f}  {row.accuracy:8.2%}" in printed and f"{row.cost:17.4f}" in printed


def test_what_has_no_threshold_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="--best_f1 is chosen on validation documents and reported on the test split"):
        run_tester(folder, "--best_f1", "--run_type", "val")
    with pytest.raises(UserError, match=r"--cost 0\.0 is out of range"):
        run_tester(folder, "--cost", "0")
