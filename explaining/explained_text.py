"""One text with its explanation: read, scored, explained, and as JSON.

N words   S sentences   C classes
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_processing import Span
from explaining.counterfactuals import Counterfactual, counterfactuals
from explaining.explanations import Scores, score_and_explain, shades
from explaining.log_odds import LogOddsParts, log_odds, log_odds_parts
from explaining.phrases import Phrases, phrases_of, quote
from report.shading import MOST_SENTENCES, LeftOut, ShadedSentence, shade_scores
from runtime.decisions import chosen_names, predicted_name
from text.text_reader import Reading

if TYPE_CHECKING:
    from runtime.predictor import Predictor, Verdict


@dataclass(frozen=True)
class Explanation:
    """A text as a person wrote it, what the network predicts for it, and why by one method.

    Attributes:
        text: The original.
        spans: [S] sentences, each the (start, end) of its words in ``text``.
        class_names: C names.
        target: The class that is explained; the predicted one unless another was asked for.
        method: One of :func:`methods_of`.
        verdict: Probabilities and attention weights.
        scores: By the method.
        words_per_sentence: int32 [S].
        parts: What the network and the n-gram lane add to the log-odds; ``None`` without a lane.
        counterfactuals: The words, and the sentences, without which the verdict would be another; empty where they
            were not searched for.
        thresholds: float32 [C], where a text may have several labels.
    """

    text: str
    spans: list[list[Span]]
    class_names: tuple[str, ...]
    target: int
    method: str
    verdict: Verdict
    scores: Scores
    words_per_sentence: np.ndarray
    parts: LogOddsParts | None = None
    counterfactuals: Sequence[Counterfactual] = ()
    thresholds: np.ndarray | None = None

    @property
    def predicted(self) -> str:
        """The name of the predicted class; where a text may have several labels, all of them, or ``no label``."""
        return predicted_name(self.verdict.probabilities, self.class_names, self.thresholds)

    @property
    def predicted_names(self) -> list[str]:
        """The name of the predicted class; where a text may have several labels, those of all that are predicted."""
        if self.thresholds is None:
            return [self.predicted]
        return chosen_names(self.verdict.probabilities >= self.thresholds, self.class_names)

    def threshold_of(self, name: str) -> float | None:
        """The probability from which a label is predicted; ``None`` where a text has one label."""
        return None if self.thresholds is None else float(self.thresholds[self.class_names.index(name)])

    def shaded(self, most: int | None = MOST_SENTENCES) -> list[ShadedSentence | LeftOut]:
        """The text as it is shown; a sentence's weight is its score, in :meth:`unit`."""
        words = shades(self.scores, self.words_per_sentence)
        return shade_scores(self.text, self.spans, words, self.scores.sentences, most)

    @property
    def unit(self) -> str:
        """Of all scores: ``"log-odds"``, or ``"attention"``, whose weights of all sentences add up to 1."""
        return "log-odds" if self.scores.signed else "attention"

    def unit_in_words(self) -> str:
        """``log-odds of positive``, or ``share of attention``."""
        return f"log-odds of {self.class_names[self.target]}" if self.scores.signed else "share of attention"

    def other_classes(self) -> list[str]:
        """All but the one that is explained; none of several labels: what speaks against one speaks for no other."""
        if self.thresholds is not None:
            return []
        return [name for number, name in enumerate(self.class_names) if number != self.target]

    def parts_in_words(self) -> list[str]:
        """How the log-odds are made of the network's and the n-grams' part, in sentences; none without a lane."""
        return self.parts.in_words(self.class_names[self.target]) if self.parts else []

    @functools.cached_property
    def phrases(self) -> Phrases:
        """The strongest phrases, and what they leave of the log-odds of the class."""
        [whole] = log_odds(self.verdict.logits[np.newaxis], [self.target], self.thresholds is not None)
        return phrases_of(self.text, words_of(self.spans), self.words_per_sentence, self.scores, float(whole))

    def phrases_in_words(self) -> list[str]:
        """The strongest phrases with their shares, in sentences."""
        return self.phrases.in_words(self.text, words_of(self.spans), self.scores.signed)

    def phrases_quoted(self) -> list[tuple[str, float]]:
        """The phrases on one line each with their shares: what speaks for the class first, the strongest first."""
        words = words_of(self.spans)
        return [(quote(self.text, words, one), one.share) for one in self.phrases.ranked()]

    def counterfactuals_in_words(self) -> list[str]:
        """Without which words, and sentences, the verdict would be another, a sentence each."""
        found = (one.in_words(self.text, self.spans, self.class_names) for one in self.counterfactuals)
        return [sentence for sentence in found if sentence]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON; starts and ends count code points of the text."""
        probabilities = self.verdict.probabilities.tolist()
        value: dict[str, Any] = {
            "prediction": self.predicted if self.thresholds is None else self.predicted_names,
            "probabilities": dict(zip(self.class_names, probabilities, strict=True)),
            "method": self.method,
            "explained_class": self.class_names[self.target],
            "unit": self.unit,
            "text": self.text,
            "sentences": [self.sentence_json(number) for number in range(len(self.spans))],
        }
        if self.thresholds is not None:
            value["thresholds"] = dict(zip(self.class_names, self.thresholds.tolist(), strict=True))
        if self.scores.completeness:
            reached, wanted, steps = self.scores.completeness
            value["completeness"] = {"sum_of_scores": reached, "difference_of_log_odds": wanted, "steps": steps}
        if self.parts:
            value |= self.parts.to_json()
        value |= self.phrases.to_json(self.text, words_of(self.spans))
        if self.counterfactuals:
            value["counterfactuals"] = [one.to_json(self.spans, self.class_names) for one in self.counterfactuals]
        return value

    def sentence_json(self, number: int) -> dict[str, Any]:
        """One sentence: place, score, attention weight, and the same of its words."""
        words = self.spans[number]
        first = int(self.words_per_sentence[:number].sum())
        value: dict[str, Any] = {
            "start": words[0][0],
            "end": words[-1][1],
            "score": float(self.scores.sentences[number]),
            "words": [],
        }
        if self.verdict.sentence_weights is not None:
            value["attention"] = float(self.verdict.sentence_weights[number])
        for place, (start, end) in enumerate(words, start=first):
            word: dict[str, Any] = {"word": self.text[start:end], "start": start, "end": end}
            word["score"] = float(self.scores.words[place])
            if self.verdict.word_weights is not None:
                word["attention"] = float(self.verdict.word_weights[place])
            value["words"].append(word)
        return value


def words_of(spans: Sequence[Sequence[Span]]) -> list[Span]:
    """[N], the places of the words of all sentences."""
    return [span for sentence in spans for span in sentence]


class WrittenText(NamedTuple):
    """A text as a person wrote it and as the network reads it; it is cut into words once.

    Attributes:
        text: The original.
        reading: Its words by number.
        spans: [S] sentences, each the (start, end) of its words in ``text``.
    """

    text: str
    reading: Reading
    spans: list[list[Span]]


def read_text(predictor: Predictor, text: str) -> WrittenText:
    """Cuts a text into sentences and words."""
    return WrittenText(text, *predictor.reader.read_with_spans(text))


def explain_text(predictor: Predictor, text: str, method: str, target: int | None = None) -> Explanation:
    """Reads, scores and explains one text; arguments and errors as for :func:`explain_written`."""
    return explain_written(predictor, read_text(predictor, text), method, target)


def explain_written(predictor: Predictor, written: WrittenText, method: str, target: int | None = None) -> Explanation:
    """Scores and explains one text.

    Args:
        predictor: The network.
        written: From :func:`read_text`.
        method: One of :func:`methods_of`.
        target: The class to explain; the predicted one where ``None``.

    Raises:
        ValueError: The text has no word, or the network has no such method.
    """
    document = written.reading.document
    if not written.reading.words:
        raise ValueError("the text has no word")
    [(verdict, scores)] = score_and_explain(predictor, [document], None if target is None else [target], method)
    chosen = int(verdict.probabilities.argmax()) if target is None else target
    return Explanation(
        written.text,
        written.spans,
        predictor.class_names,
        chosen,
        method,
        verdict,
        scores,
        document.words_per_sentence,
        log_odds_parts(predictor, written.text, words_of(written.spans), document, verdict, chosen),
        counterfactuals(predictor, document, scores, verdict.probabilities, chosen, predictor.thresholds),
        predictor.thresholds,
    )
