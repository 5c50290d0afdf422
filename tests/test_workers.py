"""The workers of a cluster: each takes its part of a batch, and their gradients are summed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ModelSettings, TrainingSettings
from han import HAN
from network.bilstm import BiLSTM
from network.cnn import CNN
from network.contract import Documents, JointSeed, NetworkArguments
from runtime.input_pipeline import LabelledBatch, part_of
from runtime.workers import SINGLE_WORKER, SingleWorker, Workers
from training.step import train_step

# ---------------------------------------------------------------------------------------------------------------------
# Dealing documents


def unconnected(index: int, count: int, kind: type[Workers] = Workers) -> Any:
    workers = object.__new__(kind)
    workers.index, workers.count = index, count
    return workers


@pytest.mark.parametrize("documents", [1, 2, 3, 7, 64])
def test_parts_are_disjoint_make_up_the_batch_and_weigh_what_they_hold(documents: int) -> None:
    batch, count = np.arange(100, 100 + documents), 3
    team = [unconnected(index, count) for index in range(count)]
    counted = [workers.part(batch) for workers in team if workers.share(documents)]
    assert sorted(np.concatenate(counted)) == batch.tolist()
    assert sum(workers.share(documents) for workers in team) == pytest.approx(1)
    for workers in team:
        part = workers.part(batch)
        assert len(part) and set(part) <= set(batch)
        assert workers.share(documents) in {0, len(part) / documents}


# ---------------------------------------------------------------------------------------------------------------------
# Adding up


class Replayed(Workers):
    """Sums without a network: the first pass notes what each worker sends, the second hands out what all sent."""

    sent: list[list[Any]]
    replies: Iterator[Any] | None = None

    def exchange(self, values: Any, join: Callable[[list[Any]], Any]) -> Any:
        if self.replies is None:
            self.sent.append([values, join])
            return values
        return next(self.replies)

    def _sum(self, values: Any) -> Any:
        return self.exchange(values, tf.add_n)

    def _rows(self, values: Any) -> Any:
        return self.exchange(values, lambda parts: tf.concat(parts, 0))


TEXTS = [([[3, 4, 5], [6]], 1), ([[3, 7]], 0), ([[8], [4, 4], [2, 9, 3, 5]], 1), ([[7, 6, 6]], 0), ([[5]], 1)]
CLIP = TrainingSettings(max_grad_norm=0.02, l2=0.03)


def batch_of(numbers: np.ndarray) -> LabelledBatch:
    texts = [TEXTS[number] for number in numbers]
    sentences = [sentence for text, _ in texts for sentence in text]
    vectors = (np.concatenate(sentences), [len(s) for s in sentences], [len(text) for text, _ in texts])
    documents = Documents(*(tf.constant(v, tf.int32) for v in vectors))
    return LabelledBatch(documents, tf.constant([label for _, label in texts]), numbers)


def stepped(
    workers: SingleWorker, numbers: np.ndarray, kind: Callable[..., Any] = HAN, dropout: float = 0.0
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """What one step of plain gradient descent reports, and the weights after it."""
    settings = ModelSettings(word_units=3, sentence_units=4, attention_dim=6, filters=3)
    model = kind(NetworkArguments(11, 5, 2, settings, dropout, word_dropout=dropout / 2, seed=4))
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    batch = batch_of(numbers)
    seed: Any = tf.constant([1, 2])
    if workers.count > 1:
        batch = part_of(batch, workers.part(np.arange(len(numbers))))
        assert batch.joint is not None
        seed = JointSeed(seed, batch.joint)
    share = tf.constant(workers.share(len(numbers)), tf.float32)
    report = train_step(model, optimizer, batch.documents, batch.labels, seed, CLIP, workers, share)
    weights = {name: weight.numpy() for name, weight in model.named_weights().items()}
    return {name: float(value) for name, value in report.items()}, weights


@pytest.mark.parametrize(
    ("documents", "count", "kind", "dropout"),
    [
        *((5, 2, HAN, 0.0), (1, 2, HAN, 0.0), (5, 3, HAN, 0.0)),
        *((5, 2, HAN, 0.5), (1, 2, HAN, 0.5), (5, 3, HAN, 0.5), (5, 2, BiLSTM, 0.5), (5, 2, CNN, 0.5)),
    ],
)
def test_workers_take_the_step_of_one_process_with_the_joint_batch(
    documents: int, count: int, kind: Callable[..., Any], dropout: float
) -> None:
    """Also with dropout, and where parts are uneven or empty; clipping and L2 act on the joint gradient."""
    numbers = np.arange(documents)
    told_alone, expected = stepped(SINGLE_WORKER, numbers, kind, dropout)
    if dropout:
        undropped = stepped(SINGLE_WORKER, numbers, kind)[1]
        assert any(np.abs(weight - undropped[name]).max() > 1e-4 for name, weight in expected.items())
    team = [unconnected(index, count, Replayed) for index in range(count)]
    for workers in team:
        workers.sent = []
        stepped(workers, numbers, kind, dropout)
    rounds = zip(*(workers.sent for workers in team), strict=True)
    joined = [calls[0][1]([values for values, _ in calls]) for calls in rounds]
    results = []
    for workers in team:
        workers.replies = iter(joined)
        results.append(stepped(workers, numbers, kind, dropout))
    for told, weights in results:
        for name, weight in expected.items():
            np.testing.assert_allclose(weights[name], weight, atol=2e-7, err_msg=name)
            np.testing.assert_array_equal(weights[name], results[0][1][name])
        for name in {"loss", "accuracy", "gradient_norm", "sentence_attention_entropy"} & told_alone.keys():
            assert told[name] == pytest.approx(told_alone[name], rel=1e-5, abs=1e-6), name


def test_a_part_of_a_batch_has_the_words_sentences_and_labels_of_its_documents() -> None:
    whole = batch_of(np.array([2, 0, 1, 3, 4]))
    marks = tf.range(tf.size(whole.documents.token_ids)) % 2
    whole = whole._replace(marked=marks)
    part = part_of(whole, np.array([0, 2, 4]))
    for ours, theirs in zip(part.documents, batch_of(np.array([2, 1, 4])).documents, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert part.numbers.tolist() == [2, 1, 4] and part.labels.numpy().tolist() == [1, 0, 1]
    assert part.joint is not None
    tokens, lengths, counts = whole.documents
    for every, places, own in (
        (tokens, part.joint.words, part.documents.token_ids),
        (lengths, part.joint.sentences, part.documents.words_per_sentence),
        (counts, part.joint.parts, part.documents.sentences_per_document),
        (marks, part.joint.words, part.marked),
    ):
        np.testing.assert_array_equal(tf.gather(every, places), own)


def test_rows_that_several_workers_name_are_added_up_and_distinct() -> None:
    parts = [([2, 5], [[1.0, 2], [3, 4]]), ([5, 0, 2], [[10.0, 20], [30, 40], [50, 60]])]
    workers = unconnected(0, 2, Replayed)
    workers.replies = iter(tf.constant(np.concatenate([part[which] for part in parts])) for which in (1, 0))
    gradient = tf.IndexedSlices(tf.constant(parts[0][1], tf.float64), tf.constant(parts[0][0]), (6, 2))
    added = workers._sum_rows(gradient, tf.constant(1.0, tf.float64))
    dense = np.zeros((6, 2))
    for rows, values in parts:
        np.add.at(dense, np.array(rows), np.array(values))
    assert len(set(added.indices.numpy())) == len(added.indices) == 3  # RowwiseAdam counts on it
    np.testing.assert_array_equal(tf.convert_to_tensor(added), dense)
