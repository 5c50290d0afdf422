"""The speed of a network over its last calls, by which a caller's waiting time is estimated."""

from __future__ import annotations

import math

FADE = 0.9  # weight that a measurement keeps with each later one


class MeasuredSpeed:
    """Words per second over the last measurements, older ones weighing less. The caller holds a lock where needed.

    Args:
        first_guess: Words per second, which weighs as much as one second of work; ``None``: the speed is infinite until
            something was measured.
    """

    def __init__(self, first_guess: float | None = None) -> None:
        self._words, self._seconds = (0.0, 0.0) if first_guess is None else (first_guess, 1.0)

    def add(self, words: int, seconds: float) -> None:
        """Adds a measurement: so many words took so many seconds."""
        self._words = FADE * self._words + words
        self._seconds = FADE * self._seconds + seconds

    @property
    def words_per_second(self) -> float:
        return self._words / self._seconds if self._seconds else math.inf

    def seconds_for(self, words: int) -> float:
        """How long the network takes for so many words; 0 until something was measured."""
        return words * self._seconds / self._words if self._words else 0.0
