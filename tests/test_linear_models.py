"""The linear baselines against the equations written out, against scikit-learn, and from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import linear_baselines
from data_processing import TextProcessor
from linear_baselines import comparison
from report.linear_models import (
    SYSTEMS,
    CountedDocuments,
    best_scale,
    choose,
    fit_logistic,
    fit_nbsvm,
    gram_counter,
    gram_lengths,
    log_count_ratio,
    softmax,
    spread_margins,
    trained_again,
    warning_of_convergence,
    words_of,
)
from utils import UserError, read_jsonl, sha256_of_file


def planted(documents: int, classes: int, seed: int) -> CountedDocuments:
    """Counts of 20 words, of which word c is three times as common in class c."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=documents)
    rates = np.full((documents, 20), 0.4)
    rates[np.arange(documents), labels] = 1.2
    counts = csr_matrix(generator.poisson(rates).astype(np.float32))
    return CountedDocuments(counts, labels, np.ones(20, np.int8), classes)


def test_log_count_ratio_is_that_of_the_paper() -> None:
    presence = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]], np.float32)  # the last never occurs
    positive = np.array([True, True, False, False])
    p, q = np.array([2, 1, 0]) + 1, np.array([1, 1, 2]) + 1
    expected = np.log((p / p.sum()) / (q / q.sum()))
    np.testing.assert_allclose(log_count_ratio(csr_matrix(presence), positive), [*expected, 0], rtol=1e-6)


def test_features_are_words_pairs_and_triples_of_the_networks_words() -> None:
    counter = gram_counter()
    counts = counter.fit_transform(["Not good.<br />Not GOOD!"])
    found = dict(zip(counter.get_feature_names_out(), counts.toarray()[0], strict=True))
    assert found["not good"] == 2 and found["good . not"] == 1 and found["!"] == 1 and found["good"] == 2
    lengths = gram_lengths(counter.vocabulary_)
    assert [lengths[counter.vocabulary_[name]] for name in ("!", "not good", "good . not")] == [1, 2, 3]


def test_words_are_those_of_the_network_whatever_their_case() -> None:
    text = "I AGREE :D<br />The U.S. film =D &QUOT;ΑΣ&QUOT; :-D"
    assert ":d" in words_of(text) and "=d" in words_of(text)
    assert words_of(text) == [word for sentence in TextProcessor().process(text).words for word in sentence]


@pytest.mark.parametrize("classes", [2, 3])
def test_nbsvm_is_an_svm_on_scaled_features(classes: int) -> None:
    from sklearn.svm import LinearSVC

    train, other = planted(150, classes, 1), planted(40, classes, 2)
    presence, unseen = np.sign(train.counts.toarray()), np.sign(other.counts.toarray())
    expected = []
    for number in range(1, 2) if classes == 2 else range(classes):
        positive = train.labels == number
        p, q = presence[positive].sum(0) + 1, presence[~positive].sum(0) + 1
        ratio = np.log(p / p.sum()) - np.log(q / q.sum())
        svm = LinearSVC(C=0.1, random_state=0).fit(presence * ratio, positive)
        weights = 0.75 * np.abs(svm.coef_[0]).mean() + 0.25 * svm.coef_[0]
        expected.append(unseen * ratio @ weights + svm.intercept_[0])
    found = next(iter(fit_nbsvm(train, 0.1))).margins(other.counts)  # the first interpolation is 0.25
    wanted = np.stack([np.zeros(40), *expected] if classes == 2 else expected, axis=1)
    np.testing.assert_allclose(found, wanted, atol=2e-3)  # LIBLINEAR stops at a tolerance, here from other float types


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_is_that_of_a_pipeline(classes: int) -> None:
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, other = planted(150, classes, 3), planted(40, classes, 4)
    train.lengths[-3:] = 3  # runs of three words are not for this model
    pipeline = make_pipeline(TfidfTransformer(sublinear_tf=True), LogisticRegression(C=3, max_iter=1000))
    expected = pipeline.fit(train.counts[:, :-3], train.labels).predict_proba(other.counts[:, :-3])
    found = softmax(next(fit_logistic(train, 3.0)).margins(other.counts))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_stands_in_validation_alone_has_no_weight() -> None:
    train, valid = planted(100, 2, 5), planted(60, 2, 6)
    widened = [
        CountedDocuments(csr_matrix(np.hstack([part.counts.toarray(), extra])), part.labels, np.ones(21, np.int8), 2)
        for part, extra in ((train, np.zeros((100, 1))), (valid, np.ones((60, 1))))
    ]
    for system in SYSTEMS:
        narrow, wide = choose(system, train, valid), choose(system, *widened)
        assert narrow.settings == wide.settings and narrow.valid_accuracy == wide.valid_accuracy
        np.testing.assert_allclose(narrow.probabilities(valid.counts), wide.probabilities(widened[1].counts), atol=1e-4)


def test_settings_are_those_that_validation_prefers() -> None:
    train, valid, test = planted(200, 3, 8), planted(80, 3, 9), planted(300, 3, 10)
    accuracies = {}
    for system in SYSTEMS:
        chosen = choose(system, train, valid)
        candidates, right = [], []
        for penalty in system.penalties:
            found = list(system.fit(train, penalty))
            shares = [(c.margins(valid.counts).argmax(1) == valid.labels).mean() for c in found]
            before = max(right[-len(found) :], default=0)
            candidates, right = candidates + found, right + shares
            if max(shares) < before:
                break  # worse than the penalty before: the search ends
        assert chosen.valid_accuracy == max(right) and chosen.settings == candidates[int(np.argmax(right))].settings
        both = CountedDocuments(
            csr_matrix(np.vstack([train.counts.toarray(), valid.counts.toarray()])),
            np.concatenate([train.labels, valid.labels]),
            train.lengths,
            3,
        )
        anew = trained_again(chosen, both)
        assert anew.settings == chosen.settings
        probabilities = anew.probabilities(test.counts)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        accuracies[system.slug] = (probabilities.argmax(axis=1) == test.labels).mean()
    assert accuracies["nbsvm"] > 0.55 and accuracies["logistic"] > 0.55


def test_scale_makes_margins_probabilities() -> None:
    generator = np.random.default_rng(11)
    margins = generator.normal(size=(20_000, 3)) * 2
    labels = np.array([generator.choice(3, p=row) for row in softmax(0.4 * margins)])
    assert best_scale(margins, labels) == pytest.approx(0.4, rel=0.05)


def test_a_class_that_training_lacks_is_never_predicted() -> None:
    spread = spread_margins(np.array([1.0, -2.0]), np.array([0, 2]), 4)
    np.testing.assert_array_equal(spread.argmax(axis=1), [2, 0])
    np.testing.assert_allclose(softmax(spread)[:, [1, 3]], 0, atol=1e-12)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data set of three ratings: one word tells which, two words in a row reverse it."""
    folder = tmp_path / "data" / "films"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(12)
    words = {"1": "bad", "3": "fair", "5": "good"}
    with (folder / "films.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split", "label", "rating", "text"])
        for split, count in (("train", 90), ("valid", 30), ("test", 45), ("unlabelled", 5)):
            for number in range(count):
                label = "135"[number % 3]
                filler = " ".join(f"w{w}" for w in generator.integers(30, size=12))
                text = f"{filler} {words[label]}."
                writer.writerow([f"{split}/{number}", split, "" if split == "unlabelled" else label, label, text])
    (folder / "labels.txt").write_text("1\n3\n5\n")
    return tmp_path


def run(folder: Path) -> None:
    words = ["films", "--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    linear_baselines.main(linear_baselines.build_parser().parse_args(words))


def test_command_writes_what_the_tester_writes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data)
    printed = capsys.readouterr().out
    rows = read_jsonl(data / "runs" / "films-linear" / "results.jsonl")
    assert [row["system"] for row in rows] == [system.name for system in SYSTEMS]
    assert [row["accuracy"] for row in rows] == [pytest.approx(1 / 3), 1.0, 1.0]
    assert rows[0]["mae"] == pytest.approx((0 + 2 + 4) / 3) and rows[2]["mae"] == 0.0
    assert rows[1]["documents"] == 45 and rows[1]["class_names"] == ["1", "3", "5"]
    assert "mean absolute error" in printed and "system " in printed
    for row, slug in zip(rows, ("majority", "logistic", "nbsvm"), strict=True):
        with (data / "runs" / "films-linear" / f"predictions-{slug}-test.csv").open() as file:
            predictions = list(csv.DictReader(file))
        assert [line["id"] for line in predictions] == [f"test/{number}" for number in range(45)]
        right = sum(line["label"] == line["prediction"] for line in predictions)
        assert right / 45 == pytest.approx(row["accuracy"])


def test_ordered_classes_are_reported_in_steps(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv_file = data / "data" / "films" / "films.csv"
    manifest = {"csv_sha256": sha256_of_file(csv_file), "settings": {"ordinal": True}}
    (csv_file.parent / "csv_manifest.json").write_text(json.dumps(manifest))
    folders = ["--data_dir", str(data / "data"), "--runs_dir", str(data / "runs")]
    linear_baselines.main(linear_baselines.build_parser().parse_args(["films", *folders]))
    majority = read_jsonl(data / "runs" / "films-linear" / "results.jsonl")[0]["ordered"]["likeliest"]
    assert majority == pytest.approx({"accuracy": 1 / 3, "error": 1.0, "within_one": 2 / 3, "kappa": 0.0})
    shown = capsys.readouterr().out
    assert "ordered classes   accuracy  error in steps" in shown and "mean error 1.000 steps, of medians" in shown


def test_a_network_without_a_validation_stands_beside_them() -> None:
    """One that was trained anew on train and validation."""
    row = {"system": "HAN", "accuracy": 0.8, "accuracy_interval": (0.7, 0.9)}
    lines = list(comparison([{**row, "valid_accuracy": None}, {**row, "system": "NB", "valid_accuracy": 0.75}]))
    assert [line.split() for line in lines[1:]] == [
        ["HAN", "-", "80.00%", "70.00%", "to", "90.00%"],
        ["NB", "75.00%", "80.00%", "70.00%", "to", "90.00%"],
    ]
    assert len({line.index("80.00%") for line in lines[1:]}) == 1


def test_mistakes_are_one_line(data: Path) -> None:
    films = data / "data" / "films"
    for change, told in (
        (lambda: (films / "labels.txt").write_text("1\n3\n"), "is not in"),
        (lambda: (films / "labels.txt").unlink(), "create_csv.py"),
    ):
        change()
        with pytest.raises(UserError, match=told) as refused:
            run(data)
        assert "\n" not in str(refused.value)


def test_a_fit_that_ends_too_soon_is_told_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    from sklearn.linear_model import LogisticRegression

    values = np.random.default_rng(1).normal(size=(50, 9))
    with warning_of_convergence("logistic regression, C 1"):
        LogisticRegression(max_iter=1).fit(values, values[:, 0] > 0)
    assert [record.message for record in caplog.records] == [
        "logistic regression, C 1: ended before it converged; its figures may be a little off"
    ]


@pytest.mark.parametrize("row", ["7", "[]", "{}", '{"dataset": "films", "split": "test"}'])
def test_a_damaged_result_of_another_run_is_one_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "films-han").mkdir()
    (tmp_path / "films-han" / "results.jsonl").write_text(row + "\n")
    with pytest.raises(UserError, match=r"results\.jsonl, line 1 is damaged"):
        list(linear_baselines.tested_networks(tmp_path, "films", ["bad", "good"]))
