"""Row-wise Adam against Keras's dense Adam and against a NumPy Adam kept row by row."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from optimizers import RowwiseAdam

ROWS, COLUMNS, RATE = 6, 3, 0.05


def gradients(steps: int, rows: list[list[int]]) -> list[tuple[np.ndarray, list[int]]]:
    generator = np.random.default_rng(3)
    return [(generator.normal(size=(len(chosen), COLUMNS)).astype(np.float32), chosen) for chosen in rows[:steps]]


def run(optimizer: keras.optimizers.Optimizer, updates: list[tuple[np.ndarray, list[int]]]) -> np.ndarray:
    variable = keras.Variable(np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS))
    optimizer.build([variable])
    for values, rows in updates:
        optimizer.apply([tf.IndexedSlices(tf.constant(values), tf.constant(rows), (ROWS, COLUMNS))], [variable])
    return variable.numpy()


def test_equals_dense_adam_when_every_row_is_touched() -> None:
    updates = gradients(5, [list(range(ROWS))] * 5)
    np.testing.assert_allclose(run(RowwiseAdam(RATE), updates), run(keras.optimizers.Adam(RATE), updates), atol=1e-5)


def test_rows_keep_their_own_moments_and_untouched_rows_stand_still() -> None:
    chosen = [[0, 2], [2, 5], [0, 5], [2, 3], [5, 0]]
    got = run(RowwiseAdam(RATE), gradients(5, chosen))
    expected = np.arange(ROWS * COLUMNS, dtype=np.float64).reshape(ROWS, COLUMNS)
    first, second = np.zeros((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))
    for step, (values, rows) in enumerate(gradients(5, chosen), start=1):
        first[rows] = 0.9 * first[rows] + 0.1 * values
        second[rows] = 0.999 * second[rows] + 0.001 * values.astype(np.float64) ** 2
        rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        expected[rows] -= rate * first[rows] / (np.sqrt(second[rows]) + 1e-7)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_array_equal(got[[1, 4]], np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)[[1, 4]])


def test_dense_gradients_are_kerass_own() -> None:
    results = []
    for optimizer in (RowwiseAdam(RATE), keras.optimizers.Adam(RATE)):
        variable = keras.Variable(np.ones((4, 2), np.float32))
        optimizer.build([variable])
        for step in range(3):
            optimizer.apply([tf.constant(np.full((4, 2), step + 0.5, np.float32))], [variable])
        results.append(variable.numpy())
    np.testing.assert_array_equal(*results)
