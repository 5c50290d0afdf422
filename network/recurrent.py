"""A bidirectional GRU or LSTM over sequences of different lengths: never compute padding.

A batch of sequences is usually padded to its longest, which on film reviews triples the work. Here sequences lie one
after another in one flat vector of elements. On a CPU they go through the compiled loops of :mod:`network.kernels`; on
a GPU, whose kernels need rectangles, they are padded and go through ``keras.layers`` and cuDNN, with the same weights.

Axes: R sequences (rows), N elements of all sequences, U distinct elements, T longest sequence, E input, H units per
direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from config import entry
from network import kernels
from network.groups import rectangles
from utils import UserError

Tensor: TypeAlias = Any  # tf.Tensor; TensorFlow ships no types that a checker could use
LEAST_CAPABILITY = (8, 0)  # of a GPU whose cuDNN computes in bfloat16: Ampere
# Groups of sentences of similar length in the graph of the padded path. More leave little less padding (1.28 with four,
# 1.17 with six, 1.12 with eight, if steps were free), and each is in the graph of every batch, needed or not: see
# docs/performance.md.
GROUPS = 4
# The number of rows whose work takes as long as a step takes by itself. Of a CPU it was measured, with 100 units. Of a
# GPU it is a guess, which benchmarks/gpu_check.py tests: 10 microseconds to start a step, 20 nanoseconds for a row.
STEP_ROWS = {"gpu": 512.0, "cpu": 20.0}


def compiled_operation(function: Callable[..., Any], inputs: Sequence[Tensor], outputs: int) -> list[Tensor]:
    """A function of :mod:`network.kernels` as an operation of the graph; its results are of the first input's type."""
    inputs = [tf.convert_to_tensor(value) for value in inputs]  # an upstream gradient may come as tf.IndexedSlices
    if tf.executing_eagerly():
        return [tf.constant(result) for result in function(*(value.numpy() for value in inputs))]
    return tf.numpy_function(function, inputs, [inputs[0].dtype] * outputs, stateful=False)


def shaped(values: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """``values`` with the static shapes of ``like``, which a ``tf.numpy_function`` does not know."""
    return [tf.ensure_shape(value, other.shape) for value, other in zip(values, like, strict=True)]


def gru(table: Tensor, kernel: Tensor, bias: Tensor, row: Tensor, lengths: Tensor, keep: bool) -> Tensor:
    """:func:`network.kernels.gru_forward` with its gradient; shapes as there."""

    @tf.custom_gradient
    def differentiable(table: Tensor, kernel: Tensor, bias: Tensor) -> Any:
        inputs = [table, row, lengths, kernel, bias]
        states, kept = compiled_operation(partial(kernels.gru_forward, keep=keep), inputs, 2)

        def gradient(upstream: Tensor) -> list[Tensor]:
            gradients = compiled_operation(kernels.gru_gradient, [upstream, states, kept, *inputs], 3)
            return shaped(gradients, [table, kernel, bias])

        return tf.ensure_shape(states, [None, 2 * kernel.shape[1]]), gradient

    return differentiable(table, kernel, bias)


def lstm(table: Tensor, kernel: Tensor, row: Tensor, lengths: Tensor, keep: bool) -> Tensor:
    """:func:`network.kernels.lstm_forward` with its gradient; shapes as there."""

    @tf.custom_gradient
    def differentiable(table: Tensor, kernel: Tensor) -> Any:
        inputs = [table, row, lengths, kernel]
        outputs, kept = compiled_operation(partial(kernels.lstm_forward, keep=keep), inputs, 2)

        def gradient(upstream: Tensor) -> list[Tensor]:
            gradients = compiled_operation(kernels.lstm_gradient, [upstream, outputs, kept, *inputs], 2)
            return shaped(gradients, [table, kernel])

        return tf.ensure_shape(outputs, [None, 2 * kernel.shape[1]]), gradient

    return differentiable(table, kernel)


class BothDirections(NamedTuple):
    """The weights of two cells of G gate columns each (3H for a GRU, 4H for an LSTM), ready for the compiled loops.

    Attributes:
        kernel: float [E, 2G].
        recurrent_kernel: float [2, H, G].
        bias: float, both cells' biases in a row: [2, 2, 3H] of a GRU (of the input and of the recurrent product),
            [2, 4H] of an LSTM.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor

    def project(self, table: Tensor, bias: Tensor) -> Tensor:
        """float [U, 2, G], the input's share of every gate. ``table``: float [U, E]; ``bias``: float [2, G]."""
        projected = tf.matmul(table, self.kernel) + tf.reshape(bias, [-1])
        return tf.reshape(projected, [-1, 2, bias.shape[1]])


def encode_gru(weights: BothDirections, table: Tensor, row: Tensor, lengths: Tensor, keep: bool) -> Tensor:
    """float [N, 2H]; arguments as for :meth:`BidirectionalEncoder.call`."""
    gates = 2 * weights.recurrent_kernel.shape[1]
    inside = weights.bias[:, 1, gates:]  # the candidate's recurrent bias stays inside the reset gate
    outside = tf.concat(
        [weights.bias[:, 0, :gates] + weights.bias[:, 1, :gates], weights.bias[:, 0, gates:]],
        axis=1,
    )
    return gru(weights.project(table, outside), weights.recurrent_kernel, inside, row, lengths, keep)


def encode_lstm(weights: BothDirections, table: Tensor, row: Tensor, lengths: Tensor, keep: bool) -> Tensor:
    """float [N, 2H]; arguments as for :meth:`BidirectionalEncoder.call`."""
    return lstm(weights.project(table, weights.bias), weights.recurrent_kernel, row, lengths, keep)


class Cell(NamedTuple):
    """A recurrent cell: the layer of ``keras.layers`` that holds its weights, and its compiled loop."""

    layer: Any
    encode: Callable[[BothDirections, Tensor, Tensor, Tensor, bool], Tensor]


# What --cell can name.
CELLS = {"gru": Cell(keras.layers.GRU, encode_gru), "lstm": Cell(keras.layers.LSTM, encode_lstm)}


def needs_cudnn() -> bool | str:
    """``use_cudnn`` of ``keras.layers``: with a GPU it is cuDNN or an error, never Keras's slow loop in silence."""
    return True if tf.config.list_logical_devices("GPU") else "auto"


def refuse_without_cudnn(dtype: str) -> None:
    """Raises :class:`UserError` if the GPU of this process cannot run cuDNN's recurrent layers in a type.

    Args:
        dtype: ``"bfloat16"``, for example.
    """
    from tensorflow.python.framework import kernels

    way_out = "train without --mixed_precision, or use --device cpu"
    wanted = tf.as_dtype(dtype).as_datatype_enum
    for operation in ("CudnnRNNV3", "CudnnRNNBackpropV3"):
        registered = kernels.get_registered_kernels_for_op(operation).kernel
        types = [one.allowed_values.list.type for kernel in registered for one in kernel.constraint if one.name == "T"]
        if not any(wanted in some for some in types):
            raise UserError(f"TensorFlow {tf.__version__} has no kernel of {operation} for {dtype}; {way_out}")
    gpu = tf.config.list_physical_devices("GPU")[0]
    details = tf.config.experimental.get_device_details(gpu)
    capability = tuple(details.get("compute_capability", LEAST_CAPABILITY))
    if dtype == "bfloat16" and capability < LEAST_CAPABILITY:
        raise UserError(
            f"{details.get('device_name', 'the GPU')} has compute capability {'.'.join(map(str, capability))}, and "
            f"cuDNN's {dtype} needs 8.0; {way_out}"
        )


# ---------------------------------------------------------------------------------------------------------------------
# The layer


class BidirectionalEncoder(keras.layers.Layer):
    """A bidirectional GRU or LSTM over sequences that lie one after another, without padding.

    Weights are those of two stock ``keras.layers.GRU`` or ``LSTM``, so that the same weights run compiled (CPU) or
    padded through cuDNN (GPU); the two agree to rounding, which is a test.

    There are no masks: ``lengths`` are exact.

    Args:
        cell: ``"gru"`` or ``"lstm"``.
        units: H, units per direction.
        inputs: E, size of an element.
        seed: Of the initial weights (Glorot uniform kernels, orthogonal recurrent kernels, zero biases; 1 for the
            LSTM's forget gate).
        padded: Run through ``keras.layers`` on padded sequences: for a GPU.
        groups: The number of groups of similar length, at most, into which padded sequences are divided.

    Raises:
        UserError: With a GPU whose cuDNN lacks the type of the layer.
    """

    def __init__(
        self, cell: str, units: int, inputs: int, seed: int, padded: bool = False, groups: int = 1, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.cell, self.units, self.padded, self.groups = cell, units, padded, groups
        self.step_rows = STEP_ROWS["gpu" if padded and needs_cudnn() is True else "cpu"]
        layer = entry(CELLS, cell, "cell").layer
        if padded and needs_cudnn() is True and self.compute_dtype != "float32":
            refuse_without_cudnn(self.compute_dtype)
        self.left_to_right, self.right_to_left = (
            layer(
                units,
                return_sequences=True,
                name=name,
                dtype=self.dtype_policy,
                use_cudnn=needs_cudnn() if padded else "auto",
                kernel_initializer=keras.initializers.GlorotUniform(seed + 2 * number),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seed + 2 * number + 1),
            )
            for number, name in enumerate(("left_to_right", "right_to_left"))
        )
        for direction in (self.left_to_right, self.right_to_left):
            direction.build((None, None, inputs))
        self.built = True

    def call(self, table: Tensor, lengths: Tensor, row: Tensor | None = None, keep: bool = False) -> Tensor:
        """Encodes every element in its sequence, both ways.

        Args:
            table: float [N, E], the elements; or, with ``row``, [U, E], the distinct ones.
            lengths: int32 [R], elements of each sequence, every one at least 1.
            row: int32 [N], which row of ``table`` each element is. Distinct rows are projected once, not once per use.
            keep: Keep what the gradient needs; without it a gradient costs a second forward pass.

        Returns:
            float [N, 2H], both directions' states at each element, in the order of the elements.
        """
        if self.padded:
            table = tf.cast(table, self.compute_dtype)
            return self.encode_padded(table if row is None else tf.gather(table, row), lengths)
        if row is None:
            row = tf.range(tf.shape(table)[0])
        return tf.cast(self.encode_compiled(table, lengths, row, keep), self.compute_dtype)

    def encode_compiled(self, table: Tensor, lengths: Tensor, row: Tensor, keep: bool) -> Tensor:
        """Both directions through :mod:`network.kernels`, computed in float32 under any dtype policy: float [N, 2H]."""
        cells, dtype = [self.left_to_right.cell, self.right_to_left.cell], self.variable_dtype
        weights = BothDirections(
            tf.cast(tf.concat([cell.kernel.value for cell in cells], axis=1), dtype),
            tf.cast(tf.stack([cell.recurrent_kernel.value for cell in cells]), dtype),
            tf.cast(tf.stack([cell.bias.value for cell in cells]), dtype),
        )
        return CELLS[self.cell].encode(weights, tf.cast(table, dtype), row, lengths, keep)

    def encode_padded(self, elements: Tensor, lengths: Tensor) -> Tensor:
        """Both directions through ``keras.layers`` on right-padded rectangles, no row wholly masked: float [N, 2H].

        The second direction reads sequences that are reversed here, so that its padding is on the right as well: cuDNN
        accepts nothing else.
        """
        padding = rectangles(lengths, self.groups, self.step_rows)
        states = []
        for layer, place in ((self.left_to_right, padding.ahead), (self.right_to_left, padding.reverse)):
            filled = padding.filled(elements, place)
            encoded = [layer(part, mask=mask) for part, mask in zip(filled, padding.masks, strict=True)]
            states.append(padding.elements(encoded, place))
        return tf.concat(states, axis=1)
