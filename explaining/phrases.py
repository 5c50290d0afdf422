"""Phrases: runs of words that speak for a class together, or against it, at most a handful of a text.

A method scores single words, a person marks phrases. Here neighbouring words of a sentence are joined where their
scores have one sign and are high: every word pays a price, and a phrase is a maximal run of Ruzzo and Tompa ("A linear
time algorithm for finding all maximal scoring subsequences", ISMB 1999), which loses when it is made longer or shorter.
Punctuation ends a phrase. A phrase's share is the sum of its words' scores, so that the phrases and the rest add up to
what is explained.

    N words   S sentences   P phrases
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_processing import Span
from report.shading import printable

if TYPE_CHECKING:
    from explaining.explanations import Scores

MOST_PHRASES = 6
PRICE = 0.5  # of a word: this times the mean score of the text, without signs
LEAST_SHARE = 0.05  # of the strongest phrase; weaker ones are left out


class Phrase(NamedTuple):
    """Words ``first`` to ``end`` - 1 of a document, and the sum of their scores."""

    first: int
    end: int
    share: float


class Phrases(NamedTuple):
    """The phrases of a text.

    Attributes:
        found: In the order of the text.
        rest: What the phrases leave of the whole: of the log-odds, or of all attention, of which they are shares.
    """

    found: list[Phrase]
    rest: float

    def ranked(self) -> list[Phrase]:
        """Those for the class before those against it, and of each the strongest first."""
        return sorted(self.found, key=lambda one: (one.share < 0, -abs(one.share)))

    def in_words(self, text: str, words: Sequence[Span], signed: bool) -> list[str]:
        """Sentences for people; none without a phrase.

        Args:
            text: As a person wrote it.
            words: [N], the places of the words in it.
            signed: Whether the shares are of a class.
        """
        form = "+z.2f" if signed else ".0%"
        sentences = []
        for what, sign in (("for it" if signed else "attended to", 1), ("against it", -1)):
            chosen = [one for one in self.ranked() if one.share * sign > 0]
            quoted = ", ".join(f'"{quote(text, words, one)}" {one.share:{form}}' for one in chosen)
            sentences += [f"Phrases {what}: {quoted}."] if chosen else []
        return [*sentences, f"Everything else: {self.rest:{form}}."] if sentences else []

    def to_json(self, text: str, words: Sequence[Span]) -> dict[str, Any]:
        """``phrases`` and ``rest`` as plain JSON."""
        found = [
            {
                "text": text[words[one.first][0] : words[one.end - 1][1]],
                "start": words[one.first][0],
                "end": words[one.end - 1][1],
                "share": one.share,
            }
            for one in self.found
        ]
        return {"phrases": found, "rest": self.rest}


def phrases_of(
    text: str, words: Sequence[Span], words_per_sentence: np.ndarray, scores: Scores, whole: float
) -> Phrases:
    """The phrases of an explained text.

    Args:
        text: As a person wrote it.
        words: [N], the places of the words in it.
        words_per_sentence: int32 [S].
        scores: By the method.
        whole: What the phrases and the rest add up to: the log-odds of the class, or for a method without signs
            anything, as the phrases are then shares of 1.
    """
    values = scores.words
    if not scores.signed:
        values, whole = values / (values.sum() or 1.0), 1.0
    limits = np.array([is_punctuation(text[start:end]) for start, end in words], bool)
    found = find_phrases(values, words_per_sentence, limits, MOST_PHRASES)
    return Phrases(found, whole - sum(one.share for one in found))


def quote(text: str, words: Sequence[Span], phrase: Phrase) -> str:
    """A phrase as it is written, on one line."""
    return " ".join(printable(text[words[phrase.first][0] : words[phrase.end - 1][1]]).split())


def find_phrases(scores: np.ndarray, words_per_sentence: np.ndarray, limits: np.ndarray, most: int) -> list[Phrase]:
    """The strongest phrases of a document, in the order of the text.

    Args:
        scores: float [N].
        words_per_sentence: int [S].
        limits: bool [N], words that are in no phrase, such as punctuation; a word with a score of 0 is another.
        most: Phrases at most.
    """
    price = PRICE * float(np.abs(scores).mean()) if len(scores) else 0.0
    open_words = ~limits & (scores != 0)
    found = []
    for first, end in stretches(open_words, words_per_sentence):
        for sign in (1, -1):
            for start, stop in maximal_runs((sign * scores[first:end] - price).tolist()):
                share = float(scores[first + start : first + stop].sum())
                found.append(Phrase(first + start, first + stop, share))
    found.sort(key=lambda one: (-abs(one.share), one.first))
    strongest = abs(found[0].share) if found else 0.0
    return sorted(one for one in found[:most] if abs(one.share) >= LEAST_SHARE * strongest)


def stretches(open_words: np.ndarray, words_per_sentence: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yields the (first, end) of neighbouring words of a sentence that are all open. ``open_words``: bool [N]."""
    is_open, end = open_words.tolist(), 0
    for length in words_per_sentence.tolist():
        begin, end = end, end + length
        for are_open, group in itertools.groupby(range(begin, end), key=is_open.__getitem__):
            if are_open:
                places = list(group)
                yield places[0], places[-1] + 1


def maximal_runs(values: Sequence[float]) -> list[tuple[int, int]]:
    """The maximal scoring runs (first, end) of Ruzzo and Tompa, in order.

    Each begins and ends with a positive value, and no beginning or end of it has a negative sum.
    """
    runs: list[tuple[int, int, float, float]] = []  # first, end, sum before it, sum with it
    total = 0.0
    for place, value in enumerate(values):
        before, total = total, total + value
        if value <= 0:
            continue
        first = place
        while True:
            earlier = next((k for k in reversed(range(len(runs))) if runs[k][2] < before), None)
            if earlier is None or runs[earlier][3] >= total:
                break
            first, before = runs[earlier][0], runs[earlier][2]
            del runs[earlier:]
        runs.append((first, place + 1, before, total))
    return [(first, end) for first, end, _, _ in runs]


def is_punctuation(word: str) -> bool:
    """Whether a word has neither letters nor digits."""
    return not any(map(str.isalnum, word))
