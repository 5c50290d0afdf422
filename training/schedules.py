"""Schedules of learning rate and momentum: pure functions of the step, so that a resumed run continues on its curve.

Each is called with the step, counted from 0, as a number or an integer tensor of any shape, and returns float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from config import TrainingSettings, entry

# What --decay can name: the share of the peak that is left, a function of the share of steps after warm-up.
DECAYS: dict[str, Callable[[Any], Any]] = {
    "cosine": lambda progress: (1 + tf.cos(math.pi * progress)) / 2,
    "linear": lambda progress: 1 - progress,
    "none": tf.ones_like,
}
# What --cycle can name: the height of a cycle, a function of its number, the step and gamma.
CYCLES: dict[str, Callable[[Any, Any, float], Any]] = {
    "triangular": lambda number, step, gamma: 1.0,
    "triangular2": lambda number, step, gamma: 0.5**number,
    "exp_range": lambda number, step, gamma: gamma ** tf.cast(step, tf.float32),
}
# What --lr_scale can name: the rate between the lowest and the highest, a function of the share of steps taken.
SCALES: dict[str, Callable[[float, float, Any], Any]] = {
    "exponential": lambda low, high, share: low * tf.exp(share * math.log(high / low)),
    "linear": lambda low, high, share: low + (high - low) * share,
}


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from zero to ``peak``, then falls to zero at ``total_steps`` (or stays).

        warm-up   peak * (step + 1) / warmup_steps                      for step < warmup_steps
        cosine    peak * (1 + cos(pi * progress)) / 2                   progress = share of the remaining steps taken
        linear    peak * (1 - progress)
        none      peak

    Args:
        peak: Highest learning rate.
        warmup_steps: Length of the rise; 0 starts at the peak.
        total_steps: Step at which the fall ends.
        decay: ``"cosine"`` (Loshchilov and Hutter 2017, without restarts), ``"linear"`` or ``"none"``.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, decay: str) -> None:
        entry(DECAYS, decay, "decay")
        self.peak, self.warmup_steps, self.total_steps, self.decay = peak, warmup_steps, total_steps, decay

    def __call__(self, step: Any) -> Any:
        """float32, the learning rate of step ``step``."""
        step = tf.cast(step, tf.float32)
        warm = (step + 1) / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        progress = tf.clip_by_value(progress, 0, 1)
        return self.peak * tf.where(step < self.warmup_steps, warm, DECAYS[self.decay](progress))

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
        }


class Cyclical(keras.optimizers.schedules.LearningRateSchedule):
    """A value that cycles between two bounds (Smith 2017, *Cyclical Learning Rates for Training Neural Networks*).

        height       1 - |2 (step mod cycle_steps) / cycle_steps - 1|        0 at the ends of a cycle, 1 in its middle
        triangular   start + (turn - start) height
        triangular2  start + (turn - start) height / 2^(step div cycle_steps)
        exp_range    start + (turn - start) height gamma^step

    A learning rate starts at its lowest and turns at its highest value; the momentum that belongs to it runs in the
    opposite phase, high when the rate is low (Smith 2018, *A Disciplined Approach to Neural Network Hyper-Parameters*),
    so it starts at its highest and turns at its lowest.

    Args:
        start: Value at the ends of a cycle.
        turn: Value in the middle of the first cycle.
        cycle_steps: Steps of a whole cycle, at least 2; Smith's "stepsize" is half of it.
        cycle: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``.
        gamma: Factor per step of ``exp_range``.
    """

    def __init__(self, start: float, turn: float, cycle_steps: int, cycle: str, gamma: float = 1.0) -> None:
        entry(CYCLES, cycle, "cycle")
        if cycle_steps < 2:
            raise ValueError(f"a cycle of {cycle_steps} steps is too short; give at least 2")
        self.start, self.turn, self.cycle_steps, self.cycle, self.gamma = start, turn, cycle_steps, cycle, gamma

    def __call__(self, step: Any) -> Any:
        """float32, the value at step ``step``."""
        step = tf.cast(step, tf.int64)
        # Divided as whole numbers: a quotient of floats would lose the place in the cycle after many of them.
        place, number = (tf.cast(part, tf.float32) for part in (step % self.cycle_steps, step // self.cycle_steps))
        height = 1 - tf.abs(2 * place / self.cycle_steps - 1)
        return self.start + (self.turn - self.start) * height * CYCLES[self.cycle](number, step, self.gamma)

    def get_config(self) -> dict[str, Any]:
        names = ("start", "turn", "cycle_steps", "cycle", "gamma")
        return {name: getattr(self, name) for name in names}


class Rise(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from ``low`` to ``high`` over ``steps`` steps and stays at ``high``: the learning rate of a range test.

    exponential   low (high / low)^(step / (steps - 1))
    linear        low + (high - low) step / (steps - 1)
    """

    def __init__(self, low: float, high: float, steps: int, scale: str) -> None:
        entry(SCALES, scale, "scale")
        self.low, self.high, self.steps, self.scale = low, high, steps, scale

    def __call__(self, step: Any) -> Any:
        """float32, the value at step ``step``."""
        share = tf.minimum(tf.cast(step, tf.float32) / max(self.steps - 1, 1), 1.0)
        return SCALES[self.scale](self.low, self.high, share)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "steps": self.steps, "scale": self.scale}


def rate_schedule(settings: TrainingSettings, total_steps: int, steps_per_epoch: int) -> Any:
    """The learning rate that the settings ask for.

    Args:
        settings: Of the run.
        total_steps: Steps of all epochs together.
        steps_per_epoch: Length of a cycle unless ``cycle_steps`` gives it.
    """
    if settings.cycle == "none":
        return WarmupDecay(settings.learning_rate, settings.warmup_steps, total_steps, settings.decay)
    lowest = settings.min_learning_rate or settings.learning_rate / 10
    return cycle_between(settings, lowest, settings.learning_rate, steps_per_epoch)


def momentum_schedule(settings: TrainingSettings, steps_per_epoch: int) -> Any:
    """The momentum, in the opposite phase to the learning rate; ``None`` if it is constant."""
    if not settings.cycle_momentum:
        return None
    return cycle_between(settings, settings.max_momentum, settings.min_momentum, steps_per_epoch)


def cycle_between(settings: TrainingSettings, start: float, turn: float, steps_per_epoch: int) -> Any:
    """The cycle of the settings between two values, starting at the first."""
    cycle_steps = settings.cycle_steps or max(steps_per_epoch, 2)
    return Cyclical(start, turn, cycle_steps, settings.cycle, settings.cycle_gamma)
