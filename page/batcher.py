"""Many threads ask for the scores of a few documents each; the network is called once for all that wait.

There is no timer: while the network computes one batch, the next one is collected. A single request is scored at once,
and fifty at a time are scored in two or three calls. Small requests do not wait for large ones: these fill what is left
of a batch, and get at least one document into each.
"""

from __future__ import annotations

import collections
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

from page.speed import MeasuredSpeed
from runtime.abandoning import Abandoned, stop_if_abandoned

if TYPE_CHECKING:
    from runtime.predictor import Verdict
    from text.text_reader import EncodedDocument

MOST_WAITING_WORDS = 2_000_000  # a few seconds of work; what exceeds that is refused
MOST_WAIT_SECONDS = 10.0  # by the speed measured so far
SMALL_WORDS = 20_000  # of a request whose texts are scored before those of larger ones
RETRY_SECONDS, MOST_RETRY_SECONDS = 5, 60
LOOK_SECONDS = 0.2  # between two looks whether the client still waits


class Busy(Exception):
    """More is waiting than is soon done.

    Args:
        seconds: After which it may be tried again, about.
    """

    def __init__(self, seconds: int = RETRY_SECONDS) -> None:
        super().__init__(seconds)
        self.seconds = min(max(seconds, 1), MOST_RETRY_SECONDS)


Waiting = tuple["EncodedDocument", "Future[Verdict]"]


class Batcher:
    """Collects documents for one network. Every method may be called from any thread.

    Args:
        score: Scores documents, for example :meth:`runtime.predictor.Predictor.score`; called from one thread.
        most_words: Words in one call, where a document is not longer.
        most_waiting_words: Words that may wait.

    Attributes:
        calls: Number of times that ``score`` was called.
        documents: That were scored.
    """

    def __init__(
        self,
        score: Callable[[Sequence[EncodedDocument]], list[Verdict]],
        most_words: int,
        most_waiting_words: int = MOST_WAITING_WORDS,
    ) -> None:
        self._score, self._most_words, self._most_waiting_words = score, most_words, most_waiting_words
        self._small: collections.deque[Waiting] = collections.deque()
        self._large: collections.deque[Waiting] = collections.deque()
        self._waiting_words = 0
        self._speed = MeasuredSpeed()
        self._changed = threading.Condition()
        self._closed = False
        self._idle = threading.Event()
        self.calls = self.documents = 0
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def score(self, documents: Sequence[EncodedDocument]) -> list[Verdict]:
        """Scores documents, together with those of other threads; returns the verdicts in the order given.

        Raises:
            Busy: Too much is waiting, or the batcher was closed.
            Abandoned: The client went away; what was not scored yet is dropped.
        """
        futures: list[Future[Verdict]] = [Future() for _ in documents]
        words = sum(len(document.token_ids) for document in documents)
        with self._changed:
            # A request that finds the queue empty is accepted, however long it is.
            seconds = self._speed.seconds_for(self._waiting_words)
            too_much = self._waiting_words + words > self._most_waiting_words or seconds > MOST_WAIT_SECONDS
            if self._closed or (self._waiting_words and too_much):
                raise Busy(math.ceil(seconds) or RETRY_SECONDS)
            queue = self._small if words <= SMALL_WORDS else self._large
            queue.extend(zip(documents, futures, strict=True))
            self._waiting_words += words
            self._idle.clear()
            self._changed.notify()
        try:
            while wait(futures, LOOK_SECONDS).not_done:
                stop_if_abandoned()
        except Abandoned:
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]

    @property
    def words_per_second(self) -> float:
        """Speed of the last batches; infinite before the first."""
        return self._speed.words_per_second

    @property
    def waiting(self) -> int:
        """Documents that wait for the network."""
        with self._changed:
            return len(self._small) + len(self._large)

    def wait_until_idle(self, seconds: float) -> None:
        """Returns when nothing is waiting and nothing is scored, or after so many seconds."""
        self._idle.wait(seconds)

    def close(self) -> None:
        """Scores what is waiting, accepts nothing more and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        """Scores batch after batch."""
        while batch := self._next_batch():
            documents, futures = zip(*batch, strict=True)
            try:
                self.calls += 1
                begun = time.monotonic()
                verdicts = self._score(documents)
                seconds = time.monotonic() - begun
                with self._changed:
                    self._speed.add(sum(len(document.token_ids) for document in documents), seconds)
                self.documents += len(documents)
                for future, verdict in zip(futures, verdicts, strict=True):
                    future.set_result(verdict)
            except Exception as error:  # passed on to the threads that asked; this thread continues
                for future in futures:
                    if not future.done():
                        future.set_exception(error)

    def _next_batch(self) -> list[tuple[EncodedDocument, Future[Verdict]]]:
        """Waits for documents and returns them, up to the limit. Empty when the batcher was closed."""
        with self._changed:
            batch: list[Waiting] = []
            if not self._small and not self._large:
                self._idle.set()
            while not batch and (self._small or self._large or not self._closed):
                self._changed.wait_for(lambda: self._small or self._large or self._closed)
                batch = self._take(self._small, 0)
                batch += self._take(self._large, sum(len(document.token_ids) for document, _ in batch))
            return batch

    def _take(self, queue: collections.deque[Waiting], words: int) -> list[Waiting]:
        """Takes documents from a queue for a batch of so many words: the first one, and what else has room."""
        taken: list[Waiting] = []
        while queue and (not taken or words + len(queue[0][0].token_ids) <= self._most_words):
            document, future = queue.popleft()
            self._waiting_words -= len(document.token_ids)
            if future.set_running_or_notify_cancel():  # not of a client that went away
                taken.append((document, future))
                words += len(document.token_ids)
        return taken
