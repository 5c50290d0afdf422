"""What a network has learnt, over a whole split: the words and phrases that push each class, and its mistakes.

Every document is explained once, for the class that the network predicts; sums are kept for each word, and nothing of
a document but its phrases, so that memory does not grow with the length of the texts. With two classes what speaks
against one speaks for the other, and counts there; with more, a class is described by the documents predicted as it.
Where a text may have several labels, a document is explained once for each label that the network predicts of it, and a
document is predicted rightly if all its labels are.

    B documents   N words   S sentences   V vocabulary   C classes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_processing import UNKNOWN_ID
from explaining.explanations import Scores, explain, methods_of, score_and_explain
from explaining.log_odds import log_odds
from explaining.phrases import MOST_PHRASES, find_phrases, is_punctuation
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from runtime.predictor import Predictor, Verdict

QUICK_METHODS = ("contribution", "gradient")  # the first of these that a network has, unless another is asked for
MOST_LISTED = 12  # words, or phrases, of a class
FEWEST_DOCUMENTS = 5  # with a word or a phrase that is listed
LEAST_FLIPS = 0.1  # of a word's documents, on either side, for a word whose sign flips
MOST_CONTEXT = 5  # words of a phrase that shows a word in its context
STRIKING = 4.0  # z of a word that is listed as commoner in the mistakes: thousands of words are compared
CERTAIN = 1.96  # standard errors that are taken off a mean before words are compared
NO_LABEL = -1
EPSILON = 1e-7  # a threshold is so far from 0 and 1 at least, where its log-odds are taken


class Labelled(NamedTuple):
    """A document with its label, -1 where it has none; where a text may have several, with all that it has."""

    document: EncodedDocument
    label: int | tuple[int, ...]


@dataclass
class WordSums:
    """What each word added to the log-odds of each class; of a document the sum over its places counts.

    Attributes:
        documents: int64 [2, C, V], documents in which it spoke for the class, and against it.
        shares: float64 [2, C, V], the sums of what it added there.
        squares: float64 [C, V], the sum of the squares of both.
    """

    documents: np.ndarray
    shares: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, classes: int, words: int) -> WordSums:
        """Nothing counted yet."""
        shape = (2, classes, words)
        return cls(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape[1:]))

    def add(self, label: int, words: np.ndarray, shares: np.ndarray) -> None:
        """Counts a document. ``words``: int64 [U], different ones; ``shares``: float64 [U], for the class ``label``."""
        for sign, chosen in enumerate((shares >= 0, shares < 0)):
            self.documents[sign, label, words[chosen]] += 1
            self.shares[sign, label, words[chosen]] += shares[chosen]
        self.squares[label, words] += shares**2

    def reliable_means(self, label: int) -> np.ndarray:
        """float64 [V], the mean share where a word occurs less 1.96 standard errors; -inf for rare words."""
        counts = self.documents[:, label].sum(axis=0)
        some = np.maximum(counts, 1)
        means = self.shares[:, label].sum(axis=0) / some
        errors = np.sqrt(np.maximum(self.squares[label] / some - means**2, 0) / some)
        return np.where(counts >= FEWEST_DOCUMENTS, means - CERTAIN * errors, -np.inf)


@dataclass
class Group:
    """Documents that were predicted right, or wrong.

    Attributes:
        words: int64 [V], documents that have each word.
        sums: Of the figures of :func:`figures_of`.
        documents: How many there are.
    """

    words: np.ndarray
    sums: dict[str, float] = field(default_factory=dict)
    documents: int = 0

    def add(self, words: np.ndarray, figures: dict[str, float]) -> None:
        """Counts a document. ``words``: int64 [U], different ones."""
        self.words[words] += 1
        self.documents += 1
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """The mean of each figure over the documents; empty without any."""
        return {name: value / self.documents for name, value in self.sums.items()}


class WholeModel:
    """What is known of a network after some documents.

    Args:
        class_names: C.
        vocabulary: V words.
        thresholds: float32 [C], where a text may have several labels.
    """

    def __init__(
        self, class_names: Sequence[str], vocabulary: Sequence[str], thresholds: np.ndarray | None = None
    ) -> None:
        self.class_names, self.vocabulary, self.thresholds = tuple(class_names), vocabulary, thresholds
        self.mirrored = thresholds is None and len(self.class_names) == 2  # what speaks against one is for the other
        self.punctuation = np.array([number <= UNKNOWN_ID or is_punctuation(w) for number, w in enumerate(vocabulary)])
        self.words = WordSums.empty(len(class_names), len(vocabulary))
        self.phrases: dict[tuple[int, tuple[int, ...]], list[float]] = {}  # (class, ids): documents, sum of shares
        self.groups = {right: Group(np.zeros(len(vocabulary), np.int64)) for right in (True, False)}

    def add(self, labelled: Labelled, verdict: Verdict, scores: Scores, disagree: bool | None) -> None:
        """Counts a document that is explained for the class that the network predicts.

        Args:
            labelled: The document.
            verdict: On it.
            scores: Of the predicted class, signed.
            disagree: Whether network and n-grams predict different classes; ``None`` without n-grams.
        """
        document, predicted = labelled.document, int(verdict.probabilities.argmax())
        words = self.add_words(document, predicted, scores)
        if labelled.label != NO_LABEL:
            figures = figures_of(document, verdict, scores, disagree)
            self.groups[predicted == labelled.label].add(words, figures)

    def add_several(self, labelled: Labelled, verdict: Verdict, scores: Mapping[int, Scores]) -> None:
        """Counts a document that is explained for each label that the network predicts of it.

        Args:
            labelled: The document.
            verdict: On it.
            scores: Of each predicted label, signed.
        """
        if self.thresholds is None:
            raise ValueError("a text has one label here")
        for label, of_label in scores.items():
            self.add_words(labelled.document, label, of_label)
        words = np.unique(labelled.document.token_ids)
        figures = figures_of_several(labelled.document, verdict, self.thresholds)
        self.groups[tuple(scores) == labelled.label].add(words[words > UNKNOWN_ID], figures)

    def add_words(self, document: EncodedDocument, predicted: int, scores: Scores) -> np.ndarray:
        """Counts words and phrases of a document for a class that is predicted; returns its known words, int64 [U]."""
        words, inverse = np.unique(document.token_ids, return_inverse=True)
        shares = np.bincount(inverse, scores.words)
        known = words > UNKNOWN_ID
        words, shares = words[known], shares[known]
        self.words.add(predicted, words, shares)
        if self.mirrored:
            self.words.add(1 - predicted, words, -shares)
        self.add_phrases(document, predicted, scores.words)
        return words

    def add_phrases(self, document: EncodedDocument, predicted: int, scores: np.ndarray) -> None:
        """Counts the phrases of a document, each once."""
        ids = document.token_ids.tolist()
        limits = self.punctuation[document.token_ids]
        of_document: dict[tuple[int, tuple[int, ...]], float] = {}
        for one in find_phrases(scores, document.words_per_sentence, limits, MOST_PHRASES):
            if one.share < 0 and not self.mirrored:
                continue
            key = (predicted if one.share > 0 else 1 - predicted, tuple(ids[one.first : one.end]))
            of_document[key] = of_document.get(key, 0.0) + abs(one.share)
        for key, share in of_document.items():
            sums = self.phrases.setdefault(key, [0, 0.0])
            sums[0] += 1
            sums[1] += share

    # -- what follows --------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Words and phrases of each class, words whose sign flips, and what distinguishes the mistakes."""
        return {
            "classes": {
                name: {"words": self.top_words(label), "phrases": self.top_phrases(label)}
                for label, name in enumerate(self.class_names)
            },
            "flips": self.flips(),
            "mistakes": self.mistakes(),
        }

    def top_words(self, label: int) -> list[dict[str, Any]]:
        """The words that push a class most, the strongest first."""
        means = self.words.reliable_means(label)
        means[self.punctuation] = -np.inf
        chosen = [word for word in np.argsort(-means, kind="stable")[:MOST_LISTED].tolist() if means[word] > 0]
        return [self.word_json(label, word) for word in chosen]

    def word_json(self, label: int, word: int) -> dict[str, Any]:
        """A word with its documents and its mean share in them."""
        spoke_for, against = self.words.documents[:, label, word].tolist()
        total = float(self.words.shares[:, label, word].sum())
        return {
            "word": self.vocabulary[word],
            "documents": spoke_for + against,
            "for": spoke_for,
            "mean_share": total / (spoke_for + against),
        }

    def top_phrases(self, label: int, word: int | None = None, most: int = MOST_LISTED) -> list[dict[str, Any]]:
        """The phrases of two words or more that push a class most in all, each of some documents at least.

        Args:
            label: The class.
            word: Only phrases with this word, of five words at most and of however few documents; ``None``: all.
            most: At most so many.
        """
        fewest, longest = (FEWEST_DOCUMENTS, np.inf) if word is None else (1, MOST_CONTEXT)
        chosen = [
            (ids, documents, share)
            for (of_class, ids), (documents, share) in self.phrases.items()
            if of_class == label and 1 < len(ids) <= longest and documents >= fewest and (word is None or word in ids)
        ]
        chosen.sort(key=lambda one: (-one[2], one[0]))
        return [
            {"text": self.written(ids), "documents": int(documents), "mean_share": share / documents}
            for ids, documents, share in chosen[:most]
        ]

    def written(self, ids: Iterable[int]) -> str:
        """The words of a phrase as the vocabulary has them."""
        return " ".join(self.vocabulary[number] for number in ids)

    def flips(self) -> list[dict[str, Any]]:
        """Words that speak for a class in some documents and against it in others, with phrases of both kinds.

        Of more than two classes, or several labels, none are listed: only what is predicted is explained.
        """
        if not self.mirrored:
            return []
        counts, shares = self.words.documents[:, 1], np.abs(self.words.shares[:, 1])
        enough = np.maximum(FEWEST_DOCUMENTS, LEAST_FLIPS * counts.sum(axis=0))
        usable = (counts >= enough).all(axis=0) & ~self.punctuation
        strength = np.where(usable, (shares / np.maximum(counts, 1)).min(axis=0), 0)
        chosen = np.argsort(-strength, kind="stable")[:MOST_LISTED].tolist()
        return [self.flip_json(word) for word in chosen if strength[word] > 0]

    def flip_json(self, word: int) -> dict[str, Any]:
        """A word, and for each class the documents in which it pushes it, its mean share there, and phrases."""
        value: dict[str, Any] = {"word": self.vocabulary[word], "classes": {}}
        for sign, label in enumerate((1, 0)):
            documents = int(self.words.documents[sign, 1, word])
            value["classes"][self.class_names[label]] = {
                "documents": documents,
                "mean_share": abs(float(self.words.shares[sign, 1, word])) / documents,
                "phrases": [one["text"] for one in self.top_phrases(label, word, most=2)],
            }
        return value

    def mistakes(self) -> dict[str, Any]:
        """Figures of the documents that are predicted right and wrong, and words that are commoner in the wrong ones.

        Words are compared by the logarithm of the odds ratio divided by its standard error (with half a document added
        to each count); those of less than 4 are not listed.
        """
        right, wrong = self.groups[True], self.groups[False]
        value: dict[str, Any] = {
            name: {"documents": group.documents, **group.means()}
            for name, group in (("right", right), ("wrong", wrong))
        }
        ratios, error = np.zeros(len(self.vocabulary)), np.zeros(len(self.vocabulary))
        for sign, group in ((1, wrong), (-1, right)):
            has, has_not = group.words + 0.5, group.documents - group.words + 0.5
            ratios += sign * np.log(has / has_not)
            error += 1 / has + 1 / has_not
        scores = np.where((wrong.words >= FEWEST_DOCUMENTS) & ~self.punctuation, ratios / np.sqrt(error), 0)
        value["words"] = [
            {
                "word": self.vocabulary[word],
                "wrong": int(wrong.words[word]),
                "right": int(right.words[word]),
                "z": float(scores[word]),
            }
            for word in np.argsort(-scores, kind="stable")[:MOST_LISTED].tolist()
            if scores[word] >= STRIKING
        ]
        return value


def figures_of(document: EncodedDocument, verdict: Verdict, scores: Scores, disagree: bool | None) -> dict[str, float]:
    """What right and wrong documents are compared by."""
    [odds] = log_odds(verdict.logits[np.newaxis], [int(verdict.probabilities.argmax())])
    sentences = np.abs(scores.sentences)
    value = {
        "words": float(len(document.token_ids)),
        "unknown_words": float((document.token_ids == UNKNOWN_ID).mean()),
        "log_odds": float(odds),
        "weight_against": float(sentences[scores.sentences < 0].sum() / (sentences.sum() or 1.0)),
    }
    return value if disagree is None else value | {"network_and_ngrams_disagree": float(disagree)}


def figures_of_several(document: EncodedDocument, verdict: Verdict, thresholds: np.ndarray) -> dict[str, float]:
    """The same where a text may have several labels; the margin is that of its closest decision, in log-odds."""
    bounds = np.clip(thresholds.astype(np.float64), EPSILON, 1 - EPSILON)
    distances = np.abs(verdict.logits - np.log(bounds / (1 - bounds)))
    return {
        "words": float(len(document.token_ids)),
        "unknown_words": float((document.token_ids == UNKNOWN_ID).mean()),
        "margin": float(distances.min()),
        "labels": float((verdict.probabilities >= thresholds).sum()),
    }


def summarise(predictor: Predictor, batches: Iterable[Sequence[Labelled]], method: str) -> WholeModel:
    """Explains all documents of a split.

    Args:
        predictor: The network.
        batches: Its documents, some at a time.
        method: One of :func:`explaining.explanations.methods_of`, with signs.
    """
    thresholds = getattr(predictor, "thresholds", None)
    model = WholeModel(predictor.class_names, predictor.reader.vocabulary.words, thresholds)
    for batch in batches:
        if thresholds is not None:
            add_explained_labels(model, predictor, batch, method)
            continue
        documents = [one.document for one in batch]
        verdicts, scores = zip(*score_and_explain(predictor, documents, None, method), strict=True)
        for one in zip(batch, verdicts, scores, disagreements(predictor, documents, verdicts), strict=True):
            model.add(*one)
    return model


def add_explained_labels(model: WholeModel, predictor: Predictor, batch: Sequence[Labelled], method: str) -> None:
    """Explains some documents for each label that is predicted of them, and counts them."""
    if model.thresholds is None:
        raise ValueError("a text has one label here")
    verdicts = predictor.score([one.document for one in batch])
    pairs = [
        (place, label)
        for place, verdict in enumerate(verdicts)
        for label in np.flatnonzero(verdict.probabilities >= model.thresholds).tolist()
    ]
    documents, known = [batch[place].document for place, _ in pairs], [verdicts[place] for place, _ in pairs]
    found: list[dict[int, Scores]] = [{} for _ in batch]
    if pairs:
        explained = explain(predictor, documents, [label for _, label in pairs], method, known)
        for (place, label), scores in zip(pairs, explained, strict=True):
            found[place][label] = scores
    for one, verdict, of_labels in zip(batch, verdicts, found, strict=True):
        model.add_several(one, verdict, of_labels)


def disagreements(
    predictor: Predictor, documents: Sequence[EncodedDocument], verdicts: Sequence[Verdict]
) -> Iterator[bool | None]:
    """Yields whether network and n-grams, each by itself, predict different classes; ``None`` without n-grams."""
    from network.ngrams import separated
    from runtime.documents import join

    parts = separated(predictor.model)
    if parts.lane is None:
        yield from [None] * len(documents)
        return
    lane = parts.lane.logits_of(*(vector.numpy() for vector in join(documents)))
    for row, verdict in zip(lane, verdicts, strict=True):
        yield bool(row.argmax() != (verdict.logits - parts.lane_scale * row).argmax())


def quick_method(predictor: Predictor) -> str:
    """The cheapest method that gives signs."""
    return next(name for name in QUICK_METHODS if name in methods_of(predictor))


# ---------------------------------------------------------------------------------------------------------------------
# The report

FIGURES = {
    "words": ("words", ".0f"),
    "unknown_words": ("unknown words", ".1%"),
    "log_odds": ("log-odds of the prediction", ".2f"),
    "weight_against": ("weight of sentences against it", ".0%"),
    "network_and_ngrams_disagree": ("network and n-grams disagree", ".0%"),
    "margin": ("log-odds to the closest threshold", ".2f"),
    "labels": ("predicted labels", ".2f"),
}


def format_summary(value: dict[str, Any], heading: str) -> str:
    """What :meth:`WholeModel.to_json` gave as tables."""
    lines = [heading, "=" * len(heading)]
    for name, row in value["classes"].items():
        lines += ["", f"{'pushes ' + name:34}  mean share  documents  for it"]
        for one in row["words"]:
            lines.append(f"{'  ' + one['word']:36}{share_columns(one)}  {one['for'] / one['documents']:6.0%}")
        lines += [f'  "{one["text"]}"'.ljust(36) + share_columns(one) for one in row["phrases"]]
    if value["flips"]:
        lines += ["", "Words whose sign flips with their context"]
        lines += [f"  {flip_line(one)}" for one in value["flips"]]
    return "\n".join([*lines, *mistake_lines(value["mistakes"])])


def share_columns(one: dict[str, Any]) -> str:
    """Mean share and documents of a word or phrase."""
    return f"{one['mean_share']:+10.3f}  {one['documents']:9,}"


def flip_line(flip: dict[str, Any]) -> str:
    """``good: positive in 310 documents (+0.21: "a good film"), negative in 45 (+0.30: "not good")``."""
    parts = []
    for name, row in flip["classes"].items():
        quoted = "".join(f', "{text}"' for text in row["phrases"])
        parts.append(f"{name} in {row['documents']:,} ({row['mean_share']:+z.2f}{quoted})")
    return f"{flip['word']}: {'; '.join(parts)}"


def mistake_lines(value: dict[str, Any]) -> Iterator[str]:
    """Yields the table of right and wrong predictions; nothing where there is no mistake, or no label."""
    right, wrong = value["right"], value["wrong"]
    if not wrong["documents"] or not right["documents"]:
        return
    yield ""
    yield f"{'what distinguishes the mistakes':34}  {'right':>10}  {'wrong':>9}"
    yield f"  {'documents':32}  {right['documents']:10,}  {wrong['documents']:9,}"
    for name, (title, form) in FIGURES.items():
        if name in right:
            yield f"  {title:32}  {right[name]:>10{form}}  {wrong[name]:>9{form}}"
    for one in value["words"]:
        shares = one["right"] / right["documents"], one["wrong"] / wrong["documents"]
        yield f"  {'has ' + repr(one['word']):32}  {shares[0]:10.1%}  {shares[1]:9.1%}"
