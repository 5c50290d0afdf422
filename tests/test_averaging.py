"""Several runs as one classifier: the tester's and predict.py's mean, and what cannot be averaged."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import han_tester
import predict
from runtime.averaging import check_can_be_averaged
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from utils import UserError, read_jsonl

NAMES = ("one", "two", "three")
TEXTS = ("A good word01!", "bad word02. Quite bad, word03\nword04?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records and three finished runs that judge differently."""
    path = tmp_path_factory.mktemp("averaging")
    records = path / "data" / "tiny" / "records"
    write_tiny_records(records)
    for seed, name in enumerate(NAMES):
        write_tiny_run(path / "runs" / name, records, seed=seed, ngrams=name == "two")

    return path


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def test_the_tester_averages_probabilities_and_lists_each_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs"), "--device", "cpu"]
    assert han_tester.main(han_tester.build_parser().parse_args([*NAMES, *flags])) == 0
    printed = capsys.readouterr().out
    tables = [rows_of(folder / "runs" / name / "predictions-test.csv") for name in NAMES]
    columns = [name for name in tables[0][0] if name.startswith("probability")]
    judged = np.array([[[float(row[name]) for name in columns] for row in table] for table in tables])
    labels = [columns.index(f"probability_{row['label']}") for row in tables[0]]
    right = float((judged.mean(axis=0).argmax(axis=1) == labels).mean())
    [line] = read_jsonl(folder / "runs" / "averages.jsonl")
    assert line["runs"] == list(NAMES) and line["accuracy"] == pytest.approx(right)
    chosen = judged.mean(axis=0)[np.arange(len(labels)), labels]
    assert line["loss"] == pytest.approx(-np.log(chosen).mean(), rel=1e-4)
    for name in NAMES:
        [row] = [row for row in read_jsonl(folder / "runs" / name / "results.jsonl") if row["split"] == "test"]
        assert f"{name:<30}  {row['accuracy']:7.2%}" in printed
    assert f"{'mean':<30}  {right:7.2%}" in printed


def test_predict_averages_probabilities(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")

    def predicted(*names: str) -> np.ndarray:
        output = tmp_path / f"{'-'.join(names)}.csv"
        flags = [str(file), "--output", str(output), "--runs_dir", str(folder / "runs"), "--device", "cpu"]
        assert predict.main(predict.build_parser().parse_args([*names, *flags])) == 0
        return np.array([float(row["probability_positive"]) for row in rows_of(output)])

    alone = np.array([predicted(name) for name in NAMES])
    assert np.ptp(alone, axis=0).min() > 0.01  # they judge differently
    np.testing.assert_allclose(predicted(*NAMES), alone.mean(axis=0), atol=2e-6)


def test_what_cannot_be_averaged_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    runs = [RunFolder(folder / "runs" / name) for name in NAMES]
    with pytest.raises(UserError, match=r"one is named 2 times; name each run once"):
        check_can_be_averaged([runs[0], runs[1], runs[0]])
    records = tmp_path / "records"
    write_tiny_records(records)
    (records / "vocab.txt").write_text("<pad>\n<unk>\nother\n", encoding="utf-8")
    other = write_tiny_run(tmp_path / "runs" / "other", records)
    with pytest.raises(UserError, match=r"vocab.txt differs from .*only runs on the same records"):
        check_can_be_averaged([runs[0], other])
    for flags in (["--run_type", "val"], ["--show_documents", "2"]):
        with pytest.raises(UserError, match="name one RUN"):
            han_tester.main(han_tester.build_parser().parse_args(["one", "two", *flags]))
