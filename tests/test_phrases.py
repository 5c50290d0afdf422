"""Phrases of a text: against every run of words, by hand, and added up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from explaining.explanations import Scores
from explaining.phrases import Phrase, find_phrases, is_punctuation, maximal_runs, phrases_of


def slow_runs(values: list[float]) -> list[tuple[int, int]]:
    """The definition of Ruzzo and Tompa: the run with the highest sum, then the same left and right of it."""
    sums = {(i, j): sum(values[i:j]) for i, j in itertools.combinations(range(len(values) + 1), 2)}
    if not sums or max(sums.values()) <= 0:
        return []
    first, end = max(sums, key=lambda run: (sums[run], run[0] - run[1]))
    right = [(end + i, end + j) for i, j in slow_runs(values[end:])]
    return [*slow_runs(values[:first]), (first, end), *right]


@pytest.mark.parametrize("seed", range(40))
def test_maximal_runs_are_those_of_the_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=generator.integers(1, 14)).tolist()
    assert maximal_runs(values) == slow_runs(values)


def test_phrases_end_at_punctuation_sentences_and_words_of_the_other_sign() -> None:
    scores = np.array([3.0, 2.0, 9.0, 2.0, -4.0, 3.0, 0.1, 0.1, 2.0])
    limits = np.zeros(9, bool)
    limits[2] = True  # a comma, whatever its score
    found = find_phrases(scores, np.array([6, 3]), limits, 9)
    assert found == [Phrase(0, 2, 5.0), Phrase(3, 4, 2.0), Phrase(4, 5, -4.0), Phrase(5, 6, 3.0), Phrase(8, 9, 2.0)]


def test_a_weak_word_between_two_strong_ones_is_a_part_of_the_phrase() -> None:
    scores = np.array([0.0, 0.1, 5.0, 0.1, 4.0, 0.1, 0.0])
    [found] = find_phrases(scores, np.array([7]), np.zeros(7, bool), 9)
    assert (found.first, found.end) == (2, 5) and found.share == pytest.approx(9.1)


def test_only_the_strongest_are_kept_in_the_order_of_the_text() -> None:
    scores = np.array([1.0, -3.0, 2.0, -0.9, 4.0])
    found = find_phrases(scores, np.array([1, 1, 1, 1, 1]), np.zeros(5, bool), 3)
    assert [one.first for one in found] == [1, 2, 4]
    weak = find_phrases(np.array([10.0, 0.3]), np.array([1, 1]), np.zeros(2, bool), 3)
    assert len(weak) == 1  # a thirtieth of the strongest is not worth a line
    assert find_phrases(np.zeros(0), np.zeros(0, int), np.zeros(0, bool), 3) == []


TEXT = "A dull, flat\nfilm; fine acting."
WORDS = [(0, 1), (2, 6), (6, 7), (8, 12), (13, 17), (17, 18), (19, 23), (24, 30), (30, 31)]


def test_phrases_and_the_rest_add_up_and_are_said_as_they_are_written() -> None:
    scores = Scores(np.array([0.1, 2, 0, 1.5, 1, 0, -1, -0.8, 0]), np.array([2.8]), signed=True)
    phrases = phrases_of(TEXT, WORDS, np.array([9]), scores, 5.0)
    assert sum(one.share for one in phrases.found) + phrases.rest == pytest.approx(5.0)
    assert phrases.in_words(TEXT, WORDS, signed=True) == [
        'Phrases for it: "flat film" +2.50, "dull" +2.00.',
        'Phrases against it: "fine acting" -1.80.',
        "Everything else: +2.30.",
    ]
    value = phrases.to_json(TEXT, WORDS)
    assert [TEXT[one["start"] : one["end"]] for one in value["phrases"]] == ["dull", "flat\nfilm", "fine acting"]


def test_phrases_without_a_sign_are_shares_of_all_attention() -> None:
    scores = Scores(np.array([0.1, 2, 0.3, 1.5, 1, 0.1, 0.2, 0.1, 0.1]), np.array([1.0]), signed=False)
    phrases = phrases_of(TEXT, WORDS, np.array([9]), scores, -7.0)
    assert sum(one.share for one in phrases.found) + phrases.rest == pytest.approx(1.0)
    first, rest = phrases.in_words(TEXT, WORDS, signed=False)
    assert first == 'Phrases attended to: "flat film" 46%, "dull" 37%.' and rest == "Everything else: 17%."


def test_what_has_neither_letters_nor_digits_is_punctuation() -> None:
    assert all(map(is_punctuation, (",", "...", "—", "'")))
    assert not any(map(is_punctuation, ("né", "10", "'s", "don't", "c++")))
