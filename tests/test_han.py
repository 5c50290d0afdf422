"""The network against a NumPy forward from the paper's equations, and the promises it makes."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings
from han import HAN, MaxPooling, segment_softmax
from network import kernels
from network.contract import Documents, NetworkArguments
from network.layers import Dropout
from tests.flat_networks import batch

VOCABULARY, EMBEDDING, CLASSES = 31, 7, 3
SETTINGS = {cell: ModelSettings(cell=cell, word_units=4, sentence_units=5, attention_dim=6) for cell in ("gru", "lstm")}
TEXTS = [[[3, 9, 4], [5]], [[8, 8, 2, 30, 11, 7, 12]], [[6, 1], [3, 9, 4], [29, 2, 2, 10], [13]]]


def model(cell: str = "gru", pooling: str = "attention", **arguments: object) -> HAN:
    """A network with large random weights everywhere: biases and context vectors count."""
    settings = replace(SETTINGS[cell], pooling=pooling)
    built = HAN(NetworkArguments(VOCABULARY, EMBEDDING, CLASSES, settings, seed=1, **arguments))  # type: ignore[arg-type]
    generator = np.random.default_rng(11)
    for weight in built.named_weights().values():
        weight.assign(generator.normal(size=weight.shape, scale=0.6))
    return built


# ---------------------------------------------------------------------------------------------------------------------
# The equations in NumPy, one document, one sentence, one word at a time


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def numpy_gru(inputs: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """Equations 1 to 4 with Keras's naming of z: it weighs the old state."""
    state, states, units = np.zeros(len(recurrent)), [], len(recurrent)
    for x in inputs:
        from_input, from_state = x @ kernel + bias[0], state @ recurrent + bias[1]
        z = sigmoid(from_input[:units] + from_state[:units])
        r = sigmoid(from_input[units : 2 * units] + from_state[units : 2 * units])
        candidate = np.tanh(from_input[2 * units :] + r * from_state[2 * units :])
        state = z * state + (1 - z) * candidate
        states.append(state)
    return states


def numpy_lstm(inputs: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    units = len(recurrent)
    output, memory, outputs = np.zeros(units), np.zeros(units), []
    for x in inputs:
        i, f, g, o = np.split(x @ kernel + output @ recurrent + bias, 4)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        output = sigmoid(o) * np.tanh(memory)
        outputs.append(output)
    return outputs


def numpy_encode(inputs: np.ndarray, weights: dict[str, np.ndarray], level: str, cell: str) -> np.ndarray:
    run = {"gru": numpy_gru, "lstm": numpy_lstm}[cell]
    both = []
    for direction in ("left_to_right", "right_to_left"):
        own = [weights[f"{level}_encoder/{direction}/{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
        states = run(inputs if direction == "left_to_right" else inputs[::-1], *own)
        both.append(np.array(states if direction == "left_to_right" else states[::-1]))
    return np.concatenate(both, axis=1)


def numpy_pooling(states: np.ndarray, pooling: str) -> tuple[np.ndarray, np.ndarray]:
    """HN-AVE and HN-MAX; the weights of the maximum count, unit by unit, who holds it."""
    if pooling == "mean":
        return states.mean(axis=0), np.full(len(states), 1 / len(states))
    holders = np.bincount(states.argmax(axis=0), minlength=len(states))
    return states.max(axis=0), holders / states.shape[1]


def numpy_attention(states: np.ndarray, weights: dict[str, np.ndarray], level: str) -> tuple[np.ndarray, np.ndarray]:
    """Equations 5 to 7 (words) and 8 to 10 (sentences)."""
    hidden = np.tanh(states @ weights[f"{level}_attention/kernel"] + weights[f"{level}_attention/bias"])
    scores = np.exp(hidden @ weights[f"{level}_attention/context"])
    attention = scores / scores.sum()
    return attention @ states, attention


def numpy_han(
    text: list[list[int]], weights: dict[str, np.ndarray], cell: str, pooling: str = "attention"
) -> tuple[np.ndarray, list, np.ndarray]:
    def pool(states: np.ndarray, level: str) -> tuple[np.ndarray, np.ndarray]:
        return numpy_attention(states, weights, level) if pooling == "attention" else numpy_pooling(states, pooling)

    vectors: list[np.ndarray] = []
    word_weights: list[float] = []
    for sentence in text:
        states = numpy_encode(weights["embeddings"][sentence], weights, "word", cell)
        vector, attention = pool(states, "word")
        vectors.append(vector)
        word_weights.extend(attention)
    encoded = numpy_encode(np.array(vectors), weights, "sentence", cell)
    vector, sentence_weights = pool(encoded, "sentence")
    return vector @ weights["classifier/kernel"] + weights["classifier/bias"], word_weights, sentence_weights


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_forward_is_that_of_the_equations(cell: str, padded: bool) -> None:
    network = model(cell, padded=padded)
    weights = {name: weight.numpy().astype(np.float64) for name, weight in network.named_weights().items()}
    attended = network.attend(batch(TEXTS))
    expected = [numpy_han(text, weights, cell) for text in TEXTS]
    np.testing.assert_allclose(attended.logits, [logits for logits, _, _ in expected], atol=2e-5)
    np.testing.assert_allclose(attended.word_weights, np.concatenate([words for _, words, _ in expected]), atol=2e-6)
    np.testing.assert_allclose(
        attended.sentence_weights, np.concatenate([weights for *_, weights in expected]), atol=2e-6
    )


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_other_poolings_are_those_of_the_equations(pooling: str) -> None:
    settings = ModelSettings(pooling=pooling, word_units=4, sentence_units=5)
    network = HAN(NetworkArguments(VOCABULARY, EMBEDDING, CLASSES, settings, seed=3))
    weights = {name: weight.numpy().astype(np.float64) for name, weight in network.named_weights().items()}
    assert not any("attention" in name for name in weights)
    attended = network.attend(batch(TEXTS))
    expected = [numpy_han(text, weights, "gru", pooling) for text in TEXTS]
    np.testing.assert_allclose(attended.logits, [logits for logits, _, _ in expected], atol=1e-6)
    np.testing.assert_allclose(attended.word_weights, np.concatenate([words for _, words, _ in expected]), atol=1e-6)
    np.testing.assert_allclose(attended.sentence_weights, np.concatenate([w for *_, w in expected]), atol=1e-6)


def test_equal_elements_share_the_weight_of_the_maximum() -> None:
    elements = tf.constant([[1.0, 5], [1, 2], [0, 5], [7, 7]])
    pooled, weights = MaxPooling()(elements, tf.constant([3, 1]))
    np.testing.assert_allclose(pooled, [[1, 5], [7, 7]])
    np.testing.assert_allclose(weights, [0.5, 0.25, 0.25, 1])


@pytest.mark.parametrize(("cell", "pooling"), [("gru", "attention"), ("lstm", "attention"), ("gru", "max")])
def test_gradient_of_the_whole_network_is_the_numerical_one(cell: str, pooling: str) -> None:
    """Along random directions in all weights at once, the loss changes as the gradient says."""
    network, documents = model(cell, pooling=pooling), batch(TEXTS)
    labels = tf.constant([2, 0, 1])
    variables = [weight.value for weight in network.trainable_variables]

    def loss() -> tf.Tensor:
        logits = network(documents)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    with tf.GradientTape() as tape:
        value = loss()
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(value, variables)]
    start = [variable.numpy() for variable in variables]
    for seed in range(5):
        generator = np.random.default_rng(seed)
        direction = [generator.normal(size=s.shape).astype(np.float32) for s in start]
        losses = []
        for step in (1e-2, -1e-2):
            for variable, s, d in zip(variables, start, direction, strict=True):
                variable.assign(s + step * d)
            losses.append(float(loss()))
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
        assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(slope, rel=0.02, abs=0.01)


# ---------------------------------------------------------------------------------------------------------------------
# Promises


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_document_does_not_depend_on_its_batch_mates(cell: str) -> None:
    network = model(cell)
    together = network.attend(batch(TEXTS))
    reordered = network.attend(batch(TEXTS[::-1]))
    crowded = network.attend(batch([TEXTS[1], [[4] * 40] * 9, *TEXTS]))
    alone = [network.attend(batch([text])) for text in TEXTS]
    for number, single in enumerate(alone):
        np.testing.assert_allclose(together.logits[number], single.logits[0], atol=1e-5)
        np.testing.assert_allclose(reordered.logits[-1 - number], single.logits[0], atol=1e-5)
        np.testing.assert_allclose(crowded.logits[2 + number], single.logits[0], atol=1e-5)
    for values, parts in (
        (together.word_weights, [a.word_weights for a in alone]),
        (together.sentence_weights, [a.sentence_weights for a in alone]),
    ):
        np.testing.assert_allclose(values, np.concatenate(parts), atol=1e-6)


def test_attention_sums_to_one_in_every_segment() -> None:
    documents = batch(TEXTS)
    attended = model().attend(documents)
    for weights, lengths in (
        (attended.word_weights, documents.words_per_sentence),
        (attended.sentence_weights, documents.sentences_per_document),
    ):
        sums = np.add.reduceat(weights.numpy(), np.cumsum(lengths) - lengths)
        np.testing.assert_allclose(sums, 1, atol=1e-6)
        assert (weights.numpy() >= 0).all()


def test_softmax_survives_huge_and_unequal_scores() -> None:
    scores = tf.constant([1e4, 1e4 + 1, -1e4, -1e4], tf.float32)
    weights = segment_softmax(scores, tf.constant([0, 0, 1, 1]))
    np.testing.assert_allclose(weights, [1 / (1 + np.e), np.e / (1 + np.e), 0.5, 0.5], rtol=1e-3)


def test_order_of_words_and_of_sentences_matters() -> None:
    network = model()
    first, words, sentences = (
        network(batch([text])).numpy() for text in ([[3, 9, 4], [5, 6]], [[4, 9, 3], [5, 6]], [[5, 6], [3, 9, 4]])
    )
    assert np.abs(first - words).max() > 1e-3
    assert np.abs(first - sentences).max() > 1e-3


def test_dropout_is_a_function_of_its_seed_and_off_in_inference() -> None:
    network, documents = model(dropout=0.5, word_dropout=0.3), batch(TEXTS)

    def trained(seed: list[int]) -> np.ndarray:
        return network(documents, training=True, seed=tf.constant(seed)).numpy()

    np.testing.assert_array_equal(trained([1, 2]), trained([1, 2]))
    assert np.abs(trained([1, 2]) - trained([1, 3])).max() > 1e-3
    assert np.abs(trained([1, 2]) - trained([2, 2])).max() > 1e-3
    np.testing.assert_array_equal(network(documents), model()(documents))


def test_dropout_acts_on_word_embeddings_sentence_vectors_and_the_document_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, documents = model(dropout=0.5), batch(TEXTS)
    dropped: list[tuple[str, tuple[int, ...], float]] = []
    erased = -1

    def observed(self: Dropout, values: tf.Tensor, rate: float, row: str) -> tf.Tensor:
        dropped.append((row, tuple(values.shape), rate))
        return tf.zeros_like(values) if len(dropped) - 1 == erased else values

    monkeypatch.setattr(Dropout, "__call__", observed)
    seed = tf.constant([1, 2])
    whole = network(documents, training=True, seed=seed).numpy()
    distinct = len({word for text in TEXTS for sentence in text for word in sentence})
    shapes = {"distinct word": (distinct, EMBEDDING), "sentence": (7, 8), "document": (3, 10)}
    assert dropped == [(row, shape, 0.5) for row, shape in shapes.items()]
    for erased in range(3):  # what is dropped is what the next layer reads
        dropped.clear()
        assert np.abs(network(documents, training=True, seed=seed).numpy() - whole).max() > 1e-3, erased


@pytest.mark.parametrize("pooling", ["attention", "max"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_padded_path_never_runs_the_compiled_loops(
    cell: str, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU they would copy every batch to the CPU and back."""
    network = model(cell, pooling, padded=True)
    for name in ("gru_forward", "lstm_forward", "attention_forward"):
        monkeypatch.setattr(kernels, name, lambda *_, **__: pytest.fail("a compiled loop ran"))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(batch(TEXTS)))
    assert tape.gradient(loss, network.classifier.kernel.value) is not None


def test_only_the_words_of_the_batch_get_a_gradient() -> None:
    network, documents = model(), batch(TEXTS)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(network(documents)))
    gradient = tape.gradient(loss, network.embeddings.value)
    assert isinstance(gradient, tf.IndexedSlices)
    rows = gradient.indices.numpy()
    assert sorted(rows) == sorted({word for text in TEXTS for sentence in text for word in sentence})


def test_bfloat16_computes_close_to_float32_with_finite_gradients() -> None:
    network, exact = model(dtype="mixed_bfloat16"), model()
    assert all(weight.dtype == "float32" for weight in network.named_weights().values())
    with tf.GradientTape() as tape:
        logits = network(batch(TEXTS))
        loss = tf.reduce_sum(tf.square(logits))
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, exact(batch(TEXTS)), atol=0.15)
    for gradient in tape.gradient(loss, [w.value for w in network.trainable_variables]):
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()


def test_weights_have_distinct_stable_names() -> None:
    names = model().named_weights()
    assert len(names) == 21 == len(model().trainable_variables)
    assert len({id(weight) for weight in names.values()}) == 21
    assert "word_encoder/right_to_left/recurrent_kernel" in names


def test_a_seed_gives_the_same_initial_weights_for_ever() -> None:
    """Published figures name their seed. Scores of attention begin with a variance of about one (context vectors)."""
    weights = HAN(NetworkArguments(VOCABULARY, EMBEDDING, CLASSES, SETTINGS["gru"], seed=7)).named_weights()
    for level, inputs, units, seed in (("word", EMBEDDING, 4, 7), ("sentence", 8, 5, 27)):
        encoder = keras.initializers.GlorotUniform(seed + 10)((inputs, 3 * units))
        attention = keras.initializers.GlorotUniform(seed + 20)((2 * units, 6))
        context = keras.initializers.RandomUniform(-(0.5**0.5), 0.5**0.5, seed + 21)((6,))  # sqrt(3 / 6)
        np.testing.assert_array_equal(weights[f"{level}_encoder/left_to_right/kernel"], encoder)
        np.testing.assert_array_equal(weights[f"{level}_attention/kernel"], attention)
        np.testing.assert_allclose(weights[f"{level}_attention/context"], context, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
def test_contributions_are_those_of_the_equations_and_add_up(pooling: str) -> None:
    """A sentence adds its part of the pooled vector along the classifier's direction; words add up to no more."""
    network = model(pooling=pooling)
    slopes = np.array([[1.0, 0.5, -2.0]] * len(TEXTS), np.float32)
    attended, of_words, of_sentences = network.contributions(batch(TEXTS), lambda _: tf.constant(slopes))
    weights = {name: weight.numpy() for name, weight in network.named_weights().items()}
    direction = weights["classifier/kernel"] @ slopes[0]
    begin = 0
    for text, logits in zip(TEXTS, attended.logits.numpy(), strict=True):
        _, vectors = zip(*(sentence_of(sentence, weights, pooling) for sentence in text), strict=True)
        encoded = numpy_encode(np.array(vectors), weights, "sentence", "gru")
        if pooling == "attention":
            parts = encoded * numpy_attention(encoded, weights, "sentence")[1][:, np.newaxis]
        else:
            parts = encoded / len(encoded) if pooling == "mean" else np.where(encoded == encoded.max(0), encoded, 0)
        mine = of_sentences.numpy()[begin : begin + len(text)]
        np.testing.assert_allclose(mine, parts @ direction, rtol=1e-4, atol=1e-5)
        assert mine.sum() + slopes[0] @ weights["classifier/bias"] == pytest.approx(logits @ slopes[0], abs=1e-4)
        begin += len(text)
    assert of_words.shape == (sum(len(sentence) for text in TEXTS for sentence in text),)


def sentence_of(sentence: list[int], weights: dict[str, np.ndarray], pooling: str) -> tuple[np.ndarray, np.ndarray]:
    """The states of the words of a sentence, and its vector."""
    states = numpy_encode(weights["embeddings"][sentence], weights, "word", "gru")
    pooled = numpy_attention(states, weights, "word") if pooling == "attention" else numpy_pooling(states, pooling)
    return states, pooled[0]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_attention_finds_a_planted_cause(cell: str) -> None:
    """One word in one sentence decides the class; after training its sentence gets the most attention."""
    from training.optimizers import RowwiseAdam

    generator = np.random.default_rng(0)

    def document() -> tuple[list[list[int]], int, int]:
        text = [generator.integers(5, VOCABULARY, generator.integers(3, 8)).tolist() for _ in range(6)]
        place, label = int(generator.integers(6)), int(generator.integers(2))
        text[place][int(generator.integers(len(text[place])))] = 2 + label
        return text, label, place

    settings = ModelSettings(cell=cell, word_units=8, sentence_units=6, attention_dim=10)
    network = HAN(NetworkArguments(VOCABULARY, 12, 2, settings, seed=2))
    optimizer = RowwiseAdam(0.02)
    optimizer.build(network.trainable_variables)
    vector = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[Documents(vector, vector, vector), vector], autograph=False)
    def step(documents: Documents, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network(documents))
            loss = tf.reduce_mean(losses)
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)

    for _ in range(100):
        texts, labels, _ = zip(*(document() for _ in range(48)), strict=True)
        step(batch(list(texts)), tf.constant(labels, tf.int32))
    texts, labels, places = zip(*(document() for _ in range(200)), strict=True)
    attended = network.attend(batch(list(texts)))
    assert (attended.logits.numpy().argmax(axis=1) == labels).mean() > 0.95
    top = attended.sentence_weights.numpy().reshape(200, 6).argmax(axis=1)
    assert (top == places).mean() > 0.5  # three times chance, which is 1/6
