"""Several labels a text in what was made for one label first: examinations, means of runs, further trainings."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import compare_runs
import create_csv
import explain
import han_tester
import han_trainer
import predict
import serialize_data
from corpus.corpora import read_csv
from corpus.several_labels import decoded
from explaining.counterfactuals import counterfactuals
from explaining.deletions import SHARES, delete
from explaining.explanations import Scores
from explaining.faithfulness import by_label, drawn_labels, examine
from explaining.whole_model import Labelled, WholeModel
from predictor import HANClassifier, given_labels
from report.several_labels import evaluate_several
from runtime.averaging import MeanPredictor, check_can_be_averaged
from runtime.checkpoints import best_checkpoint
from runtime.input_pipeline import Split
from runtime.ngram_tables import read_table
from runtime.predictor import Predictor, Verdict
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from tests.labelled_things import NAMES, SHAPE, WORDS, main
from text.text_reader import EncodedDocument
from training.continuing import refuse_other_kind
from training.distillation import UNLABELLED
from training.teachers import training_targets
from utils import UserError, read_json, read_jsonl

CHEAP, LOUD, RED = range(3)
QUICK = ["--num_epochs", 1, "--warmup_steps", 1, "--device", "cpu"]


@pytest.fixture(scope="module")
def where(things_folder: Path) -> list[Any]:
    return ["--data_dir", things_folder / "data", "--runs_dir", things_folder / "runs"]


@pytest.fixture(scope="module")
def run(things_folder: Path) -> RunFolder:
    return RunFolder(things_folder / "runs" / "things-han")


@pytest.fixture(scope="module")
def predictor(run: RunFolder) -> Predictor:
    return Predictor.load(run)


@pytest.fixture(scope="module")
def retrained(run: RunFolder, where: list[Any]) -> RunFolder:
    """The run once more, on train and validation."""
    main(han_trainer, "--dataset", "things", "--run_type", "retrain", *QUICK[4:], *where)
    return RunFolder(run.path.with_name("things-han-retrained"))


def rows_of(things_folder: Path, split: str) -> tuple[list[str], np.ndarray]:
    """Texts of a split and their labels, bool [documents, 3]."""
    rows = [row for row in read_csv(things_folder / "data/things/things.csv") if row.split == split]
    return [row.text for row in rows], np.array([[name in decoded(row.label) for name in NAMES] for row in rows])


# ---------------------------------------------------------------------------------------------------------------------
# Explanations of a label


class TwoLabels:
    """The words 2 and 3 speak for the first label, 4 for the second; each alone is enough for a half."""

    thresholds = np.array([0.4, 0.7], np.float32)
    has_attention = False

    def probabilities(self, documents: Any) -> np.ndarray:
        ids = [one.token_ids.tolist() for one in documents]
        return np.array([[min(1, 0.5 * (2 in one) + 0.3 * (3 in one)), 0.8 * (4 in one)] for one in ids], np.float32)


DOCUMENT = EncodedDocument(np.array([2, 3, 4, 5], np.int32), np.array([4], np.int32))


def test_a_verdict_changes_where_the_label_is_no_longer_predicted() -> None:
    ranking = [[np.array([4.0, 3.0, 2.0, 1.0])]]
    for target, flips, lost in ((0, 1.0, [0.5, 0.5, 0.5, 0.5, 0.8]), (1, 0.0, [0.0] * 5)):
        found = delete(TwoLabels(), [DOCUMENT], ranking, "words", targets=[target], thresholds=TwoLabels.thresholds)
        assert found.flips == [flips]
        np.testing.assert_allclose(found.comprehensiveness, [lost], atol=1e-6)
        np.testing.assert_allclose(found.reached, [[float(target == 0)] * len(SHARES)])


def test_the_fewest_words_without_which_a_label_is_not_predicted() -> None:
    for target, scores, removed in ((0, [5.0, 3.0, 0.0, 0.0], [0]), (1, [0.0, 0.0, 9.0, 1.0], [2])):
        ranked = Scores(np.array(scores), np.array([sum(scores)]), True)
        [whole] = TwoLabels().probabilities([DOCUMENT])
        [words, _] = counterfactuals(TwoLabels(), DOCUMENT, ranked, whole, target, TwoLabels.thresholds)
        assert (words.removed.tolist(), words.verdict, words.gained) == (removed, target, False)
        assert words.probability == pytest.approx(0.3 if target == 0 else 0)


def test_the_fewest_words_without_which_a_label_would_be_predicted() -> None:
    class Spoilt(TwoLabels):
        """The word 5 spoils everything."""

        def probabilities(self, documents: Any) -> np.ndarray:
            spoilt = [[5 in one.token_ids.tolist()] for one in documents]
            return np.where(spoilt, 0.1, super().probabilities(documents)).astype(np.float32)

    scores = Scores(np.array([1.0, 1.0, 1.0, -3.0]), np.array([0.0]), True)
    [whole] = Spoilt().probabilities([DOCUMENT])
    [words, _] = counterfactuals(Spoilt(), DOCUMENT, scores, whole, RED - 1, Spoilt.thresholds)
    assert (words.removed.tolist(), words.gained) == ([3], True) and words.probability == pytest.approx(0.8)


def test_one_of_the_predicted_labels_is_drawn() -> None:
    p = np.tile(np.array([[0.9, 0.2, 0.6], [0.1, 0.1, 0.1], [0.1, 0.9, 0.1]]), (200, 1))
    drawn = drawn_labels(p, np.full(3, 0.5), 1).reshape(200, 3)
    assert set(drawn[:, 1]) == {-1} and set(drawn[:, 2]) == {1}
    counts = Counter(drawn[:, 0].tolist())
    assert counts.keys() == {0, 2} and min(counts.values()) > 70
    assert not np.array_equal(drawn_labels(p, np.full(3, 0.5), 2), drawn.ravel())


def test_faithfulness_is_measured_by_label(run: RunFolder, predictor: Predictor, where: list[Any], capsys: Any) -> None:
    main(explain, "things-han", "--faithfulness", "--documents", 12, "--device", "cpu", *where)
    shown = " ".join(capsys.readouterr().out.split())
    value = read_json(run.path / "faithfulness.json")
    assert value["documents"] + value["without_label"] == 12 and value["labels"].keys() == set(NAMES)
    assert sum(row["documents"] for row in value["labels"].values()) == value["documents"]
    flips = value["words"]["contribution"]["flips"]["mean"]
    known = [(row["documents"], row["flips"]["contribution"]) for row in value["labels"].values() if row["documents"]]
    assert sum(count * share for count, share in known) / value["documents"] == pytest.approx(flips)
    assert flips > 0.9 > value["words"]["random"]["flips"]["mean"]  # 20% of the words have the one that tells it
    assert value["counterfactuals"]["contribution"]["words"]["median"] == 1
    assert "its predicted labels, drawn at random" in shown and "verdicts changed, words by documents" in shown
    main(explain, "things-han", "--text", "word1 word2 noisy word3.", "--device", "cpu", *where)
    shown = capsys.readouterr().out
    assert "Chosen by faithfulness.json" in shown and "Without this word loud would not be predicted" in shown


def test_each_label_is_examined_for_itself(predictor: Predictor) -> None:
    documents = [predictor.read(text).document for text in ("word1 word2 noisy bargain word3.", "word4 crimson word5.")]
    found = examine(predictor, documents, 1, targets=[LOUD, RED])
    for label, place in ((LOUD, 0), (RED, 1)):
        of_label = by_label(found, [LOUD, RED], NAMES)[NAMES[label]]
        assert of_label["documents"] == 1 and of_label["flips"]["leave_one_out"] == 1.0
        assert of_label["flips"] == {name: one.flips[place] for name, one in found.words.items()}
    assert by_label(found, [LOUD, RED], NAMES)["cheap"] == {"documents": 0}


def test_the_words_that_push_a_label_are_those_that_tell_it(run: RunFolder, where: list[Any], capsys: Any) -> None:
    main(explain, "things-han", "--global", "--split", "train", "--device", "cpu", *where)
    value = read_json(run.path / "global-train.json")
    for name in NAMES:
        first = value["classes"][name]["words"][0]
        assert first["word"] == WORDS[name] and first["documents"] >= 30 and first["for"] == first["documents"]
    right, wrong = (value["mistakes"][name]["documents"] for name in ("right", "wrong"))
    assert right + wrong == value["documents"] == 96 and value["flips"] == []
    assert "pushes loud" in capsys.readouterr().out


def test_a_document_counts_for_every_label_that_is_predicted_of_it() -> None:
    model = WholeModel(("a", "b"), ["<pad>", "<unk>", "x", "y"], np.array([0.5, 0.5], np.float32))
    verdict = Verdict(np.array([2.0, 1.0]), np.array([0.88, 0.73]), None, None, np.zeros(1))
    document = EncodedDocument(np.array([2, 3], np.int32), np.array([2], np.int32))
    of_labels = {0: Scores(np.array([1.0, -0.5]), np.array([0.5]), True), 1: Scores(np.ones(2), np.array([2.0]), True)}
    model.add_several(Labelled(document, (0, 1)), verdict, of_labels)
    model.add_several(Labelled(document, (0,)), verdict, of_labels)
    assert model.words.shares.sum(axis=0)[:, 2:].tolist() == [[2.0, -1.0], [2.0, 2.0]]
    assert model.words.documents[:, :, 3].tolist() == [[0, 2], [2, 0]]
    assert (model.groups[True].documents, model.groups[False].documents) == (1, 1)
    assert model.groups[True].means() == {"words": 2, "unknown_words": 0, "margin": pytest.approx(1.0), "labels": 2}


def test_marked_words_are_compared_with_the_likeliest_label(
    things_folder: Path, run: RunFolder, where: list[Any]
) -> None:
    texts, labels = rows_of(things_folder, "valid")
    ids = [row.id for row in read_csv(things_folder / "data/things/things.csv") if row.split == "valid"]
    file = things_folder / "data/things/evidence.jsonl"
    with file.open("w") as output:
        for name, text, own in zip(ids, texts, labels, strict=True):
            spans = [(text.find(word), text.find(word) + len(word)) for word in np.array([*WORDS.values()])[own]]
            output.write(json.dumps({"id": name, "evidence": spans}) + "\n")
    main(explain, "things-han", "--plausibility", "--method", "contribution", "--device", "cpu", *where)
    file.unlink()
    row = read_json(run.path / "plausibility-valid.json")["methods"]
    assert row["contribution"]["auprc"] > row["chance"]["auprc"] + 0.2


# ---------------------------------------------------------------------------------------------------------------------
# More than one run


def test_a_retraining_has_the_thresholds_of_the_run(run: RunFolder, retrained: RunFolder) -> None:
    first, again = best_checkpoint(run).weights, best_checkpoint(retrained).weights
    np.testing.assert_array_equal(first["thresholds"], again["thresholds"])
    np.testing.assert_array_equal(first["ngrams/scales"], again["ngrams/scales"])
    assert not np.array_equal(first["classifier/kernel"], again["classifier/kernel"])
    retraining = retrained.config().retraining
    assert retraining is not None and retraining.thresholds == first["thresholds"].tolist()
    assert "thresholds" not in json.dumps(run.config().to_json())


def test_the_mean_of_runs_has_the_mean_of_their_thresholds(
    things_folder: Path, run: RunFolder, retrained: RunFolder, where: list[Any], tmp_path: Path, capsys: Any
) -> None:
    predictors = [Predictor.load(one) for one in (run, retrained)]
    predictors[1].thresholds = np.array([0.2, 0.3, 0.9], np.float32)
    mean = MeanPredictor(predictors)
    assert predictors[0].thresholds is not None and mean.thresholds is not None
    np.testing.assert_allclose(mean.thresholds, np.add(predictors[0].thresholds, [0.2, 0.3, 0.9]) / 2, rtol=1e-6)
    main(han_tester, "things-han", "things-han-retrained", "--device", "cpu", *where)
    [line] = read_jsonl(run.path.parent / "averages.jsonl")
    texts, labels = rows_of(things_folder, "test")
    judged = np.mean([one.probabilities(one.read(text).document for text in texts) for one in predictors], axis=0)
    expected = evaluate_several(judged, labels.astype(np.uint8), NAMES, predictors[0].thresholds)
    assert line["micro_f1"] == pytest.approx(expected.micro_f1) and line["loss"] == pytest.approx(expected.loss, 1e-4)
    assert f"{'mean':<30}  {line['accuracy']:8.2%}  {line['micro_f1']:8.4f}" in capsys.readouterr().out
    (tmp_path / "in.csv").write_text("text\n" + "\n".join(texts) + "\n")
    output = tmp_path / "out.jsonl"
    flags = ["--output", output, "--device", "cpu", *where[2:]]
    main(predict, "things-han", "things-han-retrained", tmp_path / "in.csv", *flags)
    said = [[name for name, one in zip(NAMES, row >= predictors[0].thresholds, strict=True) if one] for row in judged]
    assert [row["prediction"] for row in read_jsonl(output)] == said


def test_runs_of_one_and_of_several_labels_have_no_mean(run: RunFolder, tmp_path: Path) -> None:
    write_tiny_records(tmp_path / "records")
    other = write_tiny_run(tmp_path / "other", tmp_path / "records")
    with pytest.raises(UserError, match=r"only one of .*other and .*things-han is for several labels a text"):
        check_can_be_averaged([other, run])
    with pytest.raises(UserError, match=r"only one of .*other and .*things-han is for several labels a text"):
        compare_runs.refuse_other_classes(other, run)


@pytest.mark.slow
def test_a_network_learns_what_another_thinks_of_unlabelled_texts(
    things_folder: Path, run: RunFolder, predictor: Predictor, where: list[Any]
) -> None:
    flags = ["--run_type", "distil", "--teachers", "things-han", "--run", "student", *SHAPE, *QUICK]
    main(han_trainer, "--dataset", "things", *flags, *where)
    student = RunFolder(things_folder / "runs" / "student")
    assert student.finished.exists() and "thresholds" in best_checkpoint(student).weights
    records = things_folder / "data/things/records"
    labels = np.ones((2, 3), np.float32)
    targets = training_targets(student, [run], student.config(), records, labels, 10_000, "cpu")
    assert targets[:2].tolist() == labels.tolist()
    texts = [row.text for row in read_csv(things_folder / "data/things/things.csv") if row.split == UNLABELLED]
    expected = predictor.probabilities(predictor.read(text).document for text in texts)
    np.testing.assert_allclose(targets[2:], expected, atol=1e-6)
    assert abs(targets[2:].sum(axis=1) - 1).max() > 0.1  # no softmax


def test_the_range_test_knows_several_labels(where: list[Any], capsys: Any) -> None:
    main(han_trainer, "--dataset", "things", "--run_type", "lr_range", *SHAPE, "--lr_steps", 20, *QUICK[4:], *where)
    assert "learning_rate" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------------
# Going on


@pytest.fixture(scope="module")
def grown(things_folder: Path, where: list[Any]) -> RunFolder:
    """The run on other texts, with a new label, by a training that changes nothing but the n-grams."""
    with (things_folder / "more.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "text", "labels", "split"])
        for number in range(80):
            own = [name for place, name in enumerate(("loud", "red", "tall")) if number >> place & 1]
            words = [f"word{number % 12}", *({**WORDS, "tall": "lofty"}[name] for name in own)]
            split = ("train", "train", "train", "valid", "test")[number // 8 % 5]
            table.writerow([f"m{number}", f"{' '.join(words)}.", ";".join(own) or ";", split])
    main(create_csv, things_folder / "more.csv", "--multi_label", *where[:2])
    begins = ["--from_run", things_folder / "runs/things-han"]
    main(serialize_data, "more", *begins, "--new_classes", "--workers", 1, *where[:2])
    flags = ["--dataset", "more", "--run", "grown", *begins, "--learning_rate", 0]
    main(han_trainer, *flags, "--batch_size", 16, *QUICK, *where)
    return RunFolder(things_folder / "runs/grown")


def test_a_training_goes_on_with_a_new_label(run: RunFolder, grown: RunFolder) -> None:
    assert grown.config().several_labels and grown.config().class_names == (*NAMES, "tall")
    before, after = best_checkpoint(run).weights, best_checkpoint(grown).weights
    assert after["thresholds"].shape == (4,)
    np.testing.assert_array_equal(after["classifier/kernel"][:, :3], before["classifier/kernel"])
    table = read_table(grown)
    assert table.weights.shape == (len(table.keys), 4)
    assert set(read_table(run).keys) <= set(table.keys.tolist())
    split = Split(run.path.parent.parent / "data/more/records", "test")
    assert split.labels.shape == (16, 4) and split.labels[:, CHEAP].sum() == 0 < split.labels[:, 3].sum()
    split.close()


def test_runs_are_compared_on_the_labels_that_both_know(
    things_folder: Path, run: RunFolder, grown: RunFolder, predictor: Predictor, where: list[Any], capsys: Any
) -> None:
    main(compare_runs, "things-han", "grown", "--device", "cpu", *where)
    shown = capsys.readouterr().out
    things, more = read_json(grown.path / "comparison.json")["rows"]
    rows = [row for row in read_csv(things_folder / "data/more/more.csv") if row.split == "test"]
    true = np.array([[name in decoded(row.label) for name in NAMES] for row in rows])
    assert predictor.thresholds is not None
    said = predictor.probabilities(predictor.read(row.text).document for row in rows) >= predictor.thresholds
    assert more["correct"][0] == int((said == true).all(axis=1).sum()) and more["documents"] == 16
    counts = (said & true).sum(), (said != true).sum()
    assert more["micro_f1"][0] == pytest.approx(2 * counts[0] / (2 * counts[0] + counts[1]))
    assert more["new_classes"] == ["tall"] and 0 <= more["micro_f1_of_new_classes"] <= 1
    assert things["documents"] == 24 and "micro_f1_of_new_classes" in things
    assert f"micro F1 {more['micro_f1'][0]:.4f}" in shown and "not compared: tall, which things-han does not" in shown


def test_one_label_and_several_do_not_go_on_from_each_other(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"new.csv has one label a text, and .* was trained on several labels a text"):
        refuse_other_kind(run, False, tmp_path / "new.csv")
    write_tiny_records(tmp_path / "records")
    other = write_tiny_run(tmp_path / "other", tmp_path / "records")
    with pytest.raises(UserError, match=r"has several labels a text, .* create_csv.py again without --multi_label"):
        refuse_other_kind(other, True, tmp_path / "new.csv")
    refuse_other_kind(run, True, tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# scikit-learn


@pytest.mark.parametrize("kind", ["array", "frame", "sparse", "lists"])
def test_a_matrix_of_labels_is_several_labels_a_text(kind: str) -> None:
    matrix = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    given: Any = {
        "array": matrix.astype(bool),
        "frame": pd.DataFrame(matrix, columns=["red", "a b", "2"]),
        "sparse": csr_matrix(matrix),
        "lists": matrix.tolist(),
    }[kind]
    found = given_labels(given, 3)
    assert found.several and found.labels == [[found.names[0], found.names[2]], [], [found.names[1]]]
    assert found.classes.tolist() == (["red", "a b", "2"] if kind == "frame" else [0, 1, 2])
    assert found.names == ["0", "1", "2"]  # a table would take a name that is a number for one
    assert given_labels(pd.DataFrame(matrix, columns=["red", "a b", "c"]), 3).names == ["red", "a b", "c"]
    assert given_labels(pd.DataFrame(matrix, columns=["red", "a | b", "c"]), 3).names == ["0", "1", "2"]


def test_the_classifier_for_scikit_learn_predicts_a_matrix(
    things_folder: Path, run: RunFolder, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[Any] = []

    def train(self: HANClassifier, folder: Path, texts: list[str], labels: list[Any]) -> Path:
        taught.extend(zip(texts, labels, strict=True))
        return run.path

    monkeypatch.setattr(HANClassifier, "train", train)
    y = pd.DataFrame([[1, 0, 1], [0, 0, 1]], columns=["red", "cheap", "loud"])  # in another order than the run's
    classifier = HANClassifier(tmp_path).fit(["word1 crimson noisy.", "noisy."], y)
    assert taught == [("word1 crimson noisy.", ["red", "loud"]), ("noisy.", ["loud"])]
    assert classifier.classes_.tolist() == ["red", "cheap", "loud"]
    texts, labels = rows_of(things_folder, "test")
    order = [NAMES.index(name) for name in classifier.classes_]
    p = predictor.probabilities(predictor.read(text).document for text in texts)
    assert predictor.thresholds is not None
    np.testing.assert_allclose(classifier.predict_proba(texts), p[:, order], atol=1e-7)
    said = classifier.predict(texts)
    np.testing.assert_array_equal(said, (p >= predictor.thresholds)[:, order])
    right = (said == labels[:, order]).all(axis=1).mean()
    assert said.dtype == np.int64 and classifier.score(texts, labels[:, order].astype(int)) == pytest.approx(right)


@pytest.mark.slow
def test_the_classifier_for_scikit_learn_learns_several_labels(things_folder: Path, tmp_path: Path) -> None:
    texts, labels = rows_of(things_folder, "train")
    settings = {"num_epochs": 2, "word_units": 4, "sentence_units": 3, "min_count": 1, "embedding_dim": 6}
    classifier = HANClassifier(tmp_path, settings=settings).fit(texts, labels.astype(int))
    again, true = rows_of(things_folder, "test")
    assert classifier.score(again, true.astype(int)) > 0.7
    assert classifier.predict_proba(again).shape == (24, 3)
