"""Several labels a text: from a table to predictions, metrics against scikit-learn, losses against Keras."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from scipy.optimize import approx_fprime
from scipy.sparse import csr_matrix
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

import cnn_regions
import create_csv
import document_map
import explain
import export
import han_tester
import linear_baselines
import predict
from corpus.corpora import read_csv
from corpus.several_labels import (
    LabelCells,
    decoded,
    detected_separator,
    encoded,
    looks_like_several,
    membership,
    named_sets,
    names_in,
)
from corpus.splits import VALID, move_share
from corpus.text_rows import Row
from explaining.explained_text import explain_text
from explaining.log_odds import log_odds, mean_slopes
from page.answers import ServedRun
from page.batcher import Batcher
from page.split_documents import SplitDocuments
from page.viewer import make_app
from predictor import HANClassifier, Model
from report.several_labels import evaluate_several, format_several
from runtime.decisions import best_thresholds, chosen_names
from runtime.input_pipeline import Split
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from runtime.streaming import score_rows
from shipping import classify
from shipping.classify import Classifier
from shipping.quantization import decisions
from tests.helpers import splits_of, survey_of
from tests.labelled_things import NAMES, WORDS, main
from tests.served_runs import wait_for_table
from text.records import RecordReader, read_index
from training.ngrams import fit_scales_of_several, fit_several
from training.step import balanced_class_weights, losses_of_several
from utils import DataPaths, UserError, read_json, read_jsonl


def drawn(documents: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float64 [documents, classes] of a classifier that is often right, and labels uint8."""
    generator = np.random.default_rng(3)
    labels = (generator.random((documents, classes)) < [0.5, 0.2, 0.1, 0.4][:classes]).astype(np.uint8)
    return 1 / (1 + np.exp(-generator.normal(2.0 * labels - 1.5, 1.2))), labels


# ---------------------------------------------------------------------------------------------------------------------
# Metrics


def test_metrics_equal_scikit_learn() -> None:
    p, y = drawn()
    thresholds = np.array([0.5, 0.3, 0.25, 0.6])
    found, said = evaluate_several(p, y, "abcd", thresholds), p >= thresholds
    assert found.micro_f1 == pytest.approx(metrics.f1_score(y, said, average="micro"))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert found.accuracy == pytest.approx(metrics.accuracy_score(y, said))
    assert found.auc == pytest.approx(metrics.roc_auc_score(y, p, average="macro"))
    assert found.average_precision == pytest.approx(metrics.average_precision_score(y, p, average="macro"))
    assert found.loss == pytest.approx(np.mean([metrics.log_loss(y[:, c], p[:, c]) for c in range(4)]))
    report = metrics.classification_report(y, said, target_names=list("abcd"), output_dict=True, zero_division=0)
    for one in found.per_class:
        row = report[one.name]
        assert (one.precision, one.recall, one.f1) == pytest.approx((row["precision"], row["recall"], row["f1-score"]))
        assert one.support == row["support"]
    for k in (1, 3):
        of_documents = [y[n, sorted(range(4), key=lambda c: -p[n, c])[:k]].mean() for n in range(len(y))]
        assert found.precision_at[str(k)] == pytest.approx(np.mean(of_documents))
    assert "5" not in found.precision_at
    json.dumps(found.to_json(), allow_nan=False)
    assert max(map(len, format_several(found, "a run", 0.1, 0.2).split("\n"))) <= 80


def test_no_other_threshold_has_a_higher_f1() -> None:
    p, y = drawn(60, 3)
    for column, threshold in enumerate(best_thresholds(p, y)):
        chosen = metrics.f1_score(y[:, column], p[:, column] >= threshold)
        assert chosen == pytest.approx(max(metrics.f1_score(y[:, column], p[:, column] >= one) for one in p[:, column]))


def test_a_label_that_no_document_has_is_no_error() -> None:
    p, y = drawn(20, 2)
    y[:, 1] = 0
    found = evaluate_several(p, y, "ab", best_thresholds(p, y))
    assert found.per_class[1].auc is None and found.per_class[1].f1 == 0 and found.per_class[1].threshold == 0.5
    assert found.auc == found.per_class[0].auc


# ---------------------------------------------------------------------------------------------------------------------
# The network's mathematics


def test_the_loss_is_keras_binary_cross_entropy() -> None:
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(7, 3)).astype(np.float32)
    labels = generator.integers(2, size=(7, 3)).astype(np.float32)
    for smoothing in (0.0, 0.2):
        expected = keras.losses.binary_crossentropy(labels, logits, from_logits=True, label_smoothing=smoothing)
        np.testing.assert_allclose(losses_of_several(logits, labels, smoothing), expected, rtol=1e-5)


def test_balanced_weights_let_texts_with_and_without_a_label_count_alike() -> None:
    generator = np.random.default_rng(9)
    labels = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1]])
    weights = balanced_class_weights(labels, 3)
    for column in (0, 2):
        expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels[:, column])
        np.testing.assert_allclose(weights[:, column], expected, rtol=1e-6)
    assert weights[:, 1].tolist() == [0.5, 0]
    logits = generator.normal(size=(5, 3)).astype(np.float32)
    found = losses_of_several(logits, labels.astype(np.float32), 0.0, weights).numpy()
    for row in range(5):
        chances = 1 / (1 + np.exp(-logits[row].astype(np.float64)))
        each = [-weights[has, c] * math.log(chances[c] if has else 1 - chances[c]) for c, has in enumerate(labels[row])]
        assert found[row] == pytest.approx(sum(each) / 3, rel=1e-5)


def test_balanced_ngrams_say_yes_to_a_rare_label_more_often() -> None:
    features = csr_matrix(np.eye(40, 8, dtype=np.float32)[np.arange(40) % 8])
    has = np.zeros((40, 1), np.bool_)
    has[[0, 8, 9]] = True
    bias = []
    for balanced in (False, True):
        weights, one = np.zeros((8, 1), np.float32), np.zeros(1, np.float32)
        fit_several(features, has, weights, one, balanced)
        bias.append(float(one[0]))
    assert bias[1] > bias[0] + 0.5


def test_the_scales_are_where_the_loss_has_no_slope() -> None:
    generator = np.random.default_rng(6)
    labels = generator.integers(2, size=(80, 3)).astype(np.float32)
    network, lane = (generator.normal(labels - 0.5, 1.5).astype(np.float32) for _ in range(2))
    scales = fit_scales_of_several(network, lane, labels)

    def loss(scales: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-(scales[0] * network + scales[1] * lane).astype(np.float64)))
        of_classes = [metrics.log_loss(labels[:, c], p[:, c], normalize=False) for c in range(3)]
        return float(np.mean(of_classes) + np.square(scales - 1).sum() / 2)

    assert (scales > 0.01).all()
    np.testing.assert_allclose(approx_fprime(scales.astype(np.float64), loss, 1e-4), 0, atol=5e-3)


def test_the_log_odds_of_a_label_are_its_logit() -> None:
    logits = np.random.default_rng(7).normal(size=(4, 3))
    p, targets = 1 / (1 + np.exp(-logits)), [0, 2, 1, 1]
    np.testing.assert_allclose(log_odds(logits, targets, True), np.log(p / (1 - p))[range(4), targets])
    bias = np.array([0.3, -0.2, 0.1])
    shares = (mean_slopes(bias, logits, targets, True) * (logits - bias)).sum(axis=1)
    np.testing.assert_allclose(shares + bias[targets], log_odds(logits, targets, True))


# ---------------------------------------------------------------------------------------------------------------------
# Tables


@pytest.mark.parametrize(
    "cell, separator, expected",
    [
        ("red| cheap", "|", ["cheap", "red"]),
        ('["red", "a, b"]', "", ["a, b", "red"]),
        ("['red', 'a, b']", "", ["a, b", "red"]),
        ("red;red", ";", ["red"]),
        ("|", "|", []),
        ("[]", "|", []),
        ("", "|", None),
    ],
)
def test_cells_of_labels(cell: str, separator: str, expected: list[str] | None) -> None:
    found = LabelCells((1,), ("labels",), separator).read(["a text", cell])
    assert found == ("" if expected is None else encoded(expected))


def test_a_share_of_combinations_that_occur_once_is_tested() -> None:
    sets = np.array([[number >> place & 1 for place in range(8)] for number in range(1, 161)], np.uint8)
    classes = np.append(np.arange(160), [159] * 100).astype(np.int32)  # one combination is frequent
    hashes = np.random.default_rng(9).permutation(260).astype(np.uint64)
    survey = survey_of(hashes, classes, sets=sets)
    move_share(survey, VALID, 0.2)
    chosen = splits_of(survey) == VALID
    assert 28 <= chosen[:159].sum() <= 36 and 19 <= chosen[159:].sum() <= 21
    alone = survey_of(hashes[:159], classes[:159])
    move_share(alone, VALID, 0.2)
    assert not (splits_of(alone) == VALID).any()


def test_labels_that_look_like_several_get_a_hint() -> None:
    assert looks_like_several(["a", "b", "a|b", "b|a"]) == "a|b" and looks_like_several(["a", "['a', 'b']"])
    assert not looks_like_several(["a, of some kind", "b"]) and not looks_like_several(["a", "b"])
    for cell in ("[1, 2]", "['a'", "[open('x')]"):
        with pytest.raises(ValueError, match="is no list of names"):
            names_in(cell, "")


def test_columns_of_0_and_1() -> None:
    cells = LabelCells((0, 2), ("red", "loud"), "|")
    assert [cells.read([a, "text", b]) for a, b in (("1", "0"), ("1", "True"), ("0", ""), ("", ""))] == [
        '["red"]',
        '["loud", "red"]',
        "[]",
        "",
    ]
    with pytest.raises(ValueError, match="'2' is neither 0 nor 1"):
        cells.read(["2", "text", "0"])


def test_separators_spellings_and_membership() -> None:
    assert [detected_separator(cells) for cells in (["a;b", "c"], ["a|b;c"], ['["a"]'], ["a", ""])] == [
        ";",
        "|",
        "",
        "|",
    ]
    classes, sets = named_sets({'["Red"]': 5, '["cheap", "red"]': 2, "[]": 1})
    assert classes == ["cheap", "Red"] and sets['["cheap", "red"]'] == '["cheap", "Red"]' and sets["[]"] == "[]"
    assert membership(["[]", '["Red"]'], classes).tolist() == [[0, 0], [0, 1]]
    with pytest.raises(UserError, match=r"is no JSON list of names in labels\.txt"):
        membership(['["blue"]'], classes)


# ---------------------------------------------------------------------------------------------------------------------
# The whole path


@pytest.fixture(scope="module")
def folder(things_folder: Path) -> Path:
    """Data and a finished run, of :func:`tests.labelled_things.write_things`."""
    return things_folder


def test_labels_reach_the_csv_file_the_records_and_the_batches(folder: Path) -> None:
    rows = {row.id: row for row in read_csv(folder / "data" / "things" / "things.csv")}
    assert rows["d3"].label == '["cheap", "loud"]' and rows["d8"].label == "[]" and rows["d159"].label == ""
    records = folder / "data" / "things" / "records"
    import tensorflow as tf

    for name in ("train", "unlabelled"):
        with RecordReader(records, name) as reader:
            for payload in reader.read_payloads(range(len(reader))):
                features = tf.train.Example.FromString(payload).features.feature
                row = rows[features["id"].bytes_list.value[0].decode()]
                own = [NAMES.index(label) for label in decoded(row.label)] if row.label else [-1]
                assert list(features["label"].int64_list.value) == own
    with contextlib.closing(Split(records, "test")) as split:
        batch = split.read(np.arange(len(split)))
        true = [[float(name in decoded(rows[one].label)) for name in NAMES] for one in split.ids(batch.numbers)]
    assert batch.labels.numpy().tolist() == true
    manifest = json.loads((records / "manifest.json").read_text())
    assert manifest["several_labels"] is True and "label_sets.npy" in manifest["files"]
    assert manifest["splits"]["test"]["labels"] == dict(zip(NAMES, np.sum(true, axis=0).tolist(), strict=True))
    assert len(read_index(records, "unlabelled")) == 8


def test_the_run_knows_the_labels_and_its_thresholds(folder: Path) -> None:
    run = RunFolder(folder / "runs" / "things-han")
    assert run.config().several_labels
    [row] = read_jsonl(run.results)
    assert row["micro_f1"] > 0.9 and row["documents"] == 24
    thresholds = Predictor.load(run).thresholds
    assert thresholds is not None and [one["threshold"] for one in row["per_class"]] == pytest.approx(
        thresholds.tolist()
    )
    assert "precision at 1" in (run.path / "report-test.txt").read_text()
    with (run.path / "predictions-test.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert sum(line["label"] == line["prediction"] for line in lines) / 24 == pytest.approx(row["accuracy"])
    assert {line["label"] for line in lines} >= {"", "cheap | loud | red"}


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor.load(RunFolder(folder / "runs" / "things-han"))


def test_predictions_hold_several_labels(folder: Path, predictor: Predictor, tmp_path: Path) -> None:
    texts = ["word1 bargain crimson.", "word3 word4.", ""]
    (tmp_path / "in.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts))
    output = ["--output", tmp_path / "out.jsonl", "--runs_dir", folder / "runs"]
    main(predict, "things-han", tmp_path / "in.csv", *output, "--device", "cpu")
    expected = []
    for row in predictor.probabilities(predictor.read(text).document for text in texts[:2]):
        assert row.sum() != pytest.approx(1, abs=0.01)  # no softmax
        expected.append([name for name, p, t in zip(NAMES, row, predictor.thresholds, strict=True) if p >= t])  # type: ignore[arg-type]
    assert expected[0] == ["cheap", "red"]
    scored = score_rows(predictor, Path("in"), iter([Row(str(n), text, 1) for n, text in enumerate(texts)]), False)
    write = predict.csv_writer(file := io.StringIO(), predictor, predict.Rule(thresholds=predictor.thresholds))
    for one in scored:
        write(one)
    lines = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [line["prediction"] for line in lines] == [*(" | ".join(one) for one in expected), ""]
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [row["prediction"] for row in rows] == [*expected, None]
    table = Model(RunFolder(folder / "runs" / "things-han"), predictor).predict(texts)
    assert table["label"].tolist()[:2] == expected and pd.isna(table["label"][2])


def test_explain_prints_the_labels_and_why_one_of_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--runs_dir", folder / "runs", "--data_dir", folder / "data", "--device", "cpu"]
    main(explain, "things-han", "--text", "word1 noisy bargain.", "--target", "loud", *where)
    shown = capsys.readouterr().out
    assert "cheap | loud" in shown and "log-odds of loud" in shown and "loud (predicted from " in shown
    main(explain, "things-han", "--id", "d35", "--json", *where)
    assert json.loads(capsys.readouterr().out)["label"] == ["cheap", "loud"]


@pytest.mark.parametrize("method", ["contribution", "gradient", "leave_one_out"])
def test_a_named_label_is_explained(predictor: Predictor, method: str) -> None:
    found = explain_text(predictor, "word1 noisy word2.", method, NAMES.index("loud")).to_json()
    assert found["prediction"] == ["loud"] and found["explained_class"] == "loud"
    scores = {word["word"]: word["score"] for word in found["sentences"][0]["words"]}
    assert scores["noisy"] == max(scores.values()) and scores["noisy"] > 0
    if method == "contribution":
        [logits] = predictor.logits([predictor.read(found["text"]).document])
        whole = found["parts"]["bias"] + sum(sentence["score"] for sentence in found["sentences"])
        assert whole == pytest.approx(logits[NAMES.index("loud")], abs=1e-4)


@pytest.fixture(scope="module")
def client(folder: Path, predictor: Predictor) -> Iterator[TestClient]:
    run, data = RunFolder(folder / "runs" / "things-han"), DataPaths("things", folder / "data")
    documents = SplitDocuments(run, data, predictor.weights_sha256, thresholds=predictor.thresholds)
    served = ServedRun("things-han", predictor, Batcher(predictor.score, 10_000), documents)
    with TestClient(make_app([served], ["testserver"])) as client:
        yield client


def test_the_page_shows_all_labels_and_explains_the_one_asked_for(client: TestClient) -> None:
    shown = client.get("/", params={"text": "word1 bargain crimson.", "target": "red", "method": "contribution"}).text
    assert "<caption>cheap | red</caption>" in shown and shown.count('<tr class="first">') == 2
    assert "speaks for red" in shown
    edited = {"text": "word1 bargain word2.", "original": "word1 bargain crimson."}
    assert "cheap | red → cheap" in client.post("/answer", data=edited).text
    document = client.get("/", params={"id": "d32", "data": "things", "text": ""}).text
    assert "labelled <b>no label</b>: predicted" in document


def test_the_overview_has_the_figures_of_the_test(client: TestClient, folder: Path) -> None:
    [row] = read_jsonl(folder / "runs" / "things-han" / "results.jsonl")
    shown = client.get("/overview").text
    assert f"{row['accuracy']:.2%}</b> with all labels right of 24 documents" in shown
    for one in row["per_class"]:
        figures = "".join(f'<td class="number">{one[name]:.4f}</td>' for name in ("precision", "recall", "f1"))
        assert f'<th scope="row">{one["name"]}</th>{figures}' in shown


def test_the_table_of_documents_is_filtered_by_one_of_the_labels(client: TestClient) -> None:
    wait_for_table(client)
    rows = list(csv.DictReader(io.StringIO(client.get("/documents.csv", params={"label": "red"}).text)))
    assert len(rows) == 12 and all("red" in row["label"].split(" | ") for row in rows)
    wrong = list(csv.DictReader(io.StringIO(client.get("/documents.csv", params={"show": "wrong"}).text)))
    assert all(row["label"] != row["prediction"] for row in wrong)
    every = list(csv.DictReader(io.StringIO(client.get("/documents.csv").text.lstrip("\ufeff"))))
    assert len(every) == 24 and {"no label", "cheap | loud | red"} <= {row["label"] for row in every}
    assert len(wrong) == sum(row["label"] != row["prediction"] for row in every)


def test_the_rest_interface_gives_a_list_of_labels(client: TestClient) -> None:
    body = {"instances": ["word1 bargain crimson.", "word3 word4.", ""], "explain": True}
    first, second, empty = client.post("/v1/models/han:predict", json=body).json()["predictions"]
    assert first["label"] == ["cheap", "red"] == first["explanation"]["prediction"]
    assert second["label"] == [] and empty["label"] is None
    assert set(first["explanation"]["thresholds"]) == set(NAMES)


def test_linear_classifiers_are_tested_alike(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(linear_baselines, "things", "--data_dir", folder / "data", "--runs_dir", folder / "runs")
    rows = read_jsonl(folder / "runs" / "things-linear" / "results.jsonl")
    assert rows[1]["micro_f1"] > 0.8 and rows[2]["micro_f1"] > 0.9 and rows[0]["auc"] == 0.5
    assert rows[1]["train_on_valid"] is False  # the thresholds are those of the model that they were chosen with
    assert "HAN-GRU with n-grams" in (shown := capsys.readouterr().out) and "micro F1" in shown


def test_what_is_for_one_label_is_refused_in_one_line_that_says_what_to_do(folder: Path) -> None:
    runs, table = ["--runs_dir", folder / "runs"], folder / "things.csv"
    data = [*runs, "--data_dir", folder / "data"]
    several = r" is for one label a text, and the texts of .*things-han may have several; "
    of_two = (
        r" is for two classes, and the texts of .*things-han may have several labels; leave it out: each label has a"
    )
    for module, words, message in (
        (
            predict,
            ["things-han", table, "--abstain", 0.9, *runs],
            f"--abstain{several}leave it out: the output has the",
        ),
        (
            predict,
            ["things-han", table, "--threshold", 0.4, *runs],
            f"--threshold{several}leave it out: each label has a",
        ),
        (predict, ["things-han", table, "--median", *runs], f"--median{several}leave it out: labels are in no order"),
        (han_tester, ["things-han", "--run_type", "test", "--best_f1", *data], f"--best_f1{of_two}"),
        (han_tester, ["things-han", "--run_type", "test", "--cost", 3, *data], f"--cost{of_two}"),
        (
            create_csv,
            [table, "--multi_label", "--ordinal", *data[2:]],
            "--ordinal is for one label a text, a step of a",
        ),
        (
            cnn_regions,
            ["--dataset", "things", "--run", "things-han", *data],
            f"cnn_regions.py{several}use han_tester.py",
        ),
    ):
        with pytest.raises(UserError, match=message) as caught:
            main(module, *words)
        assert "\n" not in str(caught.value)


def test_a_document_is_mapped_by_the_most_probable_of_its_labels(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    maps: list[document_map.MappedDocuments] = []
    monkeypatch.setattr(document_map, "draw", lambda *arguments: None)
    monkeypatch.setattr(document_map, "write_for_projector", lambda folder, mapped: maps.append(mapped))
    main(document_map, "things-han", "--data_dir", folder / "data", "--runs_dir", folder / "runs")
    [mapped] = maps
    assert mapped.class_names == (*NAMES, "no label")
    tested = [row for row in read_csv(folder / "data/things/things.csv") if row.split == "test"]
    rows, texts = {row.id: decoded(row.label) for row in tested}, {row.id: row.text for row in tested}
    reader = Predictor.load(RunFolder(folder / "runs/things-han"))
    for name, shown, said in zip(mapped.ids, mapped.labels, mapped.said, strict=True):
        [verdict] = reader.score([reader.read(texts[name]).document])
        chances = dict(zip(NAMES, verdict.probabilities.tolist(), strict=True))
        assert mapped.class_names[shown] == max(rows[name], key=chances.__getitem__, default="no label")
        assert said.truth == (" | ".join(rows[name]) or "no label")
        assert reader.thresholds is not None
        chosen = chosen_names(verdict.probabilities >= reader.thresholds, NAMES)
        assert said.predicted == (" | ".join(chosen) or "no label")
    several = sum(len(rows[name]) > 1 for name in mapped.ids)
    assert mapped.several == several > 0
    assert f"{several} documents have several labels: each counts for the one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        ([["a"], ["a", "b"]], {}, "labels are lists, not one label per text; give a matrix of 0 and 1"),
        ([{"a"}, set()], {}, "labels are lists, not one label per text; give a matrix of 0 and 1"),
        (["a", "a|b"], {"multi_label": True}, "multi_label is for several labels a text; give a matrix of 0 and 1"),
        ([[1, 2], [0, 1]], {}, "the matrix of labels holds other values than 0 and 1; give a matrix of 0 and 1"),
        (pd.DataFrame([[1, 0], [0, 1]], columns=[1, "1"]), {}, "two columns of the matrix of labels have the name 1"),
    ],
)
def test_the_classifier_for_scikit_learn_takes_a_matrix(labels: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HANClassifier(settings=settings).fit(["one text", "another text"], labels)


@pytest.mark.parametrize(
    ("labels", "flags", "message"),
    [
        ("red", ["--multi_label"], "has 1 labels, and 2 to 200 are needed"),
        ("red", ["--label_separator", ";"], "--label_separator goes with --multi_label"),
        ("red", ["--multi_label", "--label_columns", "labels"], "names fewer than two columns"),
        ("red | blue", ["--multi_label", "--label_separator", "x"], "'red | blue' would read as several or none"),
        ("red;no label", ["--multi_label"], "'no label' would read as several or none"),
        ("red;blue", ["--multi_label"], "every document of the train split of mine has the label red"),
    ],
)
def test_mistakes_in_the_table_are_one_line(labels: str, flags: list[str], message: str, tmp_path: Path) -> None:
    rows = [(f"text number {n}", "red" if n % 2 else labels) for n in range(20)]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "labels"), *rows])
    with pytest.raises(UserError, match=re.escape(message)):
        main(create_csv, tmp_path / "mine.csv", *flags, "--data_dir", tmp_path / "data")


# ---------------------------------------------------------------------------------------------------------------------
# Exported


def test_a_bundle_gives_the_labels_of_the_network(folder: Path, predictor: Predictor, tmp_path: Path) -> None:
    main(export, folder / "runs" / "things-han", tmp_path / "bundle")
    classifier = Classifier(tmp_path / "bundle")
    texts = [row.text for row in read_csv(folder / "data" / "things" / "things.csv")][:24]
    verdicts = predictor.score([predictor.read(text).document for text in texts])
    assert predictor.thresholds is not None
    found = classifier.predict(texts)
    for one, verdict in zip(found, verdicts, strict=True):
        assert list(one["probabilities"].values()) == pytest.approx(verdict.probabilities.tolist(), abs=1e-5)
        assert one["label"] == chosen_names(verdict.probabilities >= predictor.thresholds, NAMES)
        assert one["confidence"] == max(one["probabilities"].values())
    assert len({len(one["label"]) for one in found}) > 1
    explanation = classifier.explain(texts[0])
    for name in NAMES:
        shares = sum(sentence["shares"][name] for sentence in explanation["sentences"]) + explanation["rest"][name]
        probability = explanation["probabilities"][name]
        assert shares == pytest.approx(math.log(probability / (1 - probability)), abs=1e-4)
    shown = classify.shown(explanation).splitlines()
    likeliest = max(explanation["probabilities"], key=explanation["probabilities"].__getitem__)
    assert f"log-odds of {likeliest}" in shown[-1]
    expected = ", ".join(f"{name} ({explanation['probabilities'][name]:.1%})" for name in explanation["label"])
    assert shown[0] == (expected or "no label")
    classify.csv_writer(file := io.StringIO(), NAMES)("x", found[3])
    assert file.getvalue().splitlines()[1].split(",")[1] == " | ".join(found[3]["label"])
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "all labels right" in card and "of which a text may have several" in card
    assert f"{NAMES[0]} {predictor.thresholds[0]:.3f}" in card


def test_the_cost_of_smaller_vectors_is_that_of_whole_sets_of_labels() -> None:
    model = types.SimpleNamespace(thresholds=np.array([0.5, 0.9]))
    logits = np.array([[0.1, 2.0], [-0.1, 3.0]])
    assert decisions(model, logits).tolist() == [[True, False], [False, True]]  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_saved_model_has_the_probability_of_each_label(folder: Path, predictor: Predictor, tmp_path: Path) -> None:
    import tensorflow as tf

    main(export, folder / "runs" / "things-han", tmp_path / "served", "--format", "savedmodel")
    settings = read_json(tmp_path / "served" / "text.json")
    assert predictor.thresholds is not None and settings["thresholds"] == predictor.thresholds.tolist()
    text = "word1 word2 " + WORDS[NAMES[0]]
    ids = classify.padded_sentences(classify.TextReader(settings).read(text))
    loaded = tf.saved_model.load(str(tmp_path / "served" / "1")).signatures["serving_default"]
    found = loaded(tf.constant(ids[np.newaxis]))["probabilities"].numpy()[0]
    [verdict] = predictor.score([predictor.read(text).document])
    np.testing.assert_allclose(found, verdict.probabilities, atol=1e-4)
