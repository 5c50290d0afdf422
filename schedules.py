"""Learning-rate schedules: pure functions of the step, so that a resumed run continues on the same curve."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


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
        if decay not in {"cosine", "linear", "none"}:
            raise ValueError(f"decay {decay!r} is unknown; choose from cosine, linear, none")
        self.peak, self.warmup_steps, self.total_steps, self.decay = peak, warmup_steps, total_steps, decay

    def __call__(self, step: Any) -> Any:
        """float32 scalar, the learning rate of step ``step`` (counted from 0)."""
        step = tf.cast(step, tf.float32)
        warm = (step + 1) / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        progress = tf.clip_by_value(progress, 0, 1)
        fall = {"cosine": (1 + tf.cos(math.pi * progress)) / 2, "linear": 1 - progress, "none": tf.ones_like(progress)}[
            self.decay
        ]
        return self.peak * tf.where(step < self.warmup_steps, warm, fall)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
        }
