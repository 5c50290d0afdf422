"""The library: tables of predictions, explanations in a notebook, and the classifier for scikit-learn."""

from __future__ import annotations

import gc
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

import predictor
from predictor import HANClassifier, Model, TemporaryFolder, given_texts, names_of
from runtime.documents import join
from tests.helpers import write_tiny_records, write_tiny_run
from utils import UserError, read_json

TEXTS = ["A good word01 and word02 and word03!", "", "bad word02. Quite bad, word03\nword04 word05?", "qqq zzz"]
# Of scikit-learn's checks those that hand over no numbers; the others are for tables of numbers.
CHECKS_WITHOUT_NUMBERS = (
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)
SMALL: dict[str, Any] = {
    "num_epochs": 3,
    "embeddings": "random",
    "embedding_dim": 8,
    "word_units": 4,
    "sentence_units": 4,
    "attention_dim": 4,
    "workers": 1,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    write_tiny_records(folder / "records")
    write_tiny_run(folder / "runs" / "tiny-han", folder / "records")
    return folder / "runs"


@pytest.fixture(scope="module")
def model(runs: Path) -> Model:
    return predictor.load("tiny-han", runs)


# ---------------------------------------------------------------------------------------------------------------------
# Predictions


def test_a_table_has_a_row_per_text_with_the_networks_own_probabilities(model: Model) -> None:
    table = model.predict(TEXTS)
    for place in (0, 2, 3):
        document = model.predictor.read(TEXTS[place]).document
        logits = model.predictor.model(join([document])).numpy()[0].astype(np.float64)
        expected = np.exp(logits) / np.exp(logits).sum()
        row = table.iloc[place]
        np.testing.assert_allclose([row["probability_negative"], row["probability_positive"]], expected, atol=1e-6)
        assert row["label"] == ("negative", "positive")[int(expected.argmax())]
        assert row["confidence"] == pytest.approx(expected.max(), abs=1e-6)
    assert list(table["words"]) == [8, 0, 10, 2] and list(table["unknown_words"])[3] == 2
    nothing = table.iloc[1]
    assert nothing[["label", "probability_negative", "probability_positive", "confidence"]].isna().all()
    assert list(table["remarks"]) == ["", "no word", "", "no known word"]


def test_the_index_of_a_table_is_kept_and_missing_texts_are_counted(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    texts = pd.Series(["good", None, np.nan, pd.NA, "bad"], index=list("vwxyz"), name="body")
    found = model.predict(texts)
    assert list(found.index) == list("vwxyz") and list(found["remarks"] == "no word") == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert "3 of 5 texts are missing" in caplog.text
    frame = pd.DataFrame({"stars": range(5), "body": texts})
    pd.testing.assert_frame_equal(model.predict(frame), found)
    pd.testing.assert_frame_equal(model.predict(frame.rename(columns={"body": "x"}), "x"), found)
    pd.testing.assert_frame_equal(model.predict(texts.to_numpy().reshape(-1, 1)).set_index(texts.index), found)
    assert model.predict([]).dtypes.equals(found.dtypes)


def test_below_a_confidence_there_is_no_label(model: Model) -> None:
    texts = [*TEXTS, *(f"word0{number} good" for number in range(9))]
    table = model.predict(texts)
    threshold = float(table["confidence"].median())
    some = model.predict(texts, abstain=threshold)
    expected = table["confidence"] < threshold  # false for the text without a word, which has none
    assert not table["abstained"].any() and 2 < expected.sum() < len(texts) - 2
    assert list(some["abstained"]) == list(expected)
    assert list(some["label"].isna()) == list(expected | (table["words"] == 0))
    pd.testing.assert_frame_equal(some.drop(columns=["label", "abstained"]), table.drop(columns=["label", "abstained"]))
    with pytest.raises(UserError, match="--abstain 2 is out of range"):
        model.predict(texts, abstain=2)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ("A good film", r"write \[text\]"),
        (["good", 3.5], "text 1 is 3.5, of the type float"),
        (np.zeros((2, 3)), r"has the shape \(2, 3\)"),
        (pd.DataFrame({"text": ["a"], "review": ["b"]}), "no column that is clearly the text; .* text, review"),
    ],
)
def test_what_is_not_texts_is_refused_in_one_line(texts: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        given_texts(texts)
    assert "\n" not in str(caught.value)


def test_short_texts_are_told_by_the_training_documents(runs: Path, model: Model) -> None:
    words = np.load(runs.parent / "records" / "train.index.npy")["words"]
    short = read_json(runs / "tiny-han" / "config.json")["training_texts"]["short"]
    assert short == model.predictor.short_text > 1
    assert np.mean(words >= short) >= 0.99 > np.mean(words > short)
    remarks = model.predict([" ".join(["good"] * count) for count in (short - 1, short)])["remarks"]
    assert list(remarks) == ["much shorter than the training texts", ""]


# ---------------------------------------------------------------------------------------------------------------------
# Explanations


def test_an_explanation_is_a_page_a_table_and_json(model: Model) -> None:
    text = TEXTS[2]
    explained = model.explain(text, "contribution", "positive")
    assert explained._repr_html_().startswith("<iframe sandbox srcdoc=") and "Quite" in explained.to_html()
    assert "True in 9 of 10." in replace(explained, trust="True in 9 of 10.").to_html()
    words = explained.words()
    assert list(words["word"]) == [text[start:end] for start, end in zip(words["start"], words["end"], strict=True)]
    assert len(words) == model.predictor.read(text).words
    value = explained.to_json()
    assert value["explained_class"] == "positive" and value["text"] == text
    assert value["sentences"][0]["words"][0]["score"] == words["score"][0]
    assert repr(explained).startswith("tiny-han: ")
    assert model.explain(text).explanation.target == int(explained.explanation.verdict.probabilities.argmax())


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("",), "no word"),
        (("good", "magic"), "unknown method"),
        (("good", "attention", "neutral"), "no class 'neutral'"),
    ],
)
def test_what_cannot_be_explained_is_one_line(model: Model, words: tuple[str, ...], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        model.explain(*words)


# ---------------------------------------------------------------------------------------------------------------------
# scikit-learn


@pytest.mark.filterwarnings("ignore:Can't test estimator:sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_the_classifier() -> None:
    results = check_estimator(HANClassifier(), on_skip=None)
    assert {result["check_name"]: result["status"] for result in results} == {"check_estimator_cloneable": "passed"}
    with pytest.warns(SkipTestWarning, match="requires input"):  # so that the list below cannot be left out unseen
        check_estimator(HANClassifier())
    for name in CHECKS_WITHOUT_NUMBERS:
        getattr(estimator_checks, name)("HANClassifier", HANClassifier())


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["bad", "good"], ["bad", "good"]),
        ([1, 5], ["1", "5"]),
        ([0.5, 1.0], ["0", "1"]),
        (["Good", "good"], ["0", "1"]),  # a table takes them for one class
        (["nan", "b"], ["0", "1"]),  # a table takes this for no label
        (["1", "1.0"], ["0", "1"]),
        ([False, True], ["0", "1"]),
    ],
)
def test_labels_that_a_table_would_confuse_are_numbered(labels: list[Any], names: list[str]) -> None:
    assert names_of(np.array(labels)) == names


def labelled_texts(count: int) -> tuple[list[str], np.ndarray]:
    """Texts whose label is their clue; the labels are in the order that a table would not keep."""
    generator = np.random.default_rng(3)
    labels = np.array([True, False] * (count // 2))
    filler = ["day", "road", "house", "water", "stone", "green", "seven", "light"]
    texts = [" ".join([*generator.choice(filler, 6), "splendid" if label else "dreadful"]) + "." for label in labels]
    return texts, labels


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> HANClassifier:
    return HANClassifier(tmp_path_factory.mktemp("work"), seed=2, settings=SMALL).fit(*labelled_texts(60))


@pytest.mark.slow
def test_a_fitted_classifier_predicts_what_it_was_taught(fitted: HANClassifier) -> None:
    texts, labels = labelled_texts(60)
    assert fitted.classes_.tolist() == [False, True]
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (60, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(fitted.predict(texts), probabilities.argmax(axis=1).astype(bool))
    assert fitted.score(texts, labels) > 0.95
    assert fitted.score(texts, ~labels) < 0.05  # the columns are those of classes_
    table = predictor.load(fitted.run_).predict(texts[:5])
    np.testing.assert_allclose(table["probability_1"], probabilities[:5, 1], atol=1e-6)


def test_a_classifier_predicts_what_its_run_predicts(
    runs: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[tuple[str, str]] = []

    def train(self: HANClassifier, folder: Path, texts: list[str], labels: list[str]) -> Path:
        assert folder.parent == tmp_path
        taught.extend(zip(texts, labels, strict=True))
        return runs / "tiny-han"

    monkeypatch.setattr(HANClassifier, "train", train)
    classifier = HANClassifier(tmp_path).fit(pd.Series(["good", None]), ["positive", "negative"])
    assert taught == [("good", "positive"), ("", "negative")]
    table = model.predict(TEXTS)
    assert [classifier.predict(TEXTS)[place] for place in (0, 2, 3)] == [table["label"][place] for place in (0, 2, 3)]
    np.testing.assert_allclose(classifier.predict_proba(TEXTS)[2], table.iloc[2, 1:3].astype(float), atol=1e-7)
    again = pickle.loads(pickle.dumps(classifier))  # noqa: S301
    np.testing.assert_array_equal(again.predict(TEXTS), classifier.predict(TEXTS))
    fresh = clone(classifier)
    assert fresh.get_params() == classifier.get_params() and not hasattr(fresh, "run_")


def test_a_classifier_without_a_training_says_so() -> None:
    with pytest.raises(NotFittedError):
        HANClassifier().predict(["good"])


@pytest.mark.parametrize(
    ("texts", "labels", "problem"),
    [
        (["a", "b"], [1, 2, 3], "2 texts and labels of the shape"),
        (["a", "b"], [1, 1], "all labels are 1; give texts of two classes"),
    ],
)
def test_texts_and_labels_that_do_not_fit_are_refused(
    tmp_path: Path, texts: list[str], labels: list[int], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        HANClassifier(tmp_path).fit(texts, labels)


def test_the_line_of_the_stage_is_the_error(tmp_path: Path) -> None:
    texts, labels = labelled_texts(20)
    with pytest.raises(UserError, match=r"--num_epochs 0 is out of range; give a value at least 1"):
        HANClassifier(tmp_path, settings={"num_epochs": 0}).fit(texts, labels)
    with pytest.raises(UserError, match="no_such_flag"):
        HANClassifier(tmp_path, settings={"no_such_flag": 0}).fit(texts, labels)


def test_a_temporary_folder_goes_with_its_object() -> None:
    folder = TemporaryFolder()
    path = folder.path
    (path / "file").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del folder
        gc.collect()
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cross_validation_of_a_pipeline_gives_every_fold_a_folder(tmp_path: Path) -> None:
    texts, labels = labelled_texts(60)
    lower = FunctionTransformer(lambda given: [text.lower() for text in given])
    pipeline = Pipeline([("lower", lower), ("han", HANClassifier(tmp_path, settings=SMALL))])
    scores = cross_val_score(pipeline, texts, labels, cv=2)
    assert scores.min() > 0.9
    assert len(list(tmp_path.glob("fit-*/run/best.safetensors"))) == 2
    with pytest.raises(UserError, match="cannot be saved; give it a folder"):
        pickle.dumps(HANClassifier(settings=SMALL).fit(texts, labels))
