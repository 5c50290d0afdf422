"""Adam that touches only the embedding rows of the batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class RowwiseAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) whose state and update of a sparse gradient stay on the rows that it names.

    A batch uses about 4,000 of 30,000 words; Keras's Adam makes such a gradient dense and moves every row. The
    difference from dense Adam: while a word does not occur, its moments do not decay and its vector does not drift on
    old momentum. Dense gradients are treated as in Keras. Rows of a sparse gradient must be distinct.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable; a ``tf.IndexedSlices`` gradient takes the row-wise path."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        rows, values = gradient.indices, gradient.values
        position = self._get_variable_index(variable)
        first, second = self._momentums[position].value, self._velocities[position].value
        step = tf.cast(self.iterations + 1, values.dtype)
        rate = learning_rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        mean = tf.gather(first, rows) * self.beta_1 + values * (1 - self.beta_1)
        spread = tf.gather(second, rows) * self.beta_2 + tf.square(values) * (1 - self.beta_2)
        first.scatter_update(tf.IndexedSlices(mean, rows))
        second.scatter_update(tf.IndexedSlices(spread, rows))
        variable.scatter_sub(tf.IndexedSlices(rate * mean / (tf.sqrt(spread) + self.epsilon), rows))
