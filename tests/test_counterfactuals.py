"""The fewest words and sentences without which a verdict turns, on a scorer whose answers are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from explaining.counterfactuals import (
    Counterfactual,
    SetSizes,
    counterfactuals,
    first_turning,
    found_together,
    searches,
    without,
)
from explaining.explanations import Scores
from text.text_reader import EncodedDocument

FEW = np.array([5, -3, 4, 2, -1, 1, 0, 0, 0, 0], float)  # what each word adds to the first class


class Linear:
    """Predicts the first class where the sum of what its words add, by their ids, is above ``threshold``."""

    def __init__(self, weights: np.ndarray, threshold: float = 0.0) -> None:
        self.weights, self.threshold, self.calls = weights, threshold, 0

    def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
        sums = np.array([self.weights[one.token_ids - 2].sum() - self.threshold for one in documents])
        self.calls += 1
        first = 1 / (1 + np.exp(-sums))
        return np.stack([first, 1 - first], axis=1)


def document(lengths: list[int]) -> EncodedDocument:
    return EncodedDocument(np.arange(2, 2 + sum(lengths), dtype=np.int32), np.array(lengths, np.int32))


def scores_of(weights: np.ndarray, lengths: list[int], signed: bool = True) -> Scores:
    return Scores(weights, np.add.reduceat(weights, np.cumsum([0, *lengths[:-1]])), signed)


def turning(network: Linear, text: EncodedDocument, scores: Scores, target: int) -> list[Counterfactual]:
    """The counterfactuals of a text, by the verdict of the network."""
    return counterfactuals(network, text, scores, network.probabilities([text])[0], target)


def fewest(weights: np.ndarray, threshold: float, most: int) -> int:
    """The size of the smallest set of all whose deletion turns the verdict, by trying every one."""
    for size in range(1, most + 1):
        for chosen in itertools.combinations(range(len(weights)), size):
            if np.delete(weights, chosen).sum() <= threshold:
                return size
    return 0


@pytest.mark.parametrize("threshold", [-3.5, -1.5, 0.0, 3.5, 7.5])
def test_of_a_linear_network_the_set_is_the_smallest_of_all(threshold: float) -> None:
    found, _ = turning(Linear(FEW, threshold), document([4, 3, 3]), scores_of(FEW, [4, 3, 3]), 0)
    assert len(found.removed) == fewest(FEW, threshold, 5) and (found.verdict == 1 or not len(found.removed))
    assert set(found.removed) <= set(np.flatnonzero(FEW > 0))  # words against the verdict stay


def test_words_that_a_poor_ranking_takes_first_are_put_back() -> None:
    ranking = np.array([0.1, 0.5, 0.2, 3.0, 2.0, 1.0, 0.1, 0.1, 0.1, 0.1])
    found, _ = turning(Linear(FEW, 5.5), document([10]), scores_of(ranking, [10], signed=False), 0)
    assert found.removed.tolist() == [2]  # the first five of the ranking turn it, of which the third is enough


def test_sentences_are_left_out_whole_and_at_least_half_of_them_stay() -> None:
    lengths = [1, 1, 4, 4]
    _, found = turning(Linear(FEW, 4.5), document(lengths), scores_of(FEW, lengths), 0)
    assert (found.level, found.removed.tolist(), found.tried) == ("sentences", [2], 2)
    assert without(document(lengths), found.removed, "sentences").token_ids.tolist() == [2, 3, 8, 9, 10, 11]
    _, none = turning(Linear(FEW), document([10]), scores_of(FEW, [10]), 0)
    assert not len(none.removed) and none.tried == 0


def test_another_class_that_is_asked_for_is_the_one_that_is_searched() -> None:
    """The scores are of the class asked for: those that speak against it are left out."""
    found, _ = turning(Linear(FEW, 4.5), document([10]), scores_of(-FEW, [10]), 1)
    assert found.verdict == 1 and found.removed.tolist() == [0]


def test_a_beginning_is_the_shortest_that_turns_even_between_two_doublings() -> None:
    ranking = np.arange(50)
    for wanted in range(1, 51):

        def turned(sets: list[np.ndarray], wanted: int = wanted) -> np.ndarray:
            return np.array([len(one) >= wanted for one in sets])

        assert len(beginning(ranking, 50, turned)) == wanted
    assert not len(beginning(ranking, 0, lambda sets: np.array([True])))
    assert not len(beginning(ranking, 50, lambda sets: np.array([False] * len(sets))))


def beginning(ranking: np.ndarray, most: int, turned: Callable[[list[np.ndarray]], np.ndarray]) -> np.ndarray:
    """What :func:`first_turning` finds where ``turned`` answers in place of a network."""
    steps = first_turning(ranking, most, lambda answer: answer)
    try:
        sets = next(steps)
        while True:
            sets = steps.send(turned(sets))
    except StopIteration as end:
        found: np.ndarray = end.value
        return found


def test_searches_side_by_side_find_what_each_finds_alone_in_fewer_calls() -> None:
    generator = np.random.default_rng(5)
    documents = [document([3, count, 4]) for count in range(1, 12)]
    scores = [
        scores_of(generator.normal(size=len(one.token_ids)), one.words_per_sentence.tolist()) for one in documents
    ]
    network = Linear(generator.normal(size=20), threshold=-1.0)
    alone = [turning(network, one, ranked, 0) for one, ranked in zip(documents, scores, strict=True)]
    calls, network.calls = network.calls, 0
    pairs = zip(documents, scores, strict=True)
    together = found_together(network, [search for one, ranked in pairs for search in searches(one, ranked, 0, True)])
    assert len(together) == 22 and any(len(one.removed) for one in together)
    for one, other in zip(together, [found for pair in alone for found in pair], strict=True):
        assert (one.level, one.removed.tolist(), one[2:]) == (other.level, other.removed.tolist(), other[2:])
    assert network.calls < calls / 3
    assert found_together(network, []) == []


TEXT = "Dull and flat. Not good, <b>at all</b>."
SPANS = [[(0, 4), (5, 8), (9, 13)], [(15, 18), (19, 23), (25, 27), (30, 33)]]


def test_a_counterfactual_is_said_in_a_sentence_with_the_words_as_they_are_written() -> None:
    names = ("negative", "positive")
    found = Counterfactual("words", np.array([0, 3, 4]), 1, 0.612, 3)
    assert found.in_words(TEXT, SPANS, names) == (
        'Without these 3 words the verdict would be positive (61.2%): "Dull", "Not good".'
    )
    assert found.to_json(SPANS, names)["removed"] == [{"start": 0, "end": 4}, {"start": 15, "end": 23}]
    one = Counterfactual("sentences", np.array([0]), 1, 0.5, 1)
    assert one.in_words(TEXT, SPANS, names) == (
        'Without this sentence the verdict would be positive (50.0%): "Dull and flat".'
    )
    none = Counterfactual("words", np.zeros(0, np.int64), 0, 0.0, 3)
    assert none.in_words(TEXT, SPANS, names) == "The verdict stays without the 3 words that count most."
    assert none.to_json(SPANS, names)["prediction"] is None
    assert Counterfactual("sentences", np.zeros(0, np.int64), 0, 0.0, 0).in_words(TEXT, SPANS, names) == ""
    border = Counterfactual("words", np.array([2, 3]), 1, 0.5, 3)
    assert border.places(SPANS) == [(9, 13), (15, 18)]  # neighbours in two sentences are two parts


def test_a_counterfactual_of_one_of_several_labels_is_about_that_label() -> None:
    names = ("cheap", "red")
    lost, gained = (Counterfactual("words", np.array([0]), 1, 0.2, 3, one) for one in (False, True))
    assert lost.in_words(TEXT, SPANS, names) == 'Without this word red would not be predicted (20.0%): "Dull".'
    assert gained.in_words(TEXT, SPANS, names) == 'Without this word red would be predicted (20.0%): "Dull".'
    assert (lost.to_json(SPANS, names)["label"], lost.to_json(SPANS, names)["prediction"]) == ("red", False)
    none = Counterfactual("words", np.zeros(0, np.int64), 1, 0.0, 3, True)
    assert none.in_words(TEXT, SPANS, names) == "The verdict on red stays without the 3 words that count most."
    assert none.to_json(SPANS, names)["prediction"] is None and none.to_json(SPANS, names)["label"] == "red"


def test_a_document_without_a_set_counts_as_larger_than_every_other() -> None:
    assert SetSizes([1, 0, 3], [0, 0, 2]).to_json() == {
        "words": {"found": pytest.approx(2 / 3), "median": 3.0},
        "sentences": {"found": pytest.approx(1 / 3), "median": None},
    }
