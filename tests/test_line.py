"""Explanations take turns; too many are refused at once; who went away leaves the line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import page.line
from page.batcher import MOST_RETRY_SECONDS, Busy
from page.line import SMALL, Line, Lines
from runtime.abandoning import Abandoned, between_batches, stopping_when


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Work:
    """Callers of a line, each of which works until it is let go."""

    def __init__(self, line: Line | Lines, pool: ThreadPoolExecutor) -> None:
        self.line, self.pool = line, pool
        self.order: list[str] = []
        self.gates: dict[str, threading.Event] = {}

    def begin(self, name: str, words: int, gone: threading.Event | None = None) -> Future[None]:
        self.gates[name] = threading.Event()

        def work() -> None:
            with stopping_when((gone or threading.Event()).is_set), self.line.turn(words):
                self.order.append(name)
                assert self.gates[name].wait(20)

        return self.pool.submit(work)


def until(condition: object) -> None:
    end = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_callers_take_turns_in_the_order_they_came(pool: ThreadPoolExecutor) -> None:
    line = Line(100, 10)
    work = Work(line, pool)
    done = []
    for number, name in enumerate("abc"):
        done.append(work.begin(name, 10))
        until(lambda number=number: len(line._line) == number + 1)
    assert work.order == ["a"]
    for number, name in enumerate("abc"):
        work.gates[name].set()
        done[number].result(20)
    assert work.order == ["a", "b", "c"] and not line._line and line._words == 0


def test_too_much_is_refused_at_once_with_a_time(pool: ThreadPoolExecutor) -> None:
    line = Line(100, 2)
    work = Work(line, pool)
    first = work.begin("costs more than may wait", 30_000_000)
    until(lambda: work.order)
    with pytest.raises(Busy) as caught, line.turn(1):
        pass
    assert caught.value.seconds == MOST_RETRY_SECONDS
    work.gates["costs more than may wait"].set()
    first.result(20)
    waiting = [work.begin(name, 1) for name in "abc"]
    until(lambda: len(line._line) == 3)
    with pytest.raises(Busy) as caught, line.turn(1):
        pass
    assert caught.value.seconds == 1
    for name in "abc":
        work.gates[name].set()
    for each in waiting:
        each.result(20)


def test_who_went_away_leaves_the_line(pool: ThreadPoolExecutor) -> None:
    line, gone = Line(100, 5), threading.Event()
    work = Work(line, pool)
    first = work.begin("a", 10)
    until(lambda: work.order)
    second = work.begin("b", 10, gone)
    until(lambda: len(line._line) == 2)
    gone.set()
    with pytest.raises(Abandoned):
        second.result(20)
    assert len(line._line) == 1 and line._words == 10
    work.gates["a"].set()
    first.result(20)


def test_an_error_in_a_turn_ends_it(pool: ThreadPoolExecutor) -> None:
    line = Line(100, 5)
    with pytest.raises(MemoryError), line.turn(10):
        raise MemoryError
    with line.turn(10):
        pass
    assert line._words == 0


def test_a_large_explanation_pauses_while_small_ones_work(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    small = Work(lines, pool)
    done = small.begin("small", 1)
    until(lambda: small.order)
    monkeypatch.setattr(page.line, "PAUSE_SECONDS", 0.3)
    with lines.turn(SMALL + 1):
        begun = time.monotonic()
        between_batches()
        assert 0.25 < time.monotonic() - begun < 5  # it goes on in any case
        monkeypatch.setattr(page.line, "PAUSE_SECONDS", 20.0)
        threading.Timer(0.2, small.gates["small"].set).start()
        begun = time.monotonic()
        between_batches()
        assert 0.15 < time.monotonic() - begun < 10  # and at once when the small one is done
    done.result(20)
    with lines.turn(SMALL):
        between_batches()


def test_a_small_explanation_does_not_wait_for_a_large_one(pool: ThreadPoolExecutor) -> None:
    lines = Lines()
    work = Work(lines, pool)
    large = work.begin("large", SMALL + 1)
    until(lambda: work.order)
    with lines.turn(SMALL):
        work.order.append("small")
    assert work.order == ["large", "small"]
    work.gates["large"].set()
    large.result(20)
