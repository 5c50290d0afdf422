"""Row-wise optimisers against Keras's dense ones and against NumPy row by row; momentum that follows a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import TrainingSettings
from training.optimizers import RowwiseAdam, RowwiseAdamW, RowwiseSGD, build_optimizer
from training.schedules import Cyclical

ROWS, COLUMNS, RATE, DECAY = 6, 3, 0.05, 0.1
START = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
CHOSEN = [[0, 2], [2, 5], [0, 5], [2, 3], [5, 0]]
EVERY_ROW = [list(range(ROWS))] * 5
MOMENTUM = Cyclical(0.95, 0.8, 4, "triangular")  # 0.95, 0.875, 0.8, 0.875, 0.95, ...
Updates = list[tuple[np.ndarray, list[int]]]


def gradients(rows: list[list[int]]) -> Updates:
    generator = np.random.default_rng(3)
    return [(generator.normal(size=(len(chosen), COLUMNS)).astype(np.float32), chosen) for chosen in rows]


def run(optimizer: Any, updates: Updates, sparse: bool = True, name: str = "embeddings") -> np.ndarray:
    """The variable after all updates, made by one graph that is traced once, as in training."""
    variable = keras.Variable(START, name=name)
    optimizer.build([variable])

    @tf.function(input_signature=[tf.TensorSpec([None, COLUMNS]), tf.TensorSpec([None], tf.int32)])
    def step(values: Any, rows: Any) -> None:
        slices = tf.IndexedSlices(values, rows, (ROWS, COLUMNS))
        optimizer.apply([slices if sparse else tf.convert_to_tensor(slices)], [variable])

    for values, rows in updates:
        step(tf.constant(values), tf.constant(rows))
    return variable.numpy()


def numpy_adam(updates: Updates, momentum: Callable[[int], float], decay: float = 0.0) -> np.ndarray:
    """Adam row by row (Kingma and Ba 2015, algorithm 1, with a beta_1 of each step and decoupled decay)."""
    weight, first, second = START.astype(np.float64), np.zeros(START.shape), np.zeros(START.shape)
    unbiased = 1.0
    for step, (values, rows) in enumerate(updates):
        beta = momentum(step)
        unbiased *= beta
        weight[rows] -= RATE * decay * weight[rows]
        first[rows] = beta * first[rows] + (1 - beta) * values
        second[rows] = 0.999 * second[rows] + 0.001 * values.astype(np.float64) ** 2
        mean, spread = first[rows] / (1 - unbiased), second[rows] / (1 - 0.999 ** (step + 1))
        # Keras adds epsilon before the bias is taken out.
        weight[rows] -= RATE * mean / (np.sqrt(spread) + 1e-7 / np.sqrt(1 - 0.999 ** (step + 1)))
    return weight


def numpy_sgd(updates: Updates, momentum: Callable[[int], float]) -> np.ndarray:
    """Nesterov momentum row by row, as Keras documents it."""
    weight, velocity = START.astype(np.float64), np.zeros(START.shape)
    for step, (values, rows) in enumerate(updates):
        velocity[rows] = momentum(step) * velocity[rows] - RATE * values
        weight[rows] += momentum(step) * velocity[rows] - RATE * values
    return weight


def constant(_: int) -> float:
    return 0.9


def scheduled(step: int) -> float:
    return [0.95, 0.875, 0.8, 0.875][step % 4]


OPTIMIZERS = {
    "adam": (lambda pace: RowwiseAdam(RATE, pace), lambda updates, pace: numpy_adam(updates, pace)),
    "adamw": (
        lambda pace: RowwiseAdamW(RATE, pace, weight_decay=DECAY),
        lambda updates, pace: numpy_adam(updates, pace, DECAY),
    ),
    "sgd": (lambda pace: RowwiseSGD(RATE, pace), lambda updates, pace: numpy_sgd(updates, pace)),
}
PEERS = {
    "adam": lambda: keras.optimizers.Adam(RATE),
    "adamw": lambda: keras.optimizers.AdamW(RATE, weight_decay=DECAY),
    "sgd": lambda: keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("sparse", [True, False])
def test_with_every_row_touched_it_is_kerass_own(name: str, sparse: bool) -> None:
    updates = gradients(EVERY_ROW)
    got, peer = run(OPTIMIZERS[name][0](0.9), updates, sparse), run(PEERS[name](), updates, sparse=False)
    np.testing.assert_allclose(got, peer, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("pace", "numpy_pace"), [(0.9, constant), (MOMENTUM, scheduled)])
def test_rows_keep_their_own_state_and_untouched_rows_stand_still(name: str, pace: Any, numpy_pace: Any) -> None:
    make, expected = OPTIMIZERS[name]
    got = run(make(pace), gradients(CHOSEN))
    np.testing.assert_allclose(got, expected(gradients(CHOSEN), numpy_pace), atol=1e-5)
    np.testing.assert_array_equal(got[[1, 4]], START[[1, 4]])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dense_gradients_follow_the_scheduled_momentum_step_by_step(name: str) -> None:
    """One graph, traced once: a momentum that was baked in at tracing would stay at its first value."""
    make, expected = OPTIMIZERS[name]
    updates = gradients(EVERY_ROW * 2)
    got = run(make(MOMENTUM), updates, sparse=False)
    np.testing.assert_allclose(got, expected(updates, scheduled), atol=2e-5)
    assert np.abs(got - expected(updates, lambda _: 0.95)).max() > 1e-2


def test_sgd_moves_a_word_that_occurs_once_by_one_plus_momentum() -> None:
    updates = gradients([[2], [0], [0], [0]])
    moved = (run(RowwiseSGD(RATE, 0.9), updates) - START)[2]
    np.testing.assert_allclose(moved, -1.9 * RATE * updates[0][0][0], rtol=1e-4)
    dense = (run(PEERS["sgd"](), updates, sparse=False) - START)[2]
    assert (np.abs(dense) > 1.5 * np.abs(moved)).all()


def test_sgd_without_momentum_is_plain() -> None:
    values, rows = gradients(CHOSEN)[0]
    expected = START.copy()
    expected[rows] -= RATE * values
    np.testing.assert_allclose(run(RowwiseSGD(RATE, 0.0), [(values, rows)]), expected, rtol=1e-6)


def test_biases_do_not_decay() -> None:
    updates = gradients(EVERY_ROW)
    with_decay = run(RowwiseAdamW(RATE, weight_decay=DECAY), updates, sparse=False, name="bias")
    np.testing.assert_array_equal(with_decay, run(RowwiseAdam(RATE), updates, sparse=False))


def test_dense_gradients_are_kerass_own_to_the_bit() -> None:
    updates = gradients(EVERY_ROW)
    got = run(RowwiseAdam(RATE), updates, sparse=False)
    np.testing.assert_array_equal(got, run(keras.optimizers.Adam(RATE), updates, sparse=False))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_choose_the_optimiser_and_a_schedule_adds_no_state(name: str) -> None:
    settings = TrainingSettings(optimizer=name, momentum=0.7, weight_decay=0.3)
    weights = [keras.Variable(np.ones((2, 2), np.float32))]
    plain: Any = build_optimizer(settings, RATE, None, weights)
    scheduled: Any = build_optimizer(settings, RATE, MOMENTUM, weights)
    kinds: dict[str, Any] = {"adam": RowwiseAdam, "adamw": RowwiseAdamW, "sgd": RowwiseSGD}
    assert type(plain) is kinds[name]
    assert (plain.momentum if name == "sgd" else plain.beta_1) == 0.7
    assert plain.weight_decay == (0.3 if name == "adamw" else None)
    if name == "sgd":
        assert plain.nesterov
    assert len(plain.variables) == len(scheduled.variables)
