"""The fewest words, or sentences, without which the network would predict something else.

Where a text may have several labels, the verdict is one label: predicted, or not.

They are searched greedily, from the ranking of an explanation: those that speak most for the verdict are left out, more
and more of them, until the verdict turns; then each is put back, the weakest first, where the verdict stays turned
without it. Every step is the network's own prediction for the text without them (:mod:`explaining.leaving_out`), so
that what is found is true; a set that the ranking does not lead to may be smaller. (Such sets are the "evidence
counterfactuals" of Martens and Provost, MISQ 2014.)

    N words   S sentences   B documents   C classes
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_processing import Span
from explaining.deletions import LEVELS, Scorer
from explaining.leaving_out import keep_words, words_of_sentences
from report.shading import printable
from runtime.decisions import is_predicted
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from explaining.explanations import Scores

MOST_REMOVED = 50  # words or sentences; half of the text at most
EXCERPT = 60  # characters of a sentence that is named

Turned = Callable[[np.ndarray], np.ndarray]  # float [D, C], probabilities of D documents -> bool [D]
Sets = list[np.ndarray]  # [D], places of the words, or sentences, that are left out together


class Counterfactual(NamedTuple):
    """What has to be left out of a document for another verdict.

    Attributes:
        level: One of :data:`explaining.deletions.LEVELS`.
        removed: int64, places of the words, or sentences, ascending; empty where nothing turned the verdict.
        verdict: The class that is predicted without them; where a text may have several labels, the label.
        probability: Of that class.
        tried: The largest number that was left out at once.
        gained: Where a text may have several labels, whether the label is predicted without them but not of the whole
            text; false for the other way round. ``None`` where a text has one label.
    """

    level: str
    removed: np.ndarray
    verdict: int
    probability: float
    tried: int
    gained: bool | None = None

    def in_words(self, text: str, spans: Sequence[Sequence[Span]], names: Sequence[str]) -> str:
        """A sentence for people; empty where nothing could be tried.

        Args:
            text: As a person wrote it.
            spans: [S] sentences, each the (start, end) of its words in ``text``.
            names: Of the classes.
        """
        if not self.tried:
            return ""
        name = names[self.verdict]
        if not len(self.removed):
            what = "The verdict" if self.gained is None else f"The verdict on {name}"
            return f"{what} stays without {counted(self.tried, self.level)}."
        quoted = ", ".join(f'"{shortened(text[start:end])}"' for start, end in self.places(spans))
        these = f"this {self.level[:-1]}" if len(self.removed) == 1 else f"these {len(self.removed)} {self.level}"
        if self.gained is None:
            return f"Without {these} the verdict would be {name} ({self.probability:.1%}): {quoted}."
        would = "would be" if self.gained else "would not be"
        return f"Without {these} {name} {would} predicted ({self.probability:.1%}): {quoted}."

    def places(self, spans: Sequence[Sequence[Span]]) -> list[Span]:
        """The parts of the text that are left out; neighbouring words of a sentence are one part."""
        if self.level == "sentences":
            return [(spans[number][0][0], spans[number][-1][1]) for number in self.removed.tolist()]
        parts: list[Span] = []
        first, removed = 0, set(self.removed.tolist())
        for sentence in spans:
            last = -2
            for number, (start, end) in enumerate(sentence, start=first):
                if number in removed:
                    if number == last + 1:
                        parts[-1] = (parts[-1][0], end)
                    else:
                        parts.append((start, end))
                    last = number
            first += len(sentence)
        return parts

    def to_json(self, spans: Sequence[Sequence[Span]], names: Sequence[str]) -> dict[str, Any]:
        """As plain JSON; ``prediction`` is ``null`` where nothing turned the verdict.

        Of one of several labels, it is whether the ``label`` is predicted then.
        """
        found = len(self.removed) > 0
        of_label = {} if self.gained is None else {"label": names[self.verdict]}
        turned = names[self.verdict] if self.gained is None else self.gained
        return {
            "level": self.level,
            **of_label,
            "prediction": turned if found else None,
            "probability": self.probability if found else None,
            "removed": [{"start": start, "end": end} for start, end in self.places(spans)],
            "count": len(self.removed),
            "tried": self.tried,
        }


def counted(count: int, level: str) -> str:
    """``the word that counts most``, ``the 26 words that count most``."""
    return f"the {level[:-1]} that counts most" if count == 1 else f"the {count} {level} that count most"


def shortened(text: str) -> str:
    """A text on one line, cut after :data:`EXCERPT` characters."""
    plain = " ".join(printable(text).split())
    return plain if len(plain) <= EXCERPT else plain[: EXCERPT - 1].rstrip() + "…"


class Search(NamedTuple):
    """A search in one document, which asks the network again and again.

    Attributes:
        document: The text.
        level: One of :data:`explaining.deletions.LEVELS`.
        steps: Yields D sets, is sent the probabilities of the text without each, float [D, C], returns what it found.
    """

    document: EncodedDocument
    level: str
    steps: Generator[Sets, np.ndarray, Counterfactual]


def counterfactuals(
    scorer: Scorer,
    document: EncodedDocument,
    scores: Scores,
    probabilities: np.ndarray,
    target: int,
    thresholds: np.ndarray | None = None,
) -> list[Counterfactual]:
    """The counterfactuals of words and of sentences, by the ranking of an explanation.

    Args:
        scorer: The network.
        document: The text.
        scores: Of ``target``.
        probabilities: float [C], of the whole text.
        target: Where it is predicted, another verdict is searched for; else this one.
        thresholds: [C], where a text may have several labels.
    """
    stays = bool(is_predicted(probabilities, target, thresholds))
    return found_together(scorer, searches(document, scores, target, stays, thresholds))


def searches(
    document: EncodedDocument, scores: Scores, target: int, stays: bool, thresholds: np.ndarray | None = None
) -> list[Search]:
    """The searches of :func:`counterfactuals`, of which none has begun.

    Arguments as there; ``stays``: whether ``target`` is predicted of the whole text.
    """

    def turned(probabilities: np.ndarray) -> np.ndarray:
        return is_predicted(probabilities, target, thresholds) != stays

    label = None if thresholds is None else target
    rankings = {level: (1.0 if stays or not scores.signed else -1.0) * getattr(scores, level) for level in LEVELS}
    return [
        Search(document, level, smallest_set(ranking, scores.signed, level, turned, label, not stays))
        for level, ranking in rankings.items()
    ]


def found_together(scorer: Scorer, searches: Sequence[Search]) -> list[Counterfactual]:
    """Does searches side by side, so that the network reads what they ask in one call; returns what each found.

    One after another, searches in short texts spent most of the time of ``explain.py --faithfulness`` on calls.
    """
    found: dict[int, Counterfactual] = {}
    asked: dict[int, Sets] = {}

    def go_on(number: int, answer: np.ndarray | None) -> None:
        try:
            asked[number] = searches[number].steps.send(answer)  # type: ignore[arg-type]  # None begins it
        except StopIteration as end:
            found[number] = end.value

    for number in range(len(searches)):
        go_on(number, None)
    while asked:
        questions, asked = asked, {}
        texts = [without(searches[n].document, one, searches[n].level) for n, sets in questions.items() for one in sets]
        borders = np.cumsum([len(sets) for sets in questions.values()])[:-1]
        for number, answer in zip(questions, np.split(scorer.probabilities(texts), borders), strict=True):
            go_on(number, answer)
    return [found[number] for number in range(len(searches))]


def smallest_set(
    scores: np.ndarray, signed: bool, level: str, turned: Turned, label: int | None = None, gained: bool = False
) -> Generator[Sets, np.ndarray, Counterfactual]:
    """Searches the smallest set that the ranking leads to: the steps of a :class:`Search`.

    Args:
        scores: float [N], or [S] at the level of sentences; those that speak most for the verdict are the highest.
        signed: Whether one with a negative score speaks against the verdict, and therefore stays.
        level: One of :data:`explaining.deletions.LEVELS`.
        turned: Whether these are the probabilities of a verdict that is searched for.
        label: The one of several labels whose verdict is searched for; ``None`` where a text has one.
        gained: Whether the label is to be predicted then, and not the other way round.
    """
    of_label = None if label is None else gained
    ranking = np.argsort(-scores, kind="stable")
    usable = int((scores > 0).sum()) if signed else len(scores)
    most = min(usable, len(scores) // 2, MOST_REMOVED)
    removed = yield from first_turning(ranking, most, turned)
    if not len(removed):
        return Counterfactual(level, removed, label or 0, 0.0, most, of_label)
    for place in removed[::-1].tolist():
        fewer = removed[removed != place]
        if len(fewer) and turned((yield [fewer]))[0]:
            removed = fewer
    [row] = yield [removed]
    verdict = int(row.argmax()) if label is None else label
    return Counterfactual(level, np.sort(removed), verdict, float(row[verdict]), most, of_label)


def first_turning(ranking: np.ndarray, most: int, turned: Turned) -> Generator[Sets, np.ndarray, np.ndarray]:
    """Searches the shortest beginning of a ranking that turns the verdict; empty where none of up to ``most`` does.

    Lengths are doubled until one does, then all between it and the one before are tried: few predictions where few
    words are enough.
    """
    before = 0
    for count in doubled(most):
        if turned((yield [ranking[:count]]))[0]:
            between = [ranking[:fewer] for fewer in range(before + 1, count)]
            turning = np.flatnonzero(turned((yield between))).tolist() if between else []
            return between[turning[0]] if turning else ranking[:count]
        before = count
    return ranking[:0]


def doubled(most: int) -> Iterator[int]:
    """Yields 1, 2, 4, ... and at last ``most``."""
    count = 1
    while count < most:
        yield count
        count *= 2
    if most:
        yield most


def without(document: EncodedDocument, removed: np.ndarray, level: str) -> EncodedDocument:
    """The document without some words, or sentences. ``removed``: int64, their places."""
    out = np.zeros(len(document.token_ids) if level == "words" else len(document.words_per_sentence), bool)
    out[removed] = True
    return keep_words(document, ~(out if level == "words" else words_of_sentences(document, out)))


# ---------------------------------------------------------------------------------------------------------------------
# Of many documents


@dataclass
class SetSizes:
    """How many words, and sentences, of B documents were enough to turn the verdict.

    Attributes:
        words: [B]; 0 where nothing turned it.
        sentences: [B], likewise.
    """

    words: list[int] = field(default_factory=list)
    sentences: list[int] = field(default_factory=list)

    def add(self, found: Sequence[Counterfactual]) -> None:
        """Appends the counterfactuals of documents."""
        for one in found:
            getattr(self, one.level).append(len(one.removed))

    def extend(self, other: SetSizes) -> None:
        """Appends those of further documents."""
        self.words += other.words
        self.sentences += other.sentences

    def to_json(self) -> dict[str, Any]:
        """For each level the share of documents with a set, and the median size over all of them.

        A document without one counts as larger than every other; the median is ``None`` where it would be such a
        document.
        """
        value = {}
        for level in LEVELS:
            sizes = np.array(getattr(self, level), np.float64)
            median = float(np.median(np.where(sizes > 0, sizes, np.inf)))
            value[level] = {"found": float((sizes > 0).mean()), "median": median if np.isfinite(median) else None}
        return value
