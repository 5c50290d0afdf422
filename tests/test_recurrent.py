"""The encoder against stock Keras: outputs and gradients of both its paths; what reaches cuDNN."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from network import kernels
from network.recurrent import BidirectionalEncoder
from utils import UserError

LENGTHS = [3, 5, 1, 7, 2, 7]  # every size in this file differs from every other, so a swapped axis cannot pass
INPUTS, UNITS = 9, 4


def lengths() -> tf.Tensor:
    return tf.constant(LENGTHS, tf.int32)


def elements(rng: np.random.Generator) -> tf.Tensor:
    return tf.constant(rng.normal(size=(sum(LENGTHS), INPUTS)), tf.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def randomised(cell: str, seed: int = 3, **arguments: object) -> BidirectionalEncoder:
    """An encoder whose biases are not zero, so that a forgotten bias shows."""
    encoder = BidirectionalEncoder(cell, UNITS, INPUTS, seed, **arguments)  # type: ignore[arg-type]
    generator = np.random.default_rng(seed)
    for weight in encoder.weights:
        weight.assign(generator.normal(size=weight.shape, scale=0.5))
    return encoder


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_outputs_are_those_of_keras_layers_one_sequence_at_a_time(
    cell: str, padded: bool, rng: np.random.Generator
) -> None:
    encoder, inputs = randomised(cell, padded=padded, groups=3), elements(rng)
    encoder.step_rows = 0.0  # as many groups as there can be
    outputs = encoder(inputs, lengths())
    for sequence, got in zip(tf.split(inputs, LENGTHS), tf.split(outputs, LENGTHS), strict=True):
        ahead = encoder.left_to_right(sequence[tf.newaxis])[0]
        reverse = encoder.right_to_left(sequence[tf.newaxis, ::-1])[0][::-1]
        np.testing.assert_allclose(got, tf.concat([ahead, reverse], axis=1), atol=2e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_what_the_forward_pass_kept_is_used_once_and_then_computed_again(
    cell: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a graph TensorFlow passes the memory of the forward pass on to the gradient, which writes over it."""
    calls, forward = [], getattr(kernels, f"{cell}_forward")

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(cell)
        return forward(*arguments, **named)

    monkeypatch.setattr(kernels, f"{cell}_forward", counted)
    encoder, inputs = randomised(cell), elements(rng)

    @tf.function(autograph=False)
    def gradients(inputs: Any) -> Any:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.square(encoder(inputs, lengths(), keep=True)))
        first = tape.gradient(loss, inputs)
        with tf.control_dependencies([first]):
            return first, tape.gradient(loss, inputs)

    gradients(inputs)
    calls.clear()
    first, second = gradients(inputs)
    np.testing.assert_array_equal(first, second)
    assert len(calls) == 2  # the forward pass, and once again for the second gradient


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_are_those_of_keras_layers(cell: str, rng: np.random.Generator) -> None:
    inputs, upstream = elements(rng), tf.constant(rng.normal(size=(sum(LENGTHS), 2 * UNITS)), tf.float32)
    gradients = []
    for padded in (False, True):
        encoder = randomised(cell, padded=padded, groups=2)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(encoder(inputs, lengths()) * upstream)
        found = tape.gradient(loss, [inputs, *(w.value for w in encoder.trainable_weights)])
        gradients.append([tf.convert_to_tensor(gradient) for gradient in found])
    assert len(gradients[0]) == 7
    for packed, stock in zip(*gradients, strict=True):
        np.testing.assert_allclose(packed, stock, atol=2e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_distinct_rows_change_nothing_but_the_work(cell: str, rng: np.random.Generator) -> None:
    encoder, table = randomised(cell), tf.constant(rng.normal(size=(6, INPUTS)), tf.float32)
    row = tf.constant(np.concatenate([np.arange(6), rng.integers(0, 6, sum(LENGTHS) - 6)]), tf.int32)
    results = []
    for shared in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(table)
            inputs = (table, lengths(), row) if shared else (tf.gather(table, row), lengths())
            outputs = encoder(*inputs)
            loss = tf.reduce_sum(tf.square(outputs))
        results.append((outputs, tf.convert_to_tensor(tape.gradient(loss, table))))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-4)


@pytest.mark.parametrize("compiled_graph", [False, True])
def test_a_gradient_that_comes_as_slices_is_taken(compiled_graph: bool, rng: np.random.Generator) -> None:
    """Whoever gathers a few of the states sends a ``tf.IndexedSlices`` back."""
    encoder, inputs = randomised("gru"), elements(rng)

    def gradient(use_slices: bool) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            states = encoder(inputs, lengths())
            last = tf.gather(states, [2, 7]) if use_slices else tf.stack([states[2], states[7]])
            loss = tf.reduce_sum(tf.square(last))
        return tape.gradient(loss, inputs)

    run = tf.function(gradient, autograph=False) if compiled_graph else gradient
    np.testing.assert_allclose(run(True), run(False), atol=1e-6)


GROUPED = {
    "of all lengths": LENGTHS,
    "one row": [6],
    "all of one length": [3, 3, 3, 3],
    "all of one element": [1, 1, 1, 1, 1],
}


def padded_run(
    cell: str, groups: int, lengths: list[int], inputs: tf.Tensor, dtype: str = "float32"
) -> tuple[tf.Tensor, list[tf.Tensor], list[int]]:
    """Outputs, gradients of inputs and weights, and the rows of every rectangle that a layer read."""
    encoder, rows = randomised(cell, padded=True, groups=groups, dtype=dtype), []
    encoder.step_rows = 0.0
    original = encoder.left_to_right.call

    def observed(sequences: tf.Tensor, *, mask: tf.Tensor, **more: Any) -> Any:
        rows.append(int(mask.shape[0]))
        return original(sequences, mask=mask, **more)

    encoder.left_to_right.call = observed
    upstream = tf.constant(np.random.default_rng(8).normal(size=(sum(lengths), 2 * UNITS)), encoder.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = encoder(inputs, tf.constant(lengths, tf.int32))
        loss = tf.reduce_sum(outputs * upstream)
    gradients = tape.gradient(loss, [inputs, *(w.value for w in encoder.trainable_weights)])
    return outputs, [tf.cast(tf.convert_to_tensor(one), tf.float32) for one in gradients], rows


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("kind", GROUPED)
def test_groups_of_similar_length_change_nothing_but_the_padding(
    kind: str, cell: str, rng: np.random.Generator
) -> None:
    """Against one group, and against the compiled loops, which know no padding; in the order of the rows."""
    sizes = GROUPED[kind]
    inputs = tf.constant(rng.normal(size=(sum(sizes), INPUTS)), tf.float32)
    outputs, gradients, rows = padded_run(cell, 3, sizes, inputs)
    alone, gradients_alone, row = padded_run(cell, 1, sizes, inputs)
    assert row == [len(sizes)]
    assert rows == ([1, 2, 3] if kind == "of all lengths" else [1, 1, len(sizes)])
    compiled = randomised(cell)(inputs, tf.constant(sizes, tf.int32))
    for other in (alone, compiled):
        np.testing.assert_allclose(outputs, other, atol=1e-6)
    for one, other in zip(gradients, gradients_alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_groups_change_bfloat16_by_its_rounding_alone(cell: str, rng: np.random.Generator) -> None:
    inputs = elements(rng)
    outputs, gradients, rows = padded_run(cell, 3, LENGTHS, inputs, "mixed_bfloat16")
    alone, gradients_alone, _ = padded_run(cell, 1, LENGTHS, inputs, "mixed_bfloat16")
    assert outputs.dtype == tf.bfloat16 and len(rows) == 3
    for one, other in zip([outputs, *gradients], [alone, *gradients_alone], strict=True):
        one, other = (np.asarray(tf.cast(value, tf.float32)) for value in (one, other))
        assert np.linalg.norm(one - other) < 0.01 * np.linalg.norm(other)


def test_padded_path_masks_on_the_right_and_never_a_whole_row(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cuDNN demands, checked on what reaches ``keras.layers``: a CPU would run other masks silently."""
    encoder = randomised("gru", padded=True)
    seen: list[np.ndarray] = []
    for layer in (encoder.left_to_right, encoder.right_to_left):
        original = layer.call
        monkeypatch.setattr(
            layer,
            "call",
            lambda *inputs, mask, original=original, **more: (
                seen.append(mask.numpy()),  # type: ignore[func-returns-value]
                original(*inputs, mask=mask, **more),
            )[1],
        )
    encoder(elements(rng), lengths())
    assert len(seen) == 2
    for mask in seen:
        np.testing.assert_array_equal(mask, np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, np.newaxis])
        assert mask.any(axis=1).all()


def test_padding_is_zeros_and_not_the_words_of_a_neighbour(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, inputs = randomised("gru", padded=True), elements(rng)
    seen: dict[str, np.ndarray] = {}
    for layer in (encoder.left_to_right, encoder.right_to_left):
        original = layer.call
        monkeypatch.setattr(
            layer,
            "call",
            lambda sequences, *, mask, layer=layer, original=original, **more: (
                seen.setdefault(layer.name, sequences.numpy()),
                original(sequences, mask=mask, **more),
            )[1],
        )
    encoder(inputs, lengths())
    for name, step in (("left_to_right", 1), ("right_to_left", -1)):
        for padded, sequence in zip(seen[name], np.split(inputs.numpy(), np.cumsum(LENGTHS)[:-1]), strict=True):
            np.testing.assert_array_equal(padded[: len(sequence)], sequence[::step])
            assert not padded[len(sequence) :].any()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_with_a_gpu_keras_is_told_to_use_cudnn_or_to_fail(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {layer.use_cudnn for layer in layers_of(randomised(cell, padded=True))} == {"auto"}
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    assert {layer.use_cudnn for layer in layers_of(BidirectionalEncoder(cell, UNITS, INPUTS, 3, padded=True))} == {True}
    assert {layer.use_cudnn for layer in layers_of(BidirectionalEncoder(cell, UNITS, INPUTS, 3))} == {"auto"}


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, types: list[Any], capability: tuple[int, int]) -> None:
    """A GPU in the lists of TensorFlow, with kernels of cuDNN for some types."""
    from tensorflow.core.framework import kernel_def_pb2
    from tensorflow.python.framework import kernels

    known = kernel_def_pb2.KernelList()
    for one in types:
        constraint = known.kernel.add(device_type="GPU").constraint.add(name="T")
        constraint.allowed_values.list.type.append(one.as_datatype_enum)
    monkeypatch.setattr(kernels, "get_registered_kernels_for_op", lambda operation: known)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["GPU:0"])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU:0"])
    details = {"device_name": "Card 7", "compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)


def bfloat16_encoder() -> BidirectionalEncoder:
    return BidirectionalEncoder("gru", UNITS, INPUTS, 3, padded=True, dtype="mixed_bfloat16")


def test_bfloat16_is_refused_in_one_line_where_cudnn_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch, [tf.float32, tf.bfloat16], (8, 0))
    assert bfloat16_encoder().compute_dtype == "bfloat16"
    pretend_gpu(monkeypatch, [tf.float32, tf.bfloat16], (7, 5))
    with pytest.raises(UserError, match=r"Card 7 has compute capability 7\.5.*needs 8\.0.*--device cpu"):
        bfloat16_encoder()
    pretend_gpu(monkeypatch, [tf.float32, tf.float16], (9, 0))
    with pytest.raises(UserError, match=r"no kernel of CudnnRNNV3 for bfloat16.*without --mixed_precision"):
        bfloat16_encoder()
    BidirectionalEncoder("gru", UNITS, INPUTS, 3, padded=True)  # float32 is as before


def layers_of(encoder: BidirectionalEncoder) -> list[keras.layers.Layer]:
    return [encoder.left_to_right, encoder.right_to_left]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_padded_graph_leaves_no_work_to_python(cell: str, rng: np.random.Generator) -> None:
    """A ``PyFunc`` would run on the host: a GPU would wait for it at every step."""
    spec = [tf.TensorSpec([None, INPUTS], tf.float32), tf.TensorSpec([None], tf.int32)]

    def operations(padded: bool) -> set[str]:
        encoder = randomised(cell, padded=padded, groups=1 + (cell == "gru"))

        def gradient(inputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = tf.reduce_sum(encoder(inputs, lengths, keep=True))
            return tape.gradient(loss, inputs)

        graph = (
            tf.function(gradient, input_signature=spec, autograph=False).get_concrete_function().graph.as_graph_def()
        )
        inner = [node.op for function in graph.library.function for node in function.node_def]
        return {node.op for node in graph.node} | set(inner)

    assert not {name for name in operations(padded=True) if "PyFunc" in name}
    assert {name for name in operations(padded=False) if "PyFunc" in name}  # and these are the compiled loops


def test_initial_weights_depend_on_the_seed_alone() -> None:
    keras.utils.set_random_seed(1)
    first = BidirectionalEncoder("gru", UNITS, INPUTS, seed=5)
    keras.utils.set_random_seed(2)
    again, other = (BidirectionalEncoder("gru", UNITS, INPUTS, seed=seed) for seed in (5, 6))
    for a, b in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(first.weights[0], other.weights[0])
    assert not np.allclose(first.left_to_right.cell.kernel, first.right_to_left.cell.kernel)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_seed_gives_the_same_initial_weights_for_ever(cell: str) -> None:
    """Published figures name their seed: kernels and recurrent kernels of both directions come from four neighbours."""
    encoder = BidirectionalEncoder(cell, UNITS, INPUTS, seed=5)
    gates = UNITS * {"gru": 3, "lstm": 4}[cell]
    for number, direction in enumerate((encoder.left_to_right, encoder.right_to_left)):
        kernel = keras.initializers.GlorotUniform(5 + number * 2)((INPUTS, gates))
        recurrent = keras.initializers.Orthogonal(seed=6 + number * 2)((UNITS, gates))
        np.testing.assert_array_equal(direction.cell.kernel, kernel)
        np.testing.assert_array_equal(direction.cell.recurrent_kernel, recurrent)
