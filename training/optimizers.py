"""Adam, AdamW and SGD that touch only the embedding rows of the batch, with a momentum that may follow a schedule.

A batch uses about 4,000 of 30,000 words, and the gradient of the word vectors names just those rows
(``tf.IndexedSlices``). Keras's optimisers make it dense and move every row. Here a sparse gradient reads and writes the
rows that it names and nothing else; they must be distinct. Dense gradients give what Keras gives, and so do sparse ones
that name every row in every step. The difference is in a word that does not occur: its moments do not decay, its vector
does not drift on old momentum, and weight decay does not shrink it. For SGD at a momentum of 0.9 that means that an
update continues not over the next steps but over the next steps *of its word*: a word that occurs once is moved by 1.9
times rate and gradient instead of 10 times.

Keras reads ``SGD.momentum`` and ``Adam.beta_1`` when the step is traced and never again: assigning to them later
changes nothing, silently. Here a scheduled momentum is computed in the step, from the optimiser's count of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from config import TrainingSettings, entry

# After this many steps the product of momenta of at most 0.99 is too small to move 1 in float32.
BIASED_STEPS = 2000


class RowwiseAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) whose state and update of a sparse gradient stay on the rows that it names.

    Args:
        learning_rate: A number or a schedule.
        beta_1: The momentum: a number, or a function of the step of at most 0.99. With a function, the bias of the
            first moment is taken out exactly: 1 - beta_1^t becomes 1 - the product of the beta_1 so far.
        **arguments: Those of ``keras.optimizers.Adam``.
    """

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float | Callable[[Any], Any] = 0.9, **arguments: Any
    ) -> None:
        super().__init__(learning_rate, beta_1=0.9 if callable(beta_1) else beta_1, **arguments)
        self.momentum_schedule = beta_1 if callable(beta_1) else None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable; a ``tf.IndexedSlices`` gradient takes the row-wise path."""
        sparse = isinstance(gradient, tf.IndexedSlices)
        if not sparse and self.momentum_schedule is None:
            super().update_step(gradient, variable, learning_rate)
            return
        position = self._get_variable_index(variable)
        first, second = self._momentums[position].value, self._velocities[position].value
        beta_1, first_bias = self.momentum()
        step = tf.cast(self.iterations + 1, tf.float32)
        rate = learning_rate * tf.sqrt(1 - self.beta_2**step) / first_bias
        rows, values = (gradient.indices, gradient.values) if sparse else (None, gradient)
        mean = read(first, rows) * beta_1 + values * (1 - beta_1)
        spread = read(second, rows) * self.beta_2 + tf.square(values) * (1 - self.beta_2)
        write(first, mean, rows)
        write(second, spread, rows)
        subtract(variable, rate * mean / (tf.sqrt(spread) + self.epsilon), rows)

    def momentum(self) -> tuple[Any, Any]:
        """beta_1 of the step in progress, and the divisor of the first moment."""
        if self.momentum_schedule is None:
            return self.beta_1, 1 - self.beta_1 ** tf.cast(self.iterations + 1, tf.float32)
        steps = tf.minimum(self.iterations.value + 1, BIASED_STEPS)
        bias = 1 - tf.reduce_prod(self.momentum_schedule(tf.range(steps)))
        return self.momentum_schedule(self.iterations.value), bias


class RowwiseAdamW(RowwiseAdam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): each weight loses rate * decay of itself per step.

    A word vector loses it in the steps that its word occurs in. Biases do not decay, as with ``l2``.
    """

    def __init__(self, *arguments: Any, weight_decay: float = 0.004, **named: Any) -> None:
        super().__init__(*arguments, weight_decay=weight_decay, **named)
        self.exclude_from_weight_decay(var_names=["bias"])

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: Keras calls this once for all weights; here each loses its share in :meth:`update_step`."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable, its decay first."""
        if self._use_weight_decay(variable):
            rows = gradient.indices if isinstance(gradient, tf.IndexedSlices) else None
            subtract(variable, learning_rate * self.weight_decay * read(variable, rows), rows)
        super().update_step(gradient, variable, learning_rate)


class RowwiseSGD(keras.optimizers.SGD):
    """Gradient descent with Nesterov momentum (Sutskever et al. 2013), row-wise for sparse gradients.

        velocity' = momentum velocity - rate gradient         weight' = weight + momentum velocity' - rate gradient

    Args:
        learning_rate: A number or a schedule.
        momentum: A number, or a function of the step.
        **arguments: Those of ``keras.optimizers.SGD``.
    """

    def __init__(
        self, learning_rate: Any = 0.01, momentum: float | Callable[[Any], Any] = 0.9, **arguments: Any
    ) -> None:
        constant = 0.9 if callable(momentum) else momentum
        super().__init__(learning_rate, momentum=constant, nesterov=True, **arguments)
        self.momentum_schedule = momentum if callable(momentum) else None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable; a ``tf.IndexedSlices`` gradient takes the row-wise path."""
        sparse = isinstance(gradient, tf.IndexedSlices)
        if not self.momentums or (not sparse and self.momentum_schedule is None):
            super().update_step(gradient, variable, learning_rate)
            return
        velocity = self.momentums[self._get_variable_index(variable)].value
        schedule = self.momentum_schedule
        momentum = self.momentum if schedule is None else schedule(self.iterations.value)
        rows, values = (gradient.indices, gradient.values) if sparse else (None, gradient)
        push = learning_rate * values
        faster = momentum * read(velocity, rows) - push
        write(velocity, faster, rows)
        subtract(variable, push - momentum * faster, rows)


def read(variable: Any, rows: Any) -> Any:
    """The rows that are named of a variable, or all of it where ``rows`` is ``None``."""
    return tf.identity(variable) if rows is None else tf.gather(variable, rows)


def write(variable: Any, values: Any, rows: Any) -> None:
    """Writes new values to what :func:`read` reads."""
    if rows is None:
        variable.assign(values)
    else:
        variable.scatter_update(tf.IndexedSlices(values, rows))


def subtract(variable: Any, values: Any, rows: Any) -> None:
    """Subtracts values from what :func:`read` reads."""
    if rows is None:
        variable.assign_sub(values)
    else:
        variable.scatter_sub(tf.IndexedSlices(values, rows))


# What --optimizer can name, each as a function of the settings, the learning rate and the momentum.
OPTIMIZERS: dict[str, Callable[[TrainingSettings, Any, Any], keras.optimizers.Optimizer]] = {
    "adam": lambda settings, rate, momentum: RowwiseAdam(rate, momentum),
    "adamw": lambda settings, rate, momentum: RowwiseAdamW(rate, momentum, weight_decay=settings.weight_decay),
    "sgd": lambda settings, rate, momentum: RowwiseSGD(rate, momentum),
}


def build_optimizer(settings: TrainingSettings, rate: Any, momentum: Callable[[Any], Any] | None, weights: Any) -> Any:
    """The optimiser that the settings ask for, its state allocated.

    Args:
        settings: Of the run.
        rate: Schedule of the learning rate.
        momentum: Schedule of the momentum; ``None`` for the constant of the settings.
        weights: The model's trainable variables.
    """
    make = entry(OPTIMIZERS, settings.optimizer, "optimizer")
    optimizer = make(settings, rate, settings.momentum if momentum is None else momentum)
    optimizer.build(weights)
    return optimizer
