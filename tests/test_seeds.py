"""The agreement of the explanations of several networks, against ranks worked out in another way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from explaining import seeds
from explaining.explanations import METHODS, Scores
from explaining.seeds import correlations, mean_of_known, seed_agreement
from text.text_reader import EncodedDocument

# The last has one sentence, which has no rank.
DOCUMENTS = [
    EncodedDocument(np.array(words, np.int32), np.array(lengths, np.int32))
    for words, lengths in (([2, 3, 4, 5, 6, 7], [2, 3, 1]), ([8, 9, 10, 11, 2], [1, 1, 3]), ([3, 9, 7], [3]))
]


class Drawn:
    """A network whose verdicts are given and whose explanations are drawn, by document, class and method."""

    def __init__(self, seed: int, verdicts: Sequence[int], has_attention: bool = True) -> None:
        self.seed, self.verdicts, self.has_attention = seed, verdicts, has_attention

    def probabilities(self, documents: Sequence[EncodedDocument]) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[[self.verdicts[place_of(one)] for one in documents]]

    def scores(self, document: EncodedDocument, target: int, method: str) -> Scores:
        generator = np.random.default_rng([self.seed, place_of(document), target, list(METHODS).index(method)])
        words, sentences = (generator.normal(size=len(vector)) for vector in document)
        return Scores(words, sentences, signed=True)


def place_of(document: EncodedDocument) -> int:
    return next(place for place, one in enumerate(DOCUMENTS) if one is document)


@pytest.fixture(autouse=True)
def drawn_explanations(monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(
        network: Any, documents: Sequence[EncodedDocument], targets: Sequence[int], method: str
    ) -> list[Scores]:
        return [network.scores(*pair, method) for pair in zip(documents, targets, strict=True)]

    monkeypatch.setattr(seeds, "explain", explain)
    monkeypatch.setattr(seeds, "CHUNK", 2)


def spearman(values: np.ndarray, others: np.ndarray) -> float:
    """Pearson's correlation of the ranks, each the number of smaller values."""
    ranks = [(one[:, np.newaxis] > one).sum(axis=1) for one in (values, others)]
    return float(np.corrcoef(*ranks)[0, 1])


def agreement(*networks: Drawn) -> dict[str, Any]:
    return seed_agreement(cast(Any, networks), DOCUMENTS)


def test_networks_are_compared_for_the_class_that_the_first_one_predicts() -> None:
    networks = [Drawn(1, [0, 1, 1]), Drawn(2, [0, 1, 0]), Drawn(3, [0, 0, 0])]
    found = agreement(*networks)
    assert found["same_verdict"] == pytest.approx(1 / 3)
    assert list(found["words"]) == [name for name in METHODS if name != "leave_one_out"] == list(found["sentences"])
    for level, count in (("words", 3), ("sentences", 2)):
        means = []
        for document, target in zip(DOCUMENTS[:count], (0, 1, 1), strict=False):
            one, two, three = (getattr(network.scores(document, target, "gradient"), level) for network in networks)
            means.append((spearman(one, two) + spearman(one, three) + spearman(two, three)) / 3)
        assert found[level]["gradient"]["mean"] == pytest.approx(np.mean(means))
        assert found[level]["gradient"]["half_width"] == pytest.approx(1.96 * np.std(means, ddof=1) / count**0.5)


def test_a_network_agrees_with_itself() -> None:
    found = agreement(Drawn(1, [0, 1, 1]), Drawn(1, [0, 1, 1]))
    assert found["same_verdict"] == 1
    assert all(one["mean"] == pytest.approx(1) for level in ("words", "sentences") for one in found[level].values())


def test_only_methods_that_all_networks_have_are_compared() -> None:
    found = agreement(Drawn(1, [0, 1, 1]), Drawn(2, [0, 1, 1], has_attention=False))
    assert list(found["words"]) == ["gradient", "scaled_gradient", "integrated_gradients"]


def test_pairs_without_a_rank_are_left_out_and_too_few_documents_are_none() -> None:
    rising, falling, level = (Scores(np.array(values), np.ones(1), True) for values in ([1.0, 2], [2.0, 1], [1.0, 1]))
    found = correlations([[rising, level], [falling, level], [level, level]], "words")
    assert found[0] == pytest.approx(-1) and np.isnan(found[1])
    assert mean_of_known([0.5, np.nan]) is None
    assert mean_of_known([0.5, np.nan, 0.25]) == pytest.approx({"mean": 0.375, "half_width": 0.245})
