"""Texts that are read many times to be explained: one after the other, and only as many wait as are soon done.

A small explanation does not wait for large ones: each kind has a line of its own, and a large one pauses before each of
its batches while small ones are at work.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
import time
from collections.abc import Iterator

from page.batcher import Busy
from page.speed import MeasuredSpeed
from runtime.abandoning import pausing_with, stop_if_abandoned

SMALL = 150_000  # words that are read, over all passes: about a second on two cores
MOST_WAIT_SECONDS = {"small": 10.0, "large": 30.0}  # that a caller may have to wait, by the speed measured so far
MOST_IN_LINE = {"small": 1_000, "large": 4}  # each holds a thread, of which small ones need most (page.at_work.THREADS)
FIRST_GUESS = 100_000.0  # words per second, until some were measured
PAUSE_SECONDS = 1.0  # that a large explanation pauses before a batch at most, so that it ends in any case
LOOK_SECONDS = 0.2  # between two looks whether the client still waits


class Line:
    """Callers that take turns, the first one first. Every method may be called from any thread.

    Args:
        most_seconds: That a caller may have to wait.
        most_in_line: Callers that may wait.
    """

    def __init__(self, most_seconds: float, most_in_line: int) -> None:
        self._most_seconds, self._most_in_line = most_seconds, most_in_line
        self._changed = threading.Condition()
        self._line: collections.deque[object] = collections.deque()  # the first one is at work
        self._words = 0
        self._speed = MeasuredSpeed(FIRST_GUESS)

    def check(self) -> None:
        """Raises :class:`Busy` where a caller would wait too long or behind too many."""
        with self._changed:
            seconds = self._speed.seconds_for(self._words)
            if self._line and (len(self._line) > self._most_in_line or seconds > self._most_seconds):
                raise Busy(math.ceil(seconds))

    @contextlib.contextmanager
    def turn(self, words: int) -> Iterator[None]:
        """Waits for the turn of the caller, who reads so many words in it.

        Raises:
            Busy: Too much is waiting. A caller who finds the line empty is accepted, whatever it costs.
            Abandoned: The client went away.
        """
        place = object()
        with self._changed:
            self.check()
            self._line.append(place)
            self._words += words
        try:
            with self._changed:
                while self._line[0] is not place:
                    self._changed.wait(LOOK_SECONDS)
                    stop_if_abandoned()
            begun = time.monotonic()
            yield
            with self._changed:
                self._speed.add(words, time.monotonic() - begun)
        finally:
            with self._changed:
                self._line.remove(place)
                self._words -= words
                self._changed.notify_all()

    def wait_until_empty(self, seconds: float) -> None:
        """Returns when nobody is in the line, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._line, seconds)


class Lines:
    """The lines of a run: of small explanations, and of large ones."""

    def __init__(self) -> None:
        self._lines = {kind: Line(most, MOST_IN_LINE[kind]) for kind, most in MOST_WAIT_SECONDS.items()}

    def _line(self, words: int) -> Line:
        return self._lines["small" if words <= SMALL else "large"]

    def check(self, words: int) -> None:
        """As :meth:`Line.check`, of the line for explanations of this size."""
        self._line(words).check()

    def wait_until_empty(self, seconds: float) -> None:
        """Returns when nobody is in the line of small explanations, or after so many seconds."""
        self._lines["small"].wait_until_empty(seconds)

    @contextlib.contextmanager
    def turn(self, words: int) -> Iterator[None]:
        """As :meth:`Line.turn`, in the line for explanations of this size."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._line(words).turn(words))
            if words > SMALL:
                stack.enter_context(pausing_with(lambda: self.wait_until_empty(PAUSE_SECONDS)))
            yield
