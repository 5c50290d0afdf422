"""Every method against something computed in another way: differences, sums, texts scored one at a time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from data_processing import TextProcessor, Vocabulary
from explaining import gradients
from explaining.explained_text import explain_text
from explaining.explanations import (
    METHODS,
    SCALE,
    Scores,
    explain,
    integrate,
    integrated_gradients,
    methods_of,
    score_and_explain,
    shades,
)
from explaining.gradients import gradient_products, logits_from_vectors
from explaining.leaving_out import keep_words
from explaining.log_odds import log_odds
from han import HAN
from network.contract import Attended, Documents, NetworkArguments
from network.layers import unattended
from runtime.documents import join
from runtime.predictor import Predictor
from text.text_reader import EMPTY, EncodedDocument, TextReader

WORDS = [f"word{n}" for n in range(29)]
NAMES = ("one", "two", "three")


class MeanOfWords(keras.Model):
    """No attention, no sentences: tanh of the mean word vector, into a Dense layer. ``<pad>`` fills up to 5 words."""

    attends = False

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = self.add_weight((31, 7), "zeros", name="embeddings", autocast=False)
        self.classifier = keras.layers.Dense(3)
        self.classifier.build((None, 7))
        self.built = True

    def call(self, documents: Documents, training: bool = False, seed: Any = None) -> Any:
        return self.classifier(self.document_vectors(documents))

    def attend(self, documents: Documents, training: bool = False, seed: Any = None) -> Attended:
        return unattended(self(documents), self.document_vectors(documents))

    def document_vectors(self, documents: Documents) -> Any:
        document = tf.repeat(tf.range(tf.size(documents.sentences_per_document)), documents.sentences_per_document)
        segment = tf.repeat(document, documents.words_per_sentence)
        rows = tf.gather(self.embeddings, documents.token_ids)
        padded = tf.math.segment_mean(rows, segment) + self.embeddings.value[0]
        return tf.tanh(padded)


@pytest.fixture(scope="module", params=["gru", "lstm", "mean"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    if request.param == "mean":
        model: Any = MeanOfWords()
        weights = model.weights
    else:
        settings = ModelSettings(cell=request.param, word_units=4, sentence_units=5, attention_dim=6)
        model = HAN(NetworkArguments(31, 7, 3, settings, dropout=0.5, word_dropout=0.5, seed=1))
        weights = list(model.named_weights().values())
    generator = np.random.default_rng(3)
    for weight in weights:
        weight.assign(generator.normal(size=weight.shape, scale=0.6))
    return Predictor(model, TextReader(TextProcessor(), Vocabulary(["<pad>", "<unk>", *WORDS])), NAMES)


def document(*sentences: list[int]) -> EncodedDocument:
    return EncodedDocument(
        np.array([word for sentence in sentences for word in sentence], np.int32),
        np.array([len(sentence) for sentence in sentences], np.int32),
    )


DOCUMENTS = [
    document([3, 9, 4], [5]),
    document([8, 8, 2, 30, 11, 7, 12]),
    document([6, 1], [3, 9, 4], [29, 2, 2, 10], [13]),
]
TARGETS = [2, 0, 1]


def scored_alone(predictor: Predictor, one: EncodedDocument, target: int) -> float:
    """Log-odds in NumPy from the network called directly, on this document alone."""
    logits = predictor.model(join([one])).numpy()[0].astype(np.float64)
    probability = np.exp(logits[target]) / np.exp(logits).sum()
    return float(np.log(probability / (1 - probability)))


def test_log_odds_are_those_of_the_probability_and_exact_where_it_is_nearly_one() -> None:
    logits = np.array([[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0]])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        log_odds(logits, [1, 0]), [np.log(p[0, 1] / (1 - p[0, 1])), np.log(p[1, 0] / (1 - p[1, 0]))]
    )
    np.testing.assert_allclose(log_odds(np.array([[60.0, -40.0]], np.float32), [0]), [100.0])


def test_deleted_words_take_empty_sentences_with_them() -> None:
    one = DOCUMENTS[2]
    kept = keep_words(one, np.array([0, 1, 0, 0, 0, 1, 0, 1, 0, 1], bool))
    assert kept.token_ids.tolist() == [1, 29, 2, 13] and kept.words_per_sentence.tolist() == [1, 2, 1]
    assert keep_words(one, np.zeros(10, bool)) is EMPTY
    assert kept.words_per_sentence.dtype == np.int32


@pytest.mark.parametrize(("method", "scale"), [("gradient", 1.0), ("scaled_gradient", SCALE)])
def test_gradient_times_input_is_the_numerical_derivative_of_scaling_a_word(
    predictor: Predictor, method: str, scale: float
) -> None:
    """d log-odds / d s of the text with one word's vector times s, at s = the scale of all, by central differences."""
    for one, target, scores in zip(DOCUMENTS, TARGETS, explain(predictor, DOCUMENTS, TARGETS, method), strict=True):
        found, words = scores.words, len(one.token_ids)
        factors = np.concatenate([scale + step * np.eye(words) for step in (1e-2, -1e-2)])  # [2 N, N], a text a row
        table = predictor.model.embeddings.numpy()[one.token_ids]
        vectors = tf.constant((factors[:, :, np.newaxis] * table).reshape(-1, 7), tf.float32)
        logits = logits_from_vectors(predictor.model, join([one] * len(factors)), vectors).numpy()
        ahead, behind = np.split(log_odds(logits, np.full(len(factors), target)), 2)
        np.testing.assert_allclose(found, (ahead - behind) / 2e-2, atol=2e-3)


def test_the_vectors_of_the_table_give_the_models_own_logits(predictor: Predictor) -> None:
    batch = join(DOCUMENTS)
    vectors = tf.gather(predictor.model.embeddings.value, batch.token_ids)
    given = logits_from_vectors(predictor.model, batch, vectors)
    np.testing.assert_allclose(given, predictor.model(batch), atol=1e-6)


def test_integrated_gradients_are_complete_and_say_how_nearly(predictor: Predictor) -> None:
    found = integrated_gradients(predictor, DOCUMENTS, [], TARGETS, tolerance=1e-3)
    for one, target, scores in zip(DOCUMENTS, TARGETS, found, strict=True):
        nothing = logits_from_vectors(predictor.model, join([one]), tf.zeros([len(one.token_ids), 7])).numpy()
        wanted = scored_alone(predictor, one, target) - log_odds(nothing, [target])[0]
        assert scores.words.sum() == pytest.approx(wanted, abs=2e-3 * max(1, abs(wanted)))
        assert scores.sentences.sum() == pytest.approx(scores.words.sum())
        reached, told, steps = scores.completeness  # type: ignore[misc]
        assert reached == pytest.approx(scores.words.sum()) and told == pytest.approx(wanted, abs=1e-4) and steps >= 16
    one_step = integrate(predictor, DOCUMENTS[2], 1, 1)  # too few steps miss, and do not hide it
    assert abs(one_step.completeness[0] - one_step.completeness[1]) > 1e-3  # type: ignore[index]


def test_leave_one_out_is_the_edited_text_scored_alone(predictor: Predictor) -> None:
    sentences = [[6, 1], [3, 9, 4], [29, 2, 2, 10], [13]]
    [scores] = explain(predictor, [document(*sentences)], [1], "leave_one_out")
    whole = scored_alone(predictor, document(*sentences), 1)
    by_word = []
    for number, sentence in enumerate(sentences):
        for word in range(len(sentence)):
            left = [*sentences[:number], sentence[:word] + sentence[word + 1 :], *sentences[number + 1 :]]
            by_word.append(whole - scored_alone(predictor, document(*(one for one in left if one)), 1))
    by_sentence = [whole - scored_alone(predictor, document(*sentences[:n], *sentences[n + 1 :]), 1) for n in range(4)]
    np.testing.assert_allclose(scores.words, by_word, atol=1e-4)
    np.testing.assert_allclose(scores.sentences, by_sentence, atol=1e-4)


def test_leaving_out_the_only_word_leaves_an_unknown_one(predictor: Predictor) -> None:
    [scores] = explain(predictor, [document([5])], [0], "leave_one_out")
    lost = scored_alone(predictor, document([5]), 0) - scored_alone(predictor, document([1]), 0)
    np.testing.assert_allclose(scores.words, [lost], atol=1e-5)
    np.testing.assert_allclose(scores.sentences, [lost], atol=1e-5)


def test_attention_ranks_by_the_product_of_weights_and_is_shaded_as_the_paper_shows_it(predictor: Predictor) -> None:
    if not predictor.has_attention:
        with pytest.raises(ValueError, match="unknown method 'attention'"):
            explain(predictor, DOCUMENTS, TARGETS, "attention")
        return
    for one, scores in zip(DOCUMENTS, explain(predictor, DOCUMENTS, TARGETS, "attention"), strict=True):
        attended = predictor.model.attend(join([one]))
        sentence = np.repeat(np.arange(len(one.words_per_sentence)), one.words_per_sentence)
        of_sentence, of_word = attended.sentence_weights.numpy()[sentence], attended.word_weights.numpy()
        np.testing.assert_allclose(scores.words, of_sentence * of_word, atol=1e-6)
        assert scores.words.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(shades(scores, one.words_per_sentence), np.sqrt(of_sentence) * of_word, atol=1e-6)
        np.testing.assert_allclose(scores.sentences, attended.sentence_weights, atol=1e-6)
        assert not scores.signed


def test_shades_are_scores_where_a_method_has_signs_and_nothing_without_weight() -> None:
    words = np.array([0.5, -2.0, 0.25])
    assert shades(Scores(words, np.array([-1.5, 0.25]), signed=True), np.array([2, 1])) is words
    attended = Scores(np.array([0.5, 0.5, 0.0]), np.array([1.0, 0.0]), signed=False)
    assert shades(attended, np.array([2, 1])).tolist() == [0.5, 0.5, 0]  # a sentence that is left out has no weight


def test_an_explained_text_carries_the_places_of_what_was_written(predictor: Predictor) -> None:
    text = "Word3 <br />WORD7, word9.\n\nQuite unknown! Word3 word12."
    explanation = explain_text(predictor, text, "gradient")
    value = json.loads(json.dumps(explanation.to_json()))
    words = [word for sentence in value["sentences"] for word in sentence["words"]]
    assert [text[word["start"] : word["end"]] for word in words] == [word["word"] for word in words]
    known = [word["word"] for word in words if word["word"].lower().startswith("word")]
    assert known == ["Word3", "WORD7", "word9", "Word3", "word12"]
    assert value["prediction"] == value["explained_class"] == NAMES[explanation.target]
    assert sum(value["probabilities"].values()) == pytest.approx(1)
    assert explain_text(predictor, text, "gradient", target=1).target == 1
    with pytest.raises(ValueError, match="no word"):
        explain_text(predictor, " <br /> ", "gradient")


def test_scores_come_in_the_order_of_the_documents_whatever_their_batches(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [DOCUMENTS[number % 3] for number in range(7)]
    alone = [predictor.score([one])[0] for one in DOCUMENTS]
    monkeypatch.setattr(gradients, "GRADIENT_WORDS", 12)
    products = gradient_products(predictor, many, np.ones(7), [TARGETS[n % 3] for n in range(7)])[1]
    for number, verdict in enumerate(predictor.score(many)):
        np.testing.assert_allclose(verdict.probabilities, alone[number % 3].probabilities, atol=1e-6)
        np.testing.assert_allclose(products[number], products[number % 3], atol=1e-5)
        other = alone[number % 3].word_weights
        if verdict.word_weights is not None and other is not None:
            np.testing.assert_allclose(verdict.word_weights, other, atol=1e-6)


def test_the_price_of_a_method_is_the_number_of_texts_that_it_reads(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(function: Any, place: int, price: int) -> Any:
        def call(*arguments: Any) -> Any:
            documents = [list(one) if number == place else one for number, one in enumerate(arguments)]
            read.append(price * len(documents[place]))
            return function(*documents)

        return call

    backward = 3  # a pass back costs about two forward
    monkeypatch.setattr(predictor, "score", counted(predictor.score, 0, 1))
    monkeypatch.setattr(predictor, "logits", counted(predictor.logits, 0, 1))
    monkeypatch.setattr(gradients, "contributions", counted(gradients.contributions, 1, 1))
    monkeypatch.setattr(gradients, "gradient_products", counted(gradients.gradient_products, 1, backward))
    one = document([2, 3, 4], [5, 6])
    for method in methods_of(predictor):
        read.clear()
        verdict, _ = score_and_explain(predictor, [one], None, method)[0]
        with_verdict = METHODS[method].scored is not None
        assert sum(read) == METHODS[method].passes(one) + (not with_verdict), method
        np.testing.assert_allclose(verdict.probabilities, predictor.score([one])[0].probabilities, rtol=1e-5)


def test_threads_get_what_one_alone_gets(predictor: Predictor) -> None:
    texts = [" ".join(WORDS[number : number + 9]) + ". " + WORDS[number] for number in range(12)]

    def ask(text: str) -> Any:
        return explain_text(predictor, text, "gradient").to_json()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, texts)) == [ask(text) for text in texts]
