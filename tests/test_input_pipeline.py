"""Which documents make a batch, in which order, and reading ahead."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import write_tiny_records

from input_pipeline import Split, evaluation_batches, read_ahead, training_batches

DOCUMENTS = 1237


@pytest.fixture(scope="module")
def index() -> np.ndarray:
    generator = np.random.default_rng(1)
    rows = np.zeros(DOCUMENTS, [("words", "u4"), ("sentences", "u4")])
    rows["sentences"] = generator.integers(1, 40, DOCUMENTS)
    rows["words"] = rows["sentences"] * generator.integers(3, 25, DOCUMENTS)
    return rows


@pytest.mark.parametrize("batch_size", [1, 7, 64, 5000])
def test_every_document_stands_in_exactly_one_batch_of_an_epoch(index: np.ndarray, batch_size: int) -> None:
    batches = training_batches(index, batch_size, seed=3, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(DOCUMENTS))
    assert len(batches) == -(-DOCUMENTS // batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_order_is_a_pure_function_of_seed_and_epoch(index: np.ndarray) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(training_batches(index, 16, seed, epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_batches_hold_similar_numbers_of_sentences_in_random_order(index: np.ndarray) -> None:
    batches = training_batches(index, 16, seed=1, epoch=0)
    spread = [np.ptp(index["sentences"][batch]) for batch in batches]
    assert np.mean(spread) < 0.1 * np.ptp(index["sentences"])
    means = [index["sentences"][batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_evaluation_batches_stay_under_their_ceiling(index: np.ndarray) -> None:
    batches = evaluation_batches(index, max_words=300, max_documents=20)
    assert sorted(np.concatenate(batches)) == list(range(DOCUMENTS))
    for batch in batches:
        assert len(batch) <= 20
        assert index["words"][batch].sum() <= 300 or len(batch) == 1
    assert max(len(batch) for batch in batches) > 5
    assert evaluation_batches(index[:0], 300) == []


def test_split_reads_documents_as_they_were_written(tmp_path: Path) -> None:
    texts = write_tiny_records(tmp_path, documents=23)["train"]
    split = Split(tmp_path, "train")
    numbers = np.array([7, 0, 19])
    batch = split.read(numbers)
    wanted = [texts[number] for number in numbers]
    assert batch.documents.token_ids.numpy().tolist() == [word for text in wanted for s in text.sentences for word in s]
    assert batch.documents.words_per_sentence.numpy().tolist() == [len(s) for text in wanted for s in text.sentences]
    assert batch.documents.sentences_per_document.numpy().tolist() == [len(text.sentences) for text in wanted]
    assert batch.labels.numpy().tolist() == [text.label for text in wanted]
    assert split.ids(numbers) == [text.id for text in wanted]
    split.close()
    assert all(vector.dtype == "int32" for vector in (*batch.documents, batch.labels))


def test_read_ahead_keeps_order_and_hands_on_errors() -> None:
    def double(n: int) -> int:
        if n == 4:
            raise ValueError("four")
        return 2 * n

    assert list(read_ahead(double, range(4))) == [0, 2, 4, 6]
    items = read_ahead(double, range(9), depth=2)
    assert [next(items) for _ in range(4)] == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="four"):
        next(items)


def test_read_ahead_stays_within_its_depth_and_stops_with_its_reader() -> None:
    asked: list[int] = []
    items = read_ahead(lambda n: asked.append(n) or n, range(1000), depth=3)  # type: ignore[func-returns-value]
    next(items)
    time.sleep(0.3)
    assert len(asked) <= 6
    items.close()
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())
