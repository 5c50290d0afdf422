"""The compiled loops against the equations in NumPy and against numerical gradients, over several blocks and chunks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from network import kernels
from text.compiling import rational_tanh

# Every size differs from every other, so a swapped axis cannot pass. More sequences than a block has rows, a segment
# longer than a chunk, and rows of the table that nothing uses.
ROWS, UNITS, DIM, ATTENTION = 23, 5, 6, 7


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def lengths_of(rng: np.random.Generator) -> np.ndarray:
    lengths = rng.integers(1, 9, 2 * kernels.BLOCK + 3).astype(np.int32)
    lengths[11] = kernels.CHUNK + 4
    return lengths


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def recurrent_inputs(rng: np.random.Generator, cell: str, dtype: type) -> dict[str, np.ndarray]:
    gates = {"gru": 3, "lstm": 4}[cell] * UNITS
    lengths = lengths_of(rng)
    inputs = {
        "table": rng.normal(size=(ROWS, 2, gates)).astype(dtype),
        "row": rng.integers(0, ROWS - 2, lengths.sum()).astype(np.int32),
        "lengths": lengths,
        "kernel": rng.normal(size=(2, UNITS, gates), scale=0.5).astype(dtype),
    }
    return inputs | ({"bias": rng.normal(size=(2, UNITS)).astype(dtype)} if cell == "gru" else {})


def by_equations(cell: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """States [N, 2H] in float64, a sequence, a direction and an element at a time."""
    table, row, kernel = inputs["table"].astype(np.float64), inputs["row"], inputs["kernel"].astype(np.float64)
    states = np.empty((len(row), 2 * UNITS))
    for elements in np.split(np.arange(len(row)), np.cumsum(inputs["lengths"])[:-1]):
        for direction in (0, 1):
            state, memory = np.zeros(UNITS), np.zeros(UNITS)
            for element in elements[::-1] if direction else elements:
                x, h = table[row[element], direction], state @ kernel[direction]
                if cell == "gru":
                    z, r = np.split(sigmoid(x + h)[: 2 * UNITS], 2)
                    n = np.tanh(x[2 * UNITS :] + r * (h[2 * UNITS :] + inputs["bias"][direction]))
                    state = (1 - z) * n + z * state
                else:
                    i, f, g, o = np.split(x + h, 4)
                    memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
                    state = sigmoid(o) * np.tanh(memory)
                states[element, direction * UNITS : (direction + 1) * UNITS] = state
    return states


TANH = rational_tanh
FORWARD: dict[str, Callable[..., Any]] = {"gru": kernels.gru_forward, "lstm": kernels.lstm_forward}
GRADIENT: dict[str, Callable[..., Any]] = {"gru": kernels.gru_gradient, "lstm": kernels.lstm_gradient}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrence_is_that_of_the_equations(cell: str, keep: bool, rng: np.random.Generator) -> None:
    inputs = recurrent_inputs(rng, cell, np.float32)
    states, kept = FORWARD[cell](**inputs, keep=keep)
    np.testing.assert_allclose(states, by_equations(cell, inputs), atol=3e-6)
    assert states.dtype == np.float32 and bool(kept.size) == keep


def assert_numerical(
    loss: Callable[[], float], arrays: list[np.ndarray], gradients: list[np.ndarray], rng: np.random.Generator
) -> None:
    """Central differences in float64 along random directions: every value of a gradient takes part in each."""
    for array, gradient in zip(arrays, gradients, strict=True):
        assert array.shape == gradient.shape
        for _ in range(4):
            direction, origin = rng.normal(size=array.shape), array.copy()
            array[:] = origin + 1e-6 * direction
            above = loss()
            array[:] = origin - 1e-6 * direction
            below = loss()
            array[:] = origin
            np.testing.assert_allclose((above - below) / 2e-6, (gradient * direction).sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_of_recurrence_are_the_numerical_ones(cell: str, keep: bool, rng: np.random.Generator) -> None:
    inputs = recurrent_inputs(rng, cell, np.float64)
    states, kept = FORWARD[cell](**inputs, keep=keep)
    upstream = rng.normal(size=states.shape)
    gradients = GRADIENT[cell](upstream, states, kept, **inputs)
    arrays = [inputs[name] for name in ("table", "kernel", "bias") if name in inputs]
    assert_numerical(
        lambda: float((FORWARD[cell](**inputs, keep=False)[0] * upstream).sum()), arrays, list(gradients), rng
    )
    assert not gradients[0][-2:].any()  # rows that no element is


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_second_gradient_is_the_first_one_again_though_that_overwrote_what_was_kept(
    cell: str, rng: np.random.Generator
) -> None:
    inputs = recurrent_inputs(rng, cell, np.float32)
    states, kept = FORWARD[cell](**inputs, keep=True)
    before, upstream = kept.copy(), rng.normal(size=states.shape).astype(np.float32)
    first, second = (GRADIENT[cell](upstream, states, kept, **inputs) for _ in range(2))
    assert (kept != before).any()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_is_used_again_once_nothing_refers_to_it() -> None:
    reused, shape = kernels.Reused(2), (kernels.LEAST_REUSED, 1)
    first = kernels.empty(shape, np.float32, reused)
    place, part = first.ctypes.data, first[5:9]
    del first
    second = kernels.empty(shape, np.float32, reused)
    assert second.ctypes.data != place  # a view of the first one is left
    del part
    third = kernels.empty(shape, np.float32, reused)
    assert third.ctypes.data == place
    kernels.empty((2 * kernels.LEAST_REUSED, 1), np.float32, reused)
    assert len(reused.buffers) == 2  # and second and third stay what they are
    second[:], third[:] = 2, 3
    assert (second == 2).all() and (third == 3).all()


def attention_inputs(rng: np.random.Generator, dtype: type) -> dict[str, np.ndarray]:
    lengths = lengths_of(rng)
    return {
        "elements": rng.normal(size=(lengths.sum(), DIM)).astype(dtype),
        "lengths": lengths,
        "kernel": rng.normal(size=(DIM, ATTENTION)).astype(dtype),
        "bias": rng.normal(size=ATTENTION).astype(dtype),
        "context": rng.normal(size=ATTENTION).astype(dtype),
    }


def test_attention_is_that_of_the_equations(rng: np.random.Generator) -> None:
    inputs = attention_inputs(rng, np.float32)
    pooled, weights, _ = kernels.attention_forward(**inputs, keep=False)
    cuts = np.cumsum(inputs["lengths"])[:-1]
    for segment, vector, got in zip(np.split(inputs["elements"], cuts), pooled, np.split(weights, cuts), strict=True):
        scores = np.tanh(segment @ inputs["kernel"] + inputs["bias"]) @ inputs["context"]
        expected = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(got, expected, atol=2e-6)
        np.testing.assert_allclose(vector, expected @ segment, atol=1e-5)


@pytest.mark.parametrize("keep", [True, False])
def test_gradients_of_attention_are_the_numerical_ones(keep: bool, rng: np.random.Generator) -> None:
    inputs = attention_inputs(rng, np.float64)
    pooled, weights, hidden = kernels.attention_forward(**inputs, keep=keep)
    to_pooled, to_weights = rng.normal(size=pooled.shape), rng.normal(size=weights.shape)
    gradients = kernels.attention_gradient(to_pooled, to_weights, **inputs, weights=weights, hidden=hidden)

    def loss() -> float:
        pooled, weights, _ = kernels.attention_forward(**inputs, keep=False)
        return float((pooled * to_pooled).sum() + (weights * to_weights).sum())

    arrays = [inputs[name] for name in ("elements", "kernel", "bias", "context")]
    assert_numerical(loss, arrays, list(gradients), rng)


def test_softmax_survives_huge_scores() -> None:
    elements = np.array([[1.0], [-1.0]], np.float32)
    huge = np.full((1, 1), 20, np.float32)
    _, weights, _ = kernels.attention_forward(
        elements, np.array([2], np.int32), huge, np.zeros(1, np.float32), np.full(1, 1e4, np.float32), keep=False
    )
    np.testing.assert_array_equal(weights, [1, 0])


def test_results_do_not_depend_on_the_number_of_threads(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = recurrent_inputs(rng, "gru", np.float32)
    results = []
    for count in (1, 2, 5):
        monkeypatch.setattr(kernels, "usable_cores", lambda count=count: count)
        states, kept = kernels.gru_forward(**inputs, keep=True)
        results.append([states, *kernels.gru_gradient(states, states, kept, **inputs)])
    for again in results[1:]:
        for one, other in zip(results[0], again, strict=True):
            np.testing.assert_array_equal(one, other)


def test_tanh_is_close_and_passes_a_nan_on() -> None:
    """Seen through the LSTM's memory: a NaN that an approximation swallowed would hide a diverged run."""
    x = np.linspace(-12, 12, 1000, dtype=np.float32)
    ours = np.array([TANH(value) for value in x])
    np.testing.assert_allclose(ours, np.tanh(x.astype(np.float64)), atol=4e-7)
    assert np.isnan(TANH(np.float32(np.nan)))


@pytest.mark.parametrize(("weights", "count", "grid"), [([5, 1, 1, 1, 1, 1], 3, 1), ([1] * 100, 4, 32), ([7], 5, 32)])
def test_ranges_cover_everything_once(weights: list[int], count: int, grid: int) -> None:
    shares = kernels.ranges(np.array(weights), count, grid)
    assert [i for begin, end in shares for i in range(begin, end)] == list(range(len(weights)))
    assert len(shares) <= count and all(begin % grid == 0 for begin, _ in shares)
    assert kernels.ranges(np.array([], np.int64), count, grid) == []


def test_arrays_lie_where_tensorflow_takes_them_over() -> None:
    array = kernels.empty((3, 5, 7), np.float32)
    assert array.ctypes.data % 64 == 0 and array.shape == (3, 5, 7) and array.dtype == np.float32


@pytest.mark.slow
def test_a_process_that_compiles_and_one_that_loads_compute_the_same_bits(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kernel_hashes.py")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(script)]
    first, second = (
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout
        for _ in range(2)
    )
    assert first == second and len(first.split()) == 7
    assert list(tmp_path.rglob("*.nbc"))  # something was kept for the second process
