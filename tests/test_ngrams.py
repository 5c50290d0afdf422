"""The n-gram lane: its logits and the shares of words against the definition, and a network beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from han import HAN
from network.contract import Documents, NetworkArguments
from network.ngrams import NetworkWithNgrams, NgramLane, NgramTable, ngram_key, words_of_key
from runtime.scoring import inference
from tests.flat_networks import batch

VOCABULARY, CLASSES = 12, 3
TEXTS = [
    [[3, 9, 4], [5]],
    [[8, 8, 2, 3, 11, 7, 8, 8]],
    [[6, 1], [3, 9, 4], [9, 2, 2, 10], [3, 9]],
    [[1]],  # <unk> alone: an empty text
    [[7]],
]


def table(seed: int = 1, size: int = 150) -> NgramTable:
    """Random n-grams of one to three words, most of which stand in some document."""
    generator = np.random.default_rng(seed)
    known = {ngram for text in TEXTS for ngram in ngrams([word for sentence in text for word in sentence])}
    known |= {tuple(generator.integers(2, VOCABULARY, generator.integers(1, 4)).tolist()) for _ in range(size)}
    known -= {(3, 9, 4), (8, 8, 2), (10,)}  # not everything is known
    known = {ngram for ngram in known if all(ngram[:length] in known for length in range(1, len(ngram)))}
    keys = np.array(sorted(map(ngram_key, known)), np.int64)
    return NgramTable(
        keys,
        generator.uniform(0.5, 4, len(keys)).astype(np.float32),
        generator.normal(size=(len(keys), CLASSES)).astype(np.float32),
        generator.normal(size=CLASSES).astype(np.float32),
    )


def ngrams(words: list[int]) -> Iterator[tuple[int, ...]]:
    """The n-grams of a document, as often as they stand there, without those that have an unknown word."""
    for length in (1, 2, 3):
        for place in range(len(words) - length + 1):
            if 1 not in (ngram := tuple(words[place : place + length])):
                yield ngram


def expected(table: NgramTable, text: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Logits float64 [C] and shares float64 [N, C] of one document, from the definition."""
    words = [word for sentence in text for word in sentence]
    rows = {words_of_key(int(key)): row for row, key in enumerate(table.keys)}
    counts = Counter(ngram for ngram in ngrams(words) if ngram in rows)
    values = {ngram: (1 + math.log(count)) * table.idf[rows[ngram]] for ngram, count in counts.items()}
    length = math.sqrt(sum(value**2 for value in values.values()))
    shares = np.zeros((len(words), CLASSES))
    for ngram, value in values.items():
        brought = value / length * table.weights[rows[ngram]].astype(np.float64)
        for place in range(len(words) - len(ngram) + 1):
            if tuple(words[place : place + len(ngram)]) == ngram:
                shares[place : place + len(ngram)] += brought / counts[ngram] / len(ngram)
    return table.bias + shares.sum(axis=0), shares


def arrays(documents: Documents) -> list[np.ndarray]:
    return [vector.numpy() for vector in documents]


@pytest.mark.parametrize("ngram", [(2,), (2**21 - 1,), (3, 2), (2, 3), (4, 4, 4), (2**21 - 1, 2, 2**21 - 1)])
def test_a_key_stands_for_one_ngram(ngram: tuple[int, ...]) -> None:
    key = ngram_key(ngram)
    assert 0 < key < 2**63 and words_of_key(key) == ngram


def test_logits_and_shares_are_those_of_the_definition() -> None:
    lane = NgramLane(table())
    logits, shares = lane.logits_of(*arrays(batch(TEXTS))), lane.shares_of(*arrays(batch(TEXTS)))
    wanted = [expected(lane.table, text) for text in TEXTS]
    np.testing.assert_allclose(logits, [of_document for of_document, _ in wanted], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(shares, np.concatenate([of_words for _, of_words in wanted]), rtol=1e-6, atol=1e-7)
    assert np.abs(shares[[7, 11]]).max() > 0.01  # the case is not an empty one


def test_the_ngrams_of_a_document_are_those_of_the_definition() -> None:
    lane = NgramLane(table())
    rows = {words_of_key(int(key)): row for row, key in enumerate(lane.table.keys)}
    for text in TEXTS:
        words = [word for sentence in text for word in sentence]
        found = lane.ngrams_of(np.array(words, np.int32))
        counts = Counter(ngram for ngram in ngrams(words) if ngram in rows)
        named = [tuple(words[p : p + n]) for p, n in zip(found.places.tolist(), found.lengths.tolist(), strict=True)]
        assert dict(zip(named, found.counts.tolist(), strict=True)) == counts
        for ngram, place in zip(named, found.places.tolist(), strict=True):
            earlier = range(place)
            assert not any(tuple(words[p : p + len(ngram)]) == ngram for p in earlier)
        norm = math.sqrt(sum(((1 + math.log(n)) * lane.table.idf[rows[ngram]]) ** 2 for ngram, n in counts.items()))
        for ngram, share in zip(named, found.shares, strict=True):
            value = (1 + math.log(counts[ngram])) * lane.table.idf[rows[ngram]] / norm
            np.testing.assert_allclose(share, value * lane.table.weights[rows[ngram]], rtol=1e-5)
        logits = lane.logits_of(np.array(words, np.int32), np.array([len(words)], np.int32), np.ones(1, np.int32))
        np.testing.assert_allclose(lane.table.bias + found.shares.sum(axis=0), logits[0], rtol=1e-5, atol=1e-6)


def test_a_document_without_known_ngrams_has_the_bias() -> None:
    lane = NgramLane(table())
    np.testing.assert_array_equal(lane.logits_of(*arrays(batch([[[1]]])))[0], lane.table.bias)
    none = np.zeros(0, np.float32)
    empty = NgramTable(np.zeros(0, np.int64), none, np.zeros((0, 2), np.float32), np.ones(2, np.float32))
    np.testing.assert_array_equal(NgramLane(empty).logits_of(*arrays(batch(TEXTS))), np.ones((len(TEXTS), 2)))
    assert not NgramLane(empty).shares_of(*arrays(batch(TEXTS))).any()
    assert all(len(column) == 0 for column in NgramLane(empty).ngrams_of(np.array([3, 9], np.int32)))


def test_a_document_does_not_depend_on_the_others() -> None:
    lane = NgramLane(table())
    together = lane.logits_of(*arrays(batch(TEXTS * 40)))
    alone = np.concatenate([lane.logits_of(*arrays(batch([text]))) for text in TEXTS])
    np.testing.assert_array_equal(together, np.tile(alone, (40, 1)))


def test_a_table_without_the_first_words_of_an_ngram_is_refused() -> None:
    keys = np.array([3, 4, ngram_key((3, 4)), ngram_key((5, 4))], np.int64)
    weights = np.zeros((4, 2), np.float32)
    NgramLane(NgramTable(keys[:3], weights[:3, 0], weights[:3], weights[0]))
    with pytest.raises(ValueError, match="without its first words"):
        NgramLane(NgramTable(keys, weights[:, 0], weights, weights[0]))


def test_every_key_of_a_large_table_is_found() -> None:
    generator = np.random.default_rng(3)
    keys = np.unique(generator.integers(2, 2**21, 20_000))
    weights = generator.normal(size=(len(keys), 2)).astype(np.float32)
    lane = NgramLane(NgramTable(keys, np.ones(len(keys), np.float32), weights, np.zeros(2, np.float32)))
    ids = keys.astype(np.int32)
    single = np.ones(len(ids), np.int32)
    np.testing.assert_array_equal(lane.logits_of(ids, single, single), weights)
    absent = np.setdiff1d(np.arange(2, 2**21, 97), keys).astype(np.int32)
    assert not lane.logits_of(absent, single[: len(absent)], single[: len(absent)])[: len(absent)].any()


# ---------------------------------------------------------------------------------------------------------------------
# Beside a network


def network(padded: bool = False) -> HAN:
    settings = ModelSettings(word_units=3, sentence_units=4, attention_dim=5)
    return HAN(NetworkArguments(VOCABULARY, 6, CLASSES, settings, dropout=0.5, seed=3, padded=padded))


@pytest.mark.parametrize("padded", [False, True])
def test_both_are_added_with_their_scales(padded: bool) -> None:
    alone, documents = network(padded), batch(TEXTS)
    both = NetworkWithNgrams(alone, NgramLane(table()))
    both.scales.assign([0.25, 3.0])
    lane = both.lane.logits_of(*arrays(documents))
    wanted = 0.25 * alone(documents).numpy() + 3 * lane
    np.testing.assert_allclose(both(documents).numpy(), wanted, rtol=1e-5)
    inferred = inference(both)(documents)
    np.testing.assert_allclose(inferred.logits.numpy(), wanted, rtol=1e-5)
    np.testing.assert_allclose(inferred.word_weights.numpy(), alone.attend(documents).word_weights.numpy(), rtol=1e-5)
    both.scales.assign([1.0, 0.0])  # the graph reads the scales when it runs
    np.testing.assert_allclose(inference(both)(documents).logits.numpy(), alone(documents).numpy(), rtol=1e-5)


def test_training_sees_the_network_alone() -> None:
    alone, documents = network(), batch(TEXTS)
    both = NetworkWithNgrams(alone, NgramLane(table()))
    seed = tf.constant([1, 2])
    np.testing.assert_array_equal(
        both(documents, True, seed).numpy(), alone(documents, training=True, seed=seed).numpy()
    )
    assert [id(variable) for variable in both.trainable_variables] == [id(v) for v in alone.trainable_variables]
    assert set(both.named_weights()) - set(alone.named_weights()) == {"ngrams/scales"}


def test_it_offers_what_every_network_offers() -> None:
    both: Any = NetworkWithNgrams(network(), NgramLane(table()))
    assert both.attends and both.embeddings is both.network.embeddings and both.classifier is both.network.classifier
    documents = batch(TEXTS)
    np.testing.assert_array_equal(both.document_vectors(documents), both.network.document_vectors(documents))
