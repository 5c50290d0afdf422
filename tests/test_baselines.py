"""The flat networks against keras.layers with the same weights, and the promises that every model makes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from han import HAN
from network.bilstm import BiLSTM
from network.cnn import CNN, with_borders
from network.contract import NetworkArguments
from network.layers import Documents, words_per_document
from training.optimizers import RowwiseAdam

VOCABULARY, EMBEDDING, CLASSES, UNITS, FILTERS, WIDTHS = 31, 7, 3, 5, 6, (2, 3, 5)
SETTINGS = ModelSettings(word_units=UNITS, filter_widths="2,3,5", filters=FILTERS)
# A document of one word is shorter than every window; one holds the same words twice: windows that tie.
TEXTS = [[[3, 9, 4], [5]], [[8]], [[6, 1], [3, 9, 4], [29, 2, 2, 10], [13]], [[3, 9, 4, 7, 12], [3, 9, 4, 7, 12]]]
MODELS = (BiLSTM, CNN)


def batch(texts: list[list[list[int]]]) -> Documents:
    sentences = [sentence for text in texts for sentence in text]
    vectors = (
        [word for sentence in sentences for word in sentence],
        [len(sentence) for sentence in sentences],
        [len(text) for text in texts],
    )
    return Documents(*(tf.constant(vector, tf.int32) for vector in vectors))


def model(network: Any, **arguments: object) -> Any:
    """A network with large random weights everywhere, biases too."""
    built = network(NetworkArguments(VOCABULARY, EMBEDDING, CLASSES, SETTINGS, seed=1, **arguments))  # type: ignore[arg-type]
    generator = np.random.default_rng(11)
    for weight in built.named_weights().values():
        weight.assign(generator.normal(size=weight.shape, scale=0.6))
    return built


# ---------------------------------------------------------------------------------------------------------------------
# keras.layers, one document at a time: nothing can leak from one into another


def stock_bilstm(weights: dict[str, Any]) -> Any:
    layer = keras.layers.Bidirectional(keras.layers.LSTM(UNITS))
    layer.build((None, None, EMBEDDING))
    names = [f"encoder/{way}/{kind}" for way in ("left_to_right", "right_to_left")
             for kind in ("kernel", "recurrent_kernel", "bias")]  # fmt: skip
    for variable, name in zip(layer.trainable_variables, names, strict=True):
        variable.assign(weights[name])
    return names, layer.trainable_variables, layer


def stock_cnn(weights: dict[str, Any]) -> Any:
    layers, names, variables = [], [], []
    for width in WIDTHS:
        layer = keras.layers.Conv1D(FILTERS, width, activation="relu")
        layer.build((None, None, EMBEDDING))
        for variable, kind in zip(layer.trainable_variables, ("kernel", "bias"), strict=True):
            names.append(f"convolution_{width}/{kind}")
            variable.assign(weights[names[-1]])
            variables.append(variable)
        layers.append(layer)

    def features(words: tf.Tensor) -> tf.Tensor:
        pooled = []
        for width, layer in zip(WIDTHS, layers, strict=True):
            padded = tf.pad(words, [[0, 0], [width - 1, width - 1], [0, 0]])
            pooled.append(keras.layers.GlobalMaxPooling1D()(layer(padded)))
        return tf.concat(pooled, axis=1)

    return names, variables, features


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("network", "stock"), [(BiLSTM, stock_bilstm), (CNN, stock_cnn)])
def test_values_and_gradients_are_those_of_keras_layers(network: Any, stock: Any, padded: bool) -> None:
    built = model(network, padded=padded)
    weights = built.named_weights()
    names, variables, features = stock(weights)
    table = tf.Variable(weights["embeddings"].value)
    kernel, bias = tf.Variable(weights["classifier/kernel"].value), tf.Variable(weights["classifier/bias"].value)
    upstream = tf.constant(np.random.default_rng(3).normal(size=(len(TEXTS), CLASSES)).astype(np.float32))

    with tf.GradientTape() as tape:
        logits = built(batch(TEXTS))
        loss = tf.reduce_sum(logits * upstream)
    ours = tape.gradient(loss, {name: weight.value for name, weight in weights.items()})
    with tf.GradientTape() as tape:
        words = [tf.gather(table, [[word for sentence in text for word in sentence]]) for text in TEXTS]
        expected = tf.concat([tf.matmul(features(document), kernel) + bias for document in words], axis=0)
        loss = tf.reduce_sum(expected * upstream)
    theirs = tape.gradient(loss, [table, kernel, bias, *(variable.value for variable in variables)])

    np.testing.assert_allclose(logits, expected, atol=1e-5)
    for name, gradient in zip(["embeddings", "classifier/kernel", "classifier/bias", *names], theirs, strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(ours[name]), tf.convert_to_tensor(gradient), atol=2e-5, err_msg=name
        )
    assert len(weights) == len(theirs) == len(built.trainable_variables)


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


def test_borders_stand_before_between_and_behind_documents() -> None:
    rows = with_borders(tf.constant([4, 5, 6, 7]), tf.constant([3, 1]), 2, tf.constant(9))
    np.testing.assert_array_equal(rows, [9, 9, 4, 5, 6, 9, 9, 7, 9, 9])
    np.testing.assert_array_equal(words_per_document(batch(TEXTS)), [4, 1, 10, 10])


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
    from runtime.networks import weights_by_layer

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


def test_sizes_of_the_cnn_are_those_of_kim() -> None:
    """Kim (2014), section 3.1: windows of 3, 4, 5 with 100 feature maps each."""
    assert layers(CNN, 6000, ModelSettings()) == {
        "embeddings": 600_000,
        "convolution_3": 3 * 100 * 100 + 100,
        "convolution_4": 4 * 100 * 100 + 100,
        "convolution_5": 5 * 100 * 100 + 100,
        "classifier": 2 * 300 + 2,
    }
