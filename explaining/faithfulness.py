"""Is an explanation faithful? The words and sentences that it names are deleted, and the network is asked again.

The measures are those of ERASER (DeYoung et al., ACL 2020), for the class that the network predicts for the whole text:

    comprehensiveness   p(text) - p(text without its top words)     high: the words named were needed
    sufficiency         p(text) - p(top words alone)                low: the words named are enough

each averaged over the top 1, 5, 10, 20 and 50% of words (AOPC; rounded up, so at least one word). The same is done with
sentences. Deleting is what :func:`explaining.explanations.keep_words` says: as if the words had never been written.

A random choice is the yardstick: a method that is no better than it explains nothing.

    B documents   C classes   K shares
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from explaining.explanations import METHODS, Scores, explain, keep_words, methods_of, words_of_sentences
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from runtime.predictor import Predictor

SHARES = (0.01, 0.05, 0.10, 0.20, 0.50)
FLIP_SHARE = 0.20
RANDOM, RANDOM_DRAWS = "random", 5
LEVELS = ("words", "sentences")
WIDTH = 88  # of the report's lines
CHUNK = 20  # documents whose edited texts are held in memory at a time

TITLES = {RANDOM: "a random choice", **{name: method.title for name, method in METHODS.items()}}
RULE = (
    "the highest mean of comprehensiveness - sufficiency for words; of the methods whose difference from it lies "
    f"within that difference's 95% interval, paired by document, the cheapest ({', '.join(METHODS)})"
)


class Scorer(Protocol):
    """What deleting needs of a network."""

    def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
        """float32 [documents, C]."""


@dataclass
class Deletions:
    """What deleting by one method did to each of B documents.

    Attributes:
        comprehensiveness: [B] times float64 [K].
        sufficiency: [B] times float64 [K].
        flips: [B], 1 where the verdict changes when the top 20% are deleted; a share where several rankings were tried.
    """

    comprehensiveness: list[np.ndarray] = field(default_factory=list)
    sufficiency: list[np.ndarray] = field(default_factory=list)
    flips: list[float] = field(default_factory=list)

    def quality(self) -> np.ndarray:
        """float64 [B]: comprehensiveness less sufficiency, each averaged over the shares."""
        return np.mean(self.comprehensiveness, axis=1) - np.mean(self.sufficiency, axis=1)

    def to_json(self) -> dict[str, Any]:
        """Means and 95% intervals over the documents."""
        value: dict[str, Any] = {"flips": interval(np.array(self.flips))}
        for name in ("comprehensiveness", "sufficiency"):
            by_share = np.array(getattr(self, name))  # [B, K]
            value[name] = interval(by_share.mean(axis=1))
            value[f"{name}_by_share"] = by_share.mean(axis=0).tolist()
        return value


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean and half the width of its 95% interval (normal approximation). ``values``: float [B]."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "half_width": 1.96 * spread / math.sqrt(len(values))}


# ---------------------------------------------------------------------------------------------------------------------
# Deleting


def top_counts(items: int) -> list[int]:
    """How many of ``items`` words or sentences make up each of the K shares: rounded up, at least one."""
    return [max(1, math.ceil(share * items - 1e-9)) for share in SHARES]


def edits(document: EncodedDocument, scores: np.ndarray, level: str) -> list[EncodedDocument]:
    """Deletes the top words, or sentences, of a ranking.

    Args:
        document: The whole text.
        scores: float [N], or [S] at the level of sentences; of equals the earlier counts more.
        level: One of :data:`LEVELS`.

    Returns:
        2 K documents: the text without its top, for each share, and then the top alone.
    """
    ranking = np.argsort(-scores, kind="stable")
    without, alone = [], []
    for count in top_counts(len(scores)):
        top = np.zeros(len(scores), bool)
        top[ranking[:count]] = True
        words = top if level == "words" else words_of_sentences(document, top)
        without.append(keep_words(document, ~words))
        alone.append(keep_words(document, words))
    return without + alone


def delete(
    scorer: Scorer, documents: Sequence[EncodedDocument], rankings: Sequence[Sequence[np.ndarray]], level: str
) -> Deletions:
    """Measures what deleting does, averaged over the rankings of each document.

    Args:
        scorer: The network.
        documents: [B].
        rankings: [B], for each document one or more vectors of scores, as :func:`edits` takes them.
        level: One of :data:`LEVELS`.
    """
    edited = [
        edit
        for document, draws in zip(documents, rankings, strict=True)
        for scores in draws
        for edit in edits(document, scores, level)
    ]
    probabilities = scorer.probabilities([*documents, *edited]).astype(np.float64)
    whole, changed = probabilities[: len(documents)], probabilities[len(documents) :]
    found = Deletions()
    begin = 0
    for row, draws in zip(whole, rankings, strict=True):
        end = begin + len(draws) * 2 * len(SHARES)
        values = changed[begin:end].reshape(len(draws), 2, len(SHARES), -1)
        begin, verdict = end, int(row.argmax())
        lost = (row[verdict] - values[..., verdict]).mean(axis=0)  # [2, K]
        found.comprehensiveness.append(lost[0])
        found.sufficiency.append(lost[1])
        found.flips.append(float((values[:, 0, SHARES.index(FLIP_SHARE)].argmax(axis=-1) != verdict).mean()))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The whole examination


@dataclass
class Findings:
    """Everything that was measured on B documents, method by method; the random choice is one of them.

    Attributes:
        words: What deleting words did.
        sentences: What deleting sentences did.
        agreement: [B] times (Kendall's, Spearman's) rank correlation with leave-one-out; not of leave-one-out itself.
        top_sentences: [B], the place of the top sentence; not of the random choice.
        completeness: [B], that of integrated gradients (:class:`explaining.explanations.Scores`).
    """

    words: dict[str, Deletions] = field(default_factory=dict)
    sentences: dict[str, Deletions] = field(default_factory=dict)
    agreement: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    top_sentences: dict[str, list[int]] = field(default_factory=dict)
    completeness: list[tuple[float, float, int]] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Appends what was found on further documents."""
        for level in LEVELS:
            for method, deletions in getattr(other, level).items():
                mine = getattr(self, level).setdefault(method, Deletions())
                mine.comprehensiveness += deletions.comprehensiveness
                mine.sufficiency += deletions.sufficiency
                mine.flips += deletions.flips
        for method, pairs in other.agreement.items():
            self.agreement.setdefault(method, []).extend(pairs)
        for method, places in other.top_sentences.items():
            self.top_sentences.setdefault(method, []).extend(places)
        self.completeness += other.completeness


def examine(
    predictor: Predictor,
    documents: Sequence[EncodedDocument],
    seed: int,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Findings:
    """Explains documents by every method, deletes what each names, and compares.

    Args:
        predictor: The network.
        documents: The sample.
        seed: Of the random choice.
        progress: Wraps the loop over chunks of documents.
    """
    generator = np.random.default_rng(seed)
    findings = Findings()
    for begin in progress(range(0, len(documents), CHUNK)):
        findings.add(examine_chunk(predictor, documents[begin : begin + CHUNK], generator))
    return findings


def examine_chunk(
    predictor: Predictor, documents: Sequence[EncodedDocument], generator: np.random.Generator
) -> Findings:
    """Examines a few documents."""
    targets = predictor.probabilities(documents).argmax(axis=1).tolist()
    scores = {method: explain(predictor, documents, targets, method) for method in methods_of(predictor)}
    draws = {RANDOM: [[random_scores(document, generator) for _ in range(RANDOM_DRAWS)] for document in documents]}
    draws |= {method: [[one] for one in found] for method, found in scores.items()}
    findings = Findings()
    for method, some in draws.items():
        for level in LEVELS:
            rankings = [[getattr(one, level) for one in of_document] for of_document in some]
            getattr(findings, level)[method] = delete(predictor, documents, rankings, level)
        if method != "leave_one_out":
            pairs = zip(some, scores["leave_one_out"], strict=True)
            findings.agreement[method] = [rank_correlations(of_document[0], other) for of_document, other in pairs]
    findings.top_sentences = {
        method: [int(one.sentences.argmax()) for one in found] for method, found in scores.items()
    }
    findings.completeness = [one.completeness for one in scores["integrated_gradients"] if one.completeness]
    return findings


def random_scores(document: EncodedDocument, generator: np.random.Generator) -> Scores:
    """Words, and sentences, in random order."""
    words, sentences = (generator.random(len(vector)) for vector in document)
    return Scores(words, sentences, signed=False)


def rank_correlations(scores: Scores, left_out: Scores) -> tuple[float, float]:
    """Kendall's and Spearman's rank correlation of word scores with what leaving each word out does; NaN for none.

    Scores without a sign (attention) are compared with the size of the effect, whichever way it goes.
    """
    from scipy.stats import kendalltau, spearmanr

    other = left_out.words if scores.signed else np.abs(left_out.words)
    if np.ptp(other) == 0 or np.ptp(scores.words) == 0:
        return float("nan"), float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nearly equal values, which do not matter to ranks
        return float(kendalltau(scores.words, other).statistic), float(spearmanr(scores.words, other).statistic)


# ---------------------------------------------------------------------------------------------------------------------
# What follows from it


def best_method(findings: Findings) -> str:
    """The method to explain with by default, by :data:`RULE`."""
    quality = {method: findings.words[method].quality() for method in METHODS if method in findings.words}
    best = max(quality, key=lambda method: float(quality[method].mean()))
    for method, values in quality.items():  # the cheapest first
        difference = interval(quality[best] - values)
        if difference["mean"] <= difference["half_width"]:
            return method
    return best


def to_json(findings: Findings) -> dict[str, Any]:
    """All figures, for ``faithfulness.json``."""
    errors = [abs(reached - wanted) / max(abs(wanted), 1) for reached, wanted, _ in findings.completeness]
    steps = [steps for *_, steps in findings.completeness]
    return {
        "shares": list(SHARES),
        "flip_share": FLIP_SHARE,
        "random_draws": RANDOM_DRAWS,
        **{level: {method: one.to_json() for method, one in getattr(findings, level).items()} for level in LEVELS},
        "agreement_with_leave_one_out": {
            method: dict(zip(("kendall", "spearman"), np.nanmean(pairs, axis=0).tolist(), strict=True))
            for method, pairs in findings.agreement.items()
            if not np.isnan(pairs).all()
        },
        "completeness": {"largest_relative_error": max(errors), "mean_steps": float(np.mean(steps))},
        "best_method": best_method(findings),
        "rule": RULE,
    }


def format_findings(value: dict[str, Any], heading: str) -> str:
    """The figures as a table, and what they mean in plain words.

    Args:
        value: What :func:`to_json` gave, with ``evidence`` where the data set knows it: for each method, and for
            ``chance``, the share of documents whose top sentence is one that decided.
        heading: First line.
    """
    lines = [heading, "=" * len(heading)]
    for level in LEVELS:
        lines += ["", f"{'top ' + level + ' by':22}  verdicts changed  comprehensiveness      sufficiency"]
        for method, row in value[level].items():
            comprehensiveness, sufficiency = (with_interval(row[n]) for n in ("comprehensiveness", "sufficiency"))
            lines.append(
                f"{TITLES[method]:22}  {row['flips']['mean']:16.1%}  {comprehensiveness:>17}  {sufficiency:>15}"
            )
    return "\n".join([*lines, *(f"\n{textwrap.fill(remark, WIDTH)}" for remark in remarks(value))])


def with_interval(value: dict[str, float]) -> str:
    """``0.123 ± 0.045``."""
    return f"{value['mean']:.3f} ± {value['half_width']:.3f}"


def remarks(value: dict[str, Any]) -> Iterator[str]:
    """Yields what the figures mean, a paragraph each."""
    yield (
        f"Verdicts changed: when the top {value['flip_share']:.0%} are deleted. Comprehensiveness (better high) and "
        "sufficiency (better low): the probability that is lost when the top is deleted, or is all that is kept; mean "
        f"over the top {', '.join(f'{share:.0%}' for share in value['shares'])}, with 95% intervals."
    )
    yield from verdict_in_words(value)
    if agreement := value["agreement_with_leave_one_out"]:
        told = (f"{TITLES[method]} {row['kendall']:.2f} ({row['spearman']:.2f})" for method, row in agreement.items())
        yield f"Rank correlation of words with leave-one-out, Kendall's (Spearman's): {', '.join(told)}."
    if evidence := value.get("evidence"):
        shares = (f"{TITLES[method]} {share:.1%}" for method, share in evidence.items() if method in TITLES)
        yield f"The top sentence is one that decided: {', '.join(shares)}; by chance {evidence['chance']:.1%}."
    completeness = value["completeness"]
    yield (
        f"Integrated gradients took {completeness['mean_steps']:.0f} steps on average; their sum misses by "
        f"{completeness['largest_relative_error']:.2%} at most."
    )
    yield f"explain.py shows this run by {TITLES[value['best_method']]} from now on; --method names another."


def verdict_in_words(value: dict[str, Any]) -> Iterator[str]:
    """Yields what the words' figures say of attention; of the best method where there is no attention."""
    words, best = value["words"], value["best_method"]
    shown = "attention" if "attention" in words else best
    chosen = "the model attended to most" if shown == "attention" else f"that {TITLES[shown]} ranks first"
    yield (
        f"Deleting the {value['flip_share']:.0%} of words {chosen} changes the verdict in "
        f"{words[shown]['flips']['mean']:.1%} of documents; deleting random words, in "
        f"{words[RANDOM]['flips']['mean']:.1%}."
    )
    if shown != best:
        yield (
            f"Attention is not the best guide to this network: with {TITLES[best]} it is "
            f"{words[best]['flips']['mean']:.1%}. (Attention has no sign: it also names words that speak against the "
            "verdict.)"
        )
