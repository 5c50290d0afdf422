"""Which documents make a batch, in which order, and reading ahead."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from config import TrainingSettings
from runtime.input_pipeline import Epochs, Split, evaluation_batches, first_of, read_ahead, training_batches
from tests.helpers import write_tiny_records

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


@pytest.mark.parametrize("bucket_by", ["sentences", "words", "none"])
def test_batches_by_words_hold_every_document_once_and_stay_under_their_ceiling(
    index: np.ndarray, bucket_by: str
) -> None:
    batches = training_batches(index, 64, 1, 0, batch_words=700, bucket_by=bucket_by)
    assert sorted(np.concatenate(batches)) == list(range(DOCUMENTS))
    words = [index["words"][batch].sum() for batch in batches]
    assert all(count <= 700 or len(batch) == 1 for count, batch in zip(words, batches, strict=True))
    assert any(count > 700 for count in words)  # a document longer than a batch has one of its own
    assert np.mean(words) > 450


def test_buckets_are_even_in_what_they_are_made_by(index: np.ndarray) -> None:
    def spread(field: str, bucket_by: str) -> float:
        batches = training_batches(index, 16, 1, 0, bucket_by=bucket_by)
        return float(np.mean([np.ptp(index[field][batch]) for batch in batches]))

    assert spread("words", "words") < 0.3 * spread("words", "sentences") < 0.3 * spread("words", "none")
    assert spread("sentences", "sentences") < 0.3 * spread("sentences", "words") < 0.3 * spread("sentences", "none")


def test_epochs_of_different_lengths_know_where_they_begin(index: np.ndarray) -> None:
    epochs = Epochs(index, TrainingSettings(batch_words=900, num_epochs=4, seed=5, bucket_by="none"))
    lengths = [len(epochs.batches(epoch)) for epoch in range(4)]
    assert len(set(lengths)) > 1  # otherwise this test shows nothing
    assert epochs.starts.tolist() == [0, *np.cumsum(lengths)] and epochs.total_steps == sum(lengths)
    assert [epochs.steps(epoch) for epoch in range(4)] == lengths
    assert epochs.passed(0) == 0 and epochs.passed(lengths[0]) == 1
    assert epochs.passed(lengths[0] + 3) == pytest.approx(1 + 3 / lengths[1])
    assert all(epochs.step_after(epochs.passed(step)) == step for step in range(1, sum(lengths) + 1))
    constant = Epochs(index, TrainingSettings(batch_size=16, num_epochs=2))
    assert constant.starts.tolist() == [0, 78, 156] == [0, *(78 * n for n in (1, 2))]


def test_caps_read_the_first_sentences_and_words_and_tell_what_they_cut(tmp_path: Path) -> None:
    texts = write_tiny_records(tmp_path, documents=40)["train"]
    whole = Split(tmp_path, "train")
    numbers = np.array([3, 31, 8, 20])
    for max_sentences, max_words in ((0, 0), (2, 0), (0, 3), (2, 3), (1, 1), (99, 99)):
        cut = [
            [sentence[: max_words or None] for sentence in text.sentences[: max_sentences or None]] for text in texts
        ]
        split = Split(tmp_path, "train", max_sentences, max_words)
        batch = split.read(numbers)
        for documents in (batch.documents, first_of(whole.read(numbers).documents, max_sentences, max_words)):
            tokens, lengths, sentences = (part.numpy().tolist() for part in documents)
            assert tokens == [word for n in numbers for sentence in cut[n] for word in sentence]
            assert lengths == [len(sentence) for n in numbers for sentence in cut[n]]
            assert sentences == [len(cut[n]) for n in numbers]
        kept = [sum(map(len, sentences)) for sentences in cut]
        all_words = [sum(map(len, text.sentences)) for text in texts]
        words, documents_cut = split.cut_shares()
        assert words == pytest.approx(1 - sum(kept) / sum(all_words))
        assert documents_cut == np.mean([a < b for a, b in zip(kept, all_words, strict=True)])
        epochs = Epochs(whole.index, TrainingSettings(max_sentences=max_sentences, max_words=max_words))
        assert (epochs.index["sentences"] == [len(sentences) for sentences in cut]).all()
        assert (epochs.index["words"] >= kept).all() and (epochs.index["words"] <= all_words).all()
        split.close()
    whole.close()


def test_joined_splits_read_as_one(tmp_path: Path) -> None:
    texts = write_tiny_records(tmp_path, documents=12)
    split = Split(tmp_path, "train+valid")
    numbers = np.array([13, 0, 11, 12, 15])
    wanted = [[*texts["train"], *texts["valid"]][number] for number in numbers]
    assert len(split) == 16 and split.ids(numbers) == [text.id for text in wanted]
    batch = split.read(numbers)
    assert batch.labels.numpy().tolist() == [text.label for text in wanted]
    assert batch.documents.token_ids.numpy().tolist() == [word for text in wanted for s in text.sentences for word in s]
    split.close()


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
