"""GRU and LSTM over packed sequences: never compute padding.

A batch of sequences of different lengths is usually padded to its longest, which on film reviews triples the work. Here
the sequences are sorted by length, longest first, and laid out time-major, so that step t touches only the rows that
still have an element:

    lengths 3 2 1          step 0     step 1   step 2
    flat    a a a b b c    a b c      a b      a          active = [3, 2, 1], start = [0, 3, 5]

Input projections of all elements are matrix products outside the loop; the loop does the recurrent product and the
gates. The backward pass is written by hand (:func:`packed_gru`, :func:`packed_lstm`): what does not depend on the
gradient flowing back through time is computed for all steps at once, the loop walks the steps once, and each weight
gradient is a single product after it.

Axes: R sequences (rows), N elements of all sequences, T steps (longest sequence), E input, H units per direction.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

Tensor: TypeAlias = Any  # tf.Tensor; TensorFlow ships no types that a checker could use


class Packing(NamedTuple):
    """Where each element of a batch of sequences lies in packed order.

    Attributes:
        active: int32 [T], rows that still have an element at step t; never increases.
        start: int32 [T], packed index of the first row of step t.
        forward: Permutation that lays sequences out to be read left to right.
        backward: Permutation that lays them out to be read right to left.
    """

    active: Tensor
    start: Tensor
    forward: Permutation
    backward: Permutation


class Permutation(NamedTuple):
    """Two int32 [N] vectors, each other's inverse: ``packed = flat[to_packed]`` and ``flat = packed[to_flat]``."""

    to_packed: Tensor
    to_flat: Tensor


def pack(lengths: Tensor) -> Packing:
    """Computes the packing of sequences that lie one after another.

    Args:
        lengths: int32 [R], elements of each sequence, every one at least 1.
    """
    rows, elements = tf.shape(lengths)[0], tf.reduce_sum(lengths)
    longest_first = tf.argsort(lengths, direction="DESCENDING", stable=True)
    rank = tf.math.invert_permutation(longest_first)
    # active[t] counts lengths > t: all rows less those that ended before or at t.
    active = rows - tf.cumsum(tf.math.bincount(lengths, dtype=tf.int32))[:-1]
    start = tf.cumsum(active, exclusive=True)
    row = tf.repeat(tf.range(rows), lengths)
    step = tf.range(elements) - tf.gather(tf.cumsum(lengths, exclusive=True), row)
    rank_of_element = tf.gather(rank, row)
    forward = tf.gather(start, step) + rank_of_element
    backward = tf.gather(start, tf.gather(lengths, row) - 1 - step) + rank_of_element
    return Packing(active, start, *(Permutation(tf.math.invert_permutation(p), p) for p in (forward, backward)))


@tf.custom_gradient
def permute(values: Tensor, index: Tensor, inverse: Tensor) -> Any:
    """``values[index]`` for a permutation; its gradient is a gather too, where TensorFlow's own would be a scatter.

    Args:
        values: float [N, H].
        index: int32 [N], a permutation.
        inverse: int32 [N], its inverse.
    """
    return tf.gather(values, index), lambda upstream: (tf.gather(upstream, inverse), None, None)


class DistinctRows(NamedTuple):
    """Elements that share rows of a table: the words of a batch, of which only a quarter are distinct.

    Attributes:
        row: int32 [N], the row that each element uses.
        by_row: int32 [N], the elements in order of their row.
        sorted_row: int32 [N], ``row[by_row]``; every row from 0 up stands in it.
    """

    row: Tensor
    by_row: Tensor
    sorted_row: Tensor


def distinct_rows(row: Tensor) -> DistinctRows:
    """Prepares :func:`gather_rows`. ``row``: int32 [N], in which every value from 0 to its maximum occurs."""
    by_row = tf.argsort(row, stable=True)
    return DistinctRows(row, by_row, tf.gather(row, by_row))


@tf.custom_gradient
def gather_rows(table: Tensor, row: Tensor, by_row: Tensor, sorted_row: Tensor) -> Any:
    """``table[row]``; the gradient adds up the elements of each row in a fixed order, in one fused pass.

    Args:
        table: float [U, H].
        row: int32 [N].
        by_row: int32 [N], the elements sorted by row.
        sorted_row: int32 [N], their rows.
    """

    def gradient(upstream: Tensor) -> Any:
        return tf.raw_ops.SparseSegmentSum(data=upstream, indices=by_row, segment_ids=sorted_row), None, None, None

    return tf.gather(table, row), gradient


# ---------------------------------------------------------------------------------------------------------------------
# The two cells


def packed_gru(update_reset: Tensor, candidate: Tensor, kernel: Tensor, bias: Tensor, packing: Packing) -> Tensor:
    """A GRU over packed sequences, the reset gate applied after the recurrent product (Yang et al. 2016, eq. 1-4).

        [z r] = sigmoid(update_reset + h U_zr)      n = tanh(candidate + r * (h U_n + bias))      h' = (1 - z) n + z h

    (The paper's z is our 1 - z; this is the convention of cuDNN and Keras, ``reset_after=True``.)

    Args:
        update_reset: float [N, 2H], projected inputs of both gates with all their biases, in packed order.
        candidate: float [N, H], projected inputs of the candidate with its input bias, in packed order.
        kernel: float [H, 3H], recurrent kernel, columns z, r, n.
        bias: float [H], recurrent bias of the candidate.
        packing: Where the steps lie.

    Returns:
        float [N, H], the state after each element, in packed order.
    """

    @tf.custom_gradient
    def differentiable(update_reset: Tensor, candidate: Tensor, kernel: Tensor, bias: Tensor) -> Any:
        kept = gru_forward(update_reset, candidate, kernel, bias, packing)
        return kept[0], lambda upstream: gru_gradient(upstream, kept, kernel, packing)

    return differentiable(update_reset, candidate, kernel, bias)


def gru_forward(
    update_reset: Tensor, candidate: Tensor, kernel: Tensor, bias: Tensor, packing: Packing
) -> list[Tensor]:
    """The states [N, H] of :func:`packed_gru` and what its gradient needs: gates [N, 2H], n and h U_n + bias [N, H]."""
    units = candidate.shape[-1]
    active, start = packing.active, packing.start
    gate_kernel, candidate_kernel = kernel[:, : 2 * units], kernel[:, 2 * units :]

    def step(t: Tensor, state: Tensor) -> Any:
        rows, first = active[t], start[t]
        state = tf.slice(state, [0, 0], [rows, units])
        gates = tf.sigmoid(tf.slice(update_reset, [first, 0], [rows, 2 * units]) + tf.matmul(state, gate_kernel))
        z, r = tf.split(gates, 2, axis=1)
        recurrent = tf.matmul(state, candidate_kernel) + bias
        n = tf.tanh(tf.slice(candidate, [first, 0], [rows, units]) + r * recurrent)
        state = n + z * (state - n)
        return (state,), (state, gates, n, recurrent)

    return walk(step, active, units, candidate.dtype, widths=(units, 2 * units, units, units), carried=1)


def gru_gradient(upstream: Tensor, kept: list[Tensor], kernel: Tensor, packing: Packing) -> tuple[Tensor, ...]:
    """Gradients of :func:`packed_gru` with respect to its four tensors; ``upstream``: float [N, H]."""
    states, gates, n, recurrent = kept
    active, start = packing.active, packing.start
    units, later = n.shape[-1], active[0]  # elements before `later` are first steps, whose previous state is zero
    z, r = tf.split(gates, 2, axis=1)
    previous = tf.gather(states, previous_elements(active))
    before = tf.concat([tf.zeros([later, units], states.dtype), previous], axis=0)
    to_n = (1 - z) * (1 - n * n)
    # [N, 3, H]: how each pre-activation of the recurrent product moves with the state of its step.
    slopes = tf.stack([(before - n) * z * (1 - z), to_n * recurrent * r * (1 - r), to_n * r], axis=1)

    def step(t: Tensor, flowing: Tensor) -> Any:
        rows, first = active[t], start[t]
        total = grow(flowing, rows) + tf.slice(upstream, [first, 0], [rows, units])
        inner = tf.slice(slopes, [first, 0, 0], [rows, 3, units]) * total[:, tf.newaxis, :]
        inner = tf.reshape(inner, [rows, 3 * units])
        flowing = total * tf.slice(z, [first, 0], [rows, units]) + tf.matmul(inner, kernel, transpose_b=True)
        return (flowing,), (total, inner)

    total, inner = walk(step, active, units, n.dtype, widths=(units, 3 * units), carried=1, reverse=True)
    kernel_gradient = tf.matmul(previous, inner[later:], transpose_a=True)
    return inner[:, : 2 * units], total * to_n, kernel_gradient, tf.reduce_sum(inner[:, 2 * units :], axis=0)


def packed_lstm(projected: Tensor, kernel: Tensor, packing: Packing) -> Tensor:
    """An LSTM over packed sequences (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000).

        [i f g o] = projected + h U     c' = sigmoid(f) c + sigmoid(i) tanh(g)     h' = sigmoid(o) tanh(c')

    Args:
        projected: float [N, 4H], projected inputs with their biases, columns i, f, g, o, in packed order.
        kernel: float [H, 4H], recurrent kernel.
        packing: Where the steps lie.

    Returns:
        float [N, H], the output after each element, in packed order.
    """

    @tf.custom_gradient
    def differentiable(projected: Tensor, kernel: Tensor) -> Any:
        kept = lstm_forward(projected, kernel, packing)
        return kept[0], lambda upstream: lstm_gradient(upstream, kept, kernel, packing)

    return differentiable(projected, kernel)


def lstm_forward(projected: Tensor, kernel: Tensor, packing: Packing) -> list[Tensor]:
    """The outputs of :func:`packed_lstm` and what its gradient needs: i, f, tanh(g), o, c, tanh(c), all [N, H]."""
    units = kernel.shape[0]
    active, start = packing.active, packing.start

    def step(t: Tensor, output: Tensor, memory: Tensor) -> Any:
        rows, first = active[t], start[t]
        inner = tf.slice(projected, [first, 0], [rows, 4 * units])
        inner += tf.matmul(tf.slice(output, [0, 0], [rows, units]), kernel)
        i, f, g, o = tf.split(inner, 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        memory = f * tf.slice(memory, [0, 0], [rows, units]) + i * g
        squashed = tf.tanh(memory)
        output = o * squashed
        return (output, memory), (output, i, f, g, o, memory, squashed)

    return walk(step, active, units, projected.dtype, widths=(units,) * 7, carried=2)


def lstm_gradient(upstream: Tensor, kept: list[Tensor], kernel: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`packed_lstm` with respect to its two tensors; ``upstream``: float [N, H]."""
    outputs, i, f, g, o, memory, squashed = kept
    active, start = packing.active, packing.start
    units, earlier, later = g.shape[-1], previous_elements(active), active[0]
    memory_before = tf.concat([tf.zeros([later, units], memory.dtype), tf.gather(memory, earlier)], axis=0)
    to_memory = o * (1 - squashed * squashed)
    # How the pre-activations of i, f, g move with the memory of their step, and that of o with the output.
    memory_slopes = tf.stack([g * i * (1 - i), memory_before * f * (1 - f), i * (1 - g * g)], axis=1)
    output_slope = squashed * o * (1 - o)

    def step(t: Tensor, flowing: Tensor, flowing_memory: Tensor) -> Any:
        rows, first = active[t], start[t]

        def now(values: Tensor) -> Tensor:
            return tf.slice(values, [first, 0], [rows, units])

        total = grow(flowing, rows) + now(upstream)
        total_memory = grow(flowing_memory, rows) + total * now(to_memory)
        inner = tf.slice(memory_slopes, [first, 0, 0], [rows, 3, units]) * total_memory[:, tf.newaxis, :]
        inner = tf.concat([tf.reshape(inner, [rows, 3 * units]), total * now(output_slope)], axis=1)
        return (tf.matmul(inner, kernel, transpose_b=True), total_memory * now(f)), (inner,)

    (inner,) = walk(step, active, units, g.dtype, widths=(4 * units,), carried=2, reverse=True)
    return inner, tf.matmul(tf.gather(outputs, earlier), inner[later:], transpose_a=True)


def walk(
    step: Any, active: Tensor, units: int, dtype: Any, widths: tuple[int, ...], carried: int, reverse: bool = False
) -> list[Tensor]:
    """Runs ``step`` over all steps and gathers what it emits, in packed order.

    Args:
        step: ``(t, *state) -> (new state, emitted)``; the state's rows are those of the step before.
        active: int32 [T].
        units: H.
        dtype: Of state and emitted values.
        widths: Number of columns of each emitted value.
        carried: How many [rows, H] tensors make up the state; they start as zeros.
        reverse: Walk from the last step to the first.

    Returns:
        One float [N, width] per entry of ``widths``.
    """
    steps = tf.size(active)
    rows = tf.constant(0) if reverse else active[0]
    states = [tf.zeros([rows, units], dtype)] * carried
    arrays = [tf.TensorArray(dtype, steps, infer_shape=False, element_shape=[None, width]) for width in widths]

    def body(count: Tensor, *loop: Any) -> Any:
        t = steps - 1 - count if reverse else count
        new_states, emitted = step(t, *loop[:carried])
        written = [array.write(t, value) for array, value in zip(loop[carried:], emitted, strict=True)]
        return (count + 1, *new_states, *written)

    invariants = (tf.TensorShape([]), *[tf.TensorShape([None, units])] * carried, *[None] * len(widths))
    result = tf.while_loop(lambda count, *_: count < steps, body, (0, *states, *arrays), invariants)
    return [array.concat() for array in result[1 + carried :]]


def grow(values: Tensor, rows: Tensor) -> Tensor:
    """Appends rows of zeros up to ``rows``: walking back in time, sequences join as their last element is reached."""
    return tf.pad(values, [[0, rows - tf.shape(values)[0]], [0, 0]])


def previous_elements(active: Tensor) -> Tensor:
    """Packed index of the element before each element that is not its sequence's first: int32 [N - active[0]]."""
    elements = tf.reduce_sum(active)
    return tf.range(active[0], elements) - tf.repeat(active[:-1], active[1:])


# ---------------------------------------------------------------------------------------------------------------------
# The layer


class BidirectionalEncoder(keras.layers.Layer):
    """A bidirectional GRU or LSTM over sequences that lie one after another, without padding.

    Weights are those of two stock ``keras.layers.GRU`` or ``LSTM``, so that the same weights run packed (CPU) or padded
    through cuDNN (GPU); the two agree to rounding, which is a test.

    Masks: there are none; a sequence is exactly as long as ``lengths`` says.

    Args:
        cell: ``"gru"`` or ``"lstm"``.
        units: H, units per direction.
        inputs: E, size of an element.
        seed: Of the initial weights (Glorot uniform kernels, orthogonal recurrent kernels, zero biases; 1 for the
            LSTM's forget gate).
        padded: Run through ``keras.layers`` on padded sequences: what a GPU wants.
    """

    def __init__(self, cell: str, units: int, inputs: int, seed: int, padded: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.cell, self.units, self.padded = cell, units, padded
        stock = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell]
        self.left_to_right, self.right_to_left = (
            stock(
                units,
                return_sequences=True,
                name=name,
                dtype=self.dtype_policy,
                kernel_initializer=keras.initializers.GlorotUniform(seed + 2 * number),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seed + 2 * number + 1),
            )
            for number, name in enumerate(("left_to_right", "right_to_left"))
        )
        for direction in (self.left_to_right, self.right_to_left):
            direction.build((None, None, inputs))
        self.built = True

    def call(self, table: Tensor, lengths: Tensor, rows: DistinctRows | None = None) -> Tensor:
        """Encodes every element in its sequence, both ways.

        Args:
            table: float [N, E], the elements; or, with ``rows``, [U, E], the distinct ones.
            lengths: int32 [R], elements of each sequence, every one at least 1.
            rows: Which row of ``table`` each element is. Distinct rows are then projected once, not once per use.

        Returns:
            float [N, 2H], both directions' states at each element, in the order of the elements.
        """
        table = tf.cast(table, self.compute_dtype)
        if self.padded:
            elements = table if rows is None else gather_rows(table, *rows)
            return self.encode_padded(elements, lengths)
        packing = pack(lengths)
        return tf.concat(
            [
                self.encode_packed(self.left_to_right, table, rows, packing, packing.forward),
                self.encode_packed(self.right_to_left, table, rows, packing, packing.backward),
            ],
            axis=1,
        )

    def encode_packed(
        self, direction: Any, table: Tensor, rows: DistinctRows | None, packing: Packing, order: Permutation
    ) -> Tensor:
        """One direction through :func:`packed_gru` or :func:`packed_lstm`: float [N, H]."""

        def project(kernel: Tensor, bias: Tensor) -> Tensor:
            projected = tf.matmul(table, kernel) + bias
            if rows is None:
                return permute(projected, order.to_packed, order.to_flat)
            return gather_rows(
                projected, tf.gather(rows.row, order.to_packed), tf.gather(order.to_flat, rows.by_row), rows.sorted_row
            )

        kernel, recurrent_kernel, bias = (
            tf.cast(weight, self.compute_dtype)
            for weight in (direction.cell.kernel, direction.cell.recurrent_kernel, direction.cell.bias)
        )
        if self.cell == "lstm":
            states = packed_lstm(project(kernel, bias), recurrent_kernel, packing)
        else:
            gates = 2 * self.units
            states = packed_gru(
                project(kernel[:, :gates], bias[0, :gates] + bias[1, :gates]),
                project(kernel[:, gates:], bias[0, gates:]),
                recurrent_kernel,
                bias[1, gates:],
                packing,
            )
        return permute(states, order.to_flat, order.to_packed)

    def encode_padded(self, elements: Tensor, lengths: Tensor) -> Tensor:
        """Both directions through ``keras.layers`` on [R, T, E], right-padded, no row wholly masked: float [N, 2H].

        The second direction reads sequences that are reversed here, so that its padding is on the right as well: cuDNN
        accepts nothing else.
        """
        mask = tf.sequence_mask(lengths)
        step = tf.range(tf.shape(mask)[1])[tf.newaxis, :]
        first = tf.cumsum(lengths, exclusive=True)[:, tf.newaxis]
        last = tf.shape(elements)[0] - 1
        ahead = tf.minimum(first + step, last)
        reverse = tf.maximum(first + lengths[:, tf.newaxis] - 1 - step, 0)
        ahead_states = self.left_to_right(tf.gather(elements, ahead), mask=mask)
        reverse_states = self.right_to_left(tf.gather(elements, reverse), mask=mask)
        reverse_states = tf.reverse_sequence(reverse_states, lengths, seq_axis=1)
        return tf.concat([tf.boolean_mask(ahead_states, mask), tf.boolean_mask(reverse_states, mask)], axis=1)
