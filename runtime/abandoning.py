"""Work for which nobody waits any more stops between two batches.

    with stopping_when(gone.is_set):
        explain(...)  # raises Abandoned soon after gone is set

What reads many batches calls :func:`between_batches` before each; outside ``stopping_when`` and ``pausing_with`` it
does nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_gone: ContextVar[Callable[[], bool] | None] = ContextVar("gone", default=None)
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


def between_batches() -> None:
    """Lets pass what is more urgent; raises :class:`Abandoned` where nobody waits for the work of this thread."""
    pause = _pause.get()
    if pause is not None:
        pause()
    stop_if_abandoned()
