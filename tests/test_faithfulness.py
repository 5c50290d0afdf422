"""The measures of ERASER against a case worked out by hand, and what is concluded from them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from config import ModelSettings
from data_processing import TextProcessor, Vocabulary
from explaining import faithfulness
from explaining.explanations import Scores, keep_words
from explaining.faithfulness import (
    RANDOM,
    Deletions,
    Findings,
    best_method,
    delete,
    examine,
    format_findings,
    rank_correlations,
    to_json,
    top_counts,
)
from han import HAN
from network.contract import NetworkArguments
from runtime.predictor import Predictor
from text.text_reader import EncodedDocument, TextReader

WORTH = {2: 0.3, 3: 0.1, 4: -0.15}


class SumOfWords:
    """p(first class) = 0.45 + what its words are worth."""

    def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
        first = [0.45 + sum(WORTH.get(word, 0.0) for word in document.token_ids.tolist()) for document in documents]
        return np.array([[p, 1 - p] for p in first], np.float32)


# Two sentences, "2 3" and "4 5"; p = 0.45 + 0.3 + 0.1 - 0.15 = 0.7.
DOCUMENT = EncodedDocument(np.array([2, 3, 4, 5], np.int32), np.array([2, 2], np.int32))


def test_shares_are_rounded_up_and_never_empty() -> None:
    assert top_counts(4) == [1, 1, 1, 1, 2]
    assert top_counts(1) == [1] * 5
    assert top_counts(100) == [1, 5, 10, 20, 50]  # 0.1 x 100 is not rounded up to 11
    assert top_counts(230) == [3, 12, 23, 46, 115]


def test_deleting_words_by_hand() -> None:
    """Ranked 2, 3, 5, 4. The top word is "2" up to 20%; at 50% the top is "2 3"."""
    found = delete(SumOfWords(), [DOCUMENT], [[np.array([4.0, 3.0, 1.0, 2.0])]], "words")
    # without "2": 0.40; without "2 3": 0.30; "2" alone: 0.75; "2 3" alone: 0.85
    np.testing.assert_allclose(found.comprehensiveness, [[0.30, 0.30, 0.30, 0.30, 0.40]], atol=1e-6)
    np.testing.assert_allclose(found.sufficiency, [[-0.05, -0.05, -0.05, -0.05, -0.15]], atol=1e-6)
    assert found.flips == [1.0]  # 0.40 for the class that had 0.70
    value = found.to_json()
    assert value["comprehensiveness"]["mean"] == pytest.approx(0.32)
    assert value["sufficiency"]["mean"] == pytest.approx(-0.07)
    np.testing.assert_allclose(found.quality(), [0.39], atol=1e-6)


def test_deleting_sentences_by_hand() -> None:
    """The second sentence is ranked first and is the top at every share."""
    found = delete(SumOfWords(), [DOCUMENT], [[np.array([1.0, 2.0])]], "sentences")
    np.testing.assert_allclose(found.comprehensiveness, [[-0.15] * 5], atol=1e-6)  # 0.85 is left
    np.testing.assert_allclose(found.sufficiency, [[0.40] * 5], atol=1e-6)  # 0.30
    assert found.flips == [0.0]


def test_several_rankings_of_a_document_are_averaged_and_documents_kept_apart() -> None:
    forward, backward = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    other = EncodedDocument(np.array([2, 2, 5], np.int32), np.array([3], np.int32))
    found = delete(SumOfWords(), [DOCUMENT, other], [[forward, backward], [np.array([3.0, 2.0, 1.0])] * 2], "words")
    one, two = (delete(SumOfWords(), [DOCUMENT], [[scores]], "words") for scores in (forward, backward))
    np.testing.assert_allclose(
        found.comprehensiveness[0], (one.comprehensiveness[0] + two.comprehensiveness[0]) / 2, atol=1e-6
    )
    assert found.flips == [0.5, 0.0]
    np.testing.assert_allclose(found.comprehensiveness[1], [0.3, 0.3, 0.3, 0.3, 0.6], atol=1e-6)


def test_a_document_that_loses_every_word_is_an_empty_text() -> None:
    lone = EncodedDocument(np.array([2], np.int32), np.array([1], np.int32))
    found = delete(SumOfWords(), [lone], [[np.array([1.0])]], "words")
    np.testing.assert_allclose(found.comprehensiveness, [[0.3] * 5], atol=1e-6)  # one <unk>: 0.45
    np.testing.assert_allclose(found.sufficiency, [[0.0] * 5], atol=1e-6)


def deletions(quality: list[float]) -> Deletions:
    return Deletions([np.full(5, value) for value in quality], [np.zeros(5) for _ in quality], [0.0] * len(quality))


def test_the_best_method_is_the_cheapest_that_is_not_measurably_worse() -> None:
    noise = np.random.default_rng(1).normal(scale=0.3, size=100)
    random, low, high = deletions([0.9] * 100), deletions([0.1] * 100), deletions([0.5] * 100)
    equal = deletions((0.49 + noise).tolist())
    findings = Findings({RANDOM: random, "attention": low, "gradient": equal, "integrated_gradients": high})
    assert best_method(findings) == "gradient"
    findings.words["attention"] = deletions([0.4] * 100)  # always a little worse
    findings.words["gradient"] = deletions([0.45] * 100)
    assert best_method(findings) == "integrated_gradients"
    findings.words["attention"] = deletions([0.51] * 100)
    assert best_method(findings) == "attention"


def test_scores_without_a_sign_are_compared_with_the_size_of_the_effect() -> None:
    left_out = Scores(np.array([0.1, -0.9, 0.5, -0.3]), np.zeros(1), True)
    attention = Scores(np.array([0.05, 0.6, 0.2, 0.15]), np.ones(1), False)
    assert rank_correlations(attention, left_out) == pytest.approx((1, 1))
    signed = Scores(attention.words, np.ones(1), True)
    # ranks 1 4 3 2 against 3 1 4 2: two pairs agree, four do not; squared differences 4 + 9 + 1 + 0
    assert rank_correlations(signed, left_out) == pytest.approx((-2 / 6, 1 - 6 * 14 / (4 * 15)))
    assert np.isnan(rank_correlations(Scores(np.ones(4), np.ones(1), False), left_out)).all()


def test_the_whole_examination_repeats_and_speaks_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HAN(NetworkArguments(12, 4, 2, ModelSettings(word_units=3, sentence_units=3, attention_dim=3), seed=2))
    generator = np.random.default_rng(5)
    for weight in model.named_weights().values():
        weight.assign(generator.normal(size=weight.shape))
    reader = TextReader(TextProcessor(), Vocabulary(["<pad>", "<unk>", *"abcdefghij"]))
    predictor = Predictor(model, reader, ("no", "yes"))
    documents = [
        keep_words(EncodedDocument(generator.integers(2, 12, 9).astype(np.int32), np.array([4, 3, 2], np.int32)), kept)
        for kept in generator.random((5, 9)) < 0.8
    ]
    monkeypatch.setattr(faithfulness, "CHUNK", 2)
    value = to_json(examine(predictor, documents, 1))
    assert value == to_json(examine(predictor, documents, 1))
    assert list(value["words"]) == [RANDOM, "attention", "gradient", "integrated_gradients", "leave_one_out"]
    assert value["completeness"]["largest_relative_error"] < 0.02
    value["evidence"] = {"attention": 0.75, "chance": 0.25, "documents": 5}
    told = format_findings(value, "a run")
    share = value["words"]["attention"]["flips"]["mean"]
    said = " ".join(told.split())
    assert f"the model attended to most changes the verdict in {share:.1%} of documents" in said
    assert "attention 75.0%; by chance 25.0%" in said
    assert max(map(len, told.splitlines())) <= 100
