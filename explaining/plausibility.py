"""Does an explanation name what a person marked as the reason? ERASER's measures (DeYoung et al., ACL 2020).

    AUPRC         average precision of the words' scores, marked words being the right ones
    token F1      of the words with the highest scores, as many as the share that people mark on average
    IOU F1        of phrases: one is found if its words and those of a marked phrase overlap by half of their union
    top sentence  share of documents whose highest sentence has a marked word

each the mean over documents. Whether an explanation is true is another question (:mod:`explaining.faithfulness`): a
network may decide by what no person would name.

    B documents   N words   S sentences
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from explaining.explanations import METHODS, Scores, score_and_explain
from explaining.faithfulness import random_scores
from explaining.leaving_out import first_words
from explaining.phrases import find_phrases
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from runtime.predictor import Predictor

CHANCE, CHANCE_DRAWS = "chance", 5
OVERLAP = 0.5  # of the union, for a phrase that is found
MOST_PASSES = 20_000  # of the network over a document, by one method: minutes for reviews of 800 words
TITLES = {CHANCE: "by chance"} | {name: method.title for name, method in METHODS.items()}


class Marked(NamedTuple):
    """A document with what a person marked in it.

    Attributes:
        document: What the network reads.
        words: bool [N], marked words, at least one.
        limits: bool [N], words that no phrase has (:func:`explaining.phrases.find_phrases`).
    """

    document: EncodedDocument
    words: np.ndarray
    limits: np.ndarray


class Agreement(NamedTuple):
    """How well the scores of one document agree with what is marked in it, each from 0 to 1."""

    auprc: float
    token_f1: float
    iou_f1: float
    top_sentence: float


def examine(
    predictor: Predictor,
    marked: Sequence[Marked],
    seed: int,
    methods: Sequence[str],
    progress: Callable[[Sequence[Marked]], Iterator[Marked]] = iter,
) -> dict[str, Any]:
    """Explains documents by some methods, for the predicted class, and compares with what is marked.

    Args:
        predictor: The network.
        marked: [B].
        seed: Of the random scores.
        methods: Of :func:`explaining.explanations.methods_of`.
        progress: Wraps the loop over documents.

    Returns:
        Plain JSON: the share of marked words, and for each method and for :data:`CHANCE` the means of
        :class:`Agreement` and the milliseconds of an explanation with its prediction, one document at a time. A
        method that would read them too often (:data:`MOST_PASSES`) explains some, drawn at random: ``documents`` of it.
    """
    generator = np.random.default_rng(seed)
    examined = {method: affordable(marked, method, seed) for method in methods}
    share = float(np.mean([one.words.mean() for one in marked]))
    found: dict[str, list[Agreement]] = {name: [] for name in (CHANCE, *methods)}
    seconds = dict.fromkeys(methods, 0.0)
    words = 0
    for number, one in enumerate(progress(marked)):
        words += len(one.words)
        for _ in range(CHANCE_DRAWS):
            found[CHANCE].append(agreement(one, random_scores(one.document, generator), share))
        for method in (method for method in methods if number in examined[method]):
            started = time.perf_counter()
            [(_, scores)] = score_and_explain(predictor, [one.document], None, method)
            seconds[method] += time.perf_counter() - started
            found[method].append(agreement(one, scores, share))
    means = {name: Agreement(*np.mean(rows, axis=0).tolist())._asdict() for name, rows in found.items()}
    for method, spent in seconds.items():
        count = len(examined[method])
        means[method] |= {"milliseconds": 1000 * spent / count, "documents": count}
    return {"documents": len(marked), "words": words / len(marked), "marked_share": share, "methods": means}


def affordable(marked: Sequence[Marked], method: str, seed: int) -> set[int]:
    """Places of the documents that a method explains: all, or as many as :data:`MOST_PASSES` allow, at least one."""
    order = np.random.default_rng([seed, 1]).permutation(len(marked))
    passes = np.cumsum([max(1, METHODS[method].passes(marked[number].document)) for number in order])
    return set(order[: max(1, int((passes <= MOST_PASSES).sum()))].tolist())


def agreement(marked: Marked, scores: Scores, share: float) -> Agreement:
    """Compares the scores of a document with what is marked. ``share``: of the words that are chosen for token F1."""
    count = max(1, round(share * len(marked.words)))
    chosen = np.zeros(len(marked.words), bool)
    chosen[np.argsort(-scores.words, kind="stable")[:count]] = True
    both = (chosen & marked.words).sum()
    sentences = np.logical_or.reduceat(marked.words, first_words(marked.document))
    return Agreement(
        average_precision(marked.words, scores.words),
        float(2 * both / (chosen.sum() + marked.words.sum())),
        iou_f1(runs(marked.words), chosen_phrases(marked, scores, count)),
        float(sentences[scores.sentences.argmax()]),
    )


def average_precision(right: np.ndarray, scores: np.ndarray) -> float:
    """The area under the curve of precision over recall, as steps; equal scores count together.

    Args:
        right: bool [N], at least one.
        scores: float [N].
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    hits = np.cumsum(right[order])[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / right.sum())


def chosen_phrases(marked: Marked, scores: Scores, words: int) -> list[tuple[int, int]]:
    """The strongest phrases for the class, in the order of the text, until they have so many ``words``."""
    every = find_phrases(scores.words, marked.document.words_per_sentence, marked.limits, len(scores.words))
    chosen, total = [], 0
    for one in sorted(every, key=lambda phrase: -phrase.share):
        if one.share <= 0 or total >= words:
            break
        chosen.append((one.first, one.end))
        total += one.end - one.first
    return sorted(chosen)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """The (first, end) of neighbouring true values. ``flags``: bool [N]."""
    borders = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(borders[0::2].tolist(), borders[1::2].tolist(), strict=True))


def iou_f1(right: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]]) -> float:
    """F1 of phrases: one counts if it shares with one of the others at least half of what both have together."""

    def overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
        common = min(one[1], other[1]) - max(one[0], other[0])
        return max(common, 0) / (one[1] - one[0] + other[1] - other[0] - max(common, 0))

    def matched(some: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> int:
        return sum(any(overlap(one, other) >= OVERLAP for other in others) for one in some)

    if not found:
        return 0.0
    precision, recall = matched(found, right) / len(found), matched(right, found) / len(right)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def format_agreement(value: dict[str, Any], heading: str) -> str:
    """What :func:`examine` gave as a table."""
    lines = [heading, "=" * len(heading), ""]
    lines.append(f"{'chosen by':23}  AUPRC  token F1  IOU F1  top sentence  ms each")
    for name, row in value["methods"].items():
        cost = f"{row['milliseconds']:7.1f}" if "milliseconds" in row else ""
        lines.append(
            f"{TITLES[name]:23}  {row['auprc']:5.3f}  {row['token_f1']:8.3f}  {row['iou_f1']:6.3f}  "
            f"{row['top_sentence']:12.1%}  {cost}".rstrip()
        )
    lines += [
        "",
        f"Marked: {value['marked_share']:.1%} of the words of a document on average, of {value['words']:,.0f} words.",
        "Milliseconds with the prediction itself, one document at a time.",
        *(
            f"{TITLES[name]}: on {row['documents']} of the {value['documents']} documents, drawn at random."
            for name, row in value["methods"].items()
            if row.get("documents", value["documents"]) < value["documents"]
        ),
    ]
    return "\n".join(lines)
