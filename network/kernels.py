"""The two hot loops of the network on a CPU, compiled: recurrence over sentences, attention over words.

TensorFlow would run a recurrence as a loop of some twenty operations a step, each of which writes its result to memory
for the next one to read. Here one compiled loop (Numba) walks a block of sequences of similar length from end to end
while its states stay in the processor's cache: a small matrix product by BLAS, then one pass over the gates. Sequences
are sorted by length, so that a block computes no padding, and elements are read and written where they lie, so that
nothing is gathered, permuted or joined before or after. Gradients are written by hand in the same manner.

Nothing here knows TensorFlow; :mod:`network.recurrent` and :mod:`han` make differentiable operations of these
functions. Floats are float32 (float64 is compiled when asked for, to check gradients numerically). Blocks, directions
and ranges of words are shared out among threads; every number is added up in an order that does not depend on how many
there are.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from text.compiling import add_scaled, compiled, copy, fast_tanh, inner_product, part, sigmoid
from utils import usable_cores

COMPILED_WITH = "0ee41c1e36c9"  # of text/compiling.py, which says why
# Sequences walked together. Their states and the recurrent kernel fit the second-level cache at 200 units.
BLOCK = 32
# Elements whose attention is computed together.
CHUNK = 256
# Ranges in which gradients of weights are added up before the ranges are: fixed, whatever the number of threads.
PARTS = 8

ONE, ZERO = np.float32(1), np.float32(0)

# ---------------------------------------------------------------------------------------------------------------------
# Threads


@functools.cache
def workers() -> ThreadPoolExecutor:
    """Threads for all kernels, one per core that this process may use; BLAS itself is held to one thread."""
    import scipy.linalg.blas  # noqa: F401 - the BLAS that Numba calls

    threadpoolctl.threadpool_limits(1, user_api="blas")
    return ThreadPoolExecutor(usable_cores(), thread_name_prefix="kernel")


def side_by_side(run: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> None:
    """``run(*task)`` for every task, on all cores; the first error is raised here."""
    for done in [workers().submit(run, *task) for task in tasks]:
        done.result()


def empty(shape: tuple[int, ...], dtype: Any, reused: Reused | None = None) -> np.ndarray:
    """``np.empty`` on a 64-byte boundary: TensorFlow takes such an array over without copying it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = reused.take(size + 64) if reused and size >= LEAST_REUSED else np.empty(size + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size].view(dtype).reshape(shape)


class Reused:
    """Memory that is used again once no array refers to it: the system need not clear new pages in every step.

    Args:
        most: How many buffers are kept, those that were used last.
    """

    def __init__(self, most: int) -> None:
        self.lock = threading.Lock()
        self.most = most
        self.buffers: list[np.ndarray] = []  # the one that was used last at the end

    def take(self, size: int) -> np.ndarray:
        """uint8, at least ``size``: the smallest unused buffer that is large enough, or a new one."""
        with self.lock:
            unused = [buffer for buffer in self.buffers if sys.getrefcount(buffer) <= NOT_REFERRED_TO]
            fitting = [buffer for buffer in unused if size <= len(buffer) <= 4 * size]
            taken = min(fitting, key=len) if fitting else np.empty(size + size // 8, np.uint8)
            self.buffers = [buffer for buffer in self.buffers if buffer is not taken][-self.most + 1 :]
            self.buffers.append(taken)
            return taken


LEAST_REUSED = 1 << 20  # bytes
NOT_REFERRED_TO = max(sys.getrefcount(buffer) for buffer in [np.empty(1)])  # as Reused.take counts


def room(elements: int, columns: int, dtype: Any) -> np.ndarray:
    """Memory for what a forward pass keeps of each element: float [2, elements + 1, columns]; empty without elements.

    The last row is no element's: its last number is 0 until a gradient has claimed the array.
    """
    kept = empty((2, elements + 1 if elements else 0, columns), dtype, KEPT)
    if elements:
        kept[-1, -1, -1] = 0
    return kept


CLAIMING = threading.Lock()
KEPT = Reused(2)  # of the encoders of words and of sentences


def claim(kept: np.ndarray) -> bool:
    """Whether the caller, a gradient, may read and overwrite what a forward pass kept: true for the first one only.

    TensorFlow passes the forward pass's own memory on, so the second gradient of a persistent tape would find what the
    first one wrote.
    """
    with CLAIMING:
        if not kept.size or not kept.flags.writeable or kept[-1, -1, -1]:
            return False
        kept[-1, -1, -1] = 1
        return True


def ranges(weights: np.ndarray, count: int, grid: int = 1) -> list[tuple[int, int]]:
    """Cuts ``range(len(weights))`` into ``count`` runs or fewer of about equal weight, each begun on the ``grid``."""
    total = np.cumsum(weights, dtype=np.int64)
    if not len(total):
        return []
    cuts = np.searchsorted(total, np.arange(1, count) * (total[-1] / count))
    edges = [0, *sorted({int(cut) // grid * grid for cut in cuts} - {0}), len(weights)]
    return list(itertools.pairwise(edges))


class Sequences(NamedTuple):
    """Where sequences that lie one after another begin and end, longest first.

    Attributes:
        first: int64 [R], index of the first element.
        length: int64 [R], number of elements, never increasing.
    """

    first: np.ndarray
    length: np.ndarray

    @staticmethod
    def of(lengths: np.ndarray) -> Sequences:
        """``lengths``: int [R], in the order in which the sequences lie."""
        lengths = lengths.astype(np.int64)
        order = np.argsort(-lengths, kind="stable")
        return Sequences((np.cumsum(lengths) - lengths)[order], lengths[order])

    def tasks(self) -> list[tuple[int, int, int]]:
        """Work for :func:`side_by_side`: (direction, first sequence, sequence after the last), in whole blocks."""
        shares = ranges(self.length, usable_cores(), BLOCK)
        return [(direction, begin, end) for begin, end in shares for direction in (0, 1)]


# ---------------------------------------------------------------------------------------------------------------------
# GRU


def gru_forward(
    table: np.ndarray, row: np.ndarray, lengths: np.ndarray, kernel: np.ndarray, bias: np.ndarray, keep: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A bidirectional GRU, the reset gate applied after the recurrent product (Yang et al. 2016, eq. 1-4).

        [z r] = sigmoid(x_zr + h U_zr)      n = tanh(x_n + r * (h U_n + bias))      h' = (1 - z) n + z h

    (The paper's z is our 1 - z; this is the convention of cuDNN and Keras, ``reset_after=True``.)

    Args:
        table: float [U, 2, 3H], projected inputs for each direction, with all biases but ``bias``.
        row: int32 [N], the row of ``table`` that each element is.
        lengths: int32 [R], elements of each sequence, at least 1.
        kernel: float [2, H, 3H], recurrent kernels, columns z, r, n.
        bias: float [2, H], recurrent bias of n.
        keep: Whether to keep what :func:`gru_gradient` needs.

    Returns:
        float [N, 2H], states of both directions at each element; float [2, N + 1, 4H], z, r, n and h U_n + bias and a
        last row for :func:`claim` (empty unless kept).
    """
    elements, units = len(row), bias.shape[1]
    states = empty((elements, 2 * units), table.dtype)
    kept = room(elements if keep else 0, 4 * units, table.dtype)
    sequences = Sequences.of(lengths)

    def run(direction: int, begin: int, end: int) -> None:
        walk_gru(direction, begin, end, *sequences, table, row, kernel[direction], bias[direction], states, kept)

    side_by_side(run, sequences.tasks())
    return states, kept


@compiled
def walk_gru(
    direction: int,
    begin: int,
    end: int,
    first: np.ndarray,
    length: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    states: np.ndarray,
    kept: np.ndarray,
) -> None:
    """One direction over the sequences ``begin`` to ``end``, a block after the other."""
    units = bias.shape[0]
    keep = kept.shape[1] > 0
    state = np.empty((BLOCK, units), table.dtype)
    recurrent = np.empty((BLOCK, 3 * units), table.dtype)
    for block in range(begin, end, BLOCK):
        active = min(block + BLOCK, end) - block
        state[:] = 0
        recurrent[:] = 0
        for step in range(length[block]):
            while length[block + active - 1] <= step:
                active -= 1
            if step > 0:
                np.dot(state[:active], kernel, recurrent[:active])
            for i in range(active):
                sequence = block + i
                offset = length[sequence] - 1 - step if direction else step
                element = first[sequence] + offset
                projected = table[row[element], direction]
                output = states[element, direction * units : (direction + 1) * units]
                if keep:
                    gru_gates_kept(projected, recurrent[i], bias, state[i], output, kept[direction, element])
                else:
                    gru_gates(projected, recurrent[i], bias, state[i], output)


@part
def gru_gates(
    projected: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, state: np.ndarray, output: np.ndarray
) -> None:
    """One element: its state from the one before, in place, and copied to ``output``."""
    units = state.shape[0]
    x_z, x_r, x_n = projected[:units], projected[units : 2 * units], projected[2 * units :]
    h_z, h_r, h_n = recurrent[:units], recurrent[units : 2 * units], recurrent[2 * units :]
    for j in range(units):
        z = sigmoid(x_z[j] + h_z[j])
        r = sigmoid(x_r[j] + h_r[j])
        n = fast_tanh(x_n[j] + r * (h_n[j] + bias[j]))
        new = n + z * (state[j] - n)
        state[j] = new
        output[j] = new


@part
def gru_gates_kept(
    projected: np.ndarray,
    recurrent: np.ndarray,
    bias: np.ndarray,
    state: np.ndarray,
    output: np.ndarray,
    kept: np.ndarray,
) -> None:
    """:func:`gru_gates`, which also keeps z, r, n and h U_n + bias."""
    units = state.shape[0]
    x_z, x_r, x_n = projected[:units], projected[units : 2 * units], projected[2 * units :]
    h_z, h_r, h_n = recurrent[:units], recurrent[units : 2 * units], recurrent[2 * units :]
    kept_z, kept_r = kept[:units], kept[units : 2 * units]
    kept_n, kept_q = kept[2 * units : 3 * units], kept[3 * units :]
    for j in range(units):
        z = sigmoid(x_z[j] + h_z[j])
        r = sigmoid(x_r[j] + h_r[j])
        q = h_n[j] + bias[j]
        n = fast_tanh(x_n[j] + r * q)
        new = n + z * (state[j] - n)
        state[j] = new
        output[j] = new
        kept_z[j] = z
        kept_r[j] = r
        kept_n[j] = n
        kept_q[j] = q


def gru_gradient(
    upstream: np.ndarray,
    states: np.ndarray,
    kept: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    lengths: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of :func:`gru_forward` with respect to table, kernel and bias.

    Args:
        upstream: float [N, 2H], gradient with respect to the states.
        states: As :func:`gru_forward` returned it.
        kept: Likewise. It is overwritten; what is empty, or was overwritten before, is computed again.
        table: As it was given, like all that follow.
        row: int32 [N].
        lengths: int32 [R].
        kernel: float [2, H, 3H].
        bias: float [2, H].

    Returns:
        float [U, 2, 3H], float [2, H, 3H], float [2, H].
    """
    if not claim(kept):
        kept = gru_forward(table, row, lengths, kernel, bias, keep=True)[1]
    units = kernel.shape[1]
    sequences = Sequences.of(lengths)
    transposed = np.ascontiguousarray(kernel.transpose(0, 2, 1))

    def run(direction: int, begin: int, end: int) -> None:
        walk_gru_back(direction, begin, end, *sequences, transposed[direction], upstream, states, kept[direction])

    side_by_side(run, sequences.tasks())
    kernel_gradient, bias_gradient = weight_gradients(states, kept, 3 * units, sequences)
    # The table's last columns do not pass the reset gate: their gradient is that of the candidate.
    return row_sums(kept, 2 * units, 3 * units, row, len(table)), kernel_gradient, bias_gradient[:, 2 * units :]


@compiled
def walk_gru_back(
    direction: int,
    begin: int,
    end: int,
    first: np.ndarray,
    length: np.ndarray,
    transposed: np.ndarray,
    upstream: np.ndarray,
    states: np.ndarray,
    kept: np.ndarray,
) -> None:
    """One direction over the sequences ``begin`` to ``end``, from their last element to their first.

    An element's row of ``kept`` becomes its gradient with respect to the recurrent product (3H) and to what the
    candidate is the hyperbolic tangent of (H). New memory for them would be as much again, cleared by the system in
    every step.
    """
    units = transposed.shape[1]
    left, right = direction * units, (direction + 1) * units
    direct = np.empty((BLOCK, units), states.dtype)  # what flows back through z, and through the recurrent product
    through = np.empty((BLOCK, units), states.dtype)
    gathered = np.empty((BLOCK, 3 * units), states.dtype)
    candidate = np.empty(units, states.dtype)
    nothing = np.zeros(units, states.dtype)
    for block in range(begin, end, BLOCK):
        count, active = min(block + BLOCK, end) - block, 0
        direct[:] = 0
        through[:] = 0
        for step in range(length[block] - 1, -1, -1):
            while active < count and length[block + active] > step:
                active += 1
            for i in range(active):
                sequence = block + i
                element = first[sequence] + (length[sequence] - 1 - step if direction else step)
                before = nothing
                if step > 0:
                    before = states[element + 1 if direction else element - 1, left:right]
                gru_gates_back(
                    upstream[element, left:right], direct[i], through[i], kept[element], before, gathered[i], candidate
                )
            if step > 0:
                np.dot(gathered[:active], transposed, through[:active])


@part
def gru_gates_back(
    upstream: np.ndarray,
    direct: np.ndarray,
    through: np.ndarray,
    kept: np.ndarray,
    before: np.ndarray,
    gathered: np.ndarray,
    candidate: np.ndarray,
) -> None:
    """One element, back from its state to its gates: into ``gathered`` and ``candidate``, and both into ``kept``."""
    units = candidate.shape[0]
    kept_z, kept_r = kept[:units], kept[units : 2 * units]
    kept_n, kept_q = kept[2 * units : 3 * units], kept[3 * units :]
    to_z, to_r, to_q = gathered[:units], gathered[units : 2 * units], gathered[2 * units :]
    for j in range(units):
        total = upstream[j] + direct[j] + through[j]
        z, n = kept_z[j], kept_n[j]
        to_z[j] = total * (before[j] - n) * z * (ONE - z)
        candidate[j] = total * (ONE - z) * (ONE - n * n)
        direct[j] = total * z
    for j in range(units):
        r = kept_r[j]
        to_r[j] = candidate[j] * kept_q[j] * r * (ONE - r)
        to_q[j] = candidate[j] * r
    copy(gathered, kept[: 3 * units])
    copy(candidate, kept[3 * units :])


# ---------------------------------------------------------------------------------------------------------------------
# LSTM


def lstm_forward(
    table: np.ndarray, row: np.ndarray, lengths: np.ndarray, kernel: np.ndarray, keep: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A bidirectional LSTM (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000).

        [i f g o] = x + h U      c' = sigmoid(f) c + sigmoid(i) tanh(g)      h' = sigmoid(o) tanh(c')

    Args:
        table: float [U, 2, 4H], projected inputs for each direction, with their biases, columns i, f, g, o.
        row: int32 [N], the row of ``table`` that each element is.
        lengths: int32 [R], elements of each sequence, at least 1.
        kernel: float [2, H, 4H], recurrent kernels.
        keep: Whether to keep what :func:`lstm_gradient` needs.

    Returns:
        float [N, 2H], outputs of both directions at each element; float [2, N + 1, 5H], i, f, tanh(g), o and c' and a
        last row for :func:`claim` (empty unless kept).
    """
    elements, units = len(row), kernel.shape[1]
    outputs = empty((elements, 2 * units), table.dtype)
    kept = room(elements if keep else 0, 5 * units, table.dtype)
    sequences = Sequences.of(lengths)

    def run(direction: int, begin: int, end: int) -> None:
        walk_lstm(direction, begin, end, *sequences, table, row, kernel[direction], outputs, kept)

    side_by_side(run, sequences.tasks())
    return outputs, kept


@compiled
def walk_lstm(
    direction: int,
    begin: int,
    end: int,
    first: np.ndarray,
    length: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    kernel: np.ndarray,
    outputs: np.ndarray,
    kept: np.ndarray,
) -> None:
    """One direction over the sequences ``begin`` to ``end``, a block after the other."""
    units = kernel.shape[0]
    keep = kept.shape[1] > 0
    state = np.empty((BLOCK, units), table.dtype)
    recurrent = np.empty((BLOCK, 4 * units), table.dtype)
    gates = np.empty((BLOCK, 5 * units), table.dtype)  # the last fifth is the memory
    for block in range(begin, end, BLOCK):
        active = min(block + BLOCK, end) - block
        recurrent[:] = 0
        gates[:] = 0
        for step in range(length[block]):
            while length[block + active - 1] <= step:
                active -= 1
            if step > 0:
                np.dot(state[:active], kernel, recurrent[:active])
            for i in range(active):
                sequence = block + i
                element = first[sequence] + (length[sequence] - 1 - step if direction else step)
                output = outputs[element, direction * units : (direction + 1) * units]
                lstm_gates(table[row[element], direction], recurrent[i], gates[i], state[i], output)
                if keep:
                    copy(gates[i], kept[direction, element])


@part
def lstm_gates(
    projected: np.ndarray, recurrent: np.ndarray, gates: np.ndarray, state: np.ndarray, output: np.ndarray
) -> None:
    """One element: its output and memory from those of the one before, in place; ``output`` gets a copy."""
    units = state.shape[0]
    i, f = gates[:units], gates[units : 2 * units]
    g, o, memory = gates[2 * units : 3 * units], gates[3 * units : 4 * units], gates[4 * units :]
    x_g, h_g = projected[2 * units : 3 * units], recurrent[2 * units : 3 * units]
    x_o, h_o = projected[3 * units :], recurrent[3 * units :]
    for j in range(2 * units):
        gates[j] = sigmoid(projected[j] + recurrent[j])
    for j in range(units):
        g[j] = fast_tanh(x_g[j] + h_g[j])
        o[j] = sigmoid(x_o[j] + h_o[j])
    for j in range(units):
        memory[j] = f[j] * memory[j] + i[j] * g[j]
        state[j] = o[j] * fast_tanh(memory[j])
        output[j] = state[j]


def lstm_gradient(
    upstream: np.ndarray,
    outputs: np.ndarray,
    kept: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    lengths: np.ndarray,
    kernel: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of :func:`lstm_forward` with respect to table and kernel.

    Args:
        upstream: float [N, 2H], gradient with respect to the outputs.
        outputs: As :func:`lstm_forward` returned it.
        kept: Likewise. It is overwritten; what is empty, or was overwritten before, is computed again.
        table: As it was given, like all that follow.
        row: int32 [N].
        lengths: int32 [R].
        kernel: float [2, H, 4H].

    Returns:
        float [U, 2, 4H], float [2, H, 4H].
    """
    if not claim(kept):
        kept = lstm_forward(table, row, lengths, kernel, keep=True)[1]
    gates = kernel.shape[2]
    sequences = Sequences.of(lengths)
    transposed = np.ascontiguousarray(kernel.transpose(0, 2, 1))

    def run(direction: int, begin: int, end: int) -> None:
        walk_lstm_back(direction, begin, end, *sequences, transposed[direction], upstream, kept[direction])

    side_by_side(run, sequences.tasks())
    kernel_gradient, _ = weight_gradients(outputs, kept, gates, sequences)
    return row_sums(kept, gates, gates, row, len(table)), kernel_gradient


@compiled
def walk_lstm_back(
    direction: int,
    begin: int,
    end: int,
    first: np.ndarray,
    length: np.ndarray,
    transposed: np.ndarray,
    upstream: np.ndarray,
    kept: np.ndarray,
) -> None:
    """One direction over the sequences ``begin`` to ``end``, from their last element to their first.

    The gates (4H) of an element's row of ``kept`` become its gradient with respect to the recurrent product.
    """
    units = transposed.shape[1]
    left, right = direction * units, (direction + 1) * units
    flowing_memory = np.empty((BLOCK, units), kept.dtype)
    through = np.empty((BLOCK, units), kept.dtype)
    gathered = np.empty((BLOCK, 4 * units), kept.dtype)
    nothing = np.zeros(units, kept.dtype)
    for block in range(begin, end, BLOCK):
        count, active = min(block + BLOCK, end) - block, 0
        flowing_memory[:] = 0
        through[:] = 0
        for step in range(length[block] - 1, -1, -1):
            while active < count and length[block + active] > step:
                active += 1
            for i in range(active):
                sequence = block + i
                element = first[sequence] + (length[sequence] - 1 - step if direction else step)
                before = nothing
                if step > 0:
                    before = kept[element + 1 if direction else element - 1, 4 * units :]
                lstm_gates_back(
                    upstream[element, left:right], through[i], flowing_memory[i], kept[element], before, gathered[i]
                )
                copy(gathered[i], kept[element, : 4 * units])
            if step > 0:
                np.dot(gathered[:active], transposed, through[:active])


@part
def lstm_gates_back(
    upstream: np.ndarray,
    through: np.ndarray,
    flowing_memory: np.ndarray,
    kept: np.ndarray,
    before: np.ndarray,
    gathered: np.ndarray,
) -> None:
    """One element, back from its output and memory to its gates; ``before`` is the memory of the element before."""
    units = through.shape[0]
    kept_i, kept_f = kept[:units], kept[units : 2 * units]
    kept_g, kept_o, memory = kept[2 * units : 3 * units], kept[3 * units : 4 * units], kept[4 * units :]
    to_i, to_f = gathered[:units], gathered[units : 2 * units]
    to_g, to_o = gathered[2 * units : 3 * units], gathered[3 * units :]
    for j in range(units):
        total = upstream[j] + through[j]
        o, squashed = kept_o[j], fast_tanh(memory[j])
        to_o[j] = total * squashed * o * (ONE - o)
        flowing_memory[j] += total * o * (ONE - squashed * squashed)
    for j in range(units):
        i, f, g, total = kept_i[j], kept_f[j], kept_g[j], flowing_memory[j]
        to_i[j] = total * g * i * (ONE - i)
        to_f[j] = total * before[j] * f * (ONE - f)
        to_g[j] = total * i * (ONE - g * g)
        flowing_memory[j] = total * f


# ---------------------------------------------------------------------------------------------------------------------
# Gradients of weights, and of rows that several elements share


def weight_gradients(
    states: np.ndarray, slopes: np.ndarray, size: int, sequences: Sequences
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the recurrent kernels, and of biases added to the recurrent product.

    Args:
        states: float [N, 2H], of both directions.
        slopes: float [2, N + 1, ...], whose first G columns are the gradient with respect to the recurrent product.
        size: G.
        sequences: Whose first element has no state before it.

    Returns:
        float [2, H, G], float [2, G].
    """
    elements, units = len(states), states.shape[1] // 2
    edge = np.zeros((2, elements), np.bool_)
    edge[0, sequences.first] = True
    edge[1, sequences.first + sequences.length - 1] = True
    kernel_parts = np.zeros((2, PARTS, units, size), states.dtype)
    bias_parts = np.zeros((2, PARTS, size), states.dtype)
    cuts = np.linspace(0, elements, PARTS + 1).astype(np.int64)

    def run(direction: int, part: int) -> None:
        add_weight_gradients(
            direction, cuts[part], cuts[part + 1], states, slopes[direction], edge[direction],
            kernel_parts[direction, part], bias_parts[direction, part],
        )  # fmt: skip

    side_by_side(run, [(direction, part) for direction in (0, 1) for part in range(PARTS)])
    return kernel_parts.sum(axis=1), bias_parts.sum(axis=1)


@compiled
def add_weight_gradients(
    direction: int,
    begin: int,
    end: int,
    states: np.ndarray,
    slopes: np.ndarray,
    edge: np.ndarray,
    kernel_gradient: np.ndarray,
    bias_gradient: np.ndarray,
) -> None:
    """Adds up the elements ``begin`` to ``end`` of one direction, a chunk after the other."""
    units, size = kernel_gradient.shape
    before = np.empty((CHUNK, units), states.dtype)
    inner = np.empty((CHUNK, size), states.dtype)
    product = np.empty_like(kernel_gradient)
    for chunk in range(begin, end, CHUNK):
        count = min(chunk + CHUNK, end) - chunk
        for i in range(count):
            element = chunk + i
            if edge[element]:
                before[i] = 0
            else:
                neighbour = element + 1 if direction else element - 1
                copy(states[neighbour, direction * units : (direction + 1) * units], before[i])
            copy(slopes[element, :size], inner[i])
            add(inner[i], bias_gradient)
        np.dot(before[:count].T, inner[:count], product)
        for i in range(units):
            add(product[i], kernel_gradient[i])


@part
def add(values: np.ndarray, total: np.ndarray) -> None:
    """``total += values`` for vectors."""
    for j in range(values.shape[0]):
        total[j] += values[j]


def row_sums(slopes: np.ndarray, head: int, size: int, row: np.ndarray, rows: int) -> np.ndarray:
    """Adds up the gradients of all elements that are the same row of the table, in the order of the elements.

    Args:
        slopes: float [2, N + 1, ...]; an element's gradient is its first ``head`` columns and those from G on, of
            which there are G - ``head`` at least.
        head: Up to G.
        size: G.
        row: int32 [N].
        rows: U.

    Returns:
        float [U, 2, G].
    """
    sums = empty((rows, 2, size), slopes.dtype)
    start, elements = users_of_rows(row, rows)
    tasks = ranges(np.diff(start), 2 * usable_cores())
    side_by_side(lambda begin, end: add_rows(begin, end, start, elements, slopes, head, sums), tasks)
    return sums


@compiled
def users_of_rows(row: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Elements sorted by row: int64 [rows + 1], where those of each row begin; int64 [N], the elements."""
    start = np.zeros(rows + 1, np.int64)
    for element in range(row.shape[0]):
        start[row[element] + 1] += 1
    for number in range(rows):
        start[number + 1] += start[number]
    place = start[:-1].copy()
    elements = np.empty(row.shape[0], np.int64)
    for element in range(row.shape[0]):
        elements[place[row[element]]] = element
        place[row[element]] += 1
    return start, elements


@compiled
def add_rows(
    begin: int,
    end: int,
    start: np.ndarray,
    elements: np.ndarray,
    slopes: np.ndarray,
    head: int,
    sums: np.ndarray,
) -> None:
    """:func:`row_sums` for the rows ``begin`` to ``end``."""
    size = sums.shape[2]
    for number in range(begin, end):
        for direction in range(2):
            total = sums[number, direction]
            total[:] = 0
            for place in range(start[number], start[number + 1]):
                element = elements[place]
                add(slopes[direction, element, :head], total[:head])
                add(slopes[direction, element, size : 2 * size - head], total[head:])


# ---------------------------------------------------------------------------------------------------------------------
# Attention


def attention_forward(
    elements: np.ndarray, lengths: np.ndarray, kernel: np.ndarray, bias: np.ndarray, context: np.ndarray, keep: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attention pooling (Yang et al. 2016, eq. 5-7 for words, 8-10 for sentences).

        u = tanh(h W + b)      weight = softmax(u . context) within a segment      pooled = sum of weight * h

    Args:
        elements: float [N, D].
        lengths: int32 [R], elements of each segment, at least 1.
        kernel: float [D, A].
        bias: float [A].
        context: float [A].
        keep: Whether to keep what :func:`attention_gradient` needs.

    Returns:
        float [R, D], a vector per segment; float [N], the weights; float [N, A], u (empty unless kept).
    """
    pooled = empty((len(lengths), elements.shape[1]), elements.dtype)
    weights = empty((len(elements),), elements.dtype)
    hidden = empty((len(elements) if keep else 0, len(bias)), elements.dtype)
    first = edges(lengths)

    def run(begin: int, end: int) -> None:
        attend(begin, end, first, elements, kernel, bias, context, pooled, weights, hidden)

    side_by_side(run, ranges(lengths, PARTS))
    return pooled, weights, hidden


def edges(lengths: np.ndarray) -> np.ndarray:
    """int64 [R + 1], where each segment begins, and the last one ends."""
    first = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=first[1:])
    return first


@part
def next_chunk(segment: int, end: int, first: np.ndarray) -> int:
    """The segment after the last that fits a chunk beginning with ``segment``; a long segment is a chunk of its own."""
    after = segment + 1
    while after < end and first[after + 1] - first[segment] <= CHUNK:
        after += 1
    return after


@part
def largest_chunk(begin: int, end: int, first: np.ndarray) -> int:
    """Elements of the largest chunk."""
    largest = CHUNK
    for segment in range(begin, end):
        largest = max(largest, first[segment + 1] - first[segment])
    return largest


@compiled
def attend(
    begin: int,
    end: int,
    first: np.ndarray,
    elements: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    context: np.ndarray,
    pooled: np.ndarray,
    weights: np.ndarray,
    hidden: np.ndarray,
) -> None:
    """Segments ``begin`` to ``end``, a chunk of whole segments after the other."""
    keep = hidden.shape[0] > 0
    product = np.empty((largest_chunk(begin, end, first), bias.shape[0]), elements.dtype)
    chunk = begin
    while chunk < end:
        after = next_chunk(chunk, end, first)
        low, high = first[chunk], first[after]
        np.dot(elements[low:high], kernel, product[: high - low])
        for element in range(low, high):
            u = product[element - low]
            weights[element] = score(u, bias, context)
            if keep:
                copy(u, hidden[element])
        for segment in range(chunk, after):
            pool(
                elements[first[segment] : first[segment + 1]],
                weights[first[segment] : first[segment + 1]],
                pooled[segment],
            )
        chunk = after


@part
def score(u: np.ndarray, bias: np.ndarray, context: np.ndarray) -> Any:
    """``tanh(u + bias) . context``; ``u`` becomes the hyperbolic tangent."""
    for j in range(u.shape[0]):
        u[j] = fast_tanh(u[j] + bias[j])
    total = ZERO * u[0]
    for j in range(u.shape[0]):
        total += u[j] * context[j]
    return total


@part
def pool(elements: np.ndarray, weights: np.ndarray, pooled: np.ndarray) -> None:
    """Scores to weights, in place, by a softmax; the weighted sum of a segment's elements into ``pooled``."""
    highest = weights[0]
    for i in range(weights.shape[0]):
        highest = weights[i] if weights[i] > highest else highest
    total = ZERO * highest
    for i in range(weights.shape[0]):
        weights[i] = math.exp(weights[i] - highest)
        total += weights[i]
    pooled[:] = 0
    for i in range(weights.shape[0]):
        weights[i] /= total
        add_scaled(elements[i], weights[i], pooled)


def attention_gradient(
    to_pooled: np.ndarray,
    to_weights: np.ndarray,
    elements: np.ndarray,
    lengths: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    context: np.ndarray,
    weights: np.ndarray,
    hidden: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of :func:`attention_forward` with respect to elements, kernel, bias and context.

    Args:
        to_pooled: float [R, D], gradient with respect to the pooled vectors.
        to_weights: float [N], gradient with respect to the weights.
        elements: As it was given, like the four that follow.
        lengths: int32 [R].
        kernel: float [D, A].
        bias: float [A].
        context: float [A].
        weights: As :func:`attention_forward` returned it.
        hidden: Likewise; what is empty is computed again.

    Returns:
        float [N, D], float [D, A], float [A], float [A].
    """
    if not hidden.size:
        hidden = attention_forward(elements, lengths, kernel, bias, context, keep=True)[2]
    first = edges(lengths)
    to_elements = empty(elements.shape, elements.dtype)
    to_kernel = np.zeros((PARTS, *kernel.shape), elements.dtype)
    to_bias, to_context = np.zeros((2, PARTS, len(context)), elements.dtype)
    transposed = np.ascontiguousarray(kernel.T)

    def run(part: int, begin: int, end: int) -> None:
        attend_back(
            begin, end, first, to_pooled, to_weights, elements, transposed, context, weights, hidden,
            to_elements, to_kernel[part], to_bias[part], to_context[part],
        )  # fmt: skip

    side_by_side(run, [(part, *share) for part, share in enumerate(ranges(lengths, PARTS))])
    return to_elements, to_kernel.sum(axis=0), to_bias.sum(axis=0), to_context.sum(axis=0)


@compiled
def attend_back(
    begin: int,
    end: int,
    first: np.ndarray,
    to_pooled: np.ndarray,
    to_weights: np.ndarray,
    elements: np.ndarray,
    transposed: np.ndarray,
    context: np.ndarray,
    weights: np.ndarray,
    hidden: np.ndarray,
    to_elements: np.ndarray,
    to_kernel: np.ndarray,
    to_bias: np.ndarray,
    to_context: np.ndarray,
) -> None:
    """Segments ``begin`` to ``end``, a chunk of whole segments after the other."""
    largest = largest_chunk(begin, end, first)
    inner = np.empty((largest, context.shape[0]), elements.dtype)
    product = np.empty_like(to_kernel)
    chunk = begin
    while chunk < end:
        after = next_chunk(chunk, end, first)
        low, high = first[chunk], first[after]
        for segment in range(chunk, after):
            here, there = first[segment], first[segment + 1]
            scores_back(to_pooled[segment], to_weights[here:there], elements[here:there], weights[here:there],
                        hidden[here:there], context, inner[here - low : there - low], to_bias, to_context)  # fmt: skip
        np.dot(inner[: high - low], transposed, to_elements[low:high])
        for segment in range(chunk, after):
            for element in range(first[segment], first[segment + 1]):
                add_scaled(to_pooled[segment], weights[element], to_elements[element])
        np.dot(elements[low:high].T, inner[: high - low], product)
        for i in range(product.shape[0]):
            add(product[i], to_kernel[i])
        chunk = after


@part
def scores_back(
    to_pooled: np.ndarray,
    to_weights: np.ndarray,
    elements: np.ndarray,
    weights: np.ndarray,
    hidden: np.ndarray,
    context: np.ndarray,
    inner: np.ndarray,
    to_bias: np.ndarray,
    to_context: np.ndarray,
) -> None:
    """One segment, back from its pooled vector to the pre-activations of its attention, ``inner``."""
    mean = ZERO * weights[0]
    slope = np.empty_like(weights)
    for i in range(weights.shape[0]):
        slope[i] = to_weights[i] + inner_product(elements[i], to_pooled)
        mean += weights[i] * slope[i]
    for i in range(weights.shape[0]):
        to_score = weights[i] * (slope[i] - mean)
        tanh_back(to_score, hidden[i], context, inner[i], to_context)
        add(inner[i], to_bias)


@part
def tanh_back(to_score: Any, u: np.ndarray, context: np.ndarray, inner: np.ndarray, to_context: np.ndarray) -> None:
    """One element, back from its score through the hyperbolic tangent."""
    for j in range(u.shape[0]):
        inner[j] = to_score * context[j] * (ONE - u[j] * u[j])
        to_context[j] += to_score * u[j]
