"""The promises that every network of the table makes, and their sizes."""

from __future__ import annotations

import importlib
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from config import NETWORKS, ModelSettings, RangeTestSettings, TrainingSettings, model_title
from han import HAN, POOLINGS
from network.bilstm import BiLSTM
from network.cnn import CNN
from network.contract import Attended, Documents, NetworkArguments
from network.layers import Dropout
from network.recurrent import CELLS, BidirectionalEncoder
from runtime.input_pipeline import BUCKETS, training_batches
from runtime.networks import build_model, weights_by_layer
from runtime.run_folder import RunConfig
from tests.flat_networks import CLASSES, EMBEDDING, SETTINGS, TEXTS, VOCABULARY, batch, model
from training.optimizers import OPTIMIZERS, RowwiseAdam, build_optimizer
from training.schedules import CYCLES, DECAYS, SCALES, Rise, rate_schedule
from training.step import CLASS_WEIGHTS, chosen_class_weights

MODELS = (BiLSTM, CNN)


# ---------------------------------------------------------------------------------------------------------------------
# Tables


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_table_fulfils_the_contract(name: str) -> None:
    module, _, kind = NETWORKS[name].source.partition(":")
    network = getattr(importlib.import_module(module), kind)
    built, documents = model(network), batch(TEXTS)
    attended = built.attend(documents)
    assert isinstance(attended, Attended) and network.attends == NETWORKS[name].attends
    np.testing.assert_array_equal(attended.logits, built(documents))
    np.testing.assert_array_equal(attended.document_vectors, built.document_vectors(documents))
    assert {"embeddings", "classifier/kernel", "classifier/bias"} <= set(built.named_weights())
    for weights, of_documents in (
        (attended.word_weights, documents.token_ids),
        (attended.sentence_weights, documents.words_per_sentence),
    ):
        assert weights.shape == (of_documents.shape if network.attends else (0,))


def test_a_setting_offers_what_its_table_holds() -> None:
    tables: dict[str, Any] = {
        "cell": CELLS,
        "pooling": POOLINGS,
        "optimizer": OPTIMIZERS,
        "decay": DECAYS,
        "bucket_by": BUCKETS,
        "class_weights": CLASS_WEIGHTS,
        "cycle": {"none": None, **CYCLES},
        "lr_scale": SCALES,
    }
    choices = {
        field.name: field.metadata["choices"]
        for kind in (ModelSettings, TrainingSettings, RangeTestSettings)
        for field in fields(kind)
    }
    assert {name: set(choices[name]) for name in tables} == {name: set(table) for name, table in tables.items()}


def test_a_name_that_no_table_knows_is_refused() -> None:
    index = np.zeros(3, [("words", int), ("sentences", int)])
    refusals: dict[str, Any] = {
        f"model 'nonsense' is unknown; choose from {', '.join(NETWORKS)}": lambda: model_title("nonsense", SETTINGS),
        "pooling 'nonsense'": lambda: model(HAN, settings=ModelSettings(pooling="nonsense")),
        "cell 'nonsense'": lambda: BidirectionalEncoder("nonsense", 2, 2, 1),
        "optimizer 'nonsense'": lambda: build_optimizer(TrainingSettings(optimizer="nonsense"), 0.1, None, []),
        "decay 'nonsense'": lambda: rate_schedule(TrainingSettings(decay="nonsense"), 9, 3),
        "cycle 'nonsense'": lambda: rate_schedule(TrainingSettings(cycle="nonsense"), 9, 3),
        "scale 'nonsense'": lambda: Rise(0.1, 1, 9, "nonsense"),
        "bucket_by 'nonsense'": lambda: training_batches(index, 2, 1, 0, bucket_by="nonsense"),
        "class weighting 'nonsense'": lambda: chosen_class_weights(
            TrainingSettings(class_weights="nonsense"), np.array([0, 1]), 2
        ),
    }
    for message, call in refusals.items():
        with pytest.raises(ValueError, match=message):
            call()


# ---------------------------------------------------------------------------------------------------------------------
# Building


@pytest.mark.parametrize("architecture", NETWORKS)
def test_a_network_is_built_with_the_settings_of_its_run(architecture: str) -> None:
    training = TrainingSettings(
        dropout_keep_proba=0.75, word_dropout=0.125, seed=5, freeze_embeddings=True, mixed_precision=True
    )
    vectors = np.random.default_rng(1).normal(size=(VOCABULARY, EMBEDDING)).astype(np.float32)
    config = RunConfig("tiny", architecture, SETTINGS, training, ("a", "b", "c"), VOCABULARY, EMBEDDING, "0")
    built: Any = build_model(config, vectors)
    assert (built.dropout, built.word_dropout) == (0.25, 0.125)
    np.testing.assert_array_equal(built.embeddings, vectors)
    assert not built.embeddings.trainable and built.compute_dtype == "bfloat16"
    assert built(batch(TEXTS)).shape == (len(TEXTS), 3)
    same: Any = build_model(replace(config, training=replace(training, seed=6)), vectors)
    assert np.abs(same.classifier.kernel - built.classifier.kernel).max() > 0


@pytest.mark.parametrize(("network", "sites"), [(BiLSTM, 2), (CNN, 1)])
def test_flat_networks_drop_on_the_document_and_the_bilstm_on_words_too(
    network: Any, sites: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, documents = model(network, dropout=0.5), batch(TEXTS)
    rates: list[float] = []
    erased = -1

    def observed(self: Dropout, values: tf.Tensor, rate: float, row: str) -> tf.Tensor:
        rates.append(rate)
        return tf.zeros_like(values) if len(rates) - 1 == erased else values

    monkeypatch.setattr(Dropout, "__call__", observed)
    seed = tf.constant([1, 2])
    whole = built(documents, training=True, seed=seed).numpy()
    assert rates == [0.5] * sites
    for erased in range(sites):  # noqa: B007 (observed reads it)
        rates.clear()
        assert np.abs(built(documents, training=True, seed=seed).numpy() - whole).max() > 1e-3


# ---------------------------------------------------------------------------------------------------------------------
# Promises


@pytest.mark.parametrize("network", MODELS)
def test_a_document_depends_on_neither_its_batch_mates_nor_their_order_nor_lengths(network: Any) -> None:
    built = model(network)
    together, reordered = built(batch(TEXTS)).numpy(), built(batch(TEXTS[::-1])).numpy()
    crowded = built(batch([TEXTS[1], [[4] * 40] * 9, *TEXTS, [[11]]])).numpy()
    for number, text in enumerate(TEXTS):
        alone = built(batch([text])).numpy()[0]
        for other in (together[number], reordered[-1 - number], crowded[2 + number]):
            np.testing.assert_allclose(other, alone, atol=1e-5)


@pytest.mark.parametrize("network", MODELS)
def test_sentences_are_without_influence_and_the_order_of_words_is_not(network: Any) -> None:
    built = model(network)
    whole, cut, turned = (built(batch([text])).numpy() for text in ([[3, 9, 4, 5]], [[3, 9], [4, 5]], [[9, 3, 4, 5]]))
    np.testing.assert_allclose(whole, cut, atol=1e-6)
    assert np.abs(whole - turned).max() > 1e-3


@pytest.mark.parametrize("network", [HAN, *MODELS])
def test_the_classifier_makes_logits_of_document_vectors(network: Any) -> None:
    built, documents = model(network, dropout=0.5), batch(TEXTS)
    np.testing.assert_allclose(built(documents), built.classifier(built.document_vectors(documents)), atol=1e-6)


@pytest.mark.parametrize("network", MODELS)
def test_dropout_is_a_function_of_its_seed_and_off_in_inference(network: Any) -> None:
    built, documents = model(network, dropout=0.5, word_dropout=0.3), batch(TEXTS)

    def trained(seed: list[int]) -> np.ndarray:
        return built(documents, training=True, seed=tf.constant(seed)).numpy()

    np.testing.assert_array_equal(trained([1, 2]), trained([1, 2]))
    assert np.abs(trained([1, 2]) - trained([1, 3])).max() > 1e-3
    np.testing.assert_array_equal(built(documents), model(network)(documents))


@pytest.mark.parametrize("network", MODELS)
def test_only_the_words_of_the_batch_get_a_gradient(network: Any) -> None:
    built = model(network)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(built(batch(TEXTS))))
    gradient = tape.gradient(loss, built.embeddings.value)
    assert isinstance(gradient, tf.IndexedSlices)
    assert sorted(gradient.indices.numpy()) == sorted({word for text in TEXTS for part in text for word in part})


@pytest.mark.parametrize("network", MODELS)
def test_bfloat16_computes_close_to_float32_with_finite_gradients(network: Any) -> None:
    built, exact = model(network, dtype="mixed_bfloat16"), model(network)
    assert all(weight.dtype == "float32" for weight in built.named_weights().values())
    with tf.GradientTape() as tape:
        logits = built(batch(TEXTS))
        loss = tf.reduce_sum(tf.square(logits))
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, exact(batch(TEXTS)), atol=0.2)
    for gradient in tape.gradient(loss, [w.value for w in built.trainable_variables]):
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()


@pytest.mark.parametrize("network", MODELS)
def test_numbers_that_ran_away_come_out_as_such(network: Any) -> None:
    """The trainer looks at the loss to say so: nothing on the way there or back may fail."""
    built = model(network)
    built.embeddings.assign(np.full((VOCABULARY, EMBEDDING), np.nan))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(built(batch(TEXTS)))
    tape.gradient(loss, [weight.value for weight in built.trainable_variables])
    assert np.isnan(loss)


@pytest.mark.parametrize("network", [HAN, *MODELS])
def test_frozen_word_vectors_are_kept_and_not_trained(network: Any) -> None:
    built = network(NetworkArguments(VOCABULARY, EMBEDDING, CLASSES, SETTINGS, freeze_embeddings=True))
    assert "embeddings" in built.named_weights()
    assert len(built.trainable_variables) == len(built.named_weights()) - 1
    optimizer = RowwiseAdam(0.1)
    optimizer.build(built.trainable_variables)
    assert (VOCABULARY, EMBEDDING) not in {tuple(variable.shape) for variable in optimizer.variables}


@pytest.mark.parametrize("network", MODELS)
def test_a_planted_phrase_is_learnt(network: Any) -> None:
    """Two words side by side, in one order or the other, decide the class; each alone says nothing."""
    generator = np.random.default_rng(0)

    def document() -> tuple[list[list[int]], int]:
        words = generator.integers(5, VOCABULARY, generator.integers(4, 12)).tolist()
        place, label = int(generator.integers(len(words) - 1)), int(generator.integers(2))
        words[place : place + 2] = (2, 3) if label else (3, 2)
        return [words], label

    built = network(
        NetworkArguments(VOCABULARY, 12, 2, ModelSettings(word_units=10, filter_widths="2,3", filters=10), seed=2)
    )
    optimizer = RowwiseAdam(0.03)
    optimizer.build(built.trainable_variables)
    vector = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[Documents(vector, vector, vector), vector], autograph=False)
    def step(documents: Documents, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, built(documents))
            loss = tf.reduce_mean(losses)
        variables = built.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)

    for _ in range(100):
        texts, labels = zip(*(document() for _ in range(48)), strict=True)
        step(batch(list(texts)), tf.constant(labels, tf.int32))
    texts, labels = zip(*(document() for _ in range(200)), strict=True)
    assert (built(batch(list(texts))).numpy().argmax(axis=1) == labels).mean() > 0.95


# ---------------------------------------------------------------------------------------------------------------------
# Sizes


def layers(network: Any, vocabulary: int, settings: ModelSettings) -> dict[str, int]:
    return weights_by_layer(network(NetworkArguments(vocabulary, 100, 2, settings)))


def test_sizes_are_those_of_lstm_han() -> None:
    """github.com/anargyri/lstm_han: 761,202 weights (LSTM) and 942,102 (HAN), as its notebooks print them.

    Its GRUs have one bias per gate; ours, as those of Keras and cuDNN today (``reset_after``), one for the input and
    one for the state: 3 x 100 more in each of the four directions, and everything else is the same to the weight.
    """
    assert layers(BiLSTM, 6000, ModelSettings()) == {"embeddings": 600_000, "encoder": 160_800, "classifier": 402}
    assert sum(layers(BiLSTM, 6000, ModelSettings()).values()) == 761_202
    han = layers(HAN, 6001, ModelSettings(attention_dim=100))
    assert han == {
        "embeddings": 600_100,
        "word_encoder": 120_600 + 600,
        "word_attention": 20_200,
        "sentence_encoder": 180_600 + 600,
        "sentence_attention": 20_200,
        "classifier": 402,
    }
    assert sum(han.values()) == 942_102 + 4 * 300
