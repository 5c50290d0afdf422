"""How far an explanation is, for the person who waits for it.

The browser names its request by a random ticket, and asks with the ticket how far the work is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from runtime.abandoning import counting_with
from runtime.predictor import BATCH_WORDS

MOST_TICKETS = 1_000  # requests that are followed at once; of more nothing is reported
MOST_TICKET = 64  # characters


@dataclass
class Work:
    """An explanation at work.

    Attributes:
        words: That the network will read in all, about.
        batches: That it has begun to read.
    """

    words: int = 0
    batches: int = 0

    def count(self) -> None:
        """Counts a batch."""
        self.batches += 1

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1, about; ``None`` before it began."""
        return min(self.batches * BATCH_WORDS / self.words, 0.99) if self.words and self.batches else None


_current: ContextVar[Work | None] = ContextVar("work", default=None)
_works: dict[str, Work] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def followed_by(ticket: str) -> Iterator[None]:
    """Within it, the work of this thread can be followed with a ticket; nothing changes without one."""
    work = Work()
    with _lock:
        known = bool(ticket) and len(ticket) <= MOST_TICKET and len(_works) < MOST_TICKETS and ticket not in _works
        if known:
            _works[ticket] = work
    token = _current.set(work)
    try:
        with counting_with(work.count):
            yield
    finally:
        _current.reset(token)
        if known:
            with _lock:
                del _works[ticket]


def will_read(words: int) -> None:
    """Says how many words the network will read for the work of this thread."""
    work = _current.get()
    if work is not None:
        work.words += words


def share_done(ticket: str) -> float | None:
    """How much of the work with that ticket is done; ``None`` before it began, or after it ended."""
    with _lock:
        work = _works.get(ticket)
    return work.share if work is not None else None
