"""Properties of the order of training: every document once an epoch; a resumed run takes the steps that are left."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from config import TrainingSettings
from runtime.input_pipeline import Epochs, evaluation_batches
from runtime.run_folder import Progress
from training.trainer import Interrupted, Trainer

MOST_STEPS = 60


@st.composite
def indexes(draw: st.DrawFn) -> np.ndarray:
    """An index of 1 to 80 documents; half of all sentence counts repeat, so that there are ties to break."""
    sentences = np.array(draw(st.lists(st.integers(1, 6), min_size=1, max_size=80)))
    words = sentences * np.array(draw(st.lists(st.integers(1, 9), min_size=len(sentences), max_size=len(sentences))))
    rows = np.zeros(len(sentences), [("words", "u4"), ("sentences", "u4")])
    rows["sentences"], rows["words"] = sentences, words
    return rows


TRAININGS = st.builds(
    TrainingSettings,
    batch_size=st.integers(1, 90),
    batch_words=st.one_of(st.just(0), st.integers(1, 300)),
    bucket_by=st.sampled_from(["sentences", "words", "none"]),
    max_sentences=st.sampled_from([0, 0, 3]),
    max_words=st.sampled_from([0, 0, 2]),
    num_epochs=st.integers(1, 4),
    seed=st.integers(0, 2**31 - 1),
)


class OrderOnly(Trainer):
    """A trainer whose steps do nothing but write down their documents; it is stopped after ``stop_after`` steps."""

    def __init__(self, epochs: Epochs, progress: Progress, stop_after: int) -> None:
        self.config = SimpleNamespace(training=epochs.settings, retraining=None)  # type: ignore[assignment]
        self.arguments = argparse.Namespace()
        self.epochs, self.progress, self.stop_after = epochs, progress, stop_after
        self.last_step = epochs.total_steps
        self.bar = tqdm(disable=True)
        self.taken: list[list[int]] = []

    def remaining_batches(self) -> Iterator[Any]:
        self.read_part = lambda numbers: numbers  # type: ignore[method-assign,assignment,return-value]
        return super().remaining_batches()

    def take_step(self, batch: Any) -> None:
        self.taken.append(batch.tolist())
        self.progress.step += 1

    def at_evaluation(self) -> bool:
        return False

    def save_or_stop(self) -> None:
        if len(self.taken) == self.stop_after:
            raise Interrupted


def train(epochs: Epochs, progress: Progress, stop_after: int) -> list[list[int]]:
    trainer = OrderOnly(epochs, progress, stop_after)
    try:
        assert trainer.train_epochs() == "all epochs done"
    except Interrupted:
        assert len(trainer.taken) == stop_after
    return trainer.taken


@given(indexes(), TRAININGS, st.data())
def test_a_run_that_is_stopped_anywhere_takes_the_batches_of_an_uninterrupted_one(
    index: np.ndarray, settings: TrainingSettings, data: st.DataObject
) -> None:
    epochs = Epochs(index, settings)
    whole = [batch.tolist() for epoch in range(settings.num_epochs) for batch in epochs.batches(epoch)]
    progress, taken = Progress(), []
    for _ in range(data.draw(st.integers(0, 3), "number of stops")):
        stop_after = data.draw(st.integers(1, max(1, min(MOST_STEPS, len(whole)))), "steps before it")
        taken += train(epochs, progress, stop_after)
        epochs = Epochs(index.copy(), settings)  # nothing but the progress survives
    taken += train(epochs, progress, -1)
    assert taken == whole
    assert progress.step == epochs.total_steps == len(whole)


@given(indexes(), TRAININGS)
def test_every_epoch_has_every_document_once_in_batches_within_their_limit(
    index: np.ndarray, settings: TrainingSettings
) -> None:
    epochs = Epochs(index, settings)
    for epoch in range(settings.num_epochs):
        batches = epochs.batches(epoch)
        assert sorted(np.concatenate(batches)) == list(range(len(index)))
        assert len(batches) == epochs.steps(epoch)
        for batch in batches:
            words = epochs.index["words"][batch].sum()
            within = words <= settings.batch_words if settings.batch_words else len(batch) <= settings.batch_size
            assert within or (settings.batch_words and len(batch) == 1)


@given(indexes(), TRAININGS)
def test_the_step_after_so_many_epochs_is_the_reverse_of_the_epochs_that_have_passed(
    index: np.ndarray, settings: TrainingSettings
) -> None:
    epochs = Epochs(index, settings)
    for step in range(1, epochs.total_steps + 1):
        assert epochs.step_after(epochs.passed(step)) == step
    assert epochs.passed(epochs.total_steps) == pytest.approx(settings.num_epochs)


@given(indexes(), st.integers(1, 200), st.integers(1, 30))
def test_evaluation_reads_every_document_once_within_its_limits(
    index: np.ndarray, max_words: int, max_documents: int
) -> None:
    batches = evaluation_batches(index, max_words, max_documents)
    assert sorted(np.concatenate(batches)) == list(range(len(index)))
    assert all(len(batch) <= max_documents for batch in batches)
    assert all(len(batch) == 1 or index["words"][batch].sum() <= max_words for batch in batches)
