"""Documents of many threads are scored together, each caller gets its own back, and nothing is lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from page.batcher import Batcher, Busy
from page.speed import FADE, MeasuredSpeed
from runtime.abandoning import Abandoned, stopping_when


class NumberedText:
    """A document of so many words, recognised by its number."""

    def __init__(self, number: int, words: int = 3) -> None:
        self.number, self.token_ids = number, np.zeros(words, np.int32)


Text: Any = NumberedText  # in the place of an encoded document


class Network:
    """Answers with the documents' numbers; waits at the gate; keeps the sizes of its batches."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def score(self, documents: Sequence[Any]) -> list[Any]:
        self.batches.append([document.number for document in documents])
        self.begun.set()
        assert self.gate.wait(20)
        if any(document.number < 0 for document in documents):
            raise MemoryError("too large")
        return [document.number for document in documents]


@pytest.fixture
def network() -> Iterator[Any]:
    network = Network()
    yield network
    network.gate.set()


def batcher_of(network: Network, **limits: int) -> Any:
    return Batcher(network.score, **limits)


def test_what_comes_while_the_network_works_is_one_batch(network: Any) -> None:
    batcher = batcher_of(network, most_words=100)
    with ThreadPoolExecutor(30) as pool:
        first = pool.submit(batcher.score, [Text(0)])
        assert network.begun.wait(20)
        rest = [pool.submit(batcher.score, [Text(n), Text(100 + n)]) for n in range(1, 13)]
        while len(batcher._small) < 24:
            pass
        network.gate.set()
        assert first.result(20) == [0]
        assert [future.result(20) for future in rest] == [[n, 100 + n] for n in range(1, 13)]
    assert [len(batch) for batch in network.batches] == [1, 24]
    batcher.close()


def test_a_batch_holds_no_more_words_than_it_may_and_a_longer_document_goes_alone(network: Any) -> None:
    network.gate.set()
    batcher = batcher_of(network, most_words=10)
    assert batcher.score([Text(1, 4), Text(2, 6), Text(3, 1), Text(4, 50), Text(5, 1)]) == [1, 2, 3, 4, 5]
    assert network.batches == [[1, 2], [3], [4], [5]]
    assert batcher.score([]) == []
    batcher.close()


def test_a_small_request_does_not_wait_for_a_large_one(network: Any) -> None:
    batcher = batcher_of(network, most_words=50_000)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.score, [Text(0)])
        assert network.begun.wait(20)
        large = pool.submit(batcher.score, [Text(n, 30_000) for n in range(1, 6)])
        while len(batcher._large) < 5:
            pass
        small = pool.submit(batcher.score, [Text(9), Text(10)])
        while not batcher._small:
            pass
        network.gate.set()
        assert (first.result(20), small.result(20)) == ([0], [9, 10])
        assert large.result(20) == [1, 2, 3, 4, 5]
    assert network.batches == [[0], [9, 10, 1], [2], [3], [4], [5]]
    batcher.close()


def test_what_a_client_that_went_away_asked_is_not_scored(network: Any) -> None:
    batcher, gone = batcher_of(network, most_words=10), threading.Event()

    def ask() -> None:
        with stopping_when(gone.is_set), pytest.raises(Abandoned):
            batcher.score([Text(1), Text(2)])

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.score, [Text(0)])
        assert network.begun.wait(20)
        asking = pool.submit(ask)
        while len(batcher._small) < 2:
            pass
        gone.set()
        asking.result(20)
        network.gate.set()
        assert first.result(20) == [0] and batcher.score([Text(3)]) == [3]
    assert network.batches == [[0], [3]]
    batcher.close()


def test_an_error_reaches_those_who_asked_and_the_next_are_answered(network: Any) -> None:
    network.gate.set()
    batcher = batcher_of(network, most_words=10)
    with pytest.raises(MemoryError, match="too large"):
        batcher.score([Text(-1)])
    assert batcher.score([Text(7)]) == [7]
    batcher.close()


def test_too_much_is_refused_and_so_is_everything_after_the_end(network: Any) -> None:
    batcher = batcher_of(network, most_words=10, most_waiting_words=20)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.score, [Text(0)])
        assert network.begun.wait(20)
        long = pool.submit(batcher.score, [Text(1, 999)])  # nothing else waits: it is taken, however long
        while not batcher._small:
            pass
        with pytest.raises(Busy):
            batcher.score([Text(2)])
        network.gate.set()
        assert (first.result(20), long.result(20)) == ([0], [1])
    batcher.close()
    with pytest.raises(Busy):
        batcher.score([Text(3)])


def test_the_speed_is_that_of_the_last_measurements() -> None:
    speed = MeasuredSpeed()
    assert speed.seconds_for(1_000_000) == 0
    speed.add(1_000, 1.0)
    assert speed.words_per_second == 1_000 and speed.seconds_for(500) == 0.5
    speed.add(100, 1.0)
    assert speed.words_per_second == pytest.approx((1_000 * FADE + 100) / (FADE + 1))
    for _ in range(200):
        speed.add(300, 1.0)
    assert speed.words_per_second == pytest.approx(300)
    guessed = MeasuredSpeed(100.0)
    guessed.add(0, 1.0)
    assert 0 < guessed.words_per_second < 100
