"""Many threads ask for the scores of a few documents each; the network is called once for all that wait.

There is no timer: while the network computes one batch, the next one is collected. A single request is scored at once,
and fifty at a time are scored in two or three calls.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.predictor import Verdict
    from text.text_reader import EncodedDocument

MOST_WAITING_WORDS = 2_000_000  # a few seconds of work; what exceeds that is refused


class Busy(Exception):
    """More is waiting than the network scores in a few seconds."""


class Batcher:
    """Collects documents for one network. Every method may be called from any thread.

    Args:
        score: Scores documents, for example :meth:`runtime.predictor.Predictor.score`; called from one thread.
        most_words: Words in one call, where a document is not longer.
        most_waiting_words: Words that may wait.

    Attributes:
        calls: Number of times that ``score`` was called.
    """

    def __init__(
        self,
        score: Callable[[Sequence[EncodedDocument]], list[Verdict]],
        most_words: int,
        most_waiting_words: int = MOST_WAITING_WORDS,
    ) -> None:
        self._score, self._most_words, self._most_waiting_words = score, most_words, most_waiting_words
        self._waiting: collections.deque[tuple[EncodedDocument, Future[Verdict]]] = collections.deque()
        self._waiting_words = 0
        self._changed = threading.Condition()
        self._closed = False
        self.calls = 0
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def score(self, documents: Sequence[EncodedDocument]) -> list[Verdict]:
        """Scores documents, together with those of other threads; returns the verdicts in the order given.

        Raises:
            Busy: Too much is waiting, or the batcher was closed.
        """
        futures: list[Future[Verdict]] = [Future() for _ in documents]
        words = sum(len(document.token_ids) for document in documents)
        with self._changed:
            # A request that finds the queue empty is accepted, however long it is.
            if self._closed or (self._waiting and self._waiting_words + words > self._most_waiting_words):
                raise Busy
            self._waiting.extend(zip(documents, futures, strict=True))
            self._waiting_words += words
            self._changed.notify()
        return [future.result() for future in futures]

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
                for future, verdict in zip(futures, self._score(documents), strict=True):
                    future.set_result(verdict)
            except Exception as error:  # passed on to the threads that asked; this thread continues
                for future in futures:
                    if not future.done():
                        future.set_exception(error)

    def _next_batch(self) -> list[tuple[EncodedDocument, Future[Verdict]]]:
        """Waits for documents and returns them, up to the limit. Empty when the batcher was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            batch: list[tuple[EncodedDocument, Future[Verdict]]] = []
            words = 0
            while self._waiting and (not batch or words + len(self._waiting[0][0].token_ids) <= self._most_words):
                batch.append(self._waiting.popleft())
                words += len(batch[-1][0].token_ids)
            self._waiting_words -= words
            return batch
