"""Texts that are read many times to be explained: one after the other, and only as many wait as are soon done.

A small explanation does not wait for large ones: each kind has a line of its own, so that leave-one-out of a long text
takes ten seconds while short texts are explained beside it.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
import time
from collections.abc import Iterator

from page.batcher import Busy
from runtime.abandoning import stop_if_abandoned

SMALL = 150_000  # words that are read, over all passes: about a second on two cores
MOST_WAITING = {"small": 3_000_000, "large": 5_000_000}  # words; half a minute
MOST_IN_LINE = {"small": 1_000, "large": 4}  # each holds a thread, of which small ones need most (page.at_work.THREADS)
FIRST_GUESS = 100_000.0  # words per second, until some were measured
LOOK_SECONDS = 0.2  # between two looks whether the client still waits


class Line:
    """Callers that take turns, the first one first. Every method may be called from any thread.

    Args:
        most_waiting: Words that may wait.
        most_in_line: Callers that may wait.
    """

    def __init__(self, most_waiting: int, most_in_line: int) -> None:
        self._most_waiting, self._most_in_line = most_waiting, most_in_line
        self._changed = threading.Condition()
        self._line: collections.deque[object] = collections.deque()  # the first one is at work
        self._words = 0
        self._words_per_second = FIRST_GUESS

    @contextlib.contextmanager
    def turn(self, words: int) -> Iterator[None]:
        """Waits for the turn of the caller, who reads so many words in it.

        Raises:
            Busy: Too much is waiting. A caller who finds the line empty is accepted, whatever it costs.
            Abandoned: The client went away.
        """
        place = object()
        with self._changed:
            waiting = len(self._line) - 1
            if self._line and (waiting >= self._most_in_line or self._words + words > self._most_waiting):
                raise Busy(math.ceil(self._words / self._words_per_second))
            self._line.append(place)
            self._words += words
        try:
            with self._changed:
                while self._line[0] is not place:
                    self._changed.wait(LOOK_SECONDS)
                    stop_if_abandoned()
            begun = time.monotonic()
            yield
            self._measured(words, time.monotonic() - begun)
        finally:
            with self._changed:
                self._line.remove(place)
                self._words -= words
                self._changed.notify_all()

    def _measured(self, words: int, seconds: float) -> None:
        """Mixes the speed of a turn into that of those before."""
        with self._changed:
            self._words_per_second += 0.2 * (words / max(seconds, 1e-3) - self._words_per_second)


class Lines:
    """The lines of a run: of small explanations, and of large ones."""

    def __init__(self) -> None:
        self._lines = {kind: Line(most, MOST_IN_LINE[kind]) for kind, most in MOST_WAITING.items()}

    def turn(self, words: int) -> contextlib.AbstractContextManager[None]:
        """As :meth:`Line.turn`, in the line for explanations of this size."""
        return self._lines["small" if words <= SMALL else "large"].turn(words)
