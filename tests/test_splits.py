"""Splits chosen part by part: the choice that sorting all documents together gives, and what is counted of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus import parts, splits
from corpus.parts import HASH_SHIFT, Parts
from corpus.splits import (
    LEFT_OUT,
    NAME,
    SEEN,
    TEST,
    TRAIN,
    UNLABELLED,
    VALID,
    Survey,
    add_noted,
    choose_groups,
    examine,
    leave_seen,
    leave_surplus,
    move_share,
    new_survey,
    noted,
    repeated_document,
    room,
)
from tests.helpers import splits_of, survey_of


def random_groups(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    texts = generator.integers(0, 300, 500).astype(np.uint64)  # many repeat; some with another class
    return texts << np.uint64(55), generator.choice(3, 500, p=[0.1, 0.3, 0.6])


@pytest.fixture(params=["in memory", "on the disk"], autouse=True)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "on the disk":
        monkeypatch.setattr(parts, "IN_MEMORY", 40)
        monkeypatch.setattr(splits, "NUMBER_SHIFT", 5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.9])
def test_a_share_of_each_class_in_which_equal_texts_stay_together(seed: int, share: float) -> None:
    texts, classes = random_groups(seed)
    survey = survey_of(texts, classes)
    move_share(survey, VALID, share)
    chosen = splits_of(survey) == VALID
    assert not set(texts[chosen]) & set(texts[~chosen])
    lowest = {text: classes[texts == text].min() for text in set(texts)}
    counted = np.array([lowest[text] for text in texts])
    for class_id in range(3):
        sizes = np.unique(texts[counted == class_id], return_counts=True)[1]
        assert 0 <= round(share * sizes.sum()) - chosen[counted == class_id].sum() < sizes.max()
    order = np.random.default_rng(99).permutation(len(texts))
    shuffled = survey_of(texts[order], classes[order])
    move_share(shuffled, VALID, share)
    assert (splits_of(shuffled) == splits_of(survey)[order]).all()


@pytest.mark.parametrize(
    ("sizes", "share", "taken"),
    [
        ([1] * 10, 0.2, [0, 1]),
        ([3, 1, 1, 5], 0.2, [1, 2]),  # the group of three would be too many
        ([1, 1], 0.1, [0]),  # at least one
        ([1, 1], 0.9, [0]),  # and never all
        ([1], 0.5, []),
        ([2], 0.5, []),
        ([], 0.5, []),
        ([1, 1], 0.0, []),
    ],
)
def test_choose_groups(sizes: list[int], share: float, taken: list[int]) -> None:
    wanted = room(sum(sizes), share)
    assert choose_groups(sizes, wanted) == (taken, wanted - sum(sizes[place] for place in taken))


def random_survey(seed: int) -> tuple[Survey, np.ndarray, np.ndarray, np.ndarray]:
    """All splits with texts that repeat within and across them; the survey, and its hashes, classes and splits."""
    texts, classes = random_groups(seed)
    own = np.random.default_rng(seed + 50).choice([TRAIN, VALID, TEST, UNLABELLED, LEFT_OUT], 500)
    classes[own == UNLABELLED] = -1
    return survey_of(texts, classes, own), texts, classes, own


@pytest.mark.parametrize("seed", range(3))
def test_what_is_counted_is_what_sets_of_texts_give(seed: int, tmp_path: Path) -> None:
    survey, texts, classes, own = random_survey(seed)
    found = examine(survey, tmp_path)
    of = {split: set(texts[own == split].tolist()) for split in range(5)}
    training = of[TRAIN] | of[VALID]
    labels: dict[int, set[int]] = {}
    for text, class_id, split in zip(texts.tolist(), classes.tolist(), own.tolist(), strict=True):
        if split in {TRAIN, VALID}:
            labels.setdefault(text, set()).add(class_id)
    seen = [split == TEST and text in training for text, split in zip(texts.tolist(), own.tolist(), strict=True)]
    assert found.distinct.tolist() == [len(of[split]) for split in range(5)]
    assert found.of_training == len(training) and found.in_both == len(of[TRAIN] & of[VALID])
    assert found.contradicted == sum(len(found) > 1 for found in labels.values())
    assert found.seen == sum(seen) and found.counts.sum() == 500
    assert found.test_in_unlabelled == sum(text in of[UNLABELLED] for text in texts[own == TEST].tolist())
    assert found.unlabelled_in_training == sum(text in training for text in texts[own == UNLABELLED].tolist())
    for class_id in range(3):
        assert found.texts_of_classes[class_id] == len(set(texts[(own == TRAIN) & (classes == class_id)]))
        assert found.counts[VALID, class_id] == ((own == VALID) & (classes == class_id)).sum()
    assert list(found.each()) == [split + SEEN * was for split, was in zip(own.tolist(), seen, strict=True)]


def test_classes_of_one_size_keep_the_lowest_hashes() -> None:
    texts, classes = random_groups(1)
    survey = survey_of(texts, classes)
    leave_surplus(survey)
    left = splits_of(survey) == TRAIN
    fewest = np.bincount(classes).min()
    for class_id in range(3):
        own = np.flatnonzero(classes == class_id)
        lowest = own[np.argsort(texts[own], kind="stable")[:fewest]]
        assert set(own[left[own]]) == set(lowest)
    assert survey.to_balance == 500 - 3 * fewest


def test_texts_of_the_test_split_are_left_out_elsewhere() -> None:
    survey, texts, _, own = random_survey(2)
    leave_seen(survey)
    seen = np.isin(texts, texts[own == TEST]) & (own != TEST) & (own != LEFT_OUT)
    assert seen.any() and survey.seen == seen.sum()
    assert (splits_of(survey) == np.where(seen, LEFT_OUT, own)).all()


def test_no_document_moves_to_test_whose_text_is_in_a_split_that_a_person_has_made() -> None:
    texts, classes = random_groups(3)
    own = np.where(np.arange(500) % 5, TRAIN, VALID)
    survey = survey_of(texts, classes, own)
    move_share(survey, TEST, 0.5)
    moved = splits_of(survey) == TEST
    assert moved.sum() > 50 and not np.isin(texts[moved], texts[own == VALID]).any()


def test_notes_hash_ids_and_texts_as_they_are_the_same_on_every_machine(tmp_path: Path) -> None:
    survey, names = new_survey(["a", "b"], 2, tmp_path), Parts(tmp_path, NAME, HASH_SHIFT)
    documents = [(f"d{number % 90}", f"text  {number}\n", TRAIN, number % 2) for number in range(100)]
    for more in noted([*documents, ("d100", "text\t7", UNLABELLED, -1), ("d101", " \n", TRAIN, 0)], 13):
        add_noted(survey, names, more)
    assert repeated_document(names) == 90 and (survey.documents, survey.without_text) == (102, 1)
    assert survey.counts[[TRAIN, UNLABELLED, LEFT_OUT]].tolist() == [[50, 50, 0], [0, 0, 1], [1, 0, 0]]
    assert examine(survey, tmp_path).unlabelled_in_training == 1
