"""The table of n-grams against scikit-learn on the words as texts, and the scales against their definition."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import training.ngrams
from network.ngrams import NgramLane, words_of_key
from report.linear_models import log_count_ratio, softmax
from runtime.input_pipeline import Split
from tests.helpers import tiny_documents, write_tiny_records
from training.ngrams import (
    FEW_FOR_SCALES,
    PRIOR_STRENGTH,
    USUAL_RATIO,
    document_frequencies,
    drawn,
    fit_scales,
    fit_several,
    fit_table,
    logits_of_split,
    tfidf,
    usual_scales,
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    write_tiny_records(folder)
    return folder


@pytest.fixture
def train(records: Path) -> Iterator[Split]:
    with contextlib.closing(Split(records, "train")) as split:
        yield split


@pytest.fixture
def held_out(records: Path) -> Iterator[Split]:
    with contextlib.closing(Split(records, "test")) as split:
        yield split


def texts(split: str, split_of_records: Split) -> list[str]:
    """The documents as texts, a word for each id; unknown words stand apart."""
    documents = tiny_documents(split, len(split_of_records))
    return [" ".join(f"w{word}" for sentence in one.sentences for word in sentence) for one in documents]


def vectorizer(kind: type = TfidfVectorizer, **arguments: object) -> TfidfVectorizer:
    return kind(token_pattern=r"\S+", ngram_range=(1, 3), min_df=2, **arguments)


def test_document_frequencies_are_those_of_scikit_learn(train: Split) -> None:
    counter = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 3), binary=True)
    presence = counter.fit_transform(texts("train", train))
    wanted = dict(zip(counter.get_feature_names_out(), presence.sum(axis=0).A1.tolist(), strict=True))
    keys, frequencies = document_frequencies(train, np.arange(len(train)))
    assert (np.diff(keys) > 0).all()
    found = [" ".join(f"w{word}" for word in words_of_key(key)) for key in keys.tolist()]
    assert dict(zip(found, frequencies.tolist(), strict=True)) == wanted
    assert [len(part) for part in document_frequencies(train, np.zeros(0, np.int64))] == [0, 0]


def ratio_by_definition(presence: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Wang and Manning 2012, section 2.1, with a smoothing of 1."""
    p, q = 1 + presence[positive].sum(axis=0), 1 + presence[~positive].sum(axis=0)
    return np.log((p / p.sum()) / (q / q.sum())).astype(np.float32)


def test_the_table_is_a_logistic_regression_on_scaled_tfidf(train: Split, held_out: Split) -> None:
    labels = train.index["label"]
    reference = vectorizer(sublinear_tf=True)
    features = reference.fit_transform(texts("train", train))
    presence = vectorizer(CountVectorizer, binary=True, vocabulary=reference.vocabulary_).transform(
        texts("train", train)
    )
    ratio = ratio_by_definition(presence.toarray(), labels == 1)
    model = LogisticRegression(C=training.ngrams.PENALTY, solver="liblinear", dual=True, max_iter=10_000, tol=1e-6)
    model.fit(features.multiply(ratio).tocsr(), labels)
    table = fit_table(train, 2)
    assert len(table.keys) == len(reference.vocabulary_)
    logits = logits_of_split(NgramLane(table), held_out, 100)
    wanted = model.decision_function(reference.transform(texts("test", held_out)).multiply(ratio).tocsr())
    assert not logits[:, 0].any()
    np.testing.assert_allclose(logits[:, 1], wanted, atol=0.05 * np.abs(wanted).max())  # the solvers' tolerances
    assert ((logits[:, 1] > 0) == (wanted > 0)).all() and ((logits[:, 1] > 0) == held_out.index["label"]).mean() > 0.8


def test_features_are_those_of_scikit_learn_and_ratios_those_of_nbsvm(train: Split) -> None:
    reference = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    wanted = reference.fit_transform(texts("train", train)).toarray()
    table = fit_table(train, 2)
    features = tfidf(train, np.arange(len(train)), table.keys, table.idf)
    names = [" ".join(f"w{word}" for word in words_of_key(key)) for key in table.keys.tolist()]
    columns = [reference.vocabulary_[name] for name in names]
    np.testing.assert_allclose(features.toarray(), wanted[:, columns], rtol=1e-5, atol=1e-7)
    positive = train.index["label"] == 1
    ratio = ratio_by_definition(features.toarray() > 0, positive)
    np.testing.assert_allclose(log_count_ratio(features.sign(), positive), ratio, rtol=1e-5)


def relabelled(split: Split, labels: np.ndarray) -> Split:
    split.index = split.index.copy()
    split.index["label"] = labels
    return split


def test_several_classes_are_one_against_the_rest_and_an_absent_one_is_improbable(train: Split) -> None:
    labels = np.where(np.arange(len(train)) % 3 == 0, 3, train.index["label"])
    table = fit_table(relabelled(train, labels), 4)
    assert table.weights[:, [0, 1, 3]].any(axis=0).all() and not table.weights[:, 2].any()
    logits = logits_of_split(NgramLane(table), train, 100)
    assert softmax(logits.astype(np.float64))[:, 2].max() < 1e-6
    assert (logits.argmax(axis=1) == labels).mean() > 0.9


def test_a_label_that_all_texts_have_or_none_is_always_or_never_predicted() -> None:
    generator = np.random.default_rng(1)
    features = csr_matrix((generator.random((30, 5)) < 0.4).astype(np.float32))
    has = np.stack([np.ones(30, bool), np.zeros(30, bool), features[:, 0].toarray()[:, 0] > 0], axis=1)
    weights, bias = np.zeros((5, 3), np.float32), np.zeros(3, np.float32)
    fit_several(features, has, weights, bias)
    assert bias[:2].tolist() == [20, -20] and not weights[:, :2].any()
    assert weights[0, 2] > np.abs(weights[1:, 2]).max()  # the feature that the third label is made of


def test_one_class_alone_has_no_weights(train: Split) -> None:
    table = fit_table(relabelled(train, np.ones(len(train))), 2)
    assert not table.weights.any() and table.bias.tolist() == [-20, 0]


def test_balanced_classes_move_the_border_towards_the_common_one(train: Split) -> None:
    rare = train.index["label"].copy()
    rare[np.flatnonzero(rare)[3:]] = 0
    plain, balanced = (fit_table(relabelled(train, rare), 2, balance) for balance in (False, True))
    means = [logits_of_split(NgramLane(table), train, 1000)[:, 1].mean() for table in (plain, balanced)]
    assert means[1] > means[0]


def test_a_table_is_fitted_on_so_many_words_at_most(train: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(train).tolist() == list(range(len(train)))
    words = train.index["words"]
    monkeypatch.setattr(training.ngrams, "MOST_WORDS", int(words.sum()) // 2)
    numbers = drawn(train)
    assert 0.4 * words.sum() < words[numbers].sum() <= 0.5 * words.sum()
    assert (np.diff(numbers) > 0).all() and numbers.max() > len(train) // 2
    monkeypatch.setattr(training.ngrams, "MOST_WORDS", 1)
    assert len(drawn(train)) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Scales


def loss(scales: np.ndarray, network: np.ndarray, lane: np.ndarray, labels: np.ndarray) -> float:
    """What the scales are to minimise, from its definition."""
    probabilities = softmax(scales[0] * network + scales[1] * lane)
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).sum() + ((scales - 1) ** 2).sum() / 2)


@pytest.mark.parametrize("classes", [2, 4])
def test_scales_minimise_the_loss(classes: int) -> None:
    generator = np.random.default_rng(classes)
    truth = generator.normal(size=(FEW_FOR_SCALES, classes))
    labels = (truth + generator.gumbel(size=truth.shape)).argmax(axis=1).astype(np.int32)
    network = 4 * (truth + generator.normal(size=truth.shape))  # too sure of itself
    lane = 0.5 * (truth + generator.normal(size=truth.shape))
    scales = fit_scales(network.astype(np.float32), lane.astype(np.float32), labels).astype(np.float64)
    best = loss(scales, network, lane, labels)
    for step in ((0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02)):
        assert loss(scales + step, network, lane, labels) > best
    assert scales[0] < 0.5 < scales[1]


def test_what_knows_nothing_counts_nothing() -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 2, 2_000).astype(np.int32)
    lane = np.stack([np.zeros(2_000), 2 * labels - 1 + generator.normal(size=2_000)], axis=1)
    network = np.stack([np.zeros(2_000), -(2 * labels - 1.0)], axis=1)  # always wrong, but never turned round
    assert fit_scales(network.astype(np.float32), lane.astype(np.float32), labels)[0] == 0


def test_the_fewer_documents_the_nearer_the_scales_are_to_the_usual_ones() -> None:
    generator = np.random.default_rng(7)
    labels = generator.integers(0, 2, FEW_FOR_SCALES).astype(np.int32)
    signs = 2 * labels - 1.0
    network = np.stack([np.zeros(len(labels)), 8 * (signs + generator.normal(size=len(labels)))], axis=1)
    lane = np.stack([np.zeros(len(labels)), generator.normal(size=len(labels))], axis=1)  # knows nothing
    usual = usual_scales(np.stack([network, lane]))
    np.testing.assert_allclose(usual, [USUAL_RATIO * lane[:, 1].std() / network[:, 1].std(), 1], rtol=1e-3)
    distances = []
    for size in (4, 40, 200, FEW_FOR_SCALES):
        part = slice(0, size)
        scales = fit_scales(network[part].astype(np.float32), lane[part].astype(np.float32), labels[part])
        distances.append(float(np.abs(scales / usual_scales(np.stack([network[part], lane[part]])) - 1).max()))
    assert distances == sorted(distances) and distances[0] < 0.5 < distances[-1]


def test_the_scales_of_few_documents_minimise_loss_and_prior() -> None:
    generator = np.random.default_rng(8)
    labels = generator.integers(0, 3, 50).astype(np.int32)
    network, lane = 5 * generator.normal(size=(50, 3)), generator.normal(size=(50, 3))
    lane[np.arange(50), labels] += 1
    network[np.arange(50), labels] += 4
    scales = fit_scales(network.astype(np.float32), lane.astype(np.float32), labels).astype(np.float64)
    usual, few = usual_scales(np.stack([network, lane])), 1 - 50 / FEW_FOR_SCALES

    def objective(point: np.ndarray) -> float:
        plain = loss(point, network, lane, labels) - ((point - 1) ** 2).sum() / 2
        prior = PRIOR_STRENGTH * ((point / usual - 1) ** 2).sum() / 2
        return plain + (1 - few) * ((point - 1) ** 2).sum() / 2 + few * prior

    for step in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert objective(scales + step) > objective(scales)


def test_a_network_that_has_learnt_nothing_is_not_amplified() -> None:
    generator = np.random.default_rng(9)
    lane = generator.normal(size=(20, 2))
    np.testing.assert_array_equal(usual_scales(np.stack([1e-3 * lane[::-1], lane])), [1, 1])
    np.testing.assert_array_equal(usual_scales(np.stack([lane, 0 * lane])), [1, 1])


def test_few_documents_that_are_all_right_leave_the_scales_finite() -> None:
    logits = np.array([[5.0, -5], [-5, 5]], np.float32)
    scales = fit_scales(logits, logits, np.array([0, 1], np.int32))
    assert (scales < 2).all() and (scales > 0.5).all()
