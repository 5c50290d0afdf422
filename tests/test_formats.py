"""What earlier versions wrote is still read: the records and the run folder of the first format, byte for byte.

``tests/fixtures/format1`` was written by ``run_all.py letters.csv`` with a network of a few units.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import han_tester
import han_trainer
from runtime.checkpoints import hash_of_weights, read_checkpoint
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from text.records import read_index, verify_records
from utils import DataPaths, read_json, read_jsonl, write_json

FIXTURE = Path(__file__).parent / "fixtures" / "format1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "format1"))


def where(folder: Path) -> list[str]:
    return ["--dataset", "letters", "--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]


def test_records_are_verified_and_counted() -> None:
    records = FIXTURE / "data" / "letters" / "records"
    manifest = verify_records(records)
    for split, counts in manifest["splits"].items():
        assert len(read_index(records, split)) == counts["documents"]


def test_a_checkpoint_holds_the_weights_it_was_saved_with() -> None:
    run = RunFolder(FIXTURE / "runs" / "letters-han")
    for path in [*run.checkpoint_files(), run.best]:
        checkpoint = read_checkpoint(path)
        assert hash_of_weights(checkpoint.weights) == checkpoint.weights_sha256
        assert checkpoint.run == run.identity()


def test_the_tester_gives_the_figures_of_then(folder: Path) -> None:
    run = RunFolder(folder / "runs" / "letters-han")
    (before,) = read_jsonl(run.results)
    assert han_tester.main(han_tester.build_parser().parse_args(where(folder))) == 0
    (after,) = read_jsonl(run.results)
    assert after["weights_sha256"] == before["weights_sha256"]
    assert after["accuracy"] == before["accuracy"]
    assert after["loss"] == pytest.approx(before["loss"], abs=1e-6)
    assert after["unseen"] is None  # csv_manifest.json did not list the documents whose text was seen


def test_a_newer_csv_manifest_gives_the_accuracy_without_seen_texts(folder: Path) -> None:
    run = RunFolder(folder / "runs" / "letters-han")
    paths = DataPaths("letters", folder / "data")
    with (run.path / "predictions-test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row["id"] for row in rows if row["label"] == row["prediction"]]
    for name in ("results.jsonl", "predictions-test.csv", "report-test.txt"):
        (run.path / f".{name}.abcdefgh.tmp").write_text("what a killed tester left")
    write_json(paths.csv_manifest, {**read_json(paths.csv_manifest), "seen_test_documents": right[:3]})
    assert han_tester.main(han_tester.build_parser().parse_args(where(folder))) == 0
    (row,) = read_jsonl(run.results)
    assert row["unseen"] == {"left_out": 3, "documents": 15, "accuracy": (len(right) - 3) / 15}
    assert "Without the 3 documents" in (run.path / "report-test.txt").read_text()
    assert not list(run.path.rglob(".*.tmp"))


def test_a_finished_run_is_recognised_as_the_same_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = read_json(folder / "runs" / "letters-han" / "config.json")["settings"]
    shape = [item for name, value in settings["model"].items() for item in (f"--{name}", str(value))]
    shape += ["--ngrams", "off"]  # the default now; the run is of a time before
    training = ["--batch_size", "8", "--num_epochs", "2", "--warmup_steps", str(settings["training"]["warmup_steps"])]
    with caplog.at_level("INFO"):
        assert han_trainer.main(han_trainer.build_parser().parse_args([*where(folder), *shape, *training])) == 0
    assert "is finished" in caplog.text


def test_texts_are_read_and_predicted_as_then() -> None:
    run = RunFolder(FIXTURE / "runs" / "letters-han")
    with (FIXTURE / "data" / "letters" / "letters.csv").open(encoding="utf-8", newline="") as file:
        texts = {row["id"]: row["text"] for row in csv.DictReader(file)}
    with (run.path / "predictions-test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    predictor = Predictor.load(run)
    documents = [predictor.read(texts[row["id"]]).document for row in rows]
    expected = [[float(row["probability_bad"]), float(row["probability_good"])] for row in rows]
    np.testing.assert_allclose(predictor.probabilities(documents), expected, atol=2e-6)
    assert len(rows) == 18
