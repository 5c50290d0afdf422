"""The examples that the tester picks, attention against evidence, its messages."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import han_tester
from report.attention_check import evidence_score, overlaps
from runtime.run_folder import chosen_run
from tests.helpers import write_tiny_records
from training import tester as module
from training import waiting
from training.tester import clear_examples, strongest_sentence, unseen_line
from utils import DataPaths, UserError, data_folder, write_json, write_jsonl


def test_strongest_sentence_of_each_document() -> None:
    weights = np.array([0.2, 0.8, 1.0, 0.4, 0.2, 0.4], np.float32)
    largest, place = strongest_sentence(weights, np.array([2, 1, 3]))
    np.testing.assert_allclose(largest, [0.8, 1.0, 0.4])
    np.testing.assert_array_equal(place, [1, 0, 0])  # of equals the first


def test_evidence_is_scored_against_chance() -> None:
    deciding = [[True, False], [False, True, False, False], [], [False, False]]
    score = evidence_score(np.array([0, 2, 0, 1]), deciding)
    assert score == {"precision": 0.5, "chance": (1 / 2 + 1 / 4) / 2, "documents": 2}
    assert evidence_score(np.array([0]), [[]]) is None


def test_spans_overlap_when_they_share_a_character() -> None:
    assert overlaps((3, 7), [(0, 4)]) and overlaps((3, 7), [(9, 10), (6, 8)])
    assert not overlaps((3, 7), [(0, 3), (7, 9)])


def test_clear_examples_are_right_sure_focused_and_of_every_class() -> None:
    sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.1, 0.9], [0.99, 0.01]])
    labels = np.array([0, 0, 0, 1, 0, 0])  # the fifth is predicted wrongly
    result = SimpleNamespace(probabilities=sure, labels=labels, sentence_focus=np.full(6, 0.5))
    split = SimpleNamespace(index={"sentences": np.array([6, 6, 6, 6, 6, 99])})  # the last is too long to show
    assert clear_examples(result, split, 3) == [0, 3, 1]  # type: ignore[arg-type]
    assert clear_examples(result, split, 99) == [0, 3, 1, 2]  # type: ignore[arg-type]


def test_no_clear_example_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    result = SimpleNamespace(probabilities=np.array([[0.9, 0.1]]), labels=np.array([1]), sentence_focus=np.ones(1))
    split = SimpleNamespace(index={"sentences": np.array([6])})
    tester = SimpleNamespace(
        config=SimpleNamespace(class_names=("a", "b")),
        split=split,
        arguments=SimpleNamespace(show_documents=3),
        thresholds=None,
    )
    with caplog.at_level("INFO", logger="han"):
        module.Tester.show(tester, result)  # type: ignore[arg-type]
    assert "no document to show" in caplog.text


def test_linear_classifiers_are_listed_if_they_were_tested_on_the_same_documents(tmp_path: Path) -> None:
    common = {"split": "test", "csv_sha256": "this"}
    rows = [
        {**common, "system": "NB-SVM", "accuracy": 0.9176},
        {**common, "system": "other", "csv_sha256": "that", "accuracy": 0.5},
    ]
    write_jsonl(tmp_path / "films-linear" / "results.jsonl", rows)
    tester = SimpleNamespace(
        run=SimpleNamespace(path=tmp_path / "films-han"),
        config=SimpleNamespace(dataset="films"),
        split=SimpleNamespace(name="test"),
        manifest={"csv": {"sha256": "this"}},
    )
    said = module.Tester.linear_baselines(tester)  # type: ignore[arg-type]
    assert said == "\nLinear classifiers on the same documents:\n 91.76%  NB-SVM\n"
    tester.split.name = "valid"
    assert module.Tester.linear_baselines(tester) == ""  # type: ignore[arg-type]


def four_document_tester(folder: Path, split: str, seen: list[str] | None, csv: str = "this") -> module.Tester:
    """A tester of four documents, ``a`` to ``d``, as far as seen texts are concerned."""
    data = DataPaths("films", folder)
    data.folder.mkdir(exist_ok=True)
    write_json(data.csv_manifest, {"csv_sha256": csv} | ({} if seen is None else {"seen_test_documents": seen}))
    tester = module.Tester.__new__(module.Tester)
    documents = SimpleNamespace(name=split, ids=lambda numbers: ["abcd"[n] for n in numbers])
    tester.data, tester.manifest = data, {"csv": {"sha256": "this"}}
    tester.split = type("FourDocuments", (SimpleNamespace,), {"__len__": lambda self: 4})(**vars(documents))
    tester.seen_documents = tester.find_seen_documents()
    return tester


def test_the_accuracy_without_texts_that_were_seen(tmp_path: Path) -> None:
    correct = np.array([True, False, True, True])
    unseen = four_document_tester(tmp_path, "test", ["d", "a"]).without_seen(correct)
    assert unseen == {"left_out": 2, "documents": 2, "accuracy": 0.5}
    assert "Without the 2 documents" in unseen_line(unseen) and "accuracy 50.00% (2 documents)" in unseen_line(unseen)
    unseen = four_document_tester(tmp_path, "test", []).without_seen(correct)
    assert unseen == {"left_out": 0, "documents": 4, "accuracy": 0.75} and unseen_line(unseen) == ""


@pytest.mark.parametrize(
    ("split", "seen", "csv"),
    [
        ("valid", ["a"], "this"),
        ("test", None, "this"),
        ("test", ["a"], "another"),
        ("test", ["a", "b", "c", "d"], "this"),
    ],
)
def test_no_accuracy_without_seen_texts_where_they_are_not_known(
    tmp_path: Path, split: str, seen: list[str] | None, csv: str
) -> None:
    unseen = four_document_tester(tmp_path, split, seen, csv).without_seen(np.ones(4, bool))
    assert unseen is None and unseen_line(unseen) == ""


@pytest.mark.parametrize("run_type", ["val", "test"])
def test_a_missing_run_is_reported_at_once_with_the_names_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, run_type: str
) -> None:
    monkeypatch.setattr(waiting, "WAIT_FOR_RUN_SECONDS", {"val": 0.1, "test": 0.1})
    caplog.set_level("INFO")
    for name in ("imdb-han", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    flags = ["--run", "secund", "--run_type", run_type, "--runs_dir", str(tmp_path), "--data_dir", str(tmp_path)]
    told = f"no run in {tmp_path}/secund; train one: python han_trainer.py .*holds: imdb-han, second"
    with pytest.raises(UserError, match=told):
        han_tester.main(han_tester.build_parser().parse_args(flags))
    waits = re.search(rf"{told}; did you mean second\?; waiting", caplog.text)
    assert bool(waits) == (run_type == "val")  # no trainer can begin without records


def test_a_folder_that_cannot_be_written_is_reported_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "imdb-han").mkdir()
    for name in ("config.json", "plots"):
        (tmp_path / "imdb-han" / name).touch()
    with pytest.raises(NotADirectoryError) as caught:
        han_tester.main(han_tester.build_parser().parse_args(["--runs_dir", str(tmp_path)]))
    assert str(caught.value.filename) == str(tmp_path / "imdb-han" / "plots")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--checkpoint", "nowhere.safetensors"],
            "--checkpoint nowhere.safetensors: no such file; the checkpoints are: none",
        ),
        (["--show_documents", "-1"], "--show_documents -1 is out of range"),
    ],
)
def test_mistakes_are_one_line_before_tensorflow_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], message: str
) -> None:
    (tmp_path / "imdb-han").mkdir()
    (tmp_path / "imdb-han" / "config.json").write_text("{}")
    monkeypatch.setattr(han_tester, "start_for_runs", lambda *_: pytest.fail("TensorFlow was started"))
    with pytest.raises(UserError, match=message) as refused:
        han_tester.main(han_tester.build_parser().parse_args(["--runs_dir", str(tmp_path), *flags]))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_it_waits_for_a_run_that_may_begin_and_for_no_other(tmp_path: Path) -> None:
    """README starts trainer and testers together: the run does not exist yet when the testers begin."""
    write_tiny_records(tmp_path / "data" / "tiny" / "records", 6)

    def seconds(*flags: str) -> float:
        words = [*flags, "--runs_dir", str(tmp_path), "--data_dir", str(tmp_path / "data")]
        arguments = han_tester.build_parser().parse_args(words)
        arguments.named_run = next(iter(arguments.named_runs), None)
        chosen_run(arguments)
        return waiting.seconds_to_wait(arguments)

    assert seconds("--dataset", "tiny", "--run_type", "test") == 10 and seconds("--dataset", "tny") == 0
    assert seconds("tiny-hna") == 0 and seconds("tiny-hna", "--wait", "4") == 4
    assert seconds("--dataset", "tny", "--run_type", "val") == 30
    at_address = argparse.Namespace(
        wait=None, named_run=None, run_type="test", dataset="tiny", data_dir=data_folder("s3://bucket/data")
    )
    assert waiting.seconds_to_wait(at_address) == 10
