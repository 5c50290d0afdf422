"""Explanations of networks with and without the n-gram lane, for two and four classes, against NumPy."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from data_processing import TextProcessor, Vocabulary
from explaining.explained_text import explain_text
from explaining.explanations import explain, integrated_gradients, methods_of, spread
from explaining.faithfulness import examine, to_json
from explaining.gradients import contributions, gradient_products, logits_from_vectors
from explaining.leaving_out import keep_words
from explaining.log_odds import mean_slopes
from han import HAN
from network.cnn import CNN
from network.contract import NetworkArguments
from network.ngrams import NetworkWithNgrams, NgramLane, NgramTable, ngram_key, words_of_key
from runtime.documents import DocumentBorders, join
from runtime.predictor import Predictor
from text.text_reader import EncodedDocument, TextReader

WORDS = [f"word{n}" for n in range(10)]
SCALES = (0.7, 1.6)


def document(*sentences: list[int]) -> EncodedDocument:
    return EncodedDocument(
        np.array([word for sentence in sentences for word in sentence], np.int32),
        np.array([len(sentence) for sentence in sentences], np.int32),
    )


DOCUMENTS = [
    document([3, 9, 4], [5, 9, 8]),  # a word in two sentences; no two windows of a CNN are equal, which would be a kink
    document([8, 8, 2, 1, 11, 7]),
    document([6, 1], [3, 9, 4], [9, 2, 2, 10], [3]),
]


def build(network: Any, classes: int, ngrams: bool, padded: bool = False, **settings: Any) -> Predictor:
    """A network with large random weights, and a lane that knows most n-grams of the documents."""
    generator = np.random.default_rng(classes)
    shape = ModelSettings(word_units=3, sentence_units=4, attention_dim=5, filters=4, filter_widths="2,3", **settings)
    model = network(NetworkArguments(12, 6, classes, shape, dropout=0.5, seed=3, padded=padded))
    for weight in model.named_weights().values():
        weight.assign(generator.normal(size=weight.shape, scale=0.6))
    if ngrams:
        found = sorted({ngram for one in DOCUMENTS for ngram in ngrams_of(one)})
        known = {ngram for ngram in found[::2] + found[1::4] if len(ngram) > 1}
        known |= {ngram[:length] for ngram in known for length in (1, 2) if length < len(ngram)}  # as in every table
        keys = np.array(sorted(map(ngram_key, known)), np.int64)
        idf = generator.uniform(0.5, 4, len(keys)).astype(np.float32)
        weights = generator.normal(size=(len(keys), classes), scale=2).astype(np.float32)
        bias = generator.normal(size=classes).astype(np.float32)
        model = NetworkWithNgrams(model, NgramLane(NgramTable(keys, idf, weights, bias)))
        model.scales.assign(SCALES)
    reader = TextReader(TextProcessor(), Vocabulary(["<pad>", "<unk>", *WORDS]))
    return Predictor(model, reader, [f"class{number}" for number in range(classes)])


def ngrams_of(one: EncodedDocument) -> Iterator[tuple[int, ...]]:
    """The n-grams of a document, as often as they occur, without those that have an unknown word."""
    words = one.token_ids.tolist()
    for length in (1, 2, 3):
        for place in range(len(words) - length + 1):
            if 1 not in (ngram := tuple(words[place : place + length])):
                yield ngram


def lane_shares(predictor: Predictor, one: EncodedDocument) -> np.ndarray:
    """float64 [N, C], what each word adds to the logits by the n-grams it is in, from the definition; scaled."""
    model: Any = predictor.model
    words = one.token_ids.tolist()
    shares = np.zeros((len(words), len(predictor.class_names)))
    if not isinstance(model, NetworkWithNgrams):
        return shares
    table = model.lane.table
    rows = {words_of_key(int(key)): row for row, key in enumerate(table.keys)}
    counts = Counter(ngram for ngram in ngrams_of(one) if ngram in rows)
    values = {ngram: (1 + math.log(count)) * table.idf[rows[ngram]] for ngram, count in counts.items()}
    length = math.sqrt(sum(value**2 for value in values.values()))
    for ngram, value in values.items():
        for place in range(len(words) - len(ngram) + 1):
            if tuple(words[place : place + len(ngram)]) == ngram:
                brought = value / length * table.weights[rows[ngram]].astype(np.float64)
                shares[place : place + len(ngram)] += brought / counts[ngram] / len(ngram)
    return SCALES[1] * shares


def scaled_odds(predictor: Predictor, one: EncodedDocument, factors: np.ndarray, target: int) -> np.ndarray:
    """float64 [M], the log-odds of a class when the inputs of each word are multiplied; ``factors``: [M, N]."""
    model: Any = predictor.model
    network, scale, bias = model, 1.0, np.zeros(len(predictor.class_names))
    if isinstance(model, NetworkWithNgrams):
        network, scale, bias = model.network, SCALES[0], SCALES[1] * model.lane.table.bias.astype(np.float64)
    vectors = factors[:, :, np.newaxis] * network.embeddings.numpy()[one.token_ids]
    given = tf.constant(vectors.reshape(-1, vectors.shape[-1]), tf.float32)
    logits = scale * logits_from_vectors(network, join([one] * len(factors)), given).numpy().astype(np.float64)
    logits += bias + factors @ lane_shares(predictor, one)
    return odds(logits, target)


def odds(logits: np.ndarray, target: int) -> np.ndarray:
    """log(p / (1 - p)) by the softmax."""
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen: np.ndarray = probabilities[..., target]
    return np.log(chosen / (1 - chosen))


@pytest.fixture(scope="module", params=[(n, c, on) for n in (HAN, CNN) for c in (2, 4) for on in (True, False)])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    return build(*request.param)


def targets_of(predictor: Predictor) -> list[int]:
    return [number % len(predictor.class_names) for number in (1, 2, 3)]


def test_the_log_odds_of_the_definition_are_those_of_the_network(predictor: Predictor) -> None:
    for one, logits in zip(DOCUMENTS, predictor.logits(DOCUMENTS), strict=True):
        whole = np.ones((1, len(one.token_ids)))
        assert scaled_odds(predictor, one, whole, 1)[0] == pytest.approx(odds(logits.astype(np.float64), 1), abs=1e-4)


def test_gradient_times_input_is_the_numerical_derivative_of_scaling_a_word(predictor: Predictor) -> None:
    targets = targets_of(predictor)
    found_odds, products = gradient_products(predictor, DOCUMENTS, np.ones(3), targets)
    scores = explain(predictor, DOCUMENTS, targets, "gradient")
    for number, (one, target) in enumerate(zip(DOCUMENTS, targets, strict=True)):
        steps = np.concatenate([1 + step * np.eye(len(one.token_ids)) for step in (1e-2, -1e-2)])
        ahead, behind = np.split(scaled_odds(predictor, one, steps, target), 2)
        np.testing.assert_allclose(products[number], (ahead - behind) / 2e-2, atol=3e-3)
        np.testing.assert_array_equal(scores[number].words, products[number])
        whole = scaled_odds(predictor, one, np.ones((1, len(one.token_ids))), target)
        assert found_odds[number] == pytest.approx(whole[0], abs=1e-4)


def test_integrated_gradients_add_up_to_the_difference_from_a_text_without_any_input(predictor: Predictor) -> None:
    targets = targets_of(predictor)
    found = integrated_gradients(predictor, DOCUMENTS, [], targets, tolerance=1e-3)
    for one, target, scores in zip(DOCUMENTS, targets, found, strict=True):
        both = np.stack([np.zeros(len(one.token_ids)), np.ones(len(one.token_ids))])
        nothing, whole = scaled_odds(predictor, one, both, target)
        assert scores.words.sum() == pytest.approx(whole - nothing, abs=4e-3 * max(1, abs(whole - nothing)))
        assert scores.completeness is not None
        assert scores.completeness[1] == pytest.approx(whole - nothing, abs=2e-4)


def test_the_lane_changes_the_scores_by_what_it_adds() -> None:
    """Of two classes the log-odds are the difference of the logits: the lane's part of every score is its own share."""
    with_lane, without = build(HAN, 2, ngrams=True), build(HAN, 2, ngrams=False)
    both = explain(with_lane, DOCUMENTS, [1, 1, 1], "gradient")
    alone = explain(without, DOCUMENTS, [1, 1, 1], "gradient")
    for one, scores, of_network in zip(DOCUMENTS, both, alone, strict=True):
        shares = lane_shares(with_lane, one)
        difference = scores.words - SCALES[0] * of_network.words
        np.testing.assert_allclose(difference, shares[:, 1] - shares[:, 0], atol=1e-4)
        assert np.abs(difference).max() > 0.05  # the case is not an empty one


# ---------------------------------------------------------------------------------------------------------------------
# The method contribution

POOLINGS = [("gru", "attention"), ("lstm", "attention"), ("gru", "mean"), ("lstm", "max")]


LANES = [(2, True), (4, True), (4, False)]


@pytest.fixture(scope="module", params=[(*one, *other) for one in POOLINGS for other in LANES])
def attending(request: pytest.FixtureRequest) -> Predictor:
    cell, pooling, classes, ngrams = request.param
    return build(HAN, classes, ngrams, cell=cell, pooling=pooling)


def bias_of(predictor: Predictor) -> np.ndarray:
    """float64 [C], the logits of nothing."""
    model: Any = predictor.model
    if not isinstance(model, NetworkWithNgrams):
        return np.asarray(model.classifier.bias, np.float64)
    return SCALES[0] * np.asarray(model.network.classifier.bias) + SCALES[1] * model.lane.table.bias


def test_shares_of_sentences_and_bias_add_up_to_the_logits(attending: Predictor) -> None:
    """Each logit by itself, which also says that every weighted sum of them adds up."""
    model: Any = attending.model
    network: Any = model.network if isinstance(model, NetworkWithNgrams) else model
    batch = join(DOCUMENTS)
    logits, bias = network(batch).numpy(), network.classifier.bias.numpy()
    for c in range(len(bias)):
        slopes = np.zeros((3, len(bias)), np.float32)
        slopes[:, c] = 1
        attended, _, sentences = network.contributions(batch, lambda _, slopes=slopes: tf.constant(slopes))
        sums = [part.sum() for part in DocumentBorders(batch).cut_sentences(sentences.numpy())]
        np.testing.assert_allclose(np.array(sums) + bias[c], logits[:, c], atol=5e-6)
        np.testing.assert_array_equal(attended.logits.numpy(), logits)


def test_one_pass_gives_the_verdicts_of_the_network(attending: Predictor) -> None:
    found = contributions(attending, DOCUMENTS)
    predicted = attending.logits(DOCUMENTS).argmax(axis=1).tolist()
    again = contributions(attending, DOCUMENTS, predicted)
    for (verdict, words, _), (_, same, _), alone in zip(found, again, attending.score(DOCUMENTS), strict=True):
        for one, other in zip(verdict, alone, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(words, same)


def test_contributions_add_up_to_the_difference_of_log_odds(attending: Predictor) -> None:
    targets = targets_of(attending)
    found = explain(attending, DOCUMENTS, targets, "contribution")
    for scores, logits, target in zip(found, attending.logits(DOCUMENTS), targets, strict=True):
        difference = odds(logits.astype(np.float64), target) - odds(bias_of(attending), target)
        assert scores.signed and scores.sentences.sum() == pytest.approx(difference, abs=1e-5)


def parts_of_words(network: Any, one: EncodedDocument, pooling: str) -> np.ndarray:
    """float64 [N, D], what each sentence's vector receives from each word, from the states of the words."""
    table = tf.gather(network.embeddings.value, one.token_ids)
    row = tf.range(len(one.token_ids))
    states = network.word_encoder(table, tf.constant(one.words_per_sentence), row).numpy().astype(np.float64)
    weights = network.attend(join([one])).word_weights.numpy().astype(np.float64)
    if pooling != "max":
        return weights[:, np.newaxis] * states
    parts = np.zeros_like(states)
    begin = 0
    for length in one.words_per_sentence:
        of_sentence = states[begin : begin + length]
        holders = of_sentence.argmax(axis=0)
        parts[begin + holders, np.arange(states.shape[1])] = of_sentence.max(axis=0)
        begin += length
    return parts


def document_logits(network: Any, vectors: np.ndarray) -> np.ndarray:
    """float64 [C], the logits of a document whose sentences have these vectors, float64 [S, D]."""
    length = tf.constant([len(vectors)], tf.int32)
    encoded = network.sentence_encoder(tf.constant(vectors, tf.float32), length)
    pooled, _ = network.sentence_attention(encoded, length)
    logits: np.ndarray = network.classifier(pooled).numpy()[0].astype(np.float64)
    return logits


def test_a_word_adds_what_its_sentences_vector_receives_from_it(attending: Predictor) -> None:
    """Numerical derivatives: a word's part of its sentence's vector is multiplied by 1 + step and by 1 - step."""
    model: Any = attending.model
    with_lane = isinstance(model, NetworkWithNgrams)
    network: Any = model.network if with_lane else model
    scale = SCALES[0] if with_lane else 1.0
    pooling = next(p for p in ("attention", "mean", "max") if p in type(network.word_attention).__name__.lower())
    targets = targets_of(attending)
    slopes = mean_slopes(bias_of(attending), attending.logits(DOCUMENTS), targets)
    found = contributions(attending, DOCUMENTS, targets)
    for one, slope, (_, words, _) in zip(DOCUMENTS, slopes, found, strict=True):
        parts = parts_of_words(network, one, pooling)
        starts = np.cumsum(one.words_per_sentence) - one.words_per_sentence
        wanted = []
        for word in range(len(words)):
            values = []
            for step in (1e-2, -1e-2):
                changed = parts.copy()
                changed[word] *= 1 + step
                values.append(slope @ document_logits(network, np.add.reduceat(changed, starts)))
            wanted.append((values[0] - values[1]) / 2e-2)
        np.testing.assert_allclose(words, scale * np.array(wanted) + lane_shares(attending, one) @ slope, atol=2e-3)


def test_spread_scores_keep_the_sum_of_each_sentence_and_reach_no_further(attending: Predictor) -> None:
    targets = targets_of(attending)
    found = explain(attending, DOCUMENTS, targets, "neighbours")
    for one, scores, plain in zip(
        DOCUMENTS, found, explain(attending, DOCUMENTS, targets, "contribution"), strict=True
    ):
        starts = np.cumsum(one.words_per_sentence) - one.words_per_sentence
        sums, wanted = (np.add.reduceat(some.words, starts) for some in (scores, plain))
        np.testing.assert_allclose(sums, wanted, atol=1e-9)
        np.testing.assert_array_equal(scores.sentences, plain.sentences)
    single = np.zeros(60)
    single[30] = 1.0
    reached = spread(single, np.array([60]))
    assert np.flatnonzero(reached).tolist() == list(range(22, 39)) and reached.argmax() == 30
    np.testing.assert_allclose(reached[22:39] * 81, [*range(1, 10), *range(8, 0, -1)])
    np.testing.assert_array_equal(spread(single, np.array([30, 1, 29])), single)  # not beyond the sentence


@pytest.mark.parametrize("pooling", ["attention", pytest.param("max", marks=pytest.mark.slow)])
def test_the_padded_path_gives_the_same_contributions(pooling: str) -> None:
    both = (build(HAN, 2, ngrams=True, padded=padded, pooling=pooling) for padded in (False, True))
    compiled, padded = (contributions(one, DOCUMENTS, [0, 1, 1]) for one in both)
    for one, other in zip(compiled, padded, strict=True):
        np.testing.assert_allclose(one[1], other[1], atol=1e-5)
        np.testing.assert_allclose(one[2], other[2], atol=1e-5)


def test_slopes_are_those_of_the_log_odds() -> None:
    bias, logits = np.array([0.3, -1.0, 0.2, 2.0]), np.array([[4.0, -6.0, 3.0, 1.0], [0.3, -1.0, 0.2, 2.0]])
    slopes = mean_slopes(bias, logits, [0, 2])
    assert slopes[0] @ (logits[0] - bias) == pytest.approx(odds(logits[0], 0) - odds(bias, 0), abs=1e-9)
    step = 1e-6 * np.eye(4)  # where both ends are the same the slopes are the gradient
    numerical = (odds(logits[1] + step, 2) - odds(logits[1] - step, 2)) / 2e-6
    np.testing.assert_allclose(slopes[1], numerical, atol=1e-8)
    np.testing.assert_allclose(mean_slopes(np.array([1.0, 2.0]), np.array([[5.0, -3.0]]), [1]), [[-1, 1]])


def test_a_network_without_attention_has_no_contributions() -> None:
    assert "contribution" not in methods_of(build(CNN, 2, ngrams=True))


# ---------------------------------------------------------------------------------------------------------------------
# What the log-odds are made of

TEXT = "Word1 Word7 <br />word2 word2. Quite word3; word1\nword7 word2"


@pytest.mark.parametrize("classes", [2, 4])
def test_the_parts_add_up_to_the_log_odds_and_the_ngrams_are_the_lanes(classes: int) -> None:
    with_lane = build(HAN, classes, ngrams=True)
    read = with_lane.read(TEXT).document
    with_lane = with_table(with_lane, table_of(read, classes))
    for target in range(classes):
        explanation = explain_text(with_lane, TEXT, "contribution", target)
        parts = explanation.parts
        assert parts is not None
        whole = odds(explanation.verdict.logits.astype(np.float64), target)
        assert parts.network + parts.ngrams + parts.bias == pytest.approx(whole, abs=1e-5)
        assert parts.bias == pytest.approx(odds(bias_of(with_lane), target), abs=1e-6)
        assert explanation.scores.sentences.sum() == pytest.approx(parts.network + parts.ngrams, abs=1e-5)
        if classes == 2:  # the log-odds are a difference of logits
            shares = lane_shares(with_lane, read)
            assert parts.ngrams == pytest.approx((shares[:, target] - shares[:, 1 - target]).sum(), abs=1e-5)
        value = json.loads(json.dumps(explanation.to_json()))
        assert value["parts"] == {"network": parts.network, "ngrams": parts.ngrams, "bias": parts.bias}
        shares_shown = [ngram["share"] for ngram in value["ngrams"]]
        assert shares_shown == sorted(shares_shown, key=abs, reverse=True) and 5 < len(shares_shown) <= 10
        for ngram in value["ngrams"]:
            between = TEXT[ngram["start"] : ngram["end"]].replace("<br />", " ")
            assert "".join(between.split()) == ngram["text"].replace(" ", "")


def with_table(predictor: Predictor, table: NgramTable) -> Predictor:
    """The same network beside another table of n-grams."""
    model: Any = predictor.model
    other = NetworkWithNgrams(model.network, NgramLane(table))
    other.scales.assign(SCALES)
    return Predictor(other, predictor.reader, predictor.class_names)


def table_of(one: EncodedDocument, classes: int) -> NgramTable:
    """All n-grams of a document, with random weights."""
    generator = np.random.default_rng(4)
    keys = np.array(sorted({ngram_key(ngram) for ngram in ngrams_of(one)}), np.int64)
    weights = generator.normal(size=(len(keys), classes), scale=2).astype(np.float32)
    idf = generator.uniform(1, 3, len(keys)).astype(np.float32)
    return NgramTable(keys, idf, weights, generator.normal(size=classes).astype(np.float32))


def test_one_ngram_is_listed_where_it_first_occurs_with_all_its_weight() -> None:
    with_lane = build(HAN, 2, ngrams=True)
    first, second = (with_lane.reader.vocabulary.words.index(word) for word in ("word1", "word7"))
    weights = np.array([[0, 0], [0, 3]], np.float32)
    keys = np.array([ngram_key((first,)), ngram_key((first, second))])
    pair = NgramTable(keys, np.array([0, 2], np.float32), weights, np.zeros(2, np.float32))
    explanation = explain_text(with_table(with_lane, pair), TEXT, "gradient", 1)
    assert explanation.parts is not None
    # the only n-gram of the document: its value is 1 however often it occurs
    [ngram] = explanation.parts.strongest
    assert ngram[:4] == ("Word1 Word7", 0, 11, 2) and ngram.share == pytest.approx(3 * SCALES[1])
    assert 'N-grams for it: "Word1 Word7" (2 times) +4.80.' in explanation.parts_in_words()
    assert not any("against" in sentence for sentence in explanation.parts_in_words())


def test_a_run_without_the_lane_says_nothing_of_it() -> None:
    explanation = explain_text(build(HAN, 2, ngrams=False), TEXT, "gradient")
    assert explanation.parts is None and explanation.parts_in_words() == []
    assert not {"parts", "ngrams"} & explanation.to_json().keys()


# ---------------------------------------------------------------------------------------------------------------------
# Faithfulness


def test_leave_one_out_asks_both_parts_again(predictor: Predictor) -> None:
    one = DOCUMENTS[2]
    [scores] = explain(predictor, [one], [1], "leave_one_out")
    whole = scaled_odds(predictor, one, np.ones((1, len(one.token_ids))), 1)[0]
    for word in range(len(one.token_ids)):
        kept = keep_words(one, np.arange(len(one.token_ids)) != word)
        without = scaled_odds(predictor, kept, np.ones((1, len(kept.token_ids))), 1)[0]
        assert scores.words[word] == pytest.approx(whole - without, abs=2e-4)


def test_every_method_is_examined_beside_the_lane(predictor: Predictor) -> None:
    value = to_json(examine(predictor, DOCUMENTS, 1))
    assert {"random", *methods_of(predictor)} <= value["words"].keys() and value["best_method"] in value["words"]
    assert value["completeness"]["largest_relative_error"] < 0.02
    assert ("contribution" in value["words"]) is ("attention" in value["words"]) is predictor.has_attention
