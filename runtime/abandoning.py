"""Work for which nobody waits any more stops between two batches.

    with stopping_when(gone.is_set):
        explain(...)  # raises Abandoned soon after gone is set

What reads many batches calls :func:`between_batches` before each; outside ``stopping_when``, ``pausing_with`` and
``counting_with`` it does nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_gone: ContextVar[Callable[[], bool] | None] = ContextVar("gone", default=None)
_count: ContextVar[Callable[[], object] | None] = ContextVar("count", default=None)
_pause: ContextVar[Callable[[], object] | None] = ContextVar("pause", default=None)


class Abandoned(Exception):
    """Whoever asked for this work does not wait for it any more."""


@contextlib.contextmanager
def stopping_when(gone: Callable[[], bool]) -> Iterator[None]:
    """Within it, work of this thread stops when ``gone`` is true."""
    token = _gone.set(gone)
    try:
        yield
    finally:
        _gone.reset(token)


def stop_if_abandoned() -> None:
    """Raises :class:`Abandoned` where nobody waits for the work of this thread."""
    gone = _gone.get()
    if gone is not None and gone():
        raise Abandoned


@contextlib.contextmanager
def pausing_with(pause: Callable[[], object]) -> Iterator[None]:
    """Within it, work of this thread calls ``pause`` before each batch: it may wait there for what is more urgent."""
    token = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(token)


@contextlib.contextmanager
def counting_with(count: Callable[[], object]) -> Iterator[None]:
    """Within it, work of this thread calls ``count`` before each batch: somebody wants to know how far it is."""
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


def between_batches() -> None:
    """Lets pass what is more urgent; raises :class:`Abandoned` where nobody waits for the work of this thread."""
    for called in (_pause.get(), _count.get()):
        if called is not None:
            called()
    stop_if_abandoned()
