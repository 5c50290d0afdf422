"""The measures of ERASER against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from explaining.deletions import SHARES, delete, edits, top_counts
from explaining.leaving_out import replace_words
from text.text_reader import EncodedDocument

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


def test_the_class_that_is_explained_is_the_predicted_one_and_not_the_first() -> None:
    """p of the first class: 0.45 - 0.15 + 0.1 = 0.40, so that the second is predicted, with 0.60."""
    second = EncodedDocument(np.array([4, 3, 5], np.int32), np.array([3], np.int32))
    found = delete(SumOfWords(), [second], [[np.array([3.0, 1.0, 2.0])]], "words")
    # without "4" the second class has 0.45, of "4" alone 0.70; of "4 5", the top half, the same
    np.testing.assert_allclose(found.comprehensiveness, [[0.15] * 5], atol=1e-6)
    np.testing.assert_allclose(found.sufficiency, [[-0.10] * 5], atol=1e-6)
    assert found.flips == [1.0]
    found = delete(SumOfWords(), [second], [[np.array([1.0, 3.0, 2.0])]], "words")  # "3" speaks for the first class
    np.testing.assert_allclose(found.comprehensiveness, [[-0.10] * 5], atol=1e-6)
    assert found.flips == [0.0]


def test_the_verdict_is_said_to_change_when_the_top_fifth_is_deleted() -> None:
    """Of 100 words 20 speak for the first class, by 0.01 each; it loses the verdict with the fifteenth of them."""

    class HundredWords:
        def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
            first = [0.445 + 0.01 * np.count_nonzero(document.token_ids == 2) for document in documents]
            return np.array([[p, 1 - p] for p in first], np.float32)

    document = EncodedDocument(np.repeat(np.array([2, 5], np.int32), [20, 80]), np.array([100], np.int32))
    falling = np.arange(100, 0, -1.0)
    found = delete(HundredWords(), [document], [[falling]], "words")
    assert found.flips == [1.0]  # at 1, 5 and 10% it would keep it: 0.545 for all but ten
    np.testing.assert_allclose(found.comprehensiveness, [[0.01, 0.05, 0.10, 0.20, 0.20]], atol=1e-6)
    eleven = falling.copy()
    eleven[11:20] = 0  # only eleven of them come first
    found = delete(HundredWords(), [document], [[eleven]], "words")
    assert found.flips == [0.0]  # at 50% it would lose it
    assert found.comprehensiveness[0][4] == pytest.approx(0.11) and found.comprehensiveness[0][3] == pytest.approx(0.11)


def test_the_verdict_is_reached_where_the_top_alone_has_it() -> None:
    """Ranked 4, 2, 3, 5: "4" alone has 0.30 and the other verdict, "4 2" has 0.60."""
    ranked, found = np.array([3.0, 2.0, 4.0, 1.0]), []
    for draws in ([ranked], [ranked, np.array([4.0, 3.0, 1.0, 2.0])]):
        found.append(delete(SumOfWords(), [DOCUMENT], [draws], "words"))
    np.testing.assert_array_equal(found[0].reached, [[0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(found[1].reached, [[0.5, 0.5, 0.5, 0.5, 1]])  # "2" alone has 0.75
    found[1].extend(found[0])
    value = found[1].to_json()
    assert value["reached"]["mean"] == 0.25 and value["reached_by_share"] == [0.25, 0.25, 0.25, 0.25, 1]


def test_words_are_replaced_in_place_and_sentences_keep_their_lengths() -> None:
    scores = np.array([1.0, 4.0, 2.0, 3.0])
    made = edits(DOCUMENT, scores, "words", replace_words)
    best = sorted(range(4), key=lambda place: -scores[place])
    words = DOCUMENT.token_ids.tolist()
    for place, count in enumerate(top_counts(4)):
        top = best[:count]
        assert made[place].token_ids.tolist() == [1 if n in top else word for n, word in enumerate(words)]
        alone = made[len(SHARES) + place]
        assert alone.token_ids.tolist() == [word if n in top else 1 for n, word in enumerate(words)]
    assert all(one.words_per_sentence.tolist() == [2, 2] and one.token_ids.dtype == np.int32 for one in made)
    assert words == [2, 3, 4, 5]
    replaced = delete(SumOfWords(), [DOCUMENT], [[scores]], "words", replace_words)
    np.testing.assert_allclose(replaced.comprehensiveness, [[0.1] * 5], atol=1e-6)  # "<unk>" and "5" are worth nothing
